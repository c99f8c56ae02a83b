"""Certain that a mean is positive? Evidence that may be looked at after every episode.

A usual test that is repeated until it agrees is wrong more often than it says. What stands here stays right however often
one looks, and whenever one stops (*anytime-valid*).
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.float64]

_STAKES = (0.98, 0.7, 0.4, 0.15, 0.05, 0.015, 0.005)
"""What the bettors stake, as fractions of all that they may. Large ones win soonest where nothing ever fails, small ones
where episodes differ much."""
_CAPITAL = (0.4, 0.2, 0.15, 0.1, 0.05, 0.05, 0.05)
"""What each of them begins with; 1 together."""


def log_evidence(differences: Numbers, worst: float) -> Numbers:
    """Logarithm of the evidence that the mean is positive, after each of n independent differences; shape `(n,)`.

    Bettors win a stake times each difference. If the mean is not positive and no difference below −`worst` can occur, their
    wealth exceeds 1/δ at some time with probability at most δ (Ville's inequality): betting, Waudby-Smith & Ramdas 2023
    (arXiv:2010.09686), section 4, here with a fixed mixture of stakes. A difference below −`worst` ruins the bettors that it
    would leave with less than nothing.
    """
    if not worst > 0:
        raise ValueError(f"worst must be positive, got {worst}")
    factors = 1.0 + np.outer(np.array(_STAKES) / worst, differences)
    with np.errstate(divide="ignore"):
        wealth = np.cumsum(np.log(np.maximum(factors, 0.0)), axis=1)
    summed: Numbers = np.logaddexp.reduce(wealth + np.log(_CAPITAL)[:, None], axis=0)
    return summed


_TIGHT_AT = 100


def asymptotic_low(differences: Numbers, delta: float) -> Numbers:
    """Lower bound of the mean after each difference, shape `(n,)`: above the mean at some time with probability about δ.

    The one-sided asymptotic confidence sequence of Waudby-Smith et al. 2021 (arXiv:2103.06476, appendix), narrowest after
    `_TIGHT_AT` differences. It needs no bounds, and is right in the limit: for few differences, or a rare large one that has
    not occurred yet, it promises too much. −∞ after the first.
    """
    t = np.arange(1, len(differences) + 1, dtype=np.float64)
    mean = np.cumsum(differences) / t
    variance = np.maximum(np.cumsum(np.square(differences)) / t - mean**2, 0.0)
    spread = np.sqrt(variance * t / np.maximum(t - 1, 1))
    rate = -2 * math.log(2 * delta)
    rho2 = (rate + math.log(rate + 1)) / _TIGHT_AT
    width = np.sqrt(2 * (t * rho2 + 1) / (t**2 * rho2) * np.log1p(np.sqrt(t * rho2 + 1) / (2 * delta)))
    low: Numbers = np.where(t > 1, mean - spread * width, -np.inf)
    return low


def certain_after(differences: Numbers, worst: float, delta: float, *, bounded: bool) -> int | None:
    """After how many differences it is certain, with confidence 1 − δ, that their mean is positive; None if it is not.

    Where `worst` is only the worst that was seen (not `bounded`), the asymptotic bound has to agree at the same time.
    """
    certain = log_evidence(differences, worst) >= -math.log(delta)
    if not bounded:
        certain &= asymptotic_low(differences, delta) > 0
    return int(certain.argmax()) + 1 if certain.any() else None
