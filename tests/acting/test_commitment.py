from __future__ import annotations

import inspect

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from phr.acting.commitment import Commitment, ConfidentCommitment, FixedCommitment, resolve_commitment
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
    with pytest.raises(SettingError, match=r"a confidence threshold lies in \[0, 1\], got"):
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


def test_other_words_are_refused() -> None:
    unchecked = inspect.unwrap(resolve_commitment)  # the type check of the tests would come first
    with pytest.raises(SettingError, match="commitment must be a number or 'auto', got 'foo'"):
        unchecked("foo", 8)
