"""What a teacher shows about plans: how long they stay right, and how much error in its actions it tolerates.

From moments of the teacher's own episodes a *twin* is played: the same state and actions, with a re-seeded random generator.
At each step the teacher is asked for its own action there. The plan is right as long as both agree. So the share of twins
that are right after n steps is the share of plans of n steps that a student with a perfect memory could make from one look;
in a deterministic environment that is all of them. docs/doctor.md lists the limitations.

For the tolerance, the teacher plays its episodes again, sees every observation, and its actions are disturbed. A student
whose plans err as much loses as much, however early it looks again.
"""

from __future__ import annotations

import math
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

    def act(obs: Any) -> Any:
        return one_by_one(actor.planner.plan(obs[None]).mode()[:, 0])[0]

    return Asked(name_of(reference), act, world.env.action_space)


LONGEST = 32
"""Steps that a twin is followed for."""
N_TWINS = 64
HORIZONS = (1, 2, 4, 8, 16, 32)
_USUAL = 16
"""The longest horizon of the paper, and of the zoo's students: where chance sets no limit, one to begin with."""
_MOST, _NEARLY_ALL = 0.5, 0.9


@dataclass(frozen=True, kw_only=True)
class LookingAway:
    """How long plans stay right in the teacher's own episodes."""

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
    """Moments from which a plan was followed."""
    repeat_right: tuple[float, ...]
    """Share of moments whose action the teacher keeps for each of `HORIZONS` steps."""
    plan_right: tuple[float, ...] | None
    """Share of twins that were still right after each of `HORIZONS` steps; None where no twins can be played."""
    blind_median: int | None
    """Most steps after which half of the twins were right, `LONGEST` at most; `blind_p90`: nine tenths."""
    blind_p90: int | None
    diverged: int | None
    """Twins in which the teacher would have done something else, within `LONGEST` steps."""
    tolerance: float | None
    horizon: int
    """The horizon worth asking for, and below why."""
    reason: str


def look_away(world: World, teacher: Asked, *, twins: bool, seed: int, n_episodes: int, max_steps: int) -> LookingAway:
    """Play the teacher, and twins of its episodes where replaying repeats and the environment can be re-seeded (`twins`).

    Plans begin within the first `max_steps` steps of an episode.
    """
    streams = Streams(seed)
    starts = [streams.integer("doctor-teacher", index) for index in range(n_episodes)]
    episodes = [play(world, start, teacher.act, max_steps + LONGEST) for start in starts]
    every = [(episode, at) for episode in episodes for at in range(min(episode.length, max_steps))]
    chosen = streams.rng("doctor-moments").integers(len(every), size=N_TWINS)
    moments: list[tuple[Episode, int]] = [every[index] for index in chosen]
    repeat = [_kept_for(teacher, episode, at) for episode, at in moments]
    right = None
    if twins:
        chances = [streams.integer("doctor-twin", index) for index in range(len(moments))]
        right = [_right_for(world, teacher, *moment, chance) for moment, chance in zip(moments, chances, strict=True)]
    return _summary(teacher, episodes, repeat, right)


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
            "replays differ, or the environment cannot be re-seeded, so no twin of a moment can be played; the "
            f"teacher keeps an action for {run} at the median, and at least so many steps can be planned"
        )
    if not diverged:
        return min(_USUAL, most), (
            f"in none of {moments} twins did chance change what the teacher does, so a plan may be as long as you like and "
            "what the student can learn is the limit"
        )
    return min(half, most), (
        "half of all plans of this length are right to their end, whatever the random generator draws "
        f"({diverged} of {moments} twins differed)"
    )


ERRORS = (0.0, 0.03, 0.1)
"""Of choices: the share of actions that are random instead. Of numbers: the deviation of a normal error, in halves of their
range; in units where they have none."""


@dataclass(frozen=True, kw_only=True)
class ErrorTolerance:
    """What a teacher collects that errs: in episodes of at most `steps` steps, from the same starts for each error."""

    episodes: int
    steps: int
    continuous: bool
    """Whether errors are added to numbers; otherwise actions are replaced."""
    returns: tuple[float, ...]
    """Mean return over these steps for each of `ERRORS`."""


def bear_errors(world: World, teacher: Asked, *, seed: int, n_episodes: int, max_steps: int) -> ErrorTolerance:
    """Play `n_episodes` of the teacher, of at most `max_steps` steps, with errors of each size; `seed` fixes both."""
    streams = Streams(seed)
    returns = []
    for error in ERRORS:
        collected = []
        for index in range(n_episodes):
            rng = streams.rng("doctor-errors", index)

            def act(obs: Any, error: float = error, rng: np.random.Generator = rng) -> Any:
                return err_by(error, teacher.actions, rng, teacher.act(obs))

            collected.append(play(world, streams.integer("doctor-teacher", index), act, max_steps).episode_return)
        returns.append(float(np.mean(collected)))
    continuous = isinstance(teacher.actions, Continuous)
    return ErrorTolerance(episodes=n_episodes, steps=max_steps, continuous=continuous, returns=tuple(returns))


def err_by(error: float, actions: ActionSpace, rng: np.random.Generator, action: Any) -> Any:
    """An action with an error of this size, one of `ERRORS`, which all draw equally much; numbers are clipped to bounds."""
    if not isinstance(actions, Continuous):
        instead, chance = actions.sample(rng), rng.random()
        return instead if chance < error else action
    at, noise = actions.bounds, rng.normal(size=actions.shape)
    if not error:
        return action
    low, high, unit = (side.reshape(actions.shape) for side in (at.low, at.high, at.unit))
    return np.clip(action + error * unit * noise, low, high).astype(actions.dtype)
