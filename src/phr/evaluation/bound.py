"""The least time that acting can take on this machine: T = t_sim + t_reset/L + E·(t_obs + t_policy).

t_sim and t_reset come from a bare loop over the simulator, without any class of ours; t_obs and t_policy from looking where
the agent looked. A recorded run is replayed, so every term is measured on the states that the agent met. Where k frames are
stacked, a look prepares those that no earlier look has prepared, at most k: each counts min(1, k·E) times a step.
"""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass

import numpy as np

from phr.envs.split import SplitEnv
from phr.evaluation.timed import RunRecord, play_prefix
from phr.protocols import Planner

TOLERATED_FRACTION = 1.05
"""A run cannot beat its bound; a larger fraction is a mistake in the bound (or a machine that changed speed meanwhile)."""


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
        max_seconds: Replay no longer than this (but through one reset at least).
    """
    clock = time.perf_counter
    simulator = env.bare()
    sim = reset = look = think = 0.0
    n_steps = n_resets = n_looks = 0
    prefixes = iter(record.prefixes)
    begin = clock()
    env.reset(record.seed)
    play_prefix(env, next(prefixes, []))
    for actions in record.trace:
        started = clock()
        obs = simulator.observe()
        observed = clock()
        planner.plan(obs[None])
        planned = clock()
        look, think, n_looks = look + observed - started, think + planned - observed, n_looks + 1
        ended = actions[-1] < 0
        plain = actions[:-1] if ended else actions
        started = clock()
        for action in plain:
            simulator.step(action)
        sim, n_steps = sim + clock() - started, n_steps + len(plain)
        if ended:
            started = clock()
            simulator.reset()
            reset, n_resets = reset + clock() - started, n_resets + 1
            play_prefix(env, next(prefixes, []))
        if clock() - begin > max_seconds and n_resets:
            break
    return TimeBound(
        sim_us=1e6 * sim / max(n_steps, 1),
        reset_us=1e6 * reset / max(n_resets, 1),
        obs_us=1e6 * look / max(n_looks, 1),
        policy_us=1e6 * think / max(n_looks, 1),
        evaluations_per_step=record.evaluations / record.steps,
        steps_per_episode=float(np.mean(record.lengths)) if record.lengths else float(record.steps),
    )
