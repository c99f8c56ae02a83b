"""Measure how much of a third-party policy's return a student keeps, and how many looks it saves.

    .venv/bin/python benchmarks/any_policy.py --out runs/any-policy

For each row it trains a teacher (`examples/train_sb3_teacher.py`, or `phr train` on grids) and distils it with the defaults
of `phr distill TEACHER --env-id ID --horizon n`. Both then play the same 100 episodes greedily, the student with whole
plans: the episodes of `phr evaluate MODEL --env-id ID --runs 100 --episodes 1 --seed 1000`. A look is one network evaluation
on a fresh observation. Prints a Markdown table and writes it, with one JSON file per row; exit code 1 if a row misses its
target. Existing rows and teachers are reused; `--teachers` uses teachers from another directory.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import tyro

from phr import api
from phr.cli.display import ProgressBar, say
from phr.envs.vector import Start
from phr.errors import PhrError, UsageError
from phr.evaluation.episodes import Episodes, make_vector, play_episodes, run_randomness
from phr.evaluation.evaluate import stratified_bootstrap
from phr.files import write_text
from phr.manifest import COMPLETE
from phr.plan import Planner
from phr.teachers.references import resolve
from phr_studies.report.tables import NOTHING, Column, Table, interval, number, times, to_markdown
from phr_studies.workbench import once

TRAIN_SB3 = Path(__file__).parent.parent / "examples" / "train_sb3_teacher.py"
SEED = 1000
"""Seed of the evaluation; training never uses its random streams."""
LANES = 50

Kind = Literal["return", "cost", "grid"]


class TeacherFailedError(PhrError):
    """A teacher could not be trained."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """An environment, its teacher, and the targets of the student.

    Attributes:
        name: Name of its files, and for `--only`.
        env_id: Environment id.
        teacher: Algorithm; a Stable-Baselines3 file, or a run directory of phr if it is `phr A2C`.
        horizon: n, predicted and executed.
        kind: Definition of "kept": for a return, student / teacher; for a cost, teacher / student; on a grid, successes.
        saved: Minimum ratio of evaluations per step, teacher / student.
        kept: Minimum share that is kept.
        longer: Maximum ratio of episode lengths on a grid.
    """

    name: str
    env_id: str
    teacher: str
    horizon: int
    kind: Kind
    saved: float
    kept: float
    longer: float = 1.05


def _grid(name: str, env_id: str) -> Row:
    return Row(name=name, env_id=env_id, teacher="phr A2C", horizon=8, kind="grid", saved=4, kept=0.98)


WITHIN_3_PERCENT = 1 / 1.03

ROWS = (
    Row(name="cartpole", env_id="CartPole-v1", teacher="SB3 PPO", horizon=8, kind="return", saved=7, kept=0.99),
    Row(name="acrobot", env_id="Acrobot-v1", teacher="SB3 PPO", horizon=8, kind="cost", saved=7, kept=WITHIN_3_PERCENT),
    Row(
        name="mountaincar",
        env_id="MountainCar-v0",
        teacher="SB3 DQN",
        horizon=8,
        kind="cost",
        saved=7,
        kept=WITHIN_3_PERCENT,
    ),
    Row(name="lunarlander", env_id="LunarLander-v3", teacher="SB3 PPO", horizon=4, kind="return", saved=3.9, kept=0.97),
    _grid("lavacrossing", "MiniGrid-LavaCrossingS9N1-v0"),
    _grid("doorkey", "MiniGrid-DoorKey-5x5-v0"),
    _grid("multiroom", "MiniGrid-MultiRoom-N2-S4-v0"),
    Row(name="pendulum", env_id="Pendulum-v1", teacher="SB3 SAC", horizon=4, kind="cost", saved=3, kept=0.95),
    Row(name="halfcheetah", env_id="HalfCheetah-v5", teacher="SB3 SAC", horizon=4, kind="return", saved=3, kept=0.95),
)


@dataclass(frozen=True)
class Arguments:
    """Train, distil, play teacher and student, print what was kept and saved."""

    only: tuple[str, ...] = ()
    """Names of rows (default: all)."""
    out: Path = Path("runs/any-policy")
    """Output directory for teachers, students, one JSON file per row, and any-policy.md."""
    teachers: Path | None = None
    """A directory of trained teachers: NAME.zip, or a run directory NAME."""
    episodes: int = 100
    """Episodes for each of teacher and student."""
    seed: int = 0
    """Seed of both trainings."""


def main(arguments: Arguments, rows: Sequence[Row] = ROWS) -> int:
    """Compute missing rows, print and write the table."""
    torch.set_num_threads(1)
    names = {row.name for row in rows}
    if unknown := set(arguments.only) - names:
        raise UsageError(f"--only must be among {', '.join(sorted(names))}; got {sorted(unknown)[0]!r}")
    found: list[tuple[Row, dict[str, Any]]] = []
    failed = False
    for row in rows:
        if arguments.only and row.name not in arguments.only:
            continue
        try:
            found.append((row, measured_once(row, arguments)))
        except PhrError as error:
            failed = True
            say(f"{row.env_id}: {error}")
    text = to_markdown(table_of(found))
    write_text(arguments.out / "any-policy.md", text)
    print(text)
    return 1 if failed or not all(result["met"] for _, result in found) else 0


def measured_once(row: Row, arguments: Arguments) -> dict[str, Any]:
    """Return a row, measured if it is missing, judged by the current targets.

    Raises:
        UsageError: If the existing one was measured with other arguments.
    """
    file = arguments.out / f"{row.name}.json"
    result: dict[str, Any] = once(file, partial(measure, row, arguments))
    for name, asked in _said(row, arguments).items():
        if (there := result.get(name)) != asked:
            raise UsageError(
                f"{file} was measured with {name} {there!r}, expected {asked!r}; remove it, or choose another --out"
            )
    return {**result, **verdict(row, result["of_teacher"], result["of_student"])}


def _said(row: Row, arguments: Arguments) -> dict[str, Any]:
    """Return the arguments that a measured row records."""
    return {
        "env_id": row.env_id,
        "teacher": row.teacher,
        "horizon": row.horizon,
        "commitment": row.horizon,
        "episodes": arguments.episodes,
        "seed": arguments.seed,
    }


def measure(row: Row, arguments: Arguments) -> dict[str, Any]:
    """Measure one row, from the teacher's training to both evaluations."""
    teacher = trained_teacher(row, arguments)
    out = arguments.out / "students" / row.name
    if out.exists():
        shutil.rmtree(out)  # from a killed call; resuming would time only the remainder
    began = time.perf_counter()
    with ProgressBar() as bar:
        student = api.distill(
            str(teacher),
            env_id=row.env_id,
            horizon=row.horizon,
            out=out,
            seed=arguments.seed,
            on_progress=bar,
            say=say,
        )
    seconds = time.perf_counter() - began
    actor = resolve(str(teacher), env_id=row.env_id)
    starts = [Start(run_randomness(SEED, index)[0]) for index in range(arguments.episodes)]
    of_teacher = play(actor.planner, row.env_id, starts)
    of_student = play(student.planner, row.env_id, starts)
    result = {
        **_said(row, arguments),
        "refine": len(student.manifest.notes.get("refinement", ())),
        "seconds_distil": seconds,
        "of_teacher": summary(of_teacher),
        "of_student": summary(of_student),
    }
    return {**result, **verdict(row, result["of_teacher"], result["of_student"])}


