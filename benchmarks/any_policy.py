"""How much of a policy that others trained a student keeps, and how many looks it saves.

    .venv/bin/python benchmarks/any_policy.py --out runs/any-policy

One row each: a teacher is trained (`examples/train_sb3_teacher.py`, or `phr train` on grids), distilled with the settings
that `phr distill TEACHER --env-id ID --horizon n` takes by itself, and both play the same 100 episodes greedily, the student
executing its whole plans: the episodes of `phr evaluate MODEL --env-id ID --runs 100 --episodes 1 --seed 1000`. Prints a
Markdown table and writes it beside a JSON of each row; exit code 1 if a row misses its target. A row that is there is not
done again, nor is a teacher; `--teachers` takes trained ones from elsewhere.
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
from phr.evaluation.episodes import Episodes, make_vector, play_episodes
from phr.evaluation.starts import run_randomness
from phr.evaluation.statistics import stratified_bootstrap
from phr.files import write_text
from phr.manifest import COMPLETE
from phr.protocols import Planner
from phr.teachers.references import resolve
from phr_studies.report.tables import NOTHING, Column, Table, to_markdown
from phr_studies.report.text import interval, number, times
from phr_studies.workbench import once

TRAIN_SB3 = Path(__file__).parent.parent / "examples" / "train_sb3_teacher.py"
SEED = 1000
"""Of the evaluation; no training draws from its streams."""
LANES = 50

Kind = Literal["return", "cost", "grid"]


class TeacherFailedError(PhrError):
    """A teacher could not be trained."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """An environment, whose policy is distilled there, and what is asked of the student.

    Attributes:
        name: Of its files, and for `--only`.
        env_id: Where.
        teacher: Who trains it; a file of Stable-Baselines3, or a run directory of phr where it is `phr A2C`.
        horizon: n, predicted and executed.
        kind: What is kept: of a return, student / teacher; of a cost, teacher / student; on a grid, successes.
        saved: Least ratio of evaluations per step, teacher / student.
        kept: Least part that is kept.
        longer: Most that a grid's episodes may grow, as a factor.
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
    """Train, distil, play both, print what was kept and saved."""

    only: tuple[str, ...] = ()
    """Names of rows; all by default."""
    out: Path = Path("runs/any-policy")
    """Where teachers, students, one JSON for each row and any-policy.md go."""
    teachers: Path | None = None
    """A folder of trained teachers: NAME.zip, or a run directory NAME."""
    episodes: int = 100
    """Episodes that each of both plays."""
    seed: int = 0
    """Of both trainings."""


def main(arguments: Arguments, rows: Sequence[Row] = ROWS) -> int:
    """Do what is missing, print, write."""
    torch.set_num_threads(1)
    names = {row.name for row in rows}
    if unknown := set(arguments.only) - names:
        raise UsageError(f"there is no row {sorted(unknown)[0]!r}; choose from {', '.join(sorted(names))}")
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
    """A row, measured where it is not there; judged by what is asked for now.

    Raises:
        UsageError: If the one that is there was measured otherwise.
    """
    file = arguments.out / f"{row.name}.json"
    result: dict[str, Any] = once(file, partial(measure, row, arguments))
    for name, asked in _said(row, arguments).items():
        if (there := result.get(name)) != asked:
            raise UsageError(f"{file} was measured with {name} {there}, not {asked}; remove it, or give another --out")
    return {**result, **verdict(row, result["of_teacher"], result["of_student"])}


def _said(row: Row, arguments: Arguments) -> dict[str, Any]:
    """What a measured row says of itself, and is known by."""
    return {
        "env_id": row.env_id,
        "teacher": row.teacher,
        "horizon": row.horizon,
        "commitment": row.horizon,
        "episodes": arguments.episodes,
        "seed": arguments.seed,
    }


def measure(row: Row, arguments: Arguments) -> dict[str, Any]:
    """One row, from the teacher's training to both evaluations."""
    teacher = trained_teacher(row, arguments)
    out = arguments.out / "students" / row.name
    if out.exists():
        shutil.rmtree(out)  # of a call that was killed; the time of going on would be that of the rest alone
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
    """The teacher's file or folder, trained where it is missing.

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
            raise TeacherFailedError(f"{' '.join(command)} failed with exit code {code}; its own words are above")
    return file


def play(planner: Planner, env_id: str, starts: Sequence[Start]) -> Episodes:
    """One greedy episode from each start, whole plans executed."""
    vector = make_vector(env_id, min(LANES, len(starts)))
    episodes = play_episodes(planner, vector, starts)
    vector.close()
    return episodes


def summary(episodes: Episodes) -> dict[str, Any]:
    """What was collected, with the interval of its mean, and the looks that it took."""
    low, high = stratified_bootstrap([episodes.returns], np.random.default_rng(0))
    return {
        "return_mean": float(episodes.returns.mean()),
        "return_ci95": [low, high],
        "length_mean": float(episodes.lengths.mean()),
        "success_rate": float(episodes.success.mean()),
        "evaluations_per_step": float(episodes.evaluations.sum() / episodes.lengths.sum()),
        "returns": episodes.returns.tolist(),
        "lengths": episodes.lengths.tolist(),
    }


def verdict(row: Row, teacher: dict[str, Any], student: dict[str, Any]) -> dict[str, Any]:
    """What was saved and kept, and whether it is what the row asks for.

    A teacher that collects less than nothing where returns count, or something where costs do, has nothing to be kept: a
    ratio would praise the worse student.
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
    """One line for each row that was measured."""
    played = " or ".join(str(n) for n in sorted({result["episodes"] for _, result in found})) or "No"
    note = (
        f"{played} greedy episodes of each, the same for teacher and student, with bootstrap intervals of the mean; "
        "whole plans of n actions are executed. Saved: ratio of evaluations per step. Kept: student / teacher; of costs "
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
