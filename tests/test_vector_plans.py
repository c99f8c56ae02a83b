"""Plans over vectors: several choices at once, and numbers."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from phr.acting.commitment import ConfidentCommitment
from phr.actions import Continuous, MultiDiscrete
from phr.errors import InvalidDataError, SettingError
from phr.plan import CategoricalPlan, ContinuousPlan, MultiCategoricalPlan

BOX = Continuous((-2.0, 0.0), (2.0, math.inf), (2,))


@given(st.lists(st.integers(1, 4), min_size=1, max_size=4), st.integers(0, 2**32))
def test_components_are_plans_of_their_own(nvec: list[int], seed: int) -> None:
    logits = np.random.default_rng(seed).normal(size=(3, 2, sum(nvec))).astype(np.float32)
    plan = MultiDiscrete(tuple(nvec)).plan(logits)
    assert (plan.batch_size, plan.horizon) == (3, 2)
    first, sure = 0, np.ones((3, 2))
    for component, n in enumerate(nvec):
        alone = CategoricalPlan(logits[..., first : first + n])
        np.testing.assert_array_equal(plan.mode()[..., component], alone.mode())
        sure *= alone.confidence()
        first += n
    np.testing.assert_allclose(plan.confidence(), sure, rtol=1e-5)


def test_components_are_sampled_by_their_probabilities() -> None:
    n = 20_000
    logits = np.log(np.array([[[0.2, 0.8, 0.5, 0.25, 0.25]]], np.float32)).repeat(n, 0)
    drawn = MultiCategoricalPlan(logits, (2, 3)).sample(np.random.default_rng(0))
    assert drawn.shape == (n, 1, 2)
    for component, probs in enumerate(([0.2, 0.8], [0.5, 0.25, 0.25])):
        for action, p in enumerate(probs):
            assert abs((drawn[:, 0, component] == action).mean() - p) < 4 * math.sqrt(p * (1 - p) / n)


def test_numbers_are_cut_off_at_the_bounds() -> None:
    plan = BOX.plan(np.array([[[5.0, 5.0], [-5.0, -5.0], [0.5, 0.5]]], np.float32))
    assert (plan.batch_size, plan.horizon) == (1, 3)
    assert plan.mode().tolist() == [[[2.0, 5.0], [-2.0, 0.0], [0.5, 0.5]]]
    assert plan.mode().dtype == np.float32
    with pytest.raises(SettingError, match="nothing to sample"):
        plan.sample(np.random.default_rng(0))


def test_actions_have_their_shape() -> None:
    space = Continuous((-1.0,) * 6, (1.0,) * 6, (2, 3))
    plan = space.plan(np.linspace(-1, 1, 24, dtype=np.float32).reshape(2, 2, 6))
    assert plan.mode().shape == (2, 2, 2, 3)
    np.testing.assert_array_equal(plan.mode().ravel(), plan.outputs.ravel())


def test_a_spread_is_sampled_in_units_of_half_the_range() -> None:
    n, space = 20_000, Continuous((-100.0, -math.inf), (100.0, math.inf), (2,))
    outputs = np.array([[[3.0, 0.5, math.log(0.02), math.log(0.1)]]], np.float32).repeat(n, 0)
    drawn = space.plan(outputs).sample(np.random.default_rng(0))[:, 0]
    for column, mean, deviation in ((0, 3.0, 2.0), (1, 0.5, 0.1)):
        assert abs(drawn[:, column].mean() - mean) < 4 * deviation / math.sqrt(n)
        assert abs(drawn[:, column].std() / deviation - 1) < 4 / math.sqrt(2 * n)


def test_confidence_is_the_probability_of_being_near_in_the_least_sure_number() -> None:
    spreads = np.array([[0.05, 0.2], [0.4, 0.01]])
    outputs = np.concatenate([np.zeros((2, 2)), np.log(spreads)], -1)[None].astype(np.float32)
    noise = np.random.default_rng(0).normal(size=400_000)
    near = [(np.abs(noise * widest) <= ContinuousPlan.TOLERATED).mean() for widest in (0.2, 0.4)]
    sure = BOX.plan(outputs).confidence()
    np.testing.assert_allclose(sure, [near], atol=0.004)
    assert sure.dtype == np.float32


def test_a_constant_spread_is_evaluated_once_and_any_other_once_a_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """Agents wait for it at every look."""
    evaluated: list[float] = []
    erf = math.erf

    def noted(x: float) -> float:
        evaluated.append(x)
        return erf(x)

    monkeypatch.setattr(math, "erf", noted)
    temperature = (0.11, 0.123, 0.3)
    actions = ContinuousPlan(np.zeros((2, 3, 2), np.float32), BOX.bounds, temperature)
    sure = actions.confidence()
    expected = [erf(ContinuousPlan.TOLERATED / (math.sqrt(2) * each)) for each in temperature]
    np.testing.assert_allclose(sure, [expected] * 2, rtol=1e-6)
    assert len(evaluated) == 3
    sure[:] = 0.0  # the caller's own
    np.testing.assert_allclose(actions.confidence(), [expected] * 2, rtol=1e-6)
    assert len(evaluated) == 3
    BOX.plan(np.zeros((1, 3, 4), np.float32)).confidence()
    assert len(evaluated) == 6


def test_a_commitment_follows_the_spread() -> None:
    outputs = np.zeros((1, 3, 4), np.float32)
    outputs[..., 2:] = np.log([0.02, 0.05, 1.0])[None, :, None]
    assert ConfidentCommitment().lengths(BOX.plan(outputs)).tolist() == [2]


def test_a_plan_that_tells_no_spread_has_no_confidence() -> None:
    with pytest.raises(
        SettingError, match="commitment 'auto' cannot be used; give a number, or distil with --loss gaussian"
    ):
        ConfidentCommitment().lengths(BOX.plan(np.zeros((1, 2, 2), np.float32)))


@pytest.mark.parametrize("shape", [(2,), (1, 2), (1, 0, 2), (1, 2, 3), (1, 2, 5)])
def test_outputs_of_another_shape_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(InvalidDataError, match="must have shape"):
        BOX.plan(np.zeros(shape, np.float32))
    with pytest.raises(InvalidDataError, match="must have shape"):
        MultiDiscrete((2, 2)).plan(np.zeros(shape, np.float32))
