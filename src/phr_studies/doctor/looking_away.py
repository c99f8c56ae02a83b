"""How long one may look away: a first estimate of the horizon worth asking for.

From moments of the teacher's own episodes a *twin* is played: the same state, the same actions, other dice. The teacher
watches it and is asked at each step what it would do there. As long as it answers what is being played anyway, nobody had to
look. So the share of twins that are still right after n steps is the share of plans of n steps that a student with a perfect
memory could have made from one look; in a deterministic world that is all of them.

What it cannot say is in docs/doctor.md.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from phr.seeding import Streams
from phr_studies.doctor.asked import Asked
from phr_studies.doctor.world import Episode, World, fork, play

LONGEST = 32
"""Steps that a twin is followed for."""
N_TWINS = 64
HORIZONS = (1, 2, 4, 8, 16, 32)
_USUAL = 16
"""The longest horizon of the paper, and of the zoo's students: where chance sets no limit, one to begin with."""
_MOST, _NEARLY_ALL = 0.5, 0.9


@dataclass(frozen=True, kw_only=True)
class LookingAway:
    """What the teacher's own episodes say about plans."""

    teacher: str
    """What the user typed."""
    episodes: int
    """Greedy episodes of the teacher."""
    return_mean: float | None
    """Of those that came to an end; None if none did."""
    length_median: float
    """Steps of an episode; those not played to the end count as long as they were watched."""
    cut: int
    """Episodes that went on when nobody watched any longer."""
    run_median: int
    """Steps for which an action is kept, over all runs of equal actions: the median."""
    run_p90: int
    """The same, nine tenths of the runs are no longer."""
    moments: int
    """Moments from which a plan was followed."""
    repeat_right: tuple[float, ...]
    """Share of moments whose action the teacher keeps for each of `HORIZONS` steps."""
    plan_right: tuple[float, ...] | None
    """Share of twins that were still right after each of `HORIZONS` steps; None where no twins can be played."""
    blind_median: int | None
    """Most steps after which half of the twins were right, `LONGEST` at most."""
    blind_p90: int | None
    """Most steps after which nine tenths of them were."""
    diverged: int | None
    """Twins in which the teacher would have done something else, within `LONGEST` steps."""
    tolerance: float | None
    """How far two continuous actions may lie apart and be the same, as a part of their range."""
    horizon: int
    """The horizon worth asking for."""
    reason: str
    """Why."""


def look_away(world: World, teacher: Asked, *, twins: bool, seed: int, n_episodes: int, max_steps: int) -> LookingAway:
    """Play the teacher, and twins of its episodes.

    Args:
        world: Where.
        teacher: Who acts.
        twins: Whether twins can be played: replaying repeats here, and other dice can be thrown.
        seed: Fixes episodes, moments and dice.
        n_episodes: Episodes of the teacher.
        max_steps: Most steps of each from which a plan may begin.
    """
    streams = Streams(seed)
    starts = [streams.integer("doctor-teacher", index) for index in range(n_episodes)]
    episodes = [play(world, start, teacher.act, max_steps + LONGEST) for start in starts]
    moments = _moments(episodes, max_steps, streams.rng("doctor-moments"))
    repeat = [_kept_for(teacher, episode, at) for episode, at in moments]
    right = None
    if twins:
        chances = [streams.integer("doctor-twin", index) for index in range(len(moments))]
        right = [_right_for(world, teacher, *moment, chance) for moment, chance in zip(moments, chances, strict=True)]
    return _summary(teacher, episodes, repeat, right)


def _moments(episodes: Sequence[Episode], max_steps: int, rng: np.random.Generator) -> list[tuple[Episode, int]]:
    """Moments drawn evenly from all steps that a plan may begin at."""
    every = [(episode, at) for episode in episodes for at in range(min(episode.length, max_steps))]
    return [every[index] for index in rng.integers(len(every), size=N_TWINS)]


def _kept_for(teacher: Asked, episode: Episode, at: int) -> float:
    """Steps for which the action of a moment is kept; endless if until the end."""
    ahead = episode.actions[at : at + LONGEST]
    kept = next((k for k, action in enumerate(ahead) if not teacher.same(action, ahead[0])), None)
    return math.inf if kept is None else float(kept)


def _right_for(world: World, teacher: Asked, episode: Episode, at: int, chance: int) -> float:
    """Steps for which the teacher, watching a twin, would have done what is played blindly; endless if until the end."""
    fork(world, episode, at, chance)
    for step, action in enumerate(episode.actions[at : at + LONGEST]):
        if not teacher.same(teacher.act(world.observe()), action):
            return float(step)
        _, terminated, truncated = world.step(action)
        if terminated or truncated:
            break
    return math.inf


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


def _summary(
    teacher: Asked, episodes: Sequence[Episode], repeat: Sequence[float], twins: Sequence[float] | None
) -> LookingAway:
    runs = _run_lengths(teacher, episodes)
    ended = [episode.episode_return for episode in episodes if episode.ended]
    length = float(np.median([episode.length for episode in episodes]))
    half = None if twins is None else right_for_share(twins, _MOST)
    most = None if twins is None else right_for_share(twins, _NEARLY_ALL)
    diverged = None if twins is None else sum(math.isfinite(each) for each in twins)
    horizon, reason = _advice(int(np.median(runs)), length, half, diverged, len(repeat))
    return LookingAway(
        teacher=teacher.reference,
        episodes=len(episodes),
        return_mean=float(np.mean(ended)) if ended else None,
        length_median=length,
        cut=len(episodes) - len(ended),
        run_median=int(np.median(runs)),
        run_p90=int(np.quantile(runs, 0.9, method="inverted_cdf")),
        moments=len(repeat),
        repeat_right=_shares(repeat),
        plan_right=None if twins is None else _shares(twins),
        blind_median=half,
        blind_p90=most,
        diverged=diverged,
        tolerance=teacher.tolerance,
        horizon=horizon,
        reason=reason,
    )


def _shares(right_for: Sequence[float]) -> tuple[float, ...]:
    return tuple(float(np.mean([each >= n for each in right_for])) for n in HORIZONS)


def right_for_share(right_for: Sequence[float], share: float) -> int:
    """The longest plan, of 1 .. `LONGEST` steps, of which at least this share is right; 1 where none is."""
    lengths = [n for n in range(1, LONGEST + 1) if np.mean([each >= n for each in right_for]) >= share]
    return max(lengths, default=1)


def _advice(run: int, length: float, half: int | None, diverged: int | None, moments: int) -> tuple[int, str]:
    """A horizon and why; no plan outlives its episode."""
    most = max(1, math.ceil(length))
    if half is None:
        return min(run, most), (
            "replaying does not repeat here, or no other dice can be thrown, so no twin of a moment can be played; the "
            f"teacher keeps an action for {run} at the median, so much at least can be planned"
        )
    if not diverged:
        return min(_USUAL, most), (
            f"in none of {moments} twins did chance change what the teacher does, so a plan may be as long as you like and "
            "what the student can learn is the limit"
        )
    return min(
        half, most
    ), f"half of all plans so long are right to their end, whatever the dice do ({diverged} of {moments} twins differed)"
