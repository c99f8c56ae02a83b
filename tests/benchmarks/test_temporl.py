from __future__ import annotations

import numpy as np
import pytest

from benchmarks.temporl import GAMMA, Arguments, TempoRL, World, fewest_decisions, main
from phr.envs import CLIFF_IDS
from phr.envs.registry import make_env


@pytest.mark.parametrize(
    ("world", "by_7", "by_10", "by_1"), [("Cliff", 4, 3, 15), ("Bridge", 4, 3, 13), ("ZigZag", 5, 5, 20)]
)
def test_the_fewest_decisions(world: str, by_7: int, by_10: int, by_1: int) -> None:
    found = World(f"PHR/{world}-v0")
    assert [fewest_decisions(found, most) for most in (7, 10, 1)] == [by_7, by_10, by_1]


@pytest.mark.parametrize("env_id", CLIFF_IDS)
def test_the_table_is_the_environment(env_id: str) -> None:
    world, rng = World(env_id), np.random.default_rng(0)
    with make_env(env_id) as env:
        for _ in range(20):
            env.reset(0)
            state = world.start
            for action in rng.integers(4, size=30).tolist():
                reward, ended, _, _ = env.advance(action)
                assert reward == world.reward[state, action]
                state = int(world.next[state, action])
                assert env.observe()[2].argmax() == state
                if ended:
                    break


def test_values_and_repetitions_converge_to_the_discounted_optimum() -> None:
    world = World("PHR/Bridge-v0")
    agent = TempoRL(world, 7, 0)
    for _ in range(6000):
        agent.train_episode(0.3)
    assert agent.actions[world.start].max() == pytest.approx(GAMMA**12)
    assert agent.repeats[world.start, 3, 1] == pytest.approx(GAMMA**12), "two steps down lie on a shortest way"
    assert agent.greedy()[2] == 1


def test_one_table(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(Arguments(episodes=20, seeds=1, max_repeat=(7,))) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len([line for line in lines if "TempoRL" in line]) == 9
    assert "| Cliff | fewest, repeats ≤ 7 | 4 |  | 1 |" in lines
