"""Zip files with other members than they were written with."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch


def rewritten(
    path: Path,
    *,
    data: Callable[[bytes], bytes] | None = None,
    policy: Callable[[bytes], bytes] | None = None,
    weights: Callable[[dict[str, Any]], Any] | None = None,
    more: dict[str, bytes] | None = None,
    compression: int = zipfile.ZIP_STORED,
) -> Path:
    """A copy beside the file, whose JSON, parameters (as bytes or as a table) or further members are others."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    if data is not None:
        members["data"] = data(members["data"])
    if policy is not None:
        members["policy.pth"] = policy(members["policy.pth"])
    if weights is not None:
        buffer = io.BytesIO()
        torch.save(weights(torch.load(io.BytesIO(members["policy.pth"]), weights_only=True)), buffer)
        members["policy.pth"] = buffer.getvalue()
    changed = path.with_name(f"changed-{path.name}")
    with zipfile.ZipFile(changed, "w", compression) as archive:
        for name, content in {**members, **(more or {})}.items():
            archive.writestr(name, content)
    return changed
