"""An environment to try things out in, stepped as phr steps it; plainly where phr cannot act.

A fork is a second future of one moment: the episode is played again from its seed to that moment, and from there on other
dice fall. It needs no copy of a simulator, so it works wherever replaying an episode repeats it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

from phr.envs import SplitEnv, make_env, make_gym_env
from phr.errors import UnsupportedEnvironmentError
from phr.seeding import reseed

Choose = Callable[[Any], Any]
"""Observation → action."""


class World(ABC):
    """What both ways of stepping have in common.

    Attributes:
        env_id: The id it was made from.
        refusal: Why phr cannot act in it; None where it can.
    """

    env_id: str
    refusal: str | None = None

    @property
    @abstractmethod
    def gym_env(self) -> gymnasium.Env[Any, Any]:
        """The Gymnasium environment, wrappers included."""

    @property
    def action_space(self) -> spaces.Space[Any]:
        """What actions look like."""
        return self.gym_env.action_space

    @abstractmethod
    def reset(self, seed: int) -> None:
        """Start an episode."""

    @abstractmethod
    def step(self, action: Any) -> tuple[float, bool, bool]:
        """Reward, terminated, truncated."""

    @abstractmethod
    def observe(self) -> Any:
        """What somebody who looks now is shown."""

    @abstractmethod
    def reseed(self, seed: int) -> None:
        """Let chance go on from this seed, in the state as it stands."""

    def close(self) -> None:
        """Release what the environment holds."""
        self.gym_env.close()


class SplitWorld(World):
    """An environment that phr acts in.

    Args:
        env: Its step split in two.
    """

    def __init__(self, env: SplitEnv) -> None:
        self.env, self.env_id = env, env.env_id

    @property
    def gym_env(self) -> gymnasium.Env[Any, Any]:
        """The Gymnasium environment that was split."""
        return self.env.gym_env

    def reset(self, seed: int) -> None:
        """Start an episode."""
        self.env.reset(seed)

    def step(self, action: Any) -> tuple[float, bool, bool]:
        """Reward, terminated, truncated."""
        return self.env.advance(action)[:3]

    def observe(self) -> Any:
        """The observation as the network is shown it."""
        return self.env.observe()

    def reseed(self, seed: int) -> None:
        """Let chance go on from this seed."""
        self.env.reseed(seed)


class PlainWorld(World):
    """An environment that phr cannot act in: Gymnasium's own step, whatever its spaces are.

    Args:
        env: The environment.
        env_id: The id it was made from.
        refusal: Why phr cannot act in it.
    """

    def __init__(self, env: gymnasium.Env[Any, Any], env_id: str, refusal: str) -> None:
        self._env, self.env_id, self.refusal = env, env_id, refusal
        self._latest: Any = None

    @property
    def gym_env(self) -> gymnasium.Env[Any, Any]:
        """The environment."""
        return self._env

    def reset(self, seed: int) -> None:
        """Start an episode."""
        self._latest, _ = self._env.reset(seed=seed)

    def step(self, action: Any) -> tuple[float, bool, bool]:
        """Reward, terminated, truncated."""
        self._latest, reward, terminated, truncated, _ = self._env.step(action)
        return float(reward), bool(terminated), bool(truncated)

    def observe(self) -> Any:
        """The latest observation, as the environment gave it."""
        return self._latest

    def reseed(self, seed: int) -> None:
        """Let chance go on from this seed."""
        reseed(self._env.unwrapped.np_random, seed)


def make_world(env_id: str) -> World:
    """Make an environment, also one that phr cannot act in.

    Raises:
        UsageError: If there is no such environment, it cannot be made, or the options behind its id do not fit.
    """
    try:
        return SplitWorld(make_env(env_id))
    except UnsupportedEnvironmentError as error:
        if "?" in env_id:
            raise
        return PlainWorld(make_gym_env(env_id), env_id, str(error))


@dataclass(frozen=True)
class Episode:
    """What was done from one seed, and what came of it.

    Attributes:
        seed: Where it began.
        actions: One a step.
        trace: The start, then one entry a step: reward, terminated, truncated, and the observation's bytes.
    """

    seed: int
    actions: tuple[Any, ...]
    trace: tuple[tuple[float, bool, bool, bytes], ...]

    @property
    def length(self) -> int:
        """Steps."""
        return len(self.actions)

    @property
    def ended(self) -> bool:
        """Whether it came to its end, rather than to the end of anyone's patience."""
        return self.trace[-1][1] or self.trace[-1][2]

    @property
    def episode_return(self) -> float:
        """Sum of rewards."""
        return float(sum(entry[0] for entry in self.trace))


def play(world: World, seed: int, choose: Choose, max_steps: int) -> Episode:
    """Play one episode, or its beginning.

    Args:
        world: Where.
        seed: Where it begins.
        choose: Who acts; it is shown every observation.
        max_steps: Patience.
    """
    world.reset(seed)
    obs = world.observe()
    actions, trace = list[Any](), [(0.0, False, False, fingerprint(obs))]
    while len(actions) < max_steps and not (trace[-1][1] or trace[-1][2]):
        action = choose(obs)
        step = world.step(action)
        obs = world.observe()
        actions.append(action)
        trace.append((*step, fingerprint(obs)))
    return Episode(seed, tuple(actions), tuple(trace))


def play_again(world: World, seed: int, actions: Sequence[Any]) -> Episode:
    """Play these very actions once more."""
    rest = iter(actions)
    return play(world, seed, lambda _obs: next(rest), len(actions))


def fork(world: World, episode: Episode, at: int, chance: int) -> None:
    """Bring a world to where an episode stood after `at` steps, and let chance go on from another seed."""
    world.reset(episode.seed)
    for action in episode.actions[:at]:
        world.step(action)
    world.reseed(chance)


def fingerprint(obs: Any) -> bytes:
    """Bytes that two observations share only if they are equal: arrays, numbers, texts, dictionaries and tuples of these."""
    if isinstance(obs, dict):
        return b"{" + b"".join(repr(key).encode() + b":" + fingerprint(obs[key]) for key in sorted(obs)) + b"}"
    if isinstance(obs, tuple | list):
        return b"(" + b"".join(fingerprint(each) + b"," for each in obs) + b")"
    if isinstance(obs, np.ndarray | np.generic | bool | int | float):
        array = np.asarray(obs)
        return f"{array.dtype}{array.shape}".encode() + array.tobytes()
    return repr(obs).encode()
