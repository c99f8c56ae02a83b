"""Files that were made to do harm, and files that broke: one line each, nothing executed, nothing written."""

from __future__ import annotations

import base64
import contextlib
import io
import json
import pickle
import struct
import tracemalloc
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from phr.errors import CorruptFileError, IncompatibleModelError, PhrError
from phr.experience.untrusted import read_npz
from phr.storage.tensors import load_tensors
from phr.teachers.foreign_onnx import OnnxPolicy
from phr.teachers.normalization import read_vecnormalize
from phr.teachers.references import resolve
from phr.teachers.sb3 import read_sb3
from phr.teachers.sb3_file import read_sb3_file
from phr.teachers.weights import read_tables
from tests.teachers.sb3_models import env_id, made, observations
from tests.teachers.sb3_models import make_vector as _make_vector
from tests.teachers.zips import rewritten

MARK = "executed"


class Bomb:
    """Unpickling it writes a file."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.write_text, (self.folder / MARK, "boom")


@pytest.fixture
def policy(tmp_path: Path) -> Path:
    """A small A2C policy."""
    made("A2C", "vector").save(tmp_path / "policy.zip")
    return tmp_path / "policy.zip"


@pytest.fixture(autouse=True)
def nothing_is_executed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    yield
    assert not list(tmp_path.rglob(MARK))


def refused(read: Callable[[], object], message: str | None = None) -> str:
    """The one line that a file is refused with."""
    with pytest.raises(PhrError, match=message) as caught:
        read()
    line = str(caught.value)
    assert "\n" not in line
    return line


def test_the_bomb_works(tmp_path: Path) -> None:
    """Else the tests below would show nothing."""
    pickle.loads(pickle.dumps(Bomb(tmp_path)))
    assert (tmp_path / MARK).exists()
    (tmp_path / MARK).unlink()


def armed(policy: Path, folder: Path, keys: set[str] | None = None) -> Path:
    """The policy with a bomb in these pickled settings, or in all, and in one more."""
    bomb = base64.b64encode(pickle.dumps(Bomb(folder))).decode()

    def arm(content: bytes) -> bytes:
        data = json.loads(content)
        for key, entry in data.items():
            if isinstance(entry, dict) and ":serialized:" in entry and (keys is None or key in keys):
                entry[":serialized:"] = bomb
        return json.dumps({**data, "further": {":type:": "x", ":serialized:": bomb}}).encode()

    return rewritten(policy, data=arm)


def test_pickles_in_the_settings_are_never_run(policy: Path, tmp_path: Path) -> None:
    """Those that nobody needs change nothing; a bomb in the place of a space is no space."""
    with zipfile.ZipFile(policy) as archive:
        names = set(json.loads(archive.read("data"))) - {"observation_space", "action_space", "policy_kwargs"}
    teacher = read_sb3(armed(policy, tmp_path, names), env_id("vector"))
    expected = read_sb3(policy, env_id("vector"))
    obs = observations(_make_vector().observation_space, 100)
    np.testing.assert_array_equal(teacher.plan(obs).mode(), expected.plan(obs).mode())
    refused(lambda: read_sb3(armed(policy, tmp_path), env_id("vector")), "policy_kwargs of its settings|must be a Gymnasium")


def test_a_pickle_among_the_parameters_is_refused(policy: Path, tmp_path: Path) -> None:
    changed = rewritten(policy, weights=lambda weights: {**weights, "bomb": Bomb(tmp_path)})
    refused(lambda: read_sb3_file(changed), "policy.pth holds more than tensors")
    whole = rewritten(policy, policy=lambda _content: pickle.dumps(Bomb(tmp_path)))
    refused(lambda: read_sb3_file(whole), "policy.pth is not a file of torch's")


@pytest.mark.parametrize("name", ["../executed", "/tmp/executed", "a/../../executed", "..\\executed", "C:\\executed"])
def test_members_that_point_outside_are_refused(policy: Path, name: str) -> None:
    changed = rewritten(policy, more={name: b"boom"})
    refused(lambda: read_sb3_file(changed), "was made to do harm: its member .* points outside the archive")
    assert {path.name for path in policy.parent.iterdir()} == {policy.name, changed.name}


def test_a_member_that_is_there_twice_is_refused(policy: Path) -> None:
    with zipfile.ZipFile(policy, "a") as archive, pytest.warns(UserWarning, match="Duplicate name"):
        archive.writestr("data", b"{}")
    refused(lambda: read_sb3_file(policy), "some twice")


def test_what_is_stated_twice_is_refused(policy: Path, tmp_path: Path) -> None:
    refused(lambda: read_sb3_file(rewritten(policy, data=lambda old: b'{"seed": 1, "seed": 2, ' + old[1:])), "'seed' twice")
    weights = tmp_path / "policy.pt"
    torch.save({"w": torch.zeros(1)}, weights)
    with zipfile.ZipFile(weights, "a") as archive, pytest.warns(UserWarning, match="Duplicate name"):
        archive.writestr(archive.infolist()[0].filename, b"")
    refused(lambda: read_tables(weights.read_bytes(), "policy.pt"), "twice")
    arrays = tmp_path / "arrays.npz"
    np.savez(arrays, a=np.zeros(1))
    with zipfile.ZipFile(arrays, "a") as archive, pytest.warns(UserWarning, match="Duplicate name"):
        archive.writestr("a.npy", archive.read("a.npy"))
    refused(lambda: read_npz(arrays), "'a.npy' twice")


def claiming(path: Path, member: str, size: int) -> Path:
    """The archive's directory claims that a member unpacks to so many bytes."""
    content = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as archive:
        place = archive.start_dir
    while content[place : place + 4] == b"PK\x01\x02":
        name_length, extra, comment = struct.unpack_from("<HHH", content, place + 28)
        if content[place + 46 : place + 46 + name_length].decode() == member:
            struct.pack_into("<I", content, place + 24, size)
        place += 46 + name_length + extra + comment
    path.write_bytes(content)
    return path


