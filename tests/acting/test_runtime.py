"""The oracle is torch: the same observations, the same plans."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper

from phr.acting.agent import HorizonAgent, VectorHorizonAgent
from phr.acting.commitment import ConfidentCommitment
from phr.acting.onnx_file import read_onnx, seal
from phr.acting.runtime import OnnxPlanner, load_runtime
from phr.errors import CorruptFileError, InvalidDataError, NonFiniteError, PhrError
from phr.networks.policy import blank_network
from phr.plan import Planner
from phr.storage import onnx_export
from phr.storage.model import Model
from phr.storage.onnx_export import onnx_planner
from tests.exported import corridor_file, corridor_graph, corridor_manifest
from tests.trained import CORRIDOR, corridor_student

EXAMPLE = Path(__file__).parents[2] / "examples" / "own_loop.py"


@pytest.fixture
def planner(tmp_path: Path) -> OnnxPlanner:
    return load_runtime(corridor_file(tmp_path))


@pytest.mark.parametrize("batch_size", [1, 2, 5, 33])
def test_it_plans_as_torch_does(planner: OnnxPlanner, batch_size: int) -> None:
    obs = np.random.default_rng(batch_size).normal(size=(batch_size, 5)).astype(np.float32)
    expected = corridor_student().planner.plan(obs)
    got = planner.plan(obs)
    np.testing.assert_allclose(got.outputs, expected.outputs, rtol=0, atol=1e-4)
    np.testing.assert_array_equal(got.mode(), expected.mode())


@pytest.mark.parametrize("smoothing", [(0.0, None), (0.3, None), (0.3, 0.0), (0.3, 0.1), (0.0, 0.2)])
def test_it_takes_smoothing_out_of_its_confidence_as_torch_does(
    monkeypatch: pytest.MonkeyPatch, smoothing: tuple[float, float | None]
) -> None:
    known = corridor_student()
    monkeypatch.setattr(onnx_export, "onnx_bytes", lambda _model: corridor_graph())
    config = replace(known.network.config, label_smoothing=smoothing[0], first_smoothing=smoothing[1])
    network = blank_network(config)
    network.load_state_dict(known.network.state_dict())
    model = Model(network.eval(), replace(known.manifest, network=config.to_json()))
    obs = np.random.default_rng(0).normal(size=(40, 5)).astype(np.float32)
    plan, expected = onnx_planner(model).plan(obs), model.planner.plan(obs)
    np.testing.assert_allclose(plan.confidence(), expected.confidence(), rtol=0, atol=1e-5)
    rule = ConfidentCommitment(0.9)
    np.testing.assert_array_equal(rule.lengths(plan), rule.lengths(expected))
    apart = np.abs(plan.confidence() - plan.probs.max(-1)).max(axis=0) > 1e-3  # type: ignore[union-attr]
    later, first = smoothing[0] > 0, (smoothing[0] if smoothing[1] is None else smoothing[1]) > 0
    assert apart.tolist() == [first, later, later, later]


def test_it_knows_what_it_was_made_for(planner: OnnxPlanner) -> None:
    assert isinstance(planner, Planner)
    assert (planner.horizon, planner.n_actions, planner.env_id, planner.commitment) == (4, 2, CORRIDOR, None)
    assert (planner.obs_shape, str(planner.obs_dtype)) == ((5,), "float32")
    tuned = OnnxPlanner(corridor_graph(), replace(corridor_manifest(), commitment=2))
    assert tuned.commitment == 2


def test_plans_outlive_the_next_look(planner: OnnxPlanner) -> None:
    """The buffers are used again, the plans are not."""
    first, second = np.eye(5, dtype=np.float32)[:1], -np.eye(5, dtype=np.float32)[1:2]
    plan = planner.plan(first)
    before = plan.outputs.copy()
    assert (planner.plan(second).outputs != before).any()
    np.testing.assert_array_equal(plan.outputs, before)


def test_an_observation_is_not_written_to_and_may_lie_anyhow(planner: OnnxPlanner) -> None:
    table = np.random.default_rng(0).normal(size=(5, 6)).astype(np.float32)
    table.setflags(write=False)
    expected = corridor_student().planner.plan(np.ascontiguousarray(table.T)).outputs
    np.testing.assert_allclose(planner.plan(table.T).outputs, expected, rtol=0, atol=1e-4)
    np.testing.assert_allclose(planner.plan(table.T[2:3]).outputs, expected[2:3], rtol=0, atol=1e-4)


ROW = np.array([0.5, -1.0, 2.0, 0.25, 1.5], np.float32)
GIVEN = [
    ROW, ROW.astype(np.float64), ROW.astype(np.float16), ROW.astype(">f8"), ROW.tolist(), tuple(ROW.tolist()),
    [1, 0, 0, 0, 0],
    ROW[::-1].copy()[::-1], np.repeat(ROW, 2)[::2], torch.from_numpy(ROW), torch.from_numpy(ROW).double(), ROW[None],
    ROW[:, None], ROW[:4], ROW[0], ROW.astype(np.uint8), ROW > 0, ROW.astype(np.int64), ROW.astype(complex), ["a"] * 5,
    [[1.0], [1.0, 2.0]], None, np.full(5, np.nan), np.full(5, 1e39), np.full(5, np.inf, np.float32), {}, "obs",
    torch.zeros(5, requires_grad=True), np.zeros((0, 5), np.float32), np.ma.array(ROW), [torch.zeros(())] * 5,
]  # fmt: skip


def outcome(planner: Planner, how: str, obs: Any) -> Any:
    """What a loop sees: the plan, or the error and its message."""
    try:
        if how == "plan":
            return planner.plan(obs).mode().tolist()
        if how == "agent":
            agent = HorizonAgent(planner)
            return [agent.act(obs) for _ in range(planner.horizon)]
        vector = VectorHorizonAgent(planner, n_envs=1)
        return [vector.act(obs if step == 0 else None).tolist() for step in range(planner.horizon)]
    except PhrError as error:
        return type(error), str(error)


@pytest.mark.parametrize("index", range(len(GIVEN)))
@pytest.mark.parametrize("how", ["plan", "agent", "vector"])
def test_torch_and_the_exported_file_take_and_refuse_the_same(planner: OnnxPlanner, how: str, index: int) -> None:
    obs = GIVEN[index]
    if how != "agent":
        obs = obs[None] if isinstance(obs, np.ndarray | torch.Tensor) else [obs]
    assert outcome(planner, how, obs) == outcome(corridor_student().planner, how, obs)


def test_whole_numbers_in_a_list_are_read(planner: OnnxPlanner) -> None:
    expected = planner.plan(np.eye(5, dtype=np.float32)[:1]).mode()[0].tolist()
    for each in (planner, corridor_student().planner):
        assert outcome(each, "agent", [1, 0, 0, 0, 0]) == expected
        assert outcome(each, "vector", [[1, 0, 0, 0, 0]]) == [[action] for action in expected]


def test_a_number_is_no_row_of_observations(planner: OnnxPlanner) -> None:
    for number in (1.0, np.float32(1), np.zeros(())):
        with pytest.raises(InvalidDataError, match="1 environments need an observation, got 0"):
            VectorHorizonAgent(planner, n_envs=1).act(number)


@pytest.mark.parametrize(
    ("obs", "got"),
    [
        (np.zeros((1, 5), np.uint8), r"uint8 of shape \(5,\)\. Pass observations as the environment gives them\."),
        (np.zeros((1, 4), np.float32), r"float32 of shape \(4,\)\. Pass .*"),
        (np.zeros(5, np.float32), r"float32 of shape \(\)\. Add a batch axis: obs\[None\]\."),
        (np.zeros((0, 5), np.float32), r"an empty batch"),
        (np.zeros((2, 5, 1), np.float32), r"float32 of shape \(5, 1\)\. Pass .*"),
    ],
)
def test_other_observations_are_refused(planner: OnnxPlanner, obs: Any, got: str) -> None:
    for each in (planner, corridor_student().planner):
        with pytest.raises(InvalidDataError, match=rf"^an observation must be float32 of shape \(5,\); got {got}$"):
            each.plan(obs)


@pytest.mark.parametrize("batch_size", [1, 3])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_refused(planner: OnnxPlanner, batch_size: int, bad: float) -> None:
    obs = np.zeros((batch_size, 5), np.float32)
    obs[-1, 2] = bad
    with pytest.raises(NonFiniteError, match=r"^an observation contains NaN or Inf \(as float32\)$"):
        planner.plan(obs)
    huge = np.tile(np.array([1, -1, 1, -1, 1], np.float32) * np.float32(3e38), (batch_size, 1))
    with pytest.raises(NonFiniteError, match="^the network's output contains NaN or Inf$"):
        planner.plan(huge)


def test_one_thread_that_does_not_spin(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[Any] = []
    session = onnxruntime.InferenceSession

    def watch(data: bytes, options: Any, **words: Any) -> Any:
        given.append(options)
        return session(data, options, **words)

    monkeypatch.setattr(onnxruntime, "InferenceSession", watch)
    OnnxPlanner(corridor_graph(), corridor_manifest())
    (options,) = given
    assert (options.intra_op_num_threads, options.inter_op_num_threads) == (1, 1)
    assert options.get_session_config_entry("session.intra_op.allow_spinning") == "0"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"horizon": 5}, "the manifest states .* the graph"),
        ({"n_actions": 3}, "the manifest states .* the graph"),
        ({"obs_shape": (6,)}, "the manifest states .* the graph"),
        ({"obs_dtype": "uint8"}, "the manifest states uint8 in and float32 out, the graph"),
    ],
)
def test_a_manifest_that_contradicts_the_graph_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(CorruptFileError, match=f"^x.onnx: {message}"):
        OnnxPlanner(corridor_graph(), replace(corridor_manifest(), **changes), "x.onnx")


def impossible_graph() -> bytes:
    """Input and output as the corridor's student says; but five numbers are never eight."""
    obs = helper.make_tensor_value_info("obs", TensorProto.FLOAT, ["batch", 5])
    logits = helper.make_tensor_value_info("plan_logits", TensorProto.FLOAT, ["batch", 4, 2])
    target = helper.make_tensor("shape", TensorProto.INT64, [3], [-1, 4, 2])
    node = helper.make_node("Reshape", ["obs", "shape"], ["plan_logits"])
    graph = helper.make_graph([node], "g", [obs], [logits], [target])
    opsets = [helper.make_opsetid("", 18)]
    data: bytes = helper.make_model(graph, opset_imports=opsets, ir_version=10).SerializeToString()
    return data


