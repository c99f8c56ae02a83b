"""Models on the disk: run directories, safetensors, ONNX."""

from __future__ import annotations

from typing import TYPE_CHECKING

from phr.lazy import lazy_names

if TYPE_CHECKING:
    from phr.storage.model import CONFIG as CONFIG, METRICS as METRICS, MODEL as MODEL, Model as Model
    from phr.storage.model import load_model as load_model, save_model as save_model
    from phr.storage.owner import owned as owned, record_command as record_command, sweep_locks as sweep_locks
    from phr.storage.onnx_export import Int8Cost as Int8Cost, export_manifest as export_manifest, onnx_bytes as onnx_bytes
    from phr.storage.onnx_export import onnx_planner as onnx_planner, quantize as quantize

__getattr__, __all__ = lazy_names(
    __name__,
    {
        "model": "CONFIG METRICS MODEL Model load_model save_model",
        "owner": "owned record_command sweep_locks",
        "onnx_export": "Int8Cost export_manifest onnx_bytes onnx_planner quantize",
    },
)
