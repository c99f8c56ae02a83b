"""MiniGrid without its `gen_obs`: stepping costs the simulator alone, and an observation costs a copy.

MiniGrid computes an egocentric view in every step, which is most of a step's time. Here that call is switched off. The full
symbolic observation is kept as planes and updated cell by cell: only cells that an action touched are encoded again, and
only when an observation is built.

Code that reads MiniGrid's view would read an empty one, so this path is taken only by classes and wrappers that are known
not to read it (`plain_reason`).
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from gymnasium.wrappers import (
    ClipReward,
    HumanRendering,
    NormalizeReward,
    OrderEnforcing,
    PassiveEnvChecker,
    RecordEpisodeStatistics,
    RecordVideo,
    RenderCollection,
    TimeLimit,
)
from minigrid.core.actions import Actions
from minigrid.core.world_object import Lava, Wall
from minigrid.envs.crossing import CrossingEnv
from minigrid.envs.distshift import DistShiftEnv
from minigrid.envs.empty import EmptyEnv
from minigrid.envs.fourrooms import FourRoomsEnv as RandomFourRoomsEnv
from minigrid.envs.lavagap import LavaGapEnv
from minigrid.minigrid_env import MiniGridEnv
from minigrid.wrappers import ActionBonus, NoDeath, PositionBonus, ReseedWrapper
from numpy.typing import NDArray

from phr.envs.contract import is_patched, methods_of
from phr.envs.flatten import mission_codes
from phr.envs.four_rooms import FourRoomsEnv
from phr.envs.planes import FULL, WALKING, PlaneLayout
from phr.envs.split import Advance, SplitEnv, discrete_size
from phr.errors import UnsupportedEnvironmentError

_NO_VIEW = dict
"""Stands in for `gen_obs` on the fast path: an empty observation, which nobody reads."""

_VIEW_OBJECTS, _VIEW_COLORS, _VIEW_STATES = 11, 6, 3
_TOGGLE = int(Actions.toggle)

_WRAPPERS = frozenset(
    {
        gymnasium.Wrapper,
        ActionBonus,
        ClipReward,
        HumanRendering,
        NoDeath,
        NormalizeReward,
        OrderEnforcing,
        PassiveEnvChecker,
        PositionBonus,
        RecordEpisodeStatistics,
        RecordVideo,
        RenderCollection,
        ReseedWrapper,
        TimeLimit,
    }
)
"""Wrappers that hand the action and the observation on without reading either; checked in their source. Their subclasses may
do anything. One that changes actions does not qualify: `advance` must know when a door is toggled."""


_OWN_CLASSES: dict[type, set[Any]] = {FourRoomsEnv: methods_of(FourRoomsEnv)}
"""phr's own MiniGrid environments and their methods, which do not read the view either."""

_WALKING_WORLDS = (CrossingEnv, DistShiftEnv, EmptyEnv, FourRoomsEnv, LavaGapEnv, RandomFourRoomsEnv)
"""As MiniGrid makes them, these hold walls, goals and lava alone, each of one colour; a subclass may add anything."""


class _MiniGridBase(SplitEnv):
    """What the full and the partial view share: the simulator with its own observation switched off."""

    family = "grid"
    steps_per_second = 4.0
    stepping = "fast path: MiniGrid's simulator alone; an observation is built only when it is needed"

    def __init__(self, env: gymnasium.Env[Any, Any], env_id: str) -> None:
        reason = plain_reason(env)
        if reason is not None:
            raise UnsupportedEnvironmentError(f"{env_id} cannot take the fast path of grids: {reason}")
        core: Any = env.unwrapped  # some methods of it and of its grid are replaced
        self._env = _without_checker(env)
        self._core = core
        self._gen_obs = partial(MiniGridEnv.gen_obs, core)
        core.gen_obs = _NO_VIEW
        self.env_id = env_id
        self.n_actions = discrete_size(env.action_space, env_id)
        self._mission_codes = mission_codes(core.observation_space["mission"], env_id)
        self._n_mission = len(next(iter(self._mission_codes.values()), ()))

    @property
    def gym_env(self) -> gymnasium.Env[Any, Any]:
        """The MiniGrid environment, wrappers included, its own observation switched off."""
        return self._env

    def forget_steps(self) -> None:
        """Count steps from here, in MiniGrid's own limit and reward too."""
        super().forget_steps()
        self._core.step_count = 0

    def _mission_code(self) -> NDArray[np.uint8]:
        try:
            return self._mission_codes[self._core.mission]
        except KeyError:
            raise UnsupportedEnvironmentError(
                f"{self.env_id}: mission {self._core.mission!r} is outside its MissionSpace"
            ) from None


