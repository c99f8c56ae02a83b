"""A perfect teacher for open grids: breadth-first search over (cell, direction); on the cliff worlds over cells.

It reads the observation, never the simulator, so it can do no more than a network could. It walks and turns; grids whose way
needs a key, a door or a box are refused. Ties are broken by the fixed order left, right, forward.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from phr.envs import CLIFF_IDS, FOUR_ROOMS_ID
from phr.envs.cliffs import AGENT, CLIFF, GOAL, MOVES, CliffEnv
from phr.envs.minigrid_split import layout_of
from phr.envs.split import SplitEnv
from phr.envs.vector import Start
from phr.errors import HorizonError, UnsolvableError
from phr.plan import CategoricalPlan

LEFT, RIGHT, FORWARD = 0, 1, 2
_STEPS = ((1, 0), (0, 1), (-1, 0), (0, -1))
"""(dx, dy) of the directions right, down, left, up."""

SOLVABLE_IDS = (
    FOUR_ROOMS_ID,
    *(f"MiniGrid-{kind}CrossingS{size}-v0" for kind in ("Simple", "Lava") for size in ("9N1", "9N2", "9N3", "11N5")),
    *(f"MiniGrid-LavaGapS{size}-v0" for size in (5, 6, 7)),
    *(f"MiniGrid-Empty-{size}-v0" for size in ("5x5", "6x6", "8x8", "16x16", "Random-5x5", "Random-6x6")),
    *(f"MiniGrid-{name}-v0" for name in ("FourRooms", "DistShift1", "DistShift2")),
    *CLIFF_IDS,
)
"""Ids whose every start the oracle is known to solve (tested)."""


class GridState(NamedTuple):
    """The cells that may be entered and the goals, `(height, width)`, and the agent; direction: right, down, left, up."""

    free: NDArray[np.bool_]
    goal: NDArray[np.bool_]
    x: int
    y: int
    direction: int


def read_grid(obs: NDArray[Any]) -> GridState:
    """Decode one full symbolic observation, shape `(planes, height, width)`; UnsolvableError for any other."""
    layout = layout_of(obs.shape[0]) if obs.ndim == 3 else None
    if layout is None:
        raise UnsolvableError(f"the oracle reads full grid observations, (planes, height, width), got shape {obs.shape}")
    things = [name for name in ("door", "key", "ball", "box") if name in layout.object and obs[layout.object[name]].any()]
    if things:
        raise UnsolvableError(f"the oracle only walks; this grid has a {things[0]}. It solves: {', '.join(SOLVABLE_IDS)}")
    places = np.argwhere(obs[layout.agent : layout.agent + 4])
    if len(places) != 1:
        raise UnsolvableError(f"the oracle needs exactly one agent in the observation, found {len(places)}")
    direction, y, x = places[0].tolist()
    blocked = (obs[layout.object["wall"]] | obs[layout.object["lava"]]) > 0
    return GridState(~blocked, obs[layout.object["goal"]] > 0, x, y, direction)


_UNKNOWN, _BLOCKED = -1, -2


def distances_to_goal(free: NDArray[np.bool_], goal: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Return the fewest actions from every (direction, y, x) to a goal, −1 where there is no way: `(4, height, width)`."""
    rows, columns = (side + 2 for side in free.shape)  # a border that nobody enters, so that no step needs a check
    n = rows * columns
    cells = np.full((4, rows, columns), _BLOCKED)
    cells[:, 1:-1, 1:-1] = np.where(goal, 0, np.where(free, _UNKNOWN, _BLOCKED))
    distance: list[int] = cells.ravel().tolist()  # lists are read several times as fast as arrays, number by number
    back = [-x - y * columns for x, y in _STEPS]
    frontier, steps = np.flatnonzero(cells == 0).tolist(), 0
    while frontier:  # backwards: from a state to those that lead into it
        steps, following = steps + 1, []
        for state in frontier:
            direction, cell = divmod(state, n)
            for before in ((direction + 1) % 4 * n + cell, (direction - 1) % 4 * n + cell, state + back[direction]):
                if distance[before] == _UNKNOWN:
                    distance[before] = steps
                    following.append(before)
        frontier = following
    return np.maximum(np.array(distance, np.int64).reshape(4, rows, columns)[:, 1:-1, 1:-1], -1)


