"""A torch network as a planner."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from phr.errors import NonFiniteError
from phr.networks.policy import PlanNetwork
from phr.plan import NetworkPlan


class TorchPlanner:
    """Plans with a network, in inference mode; numpy in, numpy out.

    Args:
        network: Evaluated where it lies (CPU or another device).
    """

    def __init__(self, network: PlanNetwork) -> None:
        self.network = network.eval()
        self.action_space = network.config.actions
        self._device = next(network.parameters()).device

    @property
    def horizon(self) -> int:
        """Actions predicted from one look."""
        return self.network.config.horizon

    @property
    def n_actions(self) -> int:
        """Numbers that the network answers for one action: the size of a discrete action space."""
        return self.network.config.n_actions

    def plan(self, obs: NDArray[Any]) -> NetworkPlan:
        """Evaluate the network once for a batch of observations.

        Raises:
            NonFiniteError: If a logit is not finite.
        """
        with torch.inference_mode():
            logits = self.network(torch.from_numpy(obs).to(self._device)).cpu().numpy()
        if not np.isfinite(logits).all():
            raise NonFiniteError("the network answered with a NaN or an infinity")
        return self.action_space.plan(logits, self.network.config.smoothing)