IMPOSSIBLE = impossible_graph()


@pytest.mark.parametrize("data", [b"", b"weights", onnx.ModelProto(ir_version=10).SerializeToString(), IMPOSSIBLE])
def test_a_graph_that_does_not_run_is_refused_when_it_is_loaded(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "x.onnx"
    path.write_bytes(seal(data, corridor_manifest()))
    with pytest.raises(CorruptFileError, match="x.onnx"):
        load_runtime(path)


def test_reading_needs_no_other_file(tmp_path: Path) -> None:
    path = corridor_file(tmp_path)
    assert [each.name for each in tmp_path.iterdir()] == ["student.onnx"]
    moved = path.rename(tmp_path / "moved.bin")
    assert read_onnx(moved)[1] == corridor_manifest()


def test_an_agent_walks_the_corridor(planner: OnnxPlanner) -> None:
    agent = HorizonAgent(planner, planner.commitment)
    obs = np.eye(5, dtype=np.float32)[0]
    assert [agent.act(obs if agent.needs_observation else None) for _ in range(4)] == [1, 1, 1, 1]
    assert agent.evaluations == 1


WITHOUT_THE_REST = """
import runpy, sys

for name in sys.argv.pop(1).split(","):
    sys.modules[name] = None  # importing it raises ModuleNotFoundError
runpy.run_path(sys.argv.pop(1), run_name="__main__")
"""


def test_the_example_runs_with_numpy_and_onnxruntime_alone(tmp_path: Path) -> None:
    others = (
        "torch,gymnasium,minigrid,onnx,onnxscript,safetensors,tyro,rich,matplotlib,PIL,jaxtyping,beartype,tensorboard,"
        "ale_py,cv2,stable_baselines3"
    )
    command = [sys.executable, "-c", WITHOUT_THE_REST, others, str(EXAMPLE), str(corridor_file(tmp_path))]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stderr) == (0, "")
    lines = ran.stdout.splitlines()
    assert [line.split()[2] for line in lines[:8]] == ["looked", "blind", "blind", "blind"] * 2
    assert lines[-1] == f"13 looks for 50 actions of {CORRIDOR}"
