"""The exported file against the network it was made from."""

from __future__ import annotations

import copy
import importlib.util
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from gymnasium import spaces
from numpy.typing import NDArray

from phr.acting.onnx_file import read_onnx
from phr.acting.runtime import OnnxPlanner, load_runtime
from phr.actions import Continuous, MultiDiscrete
from phr.errors import ExportMismatchError, MissingExtraError, OutputDirectoryError, SettingError, UsageError
from phr.manifest import Manifest
from phr.networks.policy import PlanNetwork, build_network, extend_teacher
from phr.networks.trunks import TrunkConfig
from phr.observations import ObservationSpec
from phr.plan import CategoricalPlan, NetworkPlan
from phr.storage import onnx_export as exporting
from phr.storage.model import Model, annotated
from phr.storage.onnx_export import (
    BATCH_SIZES,
    ROUNDINGS,
    Agreement,
    check_parity,
    export_manifest,
    export_onnx,
    onnx_bytes,
    onnx_planner,
    quantize,
    rounding_of,
)
from tests.exported import corridor_graph
from tests.helpers import TablePlanner
from tests.trained import corridor_student


def model_of(network: PlanNetwork, obs_dtype: str = "uint8", env_id: str = "Nowhere-v0") -> Model:
    config = network.config
    manifest = Manifest(
        kind="student",
        env_id=env_id,
        obs_shape=config.obs_shape,
        obs_dtype=obs_dtype,
        n_actions=config.n_actions,
        action_space=config.actions.to_json(),
        horizon=config.horizon,
        network=config.to_json(),
    )
    return Model(network.eval().requires_grad_(False), manifest)


def grid() -> Model:
    return model_of(build_network((4, 5, 5), 3, 4, TrunkConfig(kind="grid", channels=(4, 8), width=16), seed=0))


def atari() -> Model:
    return model_of(build_network((4, 36, 36), 6, 2, TrunkConfig(kind="atari", channels=(4, 8, 8), width=16), seed=0))


def two_trunks() -> Model:
    teacher = build_network((4, 5, 5), 3, 1, TrunkConfig(kind="grid", channels=(4,), width=16), seed=0)
    student = extend_teacher(teacher, 3, separate_first=True)
    with torch.no_grad():
        for parameter in student.trunk.parameters():
            parameter.add_(0.1)
    return model_of(student)


def doubles() -> Model:
    return model_of(build_network((3,), 2, 2, TrunkConfig(kind="mlp", width=8), seed=0), "float64")


def seen_from_agent() -> Model:
    trunk = TrunkConfig(kind="grid", channels=(4,), width=16, residual=2, agent=1)
    return model_of(build_network((6, 5, 4), 3, 4, trunk, seed=0))


def causal() -> Model:
    start = build_network((3,), 5, 1, TrunkConfig(kind="mlp", width=8), seed=0, action_space=MultiDiscrete((3, 2)))
    student = extend_teacher(start, 4, causal=True)
    with torch.no_grad():
        assert student.links is not None
        student.plan_head.weight *= 300.0
        student.links.weight.copy_(torch.randn(20, 20, generator=torch.Generator().manual_seed(0)) * student.links.later)
    return model_of(student, "float32")


@pytest.fixture
def exported_before(monkeypatch: pytest.MonkeyPatch) -> None:
    """The corridor's student goes through the exporter once for all tests; it takes seconds."""
    monkeypatch.setattr(exporting, "onnx_bytes", lambda _model: corridor_graph())


def moving(reach: float = 2000.0) -> PlanNetwork:
    """Actions between wide bounds, and spreads on both sides of their limits."""
    space = Continuous((-reach,) * 2, (reach,) * 2, (2,))
    network = build_network((3,), 4, 2, TrunkConfig(kind="mlp", width=64), seed=0, action_space=space)
    with torch.no_grad():
        network.plan_head.weight *= 300.0
        network.plan_head.bias.view(2, 4)[:, 2:] = torch.tensor([-5.0, 1.0])
    return network


