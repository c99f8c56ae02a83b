"""What tells one policy from another: runs are taken up again, and recorded episodes used, with their own teacher alone."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from phr.actions import ActionSpace
from phr.protocols import Planner
from phr.storage.tensors import digest

_PLAIN = (str, int, float, bool, type(None), np.generic, np.dtype, torch.device, ActionSpace)


def identity_of(policy: Any) -> str:
    """A text that differs where two policies do, `""` where nothing tells them apart.

    What bears a text `identity` is believed: a teacher that was read from a file keeps the file's hash there, and users may
    give one to a function or a planner of their own. A torch module is its weights, a planner its class and what it holds.
    A bare function is told by nothing: what it does may hang on any value that it can reach.
    """
    said = getattr(policy, "identity", None)
    if isinstance(said, str) and said:
        return said
    if isinstance(policy, nn.Module):
        return digest(dict(policy.state_dict()))
    if not isinstance(policy, Planner) or not hasattr(policy, "__dict__"):
        return ""
    kind = f"{type(policy).__module__}.{type(policy).__qualname__}"
    parts = [f"{name} {_part(value)}" for name, value in sorted(vars(policy).items()) if _part(value)]
    if "<locals>" in kind or len(parts) != len(vars(policy)):  # one name may stand for many classes, or a part says nothing
        return ""
    return hashlib.sha256("\n".join([kind, *parts]).encode()).hexdigest()


def _part(value: Any) -> str:
    """What tells one value within a planner from another, `""` where nothing does."""
    if isinstance(value, _PLAIN):
        return f"{type(value).__name__} {value!r}"
    if isinstance(value, np.ndarray):
        array = "" if value.dtype.hasobject else hashlib.sha256(np.ascontiguousarray(value).tobytes()).hexdigest()
        return array and f"{value.dtype} {value.shape} {array}"
    if isinstance(value, Tensor):
        return digest({"": value})
    if isinstance(value, list | tuple):
        parts = [_part(each) for each in value]
        return f"{type(value).__name__} {parts}" if all(parts) else ""
    return identity_of(value) if isinstance(value, nn.Module | Planner) else ""
