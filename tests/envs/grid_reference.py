"""What a full symbolic observation must hold, worked out from MiniGrid's own encoding and nothing of ours."""

from __future__ import annotations

from typing import Any

import numpy as np
from minigrid.core.constants import COLOR_TO_IDX, IDX_TO_OBJECT
from numpy.typing import NDArray

from phr.envs.split import SplitEnv

WALKING_PREFIXES = (
    "MiniGrid-SimpleCrossing",
    "MiniGrid-LavaCrossing",
    "MiniGrid-Empty",
    "MiniGrid-LavaGap",
    "MiniGrid-DistShift",
    "MiniGrid-FourRooms",
    "PHR/FourRooms",
)
"""Ids whose worlds hold walls, goals and lava alone."""
_OBJECTS = ["wall", "floor", "door", "key", "ball", "box", "goal", "lava"]
_PORTABLE = ["key", "ball", "box"]
N_PLAIN = 8 + 6 + 3 + 4 + 3 + 6
"""Objects, colours, door states, the agent's directions, what it carries, the colour of that."""


def simulator(env: SplitEnv) -> Any:
    """The MiniGrid environment under a split one."""
    return env.gym_env.unwrapped


def n_plain(env_id: str) -> int:
    """Planes before those that spell out a mission."""
    return len(_WALKING) if env_id.startswith(WALKING_PREFIXES) else N_PLAIN


def reference_planes(core: Any, env_id: str) -> NDArray[np.uint8]:
    """One-hot planes of MiniGrid's `grid.encode()`, of the agent, and of what it carries; of some worlds only a part."""
    planes = all_planes(core)
    if not env_id.startswith(WALKING_PREFIXES):
        return planes
    rest = np.delete(planes, [*_WALKING, *range(8, 14)], axis=0)
    assert not rest.any(), "this world holds more than walls, goals and lava"
    return planes[_WALKING]


_WALKING = [0, 6, 7, 17, 18, 19, 20]
"""Wall, goal, lava, and the agent's directions."""


def all_planes(core: Any) -> NDArray[np.uint8]:
    """Every plane there may be."""
    planes = np.zeros((N_PLAIN, core.height, core.width), np.uint8)
    encoded = core.grid.encode()  # [x, y] -> object, colour, state
    for x, y in np.ndindex(core.width, core.height):
        kind, color, state = encoded[x, y].tolist()
        name = IDX_TO_OBJECT[kind]
        if name == "empty":
            continue
        planes[_OBJECTS.index(name), y, x] = 1
        planes[8 + color, y, x] = 1
        if name == "door":
            planes[14 + state, y, x] = 1
    x, y = core.agent_pos
    planes[17 + core.agent_dir, y, x] = 1
    if core.carrying is not None:
        planes[21 + _PORTABLE.index(core.carrying.type), y, x] = 1
        planes[24 + COLOR_TO_IDX[core.carrying.color], y, x] = 1
    return planes
