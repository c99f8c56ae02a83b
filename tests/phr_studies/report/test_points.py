from __future__ import annotations

from dataclasses import replace

import pytest

from phr.errors import InvalidDataError
from phr_studies.report.points import describe_intervals, find, frequency_averaged_scores, in_order
from tests.phr_studies.report.samples import CROSSING, fake_point, fake_points


def test_points_are_checked_at_birth() -> None:
    point = fake_point(CROSSING, "kl", 4, seconds=5.0)
    with pytest.raises(InvalidDataError, match="n=0"):
        replace(point, n=0)
    with pytest.raises(InvalidDataError, match="positive"):
        replace(point, seconds_per_100k_steps=float("inf"))
    with pytest.raises(InvalidDataError, match="10 runs cannot belong to 11 training seeds"):
        replace(point, n_seeds=11)


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


@pytest.mark.parametrize(
    ("n_runs", "n_seeds", "kind"),
    [(1, 1, "none"), (2, 1, "range"), (4, 1, "range"), (5, 1, "bootstrap"), (5, 5, "bootstrap"), (20, 4, "range")],
)
def test_the_kind_of_interval_depends_on_what_varies_independently(n_runs: int, n_seeds: int, kind: str) -> None:
    point = replace(fake_point(CROSSING, "kl", 4, seconds=5.0), n_runs=n_runs, n_seeds=n_seeds)
    assert point.interval_kind == kind


def test_a_caption_says_which_interval_is_shown() -> None:
    point = fake_point(CROSSING, "kl", 4, seconds=5.0)
    runs, seeds = describe_intervals([point]), describe_intervals([replace(point, n_seeds=5)])
    assert "95 % bootstrap" in runs
    assert "10 runs of 1 training seed." in runs
    assert "training seeds, then" in seeds
    assert "training seeds, then" not in runs
    few = [replace(point, n_runs=n) for n in (2, 4)]
    assert describe_intervals(few) == (
        "Intervals: lowest to highest run, too few for a bootstrap; 2 to 4 runs of 1 training seed."
    )
    assert describe_intervals([replace(point, n_runs=1)]) == ""
