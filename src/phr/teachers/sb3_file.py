"""Stable-Baselines3 `.zip` files, read without executing anything in them.

Such a file contains `data`, a JSON with cloudpickle in base64 under `:serialized:` keys, and `policy.pth`, the parameters as
torch writes them. The pickles are not opened; the parameters go through torch's reader of weights alone.
"""

from __future__ import annotations

import hashlib
import io
import json
import math
import re
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any, Literal

import torch
from torch import Tensor, nn

from phr.errors import CorruptFileError, IncompatibleModelError, SettingError
from phr.files import read_model_file

DATA, WEIGHTS = "data", "policy.pth"

_LARGEST = {DATA: 1 << 28, WEIGHTS: 1 << 31}
"""Most bytes of a member; `data` keeps the last observations of every environment, which may be images."""

_LARGEST_FILE = 1 << 32
_MOST_MEMBERS = 4096
_ENCRYPTED = 1

_ZIP_ERRORS = (zipfile.BadZipFile, zlib.error, EOFError, OSError, RuntimeError, ValueError, KeyError, MemoryError)
"""What Python's reader raises for a broken file; RuntimeError includes NotImplementedError."""


@dataclass(frozen=True, eq=False)
class Sb3File:
    """The parts of a `.zip` that can be read safely."""

    name: str
    data: dict[str, Any]
    """The algorithm's settings; pickled values are dicts with a `:serialized:` entry."""
    weights: dict[str, Tensor]
    sha256: str


def read_sb3_file(path: Path) -> Sb3File:
    """Read settings and parameters in memory; nothing is ever unpacked to the disk.

    CorruptFileError if the file was truncated or edited, was not written by Stable-Baselines3, would write outside a folder,
    or unpacks to absurd sizes; or if its parameters are more than tensors.
    """
    content, name = read_model_file(path, _LARGEST_FILE), str(path)
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            _check_names([info.filename for info in archive.infolist()], name)
            if missing := {DATA, WEIGHTS} - set(archive.namelist()):
                lacks = " and no ".join(sorted(missing))
                raise CorruptFileError(f"{name} was not written by Stable-Baselines3: it has no {lacks}")
            data, weights = (_member(archive, member, name) for member in (DATA, WEIGHTS))
    except _ZIP_ERRORS as error:
        raise CorruptFileError(f"{name} is not a readable .zip; it was truncated or edited: {error}") from error
    return Sb3File(name, _json(data, name), _tensors(weights, name), hashlib.sha256(content).hexdigest())


def _check_names(members: list[str], name: str) -> None:
    if len(members) > _MOST_MEMBERS or len(set(members)) != len(members):
        found = f"{len(members)} members, some twice or too many"
        raise CorruptFileError(f"{name} was not written by Stable-Baselines3: it has {found}")
    for member in members:
        posix, windows = PurePosixPath(member), PureWindowsPath(member)
        if posix.is_absolute() or windows.anchor or ".." in (*posix.parts, *windows.parts):
            raise CorruptFileError(f"{name} was made to do harm: its member {member!r} points outside the archive")


def _member(archive: zipfile.ZipFile, member: str, name: str) -> bytes:
    info = archive.getinfo(member)
    if info.flag_bits & _ENCRYPTED or info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise CorruptFileError(f"{name}: its member {member} is encrypted, or compressed with an unknown method")
    if info.file_size > (most := _LARGEST[member]):
        raise CorruptFileError(f"{name}: its member {member} unpacks to {info.file_size:,} bytes, {most:,} is allowed")
    with archive.open(info) as file:  # `archive.read` would unpack first and compare with the stated size afterwards
        content = file.read(info.file_size + 1)
    if len(content) != info.file_size:
        raise CorruptFileError(f"{name}: its member {member} holds {len(content):,} bytes and claims {info.file_size:,}")
    return content


def _json(text: bytes, name: str) -> dict[str, Any]:
    try:
        data = json.loads(text)
    except (ValueError, RecursionError):
        data = None
    if not isinstance(data, dict):
        raise CorruptFileError(f"{name}: its member {DATA} is not a JSON object of settings")
    return data


