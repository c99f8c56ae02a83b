"""Models for a machine without torch."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from phr.api.learn import load
from phr.storage.model import Model

if TYPE_CHECKING:
    from phr.storage.onnx_export import Export


def export_onnx(model: str | Path | Model, out: str | Path, *, int8: bool = False, env_id: str | None = None) -> Export:
    """Write a model as ONNX, to run without torch (`phr.acting.runtime`); nothing is written where it differs from torch.

    Args:
        model: A model, a run directory or `zoo:NAME`.
        out: The file, `….onnx`; one that is there is replaced.
        int8: Write `….int8.onnx` too: smaller and faster, with the measured cost in agreement.
        env_id: Where to meet the observations that it is compared on; the model's own environment by default. Folders whose
            environment is a `module:factory` need it: no file runs code that the user did not name.

    Returns:
        What was written, and what it was compared on.

    Raises:
        ExportMismatchError: If the exported model differs from torch.
        UnknownModelError: If the reference leads nowhere, or stands for no network.
        UsageError: If the file cannot be written there, or int8 has no environment to choose its ranges in.
    """
    from phr.storage.onnx_export import export_onnx as export  # onnx takes a while to import

    return export(model if isinstance(model, Model) else load(model), Path(out), int8=int8, env_id=env_id)
