"""What looking once yields: one distribution over actions for each of the next steps."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from phr.errors import InvalidDataError, SettingError

FloatArray = NDArray[np.float32]
IntArray = NDArray[np.int64]
ActionArray = NDArray[Any]
"""Whole numbers, or for continuous actions float32."""


@runtime_checkable
class Plan(Protocol):
    """`horizon` distributions over actions for each environment of a batch.

    One action is a number or, where the action space says so, an array of some shape (`phr.actions`).
    """

    @property
    def batch_size(self) -> int:
        """Number of environments planned for."""
        ...

    @property
    def horizon(self) -> int:
        """Number of actions planned ahead."""
        ...

    def mode(self) -> ActionArray:
        """Most likely action of every step, shape `(batch, horizon, *action_shape)`."""
        ...

    def sample(self, rng: np.random.Generator) -> ActionArray:
        """One action drawn for every step, shape `(batch, horizon, *action_shape)`."""
        ...

    def confidence(self) -> FloatArray:
        """Probability of `mode()` at every step, in (0, 1], shape `(batch, horizon)`."""
        ...


@dataclass(frozen=True)
class _OfOutputs:
    """What plans have in common that hold a network's outputs, float32, shape `(batch, horizon, n)`."""

    outputs: FloatArray

    @property
    def batch_size(self) -> int:
        """Number of environments planned for."""
        return int(self.outputs.shape[0])

    @property
    def horizon(self) -> int:
        """Number of actions planned ahead."""
        return int(self.outputs.shape[1])


@dataclass(frozen=True)
class CategoricalPlan(_OfOutputs):
    """A plan over discrete actions (the paper's policy vector, Eq. 1).

    Args:
        outputs: Logits: unnormalised log-probabilities, float32, shape `(batch, horizon, n_actions)`.
        smoothing: ε, where the labels in training were (1 − ε)·p + ε/n_actions.

    Raises:
        InvalidDataError: If they do not have three axes, or one of them is empty.
    """

    smoothing: float = 0.0

    def __post_init__(self) -> None:
        if self.logits.ndim != 3 or 0 in self.logits.shape[1:]:
            raise InvalidDataError(f"plan logits must have shape (batch, horizon, n_actions), got {self.logits.shape}")

    @property
    def logits(self) -> FloatArray:
        """The outputs by their name."""
        return self.outputs

    @classmethod
    def from_actions(cls, actions: IntArray, n_actions: int, margin: float = 30.0) -> CategoricalPlan:
        """A plan that is certain of its actions; `actions` has shape `(batch, horizon)`."""
        logits = np.zeros((*actions.shape, n_actions), dtype=np.float32)
        np.put_along_axis(logits, actions[..., None], margin, axis=-1)
        return cls(logits)

    @cached_property
    def probs(self) -> FloatArray:
        """Softmax of the logits, shape `(batch, horizon, n_actions)`."""
        exp = np.exp(self.logits - self.logits.max(axis=-1, keepdims=True))
        probs: FloatArray = exp / exp.sum(axis=-1, keepdims=True)
        return probs

    def mode(self) -> IntArray:
        """Most likely action of every step; the lowest index wins a tie."""
        actions: IntArray = self.logits.argmax(axis=-1)
        return actions

    def sample(self, rng: np.random.Generator) -> IntArray:
        """One action drawn for every step, by the Gumbel-max trick."""
        noise = rng.gumbel(size=self.logits.shape).astype(np.float32)
        actions: IntArray = (self.logits + noise).argmax(axis=-1)
        return actions

    def confidence(self) -> FloatArray:
        """Probability of the most likely action at every step, what smoothed labels took off it put back."""
        most: FloatArray = self.probs.max(axis=-1)
        if not self.smoothing:
            return most
        n_actions = self.logits.shape[-1]
        told: FloatArray = np.clip((most - self.smoothing / n_actions) / (1.0 - self.smoothing), 1.0 / n_actions, 1.0)
        return told


