"""Environments whose step is split in two, because not looking is the point.

`advance` moves the world and `observe` builds the observation. An agent that executes a plan calls `advance` several times
and `observe` once, so whatever an observation costs is paid only when somebody looks. The outcome equals stepping one by
one, bit for bit.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import isfinite
from types import TracebackType
from typing import Any, Literal

import gymnasium
import numpy as np
from gymnasium import spaces
from gymnasium.wrappers import TimeLimit
from numpy.typing import NDArray

from phr.actions import ActionSpace, Continuous, Discrete, MultiDiscrete
from phr.envs.flat_dict import FlatDict
from phr.errors import BrokenEnvironmentError, NonFiniteError, PhrError, UnsupportedEnvironmentError
from phr.seeding import reseed

Advance = tuple[float, bool, bool, dict[str, Any]]
"""Reward, terminated, truncated, info: Gymnasium's step without the observation."""


Family = Literal["grid", "atari", "other"]
"""MiniGrid seen by phr's own fast path, an Atari game, anything else."""


@dataclass(frozen=True)
class BareSimulator:
    """What acting cannot do without, and no class of ours: the time bound measures it.

    Attributes:
        step: Move the simulator by one action.
        reset: Start an episode with this seed; None goes on with the own generator.
        observe: Build the observation that an agent who looks now is shown.
    """

    step: Callable[[Any], Any]
    reset: Callable[[int | None], Any]
    observe: Callable[[], NDArray[Any]]


class SplitEnv(ABC):
    """An environment whose observation is built only on request.

    Attributes:
        env_id: The id it was made from.
        observation_space: A Box; every observation is one array of its shape and dtype.
        n_actions: Actions are the integers 0 .. n_actions − 1; of a space that is not Discrete, its `n_outputs`.
        family: The kind of environment, by which presets are chosen.
    """

    env_id: str
    observation_space: spaces.Box
    n_actions: int
    family: Family = "other"

    @property
    def action_space(self) -> ActionSpace:
        """What its actions are; Discrete unless a subclass says otherwise."""
        return Discrete(self.n_actions)

    @abstractmethod
    def reset(self, seed: int | None = None) -> None:
        """Start an episode; without a seed the environment's own generator goes on."""

    @abstractmethod
    def advance(self, action: Any, blind_for: int = 0) -> Advance:
        """Move the world by one action.

        Args:
            action: The action to take: a whole number, or an array where the action space says so.
            blind_for: How many further steps will be taken before anyone looks. A hint: an environment that stacks frames
                may skip those that nobody will see.

        Returns:
            Reward, terminated, truncated, info.
        """

    @abstractmethod
    def observe(self, out: NDArray[Any] | None = None) -> NDArray[Any]:
        """Build the observation of the present state; written into `out` where given, else into a new array."""

    def forget_steps(self) -> None:
        """Count the episode's steps from here: what came before was a prefix that nobody is to pay for.

        The base class winds back Gymnasium's time limit.
        """
        layer: Any = self.gym_env
        while isinstance(layer, gymnasium.Wrapper):
            if isinstance(layer, TimeLimit):
                limit: Any = layer  # Gymnasium types the counter as None, which it is before the first reset
                limit._elapsed_steps = 0
            layer = layer.env

    def reseed(self, seed: int) -> None:
        """Let chance go on from this seed in the state as it stands: another future of the same moment.

        The base class reseeds the generator that Gymnasium gives every environment; chance from elsewhere is not reached.
        """
        reseed(self.gym_env.unwrapped.np_random, seed)

    def start_seeds(self) -> list[int] | None:
        """Seeds that give every possible start once; None where they have to be searched for.

        Raises:
            UnsupportedEnvironmentError: If no list of starts is complete.
        """
        return None

    def bare(self) -> BareSimulator:
        """The simulator alone, which moves this very environment; Gymnasium's own `step` and `reset` by default."""
        return BareSimulator(self.gym_env.step, lambda seed: self.gym_env.reset(seed=seed), self.observe)

    @property
    @abstractmethod
    def gym_env(self) -> gymnasium.Env[Any, Any]:
        """The Gymnasium environment that was split, wrappers included (for rendering, and for timing a bare step)."""

    def close(self) -> None:
        """Release what the environment holds."""
        self.gym_env.close()

    def __enter__(self) -> SplitEnv:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


