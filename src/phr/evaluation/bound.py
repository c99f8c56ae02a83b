"""The least time that acting can take on this machine: T = t_sim + t_reset/L + E·(t_obs + t_policy).

t_sim and t_reset come from a bare loop over the simulator, without any class of ours; t_obs and t_policy from looking where
the agent looked. A recorded run is replayed, so every term is measured on the states that the agent met. Where k frames are
stacked, a look prepares those that no earlier look has prepared, at most k: each counts min(1, k·E) times a step.

Other programs slow a machine down, and never speed it up. So runs and replays alternate, each term of a run's bound is the
lesser of what was measured right before and right after the run, and a verdict takes the median over several runs. A burst
of noise can then make a run look slow beside its bound, but hardly fast. What is still faster than possible by more than
5 % shows a mistake in the bound: an error where enough was measured to say so, else a warning.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np

from phr.envs.split import SplitEnv
from phr.evaluation.timed import RunRecord
from phr.protocols import Planner

TOLERATED_FRACTION = 1.05
"""A run cannot beat its bound; a median fraction above this is a mistake in the bound, where enough was measured."""

ENOUGH_RUNS, ENOUGH_SECONDS = 3, 1.0
"""Fewer runs than this, or one shorter than this many seconds, are too little to tell a mistake from noise."""

_MEASURED = ("sim_us", "reset_us", "obs_us", "policy_us")


@dataclass(frozen=True)
class TimeBound:
    """The terms, in microseconds, and what they add up to.

    Attributes:
        sim_us: One step of the bare simulator.
        reset_us: One reset of the bare simulator.
        obs_us: Building one observation.
        policy_us: One call of the planner, batch 1.
        evaluations_per_step: E of the run that was replayed.
        steps_per_episode: L of that run.
        seconds_per_100k_steps: The bound.
    """

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

    @property
    def seconds_per_100k_steps(self) -> float:
        """The bound on 100,000 steps."""
        return self.us_per_step / 10

    def to_json(self, measured_seconds_per_100k: float) -> dict[str, float]:
        """The terms, the bound, and the fraction of it that a run reached (1 is the limit)."""
        return {
            **asdict(self),
            "seconds_per_100k_steps": self.seconds_per_100k_steps,
            "fraction": self.seconds_per_100k_steps / measured_seconds_per_100k,
        }


def measure_bound(env: SplitEnv, planner: Planner, record: RunRecord, *, max_seconds: float = 2.0) -> TimeBound:
    """Replay a recorded run on the bare simulator and time every term.

    Args:
        env: The environment of the run.
        planner: Its planner.
        record: A run with its trace.
        max_seconds: Replay no longer than this (but through one reset and one plan at least).
    """
    clock = time.perf_counter
    simulator = env.bare()
    sim = reset = look = think = 0.0
    n_steps = n_resets = n_looks = 0
    starts = iter(record.starts)
    begin = clock()
    env.reset(record.seed)
    ended = True
    for actions in record.trace:
        if ended:
            start = next(starts)
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
        plain = actions[:-1] if ended else actions
        started = clock()
        for action in plain:
            simulator.step(action)
        sim, n_steps = sim + clock() - started, n_steps + len(plain)
        if clock() - begin > max_seconds:
            break
    return TimeBound(
        sim_us=1e6 * sim / max(n_steps, 1),
        reset_us=1e6 * reset / max(n_resets, 1),
        obs_us=1e6 * look / max(n_looks, 1),
        policy_us=1e6 * think / max(n_looks, 1),
        evaluations_per_step=record.evaluations / record.steps,
        steps_per_episode=float(np.mean(record.lengths)) if record.lengths else float(record.steps),
    )


def least_terms(after: TimeBound, before: TimeBound | None) -> TimeBound:
    """The bound of a run whose terms were measured after it, and before it too: each term at its least.

    Args:
        after: From the replay of the run itself; its E and L are kept.
        before: From the replay of the run before; None for the first.
    """
    if before is None:
        return after
    return replace(after, **{name: min(getattr(after, name), getattr(before, name)) for name in _MEASURED})


def is_enough_to_judge(seconds: Sequence[float]) -> bool:
    """Whether runs of these lengths tell a mistake in the bound from the noise of a shared machine."""
    return len(seconds) >= ENOUGH_RUNS and min(seconds) >= ENOUGH_SECONDS
