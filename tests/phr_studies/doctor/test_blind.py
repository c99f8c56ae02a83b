"""What plans that are executed blindly keep, where it is known."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

import phr
from phr.actions import Continuous, Discrete
from phr.teachers.foreign import NOTHING_SAID
from phr_studies.doctor.blind import ERRORS, TOLERANCE, BlindCurve, _Blind, advise, draw_curve, err_by
from phr_studies.doctor.teacher import HORIZONS, LookingAway, ask, look_away
from phr_studies.doctor.world import World
from tests.helpers import always_right
from tests.phr_studies.doctor.small_worlds import follow

ROOM = "tests.phr_studies.doctor.small_worlds"
N_STEPS, N_EPISODES = 12, 40
PLANNED = [[k % n for k in range(N_STEPS)] for n in HORIZONS]
"""For each length of plans, how long before each of an episode's steps the last look was."""


def examined(
    env_id: str, teacher: Any, n_episodes: int, max_steps: int = 100, twins: bool = True
) -> tuple[LookingAway, BlindCurve]:
    world = World(env_id)
    words: dict[str, Any] = {"twins": twins, "seed": 0, "n_episodes": n_episodes, "max_steps": max_steps}
    asked = ask(teacher, world, NOTHING_SAID)
    away = look_away(world, asked, **words)
    return away, draw_curve(world, asked, away, **words)


def stand(obs: NDArray[Any]) -> NDArray[np.float32]:
    return np.zeros((len(obs), 2, 1), np.float32)


def test_of_fair_coins_a_plan_guesses_half() -> None:
    """Each look is right, every other step half the time, and a random action in so many spoils half of what is right."""
    _, found = examined(f"{ROOM}:Guessing", follow, n_episodes=N_EPISODES)
    assert (found.zero, found.returns[0][0]) == (0.0, N_STEPS)
    assert not found.continuous
    for error, shares in zip(ERRORS, found.shares, strict=True):
        right = [np.mean([(1 - error / 2) if k == 0 else 0.5 for k in each]) for each in PLANNED]
        assert shares == pytest.approx(right, abs=4 * 0.5 / np.sqrt(N_EPISODES * N_STEPS))
    for value, error in zip(found.tolerance, TOLERANCE, strict=True):
        deviation = np.sqrt(N_STEPS * error / 2 / N_EPISODES)  # of the mean of episodes, whose wrong steps are binomial
        assert value == pytest.approx(N_STEPS * (1 - error / 2), abs=4 * deviation)


def test_a_plan_is_what_most_of_three_futures_do() -> None:
    _, found = examined(f"{ROOM}:Flipping", follow, n_episodes=N_EPISODES)
    flipped = np.array([(1 - 0.6**k) / 2 for k in range(N_STEPS)])  # the coin differs from the one that was seen
    planned = flipped**2 * (3 - 2 * flipped)  # so do two or three of three others
    wrong = planned * (1 - flipped) + (1 - planned) * flipped
    assert found.shares[0] == pytest.approx(
        [1 - wrong[each].mean() for each in PLANNED], abs=4 * 0.5 / np.sqrt(N_EPISODES * N_STEPS)
    )


def test_in_a_deterministic_world_plans_keep_everything() -> None:
    away, found = examined("tests.helpers:make_corridor", always_right(), n_episodes=4)
    assert found.shares[0] == (1.0,) * len(HORIZONS)
    horizon, reason = advise(away, found)
    assert horizon == 4  # steps of an episode
    assert reason.startswith("with errors of 1 % such plans keep ")


def test_what_cannot_be_played_is_unknown() -> None:
    away, found = examined(f"{ROOM}:Guessing", follow, n_episodes=4, twins=False)
    assert (found.returns[0][0], found.shares[0][0]) == (N_STEPS, 1.0)
    assert {*found.returns[0][1:], *found.shares[0][1:]} == {None}
    horizon, reason = advise(away, found)
    assert horizon == away.run_median
    assert reason.startswith("what longer plans keep is unknown: replays differ, or")
    assert "an error stopped" in advise(away, None)[1]


