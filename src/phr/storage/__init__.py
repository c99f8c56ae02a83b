"""Models on the disk: run directories, safetensors, ONNX."""

from __future__ import annotations

from typing import TYPE_CHECKING

from phr.lazy import lazy_names

if TYPE_CHECKING:
    from phr.storage.model import CONFIG as CONFIG
    from phr.storage.model import MODEL as MODEL
    from phr.storage.model import Model as Model
    from phr.storage.model import load_model as load_model
    from phr.storage.model import save_model as save_model
    from phr.storage.onnx_export import export_manifest as export_manifest
    from phr.storage.onnx_export import onnx_bytes as onnx_bytes
    from phr.storage.onnx_export import onnx_planner as onnx_planner
    from phr.storage.onnx_int8 import Int8Cost as Int8Cost
    from phr.storage.onnx_int8 import quantize as quantize
    from phr.storage.model import METRICS as METRICS

__getattr__, __all__ = lazy_names(
    __name__,
    {
        "model": "CONFIG METRICS MODEL Model load_model save_model",
        "onnx_export": "export_manifest onnx_bytes onnx_planner",
        "onnx_int8": "Int8Cost quantize",
    },
)