class OraclePlanner:
    """Plans shortest paths, as certain as a plan can be. A horizon of 1 makes it a teacher; HorizonError below it.

    The first three of its `n_actions` actions must be left, right, forward, as in MiniGrid.
    """

    def __init__(self, n_actions: int, horizon: int = 1) -> None:
        if horizon < 1:
            raise HorizonError(f"the horizon must be >= 1, got {horizon}")
        self.n_actions, self.horizon = n_actions, horizon
        self.identity = "oracle" if horizon == 1 else f"oracle of horizon {horizon}"
        self._maps: dict[bytes, NDArray[np.int64]] = {}

    def _solve(self, obs: NDArray[Any]) -> tuple[GridState, NDArray[np.int64], int]:
        """Return the grid, its `distances_to_goal`, and the distance of the agent."""
        state = read_grid(obs)
        key = state.free.tobytes() + state.goal.tobytes()
        if key not in self._maps:
            self._maps[key] = distances_to_goal(state.free, state.goal)
        distance = self._maps[key]
        length = int(distance[state.direction, state.y, state.x])
        if length < 0:
            raise UnsolvableError(f"no way leads from ({state.x}, {state.y}) to a goal")
        return state, distance, length

    def optimal_length(self, obs: NDArray[Any]) -> int:
        """Fewest actions from this observation to the goal; UnsolvableError if there is no way, or it cannot be read."""
        return self._solve(obs)[2]

    def _path(self, obs: NDArray[Any]) -> list[int]:
        state, distance, length = self._solve(obs)
        direction, y, x = state.direction, state.y, state.x
        actions: list[int] = []
        for remaining in reversed(range(max(0, length - self.horizon), length)):
            nexts = {
                LEFT: ((direction - 1) % 4, y, x),
                RIGHT: ((direction + 1) % 4, y, x),
                FORWARD: (direction, y + _STEPS[direction][1], x + _STEPS[direction][0]),
            }
            action = next(a for a, place in nexts.items() if distance[place] == remaining and state.free[place[1:]])
            direction, y, x = nexts[action]
            actions.append(action)
        return actions + [FORWARD] * (self.horizon - len(actions))  # the episode is over; any action will do

    def plan(self, obs: NDArray[Any]) -> CategoricalPlan:
        """Shortest paths for full grid observations `(batch, planes, height, width)`; for errors see `optimal_length`."""
        paths = np.array([self._path(one) for one in obs], np.int64).reshape(len(obs), self.horizon)
        return CategoricalPlan.from_actions(paths, self.n_actions)


_Cell = tuple[int, int]


class CliffOracle:
    """Plans shortest paths in the worlds of `phr.envs.cliffs`; ties are broken by the order left, up, right, down."""

    n_actions = len(MOVES)

    def __init__(self, horizon: int = 1) -> None:
        if horizon < 1:
            raise HorizonError(f"the horizon must be >= 1, got {horizon}")
        self.horizon = horizon
        self.identity = "oracle" if horizon == 1 else f"oracle of horizon {horizon}"

    def _solve(self, obs: NDArray[Any]) -> tuple[dict[_Cell, int], _Cell]:
        """Return the fewest actions from every cell that has a way to the goal, and the agent's cell."""
        if obs.ndim != 3 or len(obs) != 3 or obs[AGENT].sum() != 1:
            raise UnsolvableError(f"the oracle of the cliffs reads (cliff, goal, agent) planes, got shape {obs.shape}")
        distance: dict[_Cell, int] = {(int(y), int(x)): 0 for y, x in np.argwhere(obs[GOAL])}
        queue = deque(distance)
        while queue:  # a move and its opposite undo each other, so backwards is as forwards
            y, x = queue.popleft()
            for down, right in MOVES:
                cell = y + down, x + right
                inside = 0 <= cell[0] < obs.shape[1] and 0 <= cell[1] < obs.shape[2]
                if inside and not obs[CLIFF][cell] and cell not in distance:
                    distance[cell] = distance[y, x] + 1
                    queue.append(cell)
        y, x = np.argwhere(obs[AGENT])[0].tolist()
        if (y, x) not in distance:
            raise UnsolvableError(f"no way leads from ({x}, {y}) to a goal")
        return distance, (y, x)

    def optimal_length(self, obs: NDArray[Any]) -> int:
        """Fewest actions from this observation to the goal; UnsolvableError if there is no way, or it cannot be read."""
        distance, cell = self._solve(obs)
        return distance[cell]

    def _path(self, obs: NDArray[Any]) -> list[int]:
        distance, (y, x) = self._solve(obs)
        actions: list[int] = []
        while distance[y, x] and len(actions) < self.horizon:
            nexts = [(y + down, x + right) for down, right in MOVES]
            action = next(a for a, cell in enumerate(nexts) if distance.get(cell) == distance[y, x] - 1)
            y, x = nexts[action]
            actions.append(action)
        return actions + [0] * (self.horizon - len(actions))  # the episode is over; any action will do

    def plan(self, obs: NDArray[Any]) -> CategoricalPlan:
        """Shortest paths for observations `(batch, 3, height, width)`; for errors see `optimal_length`."""
        paths = np.array([self._path(one) for one in obs], np.int64).reshape(len(obs), self.horizon)
        return CategoricalPlan.from_actions(paths, self.n_actions)


def oracle_of(env: SplitEnv, horizon: int = 1) -> OraclePlanner | CliffOracle | None:
    """Return the oracle that reads the observations of an environment; None if there is none."""
    if env.shows_whole_grid:
        return OraclePlanner(env.n_actions, horizon)
    is_cliff = isinstance(env.gym_env.unwrapped, CliffEnv) and env.observation_space.shape == (3, 6, 10)
    return CliffOracle(horizon) if is_cliff else None


def optimal_lengths(env: SplitEnv, starts: Sequence[Start]) -> list[int]:
    """Fewest actions to the goal from every start; UnsolvableError if one has no way to a goal, or cannot be read."""
    oracle = oracle_of(env)
    if oracle is None:
        raise UnsolvableError(f"the oracle does not read {env.env_id}; it solves {', '.join(SOLVABLE_IDS)}")
    lengths = []
    for start in starts:
        start.enter(env)
        lengths.append(oracle.optimal_length(env.observe()))
    return lengths
