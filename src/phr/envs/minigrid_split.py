"""MiniGrid without its `gen_obs`: stepping costs the simulator alone, and an observation costs a copy.

MiniGrid computes an egocentric view in every step, which is most of a step's time. Here that call is switched off, and the
whole grid is kept as planes: only cells that an action touched are encoded again, when an observation is built. Code that
reads MiniGrid's view would read an empty one, so only what is known not to read it takes this path (`plain_reason`).
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable
from functools import partial
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces, wrappers
from minigrid.core.actions import Actions
from minigrid.core.constants import COLOR_TO_IDX
from minigrid.core.world_object import Lava, Wall
from minigrid.envs.crossing import CrossingEnv
from minigrid.envs.distshift import DistShiftEnv
from minigrid.envs.empty import EmptyEnv
from minigrid.envs.fourrooms import FourRoomsEnv as RandomFourRoomsEnv
from minigrid.envs.lavagap import LavaGapEnv
from minigrid.minigrid_env import MiniGridEnv
from minigrid.wrappers import ActionBonus, NoDeath, PositionBonus, ReseedWrapper
from numpy.typing import NDArray

from phr.envs.contract import is_patched, methods_of, unknown_wrapper
from phr.envs.flatten import mission_codes
from phr.envs.four_rooms import FourRoomsEnv
from phr.envs.split import Advance, SplitEnv
from phr.errors import UnsupportedEnvironmentError

COLORS = tuple(COLOR_TO_IDX)
_Names = tuple[str, ...]


class PlaneLayout:
    """The one-hot planes of a grid observation, `(plane, y, x)`, uint8, that show its whole state.

    They are, in this order: `objects` (an empty cell has none), their `colors`, `door_states` by MiniGrid's numbers, the
    agent's directions, and what it carries (each `portable` object, then the colours; drawn on its cell). Unlike in
    MiniGrid's own full encoding, the agent does not hide the cell it stands on. Constant planes would slow the network down.

    Attributes:
        object, color: Name → plane.
        door_state: First of the planes of door states.
        agent: First of four planes, one per direction: right, down, left, up.
        carried: Name of a portable object or of a colour → plane.
        n_planes: Planes before those that encode a varying mission.
    """

    def __init__(self, objects: _Names, colors: _Names = (), door_states: _Names = (), portable: _Names = ()) -> None:
        self.objects, self.colors, self.door_states = objects, colors, door_states
        self.object = {name: plane for plane, name in enumerate(objects)}
        self.color = {name: plane for plane, name in enumerate(colors, len(objects))}
        self.door_state = len(objects) + len(colors)
        self.agent = self.door_state + len(door_states)
        carried = (*portable, *colors) if portable else ()
        self.carried = {name: plane for plane, name in enumerate(carried, self.agent + 4)}
        self.n_planes = self.agent + 4 + len(carried)
        # (object, colour) → number of the kind of cell; 0 is an empty one. Door states are added cell by cell.
        self._codes = {pair: 1 + index for index, pair in enumerate(itertools.product(objects, COLORS))}
        self._doors = frozenset(code for (name, _), code in self._codes.items() if name == "door")
        self._table = np.zeros((self.agent, 1 + len(self._codes)), np.uint8)  # the planes of every kind of cell
        for (name, color), code in self._codes.items():
            self._table[self.object[name], code] = 1
            if colors:
                self._table[self.color[color], code] = 1

    def cell_planes(self, cell: Any) -> list[int]:
        """Return the planes that are set for a MiniGrid object or None, an empty cell; KeyError for an unknown object."""
        if cell is None:
            return []
        planes = [self.object[cell.type]]
        if self.colors:
            planes.append(self.color[cell.color])
        if cell.type == "door":
            planes.append(self.door_state + cell.encode()[2])
        return planes

    def encode_grid(self, cells: list[Any], out: NDArray[np.uint8]) -> None:
        """Write MiniGrid's row-major cells to `(>= agent, height, width)`, 0 from `agent` on; KeyError if one is unknown."""
        codes = [0 if cell is None else self._codes[cell.type, cell.color] for cell in cells]
        flat = out.reshape(len(out), -1)
        np.take(self._table, codes, axis=1, out=flat[: self.agent], mode="clip")  # "clip" writes straight into `out`
        flat[self.agent :] = 0
        if not self._doors.isdisjoint(codes):
            for place, cell in enumerate(cells):
                if cell is not None and cell.type == "door":
                    flat[self.cell_planes(cell), place] = 1


_OBJECTS = ("wall", "floor", "door", "key", "ball", "box", "goal", "lava")
FULL = PlaneLayout(_OBJECTS, COLORS, door_states=("open", "closed", "locked"), portable=("key", "ball", "box"))
"""Everything that a MiniGrid world may contain."""
WALKING = PlaneLayout(("wall", "goal", "lava"))
"""A world of walls, goals and lava, each of one colour: nothing opens, nothing can be carried."""


