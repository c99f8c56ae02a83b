"""Policies of the user's own: torch modules, functions, factories, planners in memory, others' ONNX files."""

from __future__ import annotations

import itertools
import warnings
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
from phr.acting.runtime import load_runtime
from phr.actions import Continuous, Discrete, MultiDiscrete
from phr.errors import (
    IncompatibleModelError,
    InvalidDataError,
    NonFiniteError,
    OutputDirectoryError,
    SettingError,
    UnknownModelError,
    UsageError,
)
from phr.files import sha256_of
from phr.observations import ObservationSpec
from phr.plan import CategoricalPlan
from phr.teachers.foreign import Reading, identity_of, name_of
from phr.teachers.foreign_onnx import OnnxPolicy
from phr.teachers.oracle import OraclePlanner
from phr.teachers.policy import PolicyTeacher, kind_of, teacher_of
from phr.teachers.references import resolve
from tests.exported import corridor_file
from tests.helpers import CorridorEnv, TablePlanner
from tests.teachers.sb3_models import env_id, made
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
        (lambda obs: (logits(obs), None), "returns a tuple of 2; .*recurrent"),
        (lambda obs: {"action": actions(obs)}, "returns a dict of 1"),
        (masked, r"masked needs obs, action_masks; phr gives observations alone"),
        (lambda obs: logits(obs)[:, :1], r"returns float32 of shape \(16, 1\) for 16 observations; expected float logits"),
        (lambda obs: logits(obs)[:, 0], r"returns float32 of shape \(16,\)"),
        (lambda obs: 1, r"returns int64 of shape \(\)"),
        (lambda obs: ["left"], "must return float logits or integer actions, got <U4"),
        (lambda obs: actions(obs) * (next(_CALLS) % 2), "returns different outputs for the same observations"),
        (nn.Linear(3, 2), "cannot be called: RuntimeError"),
        (lambda obs: nn.Linear(5, 2)(obs), "cannot be called: TypeError.*torch.as_tensor"),
    ],
)
def test_what_is_no_policy_is_refused(policy: Callable[..., Any], message: str) -> None:
    with pytest.raises(IncompatibleModelError, match=message):
        resolve(policy, env_id=CORRIDOR)


Q_TABLE = np.random.default_rng(0).random((N_CELLS, N_ACTIONS))


@pytest.mark.parametrize(
    "policy",
    [
        lambda obs: Q_TABLE[obs].argmax(-1),  # IndexError: floats
        lambda obs: Q_TABLE[obs.astype(int)].argmax(-1),  # an action for each number of the row
        lambda obs: float(obs[0]),  # TypeError
    ],
)
def test_a_table_over_numbers_is_told_that_it_is_given_one_hot_rows(policy: Callable[..., Any]) -> None:
    message = r"\(observations: one-hot rows of Discrete\(5\); obs.argmax\(-1\) returns the numbers\)$"
    with pytest.raises(IncompatibleModelError, match=message):
        resolve(policy, env_id=CORRIDOR)
    teacher = resolve(lambda obs: Q_TABLE[obs.argmax(-1)], env_id=CORRIDOR).planner
    np.testing.assert_array_equal(teacher.plan(OBS).mode()[:, 0], Q_TABLE.argmax(-1))


def test_a_function_of_a_dict_is_told_the_order_of_its_entries() -> None:
    message = (
        r"cannot be called: IndexError: .* order: state.battery \[0:1\], state.cell \[1:4\] one-hot, picture \[4:8\]\)$"
    )
    with pytest.raises(IncompatibleModelError, match=message):
        resolve(lambda obs: obs["state"]["cell"], env_id="tests.envs.test_flatten:make_rover")


def test_nothing_is_said_of_observations_that_are_shown_as_they_are() -> None:
    with pytest.raises(IncompatibleModelError, match=r"torch\.as_tensor\(obs\) makes a tensor of it\)$"):
        resolve(lambda obs: obs["state"], env_id="tests.helpers:make_noisy")


def test_actions_and_logits_outside_their_range_are_refused() -> None:
    with pytest.raises(InvalidDataError, match=r"returned an action outside 2 actions: actions lie in 7..7"):
        resolve(lambda obs: 7 * actions(obs), env_id=CORRIDOR)
    for large in (np.nan, -np.inf, 1e60):
        with pytest.raises(NonFiniteError, match="output contains NaN, Inf, or a number too large for float32"):
            resolve(lambda obs, large=large: np.full((len(obs), N_ACTIONS), large), env_id=CORRIDOR)


