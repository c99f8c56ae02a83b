"""Create the zoo from a finished study: teacher and student of both grids, each with its card.

    make reproduce
    .venv/bin/python benchmarks/make_zoo.py --study runs/reproduce --out zoo

Evaluates the models of seed 0, one at a time, and writes
`zoo/NAME/{model.safetensors, manifest.json, config.json, README.md, curve.png, COMPLETE}`.

`--references` distils the reference networks of `phr bench` from the search oracle; their widths are fixed so that figures
can be compared:

    .venv/bin/python benchmarks/make_zoo.py --references --out zoo

`--runs` adds models trained by hand, from a directory that contains the runs `teacher` and `student`; the teacher may
continue a run `first`:

    .venv/bin/python benchmarks/make_zoo.py --runs runs/pong --family pong --out zoo
"""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import tyro

from phr import api
from phr.cli.display import ProgressBar, say
from phr.distil.config import PHRConfig
from phr.distil.presets import student_config
from phr.files import read_json, read_jsonl, write_text
from phr.manifest import COMPLETE
from phr.settings import said_settings
from phr.storage.model import Model, load_model, save_model
from phr_studies.bench.models import REFERENCES, distil_reference, solved_starts
from phr_studies.report.canvas import STUDENT_CURVE, TEACHER_CURVE, curve
from phr_studies.reproduce.profiles import CROSSING, FOUR_ROOMS, StudyLayout

NAMES = {"crossing": CROSSING, "four-rooms": FOUR_ROOMS}
Origin = Callable[[str, Model], list[str]]
"""(name, model) → the lines of its card that describe its origin."""
LOSS, HORIZON, SEED = "cross_entropy", 16, 0
COMMITMENTS = (1, 4, 8, 16)


@dataclass(frozen=True)
class Arguments:
    """Evaluate the models of a study and add them to the zoo."""

    study: Path = Path("runs/reproduce")
    """A finished study of phr reproduce."""
    references: bool = False
    """Distil the reference students of `phr bench` instead, into runs/references."""
    runs: Path | None = None
    """Add the finished runs `teacher` and `student` of this directory instead."""
    family: str = "pong"
    """Name of those models: zoo:FAMILY-teacher and zoo:FAMILY-student."""
    out: Path = Path("zoo")
    """Output directory."""


def main(arguments: Arguments) -> int:
    """Add the models to the zoo, one after another."""
    if arguments.references:
        return file_references(arguments.out)
    if arguments.runs is not None:
        for kind, commitments in (("teacher", (1,)), ("student", COMMITMENTS)):
            if (arguments.runs / kind / COMPLETE).exists():
                place = arguments.out / f"{arguments.family}-{kind}"
                file_model(arguments.runs / kind, place, commitments, by_hand, teacher=f"zoo:{arguments.family}-teacher")
        return 0
    layout = StudyLayout(arguments.study)
    for name, env_id in NAMES.items():
        file_model(layout.teacher(env_id, SEED), arguments.out / f"{name}-teacher", (1,), from_study)
        file_model(layout.student(env_id, LOSS, HORIZON, SEED), arguments.out / f"{name}-student", COMMITMENTS, from_study)
    return 0


def file_references(out: Path) -> int:
    """Distil the reference students and add them to the zoo; fail if one misses a start."""
    for name, env_id in REFERENCES.items():
        run = Path("runs/references") / name
        with ProgressBar() as bar:
            model = distil_reference(env_id, run, on_progress=bar)
        solved = solved_starts(model, COMMITMENTS)
        if solved is None or solved[0] < solved[1]:
            say(f"{name} is not added: it must solve all starts, got {solved}")
            return 1
        file_model(run, out / name, COMMITMENTS, from_oracle)
    return 0


def file_model(run: Path, place: Path, commitments: tuple[int, ...], origin: Origin, *, teacher: str | None = None) -> None:
    """Copy a run's model into the zoo and write its card; `teacher` is the zoo name of a student's teacher."""
    model = load_model(run)
    if teacher is not None and model.manifest.kind == "student":
        manifest = replace(model.manifest, notes={**model.manifest.notes, "teacher": teacher})
        model = replace(model, manifest=manifest)
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    shutil.copy(run / "config.json", place / "config.json")
    filed = save_model(place, model.network, model.manifest)
    is_student = model.manifest.kind == "student"
    values = STUDENT_CURVE if is_student else TEACHER_CURVE
    curve(read_jsonl(run / "metrics.jsonl"), place / "curve.png", values=values, log=is_student)
    for twin in ("curve.svg", "curve-dark.png"):
        (place / twin).unlink(missing_ok=True)
    write_text(place / "README.md", card(place.name, filed, commitments, origin(place.name, filed)))
    say(f"added {place}")


def from_study(name: str, model: Model) -> list[str]:
    """Describe the origin of a study's model, with the commands that train it again."""
    return [
        f"A {model.manifest.kind} for `{model.env_id}`, horizon {model.horizon}, seed {SEED}, trained by `make reproduce`.",
        "The equivalent commands, with default settings:",
        "",
        *commands(model, f"runs/{name.rpartition('-')[0]}-"),
    ]


