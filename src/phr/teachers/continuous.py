"""Policies with continuous actions, as Stable-Baselines3 keeps them."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from phr.actions import Continuous
from phr.errors import NonFiniteError
from phr.networks.torch_planner import tensor_of
from phr.observations import ObservationSpec
from phr.plan import ContinuousPlan


class ContinuousTeacher:
    """A policy with continuous actions, as Stable-Baselines3 keeps them.

    Args:
        module: Observations → numbers, `(batch, n)`.
        low: Lowest action, of the action space's shape and number type.
        high: Highest action.
        squashed: The numbers lie in [−1, 1] and are scaled to [low, high]; otherwise they are cut off there.
        obs_spec: What it reads.
        name: For messages.

    Attributes:
        identity: Tells it from another (`phr.teachers.identity`); empty until somebody says it.
    """

    horizon = 1
    identity = ""
    action_only = True

    def __init__(
        self,
        module: nn.Module,
        low: NDArray[Any],
        high: NDArray[Any],
        *,
        squashed: bool,
        obs_spec: ObservationSpec,
        name: str,
    ) -> None:
        self.module, self.low, self.high, self.squashed, self.name = module, low, high, squashed, name
        self.obs_spec = obs_spec
        self.action_space = Continuous.between(low, high)
        self.n_actions = self.action_space.n_outputs

    def plan(self, obs: Any) -> ContinuousPlan:
        """Ask the policy once for a batch of observations; for errors see `actions`."""
        return self.action_space.certain(self.actions(obs)[:, None])

    def actions(self, obs: Any) -> NDArray[Any]:
        """The most likely actions (the means), float32, shape `(batch, *action_shape)`.

        Raises:
            InvalidDataError: If the observations are others than it reads.
            NonFiniteError: If an observation or an action is not finite.
        """
        obs = self.obs_spec.check(obs)
        with torch.inference_mode():
            numbers = self.module(tensor_of(obs)).numpy().reshape(-1, *self.low.shape)
        if self.squashed:
            numbers = self.low + 0.5 * (numbers + 1.0) * (self.high - self.low)
        if not np.isfinite(numbers).all():
            raise NonFiniteError(f"{self.name} answered with a NaN or an infinity")
        at = self.action_space.bounds
        low, high = at.low.reshape(self.low.shape), at.high.reshape(self.low.shape)
        cut: NDArray[Any] = np.clip(numbers, low, high).astype(self.action_space.dtype)
        return cut
