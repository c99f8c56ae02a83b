"""Actions that are vectors of numbers between two bounds."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from phr.actions.space import ActionSpace
from phr.errors import InvalidDataError
from phr.plan import Bounds, ContinuousPlan, Smoothing

_LARGEST = float(np.finfo(np.float32).max)
"""A range that float32 does not hold is a way of writing 'anything'."""

CLOSE = 0.1
"""Continuous actions agree where they are no farther apart than this part of half the range."""


@dataclass(frozen=True)
class Continuous(ActionSpace):
    """Vectors of numbers between two bounds, float32; a bound may be infinite.

    Args:
        low: Least value of every number, the array flattened.
        high: Greatest.
        shape: Of one action.
        recorded: Mean and spread of each number in a teacher's actions (`measured_on`): the center and the unit of those
            whose range has no end. It plays no part in comparing spaces.
    """

    low: tuple[float, ...]
    high: tuple[float, ...]
    shape: tuple[int, ...]
    recorded: tuple[tuple[float, float], ...] | None = field(default=None, compare=False)

    dtype = np.dtype(np.float32)

    def __post_init__(self) -> None:
        fits = all(side > 0 for side in self.shape) and len(self.low) == len(self.high) == math.prod(self.shape)
        fits = fits and (self.recorded is None or len(self.recorded) == len(self.low))
        if not fits or not all(low <= high for low, high in zip(self.low, self.high, strict=True)):
            raise InvalidDataError(
                f"continuous actions of shape {self.shape} need as many bounds, low <= high, got {self.low} and {self.high}"
            )

    @classmethod
    def between(cls, low: NDArray[Any], high: NDArray[Any]) -> Continuous:
        """The space between two arrays.

        Bounds that float32 does not hold are rounded to the inside; where there is no float32 between them, to the nearest.
        """
        nearest_low, nearest_high = low.astype(np.float32), high.astype(np.float32)
        down = np.where(nearest_low < low, np.nextafter(nearest_low, np.float32(np.inf)), nearest_low)
        up = np.where(nearest_high > high, np.nextafter(nearest_high, np.float32(-np.inf)), nearest_high)
        none_between = down > up
        down, up = np.where(none_between, nearest_low, down), np.where(none_between, nearest_high, up)
        return cls(tuple(down.ravel().tolist()), tuple(up.ravel().tolist()), low.shape)

    def measured_on(self, actions: NDArray[Any]) -> Continuous:
        """The space with the mean and the standard deviation of recorded actions, shape `(n, *shape)`.

        A number that never varied has its own size as its unit, or 1 if it is 0.
        """
        if self.bounds.bounded.all():
            return self
        numbers = actions.reshape(len(actions), -1).astype(np.float64)
        means, spreads = numbers.mean(axis=0), numbers.std(axis=0)
        varies = spreads > np.abs(means) * np.finfo(np.float32).eps
        units = np.where(varies, spreads, np.where(means != 0, np.abs(means), 1.0))
        units = np.maximum(units, np.finfo(np.float32).tiny)
        return replace(self, recorded=tuple(zip(means.tolist(), units.tolist(), strict=True)))

    @property
    def n_outputs(self) -> int:
        """The numbers of one action; a policy that tells its spread answers twice as many."""
        return len(self.low)

    def accepts(self, n_outputs: int) -> bool:
        """Actions alone, or actions and the logarithms of their spread."""
        return n_outputs in (self.n_outputs, 2 * self.n_outputs)

    @cached_property
    def bounds(self) -> Bounds:
        """The bounds as arrays, and the unit in which distances count."""
        low, high = np.array(self.low, np.float32), np.array(self.high, np.float32)
        with np.errstate(over="ignore", invalid="ignore"):
            wide = high.astype(np.float64) - low
            bounded = ((wide / 2).astype(np.float32) > 0) & (wide <= _LARGEST)
            means, units = ([0.0], [1.0]) if self.recorded is None else zip(*self.recorded, strict=True)
            center = np.where(bounded, low + wide / 2, np.clip(means, low, high)).astype(np.float32)
            unit = np.where(bounded, wide / 2, units).astype(np.float32)
        return Bounds(low, high, center, unit, bounded, self.shape)

    def plan(self, outputs: NDArray[np.float32], smoothing: Smoothing = 0.0) -> ContinuousPlan:
        """Actions, and their spread where the outputs tell it; there is nothing to smooth."""
        return ContinuousPlan(outputs, self.bounds)

    def certain(self, actions: NDArray[Any]) -> ContinuousPlan:
        """A plan of these actions."""
        return self.plan(actions.reshape(*actions.shape[:2], self.n_outputs).astype(np.float32))

    def samples(self, rng: np.random.Generator, n: int) -> list[NDArray[np.float32]]:
        """N random actions: uniform where the range is bounded, else normal."""
        at = self.bounds
        size = (n, self.n_outputs)
        numbers = at.center + at.unit * np.where(at.bounded, rng.uniform(-1, 1, size), rng.normal(size=size))
        return [*np.clip(numbers, at.low, at.high).astype(np.float32).reshape(n, *self.shape)]

    def agree(self, one: NDArray[Any], other: NDArray[Any]) -> NDArray[np.bool_]:
        """Those whose numbers are all within `CLOSE` of half the range."""
        apart = np.abs(one - other) <= CLOSE * self.bounds.unit.reshape(self.shape)
        same: NDArray[np.bool_] = apart.all(axis=tuple(range(apart.ndim - len(self.shape), apart.ndim)))
        return same

    def check(self, actions: NDArray[Any]) -> None:
        """Refuse what is not finite; actions out of bounds are cut off by whoever takes them."""
        if actions.shape[1:] != self.shape or actions.dtype.kind != "f":
            raise InvalidDataError(
                f"{self} need float actions of shape {self.shape}, got {actions.dtype} of {actions.shape[1:]}"
            )
        if not np.isfinite(actions).all():
            raise InvalidDataError("a continuous action holds a NaN or an infinity")

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values; None stands for no bound."""
        low, high = ([value if math.isfinite(value) else None for value in side] for side in (self.low, self.high))
        values: dict[str, Any] = {"kind": "continuous", "low": low, "high": high, "shape": list(self.shape)}
        if self.recorded is not None:
            values["recorded"] = [list(pair) for pair in self.recorded]
        return values

    def __str__(self) -> str:
        low, high = min(self.low), max(self.high)
        return f"continuous actions of shape {self.shape} in {low:g} .. {high:g}"
