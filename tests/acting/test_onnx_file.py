from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, get_type_hints

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from phr.acting.onnx_file import _HASH_KEY, _entry, read_onnx, reseal_onnx, seal, unseal
from phr.errors import CorruptFileError, UnknownModelError
from phr.manifest import Manifest, Notes
from tests.exported import corridor_file, corridor_graph, corridor_manifest

SEALED = "its last bytes are not the SHA-256 of the others"


def small_manifest(**changes: Any) -> Manifest:
    known = {"env_id": "corridor", "obs_shape": (5,), "obs_dtype": "float32", "n_actions": 2, "horizon": 4, "network": {}}
    return Manifest(kind="student", **{**known, **changes})


def test_a_sealed_file_gives_its_manifest_back(tmp_path: Path) -> None:
    path = corridor_file(tmp_path)
    data, manifest = read_onnx(path)
    assert manifest == corridor_manifest()
    assert data == path.read_bytes()


others = st.text(max_size=5).filter(lambda name: name not in get_type_hints(Notes))


@given(env_id=st.text(max_size=300), notes=st.dictionaries(others, st.integers() | st.text(max_size=5)))
def test_any_manifest_survives(env_id: str, notes: dict[str, Any]) -> None:
    manifest = small_manifest(env_id=env_id, notes=notes)
    assert unseal(seal(b"", manifest), "it") == manifest


def test_a_rule_is_written_into_a_file_whose_manifest_lacks_a_field(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As files of an earlier version do, which had fewer fields."""
    path = tmp_path / "old.onnx"
    with monkeypatch.context() as patch:
        older = {name: value for name, value in corridor_manifest().to_json().items() if name not in ("commitment", "notes")}
        patch.setattr(Manifest, "to_json", lambda _self: older)
        path.write_bytes(seal(corridor_graph(), corridor_manifest()))
    reseal_onnx(path, commitment=3, notes={"seed": 1})
    expected = replace(corridor_manifest(), commitment=3, notes={"seed": 1})
    assert path.read_bytes() == seal(corridor_graph(), expected)


def test_a_file_with_something_after_its_manifest_stays_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "odd.onnx"
    sealed = corridor_graph() + seal(b"", corridor_manifest())[: -len(_entry(_HASH_KEY, "0" * 64))]
    odd = sealed + bytes([8, 8])  # the IR version once more
    path.write_bytes(resealed_with(odd))
    before = path.read_bytes()
    with pytest.raises(CorruptFileError, match="its manifest is not the last entry"):
        reseal_onnx(path, commitment=3, notes={})
    assert path.read_bytes() == before


def resealed_with(body: bytes) -> bytes:
    """A body with the hash that belongs to it."""
    return body + _entry(_HASH_KEY, hashlib.sha256(body).hexdigest())


def test_onnx_reads_the_same(tmp_path: Path) -> None:
    """The oracle is onnx's own parser: the file is plain ONNX, and its entries are where any tool looks for them."""
    path = corridor_file(tmp_path)
    proto = onnx.load(path)
    onnx.checker.check_model(proto, full_check=True)
    entries = {entry.key: entry.value for entry in proto.metadata_props}
    assert list(entries) == ["phr.manifest", "phr.sha256"]
    body = path.read_bytes()[: -len(proto.metadata_props[1].SerializeToString()) - 2]
    assert entries["phr.sha256"] == hashlib.sha256(body).hexdigest()
    bare = onnx.load_model_from_string(corridor_graph())
    del proto.metadata_props[:]
    assert proto == bare


@pytest.mark.parametrize("place", [0, 1, 20, 100, 1000, -1, -30, -90, -200])
def test_a_flipped_bit_is_found_wherever_it_is(place: int) -> None:
    data = bytearray(seal(corridor_graph(), corridor_manifest()))
    data[place] ^= 4
    with pytest.raises(CorruptFileError, match="^x.onnx was .*"):
        unseal(bytes(data), "x.onnx")


@pytest.mark.parametrize("length", [0, 1, 79, 80, 81, 1000, -80, -1])
def test_a_truncated_file_is_found(length: int) -> None:
    with pytest.raises(CorruptFileError, match=SEALED):
        unseal(seal(corridor_graph(), corridor_manifest())[:length], "x.onnx")


def test_appended_bytes_are_found() -> None:
    with pytest.raises(CorruptFileError, match="x.onnx was truncated or edited"):
        unseal(seal(corridor_graph(), corridor_manifest()) + b"\0", "x.onnx")


def test_a_file_that_others_wrote_is_told_apart() -> None:
    with pytest.raises(CorruptFileError, match="was not written by phr export"):
        unseal(corridor_graph(), "x.onnx")


def test_a_missing_file_and_a_folder_are_named(tmp_path: Path) -> None:
    with pytest.raises(UnknownModelError, match="there is no file .*none.onnx"):
        read_onnx(tmp_path / "none.onnx")
    with pytest.raises(CorruptFileError, match="is a folder, a pipe or a device; expected a file"):
        read_onnx(tmp_path)


def resealed(content: bytes) -> bytes:
    """As somebody seals who knows the format but is not phr."""
    return seal(content, corridor_manifest())


def external(location: str) -> TensorProto:
    tensor = numpy_helper.from_array(np.zeros(4, np.float32), "weights")
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=location)
    return tensor


def graph_with(tensor: TensorProto) -> onnx.GraphProto:
    return helper.make_graph([], "inner", [], [], [tensor])


