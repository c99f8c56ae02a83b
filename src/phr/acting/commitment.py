"""How much of a plan to execute before looking again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np

from phr.errors import FOREIGN_ERRORS, HorizonError, PhrError, SettingError, error_text
from phr.plan import IntArray, Plan
from phr.settings import is_whole, shown

CommitmentLike = int | Literal["auto"]


@runtime_checkable
class Commitment(Protocol):
    """A rule that returns, for each plan of a batch, how many of its actions to execute."""

    def lengths(self, plan: Plan) -> IntArray:
        """Actions to execute, each in 1 .. plan.horizon, shape `(batch,)`."""
        ...


AnyCommitment = CommitmentLike | Mapping[str, float] | Commitment | None
"""A number of actions, `"auto"`, `{"threshold": x}`, a rule, or None: what the model says (`Manifest.commitment`)."""


@dataclass(frozen=True)
class FixedCommitment:
    """Always the same number of actions (LeRobot's `n_action_steps`); HorizonError below 1, SettingError for no number."""

    n: int

    def __post_init__(self) -> None:
        if not is_whole(self.n):
            raise SettingError(f"commitment must be a whole number, got {shown(self.n)}")
        if self.n < 1:
            raise HorizonError(f"commitment must be >= 1, got {shown(self.n)}")
        object.__setattr__(self, "n", int(self.n))

    def __str__(self) -> str:
        return f"n = {self.n}"

    def to_json(self) -> int:
        """As a manifest states it."""
        return self.n

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
        threshold: Any = self.threshold
        if not isinstance(threshold, int | float | np.number) or not 0.0 <= threshold <= 1.0:
            raise SettingError(f"threshold must be a number in [0, 1], got {shown(threshold)}")

    def __str__(self) -> str:
        return f"confidence {self.threshold:g}"

    def to_json(self) -> dict[str, float]:
        """As a manifest states it."""
        return {"threshold": float(self.threshold)}

    def lengths(self, plan: Plan) -> IntArray:
        """Number of leading steps whose joint confidence reaches the threshold, at least 1."""
        if plan.horizon == 1:  # a plan without confidences too
            return np.ones(plan.batch_size, np.int64)
        joint = np.multiply.accumulate(plan.confidence(), axis=1)
        lengths: IntArray = 1 + np.add.reduce(joint[:, 1:] >= self.threshold, axis=1, dtype=np.int64)
        return lengths


def resolve_commitment(commitment: AnyCommitment, horizon: int) -> Commitment:
    """Return the rule that a commitment means, None the whole horizon; HorizonError for a number outside 1 .. horizon."""
    if commitment is None:
        return FixedCommitment(horizon)
    if isinstance(commitment, Mapping) and commitment.keys() == {"threshold"}:
        return ConfidentCommitment(commitment["threshold"])
    if isinstance(commitment, str) and commitment == "auto":
        return ConfidentCommitment()
    rule: Any = commitment
    number = rule.n if isinstance(rule, FixedCommitment) else rule
    if is_whole(number) and not 1 <= number <= horizon:
        raise HorizonError(f"commitment must lie in 1..{horizon} (the model's horizon), got {shown(int(number))}")
    if is_whole(rule):
        return FixedCommitment(int(rule))
    if isinstance(rule, type) or not callable(getattr(rule, "lengths", None)):
        raise SettingError(f"commitment must be a whole number, 'auto' or a rule with a method `lengths`; got {shown(rule)}")
    checked: Commitment = rule
    return checked


def commitment_in_words(commitment: AnyCommitment, planner: Any) -> int | str:
    """What an agent with these arguments executes: a number of actions per look, or the name of a rule."""
    own = getattr(planner, "commitment", None) if commitment is None else commitment
    if isinstance(own, str):
        return own
    rule = resolve_commitment(own, planner.horizon)
    return rule.n if isinstance(rule, FixedCommitment) else str(rule)


def rule_lengths(rule: Commitment, plan: Plan, horizon: int) -> IntArray:
    """Ask a rule how many actions of each plan to execute: int64, shape `(batch,)`; HorizonError outside 1 .. horizon."""
    try:
        returned: Any = rule.lengths(plan)
    except PhrError:
        raise
    except FOREIGN_ERRORS as error:  # the user's own code
        raise HorizonError(f"the commitment rule {type(rule).__name__} raised {error_text(error)}") from error
    try:
        lengths = np.asarray(returned)
    except Exception:  # ragged lists, tensors on another device
        lengths = np.empty(0)
    fits = lengths.shape == (plan.batch_size,) and lengths.dtype.kind in "iu"
    if not fits or not ((lengths >= 1) & (lengths <= horizon)).all():
        raise HorizonError(
            f"the commitment rule {type(rule).__name__} returned wrong lengths: expected {plan.batch_size} whole number(s) "
            f"in 1..{horizon} (the model's horizon), shape ({plan.batch_size},); got {' '.join(repr(returned).split())}"
        )
    checked: IntArray = lengths.astype(np.int64)
    return checked
