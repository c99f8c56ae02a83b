"""What a teacher keeps of its return when its actions are planned ahead and executed without looking.

At every look a few futures of this moment are played, with the teacher acting in them and random generators of their own.
The plan is what the teacher does in most of them, step by step; the world executes it blindly. No plan can rely on the
world's own random generator, so this predicts the return of a student that has learnt its teacher perfectly. In a
deterministic environment it keeps everything.

A student's plans also err, and within a plan nothing corrects an error. So the same is played with errors in the executed
actions. What they cost over a long plan depends on the open-loop stability of the world (arXiv:2507.09061).
"""

from __future__ import annotations

import math
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass
from itertools import takewhile
from typing import Any

import numpy as np

from phr.actions import ActionSpace, Continuous
from phr.seeding import Streams
from phr_studies.doctor.teacher import HORIZONS, Asked, LookingAway
from phr_studies.doctor.world import World, fork, play, random_choice, rewind
from phr_studies.report.tables import percent

ERRORS = (0.0, 0.01)
"""Errors in plans: none, and those of a student that has learnt well.

Of choices: the share of actions that are random instead. Of numbers: the deviation of a normal error, in halves of their
range; in units where they have none."""
TOLERANCE = (0.03, 0.1)
"""Larger errors, under a look at every step."""
FUTURES = 3
"""Futures that a plan is made from, where chance changes the teacher's actions."""
ENOUGH = 0.99
"""Share of the return that the advised horizon keeps."""


@dataclass(frozen=True, kw_only=True)
class BlindCurve:
    """Mean returns of blind plans, in episodes of at most `steps` steps from the same starts."""

    episodes: int
    steps: int
    continuous: bool
    """Whether errors are added to numbers; otherwise actions are replaced."""
    zero: float
    """The return that counts as 0: 0 if no return is negative, else a random policy's mean."""
    returns: tuple[tuple[float | None, ...], ...]
    """For each of `ERRORS` a row, with an entry for plans of each of `HORIZONS` steps; None where it is unknown, because no
    second future can be played."""
    tolerance: tuple[float, ...]
    """For each of `TOLERANCE` the return under a look at every step."""

    @property
    def shares(self) -> tuple[tuple[float | None, ...], ...]:
        """(return − zero) / (the teacher's − zero); None where unknown, or the teacher collects no more than zero."""
        teacher = self.returns[0][0]
        worth = 0.0 if teacher is None else teacher - self.zero
        return tuple(
            tuple(None if each is None or worth <= 0 else (each - self.zero) / worth for each in row) for row in self.returns
        )


def draw_curve(
    world: World, teacher: Asked, away: LookingAway, *, twins: bool, seed: int, n_episodes: int, max_steps: int
) -> BlindCurve:
    """Play blind plans of every length with errors of every size; without `twins` only those that look at every step."""
    streams = Streams(seed)
    starts = [streams.integer("doctor-teacher", index) for index in range(n_episodes)]
    choose = random_choice(world, streams.integer("doctor-random"))
    random = [play(world, start, choose, max_steps).episode_return for start in starts]
    futures = FUTURES if any(away.epsilon) else 1
    lengths = [n for n in HORIZONS if n == 1 or twins]
    with ExitStack() as opened:
        second = world
        with suppress(Exception):  # whatever a simulator raises that can be open only once
            second = opened.enter_context(closing(World(world.env_id)))
        blind = _Blind(world, second, teacher, futures, max_steps)

        def play_all(n: int, error: float) -> list[float]:
            return [blind.play(start, n, error, streams.rng("doctor-errors", k)) for k, start in enumerate(starts)]

        played = np.array([[play_all(n, error) for n in lengths] for error in ERRORS])
        tolerance = [float(np.mean(play_all(1, error))) for error in TOLERANCE]
    unknown = (None,) * (len(HORIZONS) - len(lengths))
    return BlindCurve(
        episodes=n_episodes,
        steps=max_steps,
        continuous=isinstance(teacher.actions, Continuous),
        zero=0.0 if min(played.min(), *random) >= 0 else float(np.mean(random)),
        returns=tuple((*row, *unknown) for row in played.mean(axis=-1).tolist()),
        tolerance=tuple(tolerance),
    )


