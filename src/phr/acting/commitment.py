"""How much of a plan to execute before looking again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

import numpy as np

from phr.errors import HorizonError, SettingError
from phr.plan import IntArray, Plan

CommitmentLike = int | Literal["auto"]


@runtime_checkable
class Commitment(Protocol):
    """A rule that says, for each plan of a batch, how many of its actions to execute."""

    def lengths(self, plan: Plan) -> IntArray:
        """Actions to execute, each in 1 .. plan.horizon, shape `(batch,)`."""
        ...


@dataclass(frozen=True)
class FixedCommitment:
    """Always the same number of actions (LeRobot's `n_action_steps`)."""

    n: int

    def lengths(self, plan: Plan) -> IntArray:
        """`n` for every plan."""
        return np.full(plan.batch_size, self.n, dtype=np.int64)


@dataclass(frozen=True)
class ConfidentCommitment:
    """Execute while the plan is sure of itself: up to the first step whose joint confidence falls below `threshold`.

    The joint confidence of step k is the product of the probabilities of the planned actions 1 .. k. The first action is
    always executed.
    """

    threshold: float = 0.9

    def __post_init__(self) -> None:
        if not 0.0 <= self.threshold <= 1.0:
            raise SettingError(f"a confidence threshold lies in [0, 1], got {self.threshold}")

    def lengths(self, plan: Plan) -> IntArray:
        """Number of leading steps whose joint confidence reaches the threshold, at least 1."""
        if plan.horizon == 1:  # whatever it is sure of, if it can tell at all
            return np.ones(plan.batch_size, np.int64)
        joint = np.cumprod(plan.confidence(), axis=1)
        lengths: IntArray = np.maximum((joint >= self.threshold).sum(axis=1), 1).astype(np.int64)
        return lengths


def resolve_commitment(commitment: CommitmentLike | Commitment | None, horizon: int) -> Commitment:
    """The rule that a user's word stands for.

    Args:
        commitment: A number of actions, `"auto"`, a rule, or None for the whole horizon.
        horizon: Actions that the planner predicts.

    Raises:
        HorizonError: If a number lies outside 1 .. horizon.
        SettingError: If it is a word other than `"auto"`, or no rule.
    """
    if commitment is None:
        return FixedCommitment(horizon)
    if isinstance(commitment, str):
        if commitment != "auto":
            raise SettingError(f"commitment must be a number or 'auto', got {commitment!r}")
        return ConfidentCommitment()
    if isinstance(commitment, int | np.integer):
        if not 1 <= commitment <= horizon:
            raise HorizonError(f"commitment must lie in 1..{horizon} (the model's horizon), got {commitment}")
        return FixedCommitment(int(commitment))
    if not isinstance(commitment, Commitment):
        raise SettingError(f"commitment must be a whole number, 'auto' or a rule with `lengths`, got {commitment!r}")
    return commitment
