"""What errors cost, where the answer is known."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

import phr
from phr.actions import Continuous, Discrete
from phr.teachers.foreign import NOTHING_SAID
from phr_studies.doctor.teacher import ERRORS, ErrorTolerance, ask, bear_errors, err_by
from phr_studies.doctor.world import World
from tests.phr_studies.doctor.small_worlds import follow

ROOM = "tests.phr_studies.doctor.small_worlds"
N_STEPS = 12


def borne(env_id: str, teacher: Any, n_episodes: int, max_steps: int = 100) -> ErrorTolerance:
    world = World(env_id)
    return bear_errors(world, ask(teacher, world, NOTHING_SAID), seed=0, n_episodes=n_episodes, max_steps=max_steps)


def stand(obs: NDArray[Any]) -> NDArray[np.float32]:
    return np.zeros((len(obs), 2, 1), np.float32)


def test_a_random_action_in_so_many_is_wrong_half_as_often() -> None:
    found = borne(f"{ROOM}:Guessing", follow, n_episodes=100)
    assert found.returns[0] == N_STEPS
    for value, error in zip(found.returns, ERRORS, strict=True):
        deviation = np.sqrt(N_STEPS * error / 2 / 100)  # of the mean of 100 episodes, whose wrong steps are binomial
        assert value == pytest.approx(N_STEPS * (1 - error / 2), abs=4 * deviation + 1e-9)
    assert not found.continuous


def test_an_error_of_numbers_is_measured_in_halves_of_their_range() -> None:
    found = borne(f"{ROOM}:Aiming", stand, n_episodes=100)
    for value, error in zip(found.returns, ERRORS, strict=True):
        assert -value == pytest.approx(2 * N_STEPS * (2 * error) ** 2, rel=0.15)  # chi-squared of 2,400: deviation 3 %
    assert found.continuous


def test_no_more_steps_are_played_than_asked_for() -> None:
    assert borne(f"{ROOM}:Guessing", follow, n_episodes=2, max_steps=5).returns[0] == 5


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


def test_the_page_tells_both_kinds() -> None:
    page = str(phr.doctor(f"{ROOM}:Guessing", follow, episodes=1))
    assert "return 12.00 as it is, " in page
    assert "where 3 % of its actions are random, " in page
    page = str(phr.doctor(f"{ROOM}:Aiming", stand, episodes=1))
    assert "with errors of 10 % of half the range (at most 300 steps each)" in page
