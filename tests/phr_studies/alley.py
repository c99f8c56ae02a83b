"""A grid that is learnt in two seconds."""

from __future__ import annotations

from typing import Any

from gymnasium import spaces
from minigrid.core.grid import Grid
from minigrid.core.mission import MissionSpace
from minigrid.core.world_object import Goal
from minigrid.minigrid_env import MiniGridEnv

from phr.envs import minigrid_split
from phr.envs.contract import methods_of

ALLEY = "tests.phr_studies.alley:make_alley"
LENGTH, BEST_RETURN = 4, 1 - 0.9 * 4 / 20


class AlleyEnv(MiniGridEnv):
    """Five free cells in a row, from the western end facing east to a goal at the eastern: four steps ahead."""

    def __init__(self, **kwargs: Any) -> None:
        mission_space = MissionSpace(mission_func=lambda: "walk")
        super().__init__(mission_space=mission_space, width=7, height=3, max_steps=20, **kwargs)
        self.action_space = spaces.Discrete(3)

    def _gen_grid(self, width: int, height: int) -> None:
        self.grid = Grid(width, height)
        self.grid.wall_rect(0, 0, width, height)
        self.put_obj(Goal(), 5, 1)
        self.agent_pos, self.agent_dir = (1, 1), 0
        self.mission = "walk"


minigrid_split._OWN_CLASSES[AlleyEnv] = methods_of(AlleyEnv)  # else it would take the plain path


def make_alley(**kwargs: Any) -> AlleyEnv:
    return AlleyEnv(**kwargs)