class ObservingEnv(SplitEnv):
    """Any Gymnasium environment: it observes at every step, and what nobody asks for is thrown away.

    Args:
        env: An environment with a Discrete, MultiDiscrete or Box action space and a Box, Discrete or Dict observation
            space. A Discrete observation becomes a one-hot float32 vector, a lone number a vector of one, a Dict one flat
            float32 vector (see `phr.envs.flat_dict`).
        env_id: The id it was made from.

    Raises:
        UnsupportedEnvironmentError: If a space is of another kind.
    """

    def __init__(self, env: gymnasium.Env[Any, Any], env_id: str) -> None:
        self._env = env
        self.env_id = env_id
        self._action_space = plannable(env.action_space, env_id)
        self.n_actions = self._action_space.n_outputs
        space = env.observation_space
        self._one_hot = isinstance(space, spaces.Discrete)
        self._first = 0
        self._flat = FlatDict(space, env_id) if isinstance(space, spaces.Dict) else None
        if isinstance(space, spaces.Discrete):
            self._first = int(space.start)
            self.observation_space = spaces.Box(0.0, 1.0, (int(space.n),), np.float32)
        elif isinstance(space, spaces.Box) and space.low.size:
            lone = not space.shape
            self.observation_space = spaces.Box(space.low[None], space.high[None], dtype=space.dtype) if lone else space
        elif self._flat is not None:
            self.observation_space = self._flat.space
        else:
            raise UnsupportedEnvironmentError(
                f"{env_id}: observation space {space} is not supported; phr reads Box and Discrete ones, and Dicts "
                "of these (wrap it, e.g. with gymnasium.wrappers.FlattenObservation)"
            )
        self._latest: Any = None

    @property
    def action_space(self) -> ActionSpace:
        """What its actions are."""
        return self._action_space

    @property
    def gym_env(self) -> gymnasium.Env[Any, Any]:
        """The Gymnasium environment that was split."""
        return self._env

    def reset(self, seed: int | None = None) -> None:
        """Start an episode."""
        self._latest, _ = self._env.reset(seed=seed)

    def advance(self, action: Any, blind_for: int = 0) -> Advance:
        """Move the world by one action; its reward is checked for NaN."""
        try:
            self._latest, reward, terminated, truncated, info = self._env.step(action)
        except PhrError:
            raise
        except Exception as error:  # the user's own code
            raise BrokenEnvironmentError(f"{self.env_id}: step() raised {type(error).__name__}: {error}") from error
        reward = float(reward)
        if not isfinite(reward):
            raise NonFiniteError(f"{self.env_id}: the reward is a NaN or an infinity")
        return reward, bool(terminated), bool(truncated), info

    def observe(self, out: NDArray[Any] | None = None) -> NDArray[Any]:
        """The latest observation, checked for NaN."""
        if out is None:
            out = np.empty(self.observation_space.shape, self.observation_space.dtype)
        if self._one_hot:
            out[:] = 0
            out[int(self._latest) - self._first] = 1
        else:
            if self._flat is None:
                out[...] = self._latest
            else:
                self._flat.write(self._latest, out)
            if out.dtype.kind == "f" and not np.isfinite(out).all():
                raise NonFiniteError(f"{self.env_id}: the observation holds a NaN or an infinity")
        return out


def is_atari(env: SplitEnv) -> bool:
    """Whether this is a game of ale-py, asked without importing it: it may not be installed."""
    return type(env).__module__ == "phr.envs.atari"


def discrete_size(space: spaces.Space[Any], env_id: str) -> int:
    """Number of actions of a Discrete space that starts at 0.

    Raises:
        UnsupportedEnvironmentError: For any other space.
    """
    if not isinstance(space, spaces.Discrete) or space.start != 0:
        raise UnsupportedEnvironmentError(
            f"{env_id}: action space {space} is not supported here; it takes Discrete(n) actions"
        )
    return int(space.n)


def _takes_float32(space: spaces.Box) -> bool:
    return space.dtype.kind == "f" and np.can_cast(np.float32, space.dtype)


def plannable(space: spaces.Space[Any], name: str) -> ActionSpace:
    """Gymnasium's action space as phr's.

    Args:
        space: Discrete or MultiDiscrete from 0 on, or a Box of floats that float32 fits into.
        name: Whose it is, for the message.

    Raises:
        UnsupportedEnvironmentError: For any other space.
    """
    if isinstance(space, spaces.Discrete) and space.start == 0:
        return Discrete(int(space.n))
    if isinstance(space, spaces.MultiDiscrete) and space.nvec.ndim == 1 and not np.any(space.start):
        return MultiDiscrete(tuple(space.nvec.tolist()))
    if isinstance(space, spaces.Box) and _takes_float32(space) and space.shape and space.low.size:
        return Continuous.between(space.low, space.high)
    said = " ".join(str(space).split())
    raise UnsupportedEnvironmentError(
        f"{name}: action space {said} is not supported; phr plans over Discrete(n), MultiDiscrete([n, ...]) and Box "
        "actions of float32 or float64 (wrap it, e.g. with gymnasium.wrappers.TransformAction)"
    )


def run_plan(env: SplitEnv, actions: Sequence[Any], rewards: list[float]) -> Advance:
    """Execute actions without looking, until they run out or the episode ends.

    Timed runs spend their steps in this loop: a step costs `advance` and as little as possible besides.

    Args:
        env: An environment in mid-episode.
        actions: At least one action.
        rewards: The executed steps' rewards are appended to it.

    Returns:
        What the last executed step returned.
    """
    advance, append, blind_for = env.advance, rewards.append, len(actions)
    for action in actions:
        blind_for -= 1
        step = advance(action, blind_for)
        append(step[0])
        if step[1] or step[2]:
            break
    return step