def test_a_bomb_is_not_unpacked(policy: Path) -> None:
    """Four gigabytes of blanks, as a zip can hold them in four megabytes; and a table that is packed inside `policy.pth`."""
    huge = claiming(rewritten(policy, compression=zipfile.ZIP_DEFLATED), "data", (1 << 32) - 2)
    refused(lambda: read_sb3_file(huge), "its member data unpacks to 4,294,967,294 bytes, 268,435,456 is allowed")

    def packed(content: bytes) -> bytes:
        buffer = io.BytesIO()
        with zipfile.ZipFile(io.BytesIO(content)) as inner, zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as outer:
            for name in inner.namelist():
                outer.writestr(name, inner.read(name))
        return buffer.getvalue()

    refused(lambda: read_sb3_file(rewritten(policy, policy=packed)), "policy.pth unpacks to more than it holds")


def test_a_member_that_claims_to_be_small_is_not_unpacked(policy: Path) -> None:
    """Python's `ZipFile.read` would unpack all of it before it looks at the claim."""
    lying = claiming(rewritten(policy, data=lambda _old: bytes(300 << 20), compression=zipfile.ZIP_DEFLATED), "data", 10)
    tracemalloc.start()
    refused(lambda: read_sb3_file(lying), "Bad CRC-32|claims 10")
    assert tracemalloc.get_traced_memory()[1] < 50 << 20
    tracemalloc.stop()


@pytest.mark.parametrize("content", [b"[" * 100_000, b"[]", b"{", b"\xff", b"1" * 10_000])
def test_settings_that_are_no_settings_are_refused(policy: Path, content: bytes) -> None:
    refused(lambda: read_sb3_file(rewritten(policy, data=lambda _old: content)), "its member data")


@pytest.mark.parametrize(
    "value",
    [
        torch.zeros(1).expand(1 << 40),
        torch.zeros(2, 2).to_sparse(),
        torch.empty(1 << 40, device="meta"),
        {"nested": torch.zeros(1)},
        OrderedDict(),
        3,
    ],
    ids=["endless", "sparse", "meta", "nested", "table", "number"],
)
def test_parameters_that_are_no_dense_tensors_are_refused(policy: Path, value: object) -> None:
    changed = rewritten(policy, weights=lambda weights: {**weights, "value_net.odd": value})
    refused(lambda: read_sb3_file(changed), "policy.pth")


