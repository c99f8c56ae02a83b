"""The path that a policy walks on a grid, told from what it sees: the data behind the paper's Fig. 5."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from phr.acting import CommitmentLike, HorizonAgent
from phr.envs import FullViewEnv, PlaneLayout, SplitEnv, layout_of
from phr.errors import CorruptFileError, InvalidDataError, UnsupportedEnvironmentError
from phr.experience import episode_success, said_success
from phr.protocols import Planner

Place = tuple[int, int, int]
"""Column, row and direction (0 right, 1 down, 2 left, 3 up)."""

_SYMBOLS = {"walls": "#", "lava": "~", "goal": "G"}


@dataclass(frozen=True, eq=False)
class Layout:
    """What does not move on a grid; every array has shape `(height, width)`.

    Attributes:
        walls: Cells that block.
        lava: Cells that kill.
        goal: Cells that reward.

    Raises:
        InvalidDataError: If the shapes differ, or a cell is two things at once.
    """

    walls: NDArray[np.bool_]
    lava: NDArray[np.bool_]
    goal: NDArray[np.bool_]

    def __post_init__(self) -> None:
        shapes = {name: getattr(self, name).shape for name in _SYMBOLS}
        if len(set(shapes.values())) != 1 or len(self.walls.shape) != 2:
            raise InvalidDataError(f"the maps of a layout need one shape (height, width), got {shapes}")
        most = int(sum(getattr(self, name).astype(int) for name in _SYMBOLS).max(initial=0))
        if most > 1:
            raise InvalidDataError(f"a cell is wall, lava or goal, but one of them is {most} of these at once")

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width."""
        height, width = self.walls.shape
        return height, width

    def to_rows(self) -> list[str]:
        """One string per row: `#` wall, `~` lava, `G` goal, `.` free."""
        symbols = np.full(self.shape, ".")
        for name, symbol in _SYMBOLS.items():
            symbols[getattr(self, name)] = symbol
        return ["".join(row) for row in symbols]

    @classmethod
    def from_rows(cls, rows: list[str]) -> Layout:
        """The layout that `to_rows` wrote.

        Raises:
            InvalidDataError: If the rows differ in length.
        """
        if len({len(row) for row in rows}) != 1:
            raise InvalidDataError(f"the rows of a map need one length, got {[len(row) for row in rows]}")
        symbols = np.array([list(row) for row in rows])
        return cls(**{name: symbols == symbol for name, symbol in _SYMBOLS.items()})