class FullViewEnv(_MiniGridBase):
    """A MiniGrid environment seen whole: one-hot planes of shape `(planes, height, width)`.

    Args:
        env: An environment of MiniGrid's own for which `plain_reason` is None.
        env_id: The id it was made from.

    Raises:
        UnsupportedEnvironmentError: If it does not qualify, its missions cannot be enumerated, or its actions are not
            discrete.
    """

    shows_whole_grid = True

    def __init__(self, env: gymnasium.Env[Any, Any], env_id: str) -> None:
        super().__init__(env, env_id)
        self._core.highlight = False  # pictures mark the agent's own view, which is not what a policy sees here
        width, height = self._core.width, self._core.height
        self._layout = layout = plane_layout(env)
        self._agent, self._mission = layout.agent, layout.n_planes
        shape = (layout.n_planes + self._n_mission, height, width)
        self.observation_space = spaces.Box(0, 1, shape, np.uint8)
        held = "walls, goals, lava and the agent" if layout is WALKING else "all that it may hold"
        self.shown = f"the whole grid as one-hot planes: {held}"
        self._planes = np.zeros(shape, np.uint8)
        self._width = width
        self._encoded_grid: Any = None
        self._dirty: list[tuple[Any, Any]] = []
        self._agent_cell = (0, 0)

    def reset(self, seed: int | None = None) -> None:
        """Start an episode."""
        self._env.reset(seed=seed)
        self._encoded_grid = None

    def advance(self, action: Any) -> Advance:
        """Move the world by one action, without MiniGrid's view."""
        if action == _TOGGLE:  # the one action that changes an object in place
            x, y = self._core.front_pos
            self._dirty.append((int(x), int(y)))
        _, reward, terminated, truncated, info = self._env.step(action)
        return float(reward), terminated, truncated, info

    def _encode_all(self) -> None:
        grid = self._core.grid
        try:
            self._layout.encode_grid(grid.grid, self._planes)
        except KeyError as error:
            raise self._unknown_object(error) from None
        if self._n_mission:
            self._planes[self._mission :] = self._mission_code()[:, None, None]
        self._encoded_grid, self._dirty = grid, []
        grid.set = partial(_noting_set, self._dirty, grid.set)

    def _mend(self) -> None:
        cells = self._core.grid.grid
        for x, y in self._dirty:
            self._planes[: self._agent, y, x] = 0
            try:
                self._planes[self._layout.cell_planes(cells[y * self._width + x]), y, x] = 1
            except KeyError as error:
                raise self._unknown_object(error) from None
        self._dirty.clear()

    def _unknown_object(self, error: KeyError) -> UnsupportedEnvironmentError:
        known = ", ".join(self._layout.objects)
        return UnsupportedEnvironmentError(f"{self.env_id}: its grid holds {error.args[0]!r}; phr knows {known}")

    def observe(self, out: NDArray[Any] | None = None) -> NDArray[Any]:
        """The whole state as planes (see `phr.envs.planes`)."""
        core = self._core
        if core.grid is not self._encoded_grid:
            self._encode_all()
        elif self._dirty:
            self._mend()
        state = self._planes
        y, x = self._agent_cell
        state[self._agent : self._mission, y, x] = 0
        x, y = int(core.agent_pos[0]), int(core.agent_pos[1])
        state[self._agent + core.agent_dir, y, x] = 1
        if core.carrying is not None:
            state[self._layout.carried[core.carrying.type], y, x] = 1
            state[self._layout.carried_color[core.carrying.color], y, x] = 1
        self._agent_cell = (y, x)
        if out is None:
            return state.copy()
        out[...] = state
        return out


