"""HDF5 files that may be broken, or made to do harm: looked through before anything in them is read."""

from __future__ import annotations

import importlib
import math
from pathlib import Path
from typing import Any

from phr.experience.npz import machine_memory

_MOST_PACKED = 1100
"""Times that a filter can make an array smaller; deflate reaches 1032."""


def check_hdf5(path: Path) -> int:
    """Refuse what leads to other files, and arrays that are larger than what the file holds or this machine has.

    Args:
        path: The file.

    Returns:
        How many groups lie at its top.

    Raises:
        ValueError: If it is such a file.
        OSError: If it is no HDF5 file.
    """
    h5py: Any = importlib.import_module("h5py")
    total, seen, memory = 0, set(), machine_memory()
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
                    if total > memory:
                        raise ValueError(f"it unpacks to {total:,} bytes or more, this machine has {memory:,}")
        return len(file)


def _size_of(dataset: Any) -> int:
    """Bytes of an array, if its own file holds as many."""
    if dataset.external or dataset.is_virtual:
        raise ValueError(f"the values of {dataset.name} lie in another file, which phr does not open")
    claimed = 0 if dataset.shape is None else math.prod(dataset.shape) * dataset.dtype.itemsize
    packed = dataset.id.get_create_plist().get_nfilters() > 0
    held = dataset.id.get_storage_size() * (_MOST_PACKED if packed else 1)
    if claimed > held:
        raise ValueError(f"{dataset.name} claims {claimed:,} bytes and holds {dataset.id.get_storage_size():,}")
    return int(claimed)
