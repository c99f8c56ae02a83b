"""What a teacher's own episodes show about plans: the open-loop inconsistency ε.

From moments of these episodes a second future is played: the same state, a re-seeded random generator, the teacher acting in
it. ε_k is the probability that the teacher's action after k steps differs between two such futures. It is what any plan has
to lose: with p_k(a) the probability of an action, ε_k = 1 − Σ p_k(a)², and the best possible plan is wrong with probability
1 − max p_k(a), which is at most ε_k and at least half of it. In a deterministic environment it is 0.

Source: Li et al. 2025 (Decoupled Q-chunking, arXiv:2512.10926): the worst loss of acting without looking is linear in it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from phr.actions import CLOSE, ActionSpace, Continuous, one_by_one
from phr.errors import IncompatibleModelError
from phr.evaluation import check_fits
from phr.seeding import Streams
from phr.teachers import Reading, name_of, resolve
from phr_studies.doctor.world import Episode, World, fork, play


@dataclass(frozen=True)
class Asked:
    """A teacher and when two of its actions are the same."""

    reference: str
    act: Callable[[Any], Any]
    """Observation → its most likely action."""
    actions: ActionSpace

    @property
    def tolerance(self) -> float | None:
        """How far two actions may lie apart and be the same, as a part of their range; None for discrete actions."""
        return CLOSE / 2 if isinstance(self.actions, Continuous) else None

    def same(self, one: Any, other: Any) -> bool:
        """Whether two actions are the same."""
        return bool(self.actions.agree(np.asarray(one)[None], np.asarray(other)[None])[0])


def ask(reference: Any, world: World, reading: Reading) -> Asked:
    """A teacher of any make (a reference as for `phr evaluate`) for this world."""
    if world.env is None:
        raise IncompatibleModelError(f"{name_of(reference)} cannot act here: {world.refusal}")
    actor = resolve(reference, env_id=world.env_id, reading=reading)
    check_fits(actor.planner, world.env)
    if getattr(actor.planner, "remembers", False) is True:
        raise IncompatibleModelError(f"{name_of(reference)} remembers its episode, and single moments are examined here")

    def act(obs: Any) -> Any:
        return one_by_one(actor.planner.plan(obs[None]).mode()[:, 0])[0]

    return Asked(name_of(reference), act, world.env.action_space)


LONGEST = 16
"""Steps without a look that are examined: the longest horizon of the paper, and of the zoo's students."""
N_TWINS = 64
HORIZONS = (1, 2, 4, 8, 16)


@dataclass(frozen=True, kw_only=True)
class LookingAway:
    """The teacher's own episodes."""

    teacher: str
    """What the user typed."""
    episodes: int
    return_mean: float | None
    """Of the episodes that ended; None if none did."""
    length_median: float
    """Steps of an episode; those not played to the end count as long as they were watched."""
    cut: int
    """Episodes that did not end within the steps examined."""
    run_median: int
    """Steps for which an action is kept, over all runs of equal actions: the median."""
    run_p90: int
    """Nine tenths of these runs are no longer."""
    moments: int
    """Moments whose future was played twice."""
    epsilon: tuple[float | None, ...]
    """ε_k for k = 1 .. `LONGEST`: the share of moments whose two futures differ in the teacher's action after k steps, of
    those in which both futures last as long. None where none does, or no second future can be played."""
    tolerance: float | None


def look_away(world: World, teacher: Asked, *, twins: bool, seed: int, n_episodes: int, max_steps: int) -> LookingAway:
    """Play the teacher, and second futures where replaying repeats and the environment can be re-seeded (`twins`).

    They begin within the first `max_steps` steps of an episode.
    """
    streams = Streams(seed)
    starts = [streams.integer("doctor-teacher", index) for index in range(n_episodes)]
    episodes = [play(world, start, teacher.act, max_steps + LONGEST) for start in starts]
    every = [(episode, at) for episode in episodes for at in range(min(episode.length, max_steps))]
    chosen = streams.rng("doctor-moments").integers(len(every), size=N_TWINS if twins else 0)
    moments: list[tuple[Episode, int]] = [every[index] for index in chosen]
    differ = [_differ(world, teacher, *moment, streams.integer("doctor-twin", k)) for k, moment in enumerate(moments)]
    lasting = [[each[k] for each in differ if k < len(each)] for k in range(1, LONGEST + 1)]
    runs = _run_lengths(teacher, episodes)
    ended = [episode.episode_return for episode in episodes if episode.ended]
    return LookingAway(
        teacher=teacher.reference,
        episodes=len(episodes),
        return_mean=float(np.mean(ended)) if ended else None,
        length_median=float(np.median([episode.length for episode in episodes])),
        cut=len(episodes) - len(ended),
        run_median=int(np.median(runs)),
        run_p90=int(np.quantile(runs, 0.9, method="inverted_cdf")),
        moments=len(differ),
        epsilon=tuple(float(np.mean(each)) if each else None for each in lasting),
        tolerance=teacher.tolerance,
    )


def _differ(world: World, teacher: Asked, episode: Episode, at: int, chance: int) -> list[bool]:
    """Whether the teacher acts differently in another future of a moment, step by step while both futures last."""
    fork(world, episode.seed, episode.actions[:at], chance)
    found = []
    for action in episode.actions[at : at + LONGEST + 1]:
        mine = teacher.act(world.observe())
        found.append(not teacher.same(mine, action))
        if any(world.step(mine)[1:]):
            break
    return found


def _run_lengths(teacher: Asked, episodes: Sequence[Episode]) -> list[int]:
    """Lengths of all runs of equal actions; a run's actions are compared with its first."""
    lengths = []
    for episode in episodes:
        first = 0
        for at in range(1, episode.length + 1):
            if at == episode.length or not teacher.same(episode.actions[first], episode.actions[at]):
                lengths.append(at - first)
                first = at
    return lengths