@pytest.mark.parametrize("name", ["mlp_extractor.policy_net.0.bias", "action_net.bias", "mlp_extractor.policy_net.2.weight"])
def test_a_layer_without_a_part_of_its_own_is_refused(policy: Path, name: str) -> None:
    changed = rewritten(policy, weights=lambda weights: {key: each for key, each in weights.items() if key != name})
    refused(lambda: read_sb3(changed, env_id("vector")), "no bias|wrong shape")


@pytest.mark.parametrize("dtype", [torch.int32, torch.int64, torch.bool, torch.uint8])
def test_layers_of_whole_numbers_are_refused(policy: Path, dtype: torch.dtype) -> None:
    name = "action_net.weight"
    changed = rewritten(policy, weights=lambda weights: {**weights, name: weights[name].to(dtype)})
    refused(lambda: read_sb3(changed, env_id("vector")), "the weights of a layer are (int|bool|uint)[0-9]* numbers")


def test_files_that_are_something_else_are_refused(tmp_path: Path) -> None:
    for name, content in {"text": b"hello", "empty": b"", "other": b"PK\x05\x06" + bytes(18)}.items():
        (tmp_path / f"{name}.zip").write_bytes(content)
        refused(lambda: resolve(tmp_path / f"{name}.zip", env_id="CartPole-v1"), f"{name}.zip")  # noqa: B023
    assert len(list(tmp_path.iterdir())) == 3


def _as_file(content: bytes, name: str, folder: Path) -> Path:
    path = folder / name
    path.write_bytes(content)
    return path


def _policy_bytes() -> bytes:
    buffer = io.BytesIO()
    made("A2C", "vector", policy_kwargs={"net_arch": [4]}).save(buffer)
    return buffer.getvalue()


def _onnx_bytes() -> bytes:
    node = helper.make_node("MatMul", ["obs", "w"], ["logits"])
    weight = numpy_helper.from_array(np.ones((5, 4), np.float32), "w")
    seen = helper.make_tensor_value_info("obs", TensorProto.FLOAT, ["batch", 5])
    said = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 4])
    graph = helper.make_graph([node], "g", [seen], [said], [weight])
    return bytes(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8).SerializeToString())


def _safetensors_bytes(folder: Path) -> bytes:
    from phr.storage.tensors import save_tensors

    save_tensors(folder / "model.safetensors", {"w": torch.arange(20.0)}, {"n_updates": 3})
    return (folder / "model.safetensors").read_bytes()


def _pickle_bytes(folder: Path) -> bytes:
    from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

    VecNormalize(DummyVecEnv([_make_vector])).save(str(folder / "vecnormalize.pkl"))
    return (folder / "vecnormalize.pkl").read_bytes()


READERS: dict[str, tuple[Callable[[Path], bytes], str, Callable[[Path], object]]] = {
    "zip": (lambda _folder: _policy_bytes(), "policy.zip", lambda path: read_sb3(path, env_id("vector"))),
    "onnx": (lambda _folder: _onnx_bytes(), "policy.onnx", OnnxPolicy),
    "safetensors": (_safetensors_bytes, "model.safetensors", load_tensors),
    "pickle": (_pickle_bytes, "vecnormalize.pkl", read_vecnormalize),
}


@pytest.fixture(scope="module", params=READERS)
def kind(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, Path, Any]:
    make, name, read = READERS[request.param]
    folder = tmp_path_factory.mktemp(request.param)
    return make(folder), folder / name, read


def test_a_whole_file_is_read(kind: tuple[bytes, Path, Any]) -> None:
    content, path, read = kind
    path.write_bytes(content)
    read(path)


@given(cut=st.floats(0, 1, exclude_max=True))
@settings(max_examples=25, deadline=None)
def test_a_truncated_file_is_refused(kind: tuple[bytes, Path, Any], cut: float) -> None:
    content, path, read = kind
    path.write_bytes(content[: int(cut * len(content))])
    refused(lambda: read(path))


