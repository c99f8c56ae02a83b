"""Evaluations pooled into points, with intervals that say how far another training might land."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from phr.errors import InvalidDataError
from phr.evaluation import two_level_bootstrap, two_level_ratio_bootstrap
from phr.seeding import Streams
from phr_studies.report.points import Interval, IntervalKind, Point

_Runs = Sequence[Mapping[str, Any]]


def pool(series: str, n: int, seeds: Sequence[Sequence[Mapping[str, Any]]]) -> Point:
    """Pool the evaluations of one or several training seeds.

    From five training seeds on (or five runs of a single one) intervals are 95 % bootstrap intervals: training seeds are
    resampled, then the episodes within each run for the return, and whole runs for times and scores, which have one
    value per run. Fewer give the range over runs, a single run none.

    Args:
        series: Name of the line that the point belongs to.
        n: Actions executed per look.
        seeds: For each training seed what `Evaluation.to_json` gave, once or more.

    Raises:
        InvalidDataError: If there is no evaluation or no step, or environments or commitments differ.
    """
    seeds = [evaluations for evaluations in seeds if evaluations]
    together = [evaluation for evaluations in seeds for evaluation in evaluations]
    env_id = _one_env_id(n, together)
    runs = [[run for evaluation in evaluations for run in evaluation["runs"]] for evaluations in seeds]
    point = _means(env_id, series, n, runs, together)
    return replace(point, **_intervals(point.interval_kind, runs))


def _means(env_id: str, series: str, n: int, seeds: Sequence[_Runs], evaluations: Sequence[Mapping[str, Any]]) -> Point:
    """The point without its intervals."""
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
    """The interval of `scale` · Σ above / Σ below."""
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
    env_ids = sorted({str(evaluation["env_id"]) for evaluation in evaluations})
    if len(env_ids) != 1:
        raise InvalidDataError(f"evaluations of exactly one environment can be pooled, got {env_ids or 'none'}")
    commitments = sorted({str(evaluation["commitment"]) for evaluation in evaluations})
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
