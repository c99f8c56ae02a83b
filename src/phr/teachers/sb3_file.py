"""Stable-Baselines3 `.zip` files, read without executing anything in them.

Such a file contains `data`, a JSON with cloudpickle in base64 under `:serialized:` keys, and `policy.pth`, the parameters as
torch writes them. Both are read as descriptions (`phr.teachers.inert`): nothing that a file names is imported or called.
"""

from __future__ import annotations

import base64
import hashlib
import io
import math
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any, Literal

import numpy as np
from gymnasium import spaces
from torch import Tensor, nn

from phr.errors import CorruptFileError, IncompatibleModelError
from phr.files import as_kind, parse_json, read_model_file
from phr.teachers.inert import Described, Name, array_of, describe_pickle, dtype_name, shown
from phr.teachers.sbx import is_sbx, translated
from phr.teachers.weights import read_weights

DATA, WEIGHTS = "data", "policy.pth"

_LARGEST = {DATA: 1 << 28, WEIGHTS: 1 << 31}
"""Most bytes of a member; `data` keeps the last observations of every environment, which may be images."""

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

    def described(self, key: str) -> Any:
        """Return a setting: the JSON's value, or the description of what it keeps as a pickle; None where it is missing."""
        return described(self.name, self.data, key)


def described(name: str, data: dict[str, Any], key: str) -> Any:
    """Return what `Sb3File.described` does; CorruptFileError if a pickle is broken."""
    value = data.get(key)
    if not isinstance(value, dict) or ":serialized:" not in value:
        return value
    try:
        content = base64.b64decode(value[":serialized:"], validate=False)
    except (ValueError, TypeError) as error:
        raise CorruptFileError(f"{name}: the entry {key} of its settings is not base64") from error
    return describe_pickle(content, f"{name}: the entry {key} of its settings")


def read_sb3_file(path: Path) -> Sb3File:
    """Read settings and parameters in memory; nothing is ever unpacked to the disk.

    CorruptFileError if the file was truncated or edited, was not written by Stable-Baselines3, would write outside a folder,
    or unpacks to absurd sizes; or if its parameters are more than tensors.
    """
    content, name = read_model_file(path), str(path)
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            _check_names([info.filename for info in archive.infolist()], name)
            missing = {DATA, WEIGHTS} - set(archive.namelist())
            data = {} if DATA in missing else _json(_member(archive, DATA, name), name)
            sha256, module = hashlib.sha256(content).hexdigest(), _module(data)
            if is_sbx(module):
                policy = described(name, data, "policy")
                return Sb3File(name, *translated(name, module, policy, data), sha256)
            if missing:
                lacks = " and no ".join(sorted(missing))
                raise CorruptFileError(f"{name} was not written by Stable-Baselines3: it has no {lacks}")
            weights = _member(archive, WEIGHTS, name)
    except _ZIP_ERRORS as error:
        raise CorruptFileError(f"{name} is not a readable .zip; it was truncated or edited: {error}") from error
    return Sb3File(name, data, read_weights(weights, f"{name}: {WEIGHTS}"), sha256)


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
    member = f"{name}: its member {DATA}"
    return as_kind(parse_json(text, member, finite=False), dict[str, Any], member)


Family = Literal["A2C, PPO or TRPO", "DQN", "QR-DQN", "SAC or TQC", "TD3 or DDPG", "ARS"]
_FAMILIES: dict[str, Family] = {
    "stable_baselines3.common.policies": "A2C, PPO or TRPO",
    "sb3_contrib.common.maskable.policies": "A2C, PPO or TRPO",
    "sb3_contrib.common.recurrent.policies": "A2C, PPO or TRPO",
    "stable_baselines3.dqn.policies": "DQN",
    "stable_baselines3.sac.policies": "SAC or TQC",
    "stable_baselines3.td3.policies": "TD3 or DDPG",
    "sb3_contrib.ars.policies": "ARS",
    "sb3_contrib.qrdqn.policies": "QR-DQN",
    "sb3_contrib.tqc.policies": "SAC or TQC",
}
"""Modules of Stable-Baselines3 and sb3-contrib → the algorithms whose policies they define."""
_SHOW_NORMALIZATION: tuple[Family, ...] = ("A2C, PPO or TRPO", "ARS")
"""Algorithms that keep an observation from before its normalisation where there is one; others always keep one."""