def test_a_policy_that_fails_later_is_named() -> None:
    answers: list[Callable[[Any], Any]] = [logits, logits, lambda _obs: fails()]
    teacher = resolve(lambda obs: answers.pop(0)(obs), env_id=CORRIDOR).planner
    with pytest.raises(IncompatibleModelError, match=r"^tests\.teachers\..* cannot be called: RuntimeError: no weights$"):
        teacher.plan(OBS)


def test_a_policy_that_changes_its_mind_is_told() -> None:
    answers = [logits, logits, actions]
    teacher = resolve(lambda obs: answers.pop(0)(obs), env_id=CORRIDOR).planner
    with pytest.raises(InvalidDataError, match="must always return logits; now it returned actions"):
        teacher.plan(OBS)


PROBS = np.array([0.0, 1 / 3, 2 / 3])


def test_probabilities_are_no_logits() -> None:
    """A softmax over them would make every policy nearly uniform."""
    answers = np.array([[0.25, 0.75], [1.0, 0.0]], np.float32)
    teacher = resolve(lambda obs: answers[obs.argmax(axis=1) % 2], env_id=CORRIDOR).planner
    assert isinstance(teacher, PolicyTeacher)
    assert (teacher.answers, teacher.action_only) == ("probabilities", False)
    plan = teacher.plan(OBS[:2])
    assert isinstance(plan, CategoricalPlan)
    np.testing.assert_allclose(plan.probs[:, 0], answers, rtol=1e-6, atol=1e-12)
    assert np.isfinite(plan.outputs).all()


@pytest.mark.parametrize(
    ("row", "answers"),
    [
        ([0.25, 0.75], "probabilities"),
        ([0.25, 0.7502], "probabilities"),
        ([0.25, 0.70], "logits"),
        ([-0.25, 1.25], "logits"),
        ([1.0, 3.0], "logits"),
    ],
)
def test_logits_and_probabilities_are_told_apart(row: list[float], answers: str) -> None:
    teacher = resolve(lambda obs: np.tile(np.array(row, np.float32), (len(obs), 1)), env_id=CORRIDOR).planner
    assert isinstance(teacher, PolicyTeacher)
    assert teacher.answers == answers
    plan = teacher.plan(OBS)
    assert isinstance(plan, CategoricalPlan)
    exp = np.exp(np.log(row) if answers == "probabilities" else np.array(row))
    np.testing.assert_allclose(plan.probs[0, 0], exp / exp.sum(), rtol=1e-5)


def test_one_row_that_is_no_distribution_makes_them_logits() -> None:
    answers = np.array([[0.25, 0.75], [0.5, 0.75]], np.float32)
    teacher = resolve(lambda obs: answers[(obs[:, 1] > 0).astype(int)], env_id="CartPole-v1").planner
    assert isinstance(teacher, PolicyTeacher)
    assert teacher.answers == "logits"
    # Also where a batch holds distributions alone.
    assert (teacher.plan(np.full((3, 4), -0.01, np.float32)).outputs == answers[0]).all()


def test_probabilities_that_stop_being_some_are_refused() -> None:
    answers = [np.array(row, np.float32) for row in ([0.5, 0.5], [0.5, 0.5], [0.5, 0.6])]
    teacher = resolve(lambda obs: np.tile(answers.pop(0), (len(obs), 1)), env_id=CORRIDOR).planner
    with pytest.raises(InvalidDataError, match="must always return probabilities; now it returned logits"):
        teacher.plan(OBS)


def test_every_component_of_several_choices_is_a_distribution() -> None:
    space = MultiDiscrete((2, 3))
    both = np.tile(np.concatenate([[0.25, 0.75], PROBS]), (4, 1))
    assert kind_of(both, 4, space, "it") == "probabilities"
    whole = np.tile(np.concatenate([[0.5, 0.0], [0.25, 0.25, 0.0]]), (4, 1))
    assert kind_of(whole, 4, space, "it") == "logits"


@pytest.mark.parametrize("dtype", [np.int32, np.uint8, np.int64])
def test_actions_with_an_axis_of_their_own(dtype: Any) -> None:
    teacher = resolve(lambda obs: actions(obs)[:, None].astype(dtype), env_id=CORRIDOR).planner
    assert isinstance(teacher, PolicyTeacher)
    assert teacher.action_only
    found = teacher.plan(OBS).mode()
    assert found.shape == (N_CELLS, 1)
    assert found.dtype == np.int64
    assert (found == 1).all()


