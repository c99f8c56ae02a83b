"""Open-loop inconsistency, where it is known."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from phr.envs.registry import make_env
from phr.errors import IncompatibleModelError, UsageError
from phr.teachers.foreign import NOTHING_SAID
from phr_studies.doctor import teacher as module
from phr_studies.doctor.teacher import LONGEST, Asked, LookingAway, ask, look_away
from phr_studies.doctor.world import World
from tests.helpers import always_right, make_corridor
from tests.phr_studies.doctor.small_worlds import Coins, follow

ROOM = "tests.phr_studies.doctor.small_worlds"
HERE = "tests.phr_studies.doctor.test_looking_away"


def make_slow_coins() -> Coins:
    return Coins(period=4)


def make_slippery() -> object:
    return make_corridor(slip=0.3, random_start=True)


def watched(env_id: str, teacher: object, *, twins: bool = True, seed: int = 0) -> LookingAway:
    world = World(env_id)
    asked = ask(teacher, world, NOTHING_SAID)
    return look_away(world, asked, twins=twins, seed=seed, n_episodes=4, max_steps=40)


def measured(env_id: str, teacher: object, monkeypatch: pytest.MonkeyPatch, n: int = 600) -> NDArray[np.float64]:
    """ε_1 .. ε_8 from many moments, in worlds whose episodes have 12 steps."""
    monkeypatch.setattr(module, "N_TWINS", n)
    epsilon = watched(env_id, teacher).epsilon
    assert epsilon[11:] == (None,) * (LONGEST - 11)  # no future lasts so long
    return np.array(epsilon[:8], float)


def close_to(expected: NDArray[np.float64], n: int = 600) -> object:
    least = n * (12 - 8) / 12  # moments with eight steps ahead
    return pytest.approx(expected, abs=float(4 * 0.5 / np.sqrt(least)))


K = np.arange(1, 9)


def test_where_nothing_is_left_to_chance_there_is_no_inconsistency() -> None:
    found = watched("tests.helpers:make_corridor", always_right())
    assert found.epsilon == (0.0, 0.0, 0.0, *(None,) * (LONGEST - 3))
    assert (found.length_median, found.return_mean, found.cut, found.run_median, found.moments) == (4, 1, 0, 4, 64)


def test_chance_that_does_not_change_the_teachers_mind_is_no_inconsistency() -> None:
    found = watched(f"{HERE}:make_slippery", always_right())
    assert {each for each in found.epsilon if each is not None} == {0.0}


def test_two_fair_coins_differ_half_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    assert measured(f"{ROOM}:Coins", follow, monkeypatch) == close_to(np.full(8, 0.5))


def test_a_coin_that_is_flipped_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    """After k steps two coins that are flipped with probability p differ with probability (1 − (1 − 2p)^2k) / 2."""
    assert measured(f"{ROOM}:Flipping", follow, monkeypatch) == close_to((1 - 0.6 ** (2 * K)) / 2)


def test_noise_in_the_actions_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """A random one of two actions, in a fifth of the steps, flips what is shown with probability 1/10."""
    found = measured(f"{ROOM}:Echo?action-noise=0.2", follow, monkeypatch)
    assert found == close_to((1 - 0.8 ** (2 * K)) / 2)
    assert measured(f"{ROOM}:Echo", follow, monkeypatch).tolist() == [0.0] * 8


@pytest.mark.parametrize(("size", "expected"), [(0.09, 0.0), (0.2, 0.5)])
def test_actions_that_are_close_agree(size: float, expected: float, monkeypatch: pytest.MonkeyPatch) -> None:
    def point(obs: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.repeat(obs * np.float32(size), 2, axis=1)

    found = measured(f"{ROOM}:ManyCoins", point, monkeypatch)
    assert found.tolist() == [0.0] * 8 if not expected else found == close_to(np.full(8, expected))


def test_a_seed_decides() -> None:
    found = watched(f"{HERE}:make_slow_coins", follow)
    assert found.run_p90 % 4 == 0
    assert watched(f"{HERE}:make_slow_coins", follow) == found
    assert watched(f"{HERE}:make_slow_coins", follow, seed=1) != found


def test_without_replaying_it_is_unknown() -> None:
    found = watched(f"{ROOM}:Unseeded", lambda obs: (obs[:, 0] > 2).astype(int), twins=False)
    assert (found.epsilon, found.moments, found.run_median) == ((None,) * LONGEST, 0, 12)


def test_continuous_actions_are_the_same_within_a_part_of_their_range() -> None:
    asked = Asked("", lambda obs: obs, make_env(f"{ROOM}:ManyCoins").action_space)
    assert asked.tolerance == 0.05
    assert asked.same(np.array([0.0, 0.5]), np.array([0.099, 0.5]))
    assert not asked.same(np.array([0.0, 0.5]), np.array([0.11, 0.5]))


def test_a_teacher_that_does_not_fit_is_refused() -> None:
    with pytest.raises(IncompatibleModelError, match="the model has 2 actions"):
        watched("FrozenLake-v1", always_right())
    with pytest.raises(UsageError, match="phr plans over Discrete"):
        watched(f"{ROOM}:OddCoins", always_right())
    with pytest.raises(IncompatibleModelError, match="the model has 7 actions"):
        watched("Pendulum-v1", "zoo:crossing-teacher")
