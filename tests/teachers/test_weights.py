"""The oracle is torch's own reader, on files that torch wrote in both formats."""

from __future__ import annotations

import io
import struct
import zipfile
from collections import OrderedDict
from typing import Any

import pytest
import torch
from torch import Tensor

from phr.errors import CorruptFileError
from phr.teachers.weights import read_tables, read_weights


def written(value: Any, *, is_new: bool = True) -> bytes:
    buffer = io.BytesIO()
    torch.save(value, buffer, _use_new_zipfile_serialization=is_new)
    return buffer.getvalue()


def tables() -> dict[str, dict[str, Tensor]]:
    generator = torch.Generator().manual_seed(0)
    whole = torch.randn(6, 8, generator=generator)
    kinds = (torch.float64, torch.float16, torch.bfloat16, torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8)
    return {
        "a network": dict(torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Conv2d(2, 3, 3)).state_dict()),
        "views": {"row": whole[2], "column": whole[:, 3], "turned": whole.T, "part": whole[1:4, 2:7:2], "whole": whole},
        "kinds": {str(kind): (10 * whole).abs().to(kind) for kind in kinds} | {"bool": whole > 0},
        "odd shapes": {"scalar": torch.tensor(3.0), "none": torch.zeros(0, 4), "one": torch.ones(1, 1, 1)},
        "parameters": {"w": torch.nn.Parameter(whole)},
        "nothing": {},
    }


@pytest.mark.parametrize("is_new", [True, False])
@pytest.mark.parametrize("name", tables())
def test_it_reads_what_torch_reads(name: str, is_new: bool) -> None:
    content = written(OrderedDict(tables()[name]), is_new=is_new)
    found, expected = read_weights(content, "it"), torch.load(io.BytesIO(content), weights_only=True)
    assert list(found) == list(expected)
    for key, value in expected.items():
        assert found[key].dtype == value.dtype
        assert found[key].is_contiguous()
        assert torch.equal(found[key], value)


@pytest.mark.parametrize("is_new", [True, False])
@pytest.mark.parametrize(
    "value",
    [[torch.zeros(1)], {"a": 3}, {"a": {"b": torch.zeros(1)}}, {3: torch.zeros(1)}, torch.zeros(2), "text", {"a": Tensor}],
)
def test_what_is_no_table_of_tensors_is_refused(value: Any, is_new: bool) -> None:
    with pytest.raises(CorruptFileError) as caught:
        read_weights(written(value, is_new=is_new), "it")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("is_new", [True, False])
def test_a_shortened_file_is_refused(is_new: bool) -> None:
    content = written({"w": torch.zeros(100)}, is_new=is_new)
    for end in range(0, len(content), 7):
        with pytest.raises(CorruptFileError):
            read_weights(content[:end], "it")


def test_an_old_file_that_claims_more_than_it_holds_is_refused() -> None:
    content = written({"w": torch.zeros(100)}, is_new=False)
    place = content.index(struct.pack("<q", 100) + bytes(8))
    for n in (1 << 60, -1, 101):
        with pytest.raises(CorruptFileError, match="claims"):
            read_weights(content[:place] + struct.pack("<q", n) + content[place + 8 :], "it")


@pytest.mark.parametrize("is_new", [True, False])
def test_numbers_that_are_repeated_without_end_are_refused(is_new: bool) -> None:
    with pytest.raises(CorruptFileError, match="its tensors claim|lies outside its storage"):
        read_weights(written({"w": torch.zeros(1).expand(1 << 40)}, is_new=is_new), "it")
    shared = torch.zeros(10_000)
    with pytest.raises(CorruptFileError, match="its tensors claim"):
        read_weights(written({str(index): shared for index in range(50)}, is_new=is_new), "it")


@pytest.mark.parametrize("is_new", [True, False])
def test_tables_inside_a_file_are_found(is_new: bool) -> None:
    first, second = ({"w": torch.arange(3.0) + place} for place in range(2))
    for value, names in (
        ((first, second), ("0", "1")),
        ({"model": first, "other": second, "args": {"lr": 3}}, ("model", "other")),
    ):
        found = read_tables(written(value, is_new=is_new), "it")
        assert tuple(found) == names
        assert torch.equal(found[names[1]]["w"], second["w"])
    with pytest.raises(CorruptFileError, match="holds more than tensors"):
        read_weights(written((first, second), is_new=is_new), "it")


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_torchscript_is_refused() -> None:
    buffer = io.BytesIO()
    torch.jit.save(torch.jit.script(torch.nn.Linear(2, 3)), buffer)
    with pytest.raises(CorruptFileError, match="is TorchScript, which is code; export the policy as ONNX"):
        read_tables(buffer.getvalue(), "it")


def test_a_storage_of_many_tensors_is_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = torch.zeros(1 << 20)
    content = written({str(index): whole[index : index + 1] for index in range(300)})
    reads, real = list[Any](), zipfile.ZipFile.read

    def read(archive: zipfile.ZipFile, name: Any) -> bytes:
        reads.append(name)
        return real(archive, name)

    monkeypatch.setattr(zipfile.ZipFile, "read", read)
    assert len(read_weights(content, "it")) == 300
    assert len(reads) <= 4


@pytest.mark.parametrize("is_new", [True, False])
def test_tensors_outside_the_tables_do_no_harm(is_new: bool) -> None:
    value = {"model": {"w": torch.ones(2)}, "extra": {"x": torch.zeros(3), "step": 1}, "alone": torch.zeros(4)}
    value.pop("alone")
    assert list(read_tables(written(value, is_new=is_new), "it")) == ["model"]


def test_more_dimensions_than_numpy_knows_are_refused() -> None:
    with pytest.raises(CorruptFileError, match="holds more than tensors"):
        read_weights(written({"w": torch.zeros([1] * 40)}), "it")