def trained_teacher(row: Row, arguments: Arguments) -> Path:
    """Return the teacher's file or directory, trained if it is missing.

    Raises:
        TeacherFailedError: If the script that trains it fails.
    """
    folder = arguments.teachers or arguments.out / "teachers"
    if row.teacher == "phr A2C":
        if not (folder / row.name / COMPLETE).exists():
            with ProgressBar() as bar:
                api.train_teacher(row.env_id, out=folder / row.name, seed=arguments.seed, resume=True, on_progress=bar)
        return folder / row.name
    file = folder / f"{row.name}.zip"
    if not file.exists():
        command = [sys.executable, str(TRAIN_SB3), row.env_id, "--out", str(file), "--seed", str(arguments.seed)]
        if (code := subprocess.run(command, check=False).returncode) != 0:
            raise TeacherFailedError(f"{' '.join(command)} failed with exit code {code}; see its output above")
    return file


def play(planner: Planner, env_id: str, starts: Sequence[Start]) -> Episodes:
    """Play one greedy episode from each start, with whole plans."""
    with make_vector(env_id, min(LANES, len(starts))) as vector:
        return play_episodes(planner, vector, starts)


def summary(episodes: Episodes) -> dict[str, Any]:
    """Return mean return with its interval, length, success rate and evaluations per step."""
    low, high = stratified_bootstrap([episodes.returns], np.random.default_rng(0))
    return {
        "return_mean": float(episodes.returns.mean()),
        "return_ci95": [low, high],
        "length_mean": float(episodes.lengths.mean()),
        "success_rate": None if episodes.n_successes is None else episodes.n_successes / len(episodes.success),
        "evaluations_per_step": float(episodes.evaluations.sum() / episodes.lengths.sum()),
        "returns": episodes.returns.tolist(),
        "lengths": episodes.lengths.tolist(),
    }


