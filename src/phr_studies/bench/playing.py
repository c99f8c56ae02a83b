"""The loop that most sections time: one environment, one agent, a round of about so many seconds."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from phr.acting import HorizonAgent
from phr.evaluation import Limit, RunOptions, RunRecord, TimeBound, least_terms, measure_bound, timed_run
from phr.plan import CategoricalPlan
from phr.protocols import Planner
from phr_studies.bench.contestants import Arena, Contestant, Measured

_PILOT_STEPS = 200
_MOST_STEPS = 1_000_000
_PLAIN = RunOptions()


def play(arena: Arena, planner: Planner, commitment: int, steps: int, seed: int, options: RunOptions = _PLAIN) -> RunRecord:
    """One run with a new agent."""
    agent = HorizonAgent(planner, commitment)
    return timed_run(arena.env, agent, Limit(steps=steps), seed=seed, rng=np.random.default_rng(seed), options=options)


def steps_that_take(arena: Arena, planner: Planner, commitment: int, options: RunOptions = _PLAIN) -> int:
    """How many steps fill `arena.seconds_per_run`; finding out warms everything up.

    Never fewer than it takes to find out: however slow the machine, a run is long enough to end episodes and score.
    """
    for _ in range(2):
        pilot = play(arena, planner, commitment, _PILOT_STEPS, arena.seed, options)
    return max(pilot.steps, min(_MOST_STEPS, round(pilot.steps * arena.seconds_per_run / pilot.seconds_wall)))


def measured(record: RunRecord) -> dict[str, float]:
    """What a round keeps of a run."""
    return {
        "seconds_wall": record.seconds_wall,
        "seconds_policy": record.seconds_policy,
        "steps": record.steps,
        "episodes": record.episodes,
        "score": record.score,
        "evaluations": record.evaluations,
    }


def loop_contestant(
    name: str, arena: Arena, planner: Planner, commitment: int, *, observe_always: bool = False
) -> Contestant:
    """Plays the environment in the same loop as `phr evaluate`."""
    options = RunOptions(observe_always=observe_always)
    steps = steps_that_take(arena, planner, commitment, options)

    def one_round(index: int) -> Measured:
        return measured(play(arena, planner, commitment, steps, arena.seed + index, options))

    return Contestant(name, one_round)


def bounded_contestant(
    name: str, arena: Arena, planner: Planner, commitment: int, *, seconds_per_bound: float
) -> Contestant:
    """The same, with the time bound measured right before and right after every run.

    Before a run the one of the round before is replayed: the terms are per call, and those two runs look alike.
    """
    options = RunOptions(keep_trace=True)
    steps = steps_that_take(arena, planner, commitment, options)
    latest = play(arena, planner, commitment, min(steps, _PILOT_STEPS), arena.seed, options)

    def bound_of(record: RunRecord) -> TimeBound:
        return measure_bound(arena.env, planner, record, max_seconds=seconds_per_bound)

    def one_round(index: int) -> Measured:
        nonlocal latest
        before = bound_of(latest)
        latest = play(arena, planner, commitment, steps, arena.seed + index, options)
        bound = least_terms(bound_of(latest), before)
        return {**measured(latest), **bound.to_json(1e5 * latest.seconds_wall / latest.steps), "bound_us": bound.us_per_step}

    return Contestant(name, one_round)


class Understudy:
    """Takes the time of one planner and plays the plans of another, which were made beforehand.

    So an untrained network can be timed on the states that a trained one meets.

    Args:
        timed: Evaluated at every look; what it answers is thrown away.
        plans: What to answer instead, in order.
    """

    def __init__(self, timed: Planner, plans: Iterable[CategoricalPlan]) -> None:
        self._timed = timed
        self._plans = iter(plans)
        self.horizon, self.n_actions = timed.horizon, timed.n_actions

    def plan(self, obs: NDArray[Any]) -> CategoricalPlan:
        """The next plan of the list."""
        self._timed.plan(obs)
        return next(self._plans)


class Recorder:
    """Keeps the plans of another planner."""

    def __init__(self, planner: Planner) -> None:
        self._planner = planner
        self.horizon, self.n_actions = planner.horizon, planner.n_actions
        self.plans: list[CategoricalPlan] = []

    def plan(self, obs: NDArray[Any]) -> CategoricalPlan:
        """The other planner's plan."""
        plan = self._planner.plan(obs)
        assert isinstance(plan, CategoricalPlan)
        self.plans.append(plan)
        return plan
