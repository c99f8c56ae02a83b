"""From nothing to a student: how long both stages take with the settings that a user gets."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from phr.envs.registry import make_env
from phr.learning import runs
from phr.learning.presets import student_config, teacher_config
from phr.report.names import env_name
from phr.report.numbers import number
from phr.report.tables import NOTHING, Column, Table
from phr.studies.bench.models import HORIZON, solved_starts

HEADING = "From nothing"


@dataclass(frozen=True, kw_only=True)
class ScratchSettings:
    """What is run, once: minutes, not moments, so there are no rounds.

    Attributes:
        env_id: Where.
        horizon: Of the student.
        teacher: Settings of stage 1 other than the defaults.
        student: Settings of stage 2 other than the defaults.
        seed: Of both stages.
    """

    env_id: str = "MiniGrid-SimpleCrossingS9N1-v0"
    horizon: int = HORIZON
    teacher: Mapping[str, Any] = field(default_factory=dict)
    student: Mapping[str, Any] = field(default_factory=dict)
    seed: int = 0


def measure(settings: ScratchSettings) -> dict[str, Any]:
    """Train a teacher, distil its student, and play every start with both; playing is not timed.

    Recording the teacher's episodes is part of the student's time.
    """
    env_id, seed = settings.env_id, settings.seed
    config = teacher_config(make_env(env_id), seed=seed, **settings.teacher)
    begin = time.perf_counter()
    teacher = runs.train_teacher(env_id, config)
    trained = time.perf_counter()
    options = student_config(env_id, settings.horizon, seed=seed, **settings.student)
    student = runs.distill(teacher.planner, env_id, options, start=teacher.network, teacher_id=teacher.sha256)
    distilled = time.perf_counter()
    return {
        "env_id": env_id,
        "total_timesteps": config.total_timesteps,
        "n_updates": options.n_updates,
        "stages": [
            {
                "name": "teacher",
                "seconds_wall": trained - begin,
                "horizon": 1,
                "starts_solved": solved_starts(teacher, (1,)),
            },
            {
                "name": "student",
                "seconds_wall": distilled - trained,
                "horizon": student.horizon,
                "starts_solved": solved_starts(student, (student.horizon,)),
            },
        ],
    }


def tables(values: Mapping[str, Any]) -> list[Table]:
    """One row per stage."""
    columns = (Column("stage"), Column("horizon", "number"), Column("seconds", "number"), Column("starts solved", "number"))
    rows = tuple(
        (each["name"], str(each["horizon"]), number(each["seconds_wall"], 0), _solved(each["starts_solved"]))
        for each in values["stages"]
    )
    note = (
        f"{env_name(values['env_id'])}, default settings, one seed, one thread: {values['total_timesteps']:,} steps of A2C, "
        f"then {values['n_updates']:,} updates on the teacher's recorded episodes."
    )
    return [Table("From nothing", columns, rows, note=note)]


def _solved(starts: tuple[int, int] | None) -> str:
    return NOTHING if starts is None else f"{starts[0]} of {starts[1]}"
