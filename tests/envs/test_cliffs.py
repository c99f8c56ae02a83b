from __future__ import annotations

import gymnasium
import numpy as np
import pytest

from phr.envs import CLIFF_IDS
from phr.envs.cliffs import AGENT, CLIFF, GOAL, CliffEnv
from phr.envs.registry import make_env

LEFT, UP, RIGHT, DOWN = range(4)
MIDDLE = range(2, 8)
CLIFFS = {
    "Cliff": {(y, x) for y in (0, 1, 2) for x in MIDDLE},
    "Bridge": {(y, x) for y in (0, 1, 4, 5) for x in MIDDLE},
    "ZigZag": {(y, x) for y in range(4) for x in (2, 3)} | {(y, x) for y in range(2, 6) for x in (6, 7)},
}
"""The cells (row, column) of the published maps."""
GOALS = {"Cliff": (0, 9), "Bridge": (0, 9), "ZigZag": (5, 9)}
WAYS = {
    "Cliff": [DOWN] * 3 + [RIGHT] * 9 + [UP] * 3,
    "Bridge": [DOWN] * 2 + [RIGHT] * 9 + [UP] * 2,
    "ZigZag": [DOWN] * 4 + [RIGHT] * 5 + [UP] * 3 + [RIGHT] * 4 + [DOWN] * 4,
}
"""By hand, with 3, 3 and 5 turns."""


@pytest.mark.parametrize("world", CLIFFS)
def test_the_maps_are_the_published_ones(world: str) -> None:
    obs, _ = CliffEnv(world).reset()
    assert obs.shape == (3, 6, 10)
    assert {tuple(cell) for cell in np.argwhere(obs[CLIFF]).tolist()} == CLIFFS[world]
    assert np.argwhere(obs[GOAL]).tolist() == [list(GOALS[world])]
    assert np.argwhere(obs[AGENT]).tolist() == [[0, 0]]


@pytest.mark.parametrize("world", CLIFFS)
def test_the_goal_ends_the_episode_with_1(world: str) -> None:
    env = CliffEnv(world)
    env.reset()
    steps = [env.step(action)[1:] for action in WAYS[world]]
    assert steps[:-1] == [(0.0, False, False, {"is_success": False})] * (len(steps) - 1)
    assert steps[-1] == (1.0, True, False, {"is_success": True})


@pytest.mark.parametrize("world", CLIFFS)
def test_a_fall_ends_the_episode_with_minus_1(world: str) -> None:
    env = CliffEnv(world)
    env.reset()
    assert env.step(RIGHT)[1:3] == (0.0, False)
    assert env.step(RIGHT)[1:] == (-1.0, True, False, {"is_success": False})


def test_the_border_holds() -> None:
    env = CliffEnv()
    first, _ = env.reset()
    for action in (LEFT, UP):
        obs, reward, ended, _, _ = env.step(action)
        np.testing.assert_array_equal(obs, first)
        assert (reward, ended) == (0, False)


def test_an_observation_stays_as_it_was() -> None:
    env = CliffEnv()
    first, _ = env.reset()
    kept = first.copy()
    env.step(DOWN)
    np.testing.assert_array_equal(first, kept)


@pytest.mark.parametrize("env_id", CLIFF_IDS)
def test_the_ids_end_after_100_steps(env_id: str) -> None:
    with make_env(env_id) as env:
        for seed in (0, 1):
            env.reset(seed)
            assert np.argwhere(env.observe()[AGENT]).tolist() == [[0, 0]]
            ends = [env.advance(UP)[1:3] for _ in range(100)]
            assert ends == [(False, False)] * 99 + [(False, True)]


def test_a_picture_shows_the_agent() -> None:
    env = gymnasium.make("PHR/ZigZag-v0", render_mode="rgb_array")
    env.reset(seed=0)
    picture = np.asarray(env.render())
    assert picture.shape == (192, 320, 3)
    assert picture.dtype == np.uint8
    assert picture[0, 0].tolist() != picture[0, 40].tolist() != picture[0, 70].tolist()
    env.close()
