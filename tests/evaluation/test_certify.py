from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from phr.evaluation.certify import _CAPITAL, _STAKES, asymptotic_low, certain_after, log_evidence

DELTA = 0.05


@given(st.lists(st.floats(-1, 1), min_size=1, max_size=30), st.floats(1.0, 4.0))
def test_the_evidence_is_what_the_bettors_own_together(values: list[float], worst: float) -> None:
    purses = list(_CAPITAL)
    for value, evidence in zip(values, log_evidence(np.array(values), worst), strict=True):
        purses = [purse * (1 + stake / worst * value) for purse, stake in zip(purses, _STAKES, strict=True)]
        assert evidence == pytest.approx(math.log(sum(purses)), abs=1e-9)


def test_the_bettors_own_1_in_the_beginning_and_win_nothing_where_nothing_differs() -> None:
    assert sum(_CAPITAL) == pytest.approx(1)
    np.testing.assert_allclose(log_evidence(np.zeros(5), 1.0), 0, atol=1e-12)


def test_a_difference_below_the_worst_ruins_and_never_helps() -> None:
    after = log_evidence(np.array([1.0, -500.0, 1e9]), 1.0)
    assert after[0] > 0
    assert after[2] == -np.inf


@pytest.mark.parametrize("worst", [0.0, -1.0, math.nan])
def test_a_worst_that_is_not_positive_is_refused(worst: float) -> None:
    with pytest.raises(ValueError, match="worst must be positive"):
        log_evidence(np.zeros(3), worst)


def test_a_perfect_record_takes_about_the_rule_of_three() -> None:
    # 1 % above what is asked for, and one failure would cost 99 %: log(1 / δ) / 0.01 episodes are the least, 300.
    after = certain_after(np.full(1000, 0.01), 0.99, DELTA, bounded=True)
    assert after is not None
    assert 300 <= after <= 400


@pytest.mark.parametrize("name", ["rare failure", "even", "normal", "skewed"])
@pytest.mark.parametrize("bounded", [True, False])
def test_a_mean_of_zero_is_rarely_taken_for_positive_however_often_one_looks(name: str, bounded: bool) -> None:
    rng, n, times = np.random.default_rng(0), 1000, 300
    drawn, worst = {
        "rare failure": (np.where(rng.random((times, n)) < 0.01, -0.99, 0.01), 0.99),
        "even": (rng.choice([-1.0, 1.0], (times, n)), 1.0),
        "normal": (rng.normal(size=(times, n)), 3.0),
        "skewed": (math.exp(0.5) - rng.lognormal(size=(times, n)), 10.0),
    }[name]
    wrong = sum(certain_after(each, worst, DELTA, bounded=bounded) is not None for each in drawn)
    assert wrong / times <= DELTA + 3 * math.sqrt(DELTA * (1 - DELTA) / times)


def test_the_asymptotic_bound_alone_would_be_deceived_by_rare_failures() -> None:
    rng = np.random.default_rng(0)
    runs = [np.where(rng.random(500) < 0.01, -0.99, 0.01) for _ in range(50)]
    deceived = [(asymptotic_low(run, DELTA) > 0).any() for run in runs]
    assert np.mean(deceived) > 0.5, "then certain_after needs no betting where returns are unbounded"


@given(st.lists(st.floats(-10, 10), min_size=3, max_size=20))
def test_the_asymptotic_bound_equals_the_formula(values: list[float]) -> None:
    found = asymptotic_low(np.array(values), DELTA)
    rate = -2 * math.log(2 * DELTA)
    rho = math.sqrt((rate + math.log(rate + 1)) / 100)
    assert found[0] == -math.inf
    for t in range(2, len(values) + 1):
        seen = values[:t]
        width = math.sqrt(2 * (t * rho**2 + 1) / (t**2 * rho**2) * math.log(1 + math.sqrt(t * rho**2 + 1) / (2 * DELTA)))
        expected = np.mean(seen) - np.std(seen, ddof=1) * width
        assert found[t - 1] == pytest.approx(expected, rel=1e-6, abs=1e-6)


def test_where_bounds_are_only_seen_both_have_to_agree() -> None:
    differences = np.concatenate([np.full(20, 3.0), np.tile([3.0, -2.9], 40)])
    alone = certain_after(differences, 3.0, DELTA, bounded=True)
    both = certain_after(differences, 3.0, DELTA, bounded=False)
    low = asymptotic_low(differences, DELTA)
    assert alone is not None
    assert both is not None
    assert both >= alone
    assert low[both - 1] > 0


def test_what_is_not_certain_is_none() -> None:
    assert certain_after(np.full(10, 0.01), 1.0, DELTA, bounded=True) is None
    assert certain_after(np.full(1000, -0.01), 1.0, DELTA, bounded=True) is None
