"""How long it takes to get from nothing to a teacher that is right everywhere, and from there to a student.

Both run as `phr train` and `phr distill` do, with their presets; a teacher's time is that of its whole preset run.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import phr
from phr.distil import teacher_config
from phr.envs import make_env
from phr.evaluation import distinct_starts, play_all_starts
from phr.progress import OnProgress, silent
from phr.storage import Model
from phr_studies.report.tables import Column, Table, env_name, number
from phr_studies.reproduce.profiles import CROSSING

HEADING = "From nothing"


@dataclass(frozen=True, kw_only=True)
class FromNothingSettings:
    """What is run."""

    out: Path | None = None
    """Folder of the two runs (None: a temporary one). It must hold none yet: those would be resumed, not timed."""
    env_id: str = CROSSING
    horizon: int = 16
    seed: int = 0
    teacher: Mapping[str, Any] = field(default_factory=dict)
    """Settings that replace the preset's, for a quick look; `student` those of stage 2."""
    student: Mapping[str, Any] = field(default_factory=dict)


def measure(settings: FromNothingSettings, on_progress: OnProgress = silent) -> dict[str, Any]:
    """Train, distil, and play every start with both."""
    if settings.out is None:
        with tempfile.TemporaryDirectory() as folder:
            return measure(replace(settings, out=Path(folder)), on_progress)
    env_id, out = settings.env_id, settings.out
    shared: dict[str, Any] = {"seed": settings.seed, "on_progress": on_progress}
    begin = time.perf_counter()
    teacher = phr.train_teacher(env_id, out=out / "teacher", **shared, **settings.teacher)
    trained = time.perf_counter()
    student = phr.distill(teacher, horizon=settings.horizon, out=out / "student", **shared, **settings.student)
    distilled = time.perf_counter()
    return {
        "env_id": env_id,
        "timesteps": teacher_config(make_env(env_id), **settings.teacher).total_timesteps,
        "horizon": settings.horizon,
        "teacher": {"seconds_wall": trained - begin, **_solved(teacher)},
        "student": {"seconds_wall": distilled - trained, **_solved(student)},
    }


def _solved(model: Model) -> dict[str, Any]:
    """How a model fares from every start, executing all that it plans."""
    starts = distinct_starts(make_env(model.env_id))
    result = play_all_starts(model.planner, model.env_id, starts, commitment=model.horizon)
    names = ("n_solved", "n_starts", "length_mean", "return_mean")
    return {name: getattr(result, name) for name in names}


def tables(values: Mapping[str, Any]) -> list[Table]:
    """One row per stage."""
    columns = (
        Column("stage", cell=lambda row: row["stage"]),
        Column("seconds", "number", lambda row: number(row["seconds_wall"], 1)),
        Column("starts solved", "number", lambda row: f"{row['n_solved']} of {row['n_starts']}"),
        Column("mean return", "number", lambda row: number(row["return_mean"])),
        Column("mean length", "number", lambda row: number(row["length_mean"])),
    )
    names = {"teacher": "1, the teacher", "student": f"2, a student of horizon {values['horizon']}"}
    rows = [{"stage": text, **values[stage]} for stage, text in names.items()]
    note = (
        f"{env_name(values['env_id'])}, the presets of `phr train` ({values['timesteps']:,} steps, greedy evaluations "
        "and checkpoints included) and `phr distill`; then every start is played greedily, a plan to its end."
    )
    return [Table.of("", rows, columns, note)]