def wide() -> Model:
    return model_of(moving(), "float32")


@pytest.mark.parametrize("make", [grid, atari, two_trunks, doubles, seen_from_agent, causal, wide])
def test_every_kind_of_network_is_exported_with_its_preprocessing_inside(tmp_path: Path, make: Callable[[], Model]) -> None:
    model = make()
    before = copy.deepcopy(model.network.state_dict())
    written = export_onnx(model, tmp_path / "model.onnx")
    assert all(torch.equal(before[name], value) for name, value in model.network.state_dict().items())
    assert not model.network.training
    assert written.parity.without_env.startswith("there is no environment 'Nowhere-v0'")
    assert "no real observations, because there is no environment" in str(written)
    planner = load_runtime(written.path)
    rng = np.random.default_rng(1)
    for batch_size in BATCH_SIZES:
        obs = (rng.integers(0, 2, (batch_size, *planner.obs_shape)) * 0.9).astype(planner.obs_dtype)
        expected = model.planner.plan(obs)
        unit = 2000.0 if make is wide else 1.0
        np.testing.assert_allclose(planner.plan(obs).outputs / unit, expected.outputs / unit, rtol=0, atol=1e-4)
        assert planner.action_space.agree(planner.plan(obs).mode(), expected.mode()).all()


@cache
def centred_graph(offset: float, factor: float, dtype: str) -> bytes:
    """That network through the exporter, once for all tests."""
    return onnx_bytes(centred(offset, factor, dtype)[0])


FAR = (5_572_094.0, 0.2, "float64")


def centred(offset: float, factor: float, dtype: str) -> tuple[Model, NDArray[Any]]:
    """A normalising network over numbers at this offset, in this unit, and observations that it was made for."""
    obs = (offset + factor * np.random.default_rng(0).uniform(-1, 1, (256, 3))).astype(dtype)
    network = build_network((3,), 2, 2, TrunkConfig(kind="mlp", width=8), seed=0, normalize=True)
    network.trunk.set_statistics(obs)
    with torch.no_grad():
        network.plan_head.weight *= 100.0
    return model_of(network, dtype), obs


@pytest.mark.parametrize(
    ("offset", "factor", "dtype"),
    [
        FAR,
        (0.0, 2e-7, "float32"),
        pytest.param(0.0, 1e-9, "float64", marks=pytest.mark.nightly),
        (1e12, 5.0, "int64"),
        pytest.param(3e9, 1e3, "uint32", marks=pytest.mark.nightly),
        pytest.param(1e15, 1e3, "uint64", marks=pytest.mark.nightly),
        (30_000, 2e4, "uint16"),
        (1.0, 1e-3, "float16"),
    ],
)
def test_centring_is_exported_exactly(monkeypatch: pytest.MonkeyPatch, offset: float, factor: float, dtype: str) -> None:
    """The oracle is the same network over the same numbers, centred in float64 beforehand."""
    model, obs = centred(offset, factor, dtype)
    monkeypatch.setattr(exporting, "onnx_bytes", lambda _model: centred_graph(offset, factor, dtype))
    planner = onnx_planner(model)
    logits = planner.plan(obs).outputs
    np.testing.assert_allclose(logits, model.planner.plan(obs).outputs, rtol=0, atol=1e-4)
    numbers = obs.astype(np.float64) - float(int(offset) if np.dtype(dtype).kind in "iu" else offset)
    plain = build_network((3,), 2, 2, TrunkConfig(kind="mlp", width=8), seed=0)
    plain.load_state_dict({key: value for key, value in model.network.state_dict().items() if "obs_" not in key})
    scaled = ((numbers - numbers.mean(axis=0)) / numbers.std(axis=0)).astype(np.float32)
    np.testing.assert_allclose(logits, plain(torch.from_numpy(scaled)).detach(), rtol=0, atol=1e-3)
    assert logits.std() > 0.1


