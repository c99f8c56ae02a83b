"""Toys whose actions are no single number, and whose optimum is known in every state."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from gymnasium.wrappers import TimeLimit
from numpy.typing import NDArray

from phr.actions import Continuous, MultiDiscrete

POINT, DIALS = f"{__name__}:make_point", f"{__name__}:make_dials"
"""The environments' ids."""

REACH = np.array([0.25, 0.5], np.float32)
"""The farthest that the point moves in one step, in each direction."""
POINT_ACTIONS = Continuous.between(-REACH, REACH)
N_DIALS, N_POSITIONS = 2, 5
DIAL_ACTIONS = MultiDiscrete((3, 2))
STEPS = 6


class PointEnv(gymnasium.Env[NDArray[np.float64], NDArray[np.float32]]):
    """A point in a square moves by its action; the reward of a step is minus its distance from the middle afterwards.

    It shows its place, the second coordinate a thousandfold, and a number that never changes.
    """

    def __init__(self) -> None:
        self.observation_space = spaces.Box(-np.inf, np.inf, (3,), np.float64)
        self.action_space = spaces.Box(-REACH, REACH)
        self._place = np.zeros(2)

    def _look(self) -> NDArray[np.float64]:
        return np.array([self._place[0], 1000 * self._place[1], 7.0])

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.float64], dict[str, Any]]:
        super().reset(seed=seed)
        self._place = self.np_random.uniform(-1, 1, 2)
        return self._look(), {}

    def step(self, action: NDArray[np.float32]) -> tuple[NDArray[np.float64], float, bool, bool, dict[str, Any]]:
        assert isinstance(action, np.ndarray)
        assert self.action_space.contains(action)
        self._place = self._place + action
        return self._look(), -float(np.abs(self._place).sum()), False, False, {}


class DialsEnv(gymnasium.Env[NDArray[np.float32], NDArray[np.int64]]):
    """Two dials, to be turned to 0: the first goes down, stays or goes up, the second stays or goes down.

    Reward 1 when both are there, where the episode ends.
    """

    def __init__(self) -> None:
        self.observation_space = spaces.Box(0, 1, (N_DIALS * N_POSITIONS,), np.float32)
        self.action_space = spaces.MultiDiscrete([*DIAL_ACTIONS.nvec])
        self._dials = [0, 0]

    def _look(self) -> NDArray[np.float32]:
        return np.eye(N_POSITIONS, dtype=np.float32)[self._dials].ravel()

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.float32], dict[str, Any]]:
        super().reset(seed=seed)
        self._dials = [int(self.np_random.integers(1, N_POSITIONS)), int(self.np_random.integers(N_POSITIONS))]
        return self._look(), {}

    def step(self, action: NDArray[np.int64]) -> tuple[NDArray[np.float32], float, bool, bool, dict[str, Any]]:
        assert self.action_space.contains(action)
        moves = (int(action[0]) - 1, -int(action[1]))
        self._dials = [min(max(dial + move, 0), N_POSITIONS - 1) for dial, move in zip(self._dials, moves, strict=True)]
        done = self._dials == [0, 0]
        return self._look(), float(done), done, False, {}


def make_point() -> gymnasium.Env[Any, Any]:
    return TimeLimit(PointEnv(), STEPS)


def make_dials() -> gymnasium.Env[Any, Any]:
    return TimeLimit(DialsEnv(), 2 * STEPS)


def to_the_middle(obs: NDArray[Any]) -> NDArray[np.float32]:
    """The best action of the point."""
    place = np.stack([obs[:, 0], obs[:, 1] / 1000], axis=1)
    move: NDArray[np.float32] = np.clip(-place, -REACH, REACH).astype(np.float32)
    return move


def best_moves(obs: NDArray[Any], horizon: int) -> NDArray[np.float32]:
    """The best plan of the point, shape `(batch, horizon, 2)`."""
    place = np.stack([obs[:, 0], obs[:, 1] / 1000], axis=1)
    moves = []
    for _ in range(horizon):
        moves.append(np.clip(-place, -REACH, REACH))
        place = place + moves[-1]
    return np.stack(moves, axis=1).astype(np.float32)


def turn_to_zero(obs: NDArray[Any]) -> NDArray[np.float32]:
    """Logits of the best turns, sure of them."""
    first, second = obs[:, :N_POSITIONS].argmax(1), obs[:, N_POSITIONS:].argmax(1)
    logits = np.zeros((len(obs), 5), np.float32)
    logits[np.arange(len(obs)), np.where(first > 0, 0, 1)] = 8.0
    logits[np.arange(len(obs)), 3 + (second > 0)] = 8.0
    return logits


def make_mover() -> Any:
    """A policy factory for the point."""
    return to_the_middle


def make_turner() -> Any:
    """A policy factory for the dials."""
    return turn_to_zero
