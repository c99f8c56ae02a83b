from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from numpy.typing import NDArray

from phr.errors import InvalidDataError
from phr.plan import CategoricalPlan, MultiCategoricalPlan, Plan, repeat_first, smoothing_of_steps

logits_arrays = arrays(
    np.float32,
    array_shapes(min_dims=3, max_dims=3, max_side=5),
    elements=st.floats(-50, 50, width=32),
)


def slow_softmax(row: NDArray[np.float32]) -> list[float]:
    weights = [math.exp(float(value)) for value in row]
    return [weight / sum(weights) for weight in weights]


@given(logits_arrays)
def test_probabilities_equal_a_slow_softmax(logits: NDArray[np.float32]) -> None:
    plan = CategoricalPlan(logits)
    for index in np.ndindex(plan.batch_size, plan.horizon):
        np.testing.assert_allclose(plan.probs[index], slow_softmax(logits[index]), rtol=1e-4, atol=1e-7)


@given(logits_arrays)
def test_the_mode_is_the_first_of_the_largest_and_confidence_is_its_probability(logits: NDArray[np.float32]) -> None:
    plan = CategoricalPlan(logits)
    mode, confidence = plan.mode(), plan.confidence()
    for index in np.ndindex(plan.batch_size, plan.horizon):
        row = logits[index].tolist()
        assert mode[index] == row.index(max(row))
        assert confidence[index] == plan.probs[index][mode[index]]
        assert 1 / len(row) - 1e-6 <= confidence[index] <= 1


def test_large_logits_do_not_overflow() -> None:
    plan = CategoricalPlan(np.array([[[1e30, 0.0], [-1e30, -1e30]]], np.float32))
    np.testing.assert_array_equal(plan.probs, [[[1.0, 0.0], [0.5, 0.5]]])


@given(st.lists(st.lists(st.integers(0, 3), min_size=3, max_size=3), min_size=1, max_size=4))
def test_a_plan_of_actions_is_certain_of_them(actions: list[list[int]]) -> None:
    plan: Plan = CategoricalPlan.from_actions(np.array(actions, np.int64), n_actions=4)
    assert plan.mode().tolist() == actions
    assert plan.confidence().min() > 1 - 1e-6
    assert plan.sample(np.random.default_rng(0)).tolist() == actions
    assert (plan.batch_size, plan.horizon) == (len(actions), 3)


def test_samples_follow_the_probabilities() -> None:
    logits = np.array([[[0.0, 1.0, 2.0], [1.0, -1.0, 0.0]]], np.float32)
    n = 20_000
    draws = CategoricalPlan(np.repeat(logits, n, axis=0)).sample(np.random.default_rng(0))
    assert draws.shape == (n, 2)
    for step in range(2):
        for action, p in enumerate(slow_softmax(logits[0, step])):
            deviation = math.sqrt(p * (1 - p) / n)
            assert abs((draws[:, step] == action).mean() - p) < 4 * deviation


def test_the_steps_of_a_plan_are_sampled_independently() -> None:
    draws = CategoricalPlan(np.zeros((20_000, 2, 2), np.float32)).sample(np.random.default_rng(0))
    agree = (draws[:, 0] == draws[:, 1]).mean()
    assert abs(agree - 0.5) < 4 * math.sqrt(0.25 / 20_000)


def test_the_seed_bites() -> None:
    plan = CategoricalPlan(np.zeros((4, 8, 5), np.float32))
    first, again, other = (plan.sample(np.random.default_rng(seed)) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


@pytest.mark.parametrize("shape", [(3,), (2, 3), (1, 0, 3), (1, 3, 0), (1, 2, 3, 4)])
def test_logits_of_another_shape_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(InvalidDataError, match=r"\(batch, horizon, n_actions\), got"):
        CategoricalPlan(np.zeros(shape, np.float32))


def test_a_batch_may_be_empty() -> None:
    plan = CategoricalPlan(np.zeros((0, 2, 3), np.float32))
    assert plan.mode().shape == plan.confidence().shape == (0, 2)


def test_a_step_may_have_a_smoothing_of_its_own() -> None:
    truth = np.array([0.8, 0.2])
    learnt = np.stack([truth, 0.9 * truth + 0.1 / 2, 0.9 * truth + 0.1 / 2])[None]
    plan = CategoricalPlan(np.log(learnt).astype(np.float32), smoothing_of_steps(0.1, 0.0, 3))
    np.testing.assert_allclose(plan.confidence(), [[0.8] * 3], rtol=1e-6)
    for repeated in (repeat_first(plan, 2), repeat_first(MultiCategoricalPlan(plan.logits, (2,), plan.smoothing), 2)):
        np.testing.assert_allclose(repeated.confidence(), [[0.8] * 2], rtol=1e-6)


@given(smoothing=st.floats(0.01, 0.9), n_actions=st.integers(2, 8), sure=st.floats(0.0, 1.0))
def test_smoothing_is_taken_out_of_the_confidence(smoothing: float, n_actions: int, sure: float) -> None:
    """A network that learnt (1 − ε)·p + ε/n perfectly is as sure as p was."""
    most = 1 / n_actions + sure * (1 - 1 / n_actions)
    truth = np.array([most] + [(1 - most) / (n_actions - 1)] * (n_actions - 1))
    learnt = ((1 - smoothing) * truth + smoothing / n_actions)[None, None]
    plan = CategoricalPlan(np.log(learnt).astype(np.float32), smoothing)
    np.testing.assert_allclose(plan.confidence(), [[most]], atol=2e-5)
    both = MultiCategoricalPlan(np.concatenate([plan.logits, plan.logits], -1), (n_actions, n_actions), smoothing)
    np.testing.assert_allclose(both.confidence(), [[most**2]], atol=4e-5)
