"""From the numbers of a network to continuous actions."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from phr.actions import Continuous

LOG_SPREAD = (-5.0, 1.0)
"""Limits of a logarithm of the spread, in units of half the range: 0.7 % of it, and more than all of it."""


class ActionScale(nn.Module):
    """Numbers around 0 → continuous actions around the middle of their range; logarithms of a spread are kept in limits.

    The bounds are constants of the configuration, so they are no part of the weights.
    """

    center: Tensor
    unit: Tensor

    def __init__(self, space: Continuous) -> None:
        super().__init__()
        self.register_buffer("center", torch.from_numpy(space.bounds.center), persistent=False)
        self.register_buffer("unit", torch.from_numpy(space.bounds.unit), persistent=False)

    def forward(self, numbers: Tensor) -> Tensor:
        """Shape `(*batch, d)` or `(*batch, 2 d)`, as it came."""
        n = len(self.center)
        actions = self.center + self.unit * numbers[..., :n]
        if numbers.shape[-1] == n:
            return actions
        return torch.cat([actions, _limited(numbers[..., n:])], dim=-1)


def _limited(log_spread: Tensor) -> Tensor:
    """Within `LOG_SPREAD`; training also hears what leads back from beyond."""
    if not log_spread.requires_grad:
        return log_spread.clamp(*LOG_SPREAD)
    limited: Tensor = _Limited.apply(log_spread)  # type: ignore[no-untyped-call]
    return limited


class _Limited(torch.autograd.Function):
    """A clamp that lets through, beyond a limit, the gradients that descend towards it.

    Those of a plain clamp are all 0 there, so a spread that has once come to a limit would stay.
    """

    @staticmethod
    def forward(ctx: Any, log_spread: Tensor) -> Tensor:
        ctx.save_for_backward(log_spread)
        return log_spread.clamp(*LOG_SPREAD)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        (log_spread,), (gradient,), (low, high) = ctx.saved_tensors, gradients, LOG_SPREAD
        leads_out = ((log_spread < low) & (gradient > 0)) | ((log_spread > high) & (gradient < 0))
        return gradient.masked_fill(leads_out, 0.0)
