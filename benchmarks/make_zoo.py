"""Make the zoo from a finished study: teacher and student of both grids, each with its card.

    make reproduce
    .venv/bin/python benchmarks/make_zoo.py --study runs/reproduce --out zoo

Takes the models of seed 0, evaluates them with nothing beside them, and writes
`zoo/NAME/{model.safetensors, manifest.json, config.json, README.md, curve.png, COMPLETE}`.

The reference networks of `phr bench`, whose widths are fixed so that figures can be compared, are distilled here, from the
search oracle:

    .venv/bin/python benchmarks/make_zoo.py --references --out zoo

Models trained by hand are filed from a folder that holds the runs `teacher` and `student`; the teacher may have been trained
further from a run `first`:

    .venv/bin/python benchmarks/make_zoo.py --runs runs/pong --family pong --out zoo
"""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import tyro

from phr import api
from phr.cli.display import ProgressBar, say
from phr.files import read_json, read_jsonl, write_text
from phr.learning.settings import said_settings
from phr.learning.student_presets import student_config
from phr.manifest import COMPLETE
from phr.storage.model import Model, load_model, save_model
from phr_studies.bench.models import REFERENCES, distil_reference, solved_starts
from phr_studies.report.lines import STUDENT_CURVE, TEACHER_CURVE, curve
from phr_studies.reproduce.profiles import CROSSING, FOUR_ROOMS, StudyLayout

NAMES = {"crossing": CROSSING, "four-rooms": FOUR_ROOMS}
Origin = Callable[[str, Model], list[str]]
"""(name, model) → the lines of its card that say where it comes from."""
LOSS, HORIZON, SEED = "cross_entropy", 16, 0
COMMITMENTS = (1, 4, 8, 16)


@dataclass(frozen=True)
class Arguments:
    """Evaluate and file the models of a study."""

    study: Path = Path("runs/reproduce")
    """A finished study of phr reproduce."""
    references: bool = False
    """Distil the bench's reference students instead, into runs/references."""
    runs: Path | None = None
    """File the runs `teacher` and `student` of this folder instead, those that are finished."""
    family: str = "pong"
    """What to call those: zoo:FAMILY-teacher and zoo:FAMILY-student."""
    out: Path = Path("zoo")
    """Where the models go."""


def main(arguments: Arguments) -> int:
    """File the models, one after another."""
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
    """Distil and file the reference students; a start that one does not solve is a failure."""
    for name, env_id in REFERENCES.items():
        run = Path("runs/references") / name
        with ProgressBar() as bar:
            model = distil_reference(env_id, run, on_progress=bar)
        solved = solved_starts(model, COMMITMENTS)
        if solved is None or solved[0] < solved[1]:
            say(f"{name} solves {solved} of its starts; it is not filed")
            return 1
        file_model(run, out / name, COMMITMENTS, from_oracle)
    return 0


def file_model(run: Path, place: Path, commitments: tuple[int, ...], origin: Origin, *, teacher: str | None = None) -> None:
    """Copy a run's model into the zoo and write its card; `teacher` is what a student's own is called there."""
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
    say(f"filed {place}")


def from_study(name: str, model: Model) -> list[str]:
    """Where a study's model comes from, and what a user types to train it again."""
    return [
        f"A {model.manifest.kind} for `{model.env_id}`, horizon {model.horizon}, seed {SEED}, trained by `make reproduce`.",
        "The same by hand, with default settings:",
        "",
        *commands(model, f"runs/{name.rpartition('-')[0]}-"),
    ]


def by_hand(name: str, model: Model) -> list[str]:
    """Where a model comes from that was trained outside a study, and what trains it again."""
    return [
        f"A {model.manifest.kind} for `{model.env_id}`, horizon {model.horizon}, seed {SEED}, with default settings but for "
        "those said here:",
        "",
        *commands(model, f"runs/{name.rpartition('-')[0]}/", " --threads 2", trained_further(name, model)),
    ]


def trained_further(name: str, model: Model) -> dict[str, Any] | None:
    """The settings with which the family's teacher was trained further, None if it was not; it is filed beside the model."""
    file = (
        None if model.directory is None else model.directory.with_name(f"{name.rpartition('-')[0]}-teacher") / "config.json"
    )
    run: dict[str, Any] = read_json(file) if file is not None and file.exists() else {}
    return run["settings"] if "start" in run else None


def commands(model: Model, runs: str, words: str = "", further: dict[str, Any] | None = None) -> list[str]:
    """What trains a model again, as a block of shell commands.

    Args:
        model: Which.
        runs: Begins the names of folders.
        words: End a line.
        further: Settings of a second training of the teacher, where there was one.
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
    """The settings of a student that are not those that `phr distill` takes by itself, as its options."""
    assert model.directory is not None  # it was filed
    settings: dict[str, Any] = read_json(model.directory / "config.json")["settings"]
    usual = json.loads(json.dumps(said_settings(student_config(model.env_id, HORIZON, seed=SEED))))
    return [f" --{name.replace('_', '-')} {value}" for name, value in settings.items() if value != usual.get(name)]


def from_oracle(name: str, model: Model) -> list[str]:
    """Where a reference student comes from, and what makes it again."""
    return [
        f"The reference network of `phr bench` for `{model.env_id}`: 3×3 convolutions 32-64-64, fully connected 512, "
        f"horizon {model.horizon}, seed {SEED}, distilled from the search oracle by",
        "",
        "```sh",
        "python benchmarks/make_zoo.py --references",
        "```",
    ]


def card(name: str, model: Model, commitments: tuple[int, ...], origin: list[str]) -> str:
    """The model's card, in Markdown."""
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
        "![The training's curve](curve.png)",
        "",
    ]
    return "\n".join(lines)


def describe(model: Model, commitment: int) -> str:
    """The machine, by its own name."""
    machine = api.evaluate(model, commitment=commitment, steps=200, runs=1).machine
    return f"{machine['cpu']}, torch {machine['versions']['torch']}"


def row(model: Model, commitment: int) -> str:
    """One line of the card's table."""
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
