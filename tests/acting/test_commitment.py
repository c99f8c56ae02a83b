from __future__ import annotations

import inspect
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from phr.acting.commitment import Commitment, ConfidentCommitment, FixedCommitment, resolve_commitment, rule_lengths
from phr.actions import Continuous
from phr.errors import HorizonError, SettingError
from phr.plan import CategoricalPlan

logits_arrays = arrays(np.float32, (3, 6, 4), elements=st.floats(-8, 8, width=32))


@given(logits_arrays, st.floats(0, 1))
def test_a_confident_commitment_equals_a_slow_loop(logits: NDArray[np.float32], threshold: float) -> None:
    plan = CategoricalPlan(logits)
    lengths = ConfidentCommitment(threshold).lengths(plan)
    for row in range(plan.batch_size):
        joint, expected = np.float32(1), 0
        for step in range(plan.horizon):
            joint *= plan.probs[row, step].max()
            if joint < threshold:
                break
            expected += 1
        assert lengths[row] == max(expected, 1)


def test_a_confident_commitment_stops_where_the_plan_becomes_unsure() -> None:
    logits = np.zeros((2, 4, 2), np.float32)
    logits[0, :2, 0] = 30  # sure of two steps, then half and half
    assert ConfidentCommitment(0.9).lengths(CategoricalPlan(logits)).tolist() == [2, 1]
    assert ConfidentCommitment(0.0).lengths(CategoricalPlan(logits)).tolist() == [4, 4]
    certain = CategoricalPlan.from_actions(np.zeros((1, 4), np.int64), 2)
    assert ConfidentCommitment(1.0).lengths(certain).tolist() == [4]


def test_of_one_step_all_is_executed_however_sure_it_is() -> None:
    actions = Continuous((-1.0,), (1.0,), (1,)).certain(np.zeros((3, 1, 1), np.float32))  # tells no spread
    assert ConfidentCommitment().lengths(actions).tolist() == [1, 1, 1]


@pytest.mark.parametrize("threshold", [-0.1, 1.1, float("nan")])
def test_a_threshold_is_a_probability(threshold: float) -> None:
    with pytest.raises(SettingError, match=r"threshold must be a number in \[0, 1\], got"):
        ConfidentCommitment(threshold)


def test_words_and_numbers_stand_for_rules() -> None:
    own = ConfidentCommitment(0.5)
    assert resolve_commitment(None, 8) == FixedCommitment(8)
    assert resolve_commitment(3, 8) == FixedCommitment(3)
    assert resolve_commitment("auto", 8) == ConfidentCommitment()
    assert resolve_commitment(own, 8) is own
    assert all(isinstance(rule, Commitment) for rule in (own, FixedCommitment(2)))
    assert FixedCommitment(3).lengths(CategoricalPlan(np.zeros((2, 8, 2), np.float32))).tolist() == [3, 3]


@pytest.mark.parametrize("commitment", [0, -1, 9])
def test_a_number_outside_the_horizon_is_refused(commitment: int) -> None:
    with pytest.raises(HorizonError, match=f"commitment must lie in 1..8 .the model's horizon., got {commitment}"):
        resolve_commitment(commitment, 8)


class Half:
    """Half of the plan."""

    def lengths(self, plan: Any) -> NDArray[np.int64]:
        return np.full(plan.batch_size, plan.horizon // 2)


class Numbered(FixedCommitment):
    """One action more than its number."""

    def lengths(self, plan: Any) -> NDArray[np.int64]:
        return super().lengths(plan) + 1


unchecked = inspect.unwrap(resolve_commitment)
"""Without the type check of the tests, which would come first."""


@pytest.mark.parametrize(
    "commitment",
    ["foo", "Auto", "8", True, False, np.True_, 2.0, np.float32(2), float("nan"), np.array(2), [2], Half, object()],
)
def test_anything_else_is_refused(commitment: Any) -> None:
    with pytest.raises(SettingError, match="commitment must be a whole number, 'auto' or a rule .*; got ") as caught:
        unchecked(commitment, 8)
    assert repr(commitment) in str(caught.value)


def test_a_rule_whose_lengths_is_no_method_is_refused() -> None:
    class Listed:
        lengths = (1, 2)

    with pytest.raises(SettingError, match="a rule with a method `lengths`; got"):
        unchecked(Listed(), 8)


@pytest.mark.parametrize("number", [np.int64(3), np.int32(3), np.uint8(3), 3])
def test_whole_numbers_of_numpy_are_whole_numbers(number: Any) -> None:
    rule = unchecked(number, 8)
    assert rule == FixedCommitment(3)
    assert isinstance(rule, FixedCommitment)
    assert type(rule.n) is int


@pytest.mark.parametrize("rule", [FixedCommitment(9), Numbered(9)])
def test_a_fixed_rule_beyond_the_horizon_is_refused(rule: FixedCommitment) -> None:
    with pytest.raises(HorizonError, match=r"commitment must lie in 1..8 .*, got 9"):
        resolve_commitment(rule, 8)
    assert resolve_commitment(rule, 9) is rule


@pytest.mark.parametrize(("number", "error"), [(0, HorizonError), (-1, HorizonError), (True, SettingError)])
def test_a_fixed_rule_holds_a_positive_whole_number(number: int, error: type[Exception]) -> None:
    with pytest.raises(error, match="commitment must be .*, got"):
        FixedCommitment(number)


class Answering:
    """A rule that always returns the same."""

    def __init__(self, answer: Any) -> None:
        self.answer = answer

    def lengths(self, plan: Any) -> Any:
        return self.answer


PLAN = CategoricalPlan(np.zeros((2, 4, 3), np.float32))


@pytest.mark.parametrize(
    "answer", [np.array([1, 4]), np.array([2, 3], np.uint8), np.array([4, 1], np.int32), [1, 2], (4, 4)]
)
def test_answers_of_a_rule_are_whole_numbers_of_the_horizon(answer: Any) -> None:
    lengths = rule_lengths(Answering(answer), PLAN, 4)
    assert lengths.dtype == np.int64
    assert lengths.tolist() == list(answer)


@pytest.mark.parametrize(
    "answer",
    [
        np.array([0, 1]), np.array([1, 5]), np.array([-1, 1]), np.array([1]), np.array([1, 1, 1]), np.array([[1], [1]]),
        np.array(1), 1, np.array([1.0, 2.0]), np.array([True, True]), np.array([np.nan, 1]), None, "2", [1, "2"], [],
    ],
)  # fmt: skip
def test_other_answers_of_a_rule_are_refused(answer: Any) -> None:
    with pytest.raises(HorizonError, match=r"commitment rule Answering .* 2 whole number\(s\) in 1..4 .*; got ") as caught:
        rule_lengths(Answering(answer), PLAN, 4)
    assert "\n" not in str(caught.value)
