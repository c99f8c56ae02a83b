from __future__ import annotations

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces
from minigrid.core.world_object import Goal, Wall

from phr.envs import FOUR_ROOMS_ID
from phr.envs.four_rooms import FOUR_ROOMS_MAP, FourRoomsEnv

PAPER_MAP = [
    "#############",
    "#     #     #",
    "#     #     #",
    "#           #",
    "#     #     #",
    "#     #     #",
    "## ####     #",
    "#     ### ###",
    "#     #     #",
    "#     #     #",
    "#           #",
    "#     #     #",
    "#############",
]

LEFT, RIGHT, FORWARD = 0, 1, 2
WALK = [FORWARD, RIGHT, *[FORWARD] * 9, LEFT, *[FORWARD] * 9, RIGHT, FORWARD]
"""By hand: down through the western doorway, east through the southern one. 23 actions, the fewest."""


@pytest.fixture
def env() -> FourRoomsEnv:
    env = FourRoomsEnv()
    env.reset(seed=0)
    return env


def test_the_map_is_the_canonical_one(env: FourRoomsEnv) -> None:
    assert list(FOUR_ROOMS_MAP) == PAPER_MAP
    built = [["#" if isinstance(env.grid.get(x, y), Wall) else " " for x in range(13)] for y in range(13)]
    assert ["".join(row) for row in built] == PAPER_MAP
    assert sum(row.count(" ") for row in PAPER_MAP) == 104


def test_start_goal_and_limit(env: FourRoomsEnv) -> None:
    assert (env.width, env.height, env.max_steps) == (13, 13, 676)
    assert env.action_space == spaces.Discrete(3)
    assert tuple(env.agent_pos) == (1, 1)
    assert env.dir_vec.tolist() == [1, 0]
    goals = [(x, y) for x, y in np.ndindex(13, 13) if isinstance(env.grid.get(x, y), Goal)]
    assert goals == [(11, 11)]


def test_every_episode_is_the_same(env: FourRoomsEnv) -> None:
    first = env.grid.encode()
    for seed in (None, 1, 2):
        env.reset(seed=seed)
        np.testing.assert_array_equal(env.grid.encode(), first)
        assert (tuple(env.agent_pos), env.agent_dir) == ((1, 1), 0)


def test_the_reward_falls_with_the_steps(env: FourRoomsEnv) -> None:
    assert len(WALK) == 23
    for turns in (0, 1, 5):
        env.reset()
        path = [LEFT] * 4 * turns + WALK
        for step, action in enumerate(path, start=1):
            _, reward, terminated, truncated, _ = env.step(action)
            assert not truncated
            assert terminated == (step == len(path))
            assert reward == (1 - 0.9 * (step / 676) if terminated else 0)


def test_after_676_steps_the_episode_is_cut_off(env: FourRoomsEnv) -> None:
    for step in range(1, 677):
        _, reward, terminated, truncated, _ = env.step(LEFT)
        assert (reward, terminated, truncated) == (0, False, step == 676)


def test_the_id_is_registered() -> None:
    env = gymnasium.make(FOUR_ROOMS_ID, render_mode="rgb_array", max_steps=5)
    assert isinstance(env.unwrapped, FourRoomsEnv)
    assert env.unwrapped.max_steps == 5
    env.reset(seed=0)
    assert np.asarray(env.render()).ndim == 3
    env.close()
