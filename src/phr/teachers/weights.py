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
from phr.files import without_twins
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
_MOST_DIMENSIONS, _MOST_NUMBERS = 32, 1 << 60
_TENSORS = ("torch._utils._rebuild_tensor_v2", "torch._utils._rebuild_parameter")


def read_weights(content: bytes, name: str) -> dict[str, Tensor]:
    """Return the table of named tensors in a torch file, on the CPU; CorruptFileError if it is anything else."""
    tables = read_tables(content, name)
    if "" not in tables:
        raise CorruptFileError(f"{name} {_MORE}")
    return tables[""]


def as_floats(weights: Tensor) -> Tensor:
    """Return the weights of a layer as float32; ValueError if they are whole numbers or flags, which no layer learns."""
    if not weights.is_floating_point():
        raise ValueError(f"the weights of a layer are {str(weights.dtype).removeprefix('torch.')} numbers")
    return weights.float()


def read_tables(content: bytes, name: str) -> dict[str, dict[str, Tensor]]:
    """Return the tables of named tensors in a torch file: itself as "", or those of its entries, by their name or number.

    Entries that are no tables are left out. CorruptFileError if there is no table, or more than tensors in one.
    """
    try:
        if content[:2] == b"PK":
            with zipfile.ZipFile(io.BytesIO(content)) as archive:
                return _of_archive(archive, len(content), name)
        return _of_row(content, name)
    except (zipfile.BadZipFile, EOFError, OSError, RuntimeError, ValueError, KeyError, TypeError, struct.error) as error:
        raise CorruptFileError(f"{name} is not a file of torch's ({error})") from error


def _of_archive(archive: zipfile.ZipFile, size: int, name: str) -> dict[str, dict[str, Tensor]]:
    """Read the format since torch 1.6, whose members lie in one folder, not compressed."""
    infos = without_twins((info.filename.partition("/")[2], info) for info in archive.infolist())
    if "constants.pkl" in infos:
        raise CorruptFileError(f"{name} is TorchScript, which is code; export the policy as ONNX")
    packed = any(info.compress_type != zipfile.ZIP_STORED or info.file_size != info.compress_size for info in infos.values())
    claimed = sum(info.file_size for info in infos.values())
    if packed or claimed > size:  # an honest file unpacks to no more than its own size
        raise CorruptFileError(f"{name} unpacks to more than it holds, which torch never writes")
    if "byteorder" in infos and archive.read(infos["byteorder"]) != b"little":
        raise ValueError("its numbers are big-endian")
    tables = _tables(describe_pickle(archive.read(infos["data.pkl"]), name), name)
    return _read(tables, lambda key: archive.read(infos[f"data/{key}"]), size)


def _of_row(content: bytes, name: str) -> dict[str, dict[str, Tensor]]:
    """Read the format before torch 1.6."""
    file = io.BytesIO(content)
    if describe_pickle(file, name) != _LEGACY_MAGIC or describe_pickle(file, name) != _LEGACY_VERSION:
        raise ValueError("it is neither a .zip nor begins as older files do")
    system = describe_pickle(file, name)
    if not isinstance(system, dict) or system.get("little_endian") is not True:
        raise ValueError("its numbers are big-endian")
    described, keys = describe_pickle(file, name), describe_pickle(file, name)
    tables, sizes = _tables(described, name), _storage_sizes(described)
    found: dict[str, bytes] = {}
    for key in keys:
        (n,) = struct.unpack("<q", file.read(8))
        data = file.read(max(0, n) * sizes[key])
        if n < 0 or len(data) != n * sizes[key]:
            raise ValueError(f"storage {key!r} claims {n:,} numbers and has {len(data):,} bytes")
        found[key] = data
    return _read(tables, found.__getitem__, len(content))


def _tables(described: Any, name: str) -> dict[str, dict[str, _Layout]]:
    """Return the layouts of every table in a file."""
    whole, parts = _entries(described), enumerate(described) if isinstance(described, tuple | list) else ()
    if whole is not None and (not whole or any(_is_tensor(value) for value in whole.values())):
        found: dict[str, Mapping[Any, Any]] = {"": whole}
    else:
        named = [(str(key), _entries(value)) for key, value in (whole.items() if whole is not None else parts)]
        found = {key: part for key, part in named if part and all(_is_tensor(value) for value in part.values())}
    if not found:
        raise CorruptFileError(f"{name} {_MORE}")
    try:
        return {key: {_text(each): _layout(value) for each, value in table.items()} for key, table in found.items()}
    except ValueError as error:
        raise CorruptFileError(f"{name} {_MORE}") from error


