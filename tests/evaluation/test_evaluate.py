from __future__ import annotations

import itertools
import json
import math
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces
from hypothesis import given
from hypothesis import strategies as st

from phr.acting.commitment import ConfidentCommitment
from phr.envs.registry import make_env
from phr.envs.split import ObservingEnv
from phr.errors import HorizonError, IncompatibleModelError, SettingError
from phr.evaluation.bound import TimeBound, measure_bound
from phr.evaluation.evaluate import Evaluation, EvaluationSettings, check_fits, describe_machine, evaluate_planner
from phr.evaluation.timed import Limit, RunOptions, RunRecord
from phr.observations import ObservationSpec
from phr.plan import CategoricalPlan
from tests.evaluation import clocked
from tests.helpers import TablePlanner, always_right, corridor

KEYS = {
    "env_id", "model", "horizon", "commitment", "backend", "deterministic", "runs", "return_mean", "return_ci95",
    "length_mean", "success_rate", "score_per_second", "seconds_per_100k_steps", "evaluations_per_episode",
    "evaluations_per_step", "bound", "machine",
}  # fmt: skip
RUN_KEYS = {
    "seed", "steps", "episodes", "returns", "lengths", "score", "evaluations", "seconds_wall", "seconds_policy",
    "seconds_env",
}  # fmt: skip
BOUND_KEYS = {"sim_us", "reset_us", "obs_us", "policy_us", "seconds_per_100k_steps", "fraction"}
"""The names that users rely on: more may come, none may go."""

MACHINE = {"cpu": "abacus", "threads": 1, "versions": {}}


def evaluate(planner: Any = None, env: Any = None, **settings: Any) -> Evaluation:
    settings = {"limit": Limit(episodes=3), "runs": 2, **settings}
    return evaluate_planner(
        planner or always_right(horizon=8),
        env or corridor(),
        EvaluationSettings(**settings),
        model="table",
        backend="table",
        machine=MACHINE,
    )


def test_json_has_the_promised_names_and_plain_values() -> None:
    told = evaluate(commitment=3).to_json()
    assert set(told) >= KEYS
    assert set(told["runs"][0]) >= RUN_KEYS
    assert set(told["bound"]) >= BOUND_KEYS
    assert set(describe_machine(1)) >= {"cpu", "threads", "versions"}
    assert json.loads(json.dumps(told, allow_nan=False)) == told


def test_json_tells_what_happened() -> None:
    told = evaluate(commitment=3).to_json()
    assert (told["env_id"], told["model"], told["backend"]) == ("corridor", "table", "table")
    assert (told["horizon"], told["commitment"], told["deterministic"]) == (8, 3, True)
    assert told["return_mean"] == told["success_rate"] == 1
    assert told["return_ci95"] == [1, 1]
    assert told["length_mean"] == 4
    assert told["evaluations_per_episode"] == 2
    assert told["evaluations_per_step"] == 0.5
    assert [run["lengths"] for run in told["runs"]] == [[4, 4, 4]] * 2
    assert told["machine"] == MACHINE
    wall = sum(run["seconds_wall"] for run in told["runs"])
    assert told["score_per_second"] == pytest.approx(6 / wall)
    assert told["seconds_per_100k_steps"] == pytest.approx(1e5 * wall / 24)
    for run in told["runs"]:
        assert run["seconds_policy"] + run["seconds_env"] == pytest.approx(run["seconds_wall"])


def test_nothing_finished_is_told_as_nothing() -> None:
    told = evaluate(limit=Limit(steps=3), with_bound=False).to_json()
    names = ("return_mean", "return_ci95", "length_mean", "success_rate", "evaluations_per_episode", "bound")
    assert all(told[name] is None for name in names)
    assert told["evaluations_per_step"] == pytest.approx(1 / 3)


@pytest.mark.parametrize(
    ("commitment", "told"), [(None, 8), (5, 5), ("auto", "auto"), (ConfidentCommitment(0.5), "confidence 0.5")]
)
def test_the_commitment_is_named(commitment: Any, told: int | str) -> None:
    named = evaluate(commitment=commitment, with_bound=False).commitment
    assert named == told if isinstance(told, int) else str(told) in str(named)


def random_runs(seed: int, **settings: Any) -> list[dict[str, Any]]:
    evaluation = evaluate(
        TablePlanner.random(np.random.default_rng(0), 5, 3, 2),
        corridor(max_steps=15, slip=0.3),
        seed=seed,
        runs=3,
        limit=Limit(steps=100),
        with_bound=False,
        **settings,
    )
    return [{name: value for name, value in vars(run).items() if "seconds" not in name} for run in evaluation.runs]


@pytest.mark.parametrize("settings", [{}, {"options": RunOptions(prefix=(0, 3))}, {"deterministic": False}])
def test_the_seed_decides_every_run(settings: dict[str, Any]) -> None:
    first, again, other = (random_runs(seed, **settings) for seed in (1, 1, 2))
    assert first == again
    assert first != other
    assert len({tuple(run["lengths"]) for run in first}) == 3  # the runs of one evaluation differ too
    assert len({run["seed"] for run in first}) == 3