def test_a_simulator_that_can_be_open_once_plays_the_same() -> None:
    world, second = World(f"{ROOM}:Guessing"), World(f"{ROOM}:Guessing")
    asked = ask(follow, world, NOTHING_SAID)
    one, two = (_Blind(world, where, asked, 3, 100) for where in (world, second))
    for n in HORIZONS:
        for seed in range(5):
            played = [each.play(seed, n, 0.2, np.random.default_rng(seed)) for each in (one, two)]
            assert played[0] == played[1]


def test_the_horizon_follows_the_curve() -> None:
    away, curve = examined(f"{ROOM}:Guessing", follow, n_episodes=1)

    def advised(*kept: float) -> tuple[int, str]:
        return advise(replace(away, length_median=99.0), replace(curve, returns=((10.0,) * 5, tuple(map(float, kept)))))

    assert advised(10, 10, 10, 9.95, 9.8) == (
        8,
        "with errors of 1 % such plans keep 99.5 % of the return, plans of 16 steps 98 %",
    )
    assert advised(9, 9, 9, 9, 9) == (
        16,
        "with errors of 1 % such plans keep 90 % of the return, and longer ones were not examined",
    )
    assert advised(10, 9, 10, 10, 10)[0] == 1  # where shorter plans lose more, longer ones are not trusted
    assert advise(away, replace(curve, returns=((10.0,) * 5, (10.0,) * 5)))[0] == N_STEPS
    nothing_left = "even looking at every step, errors of 1 % leave nothing of the return"
    assert advised(0, 0, 0, 0, 0) == advised(-1, 10, 10, 10, 10) == (1, nothing_left)
    worthless = replace(curve, zero=10.0, returns=((10.0,) * 5, (9.0,) * 5))
    assert worthless.shares == ((None,) * 5,) * 2
    assert "the teacher collects no more than what counts as 0" in advise(away, worthless)[1]


def test_an_error_of_numbers_is_measured_in_halves_of_their_range() -> None:
    _, found = examined(f"{ROOM}:Aiming", stand, n_episodes=N_EPISODES)
    for value, error in zip(found.tolerance, TOLERANCE, strict=True):
        assert -value == pytest.approx(2 * N_STEPS * (2 * error) ** 2, rel=0.25)  # chi-squared of 960: deviation 5 %
    assert found.continuous
    assert found.zero < 0  # a random policy's


def test_no_more_steps_are_played_than_asked_for() -> None:
    assert examined(f"{ROOM}:Guessing", follow, n_episodes=2, max_steps=5)[1].returns[0][0] == 5


@given(st.floats(0, 1), st.integers(0, 1000), st.integers(0, 3))
def test_a_choice_stays_right_or_is_any_other(error: float, seed: int, action: int) -> None:
    erring = err_by(error, Discrete(4), np.random.default_rng(seed), action)
    assert erring in range(4)
    assert error or erring == action
    smaller = err_by(error / 2, Discrete(4), np.random.default_rng(seed), action)
    assert smaller in (action, erring)  # what errs by little errs by more too, and in the same way


@given(st.floats(0, 2), st.integers(0, 1000))
def test_numbers_stay_within_their_bounds(error: float, seed: int) -> None:
    space = Continuous((-1.0, 0.0, -np.inf), (1.0, 0.5, np.inf), (3,))
    right = np.array([0.5, 0.1, 7.0], np.float32)
    erring = err_by(error, space, np.random.default_rng(seed), right)
    assert (erring.shape, erring.dtype) == ((3,), np.float32)
    assert np.all((erring >= space.bounds.low) & (erring <= space.bounds.high))
    assert error or np.array_equal(erring, right)


def test_the_page_shows_both_kinds() -> None:
    page = str(phr.doctor(f"{ROOM}:Guessing", follow, episodes=1))
    assert "return 12.00 in 1 episode of at most 300 steps; nothing is 0" in page
    assert "where 3 % of its actions are random, " in page
    page = str(phr.doctor(f"{ROOM}:Aiming", stand, episodes=1))
    assert "with errors of 10 % of half the range" in page
    assert "a random policy's mean" in page