def test_random_observations_lie_where_a_normalising_network_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    model, obs = centred(*FAR)
    monkeypatch.setattr(exporting, "onnx_bytes", lambda _model: centred_graph(*FAR))
    met: list[NDArray[Any]] = []

    def watched(_torch: Any, _onnx: Any, obs: NDArray[Any], **_: Any) -> Agreement:
        met.append(obs)
        return Agreement(len(obs), 0.0, 0.0)

    monkeypatch.setattr(exporting, "check_parity", watched)
    onnx_planner(model)
    near = np.abs(met[0] - obs.mean(axis=0)) < 1.0
    assert near.all(axis=1).mean() == 0.5


@pytest.mark.parametrize(
    "dtype",
    [
        *("bool", "int16", "uint16", "float16"),
        *(pytest.param(name, marks=pytest.mark.nightly) for name in ("uint8", "int32", "uint32", "int64", "uint64")),
    ],
)
def test_every_number_type_is_exported(dtype: str) -> None:
    network = build_network((3,), 2, 2, TrunkConfig(kind="mlp", width=8), seed=0)
    planner = onnx_planner(model_of(network, dtype))  # compares with torch
    assert planner.obs_dtype == np.dtype(dtype)


@pytest.mark.parametrize("high", [1, 255])
def test_the_scale_of_bytes_is_in_the_graph(high: int) -> None:
    space = spaces.Box(0, high, (4, 5, 5), np.uint8)
    network = build_network(space, 3, 2, TrunkConfig(kind="grid", channels=(4,), width=16), seed=0)
    with torch.no_grad():
        network.plan_head.weight *= 100.0
    model = model_of(network)
    planner, obs = onnx_planner(model), space.sample()[None]
    plain = build_network((4, 5, 5), 3, 2, TrunkConfig(kind="grid", channels=(4,), width=16), seed=0)
    plain.load_state_dict(network.state_dict())
    expected = plain(torch.from_numpy(obs / np.float32(high))).detach()
    np.testing.assert_allclose(planner.plan(obs).outputs, expected, rtol=0, atol=1e-4)
    assert planner.obs_spec == model.planner.obs_spec == ObservationSpec.of(space)


def test_int8_keeps_the_centring_exact() -> None:
    model, obs = centred(*FAR)
    _, cost = quantize(centred_graph(*FAR), model.manifest, obs)
    assert cost.agreement > 0.9


def test_a_network_in_training_is_exported_as_the_finished_one() -> None:
    """What training adds to the limits of a spread is no part of the graph."""
    trained = model_of(moving(), "float32")
    finished = onnx_bytes(trained)
    trained.network.requires_grad_(True)
    assert onnx_bytes(trained) == finished


def test_continuous_actions_are_compared_in_parts_of_their_range() -> None:
    model, obs = wide(), np.random.default_rng(0).normal(size=(8, 3)).astype(np.float32)

    class Moved:
        """The same actions, but for one number."""

        def __init__(self, index: int, by: float) -> None:
            self.horizon, self.n_actions, self.action_space = 2, 4, model.manifest.actions
            self.index, self.by = index, by

        def plan(self, obs: Any) -> NetworkPlan:
            outputs = model.planner.plan(obs).outputs.copy()
            outputs[0, 0, self.index] += self.by
            return self.action_space.plan(outputs)

    assert check_parity(model.planner, Moved(0, 0.1), obs).max_difference == pytest.approx(5e-5, rel=0.1)
    for index, by, apart in ((0, 1.0, "5.00e-04"), (3, 1e-3, "1.00e-03")):
        with pytest.raises(ExportMismatchError, match=f"two actions by {apart} of half the range at batch size 1, 1e-04"):
            check_parity(model.planner, Moved(index, by), obs)
    assert rounding_of(model.network, obs) == pytest.approx(rounding_of(moving(2.0), obs), rel=0.5)


