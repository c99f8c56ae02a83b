"""What every plan answers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

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


@dataclass(frozen=True, eq=False)
class OfOutputs:
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
