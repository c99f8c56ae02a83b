from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from phr.envs.registry import make_env
from phr.envs.vector import Start
from phr.errors import UnsupportedEnvironmentError
from phr.evaluation.episodes import distinct_starts, play_all_starts
from phr.plan import CategoricalPlan
from phr.teachers.oracle import OraclePlanner, optimal_lengths
from phr_studies.worlds import RandomPlanner
from tests.helpers import LEFT, TablePlanner, always_right, corridor

CROSSING = "MiniGrid-SimpleCrossingS9N1-v0"


def test_every_first_cell_of_the_corridor_is_found_once() -> None:
    env = corridor(random_start=True)
    starts = distinct_starts(env, patience=100)
    cells = []
    for start in starts:
        start.enter(env)
        cells.append(int(env.observe().argmax()))
    assert sorted(cells) == [0, 1, 2, 3]
    assert starts[0] == Start(0)


def test_a_fixed_start_is_one_start() -> None:
    assert distinct_starts(corridor(), patience=10) == [Start(0)]


def test_too_many_starts_are_refused() -> None:
    with pytest.raises(UnsupportedEnvironmentError, match="CartPole-v1 has more than 20 different starts"):
        distinct_starts(make_env("CartPole-v1"), limit=20)


def test_the_oracle_from_every_start_of_crossing() -> None:
    env = make_env(CROSSING)
    starts = distinct_starts(env, patience=400)
    optima = optimal_lengths(env, starts)
    result = play_all_starts(OraclePlanner(7, horizon=16), CROSSING, starts, commitment=4, optimal_lengths=optima)
    assert (result.n_starts, result.n_solved) == (42, 42)
    assert result.length_mean == result.optimal_length_mean == pytest.approx(14.214, abs=5e-4)
    assert result.return_mean == pytest.approx(0.96052, abs=5e-6)
    assert result.evaluations_per_episode == 4  # 13 to 15 steps
    assert str(result).startswith("all 42 starts: 42 solved, length 14.214 (optimum 14.214), return 0.96052, 4.000")


def test_the_oracle_from_the_only_start_of_four_rooms() -> None:
    env = make_env("PHR/FourRooms-v0")
    starts = distinct_starts(env, patience=50)
    assert starts == [Start(0)]
    for horizon, looks in ((1, 23), (4, 6), (8, 3), (16, 2)):
        result = play_all_starts(OraclePlanner(3, horizon), env.env_id, starts, optimal_lengths=optimal_lengths(env, starts))
        assert (result.n_solved, result.length_mean, result.optimal_length_mean) == (1, 23, 23)
        assert result.evaluations_per_episode == looks


def test_what_is_not_solved_is_counted_too() -> None:
    env_id = "tests.helpers:make_corridor"
    right = play_all_starts(always_right(horizon=3), env_id, [Start(0), Start(0, (1,))])
    assert (right.n_solved, right.length_mean, right.evaluations_per_episode) == (2, 3.5, 1.5)
    left = play_all_starts(TablePlanner.of_actions([[LEFT]] * 5, 2), env_id, [Start(0)])
    assert (left.n_solved, left.return_mean, left.length_mean) == (None, 0, 20)  # no reward that is not 0
    assert "optimum" not in str(left)
    assert str(right).startswith("all 2 starts: 2 solved")
    assert str(left).startswith("the only start: success unknown, length")


def test_a_grid_that_is_never_solved_has_no_solved_start() -> None:
    class Spinning:
        horizon, n_actions = 16, 3

        def plan(self, obs: Any) -> CategoricalPlan:
            return CategoricalPlan.from_actions(np.zeros((len(obs), 16), np.int64), 3)

    lost = play_all_starts(Spinning(), "PHR/FourRooms-v0", [Start(0)])
    assert (lost.n_solved, lost.return_mean) == (0, 0)


def test_the_environments_word_on_success_counts() -> None:
    env_id = "tests.helpers:make_contrary"
    assert play_all_starts(always_right(horizon=3), env_id, [Start(0)] * 2).n_solved == 0
    assert play_all_starts(TablePlanner.of_actions([[LEFT]] * 5, 2), env_id, [Start(0)] * 2).n_solved == 2


def test_all_thirty_starts_of_pong_are_played() -> None:
    env_id = "PongDeterministic-v4?max_frames=16"
    planner = RandomPlanner(6, np.random.default_rng(0), horizon=4)
    result = play_all_starts(planner, env_id, distinct_starts(make_env(env_id)), n_envs=2)
    assert (result.n_starts, result.length_mean, result.evaluations_per_episode) == (30, 4, 1)


def test_the_thirty_starts_of_pong_are_one_to_thirty_idle_frames() -> None:
    env: Any = make_env("PongDeterministic-v4")
    met = []
    for start in distinct_starts(env):
        start.enter(env)
        met.append(env.n_noops)
    assert met == list(range(1, 31))
