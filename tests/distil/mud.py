"""A path beside which there is mud: a toy whose optimum is known in every state, on the path and off it."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from gymnasium.wrappers import TimeLimit

from tests.helpers import TablePlanner

CODE = (1, 0, 2, 1, 2, 0)
"""The action that goes on from each cell of the path."""
WAY_OUT = (0, 2, 2, 0, 1, 1)
"""The action that leads from the mud beside each cell back to it."""
N = len(CODE)
MUD = f"{__name__}:make_mud"
"""The environment's id."""


class MudEnv(gymnasium.Env[np.int64, np.int64]):
    """Cells 0 .. N−1 in a row; a wrong action leads into the mud beside the cell, a wrong one there stays in it.

    An episode starts in any cell of the path. Observations 0 .. N−1 are the path, N .. 2N−1 the mud beside it. Reward 1 at
    the end of the path.
    """

    def __init__(self) -> None:
        self.observation_space = spaces.Discrete(2 * N)
        self.action_space = spaces.Discrete(3)
        self._state = 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.int64, dict[str, Any]]:
        super().reset(seed=seed)
        self._state = int(self.np_random.integers(N))
        return np.int64(self._state), {}

    def step(self, action: np.int64) -> tuple[np.int64, float, bool, bool, dict[str, Any]]:
        cell, in_mud = self._state % N, self._state >= N
        if in_mud:
            self._state = cell if action == WAY_OUT[cell] else self._state
        elif action != CODE[cell]:
            self._state = cell + N
        elif cell == N - 1:
            return np.int64(cell), 1.0, True, False, {}
        else:
            self._state = cell + 1
        return np.int64(self._state), 0.0, False, False, {}


def make_mud() -> gymnasium.Env[Any, Any]:
    """The path with a step limit that leaves time to get out of the mud."""
    return TimeLimit(MudEnv(), 40)


def teacher() -> TablePlanner:
    """Right everywhere."""
    return TablePlanner.of_actions([[action] for action in (*CODE, *WAY_OUT)], 3)


def best_actions(state: int) -> list[int]:
    """The only shortest way to the end of the path."""
    return [WAY_OUT[state - N], *CODE[state - N :]] if state >= N else list(CODE[state:])
