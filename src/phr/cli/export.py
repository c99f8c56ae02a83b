"""The words of `phr export`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import tyro

from phr import api
from phr.cli.display import say


@dataclass(frozen=True, kw_only=True)
class Export:
    """Write a model as ONNX, to run without torch; refuses to write what differs from torch."""

    model: tyro.conf.Positional[str]
    """A run directory or zoo:NAME."""
    out: Path
    """The file, FILE.onnx; one that is there is replaced."""
    int8: bool = False
    """Write FILE.int8.onnx too, in 8-bit numbers, and say what that costs."""

    def run(self) -> None:
        """Export, and say what the file was compared on."""
        say(str(api.export_onnx(self.model, self.out, int8=self.int8)))
