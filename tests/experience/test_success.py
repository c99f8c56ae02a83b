from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from phr.envs.registry import make_env
from phr.errors import BrokenEnvironmentError, NoSuccessError, SettingError
from phr.experience.success import (
    Keep,
    check_keep,
    count_successes,
    judge_episodes,
    reported_success,
    select_episodes,
    success_word,
)
from phr.experience.trajectory import Trajectory
from tests.experience.builders import experience, trajectory
from tests.helpers import corridor

YES = [True, np.True_, 1, 1.0, np.int8(1), np.float32(1), np.array(True), np.array([1]), np.array([[1.0]]), [True], (1,)]
NO = [False, np.False_, 0, 0.0, np.uint8(0), np.float64(0), np.array(False), np.array([0]), np.array([[0.0]]), [0], (False,)]
UNKNOWN = [
    None, float("nan"), np.nan, np.array(np.nan), np.array([None]), "False", "True", "1", b"1", 2, -1, 0.5, np.array(2),
    np.inf, [], np.array([]), ["True"], {}, {"a": True}, object(), 1j, np.ma.masked, np.ma.masked_array([1], [True]),
    torch.tensor(1.0, requires_grad=True),
]  # fmt: skip


@pytest.mark.parametrize(
    ("words", "expected"), [(YES, True), (NO, False), (UNKNOWN, None), ([torch.tensor(1), torch.tensor([True])], True)]
)
def test_words_of_success(words: list[Any], expected: bool | None) -> None:
    for word in words:
        assert success_word(word, "here") is expected, repr(word)


@pytest.mark.parametrize("word", [np.array([True, True]), np.zeros((2, 1)), [True, False], [1, [2, 3]], (None, None)])
def test_a_word_of_several_elements_breaks_the_contract(word: Any) -> None:
    with pytest.raises(BrokenEnvironmentError, match=r"corridor: step\(\): info\['is_success'\] must be one .* got 2 el"):
        reported_success(corridor(), {"is_success": word}, terminated=True, last_reward=1.0)


@pytest.mark.parametrize("last_reward", [-1.0, 0.0, 1.0])
@pytest.mark.parametrize("terminated", [False, True])
def test_what_an_environment_reports_counts_and_nothing_else_does(terminated: bool, last_reward: float) -> None:
    for word in (False, True):
        info = {"is_success": word, "other": 1}
        assert reported_success(corridor(), info, terminated=terminated, last_reward=last_reward) is word
    assert reported_success(corridor(), {"success": True}, terminated=terminated, last_reward=last_reward) is None


@pytest.mark.parametrize(
    ("terminated", "last_reward", "expected"),
    [(True, 0.9, True), (True, 0.0, False), (False, 0.0, False), (False, 0.9, False), (True, -1.0, None)],
)
def test_minigrid_reports_through_its_reward(terminated: bool, last_reward: float, expected: bool | None) -> None:
    """At the goal it is positive, and 0 for lava and the step limit, also where no episode of a set reached the goal."""
    with make_env("MiniGrid-Empty-5x5-v0") as env:
        assert reported_success(env, {}, terminated=terminated, last_reward=last_reward) is expected
        for word in (False, True):
            told = reported_success(env, {"is_success": word}, terminated=terminated, last_reward=last_reward)
            assert told is word


def judged(*rewards: list[float], terminated: bool = True, reported: tuple[bool | None, ...] = ()) -> Any:
    flat = [each for row in rewards for each in row]
    return judge_episodes(
        reported or [None] * len(rewards),
        terminated=[terminated] * len(rewards),
        last_rewards=[row[-1] for row in rewards],
        returns=[sum(row) for row in rewards],
        reward_range=(min(flat), max(flat)),
    )


@pytest.mark.parametrize(
    ("rewards", "terminated", "why"),
    [
        ([[0.0], [0.0, 0.0]], False, "every reward is 0"),  # demonstrations without rewards
        ([[0.0], [0.0, 0.0]], True, "every reward is 0"),  # a regulator that makes no mistake
        ([[1.0, 1.0], [1.0]], True, "every reward is positive"),  # CartPole
        ([[-1.0, -1.0], [-1.0]], True, "no reward is positive"),  # MountainCar
        ([[-1.0, -1.0, 0.0], [-1.0]], True, "no reward is positive"),  # Acrobot
        ([[-0.5, 3.0], [2.0]], False, "no episode terminated, only limits ended them"),  # HalfCheetah
        ([[1.0, 0.0], [1.0, 1.0, 0.0]], True, "episodes seem to end by failing"),  # Breakout
    ],
)
def test_where_the_last_reward_does_not_separate_success_is_unknown(
    rewards: list[list[float]], terminated: bool, why: str
) -> None:
    found = judged(*rewards, terminated=terminated)
    assert found.success == (None,) * len(rewards)
    assert found.n_successes is None
    assert found.reason == f"the environment reports info['is_success'] for none of its episodes, and {why}"