def layout_of(n_planes: int) -> PlaneLayout | None:
    """Return the layout of an observation with so many planes; None if there is none."""
    if n_planes == WALKING.n_planes:
        return WALKING
    return FULL if n_planes >= FULL.n_planes else None


_NO_VIEW = dict
"""Replaces `gen_obs` on the fast path: an empty observation, which nothing reads."""
_VIEW_SIZES = 11, 6, 3
"""Objects, colours and states in MiniGrid's view."""
_TOGGLE = int(Actions.toggle)
_WRAPPERS = frozenset(
    {gymnasium.Wrapper, ActionBonus, NoDeath, PositionBonus, ReseedWrapper}
    | {wrappers.ClipReward, wrappers.HumanRendering, wrappers.NormalizeReward, wrappers.OrderEnforcing}
    | {wrappers.PassiveEnvChecker, wrappers.RecordEpisodeStatistics, wrappers.RecordVideo}
    | {wrappers.RenderCollection, wrappers.TimeLimit}
)
"""Wrappers that neither read nor change actions and observations, as their source shows (`advance` must know when a door is
toggled). Subclasses may do anything and do not qualify."""
_OWN_CLASSES: dict[type, set[Any]] = {FourRoomsEnv: methods_of(FourRoomsEnv)}
"""phr's own MiniGrid environments and their methods, which do not read the view either."""
_WALKING_WORLDS = (CrossingEnv, DistShiftEnv, EmptyEnv, FourRoomsEnv, LavaGapEnv, RandomFourRoomsEnv)
"""As MiniGrid makes them, these hold walls, goals and lava alone, each of one colour; a subclass may add anything."""


class _MiniGridBase(SplitEnv):
    """A MiniGrid environment for which `plain_reason` is None, with its own observation switched off."""

    family = "grid"
    steps_per_second = 4.0
    stepping = "fast path: MiniGrid's simulator alone; an observation is built only when it is needed"

    def __init__(self, env: gymnasium.Env[Any, Any], env_id: str) -> None:
        core: Any = env.unwrapped  # some methods of it and of its grid are replaced
        self.gym_env, self.env_id, self._core = _without_checker(env), env_id, core
        self._gen_obs = partial(MiniGridEnv.gen_obs, core)
        core.gen_obs = _NO_VIEW
        actions: Any = env.action_space
        self.n_actions = int(actions.n)
        self._mission_codes = mission_codes(core.observation_space["mission"], env_id)
        self._n_mission = len(next(iter(self._mission_codes.values()), ()))

    def reset(self, seed: int | None = None) -> None:
        """Start an episode."""
        self.gym_env.reset(seed=seed)

    def advance(self, action: Any) -> Advance:
        """Move the world by one action, without MiniGrid's view."""
        _, reward, terminated, truncated, info = self.gym_env.step(action)
        return float(reward), terminated, truncated, info

    def forget_steps(self) -> None:
        """Count steps from here, in MiniGrid's own limit and reward too."""
        super().forget_steps()
        self._core.step_count = 0

    def _mission_code(self) -> NDArray[np.uint8]:
        try:
            return self._mission_codes[self._core.mission]
        except KeyError:
            outside = f"{self.env_id}: mission {self._core.mission!r} is outside its MissionSpace"
            raise UnsupportedEnvironmentError(outside) from None


class FullViewEnv(_MiniGridBase):
    """A MiniGrid environment seen whole: one-hot planes of shape `(planes, height, width)`."""

    shows_whole_grid = True

    def __init__(self, env: gymnasium.Env[Any, Any], env_id: str) -> None:
        super().__init__(env, env_id)
        self._core.highlight = False  # pictures mark the agent's own view, which is not what a policy sees here
        self._layout = layout = plane_layout(env)
        self._agent, self._mission = layout.agent, layout.n_planes
        self.agent_planes = layout.agent
        self._planes = np.zeros((layout.n_planes + self._n_mission, self._core.height, self._core.width), np.uint8)
        self.observation_space = spaces.Box(0, 1, self._planes.shape, np.uint8)
        held = "walls, goals, lava and the agent" if layout is WALKING else "all that it may hold"
        self.shown = f"the whole grid as one-hot planes: {held}"
        self._encoded_grid: Any = None
        self._dirty: list[tuple[Any, Any]] = []
        self._agent_cell = (0, 0)

    def reset(self, seed: int | None = None) -> None:
        """Start an episode."""
        self.gym_env.reset(seed=seed)
        self._encoded_grid = None

    def advance(self, action: Any) -> Advance:
        """Move the world by one action, without MiniGrid's view."""
        if action == _TOGGLE:  # the one action that changes an object in place
            x, y = self._core.front_pos
            self._dirty.append((int(x), int(y)))
        _, reward, terminated, truncated, info = self.gym_env.step(action)
        return float(reward), terminated, truncated, info

    def _encode_all(self) -> None:
        grid = self._core.grid
        self._layout.encode_grid(grid.grid, self._planes)
        if self._n_mission:
            self._planes[self._mission :] = self._mission_code()[:, None, None]
        self._encoded_grid, self._dirty = grid, []
        grid.set = partial(_noting_set, self._dirty, grid.set)

    def _encode_touched(self) -> None:
        cells, width = self._core.grid.grid, self._core.width
        for x, y in self._dirty:
            self._planes[: self._agent, y, x] = 0
            self._planes[self._layout.cell_planes(cells[y * width + x]), y, x] = 1
        self._dirty.clear()

    def observe(self, out: NDArray[Any] | None = None) -> NDArray[Any]:
        """The whole state as planes (see `PlaneLayout`)."""
        core = self._core
        try:
            if core.grid is not self._encoded_grid:
                self._encode_all()
            elif self._dirty:
                self._encode_touched()
        except KeyError as error:
            held = f"its grid holds {error.args[0]!r}; phr knows {', '.join(self._layout.objects)}"
            raise UnsupportedEnvironmentError(f"{self.env_id}: {held}") from None
        state = self._planes
        y, x = self._agent_cell
        state[self._agent : self._mission, y, x] = 0
        x, y = int(core.agent_pos[0]), int(core.agent_pos[1])
        state[self._agent + core.agent_dir, y, x] = 1
        if core.carrying is not None:
            state[self._layout.carried[core.carrying.type], y, x] = 1
            state[self._layout.carried[core.carrying.color], y, x] = 1
        self._agent_cell = (y, x)
        if out is None:
            return state.copy()
        out[...] = state
        return out