def test_a_teacher_checks_what_it_is_asked_about() -> None:
    teacher = resolve(logits, env_id=CORRIDOR).planner
    assert isinstance(teacher, PolicyTeacher)
    with pytest.raises(
        InvalidDataError, match=r"an observation must be float32 of shape \(5,\); got float32 of shape \(4,\)"
    ):
        teacher.plan(OBS[:, :4])
    np.testing.assert_array_equal(teacher.plan(OBS.tolist()).mode(), teacher.plan(OBS.astype(np.float64)).mode())


def test_a_module_in_float64_is_shown_all_digits() -> None:
    met: list[Tensor] = []

    class Double(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.zeros(1, dtype=torch.float64))

        def forward(self, obs: Tensor) -> Tensor:
            met.append(obs)
            return torch.tensor([[1.0, 3.0]]).repeat(len(obs), 1)

    sample = np.full((2, 1), 5_572_094.2)
    teacher_of(Double(), sample, ObservationSpec((1,), np.dtype(float)), Discrete(2), "it")
    assert met[0].tolist() == sample.tolist()


@pytest.mark.parametrize(("unit", "sampled"), [(1.0, True), (1e-7, True), (1e5, True), (1.0, False), (1e-7, False)])
def test_sampling_is_noticed_in_any_unit(unit: float, sampled: bool) -> None:
    rng = np.random.default_rng(0)
    space = Continuous((-unit,), (unit,), (1,))
    sample, spec = np.zeros((8, 1), np.float32), ObservationSpec((1,), np.dtype(np.float32))

    def policy(obs: NDArray[Any]) -> NDArray[Any]:
        noise = rng.normal(size=(len(obs), 1)) * (0.1 if sampled else 1e-7)
        return (unit * (0.5 + noise)).astype(np.float32)

    if not sampled:
        assert teacher_of(policy, sample, spec, space, "it").action_only
        return
    with pytest.raises(IncompatibleModelError, match="returns different outputs for the same observations"):
        teacher_of(policy, sample, spec, space, "it")


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
    with pytest.raises(UsageError, match="does not record its environment; add --env-id ID"):
        resolve(reference)


def test_what_is_for_zips_is_refused_elsewhere() -> None:
    for reference in (logits, f"{HERE}:make_logits", corridor_student(), "oracle", "zoo:crossing-student", "student.onnx"):
        with pytest.raises(SettingError, match="--normalize is for Stable-Baselines3's .zip files"):
            resolve(reference, env_id=CORRIDOR, reading=Reading(normalize="stats.pkl"))
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
        ({"inputs": 2}, "must have one input, got 2"),
        ({"width": 7}, r"reads float32 of shape \['batch', 7\], got float32 of \(16, 5\)"),
        ({"batch": 3}, "reads batches of 3 only; export it with a dynamic batch"),
    ],
)
def test_an_onnx_file_that_does_not_fit_is_refused(tmp_path: Path, shape: dict[str, Any], message: str) -> None:
    with pytest.raises(IncompatibleModelError, match=message):
        resolve(small_graph(tmp_path, **shape), env_id=CORRIDOR)


def graph_of(folder: Path, answers: dict[str, NDArray[Any]]) -> Path:
    """An ONNX file with one output for each of these rows, the same for every observation."""
    seen = helper.make_tensor_value_info("in", TensorProto.FLOAT, ["batch", N_CELLS])
    nodes, weights, said = [helper.make_node("Shape", ["in"], ["n"], start=0, end=1)], [], []
    for name, row in answers.items():
        weights.append(numpy_helper.from_array(row[None], f"{name}_row"))
        weights.append(numpy_helper.from_array(np.array(row.shape, np.int64), f"{name}_sides"))
        nodes.append(helper.make_node("Concat", ["n", f"{name}_sides"], [f"{name}_shape"], axis=0))
        nodes.append(helper.make_node("Expand", [f"{name}_row", f"{name}_shape"], [name]))
        kind = helper.np_dtype_to_tensor_dtype(row.dtype)
        said.append(helper.make_tensor_value_info(name, kind, ["batch", *row.shape]))
    graph = helper.make_graph(nodes, "g", [seen], said, weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, folder / "several.onnx")
    return folder / "several.onnx"


