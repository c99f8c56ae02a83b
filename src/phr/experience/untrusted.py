"""Reading .npz and HDF5 files that may be broken or malicious: their sizes and links are checked before anything is read."""

from __future__ import annotations

import importlib
import math
import os
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from phr.errors import CorruptFileError
from phr.files import check_readable, without_twins

_ERRORS = (
    zipfile.BadZipFile, zlib.error, EOFError, OSError, RuntimeError, ValueError, TypeError, KeyError, MemoryError,
    SyntaxError, RecursionError,
)  # fmt: skip
"""What numpy and zipfile raise for a broken file."""

_LONGEST_HEADER = 10_000
"""Bytes; numpy reads a header whole before it judges it."""

_MEMORY = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") if hasattr(os, "sysconf") else 1 << 40
"""Bytes of memory of this machine."""


def read_npz(path: Path) -> dict[str, NDArray[Any]]:
    """Return every array of an .npz; pickled ones are refused, and nothing is allocated before its size is checked."""
    if not path.exists():
        raise CorruptFileError(f"{path} is missing")
    check_readable(path)
    try:
        with zipfile.ZipFile(path) as archive:
            _check_sizes(archive)
        with np.load(path, allow_pickle=False) as data:
            return {name: data[name] for name in data.files}
    except _ERRORS as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise CorruptFileError(f"{path} is not a readable .npz: {reason}") from error


def _check_sizes(archive: zipfile.ZipFile) -> None:
    """Compare every array's header with the size of its member, and the sum with the machine's memory; else ValueError."""
    infos = archive.infolist()
    without_twins((info.filename, None) for info in infos)
    if (total := sum(info.file_size for info in infos)) > _MEMORY:
        raise ValueError(f"it unpacks to {total:,} bytes, this machine has {_MEMORY:,}")
    for info in infos:
        with archive.open(info) as member:
            shape, dtype = _header(member)
            if dtype.hasobject:
                raise ValueError(f"{info.filename} holds Python objects (a pickle), which could run any code")
            claimed = member.tell() + math.prod(shape) * dtype.itemsize
        if claimed != info.file_size:
            raise ValueError(f"{info.filename} claims {claimed:,} bytes and holds {info.file_size:,}")


def _header(member: Any) -> tuple[tuple[int, ...], np.dtype[Any]]:
    version = npy.read_magic(member)
    begin, n_length = member.tell(), 2 if version == (1, 0) else 4
    length = int.from_bytes(member.read(n_length), "little")
    if length > _LONGEST_HEADER:
        raise ValueError(f"an array has a header of {length:,} bytes; {_LONGEST_HEADER:,} are allowed")
    member.seek(begin)
    read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
    shape, _, dtype = read(member)
    if min(shape, default=0) < 0:
        raise ValueError(f"an array claims the shape {shape}")
    return shape, dtype


_MOST_PACKED = 1100
"""Largest compression factor of a filter; deflate reaches 1032."""


def check_hdf5(path: Path) -> int:
    """Return the number of top-level groups of an HDF5 file.

    ValueError if it leads to other files, or claims arrays larger than its content or this machine's memory.
    """
    h5py: Any = importlib.import_module("h5py")
    total, seen = 0, set()
    with h5py.File(path, "r") as file:
        groups = [file]
        while groups:
            group = groups.pop()
            place = h5py.h5o.get_info(group.id).addr
            if place in seen:
                raise ValueError(f"the group {group.name} lies within itself")
            seen.add(place)
            for name in group:
                if not isinstance(group.get(name, getlink=True), h5py.HardLink):
                    raise ValueError(f"{group.name}/{name} is a link, which phr does not follow")
                found = group[name]
                if isinstance(found, h5py.Group):
                    groups.append(found)
                elif isinstance(found, h5py.Dataset):
                    total += _size_of(found)
                    if total > _MEMORY:
                        raise ValueError(f"it unpacks to {total:,} bytes or more, this machine has {_MEMORY:,}")
        return len(file)


def _size_of(dataset: Any) -> int:
    """Return the bytes of an array if the file itself contains as many."""
    if dataset.external or dataset.is_virtual:
        raise ValueError(f"the values of {dataset.name} lie in another file, which phr does not open")
    claimed = 0 if dataset.shape is None else math.prod(dataset.shape) * dataset.dtype.itemsize
    held, packed = dataset.id.get_storage_size(), dataset.id.get_create_plist().get_nfilters() > 0
    if claimed > held * (_MOST_PACKED if packed else 1):
        raise ValueError(f"{dataset.name} claims {claimed:,} bytes and holds {held:,}")
    return int(claimed)