def plane_layout(env: gymnasium.Env[Any, Any]) -> PlaneLayout:
    """Return the planes that a MiniGrid environment needs: a few where it is known to contain little, else all."""
    core = env.unwrapped
    known = type(core) in _WALKING_WORLDS and getattr(core, "obstacle_type", Wall) in (Wall, Lava)  # some take any obstacle
    return WALKING if known else FULL


def plain_reason(env: gymnasium.Env[Any, Any]) -> str | None:
    """Return why an environment must be stepped as Gymnasium does it; None where nothing reads MiniGrid's view.

    Every class must be exactly one that MiniGrid or phr ships, every wrapper exactly one of `_WRAPPERS`, and none patched.
    """
    if (reason := unknown_wrapper(env, _WRAPPERS, "the observation")) is not None:
        return reason
    core = env.unwrapped
    if not isinstance(core, MiniGridEnv):
        return "it is not a MiniGrid environment"
    kind = type(core)
    module, name = kind.__module__, f"{kind.__module__}.{kind.__qualname__}"
    shipped = module.startswith("minigrid.envs.") and getattr(sys.modules.get(module), kind.__name__, None) is kind
    if kind not in _OWN_CLASSES and not shipped:
        return f"class {name} is not one of MiniGrid's own"
    if is_patched(core, own=_OWN_CLASSES.get(kind), stand_in=_NO_VIEW):
        return f"a method of {name} was replaced"
    if env.observation_space is not core.observation_space:
        return "a wrapper replaced its observation space"
    if not isinstance(env.action_space, spaces.Discrete) or env.action_space.start:
        return "a wrapper replaced its action space"
    return None


def _noting_set(dirty: list[tuple[Any, Any]], plain_set: Callable[[Any, Any, Any], None], i: Any, j: Any, v: Any) -> None:
    """`Grid.set` that notes the cell; MiniGrid sends Python's and numpy's integers."""
    dirty.append((i, j))
    plain_set(i, j, v)


class PartialViewEnv(_MiniGridBase):
    """A MiniGrid environment as the agent sees it, in planes of shape `(planes, view, view)`.

    11 objects, 6 colours and 3 states of the egocentric view, 4 directions (constant planes), the mission where it varies.
    """

    def __init__(self, env: gymnasium.Env[Any, Any], env_id: str) -> None:
        super().__init__(env, env_id)
        self.shown = "the agent's own view as one-hot planes, with its compass direction"
        size = self._core.agent_view_size
        n_planes = sum(_VIEW_SIZES) + 4 + self._n_mission
        self.observation_space = spaces.Box(0, 1, (n_planes, size, size), np.uint8)

    def observe(self, out: NDArray[Any] | None = None) -> NDArray[Any]:
        """The egocentric view as planes."""
        if out is None:
            out = np.empty(self.observation_space.shape, np.uint8)
        seen = self._gen_obs()
        image = seen["image"].transpose(1, 0, 2)  # MiniGrid indexes [x, y]
        first = 0
        for channel, size in enumerate(_VIEW_SIZES):
            out[first : first + size] = image[..., channel] == np.arange(size)[:, None, None]
            first += size
        out[first:] = 0
        out[first + seen["direction"]] = 1
        if self._n_mission:
            out[first + 4 :] = self._mission_code()[:, None, None]
        return out


def _without_checker(env: gymnasium.Env[Any, Any]) -> gymnasium.Env[Any, Any]:
    """The environment without Gymnasium's checker, which objects to an observation that nobody looks at."""
    if isinstance(env, wrappers.PassiveEnvChecker):
        return _without_checker(env.env)
    if isinstance(env, gymnasium.Wrapper):
        env.env = _without_checker(env.env)
    return env
