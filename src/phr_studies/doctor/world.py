"""An environment to try things out in, stepped as phr steps it; plainly where phr cannot act.

A fork is a second future of one moment: the episode is played again from its seed to that moment, and from there on other
dice fall. It needs no copy of a simulator, so it works wherever replaying an episode repeats it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from gymnasium import spaces

from phr.envs import CheckedEnv, SplitEnv, make_env, make_gym_env
from phr.errors import UnsupportedEnvironmentError
from phr.seeding import reseed

Choose = Callable[[Any], Any]
"""Observation → action."""


class World:
    """An environment stepped as phr steps it, or by Gymnasium's own step where phr cannot act.

    Args:
        env_id: Which.

    Attributes:
        env: Its step split in two; None where phr cannot act in it.
        refusal: Why phr cannot; None where it can.
        gym_env: The Gymnasium environment, wrappers included.

    Raises:
        UsageError: If there is no such environment, it cannot be made, or the options behind its id do not fit.
    """

    def __init__(self, env_id: str) -> None:
        self.env_id = env_id
        self.env: SplitEnv | None = None
        self.refusal: str | None = None
        self._latest: Any = None
        try:
            self.env = make_env(env_id)
        except UnsupportedEnvironmentError as error:
            if "?" in env_id:
                raise
            self.refusal = str(error)
        self.gym_env = make_gym_env(env_id) if self.env is None else self.env.gym_env
        self._checked = CheckedEnv(self.gym_env, env_id)

    @property
    def action_space(self) -> spaces.Space[Any]:
        """What actions look like."""
        return self.gym_env.action_space

    def reset(self, seed: int) -> None:
        """Start an episode."""
        if self.env is None:
            self._latest = self._checked.reset(seed)
        else:
            self.env.reset(seed)

    def step(self, action: Any) -> tuple[float, bool, bool]:
        """Reward, terminated, truncated."""
        if self.env is not None:
            return self.env.advance(action)[:3]
        self._latest, reward, terminated, truncated, _ = self._checked.step(action)
        return reward, terminated, truncated

    def observe(self) -> Any:
        """The observation as the network is shown it; without a network, as the environment gave it."""
        return self._latest if self.env is None else self.env.observe()

    def reseed(self, seed: int) -> None:
        """Let chance go on from this seed, in the state as it stands."""
        if self.env is None:
            reseed(self.gym_env.unwrapped.np_random, seed)
        else:
            self.env.reseed(seed)

    def close(self) -> None:
        """Release what the environment holds."""
        self.gym_env.close()


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
