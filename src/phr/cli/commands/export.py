"""`phr export`."""

from __future__ import annotations

from dataclasses import dataclass

import phr
from phr.cli.display import say
from phr.cli.words import Flag, ModelReference, OnnxFile, OptionalEnvId


@dataclass(frozen=True, kw_only=True)
class Export:
    """Write a model as ONNX, to run it without torch."""

    model: ModelReference
    """A run directory or zoo:NAME."""
    out: OnnxFile
    """The file, FILE.onnx; one that is there is replaced."""
    env_id: OptionalEnvId = None
    """Where to compare; the model's own environment by default. One that is code (module:factory) has to be named here."""
    int8: Flag = False
    """Write FILE.int8.onnx too, in 8-bit numbers, and say what that costs."""

    def run(self) -> None:
        """Export, and say what the file was compared on."""
        export = phr.export_onnx(self.model, self.out, int8=self.int8, env_id=self.env_id)
        say(str(export))
        say(f"written to {export.path}" + (f" and {export.int8_path}" if export.int8_path else ""))