def verdict(row: Row, teacher: dict[str, Any], student: dict[str, Any]) -> dict[str, Any]:
    """Return what was saved and kept, and whether the row meets its targets.

    Nothing is kept of a teacher with a negative return where returns count, or a positive one where costs do: the ratio
    would favour the worse student.
    """
    saved = teacher["evaluations_per_step"] / student["evaluations_per_step"]
    key = "success_rate" if row.kind == "grid" else "return_mean"
    sign = -1 if row.kind == "cost" else 1
    above, below = (teacher, student) if row.kind == "cost" else (student, teacher)
    kept = above[key] / below[key] if sign * teacher[key] > 0 and sign * below[key] > 0 else 0.0
    longer = student["length_mean"] / teacher["length_mean"]
    met = saved >= row.saved and kept >= row.kept and (row.kind != "grid" or longer <= row.longer)
    return {"saved": saved, "kept": kept, "longer": longer, "met": bool(met)}


COLUMNS = (
    Column("environment"),
    Column("teacher"),
    Column("its return", "number"),
    Column("95 %", "interval"),
    Column("n", "number"),
    Column("refine", "number"),
    Column("evals / step, teacher", "number"),
    Column("student", "number"),
    Column("saved", "number"),
    Column("student's return", "number"),
    Column("95 %", "interval"),
    Column("kept", "number"),
    Column("success, teacher → student", "number"),
    Column("length, teacher → student", "number"),
    Column("distilled in (s)", "number"),
    Column("target"),
    Column("met", "verdict"),
)


def table_of(found: Sequence[tuple[Row, dict[str, Any]]]) -> Table:
    """Return the table, one line per measured row."""
    played = " or ".join(str(n) for n in sorted({result["episodes"] for _, result in found})) or "No"
    note = (
        f"{played} greedy episodes of each, the same for teacher and student, with bootstrap intervals of the mean; "
        "whole plans of n actions are executed. Saved: ratio of evaluations per step. Kept: student / teacher; for costs "
        "(negative returns) teacher / student; on grids the ratio of success rates."
    )
    return Table("", COLUMNS, tuple(_line(row, result) for row, result in found), note)


def _line(row: Row, result: dict[str, Any]) -> tuple[str, ...]:
    teacher, student = result["of_teacher"], result["of_student"]
    grid = row.kind == "grid"
    target = f"≥ {row.saved:g}×, ≥ {row.kept:.3g}" + (f", length ≤ {row.longer:g}×" if grid else "")
    return (
        row.env_id,
        row.teacher,
        number(teacher["return_mean"]),
        interval(tuple(teacher["return_ci95"])),
        str(result["horizon"]),
        str(result["refine"]),
        number(teacher["evaluations_per_step"], 3),
        number(student["evaluations_per_step"], 3),
        times(result["saved"]),
        number(student["return_mean"]),
        interval(tuple(student["return_ci95"])),
        number(result["kept"], 3),
        f"{teacher['success_rate']:.2f} → {student['success_rate']:.2f}" if grid else NOTHING,
        f"{number(teacher['length_mean'])} → {number(student['length_mean'])}",
        number(result["seconds_distil"], 0),
        target,
        "yes" if result["met"] else "no",
    )


if __name__ == "__main__":
    sys.exit(main(tyro.cli(Arguments)))