def test_sampling_draws_from_the_plan() -> None:
    planner = TablePlanner(np.zeros((5, 8, 2)))  # its mode always goes left
    assert evaluate(planner, with_bound=False).return_mean == 0
    assert (evaluate(planner, deterministic=False, with_bound=False).return_mean or 0) > 0


def test_the_bound_is_measured_with_prefixes_too() -> None:
    told = evaluate(commitment=1, options=RunOptions(prefix=(1, 6)), limit=Limit(episodes=20)).to_json()
    assert math.isfinite(told["bound"]["fraction"])


def test_a_person_is_told_the_same() -> None:
    told = str(evaluate(commitment=3))
    for words in (
        "table in corridor: horizon 8, commitment 3, table",
        "return         1.0000  [1.0000, 1.0000]",
        "length         4.000 steps, 6 episodes",
        "success        100.00%",
        "evaluations    2.000 an episode, 0.5000 a step",
        "bound ",
    ):
        assert words in told
    unfinished = str(evaluate(limit=Limit(steps=3), with_bound=False))
    assert "score          0 (no episode was finished)" in unfinished
    assert "bound" not in unfinished


def test_every_run_is_reported() -> None:
    told: list[tuple[int, RunRecord]] = []
    settings = EvaluationSettings(limit=Limit(episodes=1), runs=3, with_bound=False)
    evaluation = evaluate_planner(
        always_right(),
        corridor(),
        settings,
        model="m",
        backend="b",
        machine={},
        on_run=lambda index, record: told.append((index, record)),
    )
    assert [index for index, _ in told] == [0, 1, 2]
    assert tuple(record for _, record in told) == evaluation.runs


def sampled(**settings: Any) -> list[tuple[Any, ...]]:
    """Lengths, rewards and looks of runs that sample."""
    env, planner = corridor(max_steps=15), TablePlanner(np.zeros((5, 3, 2)))  # nothing else is random
    runs = evaluate(planner, env, deterministic=False, limit=Limit(episodes=20), seed=4, **settings).runs
    return [(run.lengths, run.returns, run.looks) for run in runs]


def test_what_is_sampled_depends_on_seed_and_run_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = sampled(runs=3)
    assert sampled(runs=3, with_bound=False) == sampled(runs=3, options=RunOptions(observe_always=True)) == expected
    assert sampled(runs=2) == expected[:2]
    assert len({str(run) for run in expected}) == 3
    monkeypatch.setattr("phr.evaluation.evaluate._WARM_UP_STEPS", 0)
    assert sampled(runs=3) == expected  # the warm-up takes from other streams


class Counted(gymnasium.Env[Any, Any]):
    """Counts its steps and resets; its episodes are as long as it is told, or as chance wants."""

    observation_space = spaces.Box(0, 1, (1,), np.float32)
    action_space = spaces.Discrete(2)

    def __init__(self, length: int | None = None) -> None:
        self.length, self.steps, self.resets = length, 0, 0

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        self.resets += 1
        self.left = int(self.np_random.integers(1, 40)) if self.length is None else self.length
        return np.zeros(1, np.float32), {}

    def step(self, action: Any) -> Any:
        self.steps += 1
        self.left -= 1
        return np.zeros(1, np.float32), 1.0, self.left == 0, False, {}


@given(
    length=st.none() | st.integers(1, 60),
    horizon=st.integers(1, 7),
    limit=st.builds(Limit, steps=st.integers(1, 90)) | st.builds(Limit, episodes=st.integers(1, 9)),
    runs=st.integers(1, 4),
    with_bound=st.booleans(),
)
def test_uncounted_steps_are_at_most_twice_the_counted_ones(
    length: int | None, horizon: int, limit: Limit, runs: int, with_bound: bool
) -> None:
    gym_env, planner = Counted(length), TablePlanner.of_actions([[0] * horizon], 2)
    told = evaluate(planner, ObservingEnv(gym_env, "counted"), limit=limit, runs=runs, with_bound=with_bound)
    counted = sum(run.steps for run in told.runs)
    warm_up = 1 + runs * (limit.steps or limit.episodes or 0) // 10
    assert gym_env.steps <= (2 if with_bound else 1) * counted + min(warm_up, 50) <= 3 * counted
    assert len(told.bounds) == (runs if with_bound else 0)
    assert (told.bound_warning is None) or "may be noise" in told.bound_warning


