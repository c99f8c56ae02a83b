from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from phr.acting.agent import HorizonAgent
from phr.actions import Continuous
from phr.envs.registry import make_env
from phr.envs.split import ObservingEnv
from phr.errors import BoundError, NonFiniteError
from phr.evaluation import bound
from phr.evaluation.bound import TimeBound, is_enough_to_judge, least_terms, measure_bound, run_bounds
from phr.evaluation.timed import Limit, RunOptions, RunRecord, timed_run
from phr_studies.worlds import RandomPlanner
from tests.evaluation import clocked
from tests.helpers import TablePlanner, always_right, corridor

micros = st.floats(0.1, 1e4)


@given(micros, micros, micros, micros, st.floats(0.01, 1), st.floats(1, 1e3), micros)
def test_the_bound_is_the_formulas_value(
    sim: float, reset: float, obs: float, policy: float, looks: float, length: float, measured: float
) -> None:
    bound = TimeBound(sim, reset, obs, policy, looks, length)
    per_step = sim + reset / length + looks * (obs + policy)
    assert bound.us_per_step == pytest.approx(per_step)
    told = bound.to_json(measured)
    assert told["seconds_per_100k_steps"] == pytest.approx(per_step * 1e-6 * 1e5)
    assert {"sim_us", "reset_us", "obs_us", "policy_us", "seconds_per_100k_steps", "fraction"} <= set(told)
    assert told["fraction"] == pytest.approx(told["seconds_per_100k_steps"] / measured)
    assert json.loads(json.dumps(told)) == told


def test_of_two_measurements_every_term_counts_at_its_least() -> None:
    after, before = TimeBound(1.0, 60.0, 3.0, 40.0, 0.25, 14.0), TimeBound(2.0, 50.0, 4.0, 30.0, 0.5, 20.0)
    assert least_terms(after, before) == TimeBound(1.0, 50.0, 3.0, 30.0, 0.25, 14.0)  # E and L belong to the run


terms = st.builds(TimeBound, micros, micros, micros, micros, st.floats(0.01, 1), st.floats(1, 1e3))


@given(st.lists(terms, max_size=5))
def test_every_run_is_bounded_by_two_replays(measured: list[TimeBound]) -> None:
    bounds = run_bounds(measured)
    assert len(bounds) == len(measured)
    for index, (least, own) in enumerate(zip(bounds, measured, strict=True)):
        other = own if len(measured) == 1 else measured[1 if index == 0 else index - 1]
        assert least == least_terms(own, other)
        assert least.us_per_step <= own.us_per_step * (1 + 1e-12)


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


@pytest.mark.parametrize(("seconds", "steps"), [(0.0, 1), (258.0, 1), (261.0, 2), (267.0, 4)])
def test_a_slow_replay_stops_in_mid_plan(monkeypatch: pytest.MonkeyPatch, seconds: float, steps: int) -> None:
    """One reset and one look take 257 s, each step 3 s."""
    record, bound, clock = clocked_run(monkeypatch, Limit(steps=40), 4, RunOptions(keep_trace=True), seconds)
    assert clock.counts == {"reset": 1, "step": steps, "observe": 1, "plan": 1}
    assert bound.sim_us == pytest.approx(1e6 * clocked.STEP)
    assert bound.steps_per_episode == np.mean(record.lengths)


def test_a_replay_takes_no_more_steps_and_resets_than_its_run(monkeypatch: pytest.MonkeyPatch) -> None:
    record, _, clock = clocked_run(monkeypatch, Limit(steps=40), 4, RunOptions(keep_trace=True))
    assert clock.counts["step"] == record.steps == 40
    assert clock.counts["reset"] == len(record.starts)


def test_a_slow_prefix_is_not_replayed(monkeypatch: pytest.MonkeyPatch) -> None:
    options = RunOptions(prefix=(3, 3), keep_trace=True)
    with pytest.raises(BoundError, match="the random prefix of clocked takes longer than the 1 s that a replay may take"):
        clocked_run(monkeypatch, Limit(episodes=2), 4, options, max_seconds=1.0)
    record, bound, clock = clocked_run(monkeypatch, Limit(episodes=20), 4, options, max_seconds=600.0)
    assert bound.reset_us == pytest.approx(1e6 * clocked.RESET)
    assert clock.counts["step"] < record.steps


