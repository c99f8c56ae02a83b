"""The cheap ways out that every table carries: repeat one action, or act at random."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from phr.errors import HorizonError, InvalidDataError
from phr.plan import CategoricalPlan
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

    def plan(self, obs: NDArray[Any]) -> CategoricalPlan:
        """The other planner's first distribution, `horizon` times."""
        plan = self._planner.plan(obs)
        if not isinstance(plan, CategoricalPlan):
            raise InvalidDataError(f"repeating needs a plan with logits over actions, got a {type(plan).__name__}")
        return CategoricalPlan(np.repeat(plan.logits[:, :1], self.horizon, axis=1))


class RandomPlanner:
    """Plans uniformly random actions, whatever it sees.

    Args:
        n_actions: Size of the action space.
        rng: Where the actions come from.
        horizon: Actions to plan.
    """

    def __init__(self, n_actions: int, rng: np.random.Generator, horizon: int = 1) -> None:
        self.n_actions = n_actions
        self.horizon = horizon
        self._rng = rng

    def plan(self, obs: NDArray[Any]) -> CategoricalPlan:
        """Random actions, each planned with certainty."""
        return CategoricalPlan.from_actions(
            self._rng.integers(self.n_actions, size=(len(obs), self.horizon)), self.n_actions
        )
