"""Head 1 and the value head, run slice by slice while acting and differentiated in one backward pass.

An on-policy update needs the gradient at the very weights that acted, so the layers' outputs are kept while acting and the
update begins with the backward pass. The hand-written derivatives and `FlatParameters` save a quarter to a third of A2C's
time on a grid (LOG.md). The passes may run in bfloat16; weights and gradients stay float32.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float, Shaped
from torch import Tensor, nn

from phr.actions import Discrete
from phr.errors import IncompatibleModelError
from phr.networks.policy import PlanNetwork
from phr.networks.trunks import channels_last


class FlatParameters:
    """The parameters of a network, and their gradients, as two vectors; the network's own tensors become views of them.

    An optimizer whose only parameter is `vector` takes five operations a step instead of five for each tensor, whose cost is
    mostly the call.
    """

    def __init__(self, network: nn.Module) -> None:
        parameters = list(network.parameters())
        self.vector = nn.Parameter(torch.cat([p.detach().flatten() for p in parameters]))
        self.vector.grad = self.gradient = torch.zeros_like(self.vector)
        sizes = [p.numel() for p in parameters]
        parts = zip(self.vector.detach().split(sizes), self.gradient.split(sizes), strict=True)
        for parameter, (value, gradient) in zip(parameters, parts, strict=True):
            parameter.data = value.view_as(parameter)
            parameter.grad = gradient.view_as(parameter)

    def clip_gradient(self, max_norm: float) -> float:
        """Scale the gradient down to this norm where it is longer, as torch's `clip_grad_norm_`; return the norm it had."""
        norm = float(self.gradient.norm())
        if norm > max_norm:
            self.gradient.mul_(max_norm / (norm + 1e-6))
        return norm