_ACTIVATIONS = (
    nn.Tanh, nn.ReLU, nn.LeakyReLU, nn.ELU, nn.GELU, nn.SiLU, nn.Sigmoid, nn.Softplus, nn.Mish, nn.SELU, nn.CELU, nn.ReLU6,
    nn.Hardtanh, nn.Hardswish, nn.Softsign,
)  # fmt: skip
_EXTRACTORS = ("NatureCNN", "FlattenExtractor", "CombinedExtractor")
_OWN = "build it yourself in module:factory (docs/bring-your-own-policy.md)"


@dataclass(frozen=True, kw_only=True)
class Description:
    """A policy as its file describes it."""

    family: Family
    activation: type[nn.Module]
    """Between the fully connected layers."""
    observations: spaces.Space[Any]
    actions: spaces.Space[Any]
    normalize_images: bool
    """Bytes are divided by 255."""
    squash_output: bool
    """Actions of A2C and PPO are scaled from [−1, 1] to their range; with state-dependent exploration, after a tanh."""
    clip_mean: float
    """Limit of the means of SAC with state-dependent exploration."""
    n_quantiles: int
    is_masked: bool
    """Illegal actions are masked: MaskablePPO."""
    is_recurrent: bool
    """An LSTM stands before the fully connected layers: RecurrentPPO."""
    by_vecnormalize: bool | None
    """Whether it was trained in a `VecNormalize`, maybe of rewards alone; None where the file does not show it."""


def describe(file: Sb3File) -> Description:
    """Return the description of the policy in a file.

    CorruptFileError if a setting has another type than Stable-Baselines3 writes; IncompatibleModelError for a policy that
    phr does not read.
    """
    family, name = _family(file), file.name
    given = file.described("policy_kwargs") or {}
    if not isinstance(given, dict):
        raise CorruptFileError(f"{name}: the entry policy_kwargs of its settings must be an object")
    squash = family == "ARS" and shown(file.described("policy_class")).endswith(".ARSPolicy")
    known = {"normalize_images": True, "squash_output": squash, "clip_mean": 2.0, "n_quantiles": 200}
    settings = {**known, **given}
    extractor = settings.get("features_extractor_class")
    if extractor is not None and not (
        isinstance(extractor, Name) and extractor.name in _EXTRACTORS and _is_theirs(extractor)
    ):
        raise IncompatibleModelError(
            f"{name}: its features extractor {shown(extractor)} is not Stable-Baselines3's own; {_OWN}"
        )
    for key, kinds in (
        ("normalize_images", bool),
        ("squash_output", bool),
        ("clip_mean", int | float),
        ("n_quantiles", int),
    ):
        if not isinstance(settings[key], kinds):
            wanted = "true or false" if kinds is bool else "a number"
            raise CorruptFileError(f"{name}: its {key} must be {wanted}, got {shown(settings[key])}")
    return Description(
        family=family,
        activation=_activation(name, settings.get("activation_fn"), family),
        observations=_space(file, "observation_space"),
        actions=_space(file, "action_space"),
        normalize_images=settings["normalize_images"],
        squash_output=settings["squash_output"],
        clip_mean=_real(settings["clip_mean"]),
        n_quantiles=settings["n_quantiles"],
        is_masked=".maskable." in _module(file.data),
        is_recurrent=".recurrent." in _module(file.data),
        by_vecnormalize=_by_vecnormalize(file) if family in _SHOW_NORMALIZATION else None,
    )


def _is_theirs(name: Name) -> bool:
    return name.module.partition(".")[0] in ("stable_baselines3", "sb3_contrib")


