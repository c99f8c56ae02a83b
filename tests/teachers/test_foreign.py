"""Policies of the user's own: torch modules, functions, factories, planners in memory, others' ONNX files."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

import phr
from phr.errors import IncompatibleModelError, InvalidDataError, NonFiniteError, SettingError, UnknownModelError, UsageError
from phr.teachers.foreign import Reading, name_of
from phr.teachers.policy import PolicyTeacher
from phr.teachers.references import resolve
from tests.exported import corridor_file
from tests.helpers import CorridorEnv, TablePlanner
from tests.trained import CORRIDOR, corridor_student

N_CELLS, N_ACTIONS = 5, 2
RIGHT = np.array([1.0, 3.0], np.float32)
OBS = np.eye(N_CELLS, dtype=np.float32)
HERE = "tests.teachers.test_foreign"


def logits(obs: NDArray[Any]) -> NDArray[Any]:
    """Right, from everywhere."""
    return np.tile(RIGHT, (len(obs), 1))


def actions(obs: NDArray[Any]) -> NDArray[Any]:
    return np.ones(len(obs), np.int64)


class Right(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(N_CELLS, N_ACTIONS)
        nn.init.zeros_(self.layer.weight)
        self.layer.bias.data = torch.from_numpy(RIGHT)
        self.dropout = nn.Dropout(0.5)

    def forward(self, obs: Tensor) -> Tensor:
        answer: Tensor = self.layer(obs)
        return self.dropout(answer) if self.training else answer


def make_logits() -> Any:
    return logits


def make_actions() -> Any:
    return actions


def make_right() -> Right:
    return Right()


def make_seeing(env: Any) -> Any:
    """Is shown the environment."""
    assert env.action_space.n == N_ACTIONS
    return logits


def make_planner() -> TablePlanner:
    return TablePlanner.of_actions([[1]] * N_CELLS, N_ACTIONS)


@pytest.mark.parametrize(
    ("reference", "action_only"),
    [
        (logits, False),
        (actions, True),
        (Right(), False),
        (lambda obs: torch.from_numpy(logits(obs)), False),
        (make_planner(), False),
        (f"{HERE}:make_logits", False),
        (f"{HERE}:make_actions", True),
        (f"{HERE}:make_right", False),
        (f"{HERE}:Right", False),
        (f"{HERE}:make_seeing", False),
        (f"{HERE}:make_planner", False),
    ],
)
def test_a_policy_becomes_a_planner_of_horizon_1(reference: Any, action_only: bool) -> None:
    actor = resolve(reference, env_id=CORRIDOR)
    assert (actor.planner.horizon, actor.planner.n_actions, actor.action_only) == (1, N_ACTIONS, action_only)
    plan = actor.planner.plan(OBS)
    np.testing.assert_array_equal(plan.mode(), np.ones((N_CELLS, 1)))
    if action_only:
        assert (plan.confidence() > 0.999).all()
    elif not isinstance(actor.planner, TablePlanner):
        np.testing.assert_array_equal(plan.logits[:, 0], logits(OBS))  # type: ignore[attr-defined]


def test_a_module_is_asked_in_evaluation_mode_and_kept() -> None:
    teacher = resolve(Right().train(), env_id=CORRIDOR).planner
    assert isinstance(teacher, PolicyTeacher)
    assert isinstance(teacher.module, Right)
    assert not teacher.module.training


def test_a_module_has_the_identity_of_its_weights() -> None:
    one, other = Right(), Right()
    assert resolve(one, env_id=CORRIDOR).identity == resolve(other, env_id=CORRIDOR).identity
    other.layer.weight.data += 1
    assert resolve(one, env_id=CORRIDOR).identity != resolve(other, env_id=CORRIDOR).identity
    assert name_of(logits) == f"{HERE}.logits"
    assert not resolve(logits, env_id=CORRIDOR).identity, "nothing tells one function from another"


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.memory = nn.LSTM(N_CELLS, N_ACTIONS)

    def forward(self, obs: Tensor) -> Any:
        return self.memory(obs)[0]


def masked(obs: NDArray[Any], action_masks: NDArray[Any]) -> NDArray[Any]:
    return logits(obs)


_CALLS = itertools.count()


@pytest.mark.parametrize(
    ("policy", "message"),
    [
        (Recurrent(), "has recurrent layers"),
        (lambda obs: (logits(obs), None), "answers a tuple of 2; .*recurrent"),
        (lambda obs: {"action": actions(obs)}, "answers a dict of 1"),
        (masked, r"masked needs obs, action_masks; phr gives observations alone"),
        (lambda obs: logits(obs)[:, :1], r"answers float32 of shape \(16, 1\) to 16 observations; expected float logits"),
        (lambda obs: logits(obs)[:, 0], r"answers float32 of shape \(16,\)"),
        (lambda obs: 1, r"answers int64 of shape \(\)"),
        (lambda obs: ["left"], "answers <U4 numbers"),
        (lambda obs: actions(obs) * (next(_CALLS) % 2), "answers the same observations differently"),
        (nn.Linear(3, 2), "cannot be asked: RuntimeError"),
        (lambda obs: nn.Linear(5, 2)(obs), "cannot be asked: TypeError.*torch.as_tensor"),
    ],
)
def test_what_is_no_policy_is_refused(policy: Callable[..., Any], message: str) -> None:
    with pytest.raises(IncompatibleModelError, match=message):
        resolve(policy, env_id=CORRIDOR)


def test_actions_and_logits_outside_their_range_are_refused() -> None:
    with pytest.raises(InvalidDataError, match=r"answered none of its 2 actions: actions lie in 7..7, but there are 2"):
        resolve(lambda obs: 7 * actions(obs), env_id=CORRIDOR)
    for large in (np.nan, -np.inf, 1e60):
        with pytest.raises(NonFiniteError, match="answered with a NaN, an infinity, or a number that float32 does not hold"):
            resolve(lambda obs, large=large: np.full((len(obs), N_ACTIONS), large), env_id=CORRIDOR)


def test_a_policy_that_fails_later_is_named() -> None:
    answers: list[Callable[[Any], Any]] = [logits, logits, lambda _obs: fails()]
    teacher = resolve(lambda obs: answers.pop(0)(obs), env_id=CORRIDOR).planner
    with pytest.raises(IncompatibleModelError, match=r"^tests\.teachers\..* cannot be asked: RuntimeError: no weights$"):
        teacher.plan(OBS)


def test_a_policy_that_changes_its_mind_is_told() -> None:
    answers = [logits, logits, actions]
    teacher = resolve(lambda obs: answers.pop(0)(obs), env_id=CORRIDOR).planner
    with pytest.raises(InvalidDataError, match="answers now logits, now actions"):
        teacher.plan(OBS)


def needs_two(one: Any, two: Any) -> Any: ...


def fails() -> Any:
    raise RuntimeError("no weights")


def gives_nothing() -> None: ...


NUMBER = 3


@pytest.mark.parametrize(
    ("name", "error", "message"),
    [
        ("needs_two", IncompatibleModelError, "needs one, two; a factory is called with nothing, or with the environment"),
        ("fails", IncompatibleModelError, "made no policy: RuntimeError: no weights"),
        ("gives_nothing", IncompatibleModelError, "returned a NoneType, not a torch module or a function"),
        ("NUMBER", UnknownModelError, "is a int, not a function that makes a policy"),
    ],
)
def test_a_factory_that_makes_no_policy_is_refused(name: str, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        resolve(f"{HERE}:{name}", env_id=CORRIDOR)


@pytest.mark.parametrize("reference", [logits, f"{HERE}:make_logits"])
def test_the_environment_has_to_be_named(reference: Any) -> None:
    with pytest.raises(UsageError, match="does not say where it acts; add --env-id ID"):
        resolve(reference)


def test_what_is_for_zips_is_refused_elsewhere() -> None:
    for reference in (logits, f"{HERE}:make_logits", corridor_student(), "oracle", "zoo:crossing-student", "student.onnx"):
        with pytest.raises(SettingError, match="--activation and --normalize are for Stable-Baselines3's .zip files"):
            resolve(reference, env_id=CORRIDOR, reading=Reading(activation="tanh"))
    with pytest.raises(SettingError, match="runs on python, not on onnx; leave --backend out"):
        resolve(logits, env_id=CORRIDOR, backend="onnx")


def small_graph(
    folder: Path, *, inputs: int = 1, answer: str = "logits", batch: str | int = "batch", width: int = N_CELLS
) -> Path:
    """An ONNX file that no exporter of ours wrote: right, from everywhere."""
    seen = [helper.make_tensor_value_info(f"in{i}", TensorProto.FLOAT, [batch, width]) for i in range(inputs)]
    nodes = [helper.make_node("Gemm", ["in0", "w", "b"], ["logits"])]
    said = helper.make_tensor_value_info("logits", TensorProto.FLOAT, [batch, N_ACTIONS])
    if answer == "actions":
        nodes.append(helper.make_node("ArgMax", ["logits"], ["actions"], axis=1, keepdims=0))
        said = helper.make_tensor_value_info("actions", TensorProto.INT64, [batch])
    weights = [numpy_helper.from_array(np.zeros((width, 2), np.float32), "w"), numpy_helper.from_array(RIGHT, "b")]
    model = helper.make_model(
        helper.make_graph(nodes, "g", seen, [said], weights), opset_imports=[helper.make_opsetid("", 17)], ir_version=8
    )
    onnx.save(model, folder / "policy.onnx")
    return folder / "policy.onnx"


@pytest.mark.parametrize("answer", ["logits", "actions"])
@pytest.mark.parametrize("batch", ["batch", 1])
def test_an_onnx_file_of_another_maker(tmp_path: Path, answer: str, batch: str | int) -> None:
    actor = resolve(small_graph(tmp_path, answer=answer, batch=batch), env_id=CORRIDOR)
    assert (actor.backend, actor.action_only, actor.planner.horizon) == ("onnx", answer == "actions", 1)
    np.testing.assert_array_equal(actor.planner.plan(OBS).mode(), np.ones((N_CELLS, 1)))


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ({"inputs": 2}, "has 2 inputs and 1 outputs; a policy that phr can distil has one of each"),
        ({"width": 7}, r"reads float32 of shape \['batch', 7\], got float32 of \(16, 5\)"),
        ({"batch": 3}, "reads batches of 3 only; export it with a dynamic batch"),
    ],
)
def test_an_onnx_file_that_does_not_fit_is_refused(tmp_path: Path, shape: dict[str, Any], message: str) -> None:
    with pytest.raises(IncompatibleModelError, match=message):
        resolve(small_graph(tmp_path, **shape), env_id=CORRIDOR)


def test_an_onnx_file_of_another_maker_needs_an_environment(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="does not say where it acts"):
        resolve(small_graph(tmp_path))


def test_an_onnx_file_of_ours_says_where_it_acts(tmp_path: Path) -> None:
    actor = resolve(corridor_file(tmp_path))
    assert (actor.env_id, actor.planner.horizon, len(actor.identity)) == (CORRIDOR, 4, 64)


SMALL: dict[str, Any] = {"n_episodes": 16, "n_updates": 40, "batch_size": 32, "prefix": (0, 2), "refine": 0}


@pytest.mark.parametrize("kind", ["function", "actions", "onnx", "ours"])
def test_a_student_of_any_policy(tmp_path: Path, kind: str) -> None:
    teacher: Any = {"function": logits, "actions": actions, "onnx": None, "ours": None}[kind]
    if teacher is None:
        teacher = small_graph(tmp_path) if kind == "onnx" else corridor_file(tmp_path)
    student = phr.distill(teacher, env_id=CORRIDOR, horizon=4, **SMALL)
    np.testing.assert_array_equal(student.planner.plan(OBS[:4]).mode()[:, 0], np.ones(4))
    assert student.manifest.notes["teacher"] == name_of(teacher)


@pytest.mark.parametrize("settings", [{"loss": "kl"}, {"loss": "squared"}, {"sample_labels": True}])
def test_an_action_only_teacher_allows_only_cross_entropy(settings: dict[str, Any]) -> None:
    with pytest.raises(SettingError, match="an action-only teacher, which allows only cross-entropy"):
        phr.distill(actions, env_id=CORRIDOR, horizon=4, **SMALL, **settings)


def test_a_soft_loss_of_a_policy_with_logits() -> None:
    student = phr.distill(logits, env_id=CORRIDOR, horizon=2, loss="kl", **SMALL)
    assert student.horizon == 2


def test_a_policy_of_any_make_is_evaluated() -> None:
    result = phr.evaluate(actions, env_id=CORRIDOR, steps=40, runs=1, observe_always=True)
    assert result.backend == "python"
    assert set(result.runs[0].returns) == {1.0}


def test_a_teacher_is_loaded_to_be_asked() -> None:
    teacher = phr.load_teacher(logits, env_id=CORRIDOR)
    assert isinstance(teacher, PolicyTeacher)
    assert teacher.plan(OBS).batch_size == N_CELLS
    with pytest.raises(UnknownModelError, match="has no network to load"):
        phr.load(f"{HERE}:make_logits")


class Strict(CorridorEnv):
    """The corridor that raises for every step, and counts how many of its kind are open."""

    n_open = n_made = 0

    def __init__(self) -> None:
        super().__init__()
        Strict.n_open += 1
        Strict.n_made += 1

    def step(self, action: Any) -> Any:
        raise ValueError("illegal")

    def close(self) -> None:
        Strict.n_open -= 1


def make_strict() -> Any:
    return Strict()


def sighted_factory(env: Any) -> Callable[..., Any]:
    assert Strict.n_open == 1
    assert env.unwrapped.cell == 0
    return logits


def plain_factory() -> Callable[..., Any]:
    assert Strict.n_open == 0
    return logits


@pytest.mark.parametrize("reference", [logits, nn.Linear(5, 2), f"{HERE}:sighted_factory", f"{HERE}:plain_factory"])
def test_a_policy_is_read_without_any_action_and_its_environments_are_closed(reference: Any) -> None:
    Strict.n_made = 0
    resolve(reference, env_id=f"{HERE}:make_strict")
    assert Strict.n_open == 0 < Strict.n_made


@pytest.mark.parametrize("reference", [lambda _obs: "nothing", f"{HERE}:failing_factory", f"{HERE}:logits"])
def test_the_environments_of_a_policy_that_is_refused_are_closed(reference: Any) -> None:
    Strict.n_made = 0
    with pytest.raises(IncompatibleModelError):
        resolve(reference, env_id=f"{HERE}:make_strict")
    assert Strict.n_open == 0 < Strict.n_made


def failing_factory(env: Any) -> Any:
    raise RuntimeError(f"nothing for {env}")
