"""What a teacher did: whole episodes, and what it thought at every step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from phr.errors import InvalidDataError
from phr.experience.origin import Origin


@dataclass(frozen=True)
class Trajectory:
    """One episode. The terminal observation takes no action, so it is not part of it.

    Args:
        obs: Observations that were acted on, shape `(length, *observation_shape)`.
        actions: The actions taken there, int64, shape `(length,)`.
        teacher_logits: The teacher's logits at those observations, float32, shape `(length, n_actions)`.
        rewards: float32, shape `(length,)`.
        terminated: The last step ended the episode for good.
        truncated: The last step was cut off by a limit.
        is_success: What the environment itself said (`info["is_success"]`), None where it said nothing.

    Raises:
        InvalidDataError: If the arrays disagree about the length, the episode is empty or has not ended, or an action is
            outside the logits' range.
    """

    obs: NDArray[Any]
    actions: NDArray[np.int64]
    teacher_logits: NDArray[np.float32]
    rewards: NDArray[np.float32]
    terminated: bool
    truncated: bool
    is_success: bool | None = None

    def __post_init__(self) -> None:
        lengths = {name: len(getattr(self, name)) for name in ("obs", "actions", "teacher_logits", "rewards")}
        if len(set(lengths.values())) != 1 or not self.length:
            raise InvalidDataError(f"a trajectory needs one entry per step in every array, got {lengths}")
        if self.teacher_logits.ndim != 2 or self.actions.ndim != 1:
            raise InvalidDataError(
                f"a trajectory needs actions (length,) and logits (length, n_actions), got {self.actions.shape} and "
                f"{self.teacher_logits.shape}"
            )
        if not self.terminated and not self.truncated:
            raise InvalidDataError(f"a trajectory of {self.length} steps has not ended")
        if self.actions.min() < 0 or self.actions.max() >= self.teacher_logits.shape[1]:
            raise InvalidDataError(
                f"actions lie in {self.actions.min()}..{self.actions.max()}, "
                f"but there are {self.teacher_logits.shape[1]} logits"
            )

    @property
    def length(self) -> int:
        """Number of steps."""
        return len(self.actions)

    @property
    def episode_return(self) -> float:
        """Sum of the rewards."""
        return float(self.rewards.sum())


@dataclass(frozen=True)
class Experience:
    """Trajectories of one teacher in one environment.

    Args:
        env_id: Where they were recorded.
        trajectories: At least one; all with the same observation shape and number of actions.
        origin: Whose they are; None for episodes that were made up.

    Raises:
        InvalidDataError: If there is none, or they disagree.
    """

    env_id: str
    trajectories: tuple[Trajectory, ...]
    origin: Origin | None = None

    def __post_init__(self) -> None:
        if not self.trajectories:
            raise InvalidDataError("experience needs at least one trajectory")
        shapes = {(t.obs.shape[1:], t.obs.dtype.str, t.teacher_logits.shape[1]) for t in self.trajectories}
        if len(shapes) != 1:
            raise InvalidDataError(f"trajectories disagree about observations and actions: {sorted(shapes)}")

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Steps of each trajectory."""
        return np.array([t.length for t in self.trajectories], np.int64)

    @property
    def n_actions(self) -> int:
        """Size of the action space."""
        return int(self.trajectories[0].teacher_logits.shape[1])

    @property
    def obs_shape(self) -> tuple[int, ...]:
        """Shape of one observation."""
        return tuple(self.trajectories[0].obs.shape[1:])

    def joined(self, name: str) -> NDArray[Any]:
        """One array of every trajectory, end to end."""
        return np.concatenate([getattr(t, name) for t in self.trajectories])

    def subset(self, keep: Sequence[bool] | NDArray[np.bool_]) -> Experience:
        """The trajectories of a mask.

        Raises:
            InvalidDataError: If none is left.
        """
        return replace(self, trajectories=tuple(t for t, kept in zip(self.trajectories, keep, strict=True) if kept))
