from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from phr.errors import InvalidDataError
from phr.evaluation.statistics import (
    frequency_averaged_score,
    stratified_bootstrap,
    two_level_bootstrap,
    two_level_ratio_bootstrap,
)

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


SEEDS = [[[0.0, 1.0, 1.0], [2.0]], [[5.0, 7.0], [4.0, 4.0, 9.0]], [[3.0, 3.5]]]


@pytest.mark.parametrize("confidence", [0.5, 0.95])
def test_two_levels_equal_a_slow_loop(confidence: float) -> None:
    rng, slow = np.random.default_rng(1), []
    for _ in range(4000):
        means = []
        for _ in SEEDS:
            runs = SEEDS[rng.integers(len(SEEDS))]
            means += [sum(run[rng.integers(len(run))] for _ in run) / len(run) for run in runs]
        slow.append(sum(means) / len(means))
    seeds = [[np.array(run) for run in runs] for runs in SEEDS]
    ends = two_level_bootstrap(seeds, np.random.default_rng(0), confidence=confidence, n_resamples=4000)
    assert_same_ends(ends, slow, confidence)


@pytest.mark.parametrize("confidence", [0.5, 0.95])
def test_ratios_on_two_levels_equal_a_slow_loop(confidence: float) -> None:
    pairs = [([1.0, 2.0, 6.0], [1.0, 3.0, 2.0]), ([5.0, 4.0], [2.0, 2.5])]
    rng, slow = np.random.default_rng(1), []
    for _ in range(4000):
        above = below = 0.0
        for _ in pairs:
            numerators, denominators = pairs[rng.integers(len(pairs))]
            for at in rng.integers(len(numerators), size=len(numerators)):
                above, below = above + numerators[at], below + denominators[at]
        slow.append(above / below)
    arrays = [(np.array(numerators), np.array(denominators)) for numerators, denominators in pairs]
    ends = two_level_ratio_bootstrap(arrays, np.random.default_rng(0), confidence=confidence, n_resamples=4000)
    assert_same_ends(ends, slow, confidence)


def test_both_levels_together_agree_with_normal_theory() -> None:
    """Var* = (variance between the seeds' means + mean variance within a seed / its values) / number of seeds."""
    rng = np.random.default_rng(0)
    seeds = [[rng.normal(rng.normal(0, 2), 3, size=10)] for _ in range(60)]
    means = np.array([runs[0].mean() for runs in seeds])
    half = 1.96 * math.sqrt((means.var() + np.mean([runs[0].var() / 10 for runs in seeds])) / 60)
    low, high = two_level_bootstrap(seeds, np.random.default_rng(1), n_resamples=20_000)
    assert low == pytest.approx(means.mean() - half, abs=0.06 * half)
    assert high == pytest.approx(means.mean() + half, abs=0.06 * half)


def test_one_seed_has_the_interval_of_its_runs() -> None:
    runs = [np.random.default_rng(seed).normal(size=50) for seed in range(3)]
    found = two_level_bootstrap([runs], np.random.default_rng(0), n_resamples=20_000)
    alone = stratified_bootstrap(runs, np.random.default_rng(1), n_resamples=20_000)
    assert found == pytest.approx(alone, abs=0.05 * (alone[1] - alone[0]))


def test_the_ratio_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    rng, covered = np.random.default_rng(0), 0
    for _ in range(200):
        denominators = rng.uniform(0.5, 1.5, 30)
        pair = (2 * denominators + rng.normal(0, 0.2, 30), denominators)
        low, high = two_level_ratio_bootstrap([pair], rng, n_resamples=400)
        covered += low <= 2 <= high
    assert 0.88 <= covered / 200 <= 0.99


def test_two_levels_need_a_value_and_leave_empty_runs_out() -> None:
    full, empty = [np.array([1.0, 4.0])], [np.zeros(0)]
    alone, both = (two_level_bootstrap(seeds, np.random.default_rng(0)) for seeds in ([full], [[*empty, *full], empty]))
    assert alone == both
    for seeds in ([], [empty]):
        with pytest.raises(InvalidDataError, match="at least one value"):
            two_level_bootstrap(seeds, np.random.default_rng(0))


def test_the_frequency_averaged_score_by_hand() -> None:
    # (1 + 0.5 + 0 + −0.5) / 4
    score = frequency_averaged_score({1: 3.0, 4: 2.0, 8: 1.0, 16: 0.0}, random_return=1.0, teacher_return=3.0)
    assert score == 0.25


@given(st.lists(st.integers(1, 64), min_size=1, max_size=5, unique=True), st.floats(-9, 9), st.floats(0.1, 9))
def test_the_score_is_one_at_the_teachers_level_and_zero_at_random_plays(
    horizons: list[int], random_return: float, span: float
) -> None:
    ends = {"random_return": random_return, "teacher_return": random_return + span}
    for level, value in ((0.0, random_return), (1.0, random_return + span)):
        assert frequency_averaged_score(dict.fromkeys(horizons, value), **ends) == pytest.approx(level)


def test_a_score_needs_returns_and_a_teacher_above_random_play() -> None:
    with pytest.raises(InvalidDataError, match="at least one n"):
        frequency_averaged_score({}, random_return=0.0, teacher_return=1.0)
    with pytest.raises(InvalidDataError, match="the teacher's return 1 is not above random play's 1"):
        frequency_averaged_score({1: 1.0}, random_return=1.0, teacher_return=1.0)
