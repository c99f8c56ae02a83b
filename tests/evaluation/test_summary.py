from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from phr.evaluation.bound import TimeBound
from phr.evaluation.episodes import StartsResult
from phr.evaluation.evaluate import Evaluation
from phr.evaluation.timed import RunRecord


def made_up(*returns: list[float], **record: Any) -> Evaluation:
    """An evaluation of runs with these returns."""
    runs = tuple(
        RunRecord(
            seed=index,
            steps=10 * len(values),
            episodes=len(values),
            returns=values,
            score=float(sum(values)),
            reported=[None] * len(values),
            last_rewards=values,
            seconds_wall=1.0 + index,
            reward_low=0.0,
            reward_high=1.0,
            terminated=[True] * len(values),
        )
        for index, values in enumerate(returns)
    )
    changed = tuple(replace(run, **record) for run in runs)
    return Evaluation("made-up", "m", 1, 1, "b", True, changed, (), {})


def bounded(*fractions: float, seconds: float = 1.0) -> Evaluation:
    """Runs that reached these fractions of their bounds."""
    told = {"lengths": [10], "looks": [10], "seconds_wall": seconds, "seconds_env": seconds}
    evaluation = made_up(*([1.0] for _ in fractions), **told)
    us_per_step = 1e6 * seconds / 10
    bounds = tuple(TimeBound(us_per_step * fraction, 0.0, 0.0, 0.0, 1.0, 1.0) for fraction in fractions)
    return replace(evaluation, bounds=bounds)


def test_runs_that_were_faster_than_possible_are_a_warning_at_the_end() -> None:
    evaluation = replace(bounded(1.2, 0.9, 1.06), all_starts=StartsResult(3, 3, 1.0, 4.0, 2.0))
    told = evaluation.to_json()
    assert told["bound"]["fraction"] == pytest.approx(1.06)
    assert (
        told["bound_warning"]
        == evaluation.bound_warning
        == (
            "the median run took 94% of the least possible time (1.06 of the bound): "
            "the time bound of made-up is wrong; please report it"
        )
    )
    assert str(evaluation).splitlines()[-1] == f"  warning        {evaluation.bound_warning}"


def test_an_unknown_bound_is_a_warning_at_the_end() -> None:
    told = {"lengths": [10], "looks": [10], "seconds_env": 1.0}
    evaluation = replace(made_up([1.0], **told), bound_failure="the replay failed")
    assert evaluation.bound is None
    assert evaluation.to_json()["bound_warning"] == "the time bound is unknown: the replay failed"
    assert str(evaluation).splitlines()[-1] == "  warning        the time bound is unknown: the replay failed"


@pytest.mark.parametrize(
    ("fractions", "seconds", "warned"),
    [
        ((0.9, 1.04, 1.3), 1.0, False),  # one run of three proves nothing
        ((0.2, 0.3, 0.4), 1.0, False),
        ((1.2, 1.3), 9.0, True),  # too few
        ((1.2, 1.3, 1.4), 0.9, True),  # too short
    ],
)
def test_noise_is_no_mistake_in_the_bound(fractions: tuple[float, ...], seconds: float, warned: bool) -> None:
    evaluation = bounded(*fractions, seconds=seconds)
    assert (evaluation.bound_warning is not None) == ("so few or short runs may be noise" in str(evaluation)) == warned
    assert "please report it" not in str(evaluation)


def test_no_bound_no_warning() -> None:
    evaluation = made_up([1.0], [1.0], [1.0])
    assert evaluation.bound_warning is evaluation.to_json()["bound_warning"] is None


def test_the_interval_holds_the_mean_of_runs_of_different_sizes() -> None:
    evaluation = made_up([0.0], [1.0] * 99)
    assert evaluation.return_mean == 0.5  # every run counts once
    assert evaluation.return_ci95 == (0.5, 0.5)
    noisy_runs = made_up([0.0, 1.0, 0.0], [1.0, 0.0] * 30, [])
    low, high = noisy_runs.return_ci95 or (1, 0)
    assert low < (noisy_runs.return_mean or 0) < high


def test_rates_are_totals_over_totals() -> None:
    evaluation = made_up([1.0, 0.0], [1.0] * 4)
    assert evaluation.score_per_second == pytest.approx(5 / 3)
    assert evaluation.seconds_per_100k_steps == pytest.approx(1e5 * 3 / 60)
    timed = made_up([1.0], [1.0], lengths=[10], looks=[10], seconds_env=1.0)
    assert "100k steps     15000.000 s  [10000.000, 20000.000]" in str(timed)
    assert evaluation.success_rate == pytest.approx((1 / 2 + 1) / 2)  # but an outcome is a mean over runs


@pytest.mark.parametrize(
    ("record", "rate"),
    [
        ({}, 0.5),
        ({"reward_low": 1.0}, None),  # CartPole: every reward is positive
        ({"reward_low": -1.0, "reward_high": -1.0}, None),  # costs
        ({"terminated": [False] * 2}, None),  # no episode ends by itself
        ({"reward_low": 1.0, "reported": [True, False]}, 0.5),  # but what the environment reports always counts
        ({"reward_low": 1.0, "reported": [True, None]}, None),  # of every episode, that is
        ({"reward_high": 0.0, "terminated": [False] * 2, "last_rewards": [0.0] * 2}, None),  # all rewards are 0
        ({"reward_high": 0.0, "terminated": [False] * 2, "reported": [False] * 2}, 0.0),  # never solved
    ],
)
def test_success_is_told_only_where_it_means_something(record: dict[str, Any], rate: float | None) -> None:
    evaluation = made_up([1.0, 0.0], **{"lengths": [10] * 2, "looks": [10] * 2, "seconds_env": 1.0, **record})
    assert evaluation.success_rate == evaluation.to_json()["success_rate"] == rate
    line = next(line for line in str(evaluation).splitlines() if line.startswith("  success "))
    assert line.split(maxsplit=1)[1].startswith("unknown: the environment reports " if rate is None else f"{rate:.2%}")


def test_success_is_a_mean_over_runs_that_finished_an_episode() -> None:
    assert made_up([1.0, 0.0], [], [1.0]).success_rate == 0.75
    assert made_up([], []).success_rate is None


def test_what_did_not_go_as_asked_is_printed_at_the_end() -> None:
    records = [RunRecord(0), RunRecord(1)]
    for record, n in zip(records, (2, 1), strict=True):
        record.close_episode([0.0, 1.0], 1, True, None)
        record.close_run([], 1, 1.0, 0.5)
        for _ in range(n):
            record.remarks.prefixes_left_out.append(f"run {record.seed}")
    evaluation = replace(made_up(), runs=tuple(records))
    last = str(evaluation).splitlines()[-1]
    assert last.startswith("  warning        3 episodes began without their random prefix")
    assert "(the first: run 0)" in last


def test_a_walker_that_falls_on_a_negative_reward_does_not_make_success_known() -> None:
    record = RunRecord(0)
    for _ in range(9):
        record.close_episode([-0.1] + [2.0] * 20, 5, False, None)
    record.close_episode([1.0, 1.0, -0.5], 3, True, None)
    record.close_run([], 50, 1.0, 0.5)
    assert replace(made_up(), runs=(record,)).success_rate is None


def test_large_scores_are_set_in_thousands() -> None:
    assert "score/second   6,172.84" in str(
        made_up([12_345.678], lengths=[10], looks=[10], seconds_wall=2.0, seconds_env=2.0)
    )
