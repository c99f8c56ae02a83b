"""A torch network as a planner."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from phr.errors import NonFiniteError
from phr.networks.policy import PlanNetwork
from phr.observations import ObservationSpec
from phr.plan import NetworkPlan


def tensor_of(array: NDArray[Any]) -> Tensor:
    """Return the array as a tensor; one that torch cannot share (negative strides) or should not (read-only) is copied."""
    return torch.from_numpy(array if array.flags.carray else array.copy())


class TorchPlanner:
    """Plans with a network, in inference mode; numpy in, numpy out.

    Args:
        network: Stays on its device (CPU or another).
        obs_dtype: Number type of its observations.
    """

    def __init__(self, network: PlanNetwork, obs_dtype: str | np.dtype[Any]) -> None:
        self.network = network.eval()
        self.action_space, self._smoothing = network.config.actions, network.config.smoothing
        self.obs_spec = ObservationSpec(network.config.obs_shape, np.dtype(obs_dtype), network.config.obs_scale)
        self._device = next(network.parameters()).device

    @property
    def horizon(self) -> int:
        """Return the number of actions predicted from one look."""
        return self.network.config.horizon

    @property
    def n_actions(self) -> int:
        """Return the network's outputs for one action: the size of a discrete action space."""
        return self.network.config.n_actions

    def plan(self, obs: Any) -> NetworkPlan:
        """Evaluate the network once for a batch of observations.

        Args:
            obs: Shape `(batch, *obs_shape)`; checked by `ObservationSpec.check`.

        Raises:
            InvalidDataError: If shape or number type differ.
            NonFiniteError: If an observation or an output is not finite.
        """
        obs = self.obs_spec.check(obs)
        with torch.inference_mode():
            logits = self.network(tensor_of(obs).to(self._device)).cpu().numpy()
        if not np.isfinite(logits).all():
            raise NonFiniteError("the network's output contains NaN or Inf")
        return self.action_space.plan(logits, self._smoothing)