def _tensors(content: bytes, name: str) -> dict[str, Tensor]:
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            infos = archive.infolist()
    except _ZIP_ERRORS as error:
        raise CorruptFileError(f"{name}: {WEIGHTS} is not a file of torch's ({error})") from error
    _check_names([info.filename for info in infos], name)
    packed = any(info.compress_type != zipfile.ZIP_STORED or info.file_size != info.compress_size for info in infos)
    if packed or sum(info.file_size for info in infos) > len(content):  # an honest file unpacks to no more than its own size
        raise CorruptFileError(f"{name}: {WEIGHTS} unpacks to more than it holds, which torch never writes")
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


def _is_dense(value: Any) -> bool:
    """Whether every element lies in memory: a sparse or endlessly repeated one may claim any size."""
    if type(value) is not Tensor or value.layout != torch.strided or value.device.type != "cpu" or value.is_quantized:
        return False
    return value.numel() * value.element_size() <= value.untyped_storage().nbytes()


Family = Literal["A2C or PPO", "DQN", "SAC", "TD3"]
_FAMILIES: dict[str, Family] = {"common": "A2C or PPO", "dqn": "DQN", "sac": "SAC", "td3": "TD3"}
"""Packages of Stable-Baselines3 → the algorithms whose policies they define."""

ACTIVATIONS: dict[str, type[nn.Module]] = {
    "tanh": nn.Tanh, "relu": nn.ReLU, "leaky_relu": nn.LeakyReLU, "elu": nn.ELU, "gelu": nn.GELU, "silu": nn.SiLU,
    "sigmoid": nn.Sigmoid, "softplus": nn.Softplus, "mish": nn.Mish, "selu": nn.SELU, "celu": nn.CELU,
}  # fmt: skip
_TORCH_NAMES = {module.__name__: name for name, module in ACTIVATIONS.items()}

_KNOWN_EXTRACTORS = ("NatureCNN", "FlattenExtractor")
_OWN = "build it yourself in module:factory (docs/bring-your-own-policy.md)"


@dataclass(frozen=True)
class SpaceText:
    """A space as the JSON describes it, None where it does not; `kind` is Gymnasium's class, arrays are flat."""

    kind: str
    shape: tuple[int, ...] | None
    dtype: str | None
    n: int | None = None
    start: int = 0
    is_bytes: bool = False
    """A Box of bytes from 0 to 255 everywhere."""
    low: tuple[float, ...] | None = None
    high: tuple[float, ...] | None = None
    nvec: tuple[float, ...] | None = None

    def __str__(self) -> str:
        if self.kind == "MultiDiscrete" and self.nvec is not None:
            return f"MultiDiscrete([{', '.join(f'{n:g}' for n in self.nvec)}])"
        if self.kind == "Discrete":
            return f"Discrete({self.n}{f', start={self.start}' if self.start else ''})"
        return f"{self.kind} of {self.dtype}, shape {self.shape}"


@dataclass(frozen=True, kw_only=True)
class Description:
    """A policy as its file describes it without a pickle."""

    family: Family
    activation: str
    """Between the fully connected layers."""
    observations: SpaceText
    actions: SpaceText
    normalize_images: bool
    """Bytes are divided by 255."""
    squash_output: bool
    """Actions of A2C and PPO are scaled from [−1, 1] to their range; with state-dependent exploration, after a tanh."""
    clip_mean: float
    """Limit of the means of SAC with state-dependent exploration."""


def describe(file: Sb3File, activation: str | None = None) -> Description:
    """Return the description of the policy in a file; `activation` is for files that record it only as a pickle.

    CorruptFileError if the JSON contains other types of values than Stable-Baselines3 writes.
    """
    family, name = _family(file), file.name
    settings = {"normalize_images": True, "squash_output": False, "clip_mean": 2.0, **_entry(file, "policy_kwargs")}
    extractor = settings.get("features_extractor_class")
    if extractor is not None and _class_name(extractor) not in _KNOWN_EXTRACTORS:
        raise IncompatibleModelError(f"{name}: its features extractor {extractor} is not Stable-Baselines3's own; {_OWN}")
    for key, kinds in (("normalize_images", bool), ("squash_output", bool), ("clip_mean", int | float)):
        if not isinstance(settings[key], kinds):
            wanted = "true or false" if kinds is bool else "a number"
            raise CorruptFileError(f"{name}: its {key} must be {wanted}, got {settings[key]!r}")
    return Description(
        family=family,
        activation=_activation(name, settings, family, activation),
        observations=_space(file, "observation_space"),
        actions=_space(file, "action_space"),
        normalize_images=settings["normalize_images"],
        squash_output=settings["squash_output"],
        clip_mean=float(settings["clip_mean"]),
    )


