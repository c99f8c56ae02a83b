"""The points of a figure, which are the rows of a table: pooled evaluations."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal, NotRequired, TypedDict, TypeVar

import numpy as np
from msgspec import Meta

from phr.errors import InvalidDataError
from phr.evaluation import TOLERATED_FRACTION, frequency_averaged_score
from phr.files import AtLeastZero
from phr.seeding import Streams
from phr_studies.report.bootstrap import two_level_bootstrap, two_level_ratio_bootstrap
from phr_studies.workbench import BUSY

_Key = TypeVar("_Key", bound=Hashable)
Interval = tuple[float, float]
IntervalKind = Literal["none", "range", "bootstrap"]

TEACHER = "teacher"
"""The series whose n = 1 point is the reference of every speed-up."""
ACTION_REPEAT = "action repeat"
"""The series that repeats the teacher's action n times."""
OPTIMUM = "optimum"
"""The series that a perfect plan would draw at the same cost of looking."""

FEWEST_TO_RESAMPLE = 5
"""Resampling fewer values than these says little about others: their range is shown instead."""


@dataclass(frozen=True, kw_only=True)
class Point:
    """What one policy reached in one environment at one n, over all its runs; None is what is unknown.

    Means are over runs of a run's mean; intervals are of the kind that `interval_kind` names.
    """

    env_id: str
    series: str
    """`teacher`, a loss, `action repeat`, `optimum`."""
    n: int
    n_runs: int
    n_seeds: int = 1
    """Training seeds that the runs belong to."""
    seconds_per_100k_steps: float
    score_per_second: float
    """Sum of rewards over wall-clock seconds."""
    return_mean: float | None = None
    return_interval: Interval | None = None
    length_mean: float | None = None
    success_rate: float | None = None
    evaluations_per_episode: float | None = None
    seconds_interval: Interval | None = None
    score_interval: Interval | None = None
    bound_fraction: float | None = None
    """The least possible time over the measured one."""
    n_busy: int = 0
    """Runs that were timed while other programs kept more than `BUSY` of the machine busy."""

    def __post_init__(self) -> None:
        if self.n < 1 or self.n_runs < 1:
            raise InvalidDataError(f"a point needs n >= 1 and n_runs >= 1, got n={self.n}, n_runs={self.n_runs}")
        if not 1 <= self.n_seeds <= self.n_runs:
            raise InvalidDataError(f"{self.n_runs} runs cannot belong to {self.n_seeds} training seeds")
        if not 0 < self.seconds_per_100k_steps < float("inf"):
            raise InvalidDataError(f"a point needs a positive, finite time, got {self.seconds_per_100k_steps} s")

    @property
    def is_out_of_range(self) -> bool:
        """Whether the runs were faster than possible, which only other times than the bound's own can explain."""
        return self.bound_fraction is not None and self.bound_fraction > TOLERATED_FRACTION

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
    """FAS by environment and series; series without a return at every n, environments without references are left out.

    A series without a point at n = 1 is given the teacher's return there, for at n = 1 the teacher acts.
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


class Run(TypedDict):
    """What is read of one run."""

    steps: AtLeastZero
    seconds_wall: Annotated[float, Meta(gt=0)]
    score: float
    returns: list[float]
    lengths: list[int]


class _Bound(TypedDict):
    fraction: float


class Machine(TypedDict):
    """What `describe_machine` gave."""

    cpu: str
    threads: int
    versions: dict[str, str]
    busy: NotRequired[float | None]


class Evaluated(TypedDict):
    """What is read of `Evaluation.to_json`."""

    env_id: str
    commitment: int | str
    machine: Machine
    success_rate: float | None
    evaluations_per_episode: float | None
    bound: NotRequired[_Bound | None]
    bound_warning: NotRequired[str | None]
    runs: Annotated[list[Run], Meta(min_length=1)]


_Runs = Sequence[Mapping[str, Any]]


def pool(series: str, n: int, seeds: Sequence[Sequence[Mapping[str, Any]]]) -> Point:
    """Pool the evaluations of one or several training seeds.

    From five training seeds on (or five runs of a single one) intervals are 95 % bootstrap intervals: training seeds are
    resampled, then the episodes within each run for the return, and whole runs for times and scores, which have one
    value per run. Fewer give the range over runs, a single run none.

    `seeds`: for each training seed what `Evaluation.to_json` gave, once or more.
    """
    seeds = [evaluations for evaluations in seeds if evaluations]
    together = [evaluation for evaluations in seeds for evaluation in evaluations]
    env_id = _one_env_id(n, together)
    runs = [[run for evaluation in evaluations for run in evaluation["runs"]] for evaluations in seeds]
    point = _means(env_id, series, n, runs, together)
    return replace(point, **_intervals(point.interval_kind, runs))


def _means(env_id: str, series: str, n: int, seeds: Sequence[_Runs], evaluations: Sequence[Mapping[str, Any]]) -> Point:
    runs = [run for seed in seeds for run in seed]
    seconds, steps, score = (sum(run[key] for run in runs) for key in ("seconds_wall", "steps", "score"))
    return Point(
        env_id=env_id,
        series=series,
        n=n,
        n_runs=len(runs),
        n_seeds=len(seeds),
        return_mean=_mean([np.mean(run["returns"]) for run in runs if run["returns"]]),
        length_mean=_mean([np.mean(run["lengths"]) for run in runs if run["lengths"]]),
        success_rate=_mean([evaluation["success_rate"] for evaluation in evaluations]),
        evaluations_per_episode=_mean([evaluation["evaluations_per_episode"] for evaluation in evaluations]),
        seconds_per_100k_steps=float(1e5 * seconds / steps),
        score_per_second=float(score / seconds),
        n_busy=sum((evaluation.get("machine", {}).get("busy") or 0.0) > BUSY for evaluation in evaluations),
        bound_fraction=_median([(evaluation.get("bound") or {}).get("fraction") for evaluation in evaluations]),
    )


def _intervals(kind: IntervalKind, seeds: Sequence[_Runs]) -> dict[str, Any]:
    """The intervals of a point by the names of its fields."""
    if kind == "none":
        return {}
    returns = [[np.array(run["returns"], float) for run in runs if run["returns"]] for runs in seeds]
    found = {
        "seconds_interval": _ratio_interval(kind, seeds, "seconds_wall", "steps", 1e5),
        "score_interval": _ratio_interval(kind, seeds, "score", "seconds_wall", 1.0),
    }
    if any(returns):
        means = [float(values.mean()) for runs in returns for values in runs]
        few = kind == "range"
        found["return_interval"] = (min(means), max(means)) if few else two_level_bootstrap(returns, _rng("returns"))
    return found


def _ratio_interval(kind: IntervalKind, seeds: Sequence[_Runs], above: str, below: str, scale: float) -> Interval:
    pairs = [
        (np.array([scale * run[above] for run in runs], float), np.array([run[below] for run in runs], float))
        for runs in seeds
    ]
    if kind == "bootstrap":
        return two_level_ratio_bootstrap(pairs, _rng(above))
    each = np.concatenate([numerators / denominators for numerators, denominators in pairs])
    return float(each.min()), float(each.max())


def _rng(name: str) -> np.random.Generator:
    return Streams(0).rng(f"pool-{name}")


def _one_env_id(n: int, evaluations: Sequence[Mapping[str, Any]]) -> str:
    """The environment that all evaluations share, after checking that they can be pooled."""
    env_ids, commitments = (sorted({str(each[key]) for each in evaluations}) for key in ("env_id", "commitment"))
    if len(env_ids) != 1:
        raise InvalidDataError(f"evaluations of exactly one environment can be pooled, got {env_ids or 'none'}")
    if len(commitments) != 1:
        raise InvalidDataError(f"evaluations at one commitment can be pooled as n = {n}, got commitments {commitments}")
    if not sum(run["steps"] for evaluation in evaluations for run in evaluation["runs"]):
        raise InvalidDataError(f"the evaluations of {env_ids[0]} at n = {n} hold not a single step")
    return env_ids[0]


def _median(values: Sequence[float | None]) -> float | None:
    """The median of those that were measured; None where none was."""
    known = [value for value in values if value is not None]
    return float(np.median(known)) if known else None


def _mean(values: Sequence[Any]) -> float | None:
    """The mean; None where there is nothing, or one of the values is unknown."""
    if not values or any(value is None for value in values):
        return None
    return float(np.mean(values))
