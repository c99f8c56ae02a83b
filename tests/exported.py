"""The corridor's student as ONNX, exported once for all tests that only read it."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from phr.acting.onnx_file import seal
from phr.manifest import Manifest
from phr.storage.onnx_export import export_manifest, onnx_bytes
from tests.trained import corridor_student


@cache
def corridor_graph() -> bytes:
    """The serialised graph, without manifest and hash."""
    return onnx_bytes(corridor_student())


def corridor_manifest() -> Manifest:
    """What the exported file says of itself."""
    return export_manifest(corridor_student())


def corridor_file(folder: Path) -> Path:
    """A file as `phr export` writes it."""
    path = folder / "student.onnx"
    path.write_bytes(seal(corridor_graph(), corridor_manifest()))
    return path
