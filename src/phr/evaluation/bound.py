"""The least time that acting can take on this machine: T = t_sim + t_reset/L + E·(t_obs + t_policy).

t_sim and t_reset come from a bare loop over the simulator, without any class of ours; t_obs and t_policy from looking where
the agent looked. A recorded run is replayed, so every term is measured on the states that the agent met. Where k frames are
stacked, a look prepares those that no earlier look has prepared, at most k: each counts min(1, k·E) times a step. Where the
environment's seed does not determine its episodes, or anything is raised, the bound is unknown; no result depends on it.

Other programs slow a machine down, and never speed it up. So runs and replays alternate, each term of a run's bound is the
lesser of two replays (`run_bounds`), and a verdict takes the median over several runs: a burst of noise can make a run
look slow beside its bound, but hardly fast. What is faster than possible by more than 5 % shows a mistake in the bound.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np

from phr.envs.split import SplitEnv
from phr.errors import FOREIGN_ERRORS, BoundError, error_text
from phr.evaluation.timed import RunRecord, copied
from phr.plan import Planner

TOLERATED_FRACTION = 1.05
"""A run cannot beat its bound; a median fraction above this is a mistake in the bound, where enough was measured."""

ENOUGH_RUNS, ENOUGH_SECONDS = 3, 1.0
"""Fewer runs than this, or one shorter than this many seconds, are too little to tell a mistake from noise."""

_SLOW_STEP = 1e-3
"""Seconds; where a step of the run took longer, its replay reads the clock after every step."""


@dataclass(frozen=True)
class TimeBound:
    """The terms, in microseconds: one step, one reset, one observation, one call of the planner at batch 1; and E and L."""

    sim_us: float
    reset_us: float
    obs_us: float
    policy_us: float
    evaluations_per_step: float
    steps_per_episode: float

    @property
    def us_per_step(self) -> float:
        """The bound on one step."""
        looks = self.evaluations_per_step * (self.obs_us + self.policy_us)
        return self.sim_us + self.reset_us / self.steps_per_episode + looks

    def to_json(self, measured_seconds_per_100k: float) -> dict[str, float]:
        """The terms, the bound, and the fraction of it that a run reached (1 is the limit)."""
        seconds = self.us_per_step / 10
        return {**asdict(self), "seconds_per_100k_steps": seconds, "fraction": seconds / measured_seconds_per_100k}


def measure_bound(env: SplitEnv, planner: Planner, record: RunRecord, *, max_seconds: float = 2.0) -> TimeBound:
    """Replay a recorded run, which has its trace, on the bare simulator and time every term.

    The replay stops after the first call that exceeds `max_seconds`, in mid-plan where steps are slow; it takes one reset,
    one look and one step at least. BoundError if it does not repeat the run, or anything in it fails.
    """
    try:
        return _replayed(env, planner, record, max_seconds)
    except BoundError:
        raise
    except FOREIGN_ERRORS as error:  # the environment's own code, or the planner's
        raise BoundError(f"replaying a run of {env.env_id} failed with {error_text(error)}") from error


def _replayed(env: SplitEnv, planner: Planner, record: RunRecord, max_seconds: float) -> TimeBound:
    clock = time.perf_counter
    simulator = env.bare()
    sim = reset = look = think = 0.0
    n_steps = n_resets = n_looks = 0
    starts = iter(record.starts)
    seconds_per_step = record.seconds_env / record.steps
    begin = clock()
    ended = True
    for actions in record.trace:
        if ended:
            start = next(starts)
            if len(start.prefix) * seconds_per_step > max_seconds - (clock() - begin):
                break
            started = clock()
            simulator.reset(start.seed)
            reset, n_resets = reset + clock() - started, n_resets + 1
            start.play_prefix(env)
        started = clock()
        obs = simulator.observe()
        observed = clock()
        planner.plan(obs[None])
        planned = clock()
        look, think, n_looks = look + observed - started, think + planned - observed, n_looks + 1
        ended = isinstance(actions[-1], int) and actions[-1] < 0
        left = copied(actions[:-1] if ended else actions)  # the simulator may change them in place
        while left and (n_steps == 0 or clock() - begin <= max_seconds):
            # Reading the clock after every step would cost a fast simulator a part of its time, and a slow one nothing.
            n_now = 1 if seconds_per_step > _SLOW_STEP else len(left)
            now, left = left[:n_now], left[n_now:]
            started = clock()
            answers = list(map(simulator.step, now))
            sim, n_steps = sim + clock() - started, n_steps + len(now)
            if len(answers) < len(now):  # which is how `list` takes it
                raise StopIteration
            ends = [bool(answer[2] or answer[3]) for answer in answers if isinstance(answer, tuple)]  # of some it is None
            if ends and ends != [False] * (len(ends) - 1) + [ended and not left]:
                why = "ended elsewhere in its replay than in its run: seed and actions do not determine it"
                raise BoundError(f"an episode of {env.env_id} {why}")
        if clock() - begin > max_seconds:
            break
    if not n_steps:
        raise BoundError(f"the random prefix of {env.env_id} takes longer than the {max_seconds:g} s that a replay may take")
    seconds = {"sim_us": sim / n_steps, "reset_us": reset / n_resets, "obs_us": look / n_looks, "policy_us": think / n_looks}
    length, per_step = float(np.mean(record.lengths or [record.steps])), record.evaluations / record.steps
    terms = {name: 1e6 * value for name, value in seconds.items()}
    return TimeBound(**terms, evaluations_per_step=per_step, steps_per_episode=length)


def least_terms(own: TimeBound, other: TimeBound) -> TimeBound:
    """The bound `own` of a run with each term at its least, in its own replay or in that of a neighbouring run."""
    measured = ("sim_us", "reset_us", "obs_us", "policy_us")
    return replace(own, **{name: min(getattr(own, name), getattr(other, name)) for name in measured})


def run_bounds(measured: Sequence[TimeBound]) -> tuple[TimeBound, ...]:
    """The bounds of runs that alternate with their replays; the first run takes the lesser terms of the first two."""
    if len(measured) < 2:
        return tuple(measured)
    return tuple(map(least_terms, measured, (measured[1], *measured[:-1])))


def is_enough_to_judge(seconds: Sequence[float]) -> bool:
    """Whether runs of these lengths are enough to distinguish a mistake in the bound from the noise of a shared machine."""
    return len(seconds) >= ENOUGH_RUNS and min(seconds) >= ENOUGH_SECONDS