class Tape:
    """`PlanNetwork.policy_and_value` for the layers that `Trunk` builds, recorded until `backward`.

    The layers are convolutions and fully connected layers with a bias, each followed by a leaky ReLU. Gradients are added to
    those of `FlatParameters`. `IncompatibleModelError` for other layers, and for actions that are not Discrete.
    """

    def __init__(self, network: PlanNetwork, dtype: torch.dtype = torch.float32) -> None:
        if not isinstance(network.config.actions, Discrete):
            raise IncompatibleModelError(f"stage 1 trains networks over Discrete actions, got {network.config.actions}")
        self._trunk = network.trunk_of_first
        if len(self._trunk.residual):
            raise IncompatibleModelError("stage 1 has no gradient for residual layers")
        self._layers = _modelled(self._trunk.layers)
        # The scale of the observations goes into the weights that read them: bytes need no multiplication then.
        self._scale = 1.0 if self._trunk.normalize else self._trunk.scale
        self._plan_head, self._value_head = network.plan_head, network.value_head
        self._n_actions, self._dtype = network.config.n_actions, dtype
        self._seen, self._n_seen = torch.empty(0), 0
        self._slices: list[list[Tensor]] = []
        self.refresh()

    @torch.inference_mode()
    def refresh(self) -> None:
        """Read the network's changed parameters, and forget the record."""
        self._slices.clear()
        self._n_seen, n = 0, self._n_actions
        heads = torch.cat([self._plan_head.weight[:n], self._value_head.weight])
        biases = torch.cat([self._plan_head.bias[:n], self._value_head.bias])
        first, *others = self._layers
        pairs = [(first.weight * self._scale, _bias(first)), *((layer.weight, _bias(layer)) for layer in others)]
        self._weights = [(channels_last(w.to(self._dtype)), b.to(self._dtype)) for w, b in [*pairs, (heads, biases)]]

    @torch.inference_mode()
    def forward(
        self, obs: Shaped[Tensor, "batch *shape"], *, record: bool = True
    ) -> tuple[Float[Tensor, "batch n_actions"], Float[Tensor, " batch"]]:
        """Return logits of head 1 and state values of a slice of observations, float32; `record` keeps it for `backward`."""
        x = self._as_numbers(obs, record)
        answers = []
        for layer, (weight, bias) in zip(self._layers, self._weights, strict=False):
            if isinstance(layer, nn.Conv2d):
                x = F.conv2d(x, weight, bias, layer.stride, layer.padding)
            else:
                x = F.linear(x.flatten(1), weight, bias)
            x = F.leaky_relu_(x)
            answers.append(x)
        if record:
            self._slices.append(answers)
        out = F.linear(x, *self._weights[-1]).float()
        return out[:, :-1], out[:, -1]

    def _as_numbers(self, obs: Tensor, record: bool) -> Tensor:
        """Return observations as the first layer reads them, but for `_scale`."""
        if self._trunk.normalize:
            x = self._trunk.prepare(obs, torch.float32).to(self._dtype)
        else:
            x = obs.movedim(-1, 1) if self._trunk.channels_last else obs
            x = x if self._trunk.view is None else self._trunk.view(x)
            # Turning bytes round is cheaper than turning float32; for bfloat16 it is the other way about.
            bytes_first = x.dtype is torch.uint8 and self._dtype is torch.float32
            x = channels_last(x) if bytes_first else x.to(self._dtype)
        return self._room(x.shape).copy_(x) if record else channels_last(x.to(self._dtype))

    def _room(self, shape: Sequence[int]) -> Tensor:
        """Return where to record further observations."""
        begin, end = self._n_seen, self._n_seen + shape[0]
        if len(self._seen) < end:
            layout = torch.channels_last if len(shape) == 4 else torch.contiguous_format
            n_rows = max(end, 2 * len(self._seen))
            larger = torch.empty((n_rows, *shape[1:]), dtype=self._dtype, memory_format=layout)
            if begin:
                larger[:begin] = self._seen[:begin]
            self._seen = larger
        self._n_seen = end
        return self._seen[begin:end]

    @torch.inference_mode()
    def backward(self, d_logits: Float[Tensor, "total n_actions"], d_values: Float[Tensor, " total"]) -> None:
        """Add the gradient of everything recorded, and forget the record; slices follow each other in the derivatives."""
        kept = [self._seen[: self._n_seen], *(torch.cat(parts) for parts in zip(*self._slices, strict=True))]
        self._slices.clear()
        self._n_seen, n = 0, self._n_actions
        gradient = torch.cat([d_logits, d_values.unsqueeze(1)], dim=1).to(self._dtype)
        d_weight, d_bias = gradient.t() @ kept[-1].flatten(1), gradient.sum(0)
        _add_gradient(self._plan_head, d_weight[:n], d_bias[:n])
        _add_gradient(self._value_head, d_weight[n:], d_bias[n:])
        gradient = gradient @ self._weights[-1][0]
        for index in reversed(range(len(self._layers))):
            layer, (weight, _), x, y = self._layers[index], self._weights[index], kept[index], kept[index + 1]
            gradient = channels_last(gradient.view(y.shape))
            gradient = torch.ops.aten.leaky_relu_backward(gradient, y, _SLOPE, True)
            if isinstance(layer, nn.Conv2d):
                gradient, d_weight, d_bias = torch.ops.aten.convolution_backward(
                    gradient, x, weight, [layer.out_channels], layer.stride, layer.padding, layer.dilation,
                    False, [0, 0], layer.groups, [index > 0, True, True],
                )  # fmt: skip
            else:
                d_weight, d_bias = gradient.t() @ x.flatten(1), gradient.sum(0)
                gradient = gradient @ weight if index > 0 else gradient
            _add_gradient(layer, d_weight if index > 0 else d_weight * self._scale, d_bias)


_SLOPE = nn.LeakyReLU().negative_slope


def _modelled(layers: nn.Sequential) -> list[nn.Conv2d | nn.Linear]:
    """Return the layers that have weights; refuse those that `forward` and `backward` do not compute."""
    found: list[nn.Conv2d | nn.Linear] = []
    parts = [layer for layer in layers if not isinstance(layer, nn.Flatten)]  # every linear layer reads its input flat
    for layer, activation in itertools.zip_longest(parts[::2], parts[1::2]):
        leaky = isinstance(activation, nn.LeakyReLU) and activation.negative_slope == _SLOPE
        plain = not isinstance(layer, nn.Conv2d) or (
            (layer.dilation, layer.groups, layer.padding_mode) == ((1, 1), 1, "zeros") and not isinstance(layer.padding, str)
        )
        if not (leaky and isinstance(layer, nn.Conv2d | nn.Linear) and layer.bias is not None and plain):
            raise IncompatibleModelError(f"stage 1 has no gradient for the layers {layer} and {activation}")
        found.append(layer)
    return found


def _bias(layer: nn.Conv2d | nn.Linear) -> Tensor:
    assert layer.bias is not None, "every layer of a trunk has a bias"
    return layer.bias


def _add_gradient(layer: nn.Conv2d | nn.Linear, d_weight: Tensor, d_bias: Tensor) -> None:
    """Add to the first rows of a layer's gradients (a head of horizon 1 may be one of many)."""
    for parameter, gradient in ((layer.weight, d_weight), (_bias(layer), d_bias)):
        assert parameter.grad is not None, "the gradients are views (FlatParameters)"
        parameter.grad[: len(gradient)] += gradient
