"""What every action space answers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from phr.plan import NetworkPlan, Smoothing


class ActionSpace(ABC):
    """A set of actions.

    Attributes:
        shape: Of one action; `()` for a number.
        dtype: Its number type.
    """

    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    @property
    @abstractmethod
    def n_outputs(self) -> int:
        """Numbers that a policy answers for one action; a policy that also tells its spread answers more (`accepts`)."""

    @abstractmethod
    def plan(self, outputs: NDArray[np.float32], smoothing: Smoothing = 0.0) -> NetworkPlan:
        """The distributions that outputs of shape `(batch, horizon, n)` stand for, trained on labels smoothed by so much."""

    @abstractmethod
    def certain(self, actions: NDArray[Any]) -> NetworkPlan:
        """A plan that is certain of its actions, which have shape `(batch, horizon, *shape)`."""

    @abstractmethod
    def samples(self, rng: np.random.Generator, n: int) -> list[Any]:
        """N random actions, uniform where the space has bounds."""

    @abstractmethod
    def agree(self, one: NDArray[Any], other: NDArray[Any]) -> NDArray[np.bool_]:
        """Which actions of two arrays `(*batch, *shape)` are the same, shape `(*batch,)`."""

    @abstractmethod
    def check(self, actions: NDArray[Any]) -> None:
        """Refuse actions `(n, *shape)` that are not of this space.

        Raises:
            InvalidDataError: For a wrong shape, number type or value.
        """

    @abstractmethod
    def to_json(self) -> dict[str, Any] | None:
        """Plain JSON values; None for Discrete spaces, which a number tells whole."""

    def accepts(self, n_outputs: int) -> bool:
        """Whether policies over this space may answer so many numbers."""
        return n_outputs == self.n_outputs

    def sample(self, rng: np.random.Generator) -> Any:
        """One random action."""
        return self.samples(rng, 1)[0]
