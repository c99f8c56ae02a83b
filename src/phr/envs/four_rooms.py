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
        space = MissionSpace(mission_func=lambda: "get to the green goal square")
        super().__init__(mission_space=space, grid_size=len(FOUR_ROOMS_MAP), max_steps=max_steps, **kwargs)
        self.action_space = spaces.Discrete(3)

    def _gen_grid(self, width: int, height: int) -> None:
        self.grid = Grid(width, height)
        self.grid.grid = _CELLS.copy()
        self.agent_pos, self.agent_dir = (1, 1), 0
        self.mission = "get to the green goal square"


_WALL, _GOAL = Wall(), Goal()
_GOAL.init_pos = _GOAL.cur_pos = (11, 11)
_CELLS: list[WorldObj | None] = [_WALL if symbol == "#" else None for symbol in "".join(FOUR_ROOMS_MAP)]
_CELLS[11 * 13 + 11] = _GOAL
"""Made once and shared by all episodes, because nothing can be moved; each episode has a list of its own."""