ACTION, LOGITS, VALUE, LOG_PROB = np.array(1), RIGHT, np.array([0.5], np.float32), np.array(-0.1, np.float32)


@pytest.mark.parametrize(
    ("answers", "kind"),
    [
        ({"action": ACTION, "value": VALUE, "log_prob": LOG_PROB}, "actions"),
        ({"value": VALUE, "log_prob": LOG_PROB, "action": ACTION[None]}, "actions"),
        ({"value": VALUE, "probs": np.array([0.25, 0.75], np.float32)}, "probabilities"),
        ({"value": VALUE, "logits": LOGITS}, "logits"),
        ({"impossible": np.array(7), "logits": LOGITS}, "logits"),
    ],
)
def test_of_several_outputs_the_one_that_fits_is_taken(tmp_path: Path, answers: dict[str, NDArray[Any]], kind: str) -> None:
    teacher = resolve(graph_of(tmp_path, answers), env_id=CORRIDOR).planner
    assert isinstance(teacher, PolicyTeacher)
    assert teacher.answers == kind
    np.testing.assert_array_equal(teacher.plan(OBS).mode(), np.ones((N_CELLS, 1)))


@pytest.mark.parametrize(
    ("answers", "message"),
    [
        (
            {"value": VALUE, "log_prob": LOG_PROB},
            r"has 2 outputs, of which 0 fit 2 actions: 'value' \(float32 of shape \(16, 1\)\)",
        ),
        (
            {"action": ACTION, "logits": LOGITS},
            "has 2 outputs, of which 2 fit 2 actions: 'action' .*, 'logits' .*Export the",
        ),
    ],
)
def test_outputs_of_which_none_or_several_fit_are_named(
    tmp_path: Path, answers: dict[str, NDArray[Any]], message: str
) -> None:
    with pytest.raises(IncompatibleModelError, match=message):
        resolve(graph_of(tmp_path, answers), env_id=CORRIDOR)


def test_the_output_that_fits_may_still_be_broken(tmp_path: Path) -> None:
    path = graph_of(tmp_path, {"value": VALUE, "logits": np.array([np.nan, 0], np.float32)})
    with pytest.raises(NonFiniteError, match="output contains NaN"):
        resolve(path, env_id=CORRIDOR)


def test_an_onnx_file_of_another_maker_needs_an_environment(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="does not record its environment"):
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


class ChangingModule(nn.Module):
    def forward(self, obs: Tensor) -> Tensor:
        rows = 3 * torch.stack([obs[:, 1], obs[:, 0]], dim=1)
        obs.zero_()
        return rows


def changing(obs: NDArray[Any]) -> NDArray[Any]:
    rows = 3 * obs[:, [1, 0]]
    obs *= 0
    return rows


def changing_sample(obs: NDArray[Any]) -> NDArray[Any]:
    obs -= 0.25  # a second call on the same array would differ
    return obs[:, [1, 0]]


@pytest.mark.parametrize("policy", [ChangingModule(), changing, changing_sample])
def test_a_policy_may_change_its_observations_in_place(policy: Any) -> None:
    teacher, seen = resolve(policy, env_id=CORRIDOR).planner, OBS.copy()
    first, second = (teacher.plan(seen).mode() for _ in range(2))
    np.testing.assert_array_equal(seen, OBS)
    np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize(("dtype", "value"), [(torch.float32, 1e39), (torch.float16, 1e6), (torch.bfloat16, 1e39)])
def test_observations_that_a_module_cannot_hold_are_refused(dtype: torch.dtype, value: float) -> None:
    """A tanh would turn the infinity into an ordinary number."""
    module = nn.Sequential(nn.Linear(2, 2), nn.Tanh()).to(dtype)
    spec = ObservationSpec((2,), np.dtype(np.float64))
    teacher = teacher_of(module, np.ones((4, 2)), spec, Discrete(2), "odd")
    with pytest.raises(NonFiniteError, match=f"odd reads {dtype}, and an observation contains a number too large for it"):
        teacher.plan(np.array([[value, 0.0]]))


