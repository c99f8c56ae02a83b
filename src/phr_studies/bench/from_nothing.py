"""How long it takes to get from nothing to a teacher that is right everywhere, and from there to a student.

Both run as `phr train` and `phr distill` do, with their presets; a teacher's time is that of its whole preset run.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import phr
from phr.envs import make_env
from phr.evaluation import distinct_starts, play_all_starts
from phr.learning import teacher_config
from phr.progress import OnProgress, silent
from phr.storage import Model
from phr_studies.report.names import env_name
from phr_studies.report.numbers import number
from phr_studies.report.tables import Column, Table

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

    Args:
        settings: What.
        on_progress: Told how training goes on.

    Raises:
        OutputDirectoryError: If the folder holds runs already: those would be resumed, not timed.
        NoSuccessError: If the teacher learnt nothing that a student could copy.
    """
    if settings.out is not None:
        return _measure(settings, settings.out, on_progress)
    with tempfile.TemporaryDirectory() as folder:
        return _measure(settings, Path(folder), on_progress)


def _measure(settings: FromNothingSettings, out: Path, on_progress: OnProgress) -> dict[str, Any]:
    env_id, seed = settings.env_id, settings.seed

    def train() -> Model:
        return phr.train_teacher(env_id, out=out / "teacher", seed=seed, on_progress=on_progress, **settings.teacher)

    teacher, seconds_teacher = _timed(train)

    def distil() -> Model:
        horizon, folder = settings.horizon, out / "student"
        return phr.distill(teacher, horizon=horizon, out=folder, seed=seed, on_progress=on_progress, **settings.student)

    student, seconds_student = _timed(distil)
    return {
        "env_id": env_id,
        "timesteps": teacher_config(make_env(env_id), **settings.teacher).total_timesteps,
        "horizon": settings.horizon,
        "teacher": {"seconds_wall": seconds_teacher, **_solved(teacher)},
        "student": {"seconds_wall": seconds_student, **_solved(student)},
    }


def _timed(work: Callable[[], Model]) -> tuple[Model, float]:
    begin = time.perf_counter()
    model = work()
    return model, time.perf_counter() - begin


def _solved(model: Model) -> dict[str, Any]:
    """How a model fares from every start, executing all that it plans."""
    starts = distinct_starts(make_env(model.env_id))
    result = play_all_starts(model.planner, model.env_id, starts, commitment=model.horizon)
    return {
        "n_solved": result.n_solved,
        "n_starts": result.n_starts,
        "length_mean": result.length_mean,
        "return_mean": result.return_mean,
    }


def tables(values: Mapping[str, Any]) -> list[Table]:
    """One row per stage."""
    columns = (
        Column("stage"), Column("seconds", "number"), Column("starts solved", "number"),
        Column("mean return", "number"), Column("mean length", "number"),
    )  # fmt: skip
    names = {"teacher": "1, the teacher", "student": f"2, a student of horizon {values['horizon']}"}
    rows = tuple(
        (
            text,
            number(values[stage]["seconds_wall"], 1),
            f"{values[stage]['n_solved']} of {values[stage]['n_starts']}",
            number(values[stage]["return_mean"]),
            number(values[stage]["length_mean"]),
        )
        for stage, text in names.items()
    )
    note = (
        f"{env_name(values['env_id'])}, the presets of `phr train` ({values['timesteps']:,} steps, greedy evaluations "
        "and checkpoints included) and `phr distill`; then every start is played greedily, a plan to its end."
    )
    return [Table("", columns, rows, note=note)]
