"""Environments whose step is split in two: `advance` moves the world and `observe` builds the observation.

An agent that executes a plan calls `advance` several times and `observe` once, and pays for one observation only. The
outcome equals stepping one by one, bit for bit.
"""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeAlias

import gymnasium
import numpy as np
from gymnasium import spaces
from gymnasium.wrappers import TimeLimit
from numpy.typing import NDArray

from phr.actions import ActionSpace, Continuous, Discrete, MultiDiscrete
from phr.envs.contract import CheckedEnv
from phr.envs.flatten import OutsideError, reader_of
from phr.envs.layers import TimeFeature
from phr.errors import FOREIGN_ERRORS, BrokenEnvironmentError, NonFiniteError, UnsupportedEnvironmentError, error_text
from phr.seeding import reseed

SeedSchedule = Callable[[int, int], int | None]
"""(environment, episode) → seed of that episode; None continues the environment's own generator."""


@dataclass(frozen=True)
class VectorStep:
    """The result of one step of all environments: arrays of shape `(n_envs,)`, 0 for environments outside the mask."""

    rewards: NDArray[np.float32]
    terminated: NDArray[np.bool_]
    truncated: NDArray[np.bool_]
    final_obs: dict[int, NDArray[Any]]
    """Environment → last observation of an episode that was truncated, not terminated (`same_step` only)."""
    infos: dict[int, dict[str, Any]]
    """Environment → info, for episodes that ended in this step."""

    @property
    def done(self) -> NDArray[np.bool_]:
        """Whether the episode ended, either way."""
        return self.terminated | self.truncated


if TYPE_CHECKING:
    from phr.envs.atari import AtariVector
    from phr.envs.vector import VectorSplit

    TrainingVector: TypeAlias = VectorSplit | AtariVector
else:
    TrainingVector = Any
"""Environments that are stepped together, with the methods that both have; an episode that ends starts again at once."""

Advance = tuple[float, bool, bool, dict[str, Any]]
"""Reward, terminated, truncated, info: Gymnasium's step without the observation."""

Family = Literal["grid", "atari", "other"]
"""MiniGrid on the fast path, an Atari game on the fast path, any other environment."""


class Timing(NamedTuple):
    """How a simulator turns actions into frames, see `AtariSettings`; `idle_starts` is its `noop_max`."""

    frame_skip: int | tuple[int, int]
    sticky: float
    idle_starts: int
    step_limit: int


class BareSimulator(NamedTuple):
    """The simulator without phr's classes, which the time bound measures."""

    step: Callable[[Any], Any]
    """Returns what Gymnasium's `step` returns, or None if episodes end elsewhere."""
    reset: Callable[[int | None], Any]
    observe: Callable[[], NDArray[Any]]


class SplitEnv(ABC):
    """An environment whose observation is built only on request: one array of the shape and dtype of `observation_space`."""

    env_id: str
    observation_space: spaces.Box
    n_actions: int
    """Actions are the integers 0 .. n_actions − 1; of a space that is not Discrete, its `n_outputs`."""
    family: Family = "other"
    stepping: str = "plain path: Gymnasium's own step, which builds an observation every time"
    shown: str | None = None
    """What an observation contains, in words; None where the observation space is enough."""
    shows_whole_grid: bool = False
    """Whether an observation is the planes of a whole grid (`PlaneLayout`), which the oracle can read."""
    agent_planes: int | None = None
    """The first of the four planes that mark the agent's cell by its direction; None where an observation has no such."""
    timing: Timing | None = None
    """Of a simulator that phr drives itself; None where Gymnasium's layers define it."""
    gym_env: gymnasium.Env[Any, Any]

    @cached_property
    def action_space(self) -> ActionSpace:
        """What its actions are; Discrete unless set."""
        return Discrete(self.n_actions)

    @property
    def steps_per_second(self) -> float:
        """The pace of a film: Gymnasium's `render_fps`, or 15."""
        return float(self.gym_env.metadata.get("render_fps", 15.0))

    def action_effects(self) -> NDArray[np.int64] | None:
        """Return what each action does, as a direction 1 or −1, 0 for none; None where that is not known."""
        return None

    def native_vectors(self, n_envs: int, seeds: SeedSchedule) -> Sequence[TrainingVector] | None:
        """Return vectors that step `n_envs` such environments faster than one by one; None where there are none."""
        return None

    @abstractmethod
    def reset(self, seed: int | None = None) -> None:
        """Start an episode; without a seed the environment's own generator continues."""

    @abstractmethod
    def advance(self, action: Any) -> Advance:
        """Move the world by one action of the action space; return reward, terminated, truncated, info."""

    @abstractmethod
    def observe(self, out: NDArray[Any] | None = None) -> NDArray[Any]:
        """Build the observation of the present state, in `out` if given, else in a new array."""

    def forget_steps(self) -> None:
        """Count the episode's steps from here, after a prefix; the base class resets Gymnasium's time limit."""
        layer: Any = self.gym_env
        while isinstance(layer, gymnasium.Wrapper):
            if isinstance(layer, TimeLimit):
                limit: Any = layer  # Gymnasium types the counter as None, which it is before the first reset
                limit._elapsed_steps = 0
            elif isinstance(layer, TimeFeature):
                layer.forget_steps()
            layer = layer.env

    def reseed(self, seed: int) -> None:
        """Reseed chance, but keep the state: another future of the same moment. The base class reseeds `np_random` alone."""
        reseed(self.gym_env.unwrapped.np_random, seed)

    def start_seeds(self) -> list[int] | None:
        """Return seeds that give every possible start once; None if unknown, an error if no list can be complete."""
        return None

    def bare(self) -> BareSimulator:
        """Return the simulator of this environment alone; by default Gymnasium's own `step` and `reset`."""
        return BareSimulator(self.gym_env.step, lambda seed: self.gym_env.reset(seed=seed), self.observe)

    def close(self) -> None:
        """Release its resources; an error of the environment's own `close` is a warning, so that no result is lost."""
        try:
            self.gym_env.close()
        except FOREIGN_ERRORS as error:  # the user's own code
            warnings.warn(f"{self.env_id}: close() raised {error_text(error)}", RuntimeWarning, stacklevel=2)

    def __enter__(self) -> SplitEnv:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()


