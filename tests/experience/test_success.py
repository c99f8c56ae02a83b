from __future__ import annotations

import itertools

import numpy as np
import pytest

from phr.errors import NoSuccessError, SettingError
from phr.experience.success import episode_success, last_reward_tells_success, said_success, select_successful
from tests.experience.builders import experience, trajectory


@pytest.mark.parametrize("last_reward", [-1.0, 0.0, 1.0])
@pytest.mark.parametrize("terminated", [False, True])
def test_the_word_counts_and_else_the_last_reward_at_termination(terminated: bool, last_reward: float) -> None:
    for word in (False, True, np.bool_(True)):
        said = said_success({"is_success": word, "other": 1})
        assert episode_success(said, terminated=terminated, last_reward=last_reward) is bool(word)
    said = said_success({"success": True})
    assert said is None
    assert episode_success(said, terminated=terminated, last_reward=last_reward) == (terminated and last_reward > 0)


def test_the_environments_own_word_comes_first() -> None:
    chosen = select_successful(
        experience(
            trajectory([0.0, 1.0], is_success=False),
            trajectory([0.0, -1.0], is_success=True),
            trajectory([0.0, 0.0], terminated=False, truncated=True, is_success=True),
        )
    )
    assert chosen.keep.tolist() == [False, True, True]
    assert chosen.is_success
    assert chosen.reason == "kept 2 of 3 episodes: the environment's is_success"


def test_a_word_about_some_episodes_counts_for_these() -> None:
    chosen = select_successful(
        experience(trajectory([0.0, 1.0], is_success=False), trajectory([0.0, 0.0]), trajectory([0.0, 1.0]))
    )
    assert chosen.keep.tolist() == [False, False, True]
    assert "positive last reward" in chosen.reason


def test_a_word_about_some_episodes_only_does_not_make_success_known() -> None:
    chosen = select_successful(experience(trajectory([1.0, 1.0], is_success=False), trajectory([1.0, 1.0])))
    assert chosen.keep.tolist() == [True, True]
    assert not chosen.is_success


def test_the_papers_criterion_is_a_positive_last_reward_at_termination() -> None:
    chosen = select_successful(
        experience(
            trajectory([0.0, 0.7]),
            trajectory([0.7, 0.0]),
            trajectory([0.0, -1.0]),
            trajectory([0.0, 0.7], terminated=False, truncated=True),
            trajectory([0.0, 0.7], truncated=True),
        )
    )
    assert chosen.keep.tolist() == [True, False, False, False, True]
    assert chosen.is_success


@pytest.mark.parametrize("is_success", [None, False])
def test_no_success_at_all_is_an_error(is_success: bool | None) -> None:
    failures = [trajectory([0.0, 0.0], terminated=False, truncated=True, is_success=is_success)] * 3
    with pytest.raises(NoSuccessError, match="none of 3 episodes was a success .*; train the teacher longer"):
        select_successful(experience(*failures))


COSTS = [[-1.0] * n for n in (2, 5, 3, 4)]
"""Acrobot: the shorter the better, and no reward is positive."""
POINTS = [[1.0] * n for n in (5, 2, 4, 3)]
"""CartPole: every reward is positive, also the last of a fall."""


@pytest.mark.parametrize(
    ("rewards", "quantile", "keep"),
    [
        (POINTS, 0.0, [True] * 4),
        (POINTS, 0.5, [True, False, True, False]),
        (COSTS, 0.5, [True, False, True, False]),
        (COSTS, 0.99, [True, False, False, False]),
    ],
)
def test_where_success_means_nothing_the_best_are_kept(
    rewards: list[list[float]], quantile: float, keep: list[bool]
) -> None:
    chosen = select_successful(experience(*(trajectory(row) for row in rewards)), quantile=quantile)
    assert chosen.keep.tolist() == keep
    assert not chosen.is_success
    assert f"kept {sum(keep)} of 4 episodes" in chosen.reason
    assert ("all" if quantile == 0 else f"the best {1 - quantile:.0%} by return") in chosen.reason


