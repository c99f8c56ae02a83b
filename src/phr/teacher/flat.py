"""All parameters of a network in one vector."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class FlatParameters:
    """The parameters of a network, and their gradients, as two vectors; the network's own tensors become views of them.

    A small network's optimizer step is mostly the cost of calling: five operations for each of a dozen tensors. On one
    vector it is five operations. Everything else (saving, loading, autograd, a layer's gradient) goes on as before.

    Args:
        network: Its parameters must be float32 and on one device.

    Attributes:
        vector: An optimizer's only parameter; its `.grad` is always there.
    """

    def __init__(self, network: nn.Module) -> None:
        parameters = list(network.parameters())
        self.vector = nn.Parameter(torch.cat([p.detach().flatten() for p in parameters]))
        self.vector.grad = torch.zeros_like(self.vector)
        sizes = [p.numel() for p in parameters]
        parts = zip(self.vector.detach().split(sizes), self.vector.grad.split(sizes), strict=True)
        for parameter, (value, gradient) in zip(parameters, parts, strict=True):
            parameter.data = value.view_as(parameter)
            parameter.grad = gradient.view_as(parameter)

    @property
    def gradient(self) -> Tensor:
        """The gradient of every parameter, one after the other."""
        assert self.vector.grad is not None
        return self.vector.grad

    def clip_gradient(self, max_norm: float) -> float:
        """Scale the gradient down to this norm where it is longer, as `torch.nn.utils.clip_grad_norm_` does.

        Returns:
            The norm it had.
        """
        norm = float(self.gradient.norm())
        if norm > max_norm:
            self.gradient.mul_(max_norm / (norm + 1e-6))
        return norm
