"""Evaluations pooled into the points of a figure and the rows of a table."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from phr.errors import InvalidDataError
from phr.evaluation.statistics import frequency_averaged_score, stratified_bootstrap
from phr.seeding import Streams

_Key = TypeVar("_Key", bound=Hashable)
Interval = tuple[float, float]

TEACHER = "teacher"
"""Name of the series whose n = 1 point is the reference of every speed-up."""
ACTION_REPEAT = "action repeat"
"""Name of the series that repeats the teacher's action n times."""
OPTIMUM = "optimum"
"""Name of the series that a perfect plan would draw at the same cost of looking."""

_N_RESAMPLES = 2000


@dataclass(frozen=True, kw_only=True)
class Point:
    """What one policy reached in one environment at one n, over all its runs.

    Attributes:
        env_id: Where.
        series: Whose: `teacher`, a loss, `action repeat`, `optimum`.
        n: Actions executed per look.
        n_runs: Runs that were pooled.
        return_mean: Mean over runs of a run's mean return; None if no episode was finished.
        return_ci95: Its interval.
        length_mean: Mean over runs of a run's mean episode length, in steps.
        success_rate: Fraction of successful episodes; None where success cannot be told.
        evaluations_per_episode: Looks per whole episode.
        seconds_per_100k_steps: Wall-clock of 100,000 steps at the measured rate.
        seconds_ci95: Its interval.
        score_per_second: Sum of rewards over wall-clock seconds.
        score_ci95: Its interval.
        bound_fraction: The least possible time over the measured one; None where it was not measured.

    Raises:
        InvalidDataError: If n, the runs or the time is not positive.
    """

    env_id: str
    series: str
    n: int
    n_runs: int
    seconds_per_100k_steps: float
    score_per_second: float
    return_mean: float | None = None
    return_ci95: Interval | None = None
    length_mean: float | None = None
    success_rate: float | None = None
    evaluations_per_episode: float | None = None
    seconds_ci95: Interval | None = None
    score_ci95: Interval | None = None
    bound_fraction: float | None = None

    def __post_init__(self) -> None:
        if self.n < 1 or self.n_runs < 1:
            raise InvalidDataError(f"a point needs n >= 1 and n_runs >= 1, got n={self.n}, n_runs={self.n_runs}")
        if not 0 < self.seconds_per_100k_steps < float("inf"):
            raise InvalidDataError(f"a point needs a positive, finite time, got {self.seconds_per_100k_steps} s")


def pool(series: str, n: int, evaluations: Sequence[Mapping[str, Any]]) -> Point:
    """Pool the evaluations of one or several training seeds.

    Runs are the strata of the return's interval. Times and scores have one value per run, so their intervals
    resample whole runs; with one run they shrink to a point.

    Args:
        series: Name of the line that the point belongs to.
        n: Actions executed per look.
        evaluations: What `Evaluation.to_json` gave, one per training seed.

    Raises:
        InvalidDataError: If there is no evaluation or no step, or environments or commitments differ.
    """
    env_id = _one_env_id(n, evaluations)
    runs = [run for evaluation in evaluations for run in evaluation["runs"]]
    seconds, steps, scores = (np.array([run[key] for run in runs], float) for key in ("seconds_wall", "steps", "score"))
    returns = [np.array(run["returns"], float) for run in runs if run["returns"]]
    streams = Streams(0)
    return Point(
        env_id=env_id,
        series=series,
        n=n,
        n_runs=len(runs),
        return_mean=_mean([values.mean() for values in returns]),
        return_ci95=stratified_bootstrap(returns, streams.rng("pool-returns")) if returns else None,
        length_mean=_mean([np.mean(run["lengths"]) for run in runs if run["lengths"]]),
        success_rate=_mean([evaluation["success_rate"] for evaluation in evaluations]),
        evaluations_per_episode=_mean([evaluation["evaluations_per_episode"] for evaluation in evaluations]),
        seconds_per_100k_steps=float(1e5 * seconds.sum() / steps.sum()),
        seconds_ci95=ratio_interval(1e5 * seconds, steps, streams.rng("pool-seconds")),
        score_per_second=float(scores.sum() / seconds.sum()),
        score_ci95=ratio_interval(scores, seconds, streams.rng("pool-scores")),
        bound_fraction=_mean([(evaluation.get("bound") or {}).get("fraction") for evaluation in evaluations]),
    )


def _one_env_id(n: int, evaluations: Sequence[Mapping[str, Any]]) -> str:
    """The environment that all evaluations share, after checking that they can be pooled."""
    env_ids = sorted({str(evaluation["env_id"]) for evaluation in evaluations})
    if len(env_ids) != 1:
        raise InvalidDataError(f"evaluations of exactly one environment can be pooled, got {env_ids or 'none'}")
    commitments = sorted({str(evaluation["commitment"]) for evaluation in evaluations})
    if len(commitments) != 1:
        raise InvalidDataError(f"evaluations at one commitment can be pooled as n = {n}, got commitments {commitments}")
    if not sum(run["steps"] for evaluation in evaluations for run in evaluation["runs"]):
        raise InvalidDataError(f"the evaluations of {env_ids[0]} at n = {n} hold not a single step")
    return env_ids[0]


def _mean(values: Sequence[Any]) -> float | None:
    """The mean; None where there is nothing, or one of the values is unknown."""
    if not values or any(value is None for value in values):
        return None
    return float(np.mean(values))


def ratio_interval(numerators: NDArray[np.float64], denominators: NDArray[np.float64], rng: np.random.Generator) -> Interval:
    """95 % percentile interval of Σ numerators / Σ denominators, whole runs resampled.

    Args:
        numerators: One per run.
        denominators: One per run, positive.
        rng: Where the resamples come from.

    Source:
        Efron & Tibshirani 1993, chapter 13 (percentile interval).
    """
    drawn = rng.multinomial(len(numerators), np.full(len(numerators), 1 / len(numerators)), size=_N_RESAMPLES)
    low, high = np.quantile((drawn @ numerators) / (drawn @ denominators), [0.025, 0.975])
    return float(low), float(high)


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
