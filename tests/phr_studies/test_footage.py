from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from phr.envs.registry import make_env, split_env
from phr.envs.vector import Start
from phr.errors import HorizonError, InvalidDataError, UnsupportedEnvironmentError
from phr.evaluation.episodes import make_vector, play_episodes
from phr.teachers.oracle import OraclePlanner
from phr_studies.films import Film, Footage, make_filmed_env, shoot
from phr_studies.worlds import RandomPlanner

CROSSING = "MiniGrid-SimpleCrossingS9N1-v0"
PONG = "PongDeterministic-v4?max_frames=80"


def test_a_caption_names_the_rule() -> None:
    film = Film(commitment=4, n_steps=9, n_looks=3, score=1.0, ended=True)
    assert film.caption().startswith("n = 4: a whole episode, 9 steps, 3 evaluations, score 1")
    assert replace(film, commitment="confidence 0.9").caption().startswith("confidence 0.9: a whole episode")


@pytest.mark.parametrize("n", [1, 4, 16])
def test_a_whole_episode_on_a_grid(n: int) -> None:
    oracle = OraclePlanner(7, horizon=16)
    env = make_filmed_env(CROSSING)
    film = shoot(oracle, env, Start(3), n)
    told = play_episodes(oracle, make_vector(CROSSING, 1), [Start(3)], commitment=n)
    assert film.ended
    assert len(film.looked) == told.lengths[0]
    assert film.looked.nonzero()[0].tolist() == list(range(0, len(film.looked), n))
    assert film.looked.sum() == told.evaluations[0]
    assert film.rewards.sum() == pytest.approx(told.returns[0])  # a vector's rewards are float32
    assert film.frames.shape == (len(film.looked) + 1, 288, 288, 3)
    assert (film.commitment, film.steps_per_second) == (n, 4.0)


def test_the_pictures_are_those_before_each_step() -> None:
    oracle, env = OraclePlanner(7, horizon=4), make_filmed_env(CROSSING)
    film = shoot(oracle, env, Start(0))
    env.reset(0)
    core: Any = env.gym_env.unwrapped
    assert np.array_equal(film.frames[0], core.get_frame(highlight=False))
    assert not np.array_equal(film.frames[0], core.get_frame(highlight=True)), "the agent's own view is not marked"
    changes = (film.frames[1:] != film.frames[:-1]).any(axis=(1, 2, 3))
    assert changes.all(), "every step of the oracle moves or turns the agent"


def test_filming_changes_nothing_in_pong() -> None:
    planner = RandomPlanner(6, np.random.default_rng(0), horizon=4)
    start = Start(5, (2, 3, 2))
    film = shoot(planner, make_filmed_env(PONG), start, 2)
    told = play_episodes(RandomPlanner(6, np.random.default_rng(0), horizon=4), make_vector(PONG, 1), [start], commitment=2)
    assert film.rewards.sum() == told.returns[0]
    assert (len(film.looked), film.looked.sum()) == (told.lengths[0], told.evaluations[0]) == (20, 10)
    assert film.frames.shape == (21, 210, 160, 3)
    assert film.steps_per_second == 15
    env: Any = make_filmed_env(PONG)
    start.enter(env)
    assert np.array_equal(film.frames[0], env._ale.getScreenRGB())


def test_the_beginning_of_a_long_episode() -> None:
    film = shoot(RandomPlanner(2, np.random.default_rng(0)), make_filmed_env("CartPole-v1"), Start(0), max_steps=5)
    assert (len(film.looked), len(film.frames), film.ended, film.steps_per_second) == (5, 6, False, 50)


@pytest.mark.filterwarnings("ignore:.*render method")
def test_what_cannot_be_filmed_is_refused() -> None:
    with pytest.raises(UnsupportedEnvironmentError, match="cannot be filmed: .*render_mode"):
        make_filmed_env("tests.helpers:make_corridor")
    with pytest.raises(HorizonError, match="1..1"):
        shoot(OraclePlanner(7), make_filmed_env(CROSSING), Start(0), 2)
    silent = split_env(make_env("CartPole-v1").gym_env, "CartPole-v1")
    with pytest.raises(UnsupportedEnvironmentError, match="it renders NoneType, not pixels"):
        shoot(RandomPlanner(2, np.random.default_rng(0)), silent, Start(0))


def test_footage_is_checked() -> None:
    frames, looked, rewards = np.zeros((3, 2, 2, 3), np.uint8), np.array([True, False]), np.zeros(2)
    assert len(Footage(frames, looked, rewards, 2, 4.0, True).looked) == 2
    for broken in ((frames[:2], looked, rewards), (frames, looked, rewards[:1]), (frames[:1], looked[:0], rewards[:0])):
        with pytest.raises(InvalidDataError, match="one RGB frame more than steps"):
            Footage(*broken, 2, 4.0, True)
    with pytest.raises(InvalidDataError, match="first step of an episode follows a look"):
        Footage(frames, ~looked, rewards, 2, 4.0, True)
