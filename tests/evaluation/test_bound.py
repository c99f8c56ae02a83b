from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from phr.acting.agent import HorizonAgent
from phr.envs.registry import make_env
from phr.evaluation.bound import TimeBound, is_enough_to_judge, least_terms, measure_bound
from phr.evaluation.timed import Limit, RunOptions, RunRecord, timed_run
from phr_studies.worlds import RandomPlanner
from tests.evaluation import clocked
from tests.helpers import always_right, corridor

micros = st.floats(0.1, 1e4)


@given(micros, micros, micros, micros, st.floats(0.01, 1), st.floats(1, 1e3), micros)
def test_the_bound_is_the_formulas_value(
    sim: float, reset: float, obs: float, policy: float, looks: float, length: float, measured: float
) -> None:
    bound = TimeBound(sim, reset, obs, policy, looks, length)
    per_step = sim + reset / length + looks * (obs + policy)
    assert bound.us_per_step == pytest.approx(per_step)
    assert bound.seconds_per_100k_steps == pytest.approx(per_step * 1e-6 * 1e5)
    told = bound.to_json(measured)
    assert {"sim_us", "reset_us", "obs_us", "policy_us", "seconds_per_100k_steps", "fraction"} <= set(told)
    assert told["fraction"] == pytest.approx(bound.seconds_per_100k_steps / measured)
    assert json.loads(json.dumps(told)) == told


def test_of_two_measurements_every_term_counts_at_its_least() -> None:
    after, before = TimeBound(1.0, 60.0, 3.0, 40.0, 0.25, 14.0), TimeBound(2.0, 50.0, 4.0, 30.0, 0.5, 20.0)
    assert least_terms(after, before) == TimeBound(1.0, 50.0, 3.0, 30.0, 0.25, 14.0)  # E and L belong to the run
    assert least_terms(after, None) == after


@pytest.mark.parametrize(
    ("seconds", "enough"), [([], False), ([9.0, 9.0], False), ([1.0] * 3, True), ([9.0, 9.0, 0.9], False)]
)
def test_a_verdict_takes_several_runs_of_a_second(seconds: list[float], enough: bool) -> None:
    assert is_enough_to_judge(seconds) == enough


def clocked_run(
    monkeypatch: pytest.MonkeyPatch, limit: Limit, commitment: int, options: RunOptions, max_seconds: float = math.inf
) -> tuple[RunRecord, TimeBound, clocked.Clock]:
    """A run in the world with a clock of its own, the bound of that run, and what measuring the bound took."""
    clock = clocked.install(monkeypatch)
    env, planner = clocked.ClockedEnv(clock), clocked.ClockedPlanner(clock)
    rng = np.random.default_rng(0)
    record = timed_run(env, HorizonAgent(planner, commitment), limit, seed=3, rng=rng, options=options)
    clock.counts.update(dict.fromkeys(clock.counts, 0))
    return record, measure_bound(env, planner, record, max_seconds=max_seconds), clock


@pytest.mark.parametrize("prefix", [(0, 0), (1, 3)])
@pytest.mark.parametrize("commitment", [1, 3, 4])
def test_a_run_without_any_overhead_reaches_its_bound(
    monkeypatch: pytest.MonkeyPatch, commitment: int, prefix: tuple[int, int]
) -> None:
    options = RunOptions(prefix=prefix, keep_trace=True)
    record, bound, clock = clocked_run(monkeypatch, Limit(episodes=6), commitment, options)
    assert bound.sim_us == pytest.approx(1e6 * clocked.STEP)
    assert bound.reset_us == pytest.approx(1e6 * clocked.RESET)
    assert bound.obs_us == pytest.approx(1e6 * clocked.OBSERVE)
    assert bound.policy_us == pytest.approx(1e6 * clocked.PLAN)
    assert bound.evaluations_per_step == record.evaluations / record.steps
    assert bound.steps_per_episode == record.steps / 6
    assert clock.counts["plan"] == clock.counts["observe"] == record.evaluations
    assert clock.counts["step"] == record.steps + sum(len(start.prefix) for start in record.starts)
    measured = 1e5 * record.seconds_wall / record.steps
    assert bound.to_json(measured)["fraction"] == pytest.approx(1)


def test_observing_always_falls_short_of_the_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    options = RunOptions(observe_always=True, keep_trace=True)
    record, bound, _ = clocked_run(monkeypatch, Limit(episodes=6), 4, options)
    assert bound.to_json(1e5 * record.seconds_wall / record.steps)["fraction"] < 0.99


def test_the_replay_stops_after_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    options = RunOptions(keep_trace=True)
    record, bound, clock = clocked_run(monkeypatch, Limit(episodes=50), 4, options, max_seconds=1000.0)
    assert 0 < clock.counts["step"] < record.steps
    assert bound.sim_us == pytest.approx(1e6 * clocked.STEP)
    assert bound.evaluations_per_step == record.evaluations / record.steps  # of the whole run


def test_a_run_that_finished_no_episode_has_a_bound_too(monkeypatch: pytest.MonkeyPatch) -> None:
    record, bound, _ = clocked_run(monkeypatch, Limit(steps=3), 2, RunOptions(keep_trace=True))
    assert record.episodes == 0
    assert bound.reset_us == pytest.approx(1e6 * clocked.RESET)
    assert bound.steps_per_episode == 3
    assert bound.to_json(1e5 * record.seconds_wall / record.steps)["fraction"] == pytest.approx(1)


def test_atari_is_bounded_by_its_emulator() -> None:
    env = make_env("ALE/Breakout-v5?max_frames=80")
    planner = RandomPlanner(env.n_actions, np.random.default_rng(0), horizon=8)
    record = timed_run(
        env,
        HorizonAgent(planner),
        Limit(episodes=2),
        seed=0,
        rng=np.random.default_rng(0),
        options=RunOptions(keep_trace=True),
    )
    bound = measure_bound(env, planner, record)
    assert (bound.evaluations_per_step, bound.steps_per_episode) == (0.15, 20)
    assert min(bound.sim_us, bound.obs_us, bound.reset_us, bound.policy_us) > 0


def test_a_real_environment_is_replayed() -> None:
    env, planner = corridor(), always_right(horizon=4)
    record = timed_run(
        env,
        HorizonAgent(planner),
        Limit(episodes=3),
        seed=0,
        rng=np.random.default_rng(0),
        options=RunOptions(keep_trace=True),
    )
    bound = measure_bound(env, planner, record)
    assert (bound.evaluations_per_step, bound.steps_per_episode) == (0.25, 4)
    assert min(bound.sim_us, bound.reset_us, bound.obs_us, bound.policy_us) > 0
