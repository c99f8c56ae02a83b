"""Whether replaying actions replays the episode, and what of an episode is left to chance."""

from __future__ import annotations

import copy
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass

from phr.errors import UnsupportedEnvironmentError
from phr.seeding import Streams
from phr_studies.doctor.world import Choose, Episode, World, fingerprint, fork, play, play_again

N_STARTS = 16
N_FORKS = 12
FORK_STEPS = 32


@dataclass(frozen=True)
class Difference:
    """Where a replay first differed.

    Attributes:
        episode: Which, from 0.
        step: After which of its steps; 0 is the start.
        what: `reward`, `end` or `observation`; the first of them that differed.
    """

    episode: int
    step: int
    what: str


@dataclass(frozen=True, kw_only=True)
class Replay:
    """What playing random actions twice showed."""

    episodes: int
    """Episodes played, by random actions, and replayed in another environment, in the opposite order."""
    steps: int
    """Steps of all of them."""
    difference: Difference | None
    """Where a replay first differed, None if none did."""
    starts: int
    """Seeds that were reset to."""
    different_starts: int
    """First observations that these gave."""
    different_episodes: int
    """Episodes that these gave under the same actions, followed for `fork_steps` steps at most; as many as there are first
    observations, or more where a seed decides what cannot be seen at first."""
    forks: int | None
    """Moments from which the same actions were played on under other dice; None where replaying does not repeat, or no other
    dice can be thrown."""
    forks_changed: int | None
    """How many of these went another way."""
    fork_steps: int
    """Steps that each was followed for, at most."""
    dice_refused: str | None = None
    """Why no other dice can be thrown; None where they can, or replaying does not repeat."""

    @property
    def repeats(self) -> bool:
        """Whether replaying repeated every episode."""
        return self.difference is None


def examine_replay(world: World, *, seed: int, n_episodes: int, max_steps: int) -> Replay:
    """Play random actions, and play them again.

    The second time is in another environment and in the opposite order, so that nothing that is carried from episode to
    episode goes unseen; where only one can be open at a time, in the same.

    Args:
        world: Where.
        seed: Fixes seeds and actions.
        n_episodes: Episodes to play.
        max_steps: Most steps of each.
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
    """Whether the same actions lead elsewhere when other dice fall from some moment on."""
    at = int(streams.rng("doctor-fork", index).integers(episode.length))
    fork(world, episode, at, streams.integer("doctor-chance", index))
    for action, before in zip(episode.actions[at : at + FORK_STEPS], episode.trace[at + 1 :], strict=False):
        if (*world.step(action), fingerprint(world.observe())) != before:
            return True
    return False
