"""Training on numbers of one size: observations are standardised meanwhile, and the first layer takes the statistics in."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn

from phr.errors import SettingError
from phr.networks.policy import PlanNetwork

_WIDEST = 10.0
"""No feature of the data lies further from its mean; one that is seldom on would be a hundred spreads away."""


@dataclass(frozen=True)
class Standardizer:
    """Brings each feature of an observation to mean 0 and spread 1.

    A car's speed of 0.07 beside its place of 1.2 is learnt late or never, since the first layer's weights move at one rate.
    A network that was trained on standardised observations is made one of plain observations by `fold`, which changes
    the first layer alone: W(x − m)/d + b = (W/d)x + (b − W m/d). Nothing of it needs saving, exporting or running.

    Args:
        mean: m, float32, the shape of one observation.
        spread: d, > 0, the same shape.
    """

    mean: Float[Tensor, "*shape"]
    spread: Float[Tensor, "*shape"]

    @classmethod
    def of(cls, obs: Shaped[Tensor, "n *shape"]) -> Standardizer:
        """The statistics of observations; a feature that never changes keeps its size."""
        numbers = obs.double()
        width = numbers.amax(0) - numbers.amin(0)
        spread = torch.maximum(numbers.std(0, correction=0), width / _WIDEST)
        return cls(numbers.mean(0).float(), torch.where(width > 0, spread, 1.0).float())

    def __call__(self, obs: Shaped[Tensor, "n *shape"], scale: float = 1.0) -> Float[Tensor, "n *shape"]:
        """Standardised observations, for a network that multiplies what it reads by `scale`."""
        return (obs.float() - self.mean) / (self.spread * scale)

    def fold(self, network: PlanNetwork) -> None:
        """Make a network that reads standardised observations one that reads them plain, in place."""
        for first in _first_layers(network):
            mean, spread = self.mean.flatten(), self.spread.flatten()
            with torch.no_grad():
                first.bias.sub_(first.weight @ (mean / spread))
                first.weight.div_(spread * network.config.obs_scale)

    def unfold(self, network: PlanNetwork) -> None:
        """The inverse of `fold`."""
        for first in _first_layers(network):
            mean, spread = self.mean.flatten(), self.spread.flatten()
            with torch.no_grad():
                first.weight.mul_(spread * network.config.obs_scale)
                first.bias.add_(first.weight @ (mean / spread))


def _first_layers(network: PlanNetwork) -> list[nn.Linear]:
    """The layers that read the observation itself.

    Raises:
        SettingError: If they are convolutions, to which every place of an image is the same.
    """
    trunks = [network.trunk] if network.first_trunk is None else [network.trunk, network.first_trunk]
    layers = [next(layer for layer in trunk.layers if not isinstance(layer, nn.Flatten)) for trunk in trunks]
    if not all(isinstance(layer, nn.Linear) for layer in layers):
        raise SettingError(f"standardize is for trunks of kind 'mlp', got {network.config.trunk.kind!r}")
    return [layer for layer in layers if isinstance(layer, nn.Linear)]
