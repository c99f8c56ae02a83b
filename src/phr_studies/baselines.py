"""The cheap ways out that every table carries: repeat one action, or act at random."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from phr.actions import ActionSpace, action_space_of, as_space
from phr.errors import HorizonError, InvalidDataError
from phr.plan import NetworkPlan, repeat_first
from phr.protocols import Planner


class RepeatPlanner:
    """Plans the first action of another planner over and over (action repeat, frame skip).

    Args:
        planner: Whose first action is repeated.
        horizon: How often.

    Raises:
        HorizonError: If the horizon is below 1.
    """

    def __init__(self, planner: Planner, horizon: int) -> None:
        if horizon < 1:
            raise HorizonError(f"the horizon must be >= 1, got {horizon}")
        self._planner = planner
        self.horizon = horizon
        self.n_actions = planner.n_actions
        self.action_space = action_space_of(planner)

    def plan(self, obs: NDArray[Any]) -> NetworkPlan:
        """The other planner's first distribution, `horizon` times."""
        plan = self._planner.plan(obs)
        if not isinstance(plan, NetworkPlan):
            raise InvalidDataError(f"repeating needs a plan with logits over actions, got a {type(plan).__name__}")
        return repeat_first(plan, self.horizon)


class RandomPlanner:
    """Plans random actions, whatever it sees.

    Args:
        actions: The action space, or its size.
        rng: Where the actions come from.
        horizon: Actions to plan.
    """

    def __init__(self, actions: int | ActionSpace, rng: np.random.Generator, horizon: int = 1) -> None:
        self.action_space = as_space(actions)
        self.n_actions = self.action_space.n_outputs
        self.horizon = horizon
        self._rng = rng

    def plan(self, obs: NDArray[Any]) -> NetworkPlan:
        """Random actions, each planned with certainty."""
        drawn = np.array(self.action_space.samples(self._rng, len(obs) * self.horizon), self.action_space.dtype)
        return self.action_space.certain(drawn.reshape(len(obs), self.horizon, *self.action_space.shape))
