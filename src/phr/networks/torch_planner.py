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
    """The array as a tensor; one that torch cannot share (negative strides) or should not (read-only) is copied."""
    return torch.from_numpy(array if array.flags.c_contiguous and array.flags.writeable else array.copy())


class TorchPlanner:
    """Plans with a network, in inference mode; numpy in, numpy out.

    Args:
        network: Evaluated where it lies (CPU or another device).
        obs_dtype: Number type of the observations that it was made for.
    """

    def __init__(self, network: PlanNetwork, obs_dtype: str | np.dtype[Any]) -> None:
        self.network = network.eval()
        self.action_space = network.config.actions
        self.obs_spec = ObservationSpec(network.config.obs_shape, np.dtype(obs_dtype), network.config.obs_scale)
        self._device = next(network.parameters()).device

    @property
    def horizon(self) -> int:
        """Actions predicted from one look."""
        return self.network.config.horizon

    @property
    def n_actions(self) -> int:
        """Numbers that the network answers for one action: the size of a discrete action space."""
        return self.network.config.n_actions

    def plan(self, obs: Any) -> NetworkPlan:
        """Evaluate the network once for a batch of observations.

        Args:
            obs: Shape `(batch, *obs_shape)`; for what is taken and refused see `ObservationSpec.check`.

        Raises:
            InvalidDataError: If shape or number type are others.
            NonFiniteError: If an observation or an output is not finite.
        """
        obs = self.obs_spec.check(obs)
        with torch.inference_mode():
            logits = self.network(tensor_of(obs).to(self._device)).cpu().numpy()
        if not np.isfinite(logits).all():
            raise NonFiniteError("the network's output contains NaN or Inf")
        return self.action_space.plan(logits, self.network.config.smoothing)
