"""Three small grids with cliffs, on which policies that repeat actions are compared: Cliff, Bridge and ZigZag.

Maps and rules: Biedenkapp et al. 2021 (TempoRL, arXiv:2106.05262), Fig. 4 and appendix D; drawn in the README of
github.com/automl/TempoRL.
"""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

CLIFF_MAPS = {
    "Cliff": (
        "S ...... G",
        "  ......  ",
        "  ......  ",
        "          ",
        "          ",
        "          ",
    ),
    "Bridge": (
        "S ...... G",
        "  ......  ",
        "          ",
        "          ",
        "  ......  ",
        "  ......  ",
    ),
    "ZigZag": (
        "S ..      ",
        "  ..      ",
        "  ..  ..  ",
        "  ..  ..  ",
        "      ..  ",
        "      .. G",
    ),
}
"""`S` is the start, `G` the goal, `.` the cliff; rows from the top."""
MOVES = ((0, -1), (-1, 0), (0, 1), (1, 0))
"""(rows, columns) of the actions left, up, right, down."""
CLIFF, GOAL, AGENT = 0, 1, 2
"""Planes of an observation."""


class CliffEnv(gymnasium.Env[NDArray[np.uint8], np.int64]):
    """A 6×10 grid; the reward is 1 at the goal and −1 for a fall, which both end the episode, else 0.

    Deterministic, with one start. Actions are left, up, right, down; a step against the border stays where it is. An
    observation has three planes of 0 and 1: the cliff, the goal, the agent. The registered ids end after 100 steps.
    """

    metadata: dict[str, Any] = {"render_modes": ["rgb_array"], "render_fps": 4}  # noqa: RUF012  # as Gymnasium declares it

    def __init__(self, world: str = "Cliff", render_mode: str | None = None) -> None:
        cells = np.array([list(row) for row in CLIFF_MAPS[world]])
        self.render_mode = render_mode
        self._planes = np.stack([cells == ".", cells == "G", np.zeros(cells.shape, bool)]).astype(np.uint8)
        self._start = self._at = tuple(np.argwhere(cells == "S")[0].tolist())
        self.observation_space = spaces.Box(0, 1, self._planes.shape, np.uint8)
        self.action_space = spaces.Discrete(len(MOVES))

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.uint8], dict[str, Any]]:
        """Start an episode; every one has the same start."""
        super().reset(seed=seed)
        self._at = self._start
        return self._look(), {}

    def step(self, action: np.int64 | int) -> tuple[NDArray[np.uint8], float, bool, bool, dict[str, Any]]:
        """Move by one cell."""
        (rows, columns), (height, width) = MOVES[int(action)], self._planes.shape[1:]
        self._at = min(max(self._at[0] + rows, 0), height - 1), min(max(self._at[1] + columns, 0), width - 1)
        reward = float(self._planes[GOAL][self._at]) - float(self._planes[CLIFF][self._at])
        return self._look(), reward, reward != 0, False, {"is_success": reward > 0}

    def _look(self) -> NDArray[np.uint8]:
        planes = self._planes.copy()
        planes[AGENT][self._at] = 1
        return planes

    def render(self) -> NDArray[np.uint8]:
        """A picture of 32 pixels a cell: cliff black, goal green, agent red."""
        cliff, goal, agent = self._look().astype(bool)
        picture = np.full((*cliff.shape, 3), 235, np.uint8)
        for where, colour in ((cliff, (40, 40, 40)), (goal, (0, 158, 115)), (agent, (196, 22, 28))):
            picture[where] = colour
        return picture.repeat(32, axis=0).repeat(32, axis=1)
