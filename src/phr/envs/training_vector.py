"""What training asks of many environments: `VectorSplit` gives it, and so does the native `AtariVector`."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from phr.envs.vector import Autoreset, VectorStep


class TrainingVector(Protocol):
    """Environments that are stepped together.

    Attributes:
        env_id: The id they were made from.
        n_envs: How many there are.
        observation_space: Of one of them.
        n_actions: Actions are the integers 0 .. n_actions − 1.
        autoreset: What happens when an episode ends.
    """

    env_id: str
    n_envs: int
    observation_space: spaces.Box
    n_actions: int
    autoreset: Autoreset

    def reset(self) -> None:
        """Start an episode in every environment."""
        ...

    def advance(self, actions: NDArray[np.int64]) -> VectorStep:
        """Move every environment by one action."""
        ...

    def observe(self, *, out: NDArray[Any] | None = None) -> NDArray[Any]:
        """Observations of all environments; written into `out` where given."""
        ...

    def state(self) -> list[dict[str, Any]]:
        """Where they stand, as JSON values."""
        ...

    def restore(self, state: list[dict[str, Any]]) -> None:
        """Go back to where `state` stood, as far as the environments can."""
        ...

    def close(self) -> None:
        """Release what they hold."""
        ...