def by_hand(name: str, model: Model) -> list[str]:
    """Describe the origin of a model trained outside a study, with the commands that train it again."""
    return [
        f"A {model.manifest.kind} for `{model.env_id}`, horizon {model.horizon}, seed {SEED}, with default settings "
        "except for the options below:",
        "",
        *commands(model, f"runs/{name.rpartition('-')[0]}/", " --threads 2", trained_further(name, model)),
    ]


def trained_further(name: str, model: Model) -> dict[str, Any] | None:
    """Return the settings of the second training of the family's teacher (beside the model), None if there was none."""
    file = (
        None if model.directory is None else model.directory.with_name(f"{name.rpartition('-')[0]}-teacher") / "config.json"
    )
    run: dict[str, Any] = read_json(file) if file is not None and file.exists() else {}
    return run["settings"] if "start" in run else None


def commands(model: Model, runs: str, words: str = "", further: dict[str, Any] | None = None) -> list[str]:
    """Return the commands that train a model again, as a block of shell commands.

    Args:
        model: The model.
        runs: Prefix of the run directories.
        words: Further options at the end of each command.
        further: Settings of a second training of the teacher, if there was one.
    """
    train = f"phr train --env-id {model.env_id} --seed {SEED}"
    if further is None:
        lines = [f"{train} --out {runs}teacher{words}"]
    else:
        given = f"--total-timesteps {further['total_timesteps']} --ent-coef {further['ent_coef']}"
        lines = [f"{train} --out {runs}first{words}", f"{train} --start {runs}first {given} --out {runs}teacher{words}"]
    if model.manifest.kind == "student":
        student = f"--horizon {HORIZON}{''.join(unusual(model))} --seed {SEED} --out {runs}student{words}"
        lines.append(f"phr distill {runs}teacher {student}")
    return ["```sh", *lines, "```"]


def unusual(model: Model) -> list[str]:
    """Return the settings of a student that differ from the defaults of `phr distill`, as options."""
    assert model.directory is not None  # it is in the zoo
    settings: dict[str, Any] = read_json(model.directory / "config.json")["settings"]
    usual = json.loads(json.dumps(said_settings(student_config(model.env_id, HORIZON, seed=SEED))))
    known = {entry.name for entry in fields(PHRConfig)}  # a model may be older than a setting's name
    known -= {name for name in known if name.startswith("refine_") and not settings["refine"]}  # without effect, so refused
    unlike = {name: value for name, value in settings.items() if name in known and value != usual.get(name)}
    return [f" --{name.replace('_', '-')} {value}" for name, value in unlike.items()]


def from_oracle(name: str, model: Model) -> list[str]:
    """Describe the origin of a reference student, with the command that creates it again."""
    return [
        f"The reference network of `phr bench` for `{model.env_id}`: 3×3 convolutions 32-64-64, fully connected 512, "
        f"horizon {model.horizon}, seed {SEED}, distilled from the search oracle by",
        "",
        "```sh",
        "python benchmarks/make_zoo.py --references",
        "```",
    ]


def card(name: str, model: Model, commitments: tuple[int, ...], origin: list[str]) -> str:
    """Return the model's card, in Markdown."""
    manifest = model.manifest
    lines = [
        f"# zoo:{name}",
        "",
        *origin,
        "",
        f"`model.safetensors` has the SHA-256 `{manifest.files['model.safetensors']}`, checked on every load.",
        "",
        f"`phr evaluate zoo:{name} --commitment N --steps 20000 --all-starts`, five runs, one thread,",
        f"{describe(model, commitments[0])}:",
        "",
        "| N | return [95 %] | steps | success | evals / episode | s / 100k steps | of bound | every start once |",
        "|---:|---|---:|---:|---:|---:|---:|---|",
        *(row(model, n) for n in commitments),
        "",
        "![Training curve](curve.png)",
        "",
    ]
    return "\n".join(lines)


def describe(model: Model, commitment: int) -> str:
    """Return the processor's name and the torch version."""
    machine = api.evaluate(model, commitment=commitment, steps=200, runs=1).machine
    return f"{machine['cpu']}, torch {machine['versions']['torch']}"


def row(model: Model, commitment: int) -> str:
    """Return one line of the card's table."""
    found = api.evaluate(model, commitment=commitment, steps=20_000, runs=5)
    every = api.evaluate_all_starts(model, commitment=commitment)
    low, high = found.return_ci95 or (float("nan"), float("nan"))
    fraction = (found.bound or {}).get("fraction", float("nan"))
    length = f"{every.length_mean:.3f} steps"
    reached = length if every.optimal_length_mean is not None else f"mean return {every.return_mean:.3f}, {length}"
    return (
        f"| {commitment} | {found.return_mean:.4f} [{low:.4f}, {high:.4f}] | {found.length_mean:.3f} | "
        f"{found.success_rate:.2%} | {found.evaluations_per_episode:.3f} | {found.seconds_per_100k_steps:.2f} | "
        f"{fraction:.2f} | {every.n_solved} of {every.n_starts}, {reached} |"
    )


if __name__ == "__main__":
    sys.exit(main(tyro.cli(Arguments)))
