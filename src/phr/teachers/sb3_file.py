"""What a Stable-Baselines3 `.zip` holds, read without running a line of it.

Such a file holds `data`, a JSON with cloudpickle in base64 under `:serialized:` keys, and `policy.pth`, the parameters as
torch writes them. The pickles stay closed; the parameters go through torch's reader of weights alone.
"""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

import torch
from torch import Tensor

from phr.errors import CorruptFileError
from phr.files import read_model_file

DATA, WEIGHTS = "data", "policy.pth"

_LARGEST = {DATA: 1 << 28, WEIGHTS: 1 << 31}
"""Most bytes of a member; `data` keeps the last observations of every environment, which may be images."""

_LARGEST_FILE = 1 << 32
_MOST_MEMBERS = 4096
_ENCRYPTED = 1

_ZIP_ERRORS = (zipfile.BadZipFile, zlib.error, EOFError, OSError, RuntimeError, ValueError, KeyError, MemoryError)
"""What Python's reader says of a broken file; RuntimeError has NotImplementedError below it."""


@dataclass(frozen=True, eq=False)
class Sb3File:
    """The parts of a `.zip` that can be read safely.

    Attributes:
        name: Where it was found, for messages.
        data: The algorithm's settings; values that only a pickle tells are dicts with a `:serialized:` entry.
        weights: Name → parameter of the policy.
        sha256: Of the whole file.
    """

    name: str
    data: dict[str, Any]
    weights: dict[str, Tensor]
    sha256: str


def read_sb3_file(path: Path) -> Sb3File:
    """Read settings and parameters.

    Raises:
        UnknownModelError: If there is no such file.
        CorruptFileError: If it was truncated or edited, was not written by Stable-Baselines3, would write outside a folder,
            or unpacks to absurd sizes; or if its parameters are more than tensors.
    """
    content = read_model_file(path, _LARGEST_FILE)
    members = _members(content, str(path))
    return Sb3File(
        str(path),
        _json(members[DATA], str(path)),
        _tensors(members[WEIGHTS], str(path)),
        hashlib.sha256(content).hexdigest(),
    )


def _members(content: bytes, name: str) -> dict[str, bytes]:
    """The members that matter, in memory; nothing is ever unpacked to the disk."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            _check_names([info.filename for info in archive.infolist()], name)
            missing = {DATA, WEIGHTS} - set(archive.namelist())
            if missing:
                raise CorruptFileError(
                    f"{name} was not written by Stable-Baselines3: it has no {' and no '.join(sorted(missing))}"
                )
            return {member: _member(archive, member, name) for member in (DATA, WEIGHTS)}
    except _ZIP_ERRORS as error:
        raise CorruptFileError(
            f"{name} is not a readable .zip ({error}); it was truncated or edited, or is something else"
        ) from error


def _check_names(members: list[str], name: str) -> None:
    if len(members) > _MOST_MEMBERS or len(set(members)) != len(members):
        raise CorruptFileError(
            f"{name} was not written by Stable-Baselines3: it has {len(members)} members, some twice or too many"
        )
    for member in members:
        posix, windows = PurePosixPath(member), PureWindowsPath(member)
        if posix.is_absolute() or windows.anchor or ".." in (*posix.parts, *windows.parts):
            raise CorruptFileError(f"{name} was made to do harm: its member {member!r} points outside the archive")


def _member(archive: zipfile.ZipFile, member: str, name: str) -> bytes:
    info = archive.getinfo(member)
    if info.flag_bits & _ENCRYPTED or info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise CorruptFileError(
            f"{name}: its member {member} is encrypted or packed in a way that Stable-Baselines3 does not use"
        )
    if info.file_size > _LARGEST[member]:
        raise CorruptFileError(
            f"{name}: its member {member} unpacks to {info.file_size:,} bytes, {_LARGEST[member]:,} is allowed"
        )
    with archive.open(info) as file:  # `archive.read` would unpack first and compare with the stated size afterwards
        content = file.read(info.file_size + 1)
    if len(content) != info.file_size:
        raise CorruptFileError(f"{name}: its member {member} holds {len(content):,} bytes and claims {info.file_size:,}")
    return content


def _json(text: bytes, name: str) -> dict[str, Any]:
    try:
        data = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise CorruptFileError(f"{name}: its member {DATA} is not JSON") from error
    if not isinstance(data, dict):
        raise CorruptFileError(f"{name}: its member {DATA} holds no settings")
    return data


def _tensors(content: bytes, name: str) -> dict[str, Tensor]:
    _check_plainly_stored(content, name)
    try:
        weights = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except Exception as error:  # torch's reader raises many kinds
        raise CorruptFileError(
            f"{name}: {WEIGHTS} holds more than tensors, or was edited; what is more could run any code, so it is not read "
            "and there is no --trust for it (build the policy yourself in module:factory)"
        ) from error
    if not isinstance(weights, dict) or not all(isinstance(key, str) and _is_dense(value) for key, value in weights.items()):
        raise CorruptFileError(f"{name}: {WEIGHTS} is not a table of named, dense tensors")
    return dict(weights)


def _check_plainly_stored(content: bytes, name: str) -> None:
    """Torch packs nothing, so an honest file unpacks to no more than its own size."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            infos = archive.infolist()
    except _ZIP_ERRORS as error:
        raise CorruptFileError(f"{name}: {WEIGHTS} is not a file of torch's ({error})") from error
    _check_names([info.filename for info in infos], name)
    packed = any(info.compress_type != zipfile.ZIP_STORED or info.file_size != info.compress_size for info in infos)
    if packed or sum(info.file_size for info in infos) > len(content):
        raise CorruptFileError(f"{name}: {WEIGHTS} unpacks to more than it holds, which torch never writes")


def _is_dense(value: Any) -> bool:
    """Whether every element lies in memory: a sparse or endlessly repeated one may claim any size."""
    if type(value) is not Tensor or value.layout != torch.strided or value.device.type != "cpu" or value.is_quantized:
        return False
    return value.numel() * value.element_size() <= value.untyped_storage().nbytes()
