"""Whether a claim held, from one number per training seed and setting.

Ranges are compared, not means: two settings differ where the worst seed of one beats the best seed of the other. Were the
settings the same, swapping them within a seed would change nothing, so k seeds would be parted like this, one way round, at
most once in 2^k times: 8 for three seeds, 32 for five (252 if the students of a seed had not their teacher in common).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

Verdict = Literal["held", "did not hold", "not decided"]

TOLERANCE = 0.05
"""Fractions of starts solved that are no farther apart than this count as equal; two of Crossing's 42 layouts are 0.048."""
FEWEST_SEEDS = 3
"""With fewer training seeds nothing is decided."""


def better(first: Sequence[float], second: Sequence[float], *, tolerance: float = TOLERANCE) -> Verdict:
    """The claim that the first setting does better than the second.

    Args:
        first: One number for each training seed, higher is better.
        second: The other setting's.
        tolerance: How far apart two numbers must be to differ.

    Returns:
        `held` where every seed of the first is above every seed of the second by more than the tolerance, `did not hold`
        where it is the other way round, else `not decided`.
    """
    if min(len(first), len(second)) < FEWEST_SEEDS:
        return "not decided"
    if min(first) > max(second) + tolerance:
        return "held"
    return "did not hold" if min(second) > max(first) + tolerance else "not decided"


def alike(settings: Sequence[Sequence[float]]) -> Verdict:
    """The claim that all settings do equally well.

    Args:
        settings: For each setting one number for each training seed, the seeds in the same order.

    Returns:
        `held` where for every seed all settings lie within the tolerance, `did not hold` where one setting does `better`
        than another, else `not decided`.
    """
    if min(len(values) for values in settings) < FEWEST_SEEDS:
        return "not decided"
    if all(max(values) - min(values) <= TOLERANCE for values in zip(*settings, strict=True)):
        return "held"
    parted = any(better(first, second) == "held" for first in settings for second in settings)
    return "did not hold" if parted else "not decided"


def opposite(verdict: Verdict) -> Verdict:
    """The verdict on the contrary claim."""
    turned: dict[Verdict, Verdict] = {"held": "did not hold", "did not hold": "held"}
    return turned.get(verdict, verdict)


def every(verdicts: Sequence[Verdict]) -> Verdict:
    """The claim that all of several claims hold."""
    if "did not hold" in verdicts:
        return "did not hold"
    return "held" if set(verdicts) == {"held"} else "not decided"


def some(verdicts: Sequence[Verdict]) -> Verdict:
    """The claim that at least one of several claims holds."""
    return opposite(every([opposite(verdict) for verdict in verdicts]))
