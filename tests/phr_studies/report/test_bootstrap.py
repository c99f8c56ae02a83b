from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from phr.errors import InvalidDataError
from phr.evaluation.baselines import frequency_averaged_score
from phr.evaluation.evaluate import stratified_bootstrap
from phr_studies.report.bootstrap import two_level_bootstrap, two_level_ratio_bootstrap
from tests.evaluation.test_statistics import assert_same_ends

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
