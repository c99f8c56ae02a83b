from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import gymnasium
import numpy as np
import pytest

import phr
from phr import api
from phr.errors import IncompatibleModelError, NonFiniteError, PhrError, SettingError
from tests.helpers import TablePlanner, make_corridor
from tests.trained import corridor_student

SINGLE = "tests.api.test_measure:make_single"
OPENED: list[Single] = []
"""Those that were not closed yet."""
N_MADE = [0]


class Single(gymnasium.Wrapper[Any, Any, Any, Any]):
    """A simulator that can be open only once."""

    def __init__(self, env: gymnasium.Env[Any, Any]) -> None:
        if OPENED:
            raise OSError("worker number 0 is still in use")
        super().__init__(env)
        OPENED.append(self)
        N_MADE[0] += 1

    def step(self, action: Any) -> Any:
        assert [self] == OPENED, "it was closed"
        return super().step(action)

    def close(self) -> None:
        OPENED.remove(self)


def make_single(**kwargs: Any) -> gymnasium.Env[Any, Any]:
    """The corridor, open only once; an environment factory."""
    return Single(make_corridor(random_start=True, **kwargs))


def rule(obs: Any) -> Any:
    """A policy that somebody else wrote."""
    return np.ones(len(obs), np.int64)


def make_rule(env: Any) -> Any:
    """The same from a factory that wants to see the environment."""
    assert env.action_space.n == 2
    return rule


def make_broken_rule(env: Any) -> Any:
    raise ValueError("no policy")


@pytest.mark.parametrize("model", [rule, "tests.api.test_measure:make_rule", TablePlanner.of_actions([[1] * 3] * 5, 2)])
@pytest.mark.parametrize("all_starts", [False, True])
def test_one_simulator_suffices_and_is_closed(model: Any, all_starts: bool) -> None:
    N_MADE[0] = 0
    told = phr.evaluate(model, env_id=SINGLE, episodes=3, runs=2, all_starts=all_starts)
    assert told.return_mean == 1
    assert (OPENED, told.bound is None) == ([], False)
    assert N_MADE[0] >= 1
    if all_starts:
        assert (told.all_starts.n_starts, told.all_starts.n_solved) == (4, 4)  # type: ignore[union-attr]
        assert api.evaluate_all_starts(model, env_id=SINGLE) == told.all_starts
        assert OPENED == []


def test_no_random_prefix_may_be_written_as_a_list() -> None:
    assert (
        phr.evaluate(rule, env_id=SINGLE, episodes=1, runs=1, all_starts=True, random_prefix=[0, 0]).all_starts is not None
    )


class Breaking(TablePlanner):
    """Fails in the midst of it all."""

    def plan(self, obs: Any) -> Any:
        if len(self.batch_sizes) > 30:
            raise NonFiniteError("network output contains NaN or Inf")
        return super().plan(obs)


def leaving(*_words: object) -> None:
    raise KeyboardInterrupt


FAILING: dict[str, tuple[Any, dict[str, Any], type[BaseException]]] = {
    "the planner breaks": (Breaking.of_actions([[0]] * 5, 2), {"steps": 100}, NonFiniteError),
    "other actions": (TablePlanner(np.zeros((5, 2, 3))), {}, IncompatibleModelError),
    "the policy breaks": (lambda obs: 1 / 0, {}, PhrError),
    "the factory breaks": ("tests.api.test_measure:make_broken_rule", {}, IncompatibleModelError),
    "the caller leaves": (rule, {"on_run": leaving}, KeyboardInterrupt),
    "a wrong commitment": (TablePlanner(np.zeros((5, 2, 2))), {"commitment": 3}, PhrError),
    "no grid for the oracle": ("oracle", {}, PhrError),
}


@pytest.mark.parametrize("name", FAILING)
def test_the_simulator_is_closed_after_an_error(name: str) -> None:
    model, settings, error = FAILING[name]
    with pytest.raises(error):
        phr.evaluate(model, env_id=SINGLE, **{"steps": 4, "runs": 1, **settings})
    assert OPENED == []


@pytest.mark.parametrize("name", ["the planner breaks", "other actions", "a wrong commitment"])
def test_the_simulator_is_closed_after_an_error_in_all_starts(name: str) -> None:
    model, settings, error = FAILING[name]
    settings = {key: value for key, value in settings.items() if key == "commitment"}
    with pytest.raises(error):
        api.evaluate_all_starts(model, env_id=SINGLE, **settings)
    assert OPENED == []


