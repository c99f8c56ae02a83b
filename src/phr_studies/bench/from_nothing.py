"""How long it takes to get from nothing to a teacher that is right everywhere, and from there to a student.

Both run as `phr train` and `phr distill` do, with their presets; a teacher's time is that of its whole preset run.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import phr
from phr.distil import teacher_config
from phr.envs import make_env
from phr.evaluation import distinct_starts, play_all_starts
from phr.progress import OnProgress, silent
from phr.storage import Model
from phr_studies.report.tables import Column, Table, env_name, number

HEADING = "From nothing"


@dataclass(frozen=True, kw_only=True)
class FromNothingSettings:
    """What is run.

    Attributes:
        out: Folder of the two runs; it must not hold any yet. None takes a temporary one.
        env_id: An environment with few starts.
        horizon: Of the student.
        seed: Of both stages.
        teacher: Settings that replace the preset's, for a quick look.
        student: The same for stage 2.
    """

    out: Path | None = None
    env_id: str = "MiniGrid-SimpleCrossingS9N1-v0"
    horizon: int = 16
    seed: int = 0
    teacher: Mapping[str, Any] = field(default_factory=dict)
    student: Mapping[str, Any] = field(default_factory=dict)


def measure(settings: FromNothingSettings, on_progress: OnProgress = silent) -> dict[str, Any]:
    """Train, distil, and play every start with both.

    Raises:
        OutputDirectoryError: If the folder holds runs already: those would be resumed, not timed.
        NoSuccessError: If the teacher learnt nothing that a student could copy.
    """
    if settings.out is not None:
        return _measure(settings, settings.out, on_progress)
    with tempfile.TemporaryDirectory() as folder:
        return _measure(settings, Path(folder), on_progress)


def _measure(settings: FromNothingSettings, out: Path, on_progress: OnProgress) -> dict[str, Any]:
    env_id = settings.env_id
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
