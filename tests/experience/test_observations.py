from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from gymnasium import spaces
from numpy.typing import NDArray

from phr.envs.registry import split_env
from phr.experience.collect import meet_observations, random_observations
from phr.plan import CategoricalPlan
from tests.helpers import RIGHT, CorridorEnv, TablePlanner, always_right, corridor, noisy

BOOL: Any = np.bool_  # Gymnasium's annotations know floats alone


class Still:
    """Plans action 0 for ever, and counts how often it was asked."""

    horizon, n_actions = 1, 3

    def __init__(self) -> None:
        self.asked = 0

    def plan(self, obs: NDArray[Any]) -> CategoricalPlan:
        self.asked += 1
        return TablePlanner.of_actions([[0]] * 3, 3).plan(obs)


def test_a_small_world_is_met_whole_and_once() -> None:
    obs = meet_observations(always_right(), corridor(), 100, np.random.default_rng(0))
    assert obs.dtype == np.float32
    assert sorted(row.argmax() for row in obs) == [0, 1, 2, 3]  # the last cell ends the episode: nobody looks there


def test_a_large_world_gives_what_was_asked_for_from_many_episodes() -> None:
    planner = Still()
    obs = meet_observations(planner, noisy(max_steps=1000, end_probability=0.0), 64, np.random.default_rng(0))
    assert obs.shape == (64, 3)
    assert len(np.unique(obs, axis=0)) == 64
    assert planner.asked == 32  # every second of the 16 episodes is played at random


class Picky(CorridorEnv):
    """The corridor that raises for steps to the left, and for any step from the given cell."""

    def __init__(self, closed: int = -1) -> None:
        super().__init__()
        self._closed, self.n_refused = closed, 0

    def step(self, action: Any) -> Any:
        if action != RIGHT or self.cell == self._closed:
            self.n_refused += 1
            raise ValueError("illegal")
        return super().step(action)


def test_an_environment_that_refuses_random_actions_is_played_by_the_planner_alone() -> None:
    env = Picky()
    obs = meet_observations(always_right(), split_env(env, "picky"), 100, np.random.default_rng(0))
    assert sorted(row.argmax() for row in obs) == [0, 1, 2, 3]
    assert env.n_refused == 1


def test_an_environment_that_refuses_the_planner_too_gives_what_comes_before() -> None:
    obs = meet_observations(always_right(), split_env(Picky(2), "picky"), 100, np.random.default_rng(0))
    assert sorted(row.argmax() for row in obs) == [0, 1, 2]
    alone = meet_observations(always_right(), split_env(Picky(0), "picky"), 100, np.random.default_rng(0))
    assert alone.argmax(1).tolist() == [0]


def test_the_rng_bites() -> None:
    first, same, other = (meet_observations(Still(), noisy(), 8, np.random.default_rng(seed)) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, same)
    assert (first != other).all()


@pytest.mark.parametrize(
    "space",
    [
        spaces.Box(0, 1, (3, 4, 4), np.uint8),
        spaces.Box(0, 255, (4, 4), np.uint8),
        spaces.Box(-3, 4, (6,), np.int64),
        spaces.Box(-2.0, 5.0, (6,), np.float32),
        spaces.Box(0, 1, (4,), BOOL),
    ],
)
def test_narrow_bounds_are_filled_to_their_ends(space: spaces.Box) -> None:
    obs = random_observations(space, 3000, np.random.default_rng(0))
    assert obs.shape == (3000, *space.shape)
    assert all(space.contains(row) for row in obs)
    if space.dtype.kind in "biu":
        assert (obs.min(), obs.max()) == (space.low.min(), space.high.max())
    else:
        np.testing.assert_allclose([obs.min(), obs.max()], [-2, 5], atol=0.01)


@pytest.mark.parametrize(
    ("low", "high", "dtype"),
    [
        (0, 60_000, np.uint16),
        (-(2**63), 2**63 - 1, np.int64),
        (0, 2**64 - 1, np.uint64),
        (5e6, 6e6, np.float64),
        (-1e-9, 1e-9, np.float32),
        (-1e30, 1e30, np.float32),
    ],
)
def test_bounds_are_filled_in_any_unit(low: Any, high: Any, dtype: Any) -> None:
    space = spaces.Box(low, high, (4,), dtype)
    obs = random_observations(space, 1000, np.random.default_rng(0))
    assert obs.dtype == dtype
    assert all(space.contains(row) for row in obs)
    parts = (obs.astype(np.float64) - low) / (float(high) - float(low))
    np.testing.assert_allclose(np.quantile(parts, [0.01, 0.25, 0.5, 0.75, 0.99]), [0.01, 0.25, 0.5, 0.75, 0.99], atol=0.03)


def test_wide_bounds_stand_for_anything() -> None:
    limits = np.array([4.8, np.inf, 3.4e38, 0.4], np.float32)
    space = spaces.Box(-limits, limits, dtype=np.float32)
    obs = random_observations(space, 4000, np.random.default_rng(0))
    assert obs.dtype == np.float32
    assert all(space.contains(row) for row in obs)
    np.testing.assert_allclose(obs.std(axis=0), [9.6 / np.sqrt(12), 1, 1, 0.8 / np.sqrt(12)], rtol=0.05)
