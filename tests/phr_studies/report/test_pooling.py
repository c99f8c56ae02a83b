from __future__ import annotations

from typing import Any

import pytest

from phr.errors import InvalidDataError
from phr_studies.report.points import pool
from phr_studies.workbench import BUSY
from tests.phr_studies.report.samples import fake_evaluation


def test_pooled_values_equal_a_slow_loop() -> None:
    evaluations = [fake_evaluation(0), fake_evaluation(1)]
    point = pool("kl", 4, [[evaluation] for evaluation in evaluations])
    steps = seconds = score = 0.0
    run_returns, run_lengths = [], []
    for evaluation in evaluations:
        for run in evaluation["runs"]:
            steps, seconds, score = steps + run["steps"], seconds + run["seconds_wall"], score + run["score"]
            run_returns.append(sum(run["returns"]) / len(run["returns"]))
            run_lengths.append(sum(run["lengths"]) / len(run["lengths"]))
    assert (point.n_runs, point.n_seeds) == (6, 2)
    assert point.return_mean == pytest.approx(sum(run_returns) / 6)
    assert point.length_mean == pytest.approx(sum(run_lengths) / 6)
    assert point.seconds_per_100k_steps == pytest.approx(seconds / steps * 100_000)
    assert point.score_per_second == pytest.approx(score / seconds)
    assert point.evaluations_per_episode == pytest.approx(4.5)
    assert point.success_rate == pytest.approx(0.9)
    assert point.bound_fraction == pytest.approx(0.8)


def test_few_runs_show_their_lowest_and_highest() -> None:
    evaluation = fake_evaluation(2)
    point = pool("kl", 4, [[evaluation]])
    runs = evaluation["runs"]
    assert (point.n_runs, point.interval_kind) == (3, "range")
    for found, values in (
        (point.return_interval, [sum(run["returns"]) / len(run["returns"]) for run in runs]),
        (point.seconds_interval, [1e5 * run["seconds_wall"] / run["steps"] for run in runs]),
        (point.score_interval, [run["score"] / run["seconds_wall"] for run in runs]),
    ):
        assert found == pytest.approx((min(values), max(values)))


def test_one_run_alone_has_no_interval() -> None:
    evaluation = fake_evaluation(2)
    point = pool("kl", 4, [[{**evaluation, "runs": evaluation["runs"][:1]}]])
    assert (point.return_interval, point.seconds_interval, point.score_interval) == (None, None, None)


def test_bootstrap_intervals_hold_their_values() -> None:
    point = pool("kl", 4, [[fake_evaluation(seed)] for seed in range(5)])
    assert (point.n_seeds, point.interval_kind) == (5, "bootstrap")
    for value, interval in (
        (point.return_mean, point.return_interval),
        (point.seconds_per_100k_steps, point.seconds_interval),
        (point.score_per_second, point.score_interval),
    ):
        assert interval is not None
        assert value is not None
        assert interval[0] < value < interval[1]


def test_trainings_that_differ_widen_the_interval() -> None:
    """Every run of a training returns the same: only between trainings is there a difference."""
    seeds = []
    for value in (0.0, 0.2, 0.4, 0.6, 0.8):
        evaluation = fake_evaluation(0)
        seeds.append([{**evaluation, "runs": [{**run, "returns": [value] * 4} for run in evaluation["runs"]]}])
    together = pool("kl", 4, seeds).return_interval
    as_one = pool("kl", 4, [[evaluation for seed in seeds for evaluation in seed]]).return_interval
    assert as_one == pytest.approx((0.4, 0.4))
    assert together is not None
    assert together[0] < 0.25 < 0.55 < together[1]


def test_pooling_repeats_bit_for_bit_whatever_the_order_of_unused_keys() -> None:
    evaluation = fake_evaluation(3)
    assert pool("kl", 4, [[evaluation]]) == pool("kl", 4, [[dict(reversed(evaluation.items()))]])


def test_unknown_stays_unknown() -> None:
    unfinished = fake_evaluation(0, success_rate=None, evaluations_per_episode=None, bound=None)
    for run in unfinished["runs"]:
        run["returns"], run["lengths"] = [], []
    point = pool("action repeat", 4, [[unfinished]])
    assert (point.return_mean, point.return_interval, point.length_mean, point.success_rate) == (None,) * 4
    assert (point.evaluations_per_episode, point.bound_fraction) == (None, None)
    assert pool("kl", 4, [[fake_evaluation(0), fake_evaluation(1, success_rate=None)]]).success_rate is None


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
        pool("kl", 4, [evaluations])


def test_runs_that_a_busy_machine_timed_are_counted() -> None:
    machines = [{"busy": 0.0}, {"busy": None}, {"busy": BUSY + 0.01}, {}]
    evaluations = [{**fake_evaluation(0), "machine": machine} for machine in machines]
    assert pool("kl", 4, [evaluations]).n_busy == 1
    assert pool("kl", 4, [[fake_evaluation(0)]]).n_busy == 0
