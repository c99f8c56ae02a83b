"""Recorded episodes: observations, actions and the teacher's outputs at every step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from phr.actions import ActionSpace, Discrete
from phr.errors import InvalidDataError, NonFiniteError


@dataclass(frozen=True, kw_only=True)
class Origin:
    """Which teacher recorded an experience, and how; enough to record it again.

    `teacher_id` is the SHA-256 of the teacher's model file, or its name without one; `prefix`: the fewest and the most
    random, unrecorded actions before each episode; `sampled`: actions were drawn instead of the most likely ones taken.
    """

    teacher: str
    teacher_id: str
    seed: int
    prefix: tuple[int, int]
    sampled: bool
    versions: dict[str, str] = field(default_factory=dict)


_KINDS = {"obs": "biuf", "actions": "iuf", "teacher_logits": "f", "rewards": "biuf"}
"""Numpy's kinds of numbers that the arrays may hold."""


@dataclass(frozen=True, eq=False)
class Trajectory:
    """One episode: an entry a step in every array. The terminal observation takes no action, so it is not part of it.

    `actions`, `(length, *action_shape)`, are int64, or float32 for continuous ones. `teacher_logits`, float32 of shape
    `(length, n_outputs)`, are logits, or continuous actions before they were clipped to the bounds; rewards are float32.
    Arrays of similar dtypes are converted. InvalidDataError if they do not fit together, NonFiniteError for NaN or infinity.
    """

    obs: NDArray[Any]
    actions: NDArray[Any]
    teacher_logits: NDArray[Any]
    rewards: NDArray[Any]
    terminated: bool
    truncated: bool
    is_success: bool | None = None

    def __post_init__(self) -> None:
        lengths = {name: len(getattr(self, name)) for name in _KINDS}
        if len(set(lengths.values())) != 1 or not self.length:
            raise InvalidDataError(f"a trajectory needs one entry per step in every array, got {lengths}")
        if self.teacher_logits.ndim != 2:
            raise InvalidDataError(f"a trajectory needs logits (length, n_actions), got {self.teacher_logits.shape}")
        if not self.terminated and not self.truncated:
            raise InvalidDataError(f"a trajectory of {self.length} steps has not ended")
        for name, kinds in _KINDS.items():
            if (found := getattr(self, name).dtype).kind not in kinds:
                raise InvalidDataError(f"{name} of a trajectory must have a dtype of kind {kinds!r}, got {found}")
        if self.actions.ndim == 1:
            Discrete(self.teacher_logits.shape[1]).check(self.actions)
        number = np.int64 if self.actions.dtype.kind in "iu" else np.float32
        dtypes: dict[str, Any] = {"obs": self.obs.dtype.newbyteorder("="), "actions": number}
        for name in _KINDS:
            with np.errstate(over="ignore"):  # what float32 does not hold is refused below
                object.__setattr__(self, name, getattr(self, name).astype(dtypes.get(name, np.float32), copy=False))
            values = getattr(self, name)
            if values.dtype.kind == "f" and not (finite := np.isfinite(values.reshape(self.length, -1)).all(axis=1)).all():
                raise NonFiniteError(f"{name} contains NaN or Inf at step {finite.argmin()} of {self.length} (from 0)")

    @property
    def length(self) -> int:
        """Number of steps."""
        return len(self.actions)

    @property
    def episode_return(self) -> float:
        """Sum of the rewards."""
        return float(self.rewards.sum(dtype=np.float64))


@dataclass(frozen=True, eq=False)
class Experience:
    """Trajectories of one teacher in one environment; InvalidDataError if there is none, or if they disagree.

    `actions_in` is their action space, None for Discrete with an action for each logit.
    """

    env_id: str
    trajectories: tuple[Trajectory, ...]
    origin: Origin | None = None
    actions_in: ActionSpace | None = None

    def __post_init__(self) -> None:
        if not self.trajectories:
            raise InvalidDataError("experience needs at least one trajectory")
        shapes = {(t.obs.shape[1:], t.obs.dtype.str, t.teacher_logits.shape[1]) for t in self.trajectories}
        if len(shapes) != 1:
            raise InvalidDataError(f"trajectories disagree about observations and actions: {sorted(shapes)}")
        if not self.action_space.accepts(self.n_actions):
            raise InvalidDataError(f"{self.action_space} do not go with {self.n_actions} logits a step")
        for trajectory in self.trajectories:
            self.action_space.check(trajectory.actions)

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Steps of each trajectory."""
        return np.array([t.length for t in self.trajectories], np.int64)

    @property
    def n_actions(self) -> int:
        """The number of the teacher's outputs for one action."""
        return int(self.trajectories[0].teacher_logits.shape[1])

    @property
    def action_space(self) -> ActionSpace:
        """What the actions are."""
        return Discrete(self.n_actions) if self.actions_in is None else self.actions_in

    @property
    def obs_shape(self) -> tuple[int, ...]:
        """Shape of one observation."""
        return tuple(self.trajectories[0].obs.shape[1:])

    def joined(self, name: str) -> NDArray[Any]:
        """Return one array of every trajectory, concatenated."""
        return np.concatenate([getattr(t, name) for t in self.trajectories])

    def subset(self, keep: Sequence[bool] | NDArray[np.bool_]) -> Experience:
        """Return the trajectories of a mask; InvalidDataError if none is left."""
        return replace(self, trajectories=tuple(t for t, kept in zip(self.trajectories, keep, strict=True) if kept))