class ObservingEnv(SplitEnv):
    """Any Gymnasium environment: it builds an observation at every step, and most are discarded."""

    def __init__(self, env: gymnasium.Env[Any, Any], env_id: str) -> None:
        self.gym_env, self.env_id = env, env_id
        self.action_space = plannable(getattr(env, "action_space", None), env_id)
        self.n_actions = self.action_space.n_outputs
        space = getattr(env, "observation_space", None)
        try:
            self._reader = reader_of(space, env_id)
        except (MemoryError, ValueError) as error:  # numpy refuses to allocate so long a row
            raise UnsupportedEnvironmentError(
                f"{env_id}: observation space {space} is too large ({error}): Discrete and MultiDiscrete values are shown "
                "one-hot. Wrap it, e.g. in gymnasium.wrappers.TransformObservation."
            ) from error
        self.observation_space, self.shown = self._reader.space, self._reader.shown
        self._checked = CheckedEnv(env, env_id)
        self._latest: Any = None

    def reset(self, seed: int | None = None) -> None:
        """Start an episode."""
        self._latest = self._checked.reset(seed)

    def advance(self, action: Any) -> Advance:
        """Move the world by one action."""
        self._latest, reward, terminated, truncated, info = self._checked.step(action)
        return reward, terminated, truncated, info

    def observe(self, out: NDArray[Any] | None = None) -> NDArray[Any]:
        """Return the latest observation."""
        if out is None:
            out = np.empty(self.observation_space.shape, self.observation_space.dtype)
        try:
            self._reader.write(self._latest, out)
        except OutsideError as error:
            outside = f"{self._checked.last_call} returned an observation outside its observation space: {error}"
            fix = "Return what env.observation_space describes, or correct the space."
            raise BrokenEnvironmentError(f"{self.env_id}: {outside}. {fix}{self._checked.where}") from error
        if self._reader.holds_floats and not np.isfinite(out).all():
            returned = "returned an observation that contains NaN, infinity or a number too large for its dtype"
            raise NonFiniteError(f"{self.env_id}: {self._checked.last_call} {returned}{self._checked.where}")
        return out

    def bare(self) -> BareSimulator:
        """Return Gymnasium's own methods, unchecked; actions are copied, as the environment may change them."""
        step, reset, as_sampled = self.gym_env.step, self.gym_env.reset, self._checked.as_sampled

        def bare_step(action: Any) -> Any:
            answer = step(as_sampled(action))
            self._latest = answer[0]
            return answer

        def bare_reset(seed: int | None) -> None:
            self._latest = reset(seed=seed)[0]

        return BareSimulator(bare_step, bare_reset, self.observe)


def plannable(space: spaces.Space[Any] | None, name: str) -> ActionSpace:
    """Convert Gymnasium's action space; UnsupportedEnvironmentError for one that phr cannot plan in."""
    if isinstance(space, spaces.Discrete) and space.start == 0:
        return Discrete(int(space.n))
    if isinstance(space, spaces.MultiDiscrete) and space.nvec.ndim == 1 and not np.any(space.start):
        return MultiDiscrete(tuple(space.nvec.tolist()))
    floats = isinstance(space, spaces.Box) and space.dtype.kind == "f" and np.can_cast(np.float32, space.dtype)
    if isinstance(space, spaces.Box) and floats and space.shape and space.low.size:
        return Continuous.between(space.low, space.high)
    said = " ".join(str(space).split())
    known = "phr plans over Discrete(n), MultiDiscrete([n, ...]) and Box actions of float32 or float64"
    fix = "wrap it, e.g. with gymnasium.wrappers.TransformAction"
    raise UnsupportedEnvironmentError(f"{name}: action space {said} is not supported; {known} ({fix})")


def run_plan(env: SplitEnv, actions: Sequence[Any], rewards: list[float]) -> Advance:
    """Execute one or more actions, until they run out or the episode ends; append to `rewards`, return the last step.

    Timed runs spend their steps in this loop, so it does little besides calling `advance`.
    """
    advance, append = env.advance, rewards.append
    for action in actions:
        step = advance(action)
        append(step[0])
        if step[1] or step[2]:
            break
    return step
