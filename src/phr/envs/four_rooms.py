"""The paper's `MultiRoom`: the canonical four rooms as a MiniGrid environment.

Source: Sutton, Precup & Singh 1999, Fig. 2; the same rooms in Schoknecht & Riedmiller 2003.
"""

from __future__ import annotations

from typing import Any

from gymnasium import spaces
from minigrid.core.grid import Grid
from minigrid.core.mission import MissionSpace
from minigrid.core.world_object import Goal, Wall, WorldObj
from minigrid.minigrid_env import MiniGridEnv

FOUR_ROOMS_MAP = (
    "#############",
    "#     #     #",
    "#     #     #",
    "#           #",
    "#     #     #",
    "#     #     #",
    "## ####     #",
    "#     ### ###",
    "#     #     #",
    "#     #     #",
    "#           #",
    "#     #     #",
    "#############",
)
"""`#` is a wall; rows from the top. 104 cells are free."""


class FourRoomsEnv(MiniGridEnv):
    """Deterministic four rooms, 13×13, from (1, 1) facing east to the goal at (11, 11); 23 actions are optimal.

    Actions are left, right and forward (Discrete(3)). The reward is 1 − 0.9·steps/max_steps at the goal, else 0.
    """

    def __init__(self, max_steps: int = 676, **kwargs: Any) -> None:
        size = len(FOUR_ROOMS_MAP)
        super().__init__(
            mission_space=MissionSpace(mission_func=lambda: "get to the green goal square"),
            grid_size=size,
            max_steps=max_steps,
            **kwargs,
        )
        self.action_space = spaces.Discrete(3)

    def _gen_grid(self, width: int, height: int) -> None:
        self.grid = Grid(width, height)
        self.grid.grid = _CELLS.copy()
        self.agent_pos = (1, 1)
        self.agent_dir = 0
        self.mission = "get to the green goal square"


def _cells() -> list[WorldObj | None]:
    """MiniGrid's row-major cells of the map, with the goal in the last free corner."""
    wall, goal, size = Wall(), Goal(), len(FOUR_ROOMS_MAP)
    cells: list[WorldObj | None] = [wall if symbol == "#" else None for row in FOUR_ROOMS_MAP for symbol in row]
    goal.init_pos = goal.cur_pos = (size - 2, size - 2)
    cells[(size - 2) * size + size - 2] = goal
    return cells


_CELLS = _cells()
"""Made once and shared by all episodes, because nothing can be moved; each episode has a list of its own."""
