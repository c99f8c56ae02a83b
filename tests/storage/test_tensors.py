from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import Tensor

from phr.errors import CorruptFileError, IncompatibleModelError
from phr.networks.policy import build_network
from phr.networks.trunks import TrunkConfig
from phr.storage.tensors import (
    digest,
    load_tensors,
    network_tensors,
    optimizer_tensors,
    restore_network,
    restore_optimizer,
    save_tensors,
)

TRUNK = TrunkConfig(kind="mlp", width=4)
DTYPES = (torch.float32, torch.float64, torch.int64, torch.uint8, torch.bool, torch.bfloat16)

json_values = st.recursive(
    st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@st.composite
def tensors(draw: st.DrawFn) -> Tensor:
    shape = draw(st.lists(st.integers(0, 3), max_size=3))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 100)))
    return torch.randint(0, 100, shape, generator=generator).to(draw(st.sampled_from(DTYPES)))


def equal(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
    return first.keys() == second.keys() and all(
        first[name].dtype == second[name].dtype and torch.equal(first[name], second[name]) for name in first
    )


@given(saved=st.dictionaries(st.text("abc._", min_size=1), tensors(), max_size=4), state=st.none() | json_values)
def test_tensors_and_state_come_back_as_they_were(
    tmp_path_factory: pytest.TempPathFactory, saved: dict[str, Tensor], state: Any
) -> None:
    path = tmp_path_factory.mktemp("tensors") / "file.safetensors"
    save_tensors(path, saved, state)
    found, told = load_tensors(path)
    assert equal(found, saved)
    assert told == state


def test_views_and_shared_memory_are_saved_too(tmp_path: Path) -> None:
    base = torch.arange(12.0).reshape(3, 4)
    saved = {"transposed": base.T, "again": base, "row": base[1]}
    save_tensors(tmp_path / "file.safetensors", saved)
    assert equal(load_tensors(tmp_path / "file.safetensors")[0], saved)


def test_equal_content_has_equal_bytes(tmp_path: Path) -> None:
    first, second = torch.arange(3.0), torch.ones(2)
    save_tensors(tmp_path / "a", {"x": first, "y": second}, {"p": 1, "q": 2})
    save_tensors(tmp_path / "b", {"y": second, "x": first}, {"q": 2, "p": 1})
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def whole_file(path: Path, state: Any = None) -> bytes:
    save_tensors(path, {"x": torch.arange(8.0)}, state)
    return path.read_bytes()


def test_a_file_cut_anywhere_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    whole = whole_file(path)
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(CorruptFileError, match="model.safetensors is not a readable safetensors file"):
            load_tensors(path)


def test_a_digest_tells_names_shapes_types_and_values_apart() -> None:
    first = {"x": torch.arange(4.0), "y": torch.ones(2)}
    assert digest(dict(reversed(first.items()))) == digest({name: value.clone() for name, value in first.items()})
    others = [
        {**first, "x": torch.tensor([0.0, 1.0, 2.0, 3.5])},
        {**first, "x": torch.arange(4.0).reshape(2, 2)},
        {**first, "x": torch.arange(4.0).view(torch.int32)},
        {"x": first["x"], "z": first["y"]},
        {"x": first["x"]},
    ]
    assert len({digest(tensors) for tensors in (first, *others)}) == 6


@pytest.mark.parametrize("size", [10**6, 2**40, 2**63 - 1, 2**64 - 1])
def test_a_header_of_absurd_size_is_refused_in_one_line(tmp_path: Path, size: int) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(struct.pack("<Q", size) + whole_file(path)[8:])
    with pytest.raises(CorruptFileError) as caught:
        load_tensors(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"\x80\x05pickle", b"PK\x03\x04" + bytes(100), b"{}" * 50])