@dataclass(frozen=True, eq=False)
class LearnedPath:
    """One episode on a grid.

    Attributes:
        env_id: Where.
        title: A few words about the policy; may be empty.
        commitment: Actions executed per look, or `"auto"`.
        layout: The map.
        places: Where the agent stood before the first action and after each action.
        actions: What it did.
        looked: For each action, whether the policy was evaluated right before it.
        solved: The episode was a success (see `episode_success`).

    Raises:
        InvalidDataError: If the lists do not fit each other or the map, or the first action followed no look.
    """

    env_id: str
    title: str
    commitment: int | str
    layout: Layout
    places: tuple[Place, ...]
    actions: tuple[int, ...]
    looked: tuple[bool, ...]
    solved: bool

    def __post_init__(self) -> None:
        n = len(self.actions)
        if n == 0 or len(self.looked) != n or len(self.places) != n + 1:
            raise InvalidDataError(
                "a path needs at least one action, a look flag for each and one place more than actions; "
                f"got {n} actions, {len(self.looked)} flags and {len(self.places)} places"
            )
        if not self.looked[0]:
            raise InvalidDataError("the first action of a path follows a look, but its flag says it does not")
        height, width = self.layout.shape
        for x, y, direction in self.places:
            if not (0 <= x < width and 0 <= y < height and 0 <= direction < 4):
                raise InvalidDataError(f"place ({x}, {y}, {direction}) lies outside a map of {width}x{height} cells")
            if self.layout.walls[y, x]:
                raise InvalidDataError(f"place ({x}, {y}) of the path lies inside a wall")

    @property
    def evaluations(self) -> int:
        """How often the policy looked."""
        return sum(self.looked)

    def to_json(self) -> dict[str, Any]:
        """All of it as plain values; the map as rows of symbols."""
        return {
            "env_id": self.env_id,
            "title": self.title,
            "commitment": self.commitment,
            "map": self.layout.to_rows(),
            "places": [list(place) for place in self.places],
            "actions": list(self.actions),
            "looked": list(self.looked),
            "solved": self.solved,
        }

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> LearnedPath:
        """The path that `to_json` wrote.

        Raises:
            CorruptFileError: If something is missing or of another kind.
            InvalidDataError: If the parts do not fit each other.
        """
        try:
            return cls(
                env_id=values["env_id"],
                title=values["title"],
                commitment=values["commitment"],
                layout=Layout.from_rows(values["map"]),
                places=tuple((int(x), int(y), int(direction)) for x, y, direction in values["places"]),
                actions=tuple(int(action) for action in values["actions"]),
                looked=tuple(bool(flag) for flag in values["looked"]),
                solved=bool(values["solved"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise CorruptFileError(f"this is not a learned path as phr writes it: {error!r}") from error


def read_layout(obs: NDArray[Any]) -> Layout:
    """Walls, lava and goals of one full symbolic observation, shape `(planes, height, width)`.

    Raises:
        InvalidDataError: If it is not such an observation.
    """
    planes = _planes(obs)
    walls, lava, goal = (obs[planes.object[name]] > 0 for name in ("wall", "lava", "goal"))
    return Layout(walls, lava, goal)


def read_place(obs: NDArray[Any]) -> Place:
    """Where the agent stands in one full symbolic observation, and which way it faces.

    Raises:
        InvalidDataError: If it is not such an observation, or there is not exactly one agent.
    """
    agent = _planes(obs).agent
    found = np.argwhere(obs[agent : agent + 4])
    if len(found) != 1:
        raise InvalidDataError(f"a grid observation shows exactly one agent, found {len(found)}")
    direction, y, x = found[0].tolist()
    return x, y, direction


def _planes(obs: NDArray[Any]) -> PlaneLayout:
    layout = layout_of(len(obs))
    if layout is None:
        raise InvalidDataError(f"this is no full grid observation, (planes, height, width): got shape {obs.shape}")
    return layout


def trace_path(
    planner: Planner, env: SplitEnv, seed: int, commitment: CommitmentLike | None = None, *, title: str = ""
) -> LearnedPath:
    """Play one greedy episode and note where every action led.

    The observations that tell the places are built for the record; the agent sees only those it asks for.

    Args:
        planner: Who acts.
        env: A MiniGrid environment in full view.
        seed: Of the episode.
        commitment: Actions executed per look; None is the whole horizon.
        title: A few words about the policy.

    Raises:
        UnsupportedEnvironmentError: If the environment is not a grid in full view.
        HorizonError: If the commitment is outside 1 .. horizon.
    """
    if not isinstance(env, FullViewEnv):
        raise UnsupportedEnvironmentError(f"{env.env_id}: a path can be drawn only of a MiniGrid environment in full view")
    agent = HorizonAgent(planner, commitment)
    env.reset(seed)
    obs = env.observe()
    layout, places, actions, looked = read_layout(obs), [read_place(obs)], [], []
    reward, terminated, truncated = 0.0, False, False
    info: dict[str, Any] = {}
    while not (terminated or truncated):
        looked.append(agent.needs_observation)
        actions.append(agent.act(obs if looked[-1] else None))
        reward, terminated, truncated, info = env.advance(actions[-1])
        places.append(read_place(obs := env.observe()))
    return LearnedPath(
        env_id=env.env_id,
        title=title,
        commitment=planner.horizon if commitment is None else commitment,
        layout=layout,
        places=tuple(places),
        actions=tuple(actions),
        looked=tuple(looked),
        solved=episode_success(said_success(info), terminated=terminated, last_reward=reward),
    )