@pytest.mark.parametrize(("kind", "value"), [(TensorProto.FLOAT, 1e39), (TensorProto.FLOAT16, 1e6)])
def test_observations_that_a_graph_cannot_hold_are_refused(kind: int, value: float, tmp_path: Path) -> None:
    inputs, outputs = (helper.make_tensor_value_info(name, kind, ["batch", 2]) for name in ("x", "y"))
    graph = helper.make_graph([helper.make_node("Tanh", ["x"], ["y"])], "g", [inputs], [outputs])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, tmp_path / "tanh.onnx")
    policy = OnnxPolicy(tmp_path / "tanh.onnx")
    assert np.isfinite(policy(np.ones((3, 2)))).all()
    with pytest.raises(NonFiniteError, match="tanh.onnx reads float(16|32), and an observation contains a number too large"):
        policy(np.array([[value, 0.0]]))


def test_half_precision_is_read_without_a_warning() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert kind_of(np.ones((2, 2), np.float16), 2, Discrete(2), "odd") == "logits"


QUICK: dict[str, Any] = {"horizon": 2, "n_updates": 2, "n_episodes": 4, "refine": 0}


class Table:
    """Answers the same logits everywhere."""

    horizon = 1
    n_actions = 2

    def __init__(self, held: Any) -> None:
        self.held = held

    def plan(self, obs: NDArray[Any]) -> CategoricalPlan:
        return CategoricalPlan(np.tile(np.array([0, 9], np.float32), (len(obs), 1, 1)))


def linear(seed: int) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Linear(5, 2)


@pytest.mark.parametrize(
    "make",
    [
        lambda n: Table(np.arange(n)),
        lambda n: Table(torch.arange(n)),
        lambda n: Table([n, "x"]),
        lambda n: Table(linear(n)),
        lambda n: Table(Table(linear(n))),
        linear,
    ],
)
def test_what_is_held_tells(make: Any) -> None:
    assert identity_of(make(3)) == identity_of(make(3)) != identity_of(make(4)) != ""


@pytest.mark.parametrize("held", [object(), lambda: None, {"a": 1}, np.array([object()]), [print]])
def test_what_may_hide_anything_tells_nothing(held: Any) -> None:
    assert identity_of(Table(held)) == identity_of(lambda obs: obs) == ""


def test_a_text_of_ones_own_is_believed() -> None:
    def rule(obs: Any) -> Any:
        return obs

    rule.identity = "first"  # type: ignore[attr-defined]
    assert identity_of(rule) == "first"
    assert identity_of(OraclePlanner(3)) == "oracle" != identity_of(OraclePlanner(3, 2))


def test_a_file_keeps_its_hash(tmp_path: Path) -> None:
    path = corridor_file(tmp_path)
    assert identity_of(load_runtime(path)) == sha256_of(path) == resolve(path).identity


def test_two_files_are_two_teachers(tmp_path: Path) -> None:
    teachers = []
    for name in ("A2C", "PPO"):
        made(name, "vector").save(tmp_path / f"{name}.zip")
        teachers.append(phr.load_teacher(tmp_path / f"{name}.zip", env_id=env_id("vector")))
    one, other = teachers
    assert identity_of(one) == resolve(tmp_path / "A2C.zip", env_id=env_id("vector")).identity
    words = {**QUICK, "env_id": env_id("vector"), "keep": "auto"}
    first = phr.distill(one, out=tmp_path / "run", save_experience=tmp_path / "one.npz", **words)
    assert phr.distill(one, out=tmp_path / "run", resume=True, **words).sha256 == first.sha256
    with pytest.raises(OutputDirectoryError, match="holds another run"):
        phr.distill(other, out=tmp_path / "run", resume=True, **words)
    with pytest.raises(IncompatibleModelError, match="recorded from another teacher"):
        phr.distill(other, experience=tmp_path / "one.npz", **words)


def test_a_bare_function_is_told_from_no_other(tmp_path: Path) -> None:
    def right(obs: Any) -> Any:
        return np.ones(len(obs), np.int64)

    phr.distill(right, env_id=CORRIDOR, out=tmp_path / "run", save_experience=tmp_path / "one.npz", **QUICK)
    for more in ({"resume": True, "out": tmp_path / "run"}, {"experience": tmp_path / "one.npz"}):
        with pytest.raises(UsageError, match="^.*right has no identity: expected an attribute `identity`"):
            phr.distill(right, env_id=CORRIDOR, **more, **QUICK)
    right.identity = "to the right, 1"  # type: ignore[attr-defined]
    words: dict[str, Any] = {"env_id": CORRIDOR, "out": tmp_path / "named", **QUICK}
    assert phr.distill(right, **words).sha256 == phr.distill(right, resume=True, **words).sha256
