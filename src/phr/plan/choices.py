"""Plans over choices among actions."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from phr.errors import InvalidDataError
from phr.plan.base import FloatArray, IntArray, OfOutputs

Smoothing = float | tuple[float, ...]
"""ε of the labels in training, (1 − ε)·p + ε/n_actions: that of every step, or one for each step."""


def smoothing_of_steps(smoothing: float, first: float | None, horizon: int) -> Smoothing:
    """The smoothing of a whole plan; `first` is that of its first step, None where it is no other."""
    return smoothing if first is None else (first, *(smoothing,) * (horizon - 1))


@dataclass(frozen=True, eq=False)
class CategoricalPlan(OfOutputs):
    """A plan over discrete actions (the paper's policy vector, Eq. 1).

    Args:
        outputs: Logits: unnormalised log-probabilities, float32, shape `(batch, horizon, n_actions)`.
        smoothing: Of the labels that it was trained on.

    Raises:
        InvalidDataError: If they do not have three axes, or one of them is empty.
    """

    smoothing: Smoothing = 0.0

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
        smoothing = np.array(self.smoothing, np.float32) if isinstance(self.smoothing, tuple) else self.smoothing
        told: FloatArray = np.clip((most - smoothing / n_actions) / (1.0 - smoothing), 1.0 / n_actions, 1.0)
        return told


@dataclass(frozen=True, eq=False)
class MultiCategoricalPlan(OfOutputs):
    """A plan over several choices at once, independent of each other.

    Args:
        outputs: The logits of all components, one after the other, float32, shape `(batch, horizon, sum(nvec))`.
        nvec: Actions of each component.
        smoothing: As in `CategoricalPlan`, in every component.

    Raises:
        InvalidDataError: If they have another shape.
    """

    nvec: tuple[int, ...]
    smoothing: Smoothing = 0.0

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