@given(place=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
@settings(max_examples=60, deadline=None)
def test_a_flipped_bit_is_refused_or_harmless(kind: tuple[bytes, Path, Any], place: float, bit: int) -> None:
    """Some bits mean nothing (dates, members that are not read); whatever they meant, only errors of ours come out."""
    content, path, read = kind
    changed = bytearray(content)
    changed[int(place * len(content))] ^= 1 << bit
    path.write_bytes(changed)
    with contextlib.suppress(PhrError):
        read(path)
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


def test_statistics_that_are_a_bomb_are_refused(tmp_path: Path) -> None:
    path = _as_file(pickle.dumps(Bomb(tmp_path)), "vecnormalize.pkl", tmp_path)
    refused(lambda: read_vecnormalize(path), "holds no VecNormalize")


@pytest.mark.parametrize("suffix", [".pkl", ".pickle", ".joblib"])
def test_other_pickles_are_refused_with_the_reason(tmp_path: Path, suffix: str) -> None:
    path = _as_file(pickle.dumps(Bomb(tmp_path)), f"policy{suffix}", tmp_path)
    line = refused(lambda: resolve(path, env_id="CartPole-v1"), "is a pickle, which can run any code")
    assert "--normalize" in line


@pytest.mark.parametrize("suffix", [".pt", ".pth", ".ckpt", ".cleanrl_model"])
def test_torch_files_are_read_as_tables_of_tensors_alone(tmp_path: Path, suffix: str) -> None:
    path = _as_file(pickle.dumps(Bomb(tmp_path)), f"policy{suffix}", tmp_path)
    refused(lambda: resolve(path, env_id="CartPole-v1"), "is not a file of torch's")
    torch.save({"w": torch.zeros(1), "bomb": Bomb(tmp_path)}, path)
    refused(lambda: resolve(path, env_id="CartPole-v1"), "holds more than tensors")


def test_arrays_of_objects_and_absurd_shapes_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "odd.npz"
    np.savez(path, mean=np.array([Bomb(tmp_path)], dtype=object))
    refused(lambda: read_npz(path), "Python objects")
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<f8", "fortran_order": False, "shape": (1 << 40,)})
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("mean.npy", header.getvalue())
    refused(lambda: read_npz(path), "claims 8,796,093,022,[0-9]{3} bytes and holds 128")
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("mean.npy", header.getvalue() + bytes(1000))
    refused(lambda: read_npz(claiming(path, "mean.npy", (1 << 32) - 2)), "odd.npz")
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("mean.npy", b"\x93NUMPY\x02\x00" + struct.pack("<I", 1 << 28) + bytes(1 << 20))
    refused(lambda: read_npz(path), "a header of 268,435,456 bytes; 10,000 are allowed")


def test_a_safetensors_header_of_absurd_size_is_refused(tmp_path: Path) -> None:
    for size in (1 << 62, 200_000_000, 100):
        path = _as_file(struct.pack("<Q", size) + b"{}", "model.safetensors", tmp_path)
        refused(lambda: load_tensors(path), "not a readable safetensors file")  # noqa: B023
    header = json.dumps({"w": {"dtype": "F32", "shape": [1 << 40], "data_offsets": [0, 1 << 42]}}).encode()
    path = _as_file(struct.pack("<Q", len(header)) + header, "model.safetensors", tmp_path)
    refused(lambda: load_tensors(path), "not a readable safetensors file")


@pytest.mark.parametrize("location", ["weights.bin", "../../etc/passwd", "/etc/passwd"])
def test_an_onnx_file_that_names_others_is_refused(tmp_path: Path, location: str) -> None:
    model = onnx.load_model_from_string(_onnx_bytes())
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=location)
    path = _as_file(model.SerializeToString(), "policy.onnx", tmp_path)
    refused(lambda: OnnxPolicy(path), "external data")


def test_an_onnx_file_with_unknown_operators_is_refused(tmp_path: Path) -> None:
    model = onnx.load_model_from_string(_onnx_bytes())
    model.graph.node[0].op_type, model.graph.node[0].domain = "Shell", "evil"
    path = _as_file(model.SerializeToString(), "policy.onnx", tmp_path)
    with pytest.raises(CorruptFileError, match="cannot be run by onnxruntime: .*evil"):
        OnnxPolicy(path)
    with pytest.raises((CorruptFileError, IncompatibleModelError)):
        resolve(path, env_id=env_id("vector"))