def test_a_report_about_some_episodes_stays_where_the_rule_does_not_separate() -> None:
    found = judged([1.0], [1.0], [1.0], reported=(False, None, True))
    assert found.success == (False, None, True)
    assert found.n_successes is None
    assert found.reason.startswith("the environment reports info['is_success'] for 2 of 3 episodes only, and every reward")


@given(
    reported=st.lists(st.booleans(), min_size=1, max_size=6),
    rewards=st.lists(st.floats(-2, 2), min_size=6, max_size=6),
    terminated=st.booleans(),
)
def test_reports_about_all_episodes_are_the_judgement_whatever_the_rewards(
    reported: list[bool], rewards: list[float], terminated: bool
) -> None:
    rows = [[each] for each in rewards[: len(reported)]]
    found = judged(*rows, terminated=terminated, reported=tuple(reported))
    assert found.success == tuple(reported)
    assert found.n_successes == count_successes(reported) == sum(reported)


@given(rewards=st.lists(st.lists(st.sampled_from([-1.0, 0.0, 1.0]), min_size=1, max_size=4), min_size=1, max_size=5))
def test_a_set_of_episodes_is_judged_whole_or_not_at_all(rewards: list[list[float]]) -> None:
    """Without reports nobody is known alone; where all are known, they are by the paper's rule."""
    found = judged(*rewards)
    known = [word is not None for word in found.success]
    assert all(known) or not any(known)
    if all(known):
        assert found.success == tuple(row[-1] > 0 for row in rewards)


def kept(*episodes: Trajectory, keep: Keep = "auto") -> tuple[list[bool], bool]:
    chosen = select_episodes(experience(*episodes), keep)
    return chosen.keep.tolist(), chosen.is_success


def test_what_the_environment_reports_comes_first() -> None:
    reports = [
        trajectory([0.0, 1.0], is_success=False),
        trajectory([0.0, -1.0], is_success=True),
        trajectory([0.0, 0.0], terminated=False, truncated=True, is_success=True),
    ]
    assert kept(*reports) == kept(*reports, keep="successes") == ([False, True, True], True)
    reason = select_episodes(experience(*reports)).reason
    assert reason == "kept 2 of 3 episodes: successes as the environment reports them"


def test_a_report_about_some_episodes_counts_for_these() -> None:
    some = [trajectory([0.0, 1.0], is_success=False), trajectory([0.0, 0.0]), trajectory([0.0, 1.0])]
    assert kept(*some) == ([False, False, True], True)
    assert "positive last reward" in select_episodes(experience(*some)).reason


def test_a_report_about_some_episodes_only_does_not_make_success_known() -> None:
    assert kept(trajectory([1.0, 1.0], is_success=False), trajectory([1.0, 1.0])) == ([True, True], False)


def test_the_papers_criterion_is_a_positive_last_reward_at_termination() -> None:
    assert kept(
        trajectory([0.0, 0.7]),
        trajectory([0.7, 0.0]),
        trajectory([0.0, -1.0]),
        trajectory([0.0, 0.7], terminated=False, truncated=True),
        trajectory([0.0, 0.7], truncated=True),
    ) == ([True, False, False, False, True], True)


@pytest.mark.parametrize(
    "failures",
    [
        [trajectory([1.0, 1.0], is_success=False)] * 3,  # reported, whatever the rewards
        [trajectory([0.0, 0.0], is_success=False)] * 3,
        [*[trajectory([0.5, -1.0])] * 2, trajectory([0.5, -1.0, 0.0], terminated=False, truncated=True)],  # by the rule
    ],
)
@pytest.mark.parametrize("keep", ["auto", "successes"])
def test_no_success_at_all_is_an_error_and_keep_all_is_the_way_out(failures: list[Trajectory], keep: Keep) -> None:
    with pytest.raises(NoSuccessError, match="none of 3 episodes was a success .*; train the teacher longer .*keep='all'"):
        select_episodes(experience(*failures), keep)
    assert kept(*failures, keep="all") == ([True] * 3, False)


ZEROS = [[0.0] * n for n in (2, 5, 3, 4)]
COSTS = [[-1.0] * n for n in (2, 5, 3, 4)]
"""Acrobot: the shorter the better, and no reward is positive."""
POINTS = [[1.0] * n for n in (5, 2, 4, 3)]
"""CartPole: every reward is positive, also the last of a fall."""