def test_other_files_are_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(content)
    with pytest.raises(CorruptFileError, match="it was truncated or edited"):
        load_tensors(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(CorruptFileError, match=r"nothing\.safetensors is missing"):
        load_tensors(tmp_path / "nothing.safetensors")
    with pytest.raises(CorruptFileError, match=f"{tmp_path} is a folder, a pipe or a device; expected a file"):
        load_tensors(tmp_path)


def test_every_changed_bit_of_a_file_with_a_state_is_found(tmp_path: Path) -> None:
    path = tmp_path / "latest.safetensors"
    whole = whole_file(path, {"n_updates": 3})
    for place in range(len(whole)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 4]) + whole[place + 1 :])
        try:
            found, state = load_tensors(path)
        except CorruptFileError:
            continue
        # What is left is the padding of the header and the names of the metadata that nobody reads.
        assert equal(found, {"x": torch.arange(8.0)}), place
        assert state in (None, {"n_updates": 3}), place


@pytest.mark.parametrize("state", ["{", "{}", "[]", '{"sha256": "", "value": 1}'])
def test_a_state_that_is_not_ours_is_refused(tmp_path: Path, state: str) -> None:
    save_file({"x": torch.ones(1)}, tmp_path / "a", metadata={"state": state})
    with pytest.raises(CorruptFileError, match="edited"):
        load_tensors(tmp_path / "a")


def stepped(optimizer: torch.optim.Optimizer, parameter: Tensor, n: int) -> None:
    for step in range(n):
        optimizer.zero_grad()
        (parameter * (step + 1.0)).square().sum().backward()
        optimizer.step()


@pytest.mark.parametrize(
    ("make", "settings"), [(torch.optim.Adam, {"lr": 0.1}), (torch.optim.RMSprop, {"lr": 0.1, "momentum": 0.9})]
)
@pytest.mark.parametrize("n_before", [0, 3])
def test_a_restored_optimizer_goes_on_bit_for_bit(
    tmp_path: Path, make: Any, settings: dict[str, float], n_before: int
) -> None:
    parameter = torch.tensor([1.0, -2.0], requires_grad=True)
    optimizer = make([parameter], **settings)
    stepped(optimizer, parameter, n_before)
    path = tmp_path / "latest.safetensors"
    save_tensors(path, optimizer_tensors(optimizer) | {"network.x": torch.ones(1)})
    twin = parameter.detach().clone().requires_grad_(True)
    resumed = make([twin], **settings)
    restore_optimizer(resumed, load_tensors(path)[0], has_begun=n_before > 0)
    stepped(optimizer, parameter, 4)
    stepped(resumed, twin, 4)
    assert torch.equal(parameter, twin)
    assert equal(optimizer_tensors(optimizer), optimizer_tensors(resumed))


def test_a_network_comes_back_among_other_tensors() -> None:
    first, second = (build_network((5,), 2, 3, TRUNK, seed=seed) for seed in (0, 1))
    restore_network(second, network_tensors(first) | {"optimizer.0.step": torch.ones(1)})
    assert equal(dict(first.state_dict()), dict(second.state_dict()))


@pytest.mark.parametrize(("n_actions", "horizon"), [(3, 1), (2, 4)])
def test_weights_of_another_network_are_refused_in_one_line(n_actions: int, horizon: int) -> None:
    other = network_tensors(build_network((5,), n_actions, horizon, TRUNK, seed=0))
    with pytest.raises(IncompatibleModelError, match="the stored weights do not fit the network: size mismatch") as caught:
        restore_network(build_network((5,), 2, 1, TRUNK, seed=0), other)
    assert "\n" not in str(caught.value)


def test_missing_weights_are_refused() -> None:
    network = build_network((5,), 2, 1, TRUNK, seed=0)
    some = {name: value for name, value in network_tensors(network).items() if "value_head" not in name}
    with pytest.raises(IncompatibleModelError, match=r"Missing key.*value_head"):
        restore_network(network, some)


def test_the_state_is_json_in_the_header(tmp_path: Path) -> None:
    """Nothing in the file can execute."""
    whole = whole_file(tmp_path / "a", {"n_updates": 3})
    (size,) = struct.unpack("<Q", whole[:8])
    header = json.loads(whole[8 : 8 + size])
    assert json.loads(header["__metadata__"]["state"])["value"] == {"n_updates": 3}
