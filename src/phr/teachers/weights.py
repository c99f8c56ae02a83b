"""Tensors of torch's files, both formats, read as descriptions: no pickle is run and nothing is allocated on a claim.

Since torch 1.6 a file is a `.zip` of one pickle and one member for each storage; before, a row of pickles and then the
storages (`torch.serialization._legacy_save`). In both the pickle says how each tensor lies in its storage.
"""

from __future__ import annotations

import io
import struct
import zipfile
from collections.abc import Callable, Mapping
from math import prod
from typing import Any

import torch
from torch import Tensor

from phr.errors import CorruptFileError
from phr.teachers.inert import PERSISTENT, Described, Name, describe_pickle

_DTYPES = {
    "FloatStorage": torch.float32, "DoubleStorage": torch.float64, "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16, "LongStorage": torch.int64, "IntStorage": torch.int32, "ShortStorage": torch.int16,
    "CharStorage": torch.int8, "ByteStorage": torch.uint8, "BoolStorage": torch.bool,
}  # fmt: skip
_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
_LEGACY_VERSION = 1001
_SHARED = 4
"""Tensors may share a storage, as a policy's and a critic's features do; together they have at most this times its size."""
_MORE = "holds more than tensors, or was edited; phr reads tensors alone (build the policy yourself in module:factory)"

Storage = Callable[[str, int], bytes]
"""(key, size in bytes) → its bytes."""


def read_weights(content: bytes, name: str) -> dict[str, Tensor]:
    """Return the table of named tensors in a torch file, on the CPU; CorruptFileError if it is anything else."""
    try:
        if content[:2] == b"PK":
            with zipfile.ZipFile(io.BytesIO(content)) as archive:
                return _of_archive(archive, len(content), name)
        return _of_row(content, name)
    except (zipfile.BadZipFile, EOFError, OSError, RuntimeError, ValueError, KeyError, TypeError, struct.error) as error:
        raise CorruptFileError(f"{name} is not a file of torch's ({error})") from error


def _of_archive(archive: zipfile.ZipFile, size: int, name: str) -> dict[str, Tensor]:
    """Read the format since torch 1.6, whose members lie in one folder, not compressed."""
    infos = {info.filename.partition("/")[2]: info for info in archive.infolist()}
    packed = any(info.compress_type != zipfile.ZIP_STORED or info.file_size != info.compress_size for info in infos.values())
    if (
        packed or sum(info.file_size for info in infos.values()) > size
    ):  # an honest file unpacks to no more than its own size
        raise CorruptFileError(f"{name} unpacks to more than it holds, which torch never writes")
    if "byteorder" in infos and archive.read(infos["byteorder"]) != b"little":
        raise ValueError("its numbers are big-endian")

    def storage(key: str, n_bytes: int) -> bytes:
        data = archive.read(infos[f"data/{key}"])
        if len(data) < n_bytes:
            raise ValueError(f"storage {key!r} claims {n_bytes:,} bytes and has {len(data):,}")
        return data

    return _table(describe_pickle(archive.read(infos["data.pkl"]), name), storage, size, name)


def _of_row(content: bytes, name: str) -> dict[str, Tensor]:
    """Read the format before torch 1.6."""
    file = io.BytesIO(content)
    if describe_pickle(file, name) != _LEGACY_MAGIC or describe_pickle(file, name) != _LEGACY_VERSION:
        raise ValueError("it is neither a .zip nor begins as older files do")
    system = describe_pickle(file, name)
    if not isinstance(system, dict) or system.get("little_endian") is not True:
        raise ValueError("its numbers are big-endian")
    described, keys = describe_pickle(file, name), describe_pickle(file, name)
    sizes = _storage_sizes(described)
    found: dict[str, bytes] = {}
    for key in keys:
        (n,) = struct.unpack("<q", file.read(8))
        data = file.read(max(0, n) * sizes[key])
        if n < 0 or len(data) != n * sizes[key]:
            raise ValueError(f"storage {key!r} claims {n:,} numbers and has {len(data):,} bytes")
        found[key] = data

    def storage(key: str, n_bytes: int) -> bytes:
        if len(found[key]) < n_bytes:
            raise ValueError(f"storage {key!r} claims {n_bytes:,} bytes and has {len(found[key]):,}")
        return found[key]

    return _table(described, storage, len(content), name)


def _storage_sizes(described: Any) -> dict[str, int]:
    """Return the bytes of one number in each storage that the tensors of a table lie in."""
    sizes = {}
    for value in _entries(described).values():
        key, dtype, _ = _storage_of(_layout(value)[0])
        sizes[key] = dtype.itemsize
    return sizes


def _entries(described: Any) -> Mapping[Any, Any]:
    """Return the entries of a dict or OrderedDict."""
    if isinstance(described, Described) and str(described.made_by) == "collections.OrderedDict":
        return described.entries
    if isinstance(described, dict):
        return described
    raise ValueError("it holds no table of named tensors")


def _table(described: Any, storage: Storage, size: int, name: str) -> dict[str, Tensor]:
    table, n_bytes = {}, 0
    for key, value in _entries(described).items():
        try:
            if not isinstance(key, str):
                raise ValueError("a name is not text")
            layout = _layout(value)
        except ValueError as error:
            raise CorruptFileError(f"{name} {_MORE}") from error
        n_bytes += prod(layout[2]) * _storage_of(layout[0])[1].itemsize
        if n_bytes > _SHARED * size:
            raise ValueError(f"its tensors claim {n_bytes:,} bytes and more, it has {size:,}")
        table[key] = _tensor(*layout, storage)
    return table


_Layout = tuple[Any, int, tuple[int, ...], tuple[int, ...]]
"""The storage's persistent id, offset, shape and strides."""


def _layout(value: Any) -> _Layout:
    if isinstance(value, Described) and str(value.made_by) == "torch._utils._rebuild_parameter" and value.arguments:
        value = value.arguments[0]
    if not isinstance(value, Described) or str(value.made_by) != "torch._utils._rebuild_tensor_v2":
        raise ValueError("a value is not a tensor")
    match value.arguments:
        case (storage, int(offset), tuple(shape), tuple(strides), *_):
            whole = all(type(n) is int and n >= 0 for n in (offset, *shape, *strides))
            if whole and len(shape) == len(strides):
                return storage, offset, shape, strides
    raise ValueError("a tensor has no layout")


def _storage_of(value: Any) -> tuple[str, torch.dtype, int]:
    """Return a storage's key, type of numbers, and how many it claims to have."""
    match value:
        case Described(made_by=made_by, arguments=(("storage", Name(name=kind), str(key), _, int(n), *_),)):
            if made_by is PERSISTENT and kind in _DTYPES and n >= 0:
                return key, _DTYPES[kind], n
    raise ValueError("a tensor has no storage of plain numbers")


def _tensor(stored: Any, offset: int, shape: tuple[int, ...], strides: tuple[int, ...], storage: Storage) -> Tensor:
    key, dtype, n = _storage_of(stored)
    if not prod(shape):
        return torch.empty(shape, dtype=dtype)
    end = offset + sum((side - 1) * stride for side, stride in zip(shape, strides, strict=True)) + 1
    if end > n or prod(shape) > n:  # a tensor whose numbers repeat may claim any size
        raise ValueError(f"a tensor of shape {shape} lies outside its storage of {n:,} numbers")
    numbers = torch.frombuffer(bytearray(storage(key, n * dtype.itemsize)), dtype=dtype, count=n)
    return numbers.as_strided(shape, strides, offset).clone(memory_format=torch.contiguous_format)