def test_the_file_says_what_it_is_and_holds_no_place_of_this_machine(tmp_path: Path) -> None:
    model = corridor_student()
    tuned = replace(model, manifest=replace(model.manifest, commitment=3, files={"model.safetensors": "0" * 64}))
    written = export_onnx(tuned, tmp_path / "deep" / "student.onnx")
    data, manifest = read_onnx(written.path)
    assert replace(manifest, notes={}) == replace(tuned.manifest, notes={})
    assert set(manifest.notes) == {*model.manifest.notes, "exported_with"}
    assert set(manifest.notes["exported_with"]) >= {"phr", "python", "torch", "onnx", "onnxruntime"}
    assert str(Path(exporting.__file__).parents[2]).encode() not in data
    assert b"stack_trace" not in data
    assert [each.name for each in written.path.parent.iterdir()] == ["student.onnx"]  # no tensors beside it


def test_the_graph_is_no_longer_than_the_network() -> None:
    """Each needless node costs every look about a microsecond."""
    nodes = [node.op_type for node in onnx.load_model_from_string(corridor_graph()).graph.node]
    assert nodes == ["Gemm", "LeakyRelu", "Gemm", "LeakyRelu", "Gemm", "Reshape"]
    nodes = [node.op_type for node in onnx.load_model_from_string(onnx_bytes(grid())).graph.node]
    assert nodes == ["Cast", *["Conv", "LeakyRelu"] * 2, "Reshape", "Gemm", "LeakyRelu", "Gemm", "Reshape"]


def test_the_same_weights_give_the_same_bytes() -> None:
    assert onnx_bytes(corridor_student()) == corridor_graph()


@pytest.mark.usefixtures("exported_before")
def test_real_observations_are_compared_where_the_environment_can_be_made(tmp_path: Path) -> None:
    parity = export_onnx(corridor_student(), tmp_path / "student.onnx").parity
    assert parity.real is not None
    assert (parity.real.n_observations, parity.random.n_observations, parity.without_env) == (4, 64, "")
    assert "on 4 real observations" in str(parity)


@pytest.mark.usefixtures("exported_before")
def test_an_environment_with_other_spaces_gives_no_real_observations(tmp_path: Path) -> None:
    model = corridor_student()
    moved = replace(model, manifest=replace(model.manifest, env_id="CartPole-v1"))
    parity = export_onnx(moved, tmp_path / "model.onnx").parity
    assert (parity.real, parity.without_env) == (None, "CartPole-v1 has other spaces here than the model was made for")


def shifted(graph: bytes, by: float) -> bytes:
    """The graph with one number of one bias moved."""
    model = onnx.load_model_from_string(graph)
    (bias,) = (tensor for tensor in model.graph.initializer if tensor.name == "plan_head.bias")
    values = onnx.numpy_helper.to_array(bias).copy()
    values[3] += by
    bias.CopyFrom(onnx.numpy_helper.from_array(values, bias.name))
    data: bytes = model.SerializeToString()
    return data


@pytest.mark.parametrize("by", [2e-4, -0.5])
def test_nothing_is_written_where_the_file_would_differ(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, by: float) -> None:
    monkeypatch.setattr(exporting, "onnx_bytes", lambda _model: shifted(corridor_graph(), by))
    with pytest.raises(ExportMismatchError, match="differs from torch: two logits by .* at batch size 1, .* nothing was"):
        export_onnx(corridor_student(), tmp_path / "student.onnx")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("exported_before")
