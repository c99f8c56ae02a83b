"""The number type that layers compute in while training."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

Precision = Literal["auto", "float32", "bfloat16"]


def compute_dtype(precision: Precision, *, convolutions: bool) -> torch.dtype:
    """Return the number type of a precision.

    Args:
        precision: `auto` is bfloat16 for convolutions where the CPU multiplies it natively, since that takes half the time;
            else float32.
        convolutions: Whether the network has any. Without, there is little to gain, and vectors of measurements lose digits
            that images do not have.
    """
    if precision == "auto":
        if not convolutions:
            return torch.float32
        has = torch.cpu.get_capabilities()
        return torch.bfloat16 if has.get("avx512_bf16") or has.get("amx_bf16") else torch.float32
    return torch.bfloat16 if precision == "bfloat16" else torch.float32


def computing_in(dtype: torch.dtype) -> torch.autocast:
    """Return a context in which layers compute in this type; weights, gradients and losses stay float32."""
    return torch.autocast("cpu", dtype, enabled=dtype != torch.float32)


def channels_last(x: Tensor) -> Tensor:
    """Return images with their channels last in memory, the layout that convolutions are fastest in; else `x` itself."""
    return x.contiguous(memory_format=torch.channels_last) if x.dim() == 4 else x
