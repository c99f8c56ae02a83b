"""What training needs of many environments: `VectorSplit` has it, and so do vectors that a family makes for itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

SeedSchedule = Callable[[int, int], int | None]
"""(environment, episode) → seed of that episode, or None to let the environment's own generator go on."""


@dataclass(frozen=True)
class VectorStep:
    """What one `advance` of all environments yielded; every array has shape `(n_envs,)`.

    Attributes:
        rewards: float32; 0 in an environment outside the mask.
        terminated: The episode ended for good.
        truncated: The episode was cut off.
        final_obs: Environment → last observation of an episode that was truncated in this step (`SAME_STEP` only; a
            terminated state has no value, so nobody needs its observation).
        infos: Environment → info, for episodes that ended in this step.
    """

    rewards: NDArray[np.float32]
    terminated: NDArray[np.bool_]
    truncated: NDArray[np.bool_]
    final_obs: dict[int, NDArray[Any]] = field(default_factory=dict)
    infos: dict[int, dict[str, Any]] = field(default_factory=dict)

    @property
    def done(self) -> NDArray[np.bool_]:
        """The episode ended, either way."""
        return self.terminated | self.truncated


@runtime_checkable
class TrainingVector(Protocol):
    """Environments that are stepped together; an episode that ends starts again at once.

    Attributes:
        env_id: The id they were made from.
        n_envs: How many there are.
        observation_space: Of one of them.
        n_actions: Actions are the integers 0 .. n_actions − 1.
        exact_resume: Whether `restore` comes back to the very step at which `state` was taken.
    """

    env_id: str
    n_envs: int
    observation_space: spaces.Box
    n_actions: int
    exact_resume: bool

    def reset(self) -> None:
        """Start an episode in every environment."""
        ...

    def send(self, actions: NDArray[np.int64]) -> None:
        """Begin to move every environment by one action; `receive` before anything else is asked of them."""
        ...

    def receive(self) -> VectorStep:
        """What the actions sent last led to."""
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
