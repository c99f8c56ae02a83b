"""Tiny students for the sections; exporting takes seconds, so torch stands in for ONNX Runtime where that does no harm."""

from __future__ import annotations

from pathlib import Path

import pytest

from phr.storage.model import Model
from phr_studies.bench import backends, latency, loops, vectors
from tests.trained import corridor_student, saved


def torch_for_onnx(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the sections that plan with an exported network plan with torch."""

    def planner(model: Model) -> object:
        return model.planner

    for module in (backends, latency, loops, vectors):
        monkeypatch.setattr(module, "onnx_planner", planner)


def corridor_reference(folder: Path) -> str:
    """The corridor's student of horizon 4, as a reference."""
    return str(saved(corridor_student(), folder / "student"))
