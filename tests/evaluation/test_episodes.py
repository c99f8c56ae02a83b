from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from phr.acting.agent import HorizonAgent
from phr.envs.registry import split_env
from phr.envs.vector import Start, VectorSplit, random_starts
from phr.errors import HorizonError
from phr.evaluation.episodes import make_vector, play_episodes
from phr.teachers.oracle import OraclePlanner
from tests.helpers import LEFT, TablePlanner, always_right, corridor, make_contrary


@given(seed=st.integers(0, 10_000), commitment=st.integers(1, 4) | st.just("auto"), n_envs=st.integers(1, 7))
@settings(max_examples=25)
def test_episodes_equal_those_of_one_agent_in_one_environment(seed: int, commitment: int | str, n_envs: int) -> None:
    planner = TablePlanner.random(np.random.default_rng(seed), 5, 4, 2)
    starts = random_starts(range(seed, seed + 6), 2, np.random.default_rng(seed), prefix=(0, 3))
    vector = VectorSplit([corridor(max_steps=12, slip=0.3) for _ in range(n_envs)], "disabled")
    rule: int | None = commitment if isinstance(commitment, int) else None
    played = play_episodes(planner, vector, starts, commitment="auto" if rule is None else rule)
    env, ends = corridor(max_steps=12, slip=0.3), list[tuple[bool, float]]()
    for index, start in enumerate(starts):
        start.enter(env)
        agent = HorizonAgent(planner, "auto" if rule is None else rule)
        total, reward, terminated, truncated = 0.0, 0.0, False, False
        actions: list[int] = []
        while not (terminated or truncated):
            actions.append(agent.act(env.observe()))
            reward, terminated, truncated, _ = env.advance(actions[-1])
            total += reward
        assert played.returns[index] == total
        assert played.lengths[index] == len(actions)
        assert played.actions[index].tolist() == actions
        assert played.evaluations[index] == agent.evaluations
        ends.append((terminated, reward))
    known = played.returns.max() > 0  # else every reward is 0, and nothing tells success from failure
    assert played.success == tuple(ended and last > 0 if known else None for ended, last in ends)


def test_the_whole_horizon_is_the_default() -> None:
    vector = VectorSplit([corridor()], "disabled")
    played = play_episodes(always_right(horizon=3), vector, [Start(0)] * 2)
    assert played.lengths.tolist() == [4, 4]
    assert played.evaluations.tolist() == [2, 2]


def test_the_environments_word_on_success_counts() -> None:
    vector = VectorSplit([split_env(make_contrary(), "contrary") for _ in range(2)], "disabled")
    goal = play_episodes(always_right(horizon=3), vector, [Start(0)] * 3)
    limit = play_episodes(TablePlanner.of_actions([[LEFT]] * 5, 2), vector, [Start(0)] * 3)
    assert (goal.returns.tolist(), goal.success) == ([1] * 3, (False,) * 3)
    assert (limit.returns.tolist(), limit.success) == ([0] * 3, (True,) * 3)


def test_a_commitment_beyond_the_horizon_is_refused() -> None:
    with pytest.raises(HorizonError, match="commitment must lie in 1..3"):
        play_episodes(always_right(horizon=3), VectorSplit([corridor()], "disabled"), [Start(0)], commitment=4)


@pytest.mark.parametrize("commitment", [1, 4, 16])
def test_the_oracle_in_four_rooms(commitment: int) -> None:
    vector = make_vector("PHR/FourRooms-v0", 2)
    played = play_episodes(OraclePlanner(3, horizon=16), vector, [Start(0)] * 3, commitment=commitment)
    assert played.lengths.tolist() == [23] * 3
    assert played.evaluations.tolist() == [-(-23 // commitment)] * 3
    assert played.returns == pytest.approx(1 - 0.9 * 23 / 676)
    assert played.success == (True,) * 3