def test_the_warm_up_of_a_slow_world_is_short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Seconds pass as the world wants."""
    now = itertools.count()
    monkeypatch.setattr("phr.evaluation.evaluate.time", SimpleNamespace(perf_counter=lambda: float(next(now))))
    gym_env, planner = Counted(), TablePlanner.of_actions([[0] * 4], 2)
    told = evaluate(planner, ObservingEnv(gym_env, "counted"), limit=Limit(steps=400), with_bound=False)
    assert gym_env.steps == sum(run.steps for run in told.runs)
    assert len(planner.batch_sizes) == sum(run.evaluations for run in told.runs) + 2


class Adrift(Counted):
    """Its episodes get longer and longer, whatever its seed."""

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        returned = super().reset(seed=seed)
        self.left = self.resets
        return returned

    def step(self, action: Any) -> Any:
        assert self.left > 0, "call reset first"
        return super().step(action)


def test_a_bound_that_cannot_be_measured_costs_no_results() -> None:
    gym_env, planner = Adrift(), TablePlanner.of_actions([[0] * 4], 2)
    told = evaluate(planner, ObservingEnv(gym_env, "adrift"), runs=3, limit=Limit(episodes=4))
    assert [len(run.lengths) for run in told.runs] == [4, 4, 4]
    assert (told.bounds, told.bound) == ((), None)
    assert told.bound_warning is not None
    assert told.bound_warning.startswith("the time bound is unknown: an episode of adrift ended elsewhere")
    assert told.to_json()["bound_warning"] == told.bound_warning
    assert gym_env.resets == 2 + 4 + 1 + 4 + 4  # warm-up of two steps, a run, a replay that fails, and no other replay


def test_bounds_are_measured_before_and_after_each_run(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = clocked.install(monkeypatch)
    env, planner = clocked.ClockedEnv(clock), clocked.ClockedPlanner(clock)
    slow = iter([4.0, 3.0, 1.0, 2.0])  # how the machine fares while each run is replayed

    def measured(*words: Any, **settings: Any) -> TimeBound:
        bound, factor = measure_bound(*words, **settings), next(slow)
        return replace(bound, sim_us=factor * bound.sim_us)

    monkeypatch.setattr("phr.evaluation.evaluate.measure_bound", measured)
    evaluation = evaluate(planner, env, runs=4, limit=Limit(episodes=4))
    assert [bound.sim_us for bound in evaluation.bounds] == pytest.approx([1e6 * clocked.STEP * k for k in (3, 3, 1, 1)])


def test_cart_pole_has_no_success() -> None:
    pushes = np.random.default_rng(0).normal(size=(4, 2, 2))
    told = evaluate(TablePlanner(pushes), make_env("CartPole-v1"), with_bound=False).to_json()
    assert told["success_rate"] is None
    assert told["return_mean"] > 1


def test_a_model_must_fit() -> None:
    env = corridor()
    check_fits(always_right(), env)  # it has no `obs_spec`
    with pytest.raises(IncompatibleModelError, match="the model has 3 actions, corridor has 2"):
        evaluate(TablePlanner(np.zeros((5, 1, 3))))


class Reader(TablePlanner):
    """Walks to the right, and says what it reads."""

    def __init__(self, obs_spec: ObservationSpec) -> None:
        super().__init__(CategoricalPlan.from_actions(np.ones((5, 1), np.int64), 2).logits)
        self.obs_spec = obs_spec


@pytest.mark.parametrize(
    ("shape", "dtype", "scale", "fits"),
    [
        ((5,), "float32", 1.0, True),
        ((5,), "float64", 1.0, True),
        ((4,), "float32", 1.0, False),
        ((5, 1), "float32", 1.0, False),
        ((5,), "uint8", 1.0, False),
        ((5,), "int64", 1.0, False),
        ((5,), "float32", 1 / 255, False),
    ],
)
def test_a_model_must_fit_the_observations(shape: tuple[int, ...], dtype: str, scale: float, fits: bool) -> None:
    planner = Reader(ObservationSpec(shape, np.dtype(dtype), scale))
    if fits:
        check_fits(planner, corridor())
        return
    with pytest.raises(IncompatibleModelError, match=r"the model reads .*; corridor gives float32 of shape \(5,\)"):
        evaluate(planner)


def test_impossible_settings_are_refused() -> None:
    for runs in (0, -1):
        with pytest.raises(SettingError, match=f"runs must be >= 1, got {runs}"):
            EvaluationSettings(runs=runs)
    with pytest.raises(SettingError, match="seed must be >= 0, got -1"):
        EvaluationSettings(seed=-1)
    with pytest.raises(HorizonError, match="commitment must lie in 1..8"):
        evaluate(commitment=9)


def test_the_machine_is_described() -> None:
    machine = describe_machine(2)
    assert machine["cpu"]
    assert machine["threads"] == 2
    assert {"python", "numpy", "phr"} <= set(machine["versions"])
    assert json.loads(json.dumps(machine)) == machine


class Failing:
    """A planner of the user's that fails at its first call."""

    horizon, n_actions = 1, 2

    def plan(self, obs: Any) -> Any:
        raise KeyError("weights")


def test_a_planner_that_fails_is_one_line_from_the_first_look_on() -> None:
    settings = EvaluationSettings(limit=Limit(steps=10), runs=1)
    with pytest.raises(IncompatibleModelError, match="^Failing.plan raised KeyError: 'weights'$"):
        evaluate_planner(Failing(), corridor(), settings, model="failing", backend="python", machine=describe_machine(1))