def in_node(**attributes: Any) -> onnx.ModelProto:
    return helper.make_model(helper.make_graph([helper.make_node("Constant", [], ["y"], **attributes)], "g", [], []))


def in_function(tensor: TensorProto) -> onnx.ModelProto:
    model = in_node(value_int=1)
    node = helper.make_node("Constant", [], ["y"], value=tensor)
    model.functions.append(helper.make_function("mine", "f", [], ["y"], [node], []))
    return model


def in_training(tensor: TensorProto) -> onnx.ModelProto:
    model = in_node(value_int=1)
    model.training_info.add().algorithm.CopyFrom(graph_with(tensor))
    return model


def in_sparse(tensor: TensorProto) -> onnx.ModelProto:
    model = in_node(value_int=1)
    model.graph.sparse_initializer.add().values.CopyFrom(tensor)
    return model


HIDING_PLACES: dict[str, Callable[[TensorProto], onnx.ModelProto]] = {
    "initializer": lambda tensor: helper.make_model(graph_with(tensor)),
    "constant": lambda tensor: in_node(value=tensor),
    "list of tensors": lambda tensor: in_node(values=[tensor]),
    "branch": lambda tensor: in_node(then_branch=graph_with(tensor)),
    "list of graphs": lambda tensor: in_node(branches=[graph_with(tensor)]),
    "branch of a branch": lambda tensor: in_node(
        then_branch=helper.make_graph([helper.make_node("If", [], [], body=graph_with(tensor))], "b", [], [])
    ),
    "sparse": in_sparse,
    "sparse attribute": lambda tensor: in_node(value=onnx.SparseTensorProto(indices=tensor)),
    "function": in_function,
    "training": in_training,
}


@pytest.mark.parametrize("place", HIDING_PLACES)
@pytest.mark.parametrize("location", ["weights.bin", "../../etc/passwd", "/etc/passwd", "*/_ORT_MEM_ADDR_/*"])
def test_tensors_in_other_files_are_refused_wherever_they_are(place: str, location: str) -> None:
    model = HIDING_PLACES[place](external(location))
    with pytest.raises(CorruptFileError, match="external data"):
        unseal(resealed(model.SerializeToString()), "x.onnx")
    harmless = HIDING_PLACES[place](numpy_helper.from_array(np.zeros(4, np.float32), "weights"))
    unseal(resealed(harmless.SerializeToString()), "x.onnx")


def overlong(tag: int, beyond: int) -> bytes:
    """A tag with bits beyond the 32 that a parser keeps; `beyond` is put there, in five bytes or more."""
    digits, value = bytearray(), tag | beyond << 32
    while value > 127:
        digits.append(value & 127 | 128)
        value >>= 7
    return bytes([*digits, value])


def test_a_tag_that_others_read_otherwise_is_refused() -> None:
    """onnxruntime drops a tag's bits beyond 32, and would find a tensor where nobody looked for one."""
    tensor = external("weights.bin").SerializeToString()
    plain = helper.make_model(graph_with(numpy_helper.from_array(np.zeros(4, np.float32), "weights"))).SerializeToString()
    for beyond in (1, 1 << 3, 1 << 10, 1 << 20):
        inner = overlong(5 << 3 | 2, beyond) + bytes([len(tensor)]) + tensor
        model = plain + bytes([7 << 3 | 2, len(inner)]) + inner
        with pytest.raises(CorruptFileError, match="impossible number|does not end"):
            unseal(resealed(model), "x.onnx")
    for nothing in (b"\x02\x00", b"\x00\x00"):  # field 0
        with pytest.raises(CorruptFileError, match="impossible number 0"):
            unseal(resealed(plain + nothing), "x.onnx")


def test_a_location_alone_or_a_flag_alone_is_refused() -> None:
    for field in ("data_location", "external_data"):
        tensor = external("weights.bin")
        tensor.ClearField(field)
        with pytest.raises(CorruptFileError, match="external data"):
            unseal(resealed(helper.make_model(graph_with(tensor)).SerializeToString()), "x.onnx")


def test_endless_nesting_is_refused() -> None:
    graph = helper.make_graph([], "g", [], [])
    for _ in range(12):  # three messages deep each
        graph = helper.make_graph([helper.make_node("If", [], [], then_branch=graph)], "g", [], [])
    with pytest.raises(CorruptFileError, match="nested more than 32 deep"):
        unseal(resealed(helper.make_model(graph).SerializeToString()), "x.onnx")


@given(st.binary(max_size=60))
def test_bytes_that_are_no_model_give_an_error_of_ours(content: bytes) -> None:
    with contextlib.suppress(CorruptFileError):  # by chance they are one
        assert unseal(resealed(content), "x.onnx") == corridor_manifest()


@pytest.mark.parametrize(
    ("manifest", "message"),
    [
        (b"[]", "was not written by phr"),
        (b"{", "not readable JSON"),
        (b"\xff", "not a model that phr wrote"),
        (b'{"a":1,"a":2}', "twice"),
    ],
)
def test_a_manifest_that_is_none_is_refused(manifest: bytes, message: str) -> None:
    prop = b"\x0a\x0cphr.manifest\x12" + bytes([len(manifest)]) + manifest
    body = b"\x72" + bytes([len(prop)]) + prop
    data = body + b"\x72\x4e\x0a\x0aphr.sha256\x12\x40" + hashlib.sha256(body).hexdigest().encode()
    with pytest.raises(CorruptFileError, match=message):
        unseal(data, "x.onnx")