class Wayward(gymnasium.Env[Any, Any]):
    """Its episodes are as long as a list says, whatever its seed; a step after the end is an error if it is strict."""

    observation_space = spaces.Box(0, 1, (1,), np.float32)
    action_space: Any = spaces.Discrete(2)

    def __init__(self, lengths: Sequence[int], strict: bool) -> None:
        self.lengths, self.strict = iter(lengths), strict

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[NDArray[np.float32], dict[str, Any]]:
        super().reset(seed=seed)
        self.left = next(self.lengths)
        return np.zeros(1, np.float32), {}

    def step(self, action: int) -> tuple[NDArray[np.float32], float, bool, bool, dict[str, Any]]:
        if self.strict and self.left <= 0:
            raise AssertionError("call reset first")
        self.left -= 1
        return np.zeros(1, np.float32), 1.0, False, self.left == 0, {}


@pytest.mark.parametrize("strict", [True, False])
@pytest.mark.parametrize("slow", [True, False])
@pytest.mark.parametrize("replayed", [[5, 5], [1, 6], [4, 6], [6, 5], [9, 9]])
def test_a_replay_that_diverges_has_no_bound(
    monkeypatch: pytest.MonkeyPatch, replayed: list[int], slow: bool, strict: bool
) -> None:
    monkeypatch.setattr(bound, "_SLOW_STEP", 0.0 if slow else 1.0)
    env, planner = ObservingEnv(Wayward([5, 6, *replayed], strict), "wayward"), TablePlanner.of_actions([[0] * 4], 2)
    rng, options = np.random.default_rng(0), RunOptions(keep_trace=True)
    record = timed_run(env, HorizonAgent(planner), Limit(episodes=2), seed=0, rng=rng, options=options)
    with pytest.raises(BoundError, match=r"ended elsewhere in its replay|failed with AssertionError: call reset first"):
        measure_bound(env, planner, record)


def test_a_replay_that_repeats_its_run_has_a_bound() -> None:
    env, planner = ObservingEnv(Wayward([5, 6, 5, 6], True), "wayward"), TablePlanner.of_actions([[0] * 4], 2)
    rng, options = np.random.default_rng(0), RunOptions(keep_trace=True)
    record = timed_run(env, HorizonAgent(planner), Limit(episodes=2), seed=0, rng=rng, options=options)
    assert measure_bound(env, planner, record).steps_per_episode == 5.5


@pytest.mark.parametrize("error", [ValueError("two\nlines"), RuntimeError(), StopIteration(), NonFiniteError("NaN")])
def test_whatever_fails_in_a_replay_is_one_line(error: Exception) -> None:
    class Failing(TablePlanner):
        def plan(self, obs: NDArray[Any]) -> Any:
            if len(self.batch_sizes) == 2:
                raise error
            return super().plan(obs)

    env, planner = corridor(), Failing.of_actions([[1] * 4] * 5, 2)
    rng, options = np.random.default_rng(0), RunOptions(keep_trace=True)
    record = timed_run(env, HorizonAgent(planner), Limit(episodes=2), seed=0, rng=rng, options=options)
    with pytest.raises(BoundError, match=f"replaying a run of corridor failed with {type(error).__name__}") as caught:
        measure_bound(env, planner, record)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("horizon", [1, 4])
def test_a_simulator_that_runs_out_of_its_data_has_no_bound(horizon: int) -> None:
    class Logged(Wayward):
        rows = iter(range(8))

        def step(self, action: int) -> Any:
            next(self.rows)
            return super().step(action)

    env, planner = ObservingEnv(Logged([5] * 9, True), "logged"), TablePlanner.of_actions([[0] * horizon], 2)
    rng, options = np.random.default_rng(0), RunOptions(keep_trace=True)
    record = timed_run(env, HorizonAgent(planner), Limit(episodes=1), seed=0, rng=rng, options=options)
    with pytest.raises(BoundError, match="replaying a run of logged failed with StopIteration"):
        measure_bound(env, planner, record)


def test_a_replay_leaves_the_record_as_it_is() -> None:
    class Meddling(Wayward):
        action_space: Any = spaces.Box(-1, 1, (1,), np.float32)

        def step(self, action: Any) -> Any:
            assert action == [0.5]
            action *= 3
            return super().step(0)

    class Half:
        horizon, n_actions = 4, 1
        action_space = Continuous((-1.0,), (1.0,), (1,))

        def plan(self, obs: NDArray[Any]) -> Any:
            return self.action_space.certain(np.full((len(obs), 4, 1), 0.5, np.float32))

    env, planner = ObservingEnv(Meddling([5] * 9, True), "meddling"), Half()
    rng, options = np.random.default_rng(0), RunOptions(keep_trace=True)
    record = timed_run(env, HorizonAgent(planner), Limit(episodes=2), seed=0, rng=rng, options=options)
    for _ in range(2):
        assert measure_bound(env, planner, record).steps_per_episode == 5


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
