"""Intervals over training seeds."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from phr.errors import InvalidDataError
from phr.evaluation import percentile_interval, sums_of_means


def two_level_bootstrap(
    seeds: Sequence[Sequence[NDArray[np.float64]]],
    rng: np.random.Generator,
    *,
    confidence: float = 0.95,
    n_resamples: int = 2000,
) -> tuple[float, float]:
    """Percentile interval of the mean over runs of each run's mean, training seeds resampled too.

    `seeds`: for each training seed its runs, one array of values each; empty runs and seeds are left out. First whole seeds
    are drawn with replacement, then the values within each run of every drawn seed, again each time that a seed is drawn.
    What differs from one training to the next is then part of the interval; one seed alone gives the interval of its runs.

    Source: Davison & Hinkley 1997, section 3.8 (hierarchical data, both levels with replacement).
    """
    filled = [[np.asarray(run, np.float64) for run in runs if len(run)] for runs in seeds]
    filled = [runs for runs in filled if runs]

    def draw(index: int, n: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        return sums_of_means(filled[index], rng, n), np.full(n, float(len(filled[index])))

    return percentile_interval(_resample_seeds(len(filled), draw, rng, n_resamples), confidence)


def two_level_ratio_bootstrap(
    seeds: Sequence[tuple[NDArray[np.float64], NDArray[np.float64]]],
    rng: np.random.Generator,
    *,
    confidence: float = 0.95,
    n_resamples: int = 2000,
) -> tuple[float, float]:
    """Percentile interval of Σ numerators / Σ denominators: seeds resampled, then whole runs within each of them.

    `seeds`: for each training seed the numerators and the positive denominators of its runs, at least one.
    """

    def draw(index: int, n: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        numerators, denominators = seeds[index]
        n_runs = len(numerators)
        drawn = rng.multinomial(n_runs, np.full(n_runs, 1 / n_runs), size=n)
        return drawn @ numerators, drawn @ denominators

    return percentile_interval(_resample_seeds(len(seeds), draw, rng, n_resamples), confidence)


def _resample_seeds(
    n_seeds: int,
    draw: Callable[[int, int], tuple[NDArray[np.float64], NDArray[np.float64]]],
    rng: np.random.Generator,
    n_resamples: int,
) -> NDArray[np.float64]:
    """Σ numerators / Σ denominators over `n_seeds` draws of a seed; `draw(seed, n)` resamples within it n times."""
    if not n_seeds:
        raise InvalidDataError("an interval needs at least one value")
    numerators, denominators = np.zeros(n_resamples), np.zeros(n_resamples)
    for _ in range(n_seeds):
        chosen = rng.integers(n_seeds, size=n_resamples)
        for index in range(n_seeds):
            rows = np.flatnonzero(chosen == index)
            above, below = draw(index, len(rows))
            numerators[rows] += above
            denominators[rows] += below
    return numerators / denominators