def plane_layout(env: gymnasium.Env[Any, Any]) -> PlaneLayout:
    """Return the planes that a MiniGrid environment needs: a few where it is known to hold little, else all.

    Some classes take an obstacle of any kind.
    """
    core: Any = env.unwrapped
    known = type(core) in _WALKING_WORLDS and getattr(core, "obstacle_type", Wall) in (Wall, Lava)
    return WALKING if known else FULL


def plain_reason(env: gymnasium.Env[Any, Any]) -> str | None:
    """Return why an environment must be stepped as Gymnasium does it; None where nothing reads MiniGrid's view.

    Every class must be exactly one that MiniGrid ships (or phr's four rooms), every wrapper exactly one of a list, and none
    of them patched.
    """
    layer: Any = env
    while True:
        kind = type(layer)
        name = f"{kind.__module__}.{kind.__qualname__}"
        if isinstance(layer, gymnasium.Wrapper):
            if kind not in _WRAPPERS:
                return f"wrapper {name} is not on the list of those that leave the observation alone"
        elif not isinstance(layer, MiniGridEnv):
            return "it is not a MiniGrid environment"
        elif kind not in _OWN_CLASSES and not _is_shipped(kind):
            return f"class {name} is not one of MiniGrid's own"
        if is_patched(layer, own=_OWN_CLASSES.get(kind), stand_in=_NO_VIEW):
            return f"a method of {name} was replaced"
        if not isinstance(layer, gymnasium.Wrapper):
            break
        layer = layer.env
    if env.observation_space is not layer.observation_space:
        return "a wrapper replaced its observation space"
    return None


def _is_shipped(kind: type) -> bool:
    module = kind.__module__
    return module.startswith("minigrid.envs.") and getattr(sys.modules.get(module), kind.__name__, None) is kind


def _noting_set(dirty: list[tuple[Any, Any]], plain_set: Callable[[Any, Any, Any], None], i: Any, j: Any, v: Any) -> None:
    """`Grid.set` that notes the cell; MiniGrid sends Python's and numpy's integers."""
    dirty.append((i, j))
    plain_set(i, j, v)


class PartialViewEnv(_MiniGridBase):
    """A MiniGrid environment as the agent sees it: the egocentric view, one-hot, and the compass direction.

    Planes of shape `(planes, view, view)`: 11 objects, 6 colours, 3 states, 4 directions (constant planes), and the
    mission where it varies.
    """

    def __init__(self, env: gymnasium.Env[Any, Any], env_id: str) -> None:
        super().__init__(env, env_id)
        self.shown = "the agent's own view as one-hot planes, with its compass direction"
        size = self._core.agent_view_size
        n_planes = _VIEW_OBJECTS + _VIEW_COLORS + _VIEW_STATES + 4 + self._n_mission
        self.observation_space = spaces.Box(0, 1, (n_planes, size, size), np.uint8)

    def reset(self, seed: int | None = None) -> None:
        """Start an episode."""
        self._env.reset(seed=seed)

    def advance(self, action: Any) -> Advance:
        """Move the world by one action, without MiniGrid's view."""
        _, reward, terminated, truncated, info = self._env.step(action)
        return float(reward), terminated, truncated, info

    def observe(self, out: NDArray[Any] | None = None) -> NDArray[Any]:
        """The egocentric view as planes."""
        if out is None:
            out = np.empty(self.observation_space.shape, np.uint8)
        seen = self._gen_obs()
        image = seen["image"].transpose(1, 0, 2)  # MiniGrid indexes [x, y]
        first = 0
        for channel, size in enumerate((_VIEW_OBJECTS, _VIEW_COLORS, _VIEW_STATES)):
            out[first : first + size] = image[..., channel] == np.arange(size)[:, None, None]
            first += size
        out[first:] = 0
        out[first + seen["direction"]] = 1
        if self._n_mission:
            out[first + 4 :] = self._mission_code()[:, None, None]
        return out


def _without_checker(env: gymnasium.Env[Any, Any]) -> gymnasium.Env[Any, Any]:
    """The environment without Gymnasium's checker, which objects to an observation that nobody looks at."""
    if isinstance(env, PassiveEnvChecker):
        return _without_checker(env.env)
    if isinstance(env, gymnasium.Wrapper):
        env.env = _without_checker(env.env)
    return env
