"""Head 1 and the value head, run slice by slice while acting and differentiated in one go.

An on-policy update asks for the gradient at the very weights that acted, so what the layers answered while acting is kept,
and the update begins with the backward pass. Compared with running the forward pass again this saves a quarter of an A2C
update's arithmetic; the passes themselves may run in bfloat16, with weights and gradients kept in float32.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float, Shaped
from torch import Tensor, nn

from phr.networks.policy import PlanNetwork
from phr.networks.precision import channels_last


class Tape:
    """Forward passes that are remembered until `backward` uses them up.

    Args:
        network: Whose first head and value head are run; gradients end in its parameters' `.grad`.
        dtype: What the layers compute in.
    """

    def __init__(self, network: PlanNetwork, dtype: torch.dtype = torch.float32) -> None:
        self._trunk = network.trunk_of_first
        self._layers = [m for m in self._trunk.layers if isinstance(m, nn.Conv2d | nn.Linear)]  # each has a bias
        self._plan_head, self._value_head = network.plan_head, network.value_head
        self._n_actions = network.config.n_actions
        self._dtype = dtype
        self._seen, self._n_seen = torch.empty(0), 0
        self._slices: list[list[Tensor]] = []
        self.refresh()

    @torch.inference_mode()
    def refresh(self) -> None:
        """Read the network's parameters anew, and forget what others answered; to be called whenever they have changed."""
        self._slices.clear()
        self._n_seen = 0
        n = self._n_actions
        heads = torch.cat([self._plan_head.weight[:n], self._value_head.weight])
        biases = torch.cat([self._plan_head.bias[:n], self._value_head.bias])
        first, *others = self._layers
        # The scale of the observations goes into the weights that read them: bytes need no multiplication then.
        pairs = [(first.weight * self._trunk.scale, _bias(first)), *((layer.weight, _bias(layer)) for layer in others)]
        self._weights = [(channels_last(w.to(self._dtype)), b.to(self._dtype)) for w, b in [*pairs, (heads, biases)]]

    @torch.inference_mode()
    def forward(
        self, obs: Shaped[Tensor, "batch *shape"], *, record: bool = True
    ) -> tuple[Float[Tensor, "batch n_actions"], Float[Tensor, " batch"]]:
        """Logits of head 1 and state values, float32.

        Args:
            obs: One slice of observations.
            record: Keep what `backward` needs.
        """
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
        """Observations as the first layer reads them, but for their scale; recorded ones are written where they stay."""
        x = obs.movedim(-1, 1) if self._trunk.channels_last else obs
        # Turning bytes round is cheaper than turning float32; for bfloat16 it is the other way about.
        bytes_first = x.dtype is torch.uint8 and self._dtype is torch.float32
        x = channels_last(x) if bytes_first else x.to(self._dtype)
        return self._room(x.shape).copy_(x) if record else channels_last(x.to(self._dtype))

    def _room(self, shape: Sequence[int]) -> Tensor:
        """Where the record of the observations goes on."""
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
        """Add the gradient of everything recorded to the parameters' `.grad`, and forget the record.

        Args:
            d_logits: Derivative of the loss by the logits, the recorded slices one after the other.
            d_values: The same for the values.
        """
        kept = [self._seen[: self._n_seen], *(torch.cat(parts) for parts in zip(*self._slices, strict=True))]
        self._slices.clear()
        self._n_seen = 0
        n = self._n_actions
        gradient = torch.cat([d_logits, d_values.unsqueeze(1)], dim=1).to(self._dtype)
        d_weight, d_bias = gradient.t() @ kept[-1].flatten(1), gradient.sum(0)
        _add_gradient(self._plan_head.weight, d_weight[:n])
        _add_gradient(self._plan_head.bias, d_bias[:n])
        _add_gradient(self._value_head.weight, d_weight[n:])
        _add_gradient(self._value_head.bias, d_bias[n:])
        gradient = gradient @ self._weights[-1][0]
        for index in reversed(range(len(self._layers))):
            layer, (weight, _), x, y = self._layers[index], self._weights[index], kept[index], kept[index + 1]
            gradient = channels_last(gradient.view(y.shape))
            gradient = torch.ops.aten.leaky_relu_backward(gradient, y, _SLOPE, True)
            if isinstance(layer, nn.Conv2d):
                gradient, d_weight, d_bias = _conv_backward(gradient, x, weight, layer, needs_input=index > 0)
            else:
                d_weight, d_bias = gradient.t() @ x.flatten(1), gradient.sum(0)
                gradient = gradient @ weight if index > 0 else gradient
            _add_gradient(layer.weight, d_weight if index > 0 else d_weight * self._trunk.scale)
            _add_gradient(_bias(layer), d_bias)


_SLOPE = nn.LeakyReLU().negative_slope


def _conv_backward(
    gradient: Tensor, x: Tensor, weight: Tensor, layer: nn.Conv2d, *, needs_input: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients by the layer's input (empty where nobody needs it), weight and bias."""
    by_input, by_weight, by_bias = torch.ops.aten.convolution_backward(
        gradient, x, weight, [layer.out_channels], layer.stride, layer.padding, layer.dilation,
        False, [0, 0], layer.groups, [needs_input, True, True],
    )  # fmt: skip
    return by_input if needs_input else gradient[:0], by_weight, by_bias


def _bias(layer: nn.Conv2d | nn.Linear) -> Tensor:
    assert layer.bias is not None, "every layer of a trunk has a bias"
    return layer.bias


def _add_gradient(parameter: Tensor, gradient: Tensor) -> None:
    """Add to the first rows of a parameter's gradient (a head of horizon 1 may be one of many)."""
    if parameter.grad is None:
        with torch.inference_mode(False):  # an inference tensor could not be added to by autograd
            parameter.grad = torch.zeros_like(parameter)
    parameter.grad[: len(gradient)] += gradient
