"""Make the zoo: teacher and student of both grids, each with its card.

    .venv/bin/python benchmarks/make_zoo.py --work runs/zoo --out zoo

Trains with default settings and seed 0 (what the cards' commands do), evaluates with nothing beside it, and writes
`zoo/NAME/{model.safetensors, manifest.json, config.json, README.md, curve.png, COMPLETE}`. An interrupted call goes on where it was.
"""

from __future__ import annotations

import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

import torch
import tyro

from phr import api
from phr.cli.display import ProgressBar, say
from phr.files import read_jsonl, write_text
from phr.report.figures import curve
from phr.storage.model import Model, load_model, save_model
from phr.studies.profiles import CROSSING, FOUR_ROOMS
from phr.studies.work import StudentJob, TeacherJob
from phr.studies.workbench import run_jobs

NAMES = {"crossing": CROSSING, "four-rooms": FOUR_ROOMS}
HORIZON = 16


@dataclass(frozen=True)
class Arguments:
    """Train, evaluate and file the zoo's models."""

    work: Path = Path("runs/zoo")
    """Where the trainings go."""
    out: Path = Path("zoo")
    """Where the models go."""


def main(arguments: Arguments) -> int:
    """Train everything side by side, then evaluate one after another."""
    torch.set_num_threads(1)
    teachers = [
        TeacherJob(env_id=env_id, seed=0, directory=arguments.work / f"{name}-teacher", total_timesteps=None)
        for name, env_id in NAMES.items()
    ]
    students = [
        StudentJob(
            env_id=env_id,
            teacher=arguments.work / f"{name}-teacher",
            directory=arguments.work / f"{name}-student",
            horizon=HORIZON,
            settings=(("seed", 0),),
        )
        for name, env_id in NAMES.items()
    ]
    with ProgressBar() as bar:
        run_jobs(teachers, what="training teachers", say=say, on_progress=bar)
        run_jobs(students, what="distilling students", say=say, on_progress=bar)
    for name, env_id in NAMES.items():
        train = f"phr train --env-id {env_id} --seed 0 --out {arguments.work}/{name}-teacher"
        distil = f"phr distill {arguments.work}/{name}-teacher --horizon {HORIZON} --seed 0 --out {arguments.work}/{name}-student"
        _file(arguments, f"{name}-teacher", [train], (1,))
        _file(arguments, f"{name}-student", [train, distil], (1, 4, 8, 16))
    return 0


def _file(arguments: Arguments, name: str, commands: list[str], commitments: tuple[int, ...]) -> None:
    run, place = load_model(arguments.work / name), arguments.out / name
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    shutil.copy(arguments.work / name / "config.json", place / "config.json")
    model = save_model(place, run.network, run.manifest)
    rows = read_jsonl(arguments.work / name / "metrics.jsonl")
    values = {"episode_return": "sampled return", "greedy_return": "greedy return"}
    if run.manifest.kind == "student":
        values = {"loss/plan": "plan loss (nats per step)"}
    curve(rows, place / "curve.png", values=values, log=run.manifest.kind == "student")
    for twin in ("curve.svg", "curve-dark.png"):
        (place / twin).unlink(missing_ok=True)
    write_text(place / "README.md", _card(name, model, commands, commitments))
    say(f"filed {place}")


def _card(name: str, model: Model, commands: list[str], commitments: tuple[int, ...]) -> str:
    manifest = model.manifest
    lines = [
        f"# zoo:{name}",
        "",
        f"A {manifest.kind} for `{manifest.env_id}`, horizon {manifest.horizon}. Made by",
        "",
        "```sh",
        *commands,
        "```",
        "",
        f"`model.safetensors` SHA-256 `{manifest.files['model.safetensors']}`, checked on every load.",
        "",
        f"Evaluated by `phr evaluate zoo:{name} --commitment N --steps 20000 --runs 5 --all-starts`, one thread:",
        "",
        "| N | return [95 %] | steps | success | evals / episode | s / 100k steps | of bound | every start once |",
        "|---:|---|---:|---:|---:|---:|---:|---|",
    ]
    for n in commitments:
        found = api.evaluate(model, commitment=n, steps=20_000, runs=5)
        every = api.evaluate_all_starts(model, commitment=n)
        low, high = found.return_ci95 or (float("nan"), float("nan"))
        fraction = found.to_json()["bound"]["fraction"]
        lines.append(
            f"| {n} | {found.return_mean:.4f} [{low:.4f}, {high:.4f}] | {found.length_mean:.3f} | {found.success_rate:.2%} | "
            f"{found.evaluations_per_episode:.3f} | {found.seconds_per_100k_steps:.2f} | {fraction:.2f} | "
            f"{every.n_solved} of {every.n_starts}, {every.length_mean:.3f} steps |"
        )
    lines += ["", f"Times on {found.machine['cpu']}.", "", "![curve](curve.png)", ""]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main(tyro.cli(Arguments)))
