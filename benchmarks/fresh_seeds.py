"""Check the default settings on seeds that they were not tuned on.

    .venv/bin/python benchmarks/fresh_seeds.py --out runs/fresh-seeds --seeds 11 12 13

Trains teacher and student of both grids with default settings for each seed (as `phr train` and `phr distill --horizon 16`)
and plays every start once at commitment 1, 4, 8 and 16. Prints a Markdown table; exit code 1 if a seed misses its target. An
interrupted call resumes.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
import tyro

from phr.cli.display import ProgressBar, say
from phr.storage.model import load_model
from phr_studies.report.tables import Column, Table, env_name, to_markdown
from phr_studies.reproduce.jobs import StudentJob, TeacherJob
from phr_studies.reproduce.profiles import CROSSING, FOUR_ROOMS, StudyLayout
from phr_studies.workbench import run_jobs
from phr_studies.worlds import all_starts, optimum

HORIZON = 16
LENGTH_TOLERANCE = 1.01
EVALUATIONS = {CROSSING: {4: 4.1, 8: 2.1, 16: 1.05}, FOUR_ROOMS: {}}
"""Maximum evaluations per episode, by commitment."""


@dataclass(frozen=True)
class Arguments:
    """Train and distil with fresh seeds and default settings."""

    out: Path = Path("runs/fresh-seeds")
    """Output directory of the runs."""
    seeds: tuple[int, ...] = (11, 12, 13)
    """Seeds on which no setting was tuned."""


COLUMNS = (
    Column("environment"),
    Column("n", "number"),
    Column("starts solved", "number"),
    Column("mean length (steps)", "number"),
    Column("evals / episode", "number"),
    Column("reached", "verdict"),
)


def main(arguments: Arguments) -> int:
    """Train, play and print; return the exit code."""
    torch.set_num_threads(1)
    layout = StudyLayout(arguments.out)
    places = [(env_id, seed) for seed in arguments.seeds for env_id in (CROSSING, FOUR_ROOMS)]
    train(layout, places)
    rows = [row for env_id, seed in places for row in play(layout, env_id, seed)]
    print(to_markdown(Table("Fresh seeds, default settings", COLUMNS, tuple(rows), grouped=True)))
    return 1 if any(row[-1] == "no" for row in rows) else 0


def train(layout: StudyLayout, places: Sequence[tuple[str, int]]) -> None:
    """Train a teacher and a student for every environment and seed."""
    teachers = [
        TeacherJob(env_id=env_id, seed=seed, directory=layout.teacher(env_id, seed), total_timesteps=None)
        for env_id, seed in places
    ]
    students = [
        StudentJob(
            env_id=env_id,
            teacher=layout.teacher(env_id, seed),
            directory=layout.student(env_id, "cross_entropy", HORIZON, seed),
            horizon=HORIZON,
            settings=(("seed", seed),),
        )
        for env_id, seed in places
    ]
    with ProgressBar() as bar:
        run_jobs(teachers, what="training teachers", say=say, on_progress=bar)
        run_jobs(students, what="distilling students", say=say, on_progress=bar)


def play(layout: StudyLayout, env_id: str, seed: int) -> list[tuple[str, ...]]:
    """Play every start once with the teacher and with the student at each commitment; return one row each."""
    best, student = optimum(env_id), layout.student(env_id, "cross_entropy", HORIZON, seed)
    rows: list[tuple[str, ...]] = []
    for path, n in ((layout.teacher(env_id, seed), 1), *((student, n) for n in (4, 8, 16))):
        found = all_starts(load_model(path).planner, env_id, best, n)
        reached = (
            found["n_solved"] == found["n_starts"]
            and found["length_mean"] <= LENGTH_TOLERANCE * best["length_mean"]
            and found["evaluations_per_episode"] <= EVALUATIONS[env_id].get(n, float("inf"))
        )
        rows.append(
            (
                f"{env_name(env_id)}, seed {seed}",
                str(n),
                f"{found['n_solved']} of {found['n_starts']}",
                f"{found['length_mean']:.3f}",
                f"{found['evaluations_per_episode']:.3f}",
                "yes" if reached else "no",
            )
        )
    return rows


if __name__ == "__main__":
    sys.exit(main(tyro.cli(Arguments)))
