"""How long one may look away, where the answer is known."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest

from phr.envs.registry import make_env
from phr.errors import IncompatibleModelError, UsageError
from phr.teachers.foreign import NOTHING_SAID
from phr_studies.doctor.teacher import HORIZONS, LONGEST, Asked, LookingAway, ask, look_away, right_for_share
from phr_studies.doctor.world import World
from tests.helpers import always_right, make_corridor
from tests.phr_studies.doctor.small_worlds import Coins, follow

ROOM = "tests.phr_studies.doctor.small_worlds"


def make_slow_coins() -> Coins:
    return Coins(period=4)


def make_slippery() -> object:
    return make_corridor(slip=0.3, random_start=True)


def watched(env_id: str, teacher: object, *, twins: bool = True, seed: int = 0) -> LookingAway:
    world = World(env_id)
    asked = ask(teacher, world, NOTHING_SAID)
    return look_away(world, asked, twins=twins, seed=seed, n_episodes=4, max_steps=40)


def test_where_nothing_is_left_to_chance_a_plan_may_last_the_episode() -> None:
    found = watched("tests.helpers:make_corridor", always_right())
    assert (found.diverged, found.plan_right, found.blind_median) == (0, (1.0,) * len(HORIZONS), LONGEST)
    assert (found.horizon, found.length_median, found.return_mean, found.cut) == (4, 4, 1, 0)
    assert found.run_median == 4
    assert "as long as you like" in found.reason


def test_chance_that_does_not_change_the_teachers_mind_is_no_reason_to_look() -> None:
    found = watched("tests.phr_studies.doctor.test_looking_away:make_slippery", always_right())
    assert found.diverged == 0
    assert "in none of 64 twins" in found.reason


def test_a_coin_a_step_halves_the_plans_that_are_right() -> None:
    """The teacher plays the coin that it sees: of plans of n steps 2^-(n-1) are right, and of action repeats as many."""
    found = watched(f"{ROOM}:Coins", follow)
    assert found.plan_right is not None
    for shares in (found.plan_right, found.repeat_right):
        assert shares[0] == 1.0
        # A plan that its episode ends is right for longer plans too: one moment in twelve is the last.
        assert shares[1] == pytest.approx(13 / 24, abs=0.2)
        assert shares[2] < 0.5
        assert all(a >= b for a, b in pairwise(shares))
    assert found.horizon in (1, 2)
    assert (found.diverged or 0) > 32
    assert watched(f"{ROOM}:Coins", follow) == found
    assert watched(f"{ROOM}:Coins", follow, seed=1) != found


def test_rarer_coins_allow_longer_plans() -> None:
    slow = watched("tests.phr_studies.doctor.test_looking_away:make_slow_coins", follow)
    fast = watched(f"{ROOM}:Coins", follow)
    assert slow.plan_right is not None
    assert slow.plan_right[2] > 0.6  # 3/4: of the moments of a third of the blocks the episode's end is the next to come
    assert slow.horizon > fast.horizon
    assert 1 <= (slow.blind_p90 or 0) <= 3  # expected: 92 % after two steps, 83 % after three
    assert slow.run_p90 % 4 == 0


def test_without_replaying_runs_of_actions_are_all_there_is() -> None:
    found = watched(f"{ROOM}:Unseeded", lambda obs: (obs[:, 0] > 2).astype(int), twins=False)
    assert (found.plan_right, found.blind_median, found.diverged) == (None, None, None)
    assert found.horizon == found.run_median == 12
    assert "replays differ" in found.reason


def test_shares_are_those_of_a_slow_count() -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        lasting = [math.inf if rng.random() < 0.2 else float(rng.integers(1, 40)) for _ in range(11)]
        best = 1
        for n in range(1, LONGEST + 1):
            if sum(each >= n for each in lasting) >= 0.5 * 11:
                best = n
        assert right_for_share(lasting, 0.5) == best


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
