from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from phr.errors import InvalidDataError
from phr.evaluation.evaluate import stratified_bootstrap

runs = st.lists(st.lists(st.floats(-5, 5), min_size=1, max_size=8), min_size=1, max_size=4)


def slow_bootstrap(strata: list[list[float]], seed: int, n_resamples: int) -> list[float]:
    """Means over strata of the means of resamples, drawn value by value."""
    rng = np.random.default_rng(seed)
    means = []
    for _ in range(n_resamples):
        drawn = [[stratum[rng.integers(len(stratum))] for _ in stratum] for stratum in strata]
        means.append(sum(sum(values) / len(values) for values in drawn) / len(drawn))
    return means


def test_the_interval_equals_a_slow_bootstraps() -> None:
    strata = [[0.0, 0.0, 1.0, 4.0], [2.0, 2.0, 3.0, 3.0, 3.0, 9.0], [-1.0]]
    n = 4000
    means = sorted(slow_bootstrap(strata, 1, n))
    for confidence in (0.5, 0.95):
        ends = stratified_bootstrap(
            [np.array(s) for s in strata], np.random.default_rng(0), confidence=confidence, n_resamples=n
        )
        assert_same_ends(ends, means, confidence)


def assert_same_ends(ends: tuple[float, float], slow: list[float], confidence: float) -> None:
    """As many of the slow resamples lie below each end as should, within the error of two such samples."""
    n = len(slow)
    for end, level in zip(ends, ((1 - confidence) / 2, (1 + confidence) / 2), strict=True):
        share = (sum(value < end - 1e-9 for value in slow) / n, sum(value <= end + 1e-9 for value in slow) / n)
        error = 4 * math.sqrt(2 * level * (1 - level) / n)
        assert share[0] - error <= level <= share[1] + error


def test_the_interval_agrees_with_normal_theory() -> None:
    values = np.random.default_rng(0).normal(10, 2, size=400)
    low, high = stratified_bootstrap([values], np.random.default_rng(1), n_resamples=20_000)
    half = 1.96 * values.std() / math.sqrt(len(values))
    assert low == pytest.approx(values.mean() - half, abs=0.05 * half)
    assert high == pytest.approx(values.mean() + half, abs=0.05 * half)


def test_it_covers_the_true_mean_about_as_often_as_it_says() -> None:
    rng, covered = np.random.default_rng(0), 0
    for _ in range(300):
        low, high = stratified_bootstrap(list(rng.normal(size=(3, 20))), rng, n_resamples=400)
        covered += low <= 0 <= high
    assert 0.90 <= covered / 300 <= 0.98


@given(runs)
def test_the_interval_lies_within_the_values(strata: list[list[float]]) -> None:
    low, high = stratified_bootstrap([np.array(s) for s in strata], np.random.default_rng(0), n_resamples=50)
    values = [value for stratum in strata for value in stratum]
    assert min(values) - 1e-9 <= low <= high <= max(values) + 1e-9


def test_what_does_not_vary_within_a_run_has_no_interval() -> None:
    """Every run counts once, however many values it has, and only the spread within the runs matters."""
    ends = stratified_bootstrap([np.zeros(1), np.full(3, 2.0)], np.random.default_rng(0))
    assert ends == (1, 1)


def test_the_seed_bites_and_repeats() -> None:
    strata = [np.random.default_rng(3).normal(size=30)]
    first, again, other = (stratified_bootstrap(strata, np.random.default_rng(s), n_resamples=100) for s in (1, 1, 2))
    assert first == again != other


def test_empty_runs_are_left_out_unless_all_are() -> None:
    values, empty = np.array([1.0, 2.0]), np.zeros(0)
    alone, both = (stratified_bootstrap(s, np.random.default_rng(0)) for s in ([values], [empty, values]))
    assert alone == both
    with pytest.raises(InvalidDataError, match="at least one value"):
        stratified_bootstrap([empty], np.random.default_rng(0))