def test_a_file_that_was_there_stays_where_the_new_one_would_differ(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = export_onnx(corridor_student(), tmp_path / "student.onnx").path
    before = path.read_bytes()
    monkeypatch.setattr(exporting, "onnx_bytes", lambda _model: shifted(corridor_graph(), 1.0))
    with pytest.raises(ExportMismatchError):
        export_onnx(corridor_student(), path)
    assert path.read_bytes() == before


class OffAtSize:
    """Answers like another planner but for batches of one size, where one logit is moved."""

    def __init__(self, planner: TablePlanner, size: int, by: float) -> None:
        self._planner, self._size, self._by = planner, size, by
        self.horizon, self.n_actions = planner.horizon, planner.n_actions

    def plan(self, obs: Any) -> CategoricalPlan:
        logits = self._planner.plan(obs).logits.copy()
        if len(obs) == self._size:
            logits[-1, -1, -1] += self._by
        return CategoricalPlan(logits)


def table(scale: float = 1.0) -> TablePlanner:
    """State 0 is a near tie in its last step."""
    logits = np.zeros((3, 2, 2), np.float32)
    logits[0, 1] = [5e-5, 0]
    logits[1:, :, 0] = scale
    return TablePlanner(logits)


ROWS = np.eye(3, dtype=np.float32)[np.arange(130) % 2]


@pytest.mark.parametrize("size", BATCH_SIZES)
def test_every_batch_size_is_compared(size: int) -> None:
    found = check_parity(table(), OffAtSize(table(), size, 3e-5), ROWS)
    assert (found.n_observations, found.max_logit) == (130, 1)
    assert found.max_difference == pytest.approx(3e-5, rel=1e-2)
    with pytest.raises(ExportMismatchError, match=f"two logits by 2.00e-04 at batch size {size}, 1e-04 is allowed"):
        check_parity(table(), OffAtSize(table(), size, 2e-4), ROWS)


@pytest.mark.parametrize("size", [1, 2])
def test_another_action_is_refused_however_close_it_was(size: int) -> None:
    with pytest.raises(ExportMismatchError, match=f"plans another action than torch at batch size {size}, although"):
        check_parity(table(), OffAtSize(table(), size, 9e-5), ROWS[::2])


@pytest.mark.parametrize("scale", [1.0, 100.0, 1000.0])
def test_the_tolerance_does_not_grow_with_the_logits(scale: float) -> None:
    ones = ROWS[1::2]
    check_parity(table(scale), OffAtSize(table(scale), 1, 0.5e-4), ones)
    with pytest.raises(ExportMismatchError):
        check_parity(table(scale), OffAtSize(table(scale), 1, 1.5e-4), ones)


@pytest.mark.usefixtures("exported_before")
def test_the_planner_without_a_file_is_checked_too(monkeypatch: pytest.MonkeyPatch) -> None:
    planner = exporting.onnx_planner(corridor_student())
    assert isinstance(planner, OnnxPlanner)
    assert planner.manifest == export_manifest(corridor_student())
    monkeypatch.setattr(exporting, "onnx_bytes", lambda _model: shifted(corridor_graph(), 1.0))
    with pytest.raises(ExportMismatchError):
        exporting.onnx_planner(corridor_student())


@pytest.mark.usefixtures("exported_before")
def test_int8_says_what_it_costs(tmp_path: Path) -> None:
    written = export_onnx(corridor_student(), tmp_path / "student.onnx", int8=True)
    assert written.int8 is not None
    assert written.int8_path == tmp_path / "student.int8.onnx"
    planner = load_runtime(written.int8_path)
    obs = np.eye(5, dtype=np.float32)[:4]
    exact, near = corridor_student().planner.plan(obs), planner.plan(obs)
    agreeing = (exact.mode() == near.mode()).mean(axis=0)
    assert written.int8.agreement_per_head == tuple(agreeing)
    assert written.int8.agreement == agreeing.mean()
    assert 0 < written.int8.max_difference == pytest.approx(np.abs(exact.outputs - near.outputs).max(), rel=1e-3)
    assert planner.manifest.notes["int8"] == written.int8.to_json()
    assert "on 4 real observations that its ranges were chosen on, there are no more" in str(written)
    types = {tensor.data_type for tensor in onnx.load(written.int8_path).graph.initializer if len(tensor.dims) == 2}
    assert types == {onnx.TensorProto.INT8}


def test_int8_keeps_the_rule_and_not_the_certificate(tmp_path: Path) -> None:
    model = annotated(corridor_student(), {"tuned": {"verdict": "certified", "chosen": None}}, commitment=2)
    written = export_onnx(model, tmp_path / "student.onnx", int8=True)
    assert written.int8_path is not None
    exact, rounded = (load_runtime(path).manifest for path in (written.path, written.int8_path))
    assert exact.notes["tuned"] == rounded.notes["tuned_of_float"] == {"verdict": "certified", "chosen": None}
    assert "tuned" not in rounded.notes
    assert (exact.commitment, rounded.commitment) == (2, 2)
    assert str(written).endswith(f"phr tune {written.int8_path} certifies it for this file")
    assert written.int8 is not None
    poor = replace(written, int8=replace(written.int8, agreement=0.949))
    assert len(poor.warnings) == len(replace(poor, int8=replace(written.int8, agreement=0.95)).warnings) + 1 == 2
    assert f"warning: {written.int8_path} plans only 94.90% of the float file's actions" in str(poor)
    assert not replace(poor, int8=None).warnings
    assert "phr tune" not in str(export_onnx(corridor_student(), tmp_path / "student.onnx", int8=True))


def test_int8_is_measured_on_observations_kept_back(tmp_path: Path) -> None:
    model = model_of(build_network((4,), 2, 2, TrunkConfig(kind="mlp", width=8), seed=0), "float32", env_id="CartPole-v1")
    cost = export_onnx(model, tmp_path / "model.onnx", int8=True).int8
    assert cost is not None
    assert (cost.n_observations, cost.held_out) == (512, True)


def test_int8_needs_an_environment(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="int8 chooses its ranges on real observations, but there is no environment"):
        export_onnx(grid(), tmp_path / "model.onnx", int8=True)
    assert list(tmp_path.iterdir()) == []


def test_a_wrong_name_is_refused_before_any_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exporting, "onnx_bytes", None)
    with pytest.raises(SettingError, match=r"out must be a file named ….onnx, got .*student.pt"):
        export_onnx(corridor_student(), tmp_path / "student.pt")
    (tmp_path / "a.onnx").mkdir()
    with pytest.raises(OutputDirectoryError, match="a.onnx is a folder; name a file"):
        export_onnx(corridor_student(), tmp_path / "a.onnx")
    (tmp_path / "file").touch()
    with pytest.raises(OutputDirectoryError, match="cannot make the folder"):
        export_onnx(corridor_student(), tmp_path / "file" / "a.onnx")


def test_a_missing_exporter_gives_the_pip_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "onnxscript" else find(name))
    with pytest.raises(MissingExtraError, match=r"exporting needs onnxscript; pip install 'phr\[train\]'"):
        export_onnx(corridor_student(), tmp_path / "student.onnx")


def test_what_float32_loses_itself_is_allowed_a_few_times() -> None:
    check_parity(table(), OffAtSize(table(), 1, 0.9 * ROUNDINGS * 1e-3), ROWS[1:2], rounding=1e-3)
    with pytest.raises(ExportMismatchError, match="4e-03 is allowed"):
        check_parity(table(), OffAtSize(table(), 1, 1.1 * ROUNDINGS * 1e-3), ROWS[1:2], rounding=1e-3)


def test_rounding_is_the_distance_from_float64() -> None:
    network = build_network((4,), 3, 2, TrunkConfig(kind="mlp", width=8), seed=0)
    obs = np.random.default_rng(0).normal(size=(16, 4)).astype(np.float32)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    small = rounding_of(network, obs)
    with torch.no_grad():
        network.plan_head.weight.mul_(1e4)
    assert 0 < small < 1e-6 < rounding_of(network, obs) < 1e-2
    assert all(value.dtype == before[name].dtype for name, value in network.state_dict().items())