@pytest.mark.parametrize("rewards", [ZEROS, COSTS, POINTS])
def test_where_success_is_unknown_all_are_kept_and_the_reason_is_told(rewards: list[list[float]]) -> None:
    recorded = experience(*(trajectory(row) for row in rewards))
    chosen = select_episodes(recorded)
    assert (chosen.keep.tolist(), chosen.is_success) == ([True] * 4, False)
    assert chosen.reason.startswith("kept all 4 episodes, because success is unknown: the environment reports ")
    with pytest.raises(SettingError, match=r"keep='successes' needs to know .* reward.*; use keep='all' or a quantile"):
        select_episodes(recorded, "successes")


@pytest.mark.parametrize(
    ("rewards", "quantile", "keep"),
    [
        (POINTS, 0.0, [True] * 4),
        (POINTS, 0.5, [True, False, True, False]),
        (POINTS, 1.0, [True, False, False, False]),
        (COSTS, 0.5, [True, False, True, False]),
        (COSTS, 0.99, [True, False, False, False]),
        (ZEROS, 0.9, [True] * 4),  # equal returns
    ],
)
def test_a_quantile_keeps_the_best_by_return(rewards: list[list[float]], quantile: float, keep: list[bool]) -> None:
    recorded = experience(*(trajectory(row) for row in rewards))
    chosen = select_episodes(recorded, quantile)
    assert (chosen.keep.tolist(), chosen.is_success) == (keep, False)
    assert f"kept {sum(keep)} of 4 episodes: returns of at least" in chosen.reason


def test_a_quantile_and_all_count_whatever_is_known_of_success() -> None:
    episodes = [trajectory([3.0], is_success=False), trajectory([1.0], is_success=True)]
    assert kept(*episodes) == ([False, True], True)
    assert kept(*episodes, keep=0.5) == ([True, False], False)
    assert kept(*episodes, keep="all") == ([True, True], False)


@pytest.mark.parametrize(
    "keep", [-0.1, 1.1, 10**400, pytest.param(-(10**5000), id="vast"), float("nan"), "best", "0.5", None, True, [0.5]]
)
def test_another_value_of_keep_is_refused(keep: Any) -> None:
    with pytest.raises(SettingError, match=r"keep must be one of 'auto', 'all', 'successes', or a quantile .*; got "):
        check_keep(keep)


@pytest.mark.parametrize("keep", [1.5, -0.5])
def test_the_selection_checks_it_too(keep: float) -> None:
    with pytest.raises(SettingError, match="keep must be one of"):
        select_episodes(experience(trajectory([1.0])), keep)


def test_an_episode_that_ends_early_on_a_reward_may_have_failed() -> None:
    """A walker that falls is rewarded until it does; those that are cut off went farther."""
    fell, walked = trajectory([1.0, -0.1, 1.0]), trajectory([1.0] * 8, terminated=False, truncated=True)
    assert kept(fell, walked) == ([True, True], False)
    assert kept(fell, walked, keep=0.5) == ([False, True], False)


@pytest.mark.parametrize(
    "episodes",
    [
        [([0.0, 1.0, 0.0], True), ([1.0, 1.0, 0.0], True)],  # Breakout: points, and an end without any
        [([0.5, 0.5, 0.5, -1.0], True), ([0.5] * 5 + [-1.0], True)],  # Flappy Bird: paid until it is dead
        [([3.0, 3.0, -0.5], True), ([3.0] * 5, False)],  # Ant: the fall costs, those who walk on are cut off
    ],
)
def test_where_rewards_come_on_the_way_and_none_at_the_end_all_are_kept(episodes: list[tuple[list[float], bool]]) -> None:
    played = [trajectory(rewards, terminated=ended, truncated=not ended) for rewards, ended in episodes]
    assert kept(*played) == ([True, True], False)
    assert "episodes seem to end by failing" in select_episodes(experience(*played)).reason


def test_a_fall_that_costs_something_does_not_make_a_good_teacher_a_failure() -> None:
    walked = [trajectory([-0.1] + [2.0] * 20, terminated=False, truncated=True)] * 9
    fell = trajectory([1.0, 1.0, -0.5])
    assert kept(*walked, fell) == ([True] * 10, False)
    assert kept(*walked, fell, keep=0.2) == ([True] * 9 + [False], False)


def test_a_cut_off_episode_is_no_success_unless_it_collected_more() -> None:
    for rewards in itertools.product([0.0, 0.3], repeat=3):
        cut = trajectory(rewards, terminated=False, truncated=True)
        assert kept(trajectory([0.0, 1.0]), cut)[0] == [True, False]
    assert kept(trajectory([0.0, 1.0]))[0] == [True]
