"""The points of a figure, which are the rows of a table, and what they say together."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeVar

from phr.errors import InvalidDataError
from phr.evaluation import frequency_averaged_score

_Key = TypeVar("_Key", bound=Hashable)
Interval = tuple[float, float]
IntervalKind = Literal["none", "range", "bootstrap"]

TEACHER = "teacher"
"""Name of the series whose n = 1 point is the reference of every speed-up."""
ACTION_REPEAT = "action repeat"
"""Name of the series that repeats the teacher's action n times."""
OPTIMUM = "optimum"
"""Name of the series that a perfect plan would draw at the same cost of looking."""

FEWEST_TO_RESAMPLE = 5
"""Resampling fewer values than these says little about others: their range is shown instead."""


@dataclass(frozen=True, kw_only=True)
class Point:
    """What one policy reached in one environment at one n, over all its runs.

    Attributes:
        env_id: Where.
        series: Whose: `teacher`, a loss, `action repeat`, `optimum`.
        n: Actions executed per look.
        n_runs: Runs that were pooled.
        n_seeds: Training seeds that they belong to.
        return_mean: Mean over runs of a run's mean return; None if no episode was finished.
        return_interval: Its interval, of the kind that `interval_kind` says; None where there is none.
        length_mean: Mean over runs of a run's mean episode length, in steps.
        success_rate: Fraction of successful episodes; None where success cannot be told.
        evaluations_per_episode: Looks per whole episode.
        seconds_per_100k_steps: Wall-clock of 100,000 steps at the measured rate.
        seconds_interval: Its interval.
        score_per_second: Sum of rewards over wall-clock seconds.
        score_interval: Its interval.
        bound_fraction: The least possible time over the measured one; None where it was not measured.

    Raises:
        InvalidDataError: If n, the runs, the seeds or the time is not positive, or there are more seeds than runs.
    """

    env_id: str
    series: str
    n: int
    n_runs: int
    n_seeds: int = 1
    seconds_per_100k_steps: float
    score_per_second: float
    return_mean: float | None = None
    return_interval: Interval | None = None
    length_mean: float | None = None
    success_rate: float | None = None
    evaluations_per_episode: float | None = None
    seconds_interval: Interval | None = None
    score_interval: Interval | None = None
    bound_fraction: float | None = None

    def __post_init__(self) -> None:
        if self.n < 1 or self.n_runs < 1:
            raise InvalidDataError(f"a point needs n >= 1 and n_runs >= 1, got n={self.n}, n_runs={self.n_runs}")
        if not 1 <= self.n_seeds <= self.n_runs:
            raise InvalidDataError(f"{self.n_runs} runs cannot belong to {self.n_seeds} training seeds")
        if not 0 < self.seconds_per_100k_steps < float("inf"):
            raise InvalidDataError(f"a point needs a positive, finite time, got {self.seconds_per_100k_steps} s")

    @property
    def interval_kind(self) -> IntervalKind:
        """`bootstrap` (95 %), the `range` from the lowest to the highest run where there are too few, or `none` for one."""
        if self.n_runs == 1:
            return "none"
        # Runs of one training share its weights: where there are several trainings, they are what is counted.
        n_values = self.n_seeds if self.n_seeds > 1 else self.n_runs
        return "bootstrap" if n_values >= FEWEST_TO_RESAMPLE else "range"


def describe_intervals(points: Sequence[Point]) -> str:
    """What the intervals of these points are, in sentences for a caption; empty where none has one."""
    kinds = {point.interval_kind for point in points}
    shown = [point for point in points if point.interval_kind == "bootstrap"]
    parts = []
    if shown:
        many = any(point.n_seeds > 1 for point in shown)
        first = "training seeds, then " if many else ""
        what = f"{first}runs (times, scores) or the episodes within runs (returns)"
        parts.append(f"Intervals: 95 % bootstrap, resampling {what}; {_span(shown)}.")
    if "range" in kinds:
        few = [point for point in points if point.interval_kind == "range"]
        parts.append(f"Intervals: lowest to highest run, too few for a bootstrap; {_span(few)}.")
    return " ".join(parts)


def _span(points: Sequence[Point]) -> str:
    """`10 runs of 5 training seeds`."""
    return f"{_count([p.n_runs for p in points], 'run')} of {_count([p.n_seeds for p in points], 'training seed')}"


def _count(numbers: Sequence[int], noun: str) -> str:
    low, high = min(numbers), max(numbers)
    return f"{low} to {high} {noun}s" if low < high else f"{low} {noun}{'' if low == 1 else 's'}"


def in_order(points: Sequence[Point], key: Callable[[Point], _Key]) -> list[_Key]:
    """The distinct keys of the points, in order of first appearance."""
    return list(dict.fromkeys(key(point) for point in points))


def find(points: Sequence[Point], env_id: str, series: str, n: int) -> Point | None:
    """The point of this environment, series and n; None where it was not measured."""
    return next((p for p in points if (p.env_id, p.series, p.n) == (env_id, series, n)), None)


def frequency_averaged_scores(
    points: Sequence[Point],
    *,
    random_returns: Mapping[str, float],
    teacher_returns: Mapping[str, float],
    frequencies: Sequence[int] = (1, 4, 8, 16),
) -> dict[tuple[str, str], float]:
    """FAS of every series that has a return at every n.

    A series without a point at n = 1 is given the teacher's return there, for at n = 1 the teacher acts.

    Args:
        points: Everything that was measured.
        random_returns: Environment → mean return of uniformly random actions.
        teacher_returns: Environment → mean return of the teacher.
        frequencies: The n to average over.

    Returns:
        (environment, series) → score; series without every n, environments without references are left out.

    Raises:
        InvalidDataError: If a teacher is no better than random play.
    """
    scores = {}
    for env_id, series in in_order(points, lambda point: (point.env_id, point.series)):
        if env_id not in random_returns or env_id not in teacher_returns:
            continue
        own = {point.n: point.return_mean for point in points if (point.env_id, point.series) == (env_id, series)}
        if not any(n in own for n in frequencies if n > 1):
            continue
        own.setdefault(1, teacher_returns[env_id])
        known = {n: value for n in frequencies if (value := own.get(n)) is not None}
        if len(known) == len(frequencies):
            scores[env_id, series] = frequency_averaged_score(
                known, random_return=random_returns[env_id], teacher_return=teacher_returns[env_id]
            )
    return scores
