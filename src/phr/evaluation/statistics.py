"""Summaries with honest intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from phr.errors import InvalidDataError


def stratified_bootstrap(
    strata: Sequence[NDArray[np.float64]],
    rng: np.random.Generator,
    *,
    confidence: float = 0.95,
    n_resamples: int = 2000,
) -> tuple[float, float]:
    """Percentile interval of the mean over strata of each stratum's mean.

    Values are resampled within their own stratum (a run, a seed), so every resample holds every run, as often as the data
    do.

    Args:
        strata: One array of values per run; empty ones are left out.
        rng: Where the resamples come from.
        confidence: Mass inside the interval.
        n_resamples: Resamples to draw.

    Returns:
        Lower and upper end.

    Raises:
        InvalidDataError: If there is no value at all.

    Source:
        Agarwal et al. 2021 (arXiv:2108.13264), section 4; Efron & Tibshirani 1993, chapter 13 (percentile interval).
    """
    filled = [np.asarray(stratum, np.float64) for stratum in strata if len(stratum)]
    if not filled:
        raise InvalidDataError("an interval needs at least one value")
    means = np.zeros(n_resamples)
    for stratum in filled:
        # The mean of a resample depends only on how often each distinct value was drawn.
        values, counts = np.unique(stratum, return_counts=True)
        means += rng.multinomial(len(stratum), counts / len(stratum), size=n_resamples) @ values / len(stratum)
    tail = (1.0 - confidence) / 2
    low, high = np.quantile(means / len(filled), [tail, 1.0 - tail])
    return float(low), float(high)


def frequency_averaged_score(returns: Mapping[int, float], *, random_return: float, teacher_return: float) -> float:
    """Mean over horizons of the return, on a scale where random play is 0 and the teacher 1.

    Args:
        returns: n → mean return at that n.
        random_return: Mean return of uniformly random actions.
        teacher_return: Mean return of the teacher.

    Returns:
        1 where every n keeps the teacher's return.

    Raises:
        InvalidDataError: If there is no return, or the teacher is no better than random play.

    Source:
        FAS, after SRL (ICLR 2025), over n instead of decision rates.
    """
    if not returns:
        raise InvalidDataError("a frequency-averaged score needs the return of at least one n")
    span = teacher_return - random_return
    if span <= 0:
        raise InvalidDataError(f"the teacher's return {teacher_return:.4g} is not above random play's {random_return:.4g}")
    return float(np.mean([(value - random_return) / span for value in returns.values()]))
