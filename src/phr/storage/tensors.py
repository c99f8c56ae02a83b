"""Tensors and JSON in one safetensors file: no pickle, so reading executes nothing."""

from __future__ import annotations

import hashlib
import inspect
import json
from pathlib import Path
from typing import Any, TypedDict

import safetensors
import torch
from safetensors.torch import save, save_file
from torch import Tensor

from phr.errors import CorruptFileError, IncompatibleModelError
from phr.files import as_kind, atomic_path, check_readable, parse_json


def save_tensors(path: Path, tensors: dict[str, Tensor], state: Any = None) -> None:
    """Write tensors atomically, and optionally one JSON value with a hash of everything, as no manifest lists that file."""
    contiguous = _contiguous(tensors)
    metadata = None
    if state is not None:
        # One entry, because safetensors writes several in any order and equal content must give equal bytes.
        metadata = {"state": json.dumps({"sha256": _sha256(contiguous, state), "value": state}, sort_keys=True)}
    with atomic_path(path) as temporary:
        try:
            save_file(contiguous, temporary, metadata=metadata)
        except safetensors.SafetensorError as error:  # the disk's errors as its own text
            raise OSError(str(error)) from error


def file_sha256(tensors: dict[str, Tensor]) -> str:
    """Return the SHA-256 of the file that `save_tensors` writes for tensors alone."""
    return hashlib.sha256(save(_contiguous(tensors))).hexdigest()


def _contiguous(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}


def load_tensors(path: Path, *, limited: bool = True) -> tuple[dict[str, Tensor], Any]:
    """Read what `save_tensors` wrote, of any size if not `limited`.

    CorruptFileError if it is missing, truncated, or has a state and was edited.
    """
    if not path.exists():
        raise CorruptFileError(f"{path} is missing")
    check_readable(path, limited=limited)
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
            metadata = file.metadata() or {}
    except (safetensors.SafetensorError, OSError, ValueError, TypeError) as error:
        raise CorruptFileError(f"{path} is not a readable safetensors file ({error}); it was truncated or edited") from error
    if "state" not in metadata:
        return tensors, None
    state = as_kind(parse_json(metadata["state"], str(path), finite=False), _State, str(path))
    if state["sha256"] != _sha256(tensors, state["value"]):
        raise CorruptFileError(f"{path} was edited: its content does not match its hash")
    return tensors, state["value"]


class _State(TypedDict):
    """What a file holds beside its tensors."""

    sha256: str
    value: Any


def _sha256(tensors: dict[str, Tensor], state: Any) -> str:
    return hashlib.sha256(f"{digest(tensors)} {json.dumps(state, sort_keys=True)}".encode()).hexdigest()


def digest(tensors: dict[str, Tensor]) -> str:
    """Return the SHA-256 of names, shapes and values, which identifies a set of weights."""
    found = hashlib.sha256()
    for name in sorted(tensors):
        value = tensors[name].detach().cpu().contiguous()
        found.update(f"{name} {tuple(value.shape)} {value.dtype}".encode())
        found.update(value.flatten().view(torch.uint8).numpy().tobytes())
    return found.hexdigest()


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Return an optimizer's state as named tensors."""
    state = optimizer.state_dict()["state"]
    return {f"optimizer.{index}.{name}": value for index, entry in state.items() for name, value in entry.items()}


def restore_optimizer(optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor], *, has_begun: bool) -> None:
    """Restore what `optimizer_tensors` returned, something once it has begun; IncompatibleModelError if it does not fit."""
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        if key.startswith("optimizer."):
            _, index, name = key.split(".", 2)
            shape = parameters[int(index)].shape if index.isdecimal() and int(index) < len(parameters) else None
            if shape is None or value.shape not in (shape, torch.Size()) or value.dtype != torch.float32:
                found = f"of shape {tuple(value.shape)} and {value.dtype}"
                raise IncompatibleModelError(f"{key}, {found}, does not fit the optimizer")
            state.setdefault(int(index), {})[name] = value
    if has_begun and not state:
        raise IncompatibleModelError("the optimizer's state is missing")
    if {frozenset(entry) for entry in state.values()} - {_state_names(optimizer)}:
        raise IncompatibleModelError("the optimizer's state is not the one that it keeps")
    optimizer.load_state_dict({**optimizer.state_dict(), "state": state})


def _state_names(optimizer: torch.optim.Optimizer) -> frozenset[str]:
    """Return what an optimizer keeps of each parameter, found out on one number."""
    number = torch.nn.Parameter(torch.zeros(1))
    number.grad = torch.zeros(1)
    known = inspect.signature(type(optimizer)).parameters
    twin = type(optimizer)([number], **{name: value for name, value in optimizer.defaults.items() if name in known})
    twin.step()
    return frozenset(twin.state[number])


def network_tensors(network: torch.nn.Module, prefix: str = "network.") -> dict[str, Tensor]:
    """Return a network's parameters and buffers, their names prefixed."""
    return {prefix + name: value for name, value in network.state_dict().items()}


def restore_network(network: torch.nn.Module, tensors: dict[str, Tensor], prefix: str = "network.") -> None:
    """Restore what `network_tensors` returned; IncompatibleModelError if names or shapes differ."""
    mine = {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
    try:
        network.load_state_dict(mine)
    except RuntimeError as error:
        why = str(error).splitlines()[-1].strip()
        raise IncompatibleModelError(f"the stored weights do not fit the network: {why}") from error
