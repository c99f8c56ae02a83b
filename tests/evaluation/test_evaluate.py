from __future__ import annotations

import json
import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from phr.acting.commitment import ConfidentCommitment
from phr.envs.registry import make_env
from phr.errors import HorizonError, IncompatibleModelError, SettingError
from phr.evaluation.bound import TimeBound, measure_bound
from phr.evaluation.evaluate import EvaluationSettings, check_fits, evaluate_planner
from phr.evaluation.machine import describe_machine
from phr.evaluation.summary import Evaluation
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
    ("commitment", "told"), [(None, 8), (5, 5), ("auto", "auto"), (ConfidentCommitment(0.5), "threshold=0.5")]
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


def test_bounds_are_measured_before_and_after_each_run(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = clocked.install(monkeypatch)
    env, planner = clocked.ClockedEnv(clock), clocked.ClockedPlanner(clock)
    slow = iter([4.0, 3.0, 1.0, 2.0])  # how the machine fares while each bound is measured

    def measured(*words: Any, **settings: Any) -> TimeBound:
        bound, factor = measure_bound(*words, **settings), next(slow)
        return replace(bound, sim_us=factor * bound.sim_us)

    monkeypatch.setattr("phr.evaluation.evaluate.measure_bound", measured)
    evaluation = evaluate(planner, env, runs=3, limit=Limit(episodes=4))
    assert [bound.sim_us for bound in evaluation.bounds] == pytest.approx([1e6 * clocked.STEP * k for k in (3, 1, 1)])


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
    with pytest.raises(SettingError, match="at least one run, got 0"):
        EvaluationSettings(runs=0)
    with pytest.raises(HorizonError, match="commitment must lie in 1..8"):
        evaluate(commitment=9)


def test_the_machine_is_described() -> None:
    machine = describe_machine(2)
    assert machine["cpu"]
    assert machine["threads"] == 2
    assert {"python", "numpy", "phr"} <= set(machine["versions"])
    assert json.loads(json.dumps(machine)) == machine
