"""What looking once yields: one distribution over actions for each of the next steps."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from phr.errors import InvalidDataError

FloatArray = NDArray[np.float32]
IntArray = NDArray[np.int64]


@runtime_checkable
class Plan(Protocol):
    """`horizon` distributions over actions for each environment of a batch, shape `(batch, horizon)`."""

    @property
    def batch_size(self) -> int:
        """Number of environments planned for."""
        ...

    @property
    def horizon(self) -> int:
        """Number of actions planned ahead."""
        ...

    def mode(self) -> IntArray:
        """Most likely action of every step, shape `(batch, horizon)`."""
        ...

    def sample(self, rng: np.random.Generator) -> IntArray:
        """One action drawn for every step, shape `(batch, horizon)`."""
        ...

    def confidence(self) -> FloatArray:
        """Probability of `mode()` at every step, in (0, 1], shape `(batch, horizon)`."""
        ...


@dataclass(frozen=True)
class CategoricalPlan:
    """A plan over discrete actions (the paper's policy vector, Eq. 1).

    Args:
        logits: Unnormalised log-probabilities, float32, shape `(batch, horizon, n_actions)`.

    Raises:
        InvalidDataError: If `logits` does not have three axes, or one of them is empty.
    """

    logits: FloatArray

    def __post_init__(self) -> None:
        if self.logits.ndim != 3 or 0 in self.logits.shape[1:]:
            raise InvalidDataError(f"plan logits must have shape (batch, horizon, n_actions), got {self.logits.shape}")

    @classmethod
    def from_actions(cls, actions: IntArray, n_actions: int, margin: float = 30.0) -> CategoricalPlan:
        """A plan that is certain of its actions; `actions` has shape `(batch, horizon)`."""
        logits = np.zeros((*actions.shape, n_actions), dtype=np.float32)
        np.put_along_axis(logits, actions[..., None], margin, axis=-1)
        return cls(logits)

    @property
    def batch_size(self) -> int:
        """Number of environments planned for."""
        return int(self.logits.shape[0])

    @property
    def horizon(self) -> int:
        """Number of actions planned ahead."""
        return int(self.logits.shape[1])

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
        """Probability of the most likely action at every step."""
        most: FloatArray = self.probs.max(axis=-1)
        return most