def _family(file: Sb3File) -> Family:
    module = str(_entry(file, "policy_class").get("__module__", "unknown"))
    found = re.fullmatch(r"stable_baselines3\.(\w+)\.policies", module)
    if "recurrent" in module or any("lstm" in key for key in file.weights):
        reason = "a recurrent policy carries a state from step to step, which phr cannot distil"
    elif "maskable" in module:
        reason = "an action-masked policy (MaskablePPO) needs its masks, which phr cannot distil"
    elif found is None or found[1] not in _FAMILIES:
        reason = f"its policy comes from {module}, not from Stable-Baselines3's A2C, PPO, DQN, SAC or TD3; {_OWN}"
    else:
        return _FAMILIES[found[1]]
    raise IncompatibleModelError(f"{file.name}: {reason}")


def _activation(name: str, settings: dict[str, Any], family: Family, asked: str | None) -> str:
    if asked is not None and asked not in ACTIVATIONS:
        raise SettingError(f"unknown activation {asked!r}; choose one of {', '.join(ACTIVATIONS)}")
    recorded = settings.get("activation_fn")
    if recorded is None:
        return asked or ("tanh" if family == "A2C or PPO" else "relu")
    torch_name = _class_name(recorded)
    if not torch_name and asked is None:
        raise SettingError(f"{name}: its activation function {recorded!r} cannot be read; add --activation tanh|relu|...")
    if torch_name and torch_name not in _TORCH_NAMES:  # another one would make another policy of it
        known = ", ".join(_TORCH_NAMES)
        raise IncompatibleModelError(f"{name}: its activation function must be one of {known}, got {torch_name}; {_OWN}")
    found = _TORCH_NAMES.get(torch_name, asked or "")
    if asked not in (None, found):
        raise SettingError(f"{name} has the activation function {found}, not {asked}; leave --activation out")
    return found


def _entry(file: Sb3File, key: str) -> dict[str, Any]:
    value = file.data.get(key, {})
    if not isinstance(value, dict):
        raise CorruptFileError(f"{file.name}: the entry {key} of its settings must be an object")
    return value


def _class_name(text: object) -> str:
    """Return the bare name in `<class 'package.module.Name'>`; empty for any other text."""
    found = re.fullmatch(r"<class '(?:torch\.nn|stable_baselines3)\.(?:\w+\.)*(\w+)'>", str(text))
    return found[1] if found else ""


def _space(file: Sb3File, key: str) -> SpaceText:
    entry = _entry(file, key)
    found = re.search(r"\.spaces\.\w+\.(\w+)'", str(entry.get(":type:")))
    if found is None:
        raise CorruptFileError(f"{file.name}: its {key} must be a Gymnasium space")
    shape, is_discrete = entry.get("_shape", entry.get("shape")), found[1] == "Discrete"
    try:
        return SpaceText(
            kind=found[1],
            shape=tuple(int(side) for side in shape) if isinstance(shape, list) else None,
            dtype=str(entry["dtype"]) if "dtype" in entry else None,
            n=int(entry["n"]) if is_discrete and "n" in entry else None,
            start=int(entry.get("start", 0)) if is_discrete else 0,
            is_bytes=entry.get("dtype") == "uint8" and _holds(entry, "low", "0") and _holds(entry, "high", "255"),
            low=_printed(entry.get("low"), shape),
            high=_printed(entry.get("high"), shape),
            nvec=_printed(entry.get("nvec"), shape),
        )
    except (TypeError, ValueError) as error:
        raise CorruptFileError(f"{file.name}: its {key} has a format unknown to phr: {error}") from error


def _printed(text: Any, shape: Any) -> tuple[float, ...] | None:
    """Return the numbers of a printed array of this shape, flat; None if some are missing (long ones have an ellipsis)."""
    try:
        numbers = tuple(float(word) for word in re.sub(r"[][,]", " ", str(text)).split())
        return numbers if len(numbers) == math.prod(shape) else None
    except (TypeError, ValueError):
        return None


def _holds(entry: dict[str, Any], bound: str, number: str) -> bool:
    """Whether the printed bound of a Box of bytes holds this number alone; long ones have an ellipsis, some are missing."""
    return set(re.findall(r"\d{1,3}", f"{entry.get(bound)} {entry.get(f'{bound}_repr')}")) <= {number}