def test_an_episode_that_ends_early_on_a_reward_may_have_failed() -> None:
    """A walker that falls is rewarded until it does; those that are cut off went farther."""
    fell = trajectory([1.0, -0.1, 1.0])
    walked = trajectory([1.0] * 8, terminated=False, truncated=True)
    chosen = select_successful(experience(fell, walked))
    assert (chosen.keep.tolist(), chosen.is_success) == ([True, True], False)
    assert "the last reward does not tell success here" in chosen.reason
    assert select_successful(experience(fell, walked), quantile=0.5).keep.tolist() == [False, True]


@pytest.mark.parametrize(
    "episodes",
    [
        [([0.0, 1.0, 0.0], True), ([1.0, 1.0, 0.0], True)],  # Breakout: points, and an end without any
        [([0.5, 0.5, 0.5, -1.0], True), ([0.5] * 5 + [-1.0], True)],  # Flappy Bird: paid until it is dead
        [([3.0, 3.0, -0.5], True), ([3.0] * 5, False)],  # Ant: the fall costs, those who walk on are cut off
    ],
)
def test_where_rewards_come_on_the_way_and_none_at_the_end_all_are_kept(episodes: list[tuple[list[float], bool]]) -> None:
    played = experience(*(trajectory(rewards, terminated=ended, truncated=not ended) for rewards, ended in episodes))
    chosen = select_successful(played)
    assert (chosen.keep.tolist(), chosen.is_success) == ([True, True], False)
    assert "the last reward does not tell success here" in chosen.reason


def test_a_fall_that_costs_something_does_not_make_a_good_teacher_a_failure() -> None:
    walked = [trajectory([-0.1] + [2.0] * 20, terminated=False, truncated=True)] * 9
    fell = trajectory([1.0, 1.0, -0.5])
    chosen = select_successful(experience(*walked, fell))
    assert chosen.keep.all()
    assert not chosen.is_success
    assert select_successful(experience(*walked, fell), quantile=0.2).keep.tolist() == [True] * 9 + [False]


def test_failing_later_than_the_limit_is_no_success() -> None:
    """Where those that ended by themselves collected as much, nothing speaks against the paper's rule."""
    lost, lingered = trajectory([0.5, -1.0]), trajectory([0.5, -1.0, 0.0], terminated=False, truncated=True)
    with pytest.raises(NoSuccessError):
        select_successful(experience(lost, lingered))


def test_equal_returns_are_all_kept() -> None:
    chosen = select_successful(experience(*[trajectory([1.0, 1.0])] * 5), quantile=0.9)
    assert chosen.keep.all()


@pytest.mark.parametrize("quantile", [-0.1, 1.0, float("nan")])
def test_a_quantile_outside_its_range_is_refused(quantile: float) -> None:
    with pytest.raises(SettingError, match=r"a quantile lies in \[0, 1\), got"):
        select_successful(experience(trajectory([1.0])), quantile=quantile)


@pytest.mark.parametrize(
    ("low", "high", "any_terminated", "tells"),
    [
        (0.0, 0.9, True, True),  # a grid, solved at times
        (0.0, 0.0, False, True),  # a grid, never solved: the rate is 0
        (-1.0, 1.0, True, True),  # Pong
        (1.0, 1.0, True, False),  # CartPole
        (-1.0, -1.0, True, False),  # MountainCar
        (-1.0, 0.0, True, False),  # Acrobot
        (-0.5, 3.0, False, False),  # HalfCheetah
    ],
)
def test_when_the_last_reward_tells_success(low: float, high: float, any_terminated: bool, tells: bool) -> None:
    assert last_reward_tells_success(low, high, any_terminated=any_terminated) is tells


def test_a_cut_off_episode_is_no_success_unless_it_collected_more() -> None:
    for rewards in itertools.product([0.0, 0.3], repeat=3):
        both = experience(trajectory([0.0, 1.0]), trajectory(rewards, terminated=False, truncated=True))
        assert select_successful(both).keep.tolist() == [True, False]
    assert np.array_equal(select_successful(experience(trajectory([0.0, 1.0]))).keep, [True])
