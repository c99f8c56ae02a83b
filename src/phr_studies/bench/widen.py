"""A wider network that computes the same function, so that large networks can be timed while they act well."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn

from phr.errors import IncompatibleModelError
from phr.networks import PlanNetwork, TrunkConfig, blank_network


@torch.no_grad()
def widened(network: PlanNetwork, trunk: TrunkConfig) -> PlanNetwork:
    """The network inside a wider one of the same layers; the new units are never listened to, as their weights are zero.

    Args:
        network: With a single trunk.
        trunk: Of the same kind and depth, at least as wide everywhere.

    Raises:
        IncompatibleModelError: If the network does not fit in.
    """
    old = network.config
    same_layers = (old.trunk.kind, len(old.trunk.channels)) == (trunk.kind, len(trunk.channels)) and old.trunk.kind != "mlp"
    fits = all(a <= b for a, b in zip((*old.trunk.channels, old.trunk.width), (*trunk.channels, trunk.width), strict=False))
    if not same_layers or not fits or old.separate_first:
        raise IncompatibleModelError(f"a network of {old.trunk} has no place in one of {trunk}")
    wide = blank_network(replace(old, trunk=trunk))
    for parameter in wide.parameters():
        parameter.zero_()
    theirs = dict(network.named_parameters())
    [flat_layer] = [name for name, layer in wide.trunk.named_modules(prefix="trunk") if isinstance(layer, nn.Linear)]
    for name, parameter in wide.named_parameters():
        larger, smaller = parameter.data, theirs[name].data
        if name == f"{flat_layer}.weight":  # reads channels × places: only its channels are more
            larger = larger.view(len(larger), trunk.channels[-1], -1)
            smaller = smaller.view(len(smaller), old.trunk.channels[-1], -1)
        _copy_into(larger, smaller)
    return wide.eval()


def _copy_into(larger: Tensor, smaller: Tensor) -> None:
    larger[tuple(slice(size) for size in smaller.shape)] = smaller