def _family(file: Sb3File) -> Family:
    module = _module(file.data)
    if module not in _FAMILIES:
        makers = "A2C, PPO, TRPO, DQN, QR-DQN, SAC, TQC, TD3, DDPG or ARS"
        reason = f"its policy comes from {shown(module)}, not from Stable-Baselines3's {makers}; {_OWN}"
    else:
        return _FAMILIES[module]
    raise IncompatibleModelError(f"{file.name}: {reason}")


def _module(data: dict[str, Any]) -> str:
    """Return the module of the policy's class."""
    entry = data.get("policy_class", {})
    return str(entry.get("__module__", "unknown")) if isinstance(entry, dict) else "unknown"


def _activation(name: str, recorded: Any, family: Family) -> type[nn.Module]:
    if recorded is None:
        return nn.Tanh if family == "A2C, PPO or TRPO" else nn.ReLU
    found = {kind.__name__: kind for kind in _ACTIVATIONS}
    if isinstance(recorded, Name) and recorded.module.startswith("torch.nn") and recorded.name in found:
        return found[recorded.name]
    raise IncompatibleModelError(
        f"{name}: its activation function must be one of {', '.join(found)}, got {shown(recorded)}; {_OWN}"
    )


def _by_vecnormalize(file: Sb3File) -> bool | None:
    """Whether the file keeps an observation from before its normalisation; None if it keeps no observation at all."""
    if not {"_last_obs", "_last_original_obs"} <= set(file.data) or file.data["_last_obs"] is None:
        return None
    return file.data["_last_original_obs"] is not None


def _space(file: Sb3File, key: str) -> spaces.Space[Any]:
    try:
        return _space_of(file.described(key))
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError, AssertionError) as error:
        raise CorruptFileError(f"{file.name}: its {key} must be a Gymnasium space ({error})") from error


def _space_of(described: Any, *, is_inner: bool = False) -> spaces.Space[Any]:
    """Build a space from its description; ValueError if it is none that policies are trained in."""
    made_by = described.made_by if isinstance(described, Described) else None
    state = described.state if isinstance(described, Described) else None
    if (
        not isinstance(made_by, Name)
        or made_by.module.partition(".")[0] not in ("gym", "gymnasium")
        or not isinstance(state, dict)
    ):
        raise ValueError(f"got {shown(described if made_by is None else made_by)}")
    if made_by.name == "Box":
        low, high, dtype = array_of(state["low"]), array_of(state["high"]), np.dtype(dtype_name(state["dtype"]))
        return spaces.Box(low.astype(dtype), high.astype(dtype), dtype=dtype.type)
    if made_by.name == "Discrete":
        return spaces.Discrete(_whole(state["n"]), start=_whole(state.get("start", 0)))
    if made_by.name == "MultiDiscrete":
        nvec = array_of(state["nvec"])
        start = state.get("start")
        return spaces.MultiDiscrete(nvec, start=None if start is None else array_of(start))
    if made_by.name == "MultiBinary":
        n = state["n"]
        shape = array_of(n).tolist() if isinstance(n, Described) else n
        return spaces.MultiBinary([_whole(side) for side in shape] if isinstance(shape, list | tuple) else _whole(shape))
    if made_by.name == "Dict":
        parts = state["spaces"]
        entries = parts.entries if isinstance(parts, Described) else parts
        if is_inner:
            raise ValueError("got a Dict inside a Dict")
        return spaces.Dict([(str(key), _space_of(part, is_inner=True)) for key, part in entries.items()])
    raise ValueError(f"got {made_by}")


def _real(value: float) -> float:
    """Return a number as a float; too large a whole number is infinite, as a limit that never acts."""
    try:
        return float(value)
    except OverflowError:
        return math.inf


def _whole(value: Any) -> int:
    array = array_of(value)
    if array.shape or array.dtype.kind not in "iu":
        raise ValueError(f"expected a whole number, got {array}")
    return int(array)