@dataclass(frozen=True)
class MultiCategoricalPlan(_OfOutputs):
    """A plan over several choices at once, independent of each other.

    Args:
        outputs: The logits of all components, one after the other, float32, shape `(batch, horizon, sum(nvec))`.
        nvec: Actions of each component.
        smoothing: As in `CategoricalPlan`, in every component.

    Raises:
        InvalidDataError: If they have another shape.
    """

    nvec: tuple[int, ...]
    smoothing: float = 0.0

    def __post_init__(self) -> None:
        if self.outputs.ndim != 3 or not self.horizon or self.outputs.shape[2] != sum(self.nvec):
            raise InvalidDataError(
                f"plan logits must have shape (batch, horizon, {sum(self.nvec)}) for components {self.nvec}, "
                f"got {self.outputs.shape}"
            )

    @cached_property
    def components(self) -> tuple[CategoricalPlan, ...]:
        """One plan for each component."""
        parts = np.split(self.outputs, np.cumsum(self.nvec)[:-1], axis=-1)
        return tuple(CategoricalPlan(part, self.smoothing) for part in parts)

    def mode(self) -> IntArray:
        """Most likely action of every step, shape `(batch, horizon, components)`."""
        return np.stack([each.mode() for each in self.components], axis=-1)

    def sample(self, rng: np.random.Generator) -> IntArray:
        """One action drawn for every step, shape `(batch, horizon, components)`."""
        return np.stack([each.sample(rng) for each in self.components], axis=-1)

    def confidence(self) -> FloatArray:
        """Probability of the most likely action at every step: the product over its components."""
        sure: FloatArray = np.prod([each.confidence() for each in self.components], axis=0)
        return sure


@dataclass(frozen=True, eq=False)
class Bounds:
    """Where continuous actions lie; every array is flat, float32, one entry for each number of an action.

    Attributes:
        low: Least values; may be −∞.
        high: Greatest values; may be ∞.
        center: The middle of the range; where it has no end, 0 or the bound next to it.
        unit: Half the range, in which distances count; 1 where it has no end.
        bounded: Whether the range has two ends.
        shape: Of one action.
    """

    low: FloatArray
    high: FloatArray
    center: FloatArray
    unit: FloatArray
    bounded: NDArray[np.bool_]
    shape: tuple[int, ...]


@dataclass(frozen=True)
class ContinuousPlan(_OfOutputs):
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
        """One action drawn for every step; a plan that tells no spread has only its `mode`."""
        spread = self._spread
        if spread is None:
            return self.mode()
        means = self.outputs[..., : len(self.bounds.low)]
        return self._within(means + self.bounds.unit * spread * rng.normal(size=means.shape).astype(np.float32))

    def confidence(self) -> FloatArray:
        """Probability that the teacher's action lies within `TOLERATED` of the planned one, in its least sure number.

        Raises:
            SettingError: If the plan tells no spread.
        """
        spread = self._spread
        if spread is None:
            raise SettingError(
                "this plan says its actions, but not how sure it is of them, so commitment 'auto' cannot be used; give a "
                "number, or distil with --loss gaussian"
            )
        sure: FloatArray = _erf(self.TOLERATED / (math.sqrt(2) * spread.max(axis=-1))).astype(np.float32)
        return sure

    @property
    def _spread(self) -> FloatArray | None:
        """Standard deviations in units of half the range, where they are told."""
        n = len(self.bounds.low)
        return np.exp(self.outputs[..., n:]) if self.outputs.shape[2] > n else None

    def _within(self, numbers: FloatArray) -> FloatArray:
        cut: FloatArray = np.minimum(np.maximum(numbers, self.bounds.low), self.bounds.high)
        return cut.reshape(*numbers.shape[:2], *self.bounds.shape)


_erf = np.vectorize(math.erf, otypes=[np.float64])

NetworkPlan = CategoricalPlan | MultiCategoricalPlan | ContinuousPlan
"""Plans that hold what a network answered (`outputs`)."""
