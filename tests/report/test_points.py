from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from phr.errors import InvalidDataError
from phr.report.points import find, frequency_averaged_scores, in_order, pool, ratio_interval
from tests.report.samples import CROSSING, fake_evaluation, fake_point, fake_points


def test_pooled_values_equal_a_slow_loop() -> None:
    evaluations = [fake_evaluation(0), fake_evaluation(1)]
    point = pool("kl", 4, evaluations)
    steps = seconds = score = 0.0
    run_returns, run_lengths = [], []
    for evaluation in evaluations:
        for run in evaluation["runs"]:
            steps, seconds, score = steps + run["steps"], seconds + run["seconds_wall"], score + run["score"]
            run_returns.append(sum(run["returns"]) / len(run["returns"]))
            run_lengths.append(sum(run["lengths"]) / len(run["lengths"]))
    assert point.n_runs == 6
    assert point.return_mean == pytest.approx(sum(run_returns) / 6)
    assert point.length_mean == pytest.approx(sum(run_lengths) / 6)
    assert point.seconds_per_100k_steps == pytest.approx(seconds / steps * 100_000)
    assert point.score_per_second == pytest.approx(score / seconds)
    assert point.evaluations_per_episode == pytest.approx(4.5)
    assert point.success_rate == pytest.approx(0.9)
    assert point.bound_fraction == pytest.approx(0.8)


def test_intervals_hold_their_values_and_lie_within_the_runs() -> None:
    evaluation = fake_evaluation(2)
    point = pool("kl", 4, [evaluation])
    each = [1e5 * run["seconds_wall"] / run["steps"] for run in evaluation["runs"]]
    assert point.seconds_ci95 is not None
    assert point.score_ci95 is not None
    assert point.return_ci95 is not None
    assert point.return_mean is not None
    low, high = point.seconds_ci95
    assert min(each) - 1e-9 <= low <= point.seconds_per_100k_steps <= high <= max(each) + 1e-9
    assert point.score_ci95[0] <= point.score_per_second <= point.score_ci95[1]
    assert point.return_ci95[0] <= point.return_mean <= point.return_ci95[1]


def test_pooling_repeats_bit_for_bit_whatever_the_order_of_unused_keys() -> None:
    evaluation = fake_evaluation(3)
    assert pool("kl", 4, [evaluation]) == pool("kl", 4, [dict(reversed(evaluation.items()))])


def test_one_run_has_an_interval_without_width() -> None:
    low, high = ratio_interval(np.array([3.0]), np.array([2.0]), np.random.default_rng(0))
    assert low == high == 1.5


def test_the_ratio_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    rng, covered = np.random.default_rng(0), 0
    for _ in range(200):
        denominators = rng.uniform(0.5, 1.5, 30)
        low, high = ratio_interval(2 * denominators + rng.normal(0, 0.2, 30), denominators, rng)
        covered += low <= 2 <= high
    assert 0.88 <= covered / 200 <= 0.99


def test_unknown_stays_unknown() -> None:
    unfinished = fake_evaluation(0, success_rate=None, evaluations_per_episode=None, bound=None)
    for run in unfinished["runs"]:
        run["returns"], run["lengths"] = [], []
    point = pool("action repeat", 4, [unfinished])
    assert (point.return_mean, point.return_ci95, point.length_mean, point.success_rate) == (None,) * 4
    assert (point.evaluations_per_episode, point.bound_fraction) == (None, None)
    assert pool("kl", 4, [fake_evaluation(0), fake_evaluation(1, success_rate=None)]).success_rate is None


@pytest.mark.parametrize(
    ("evaluations", "message"),
    [
        ([], "none"),
        ([fake_evaluation(0), fake_evaluation(1, env_id="other")], "exactly one environment"),
        ([fake_evaluation(0), fake_evaluation(1, commitment=8)], "one commitment"),
        ([fake_evaluation(0, runs=[])], "not a single step"),
    ],
)
def test_what_does_not_belong_together_is_not_pooled(evaluations: list[dict[str, Any]], message: str) -> None:
    with pytest.raises(InvalidDataError, match=message):
        pool("kl", 4, evaluations)


def test_points_are_checked_at_birth() -> None:
    point = fake_point(CROSSING, "kl", 4, seconds=5.0)
    with pytest.raises(InvalidDataError, match="n=0"):
        replace(point, n=0)
    with pytest.raises(InvalidDataError, match="positive"):
        replace(point, seconds_per_100k_steps=float("inf"))


def test_fas_averages_over_n_and_takes_the_teacher_for_n_1() -> None:
    points = fake_points()
    scores = frequency_averaged_scores(points, random_returns={CROSSING: 0.01}, teacher_returns={CROSSING: 0.96})
    kept = (0.96 * 0.8 - 0.01) / (0.96 - 0.01)
    assert scores[CROSSING, "kl"] == pytest.approx((1 + 3 * kept) / 4)
    assert scores[CROSSING, "cross_entropy"] == pytest.approx(1.0)
    assert (CROSSING, "teacher") not in scores


def test_fas_uses_the_students_own_n_1_and_leaves_out_what_is_incomplete() -> None:
    own = [fake_point(CROSSING, "kl", n, seconds=5.0, kept=0.5) for n in (1, 4, 8, 16)]
    partly = [fake_point(CROSSING, "squared", n, seconds=5.0) for n in (4, 8)]
    scores = frequency_averaged_scores(own + partly, random_returns={CROSSING: 0.0}, teacher_returns={CROSSING: 0.96})
    assert scores == {(CROSSING, "kl"): pytest.approx(0.5)}
    assert frequency_averaged_scores(own, random_returns={}, teacher_returns={CROSSING: 0.96}) == {}


def test_order_and_search() -> None:
    points = fake_points()
    assert in_order(points, lambda point: point.series)[:2] == ["teacher", "cross_entropy"]
    assert find(points, CROSSING, "kl", 8) == points[8]
    assert find(points, CROSSING, "kl", 5) is None