def _text(key: Any) -> str:
    if not isinstance(key, str):
        raise ValueError("a name is not text")
    return key


def _entries(described: Any) -> Mapping[Any, Any] | None:
    """Return the entries of a dict or OrderedDict, None of anything else."""
    if isinstance(described, Described) and described.maker == "collections.OrderedDict":
        return described.entries
    return described if isinstance(described, dict) else None


def _read(tables: dict[str, dict[str, _Layout]], storage: Callable[[str], bytes], size: int) -> dict[str, dict[str, Tensor]]:
    """Return the tensors; together they may have `_SHARED` times the file's size."""
    layouts = [layout for table in tables.values() for layout in table.values()]
    n_bytes = sum(prod(layout[2]) * _storage_of(layout[0])[1].itemsize for layout in layouts)
    if n_bytes > _SHARED * size:
        raise ValueError(f"its tensors claim {n_bytes:,} bytes, it has {size:,}")
    numbers: dict[tuple[str, torch.dtype], Tensor] = {}
    for key, dtype, n in (_storage_of(layout[0]) for layout in layouts if prod(layout[2])):
        if (key, dtype) not in numbers:  # several tensors may lie in one storage, which is read once
            if len(content := storage(key)) < n * dtype.itemsize:
                raise ValueError(f"storage {key!r} claims {n * dtype.itemsize:,} bytes and has {len(content):,}")
            whole = len(content) // dtype.itemsize
            numbers[key, dtype] = torch.frombuffer(bytearray(content), dtype=dtype, count=whole) if whole else torch.empty(0)
    return {name: {key: _tensor(*each, numbers) for key, each in table.items()} for name, table in tables.items()}


def _storage_sizes(described: Any) -> dict[str, int]:
    """Return the bytes of one number in every storage that is named anywhere, also outside the tables."""
    sizes: dict[str, int] = {}
    waiting, met = [described], set[int]()
    while waiting:
        value = waiting.pop()
        if id(value) in met:
            continue
        met.add(id(value))
        if isinstance(value, Described):
            if value.made_by is PERSISTENT:
                key, dtype, _ = _storage_of(value)
                sizes[key] = dtype.itemsize
            waiting += [*value.arguments, *value.entries.values(), *value.items, value.state]
        elif isinstance(value, dict):
            waiting += value.values()
        elif isinstance(value, list | tuple):
            waiting += value
    return sizes


_Layout = tuple[Any, int, tuple[int, ...], tuple[int, ...]]
"""The storage's persistent id, offset, shape and strides."""


def _is_tensor(value: Any) -> bool:
    return isinstance(value, Described) and value.maker in _TENSORS


def _layout(value: Any) -> _Layout:
    if isinstance(value, Described) and value.maker == "torch._utils._rebuild_parameter" and value.arguments:
        value = value.arguments[0]
    if not isinstance(value, Described) or value.maker != "torch._utils._rebuild_tensor_v2":
        raise ValueError("a value is not a tensor")
    match value.arguments:
        case (storage, int(offset), tuple(shape), tuple(strides), *_):
            few = len(shape) == len(strides) <= _MOST_DIMENSIONS
            if few and all(type(n) is int and 0 <= n < _MOST_NUMBERS for n in (offset, *shape, *strides)):
                return storage, offset, shape, strides
    raise ValueError("a tensor has no layout")


def _storage_of(value: Any) -> tuple[str, torch.dtype, int]:
    """Return a storage's key, type of numbers, and how many it claims to have."""
    match value:
        case Described(made_by=made_by, arguments=(("storage", Name(name=kind), str(key), _, int(n), *_),)):
            if made_by is PERSISTENT and kind in _DTYPES and 0 <= n < _MOST_NUMBERS:
                return key, _DTYPES[kind], n
    raise ValueError("a tensor has no storage of plain numbers")


def _tensor(
    stored: Any,
    offset: int,
    shape: tuple[int, ...],
    strides: tuple[int, ...],
    numbers: Mapping[tuple[str, torch.dtype], Tensor],
) -> Tensor:
    key, dtype, n = _storage_of(stored)
    if not prod(shape):
        return torch.empty(shape, dtype=dtype)
    end = offset + sum((side - 1) * stride for side, stride in zip(shape, strides, strict=True)) + 1
    if end > min(n, len(numbers[key, dtype])) or prod(shape) > n:  # a tensor whose numbers repeat may claim any size
        raise ValueError(f"a tensor of shape {shape} lies outside its storage of {n:,} numbers")
    return numbers[key, dtype].as_strided(shape, strides, offset).clone(memory_format=torch.contiguous_format)
