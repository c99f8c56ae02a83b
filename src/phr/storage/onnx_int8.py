"""Int8 quantisation of an exported model, and its cost.

Static quantisation (Jacob et al. 2018, arXiv:1712.05877): the range of every activation is fixed beforehand on real
observations. Choosing it per call ("dynamic") measured no faster than float32 on these networks.
"""

from __future__ import annotations

import logging
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from phr.acting.runtime import OBS, OnnxPlanner
from phr.manifest import Manifest

_ENOUGH = 64
"""From this many observations, half are held out to measure on; fewer serve for both."""
_BATCH = 64


@dataclass(frozen=True)
class Int8Cost:
    """Agreement of the int8 plan with the float plan.

    Attributes:
        agreement: Fraction of all planned actions.
        agreement_per_head: The same for each step of the plan.
        max_difference: Largest difference between two logits, or two numbers of continuous actions.
        n_observations: Real observations it was measured on.
        held_out: Whether the ranges were chosen on different observations.
    """

    agreement: float
    agreement_per_head: tuple[float, ...]
    max_difference: float
    n_observations: int
    held_out: bool

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {**asdict(self), "agreement_per_head": list(self.agreement_per_head)}

    def __str__(self) -> str:
        worst = int(np.argmin(self.agreement_per_head))
        seen = "that its ranges were not chosen on" if self.held_out else "that its ranges were chosen on, there are no more"
        return (
            f"plans {self.agreement:.2%} of the float file's actions on {self.n_observations} real observations {seen} "
            f"(head 1 {self.agreement_per_head[0]:.2%}; worst, head {worst + 1}, {self.agreement_per_head[worst]:.2%}); "
            f"outputs within {self.max_difference:.2g}"
        )


def quantize(data: bytes, manifest: Manifest, obs: NDArray[Any]) -> tuple[bytes, Int8Cost]:
    """Round weights and activations to 8 bits.

    Args:
        data: The float model, serialised.
        manifest: Its manifest.
        obs: Real observations in random order, at least one.

    Returns:
        The int8 model, serialised, and its cost.
    """
    held_out = len(obs) >= _ENOUGH
    calibration, measured = (obs[::2], obs[1::2]) if held_out else (obs, obs)
    rounded = _static(data, calibration)
    exact, near = (_all_logits(OnnxPlanner(each, manifest), measured) for each in (data, rounded))
    actions = (manifest.actions.plan(each).mode() for each in (exact, near))
    agreeing = manifest.actions.agree(*actions).mean(axis=0, dtype=np.float64)
    return rounded, Int8Cost(
        agreement=round(float(agreeing.mean()), 6),
        agreement_per_head=tuple(round(value, 6) for value in agreeing.tolist()),
        max_difference=float(np.abs(exact - near).max()),
        n_observations=len(measured),
        held_out=held_out,
    )


def _static(data: bytes, obs: NDArray[Any]) -> bytes:
    import onnx
    from onnxruntime import quantization

    class Reader(quantization.CalibrationDataReader):  # type: ignore[misc]  # onnxruntime ships no types
        def __init__(self) -> None:
            self._batches: Iterator[NDArray[Any]] = (obs[start : start + _BATCH] for start in range(0, len(obs), _BATCH))

        def get_next(self) -> dict[str, NDArray[Any]] | None:
            batch = next(self._batches, None)
            return None if batch is None else {OBS: batch}

    with quiet(), tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "int8.onnx"
        quantization.quantize_static(
            onnx.load_model_from_string(data),
            out,
            Reader(),
            quant_format=quantization.QuantFormat.QDQ,
            activation_type=quantization.QuantType.QUInt8,
            weight_type=quantization.QuantType.QInt8,
            per_channel=True,
            reduce_range=True,  # 7-bit weights: without VNNI a sum of two 8-bit products overflows 16 bits
        )
        return out.read_bytes()


def _all_logits(planner: OnnxPlanner, obs: NDArray[Any]) -> NDArray[np.float32]:
    return np.concatenate([planner.plan(obs[start : start + _BATCH]).outputs for start in range(0, len(obs), _BATCH)])


@contextmanager
def quiet() -> Iterator[None]:
    """Suppress the exporter's warnings."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
