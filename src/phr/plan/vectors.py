"""Plans over vectors of numbers."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from phr.errors import InvalidDataError, SettingError
from phr.plan.base import FloatArray, OfOutputs


@dataclass(frozen=True, eq=False)
class Bounds:
    """Where continuous actions lie; every array is flat, float32, one entry for each number of an action.

    Attributes:
        low: Least values; may be −∞.
        high: Greatest values; may be ∞.
        center: The middle of the range; where it has no end, the mean of recorded actions, else 0 or the bound next to it.
        unit: Half the range, in which distances count; where it has no end, the spread of recorded actions, else 1.
        bounded: Whether the range has two ends.
        shape: Of one action.
    """

    low: FloatArray
    high: FloatArray
    center: FloatArray
    unit: FloatArray
    bounded: NDArray[np.bool_]
    shape: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class ContinuousPlan(OfOutputs):
    """A plan over vectors of numbers.

    Args:
        outputs: The actions, flat and before they are cut off at the bounds, float32, shape `(batch, horizon, d)`; or `2 d`
            numbers, the actions and the logarithms of the standard deviations, these in units of half the range.
        bounds: Of the actions.

    Raises:
        InvalidDataError: If they have another shape.
    """

    bounds: Bounds

    TOLERATED = 0.25
    """A step is as sure as it is that the teacher's action is no farther away than this part of half the range."""

    def __post_init__(self) -> None:
        n = len(self.bounds.low)
        if self.outputs.ndim != 3 or not self.horizon or self.outputs.shape[2] not in (n, 2 * n):
            raise InvalidDataError(f"a plan of {n} numbers must have shape (batch, horizon, {n}), got {self.outputs.shape}")

    def mode(self) -> FloatArray:
        """The planned actions, cut off at the bounds, shape `(batch, horizon, *action_shape)`."""
        return self._within(self.outputs[..., : len(self.bounds.low)])

    def sample(self, rng: np.random.Generator) -> FloatArray:
        """One action drawn for every step.

        Raises:
            SettingError: If the plan tells no spread.
        """
        spread = self._spread("there is nothing to sample; take the most likely actions")
        means = self.outputs[..., : len(self.bounds.low)]
        return self._within(means + self.bounds.unit * spread * rng.normal(size=means.shape).astype(np.float32))

    def confidence(self) -> FloatArray:
        """Probability that the teacher's action lies within `TOLERATED` of the planned one, in its least sure number.

        Raises:
            SettingError: If the plan tells no spread.
        """
        spread = self._spread("commitment 'auto' cannot be used; give a number")
        sure: FloatArray = _erf(self.TOLERATED / (math.sqrt(2) * spread.max(axis=-1))).astype(np.float32)
        return sure

    def _spread(self, otherwise: str) -> FloatArray:
        """Standard deviations in units of half the range; `otherwise` is what their absence means."""
        n = len(self.bounds.low)
        if self.outputs.shape[2] == n:
            raise SettingError(
                f"this plan says its actions, but not how sure it is of them, so {otherwise}, or distil with --loss gaussian"
            )
        return np.exp(self.outputs[..., n:])

    def _within(self, numbers: FloatArray) -> FloatArray:
        cut: FloatArray = np.minimum(np.maximum(numbers, self.bounds.low), self.bounds.high)
        return cut.reshape(*numbers.shape[:2], *self.bounds.shape)


_erf = np.vectorize(math.erf, otypes=[np.float64])
