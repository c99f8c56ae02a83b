"""An environment to try things out in, stepped as phr steps it; plainly where phr cannot act.

A fork is a second future of one moment: the episode is played again from its seed to that moment, and then the random
generator is re-seeded. It needs no copy of a simulator, so it works wherever replaying an episode repeats it.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
from gymnasium import spaces

from phr.envs import CheckedEnv, SplitEnv, make_env, make_gym_env
from phr.errors import UnsupportedEnvironmentError
from phr.seeding import Streams, reseed

Choose = Callable[[Any], Any]
"""Observation → action."""


class World:
    """An environment stepped as phr steps it, or by Gymnasium's own step where phr cannot act."""

    def __init__(self, env_id: str) -> None:
        self.env_id = env_id
        self.env: SplitEnv | None = None  # None where phr cannot act; `refusal` is the reason
        self.refusal: str | None = None
        self._latest: Any = None
        try:
            self.env = make_env(env_id)
        except UnsupportedEnvironmentError as error:
            if "?" in env_id:
                raise
            self.refusal = str(error)
        self.gym_env = make_gym_env(env_id) if self.env is None else self.env.gym_env
        self.action_space: spaces.Space[Any] = self.gym_env.action_space
        self._checked = CheckedEnv(self.gym_env, env_id)

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
        """Release what the environment holds; an error of its own `close` hides no result."""
        if self.env is not None:
            self.env.close()
        else:
            with suppress(Exception):
                self.gym_env.close()


@dataclass(frozen=True)
class Episode:
    """What was done from one seed, and what came of it."""

    seed: int
    actions: tuple[Any, ...]
    trace: tuple[tuple[float, bool, bool, bytes], ...]
    """The start, then one entry a step: reward, terminated, truncated, and the observation's bytes."""

    @property
    def length(self) -> int:
        """Steps."""
        return len(self.actions)

    @property
    def ended(self) -> bool:
        """Whether it ended by itself, not at `max_steps`."""
        return self.trace[-1][1] or self.trace[-1][2]

    @property
    def episode_return(self) -> float:
        """Sum of rewards."""
        return float(sum(entry[0] for entry in self.trace))


def play(world: World, seed: int, choose: Choose, max_steps: int) -> Episode:
    """Play one episode, or its beginning; the policy `choose` sees every observation."""
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


def rewind(world: World, seed: int, actions: Sequence[Any]) -> None:
    """Bring a world to where these actions lead from a seed."""
    world.reset(seed)
    for action in actions:
        world.step(action)


def fork(world: World, seed: int, actions: Sequence[Any], chance: int) -> None:
    """The same, but chance goes on from another seed."""
    rewind(world, seed, actions)
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


N_STARTS = 16
N_FORKS = 12
FORK_STEPS = 32


@dataclass(frozen=True)
class Difference:
    """Where a replay first differed: after step `step` (0 is the start) of an episode (from 0)."""

    episode: int
    step: int
    what: str
    """`reward`, `end` or `observation`; the first of them that differed."""


@dataclass(frozen=True, kw_only=True)
class Replay:
    """What playing random actions twice showed."""

    episodes: int
    steps: int
    """Steps of all episodes."""
    difference: Difference | None
    starts: int
    """Seeds that were reset to."""
    different_starts: int
    """First observations that these gave."""
    different_episodes: int
    """Episodes that these gave under the same actions, followed for `fork_steps` steps at most; as many as there are first
    observations, or more where a seed decides what cannot be seen at first."""
    forks: int | None
    """Moments from which the same actions were continued with a re-seeded generator; None where replays differ, or the
    environment cannot be re-seeded."""
    forks_changed: int | None
    """How many of these differed within `fork_steps` steps."""
    fork_steps: int
    dice_refused: str | None = None
    """Why the environment cannot be re-seeded; None where it can, or replays differ."""

    @property
    def repeats(self) -> bool:
        """Whether replaying repeated every episode."""
        return self.difference is None


def examine_replay(world: World, *, seed: int, n_episodes: int, max_steps: int) -> Replay:
    """Play random actions, and play them again.

    The second time is in another environment and in the opposite order, so that nothing that is carried from episode to
    episode goes unseen; where only one can be open at a time, in the same.
    """
    streams = Streams(seed)
    seeds = [streams.integer("doctor-start", index) for index in range(n_episodes)]
    choose = random_choice(world, streams.integer("doctor-actions"))
    episodes = [play(world, start, choose, max_steps) for start in seeds]
    with ExitStack() as opened:
        again = world
        with suppress(Exception):  # whatever a simulator raises that can be open only once
            again = opened.enter_context(closing(World(world.env_id)))
        replayed = [play_again(again, episode.seed, episode.actions) for episode in reversed(episodes)][::-1]
    found = (first_difference(k, *pair) for k, pair in enumerate(zip(episodes, replayed, strict=True)))
    difference = next((each for each in found if each is not None), None)
    changed, refused = None, None
    if difference is None:
        try:
            changed = sum(_changes(world, episodes[k % n_episodes], k, streams) for k in range(N_FORKS))
        except UnsupportedEnvironmentError as error:
            refused = str(error)
    actions = episodes[0].actions[:FORK_STEPS]
    traces = {play_again(world, streams.integer("doctor-reset", k), actions).trace for k in range(N_STARTS)}
    return Replay(
        episodes=n_episodes,
        steps=sum(episode.length for episode in episodes),
        difference=difference,
        starts=N_STARTS,
        different_starts=len({trace[0] for trace in traces}),
        different_episodes=len(traces),
        forks=None if changed is None else N_FORKS,
        forks_changed=changed,
        fork_steps=FORK_STEPS,
        dice_refused=refused,
    )


def random_choice(world: World, seed: int) -> Choose:
    """Uniformly random actions, from a generator of their own."""
    space = copy.deepcopy(world.action_space)
    space.seed(seed)
    return lambda _obs: space.sample()


def first_difference(index: int, before: Episode, after: Episode) -> Difference | None:
    """Where the replay of an episode first differs from it."""
    for step, (old, new) in enumerate(zip(before.trace, after.trace, strict=False)):
        if old != new:
            what = "reward" if old[0] != new[0] else "end" if old[1:3] != new[1:3] else "observation"
            return Difference(index, step, what)
    return None


def _changes(world: World, episode: Episode, index: int, streams: Streams) -> bool:
    """Whether the same actions lead elsewhere when the random generator is re-seeded at some moment."""
    at = int(streams.rng("doctor-fork", index).integers(episode.length))
    fork(world, episode.seed, episode.actions[:at], streams.integer("doctor-chance", index))
    for action, before in zip(episode.actions[at : at + FORK_STEPS], episode.trace[at + 1 :], strict=False):
        if (*world.step(action), fingerprint(world.observe())) != before:
            return True
    return False