@dataclass(frozen=True)
class _Blind:
    """Plays episodes with plans."""

    world: World
    second: World
    """Where futures are played; it may be the world itself, which then plays its episode again after each."""
    teacher: Asked
    futures: int
    max_steps: int

    def play(self, seed: int, n: int, error: float, errors: np.random.Generator) -> float:
        """The return of an episode that looks at every n-th step, or where all futures of a look have ended."""
        streams, actions, collected = Streams(seed), list[Any](), 0.0
        self.world.reset(seed)
        while True:
            plan = [self.teacher.act(self.world.observe())]
            if n > 1:
                chances = [streams.integer("doctor-future", len(actions), index) for index in range(self.futures)]
                plan = self._most_common([self._future(seed, actions, plan[0], n, chance) for chance in chances])
                if self.second is self.world:
                    rewind(self.world, seed, actions)
            for action in plan:
                actions.append(err_by(error, self.teacher.actions, errors, action))
                reward, terminated, truncated = self.world.step(actions[-1])
                collected += reward
                if terminated or truncated or len(actions) == self.max_steps:
                    return collected

    def _future(self, seed: int, actions: list[Any], first: Any, n: int, chance: int) -> list[Any]:
        """The teacher's next n actions in a future of its own, fewer where that ends."""
        fork(self.second, seed, actions, chance)
        plan = [first]
        while len(plan) < n and not any(self.second.step(plan[-1])[1:]):
            plan.append(self.teacher.act(self.second.observe()))
        return plan

    def _most_common(self, plans: list[list[Any]]) -> list[Any]:
        """At each step the action that agrees with most of the plans that last as long."""
        lasting = [[plan[k] for plan in plans if k < len(plan)] for k in range(max(map(len, plans)))]
        return [max(each, key=lambda action: sum(self.teacher.same(action, other) for other in each)) for each in lasting]


def advise(away: LookingAway, curve: BlindCurve | None) -> tuple[int, str]:
    """A horizon worth asking for and why: the longest whose plans, and all shorter ones, keep `ENOUGH` of the return.

    It is judged with errors, against the same errors under a look at every step. No plan outlives its episode.
    """
    most = max(1, math.ceil(away.length_median))
    kept = None if curve is None else curve.shares[-1]
    if kept is None or None in kept:
        return min(away.run_median, most), (
            f"what longer plans keep is unknown: {_unknown(curve)}; the teacher keeps an action for {away.run_median} at "
            "the median, and at least so many steps can be planned"
        )
    shares, error = [each or 0.0 for each in kept], percent(ERRORS[-1])
    if shares[0] <= 0:
        return 1, f"even looking at every step, errors of {error} leave nothing of the return"
    good = list(takewhile(lambda n: shares[HORIZONS.index(n)] >= ENOUGH * shares[0], HORIZONS))
    best = len(good) - 1
    reason = f"with errors of {error} such plans keep {percent(shares[best])} of the return"
    if len(good) < len(HORIZONS):
        return min(good[-1], most), f"{reason}, plans of {HORIZONS[len(good)]} steps {percent(shares[len(good)])}"
    return min(good[-1], most), f"{reason}, and longer ones were not examined"


def _unknown(curve: BlindCurve | None) -> str:
    """Why a curve has no shares."""
    if curve is None:
        return "an error stopped the examination"
    if None in curve.returns[0]:
        return "replays differ, or the environment cannot be re-seeded, so no second future of a moment can be played"
    return f"within {curve.steps} steps the teacher collects no more than what counts as 0"


def err_by(error: float, actions: ActionSpace, rng: np.random.Generator, action: Any) -> Any:
    """An action with an error of this size; all sizes draw equally much, and numbers are clipped to bounds."""
    if not isinstance(actions, Continuous):
        instead, chance = actions.sample(rng), rng.random()
        return instead if chance < error else action
    at, noise = actions.bounds, rng.normal(size=actions.shape)
    if not error:
        return action
    low, high, unit = (side.reshape(actions.shape) for side in (at.low, at.high, at.unit))
    return np.clip(action + error * unit * noise, low, high).astype(actions.dtype)
