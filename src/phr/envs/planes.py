"""The layout of a symbolic grid observation: one-hot planes, `(plane, y, x)`, uint8.

Unlike MiniGrid's own full encoding, the agent does not hide the cell it stands on, and what it carries is part of the
observation (drawn on the agent's cell), so the planes are the whole state of a grid without hidden contents.

A world that can only be walked needs seven planes; colours, doors and things to carry would be planes that never change,
and a network would multiply them in every look.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from minigrid.core.constants import COLOR_TO_IDX
from numpy.typing import NDArray

COLORS = tuple(COLOR_TO_IDX)
_EMPTY = 0


@dataclass(frozen=True, kw_only=True)
class PlaneLayout:
    """Which planes there are, in this order: objects, colours, door states, the agent's directions, what it carries.

    Attributes:
        objects: One plane each. An empty cell has none: it is where nothing else is.
        colors: Of the objects. Without them, things that differ in nothing else look alike.
        door_states: Of doors, by MiniGrid's numbers.
        portable: What can be carried; a plane each, and one for each colour.
    """

    objects: tuple[str, ...]
    colors: tuple[str, ...] = ()
    door_states: tuple[str, ...] = ()
    portable: tuple[str, ...] = ()

    @cached_property
    def object(self) -> dict[str, int]:
        """The plane of every object."""
        return {name: plane for plane, name in enumerate(self.objects)}

    @cached_property
    def color(self) -> dict[str, int]:
        """The plane of every colour."""
        return {name: len(self.objects) + plane for plane, name in enumerate(self.colors)}

    @cached_property
    def door_state(self) -> int:
        """First of the planes of door states."""
        return len(self.objects) + len(self.colors)

    @cached_property
    def agent(self) -> int:
        """First of four planes, one per direction: right, down, left, up."""
        return self.door_state + len(self.door_states)

    @cached_property
    def carried(self) -> dict[str, int]:
        """The plane of every thing that is carried."""
        return {name: self.agent + 4 + plane for plane, name in enumerate(self.portable)}

    @cached_property
    def carried_color(self) -> dict[str, int]:
        """The plane of every colour of a thing that is carried."""
        first = self.agent + 4 + len(self.portable)
        return {name: first + plane for plane, name in enumerate(self.colors if self.portable else ())}

    @cached_property
    def n_planes(self) -> int:
        """Planes of an environment whose mission never changes; those that spell out a mission come after them."""
        return self.agent + 4 + len(self.carried) + len(self.carried_color)

    def cell_planes(self, cell: Any) -> list[int]:
        """The planes that are set for one MiniGrid object (None for an empty cell).

        Raises:
            KeyError: If this layout has no such object.
        """
        if cell is None:
            return []
        planes = [self.object[cell.type]]
        if self.colors:
            planes.append(self.color[cell.color])
        if cell.type == "door":
            planes.append(self.door_state + cell.encode()[2])
        return planes

    @cached_property
    def _codes(self) -> dict[tuple[str, str], int]:
        """(object, colour) → number of the kind of cell; 0 is an empty one. A door's state is added cell by cell."""
        return {pair: 1 + index for index, pair in enumerate(itertools.product(self.objects, COLORS))}

    @cached_property
    def _table(self) -> NDArray[np.uint8]:
        """The planes of every kind of cell, shape `(agent, kinds)`."""
        table = np.zeros((self.agent, 1 + len(self._codes)), np.uint8)
        for (name, color), code in self._codes.items():
            table[self.object[name], code] = 1
            if self.colors:
                table[self.color[color], code] = 1
        return table

    @cached_property
    def _doors(self) -> frozenset[int]:
        return frozenset(code for (name, _), code in self._codes.items() if name == "door")

    def encode_grid(self, cells: list[Any], out: NDArray[np.uint8]) -> None:
        """Write the planes of every cell.

        Args:
            cells: MiniGrid's row-major list.
            out: Shape `(>= agent, height, width)`; the planes of the agent and after it become 0.

        Raises:
            KeyError: If this layout lacks one of the objects.
        """
        codes = [_EMPTY if cell is None else self._codes[cell.type, cell.color] for cell in cells]
        flat = out.reshape(len(out), -1)
        np.take(self._table, codes, axis=1, out=flat[: self.agent], mode="clip")  # "clip" writes straight into `out`
        flat[self.agent :] = 0
        if not self._doors.isdisjoint(codes):
            for place, cell in enumerate(cells):
                if cell is not None and cell.type == "door":
                    flat[self.cell_planes(cell), place] = 1


FULL = PlaneLayout(
    objects=("wall", "floor", "door", "key", "ball", "box", "goal", "lava"),
    colors=COLORS,
    door_states=("open", "closed", "locked"),
    portable=("key", "ball", "box"),
)
"""Everything that a MiniGrid world may hold."""

WALKING = PlaneLayout(objects=("wall", "goal", "lava"))
"""A world of walls, goals and lava, each of one colour: nothing opens, nothing can be carried."""


def layout_of(n_planes: int) -> PlaneLayout | None:
    """The layout of an observation by the number of its planes; None where none has so few."""
    if n_planes == WALKING.n_planes:
        return WALKING
    return FULL if n_planes >= FULL.n_planes else None