def test_without_a_bound_nothing_is_replayed() -> None:
    told = [phr.evaluate(corridor_student(), episodes=3, runs=2, bound=bound) for bound in (False, True)]
    assert [each.bound is None for each in told] == [True, False]
    assert told[0].bound_warning is None
    assert [run.lengths for run in told[0].runs] == [run.lengths for run in told[1].runs]


@pytest.mark.parametrize("settings", [{"observe_always": True}, {"bound": False}, {"runs": 2}])
def test_sampling_depends_on_the_seed_alone(settings: dict[str, Any]) -> None:
    def lengths(**more: Any) -> list[list[int]]:
        words = {"deterministic": False, "episodes": 20, "runs": 3, "seed": 7, "commitment": 2, **more}
        unsure = TablePlanner(np.zeros((5, 4, 2)))
        return [run.lengths for run in phr.evaluate(unsure, env_id="tests.helpers:make_corridor", **words).runs]

    assert lengths(**settings) == lengths()[: settings.get("runs", 3)]


WRONG: dict[str, list[str]] = {
    "env_id": ["3", "['CartPole-v1']", "'nope'", "object()"],
    "commitment": ["'Auto'", "'2'", "0", "-1", "5", "2.0", "True", "np.float64(2)", "float('nan')", "[2]", "object()"],
    "steps": ["0", "-1", "1.5", "'3'", "True", "float('nan')", "float('inf')", "np.float64(3)", "[3]"],
    "episodes": ["0", "-1", "1.5", "'3'", "True", "[3]"],
    "runs": ["0", "-1", "1.5", "'3'", "None", "True", "float('inf')"],
    "seed": ["-1", "1.5", "'3'", "None", "True"],
    "horizon": ["0", "-1", "1.5", "'3'", "True", "2"],
    "backend": ["'tensorrt'", "3", "['torch']"],
    "random_prefix": ["(1,)", "(3, 1)", "(-1, 2)", "'1:2'", "None", "(0.5, 1)", "(1, 2, 3)", "3", "(float('nan'), 2)"],
    "threads": ["0", "-1", "1.5", "'2'", "None", "True", "10**9"],
}
ASK = """
import json, sys
import numpy as np
import phr
from tests.helpers import make_corridor, TablePlanner

student = TablePlanner.of_actions([[1] * 4] * 5, 2)
answers = []
for name, values in json.loads(sys.argv[1]).items():
    for value in values:
        settings = {"env_id": "tests.helpers:make_corridor", "runs": 1, name: eval(value)}
        if name != "episodes":
            settings = {"steps": 4, **settings}
        try:
            phr.evaluate(student, **settings)
            answers.append((name, value, "", "taken"))
        except BaseException as error:
            answers.append((name, value, type(error).__name__ if isinstance(error, phr.PhrError) else "", str(error)))
print(json.dumps(answers))
"""


def test_every_wrong_setting_is_refused_in_one_line() -> None:
    """In a fresh interpreter: under pytest the types are checked first."""
    command = [sys.executable, "-c", ASK, json.dumps(WRONG)]
    ran = subprocess.run(command, capture_output=True, text=True, check=True)
    answers = json.loads(ran.stdout)
    assert len(answers) == sum(map(len, WRONG.values()))
    kinds = {"env_id": {"UnknownEnvironmentError"}, "horizon": {"HorizonError", "UsageError"}}
    for name, value, kind, message in answers:
        assert kind in kinds.get(name, {"SettingError", "HorizonError"}), (name, value, kind, message)
        assert "\n" not in message
        assert kind != "SettingError" or message.startswith((name, "unknown backend")), message


@pytest.mark.parametrize("call", [phr.evaluate, api.evaluate_all_starts])
def test_the_oracle_needs_a_horizon_of_at_least_one(call: Callable[..., Any]) -> None:
    with pytest.raises(PhrError, match="horizon must be >= 1, got 0"):
        call("oracle", env_id="PHR/FourRooms-v0", horizon=0)


def test_wrong_numbers_are_refused_before_any_work() -> None:
    for settings in ({"runs": 0}, {"steps": 0}, {"seed": -1}, {"random_prefix": (2, 1)}, {"threads": 0}):
        with pytest.raises(SettingError):
            phr.evaluate("nowhere", **settings)
