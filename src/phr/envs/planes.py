"""The layout of a symbolic grid observation: one-hot planes, `(plane, y, x)`, uint8.

Unlike MiniGrid's own full encoding, the agent does not hide the cell it stands on, and what it carries is part of the
observation (drawn on the agent's cell), so the planes are the whole state of a grid without hidden contents.
"""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
from minigrid.core.constants import COLOR_TO_IDX
from numpy.typing import NDArray

OBJECTS = ("wall", "floor", "door", "key", "ball", "box", "goal", "lava")
"""An empty cell has no plane: it is where nothing else is."""
COLORS = tuple(COLOR_TO_IDX)
DOOR_STATES = ("open", "closed", "locked")
PORTABLE = ("key", "ball", "box")

OBJECT = {name: plane for plane, name in enumerate(OBJECTS)}
COLOR = {name: len(OBJECTS) + plane for plane, name in enumerate(COLORS)}
DOOR_STATE = len(OBJECTS) + len(COLORS)
AGENT = DOOR_STATE + len(DOOR_STATES)
"""First of four planes, one per direction: right, down, left, up."""
CARRIED = {name: AGENT + 4 + plane for plane, name in enumerate(PORTABLE)}
CARRIED_COLOR = {name: AGENT + 4 + len(PORTABLE) + plane for plane, name in enumerate(COLORS)}
MISSION = AGENT + 4 + len(PORTABLE) + len(COLORS)
"""First of the planes that spell out the mission, for environments whose mission varies."""
N_PLANES = MISSION
"""Planes of an environment whose mission never changes."""


def cell_planes(cell: Any) -> list[int]:
    """The planes that are set for one MiniGrid object (None for an empty cell)."""
    if cell is None:
        return []
    planes = [OBJECT[cell.type], COLOR[cell.color]]
    if cell.type == "door":
        planes.append(DOOR_STATE + cell.encode()[2])
    return planes


_EMPTY = 0
_CODES = {pair: 1 + index for index, pair in enumerate(itertools.product(OBJECTS, COLORS))}
"""(object, colour) → number of the kind of cell; 0 is an empty one. A door's state is added cell by cell."""


def _planes_of_codes() -> NDArray[np.uint8]:
    table = np.zeros((AGENT, 1 + len(_CODES)), np.uint8)
    for (name, color), code in _CODES.items():
        table[[OBJECT[name], COLOR[color]], code] = 1
    return table


_TABLE = _planes_of_codes()
"""Shape `(AGENT, kinds)`: the planes of every kind of cell."""


def encode_grid(cells: list[Any], width: int, out: NDArray[np.uint8]) -> None:
    """Write the planes of every cell; `cells` is MiniGrid's row-major list, `out` has shape `(>= AGENT, height, width)`."""
    codes = [_EMPTY if cell is None else _CODES[cell.type, cell.color] for cell in cells]
    flat = out.reshape(len(out), -1)
    np.take(_TABLE, codes, axis=1, out=flat[:AGENT], mode="clip")  # "clip" writes straight into `out`
    flat[AGENT:] = 0
    if not _DOORS.isdisjoint(codes):
        for place, cell in enumerate(cells):
            if cell is not None and cell.type == "door":
                flat[cell_planes(cell), place] = 1


_DOORS = frozenset(code for (name, _), code in _CODES.items() if name == "door")
