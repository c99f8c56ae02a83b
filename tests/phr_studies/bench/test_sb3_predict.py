from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from phr.acting.agent import HorizonAgent
from phr.envs.registry import make_env
from phr.evaluation.episodes import distinct_starts, play_all_starts
from phr.evaluation.timed import Limit, timed_run
from phr.networks.policy import PlanNetwork, TorchPlanner, build_network
from phr.networks.trunks import TrunkConfig
from phr.storage.model import load_model
from phr.teachers.references import zoo_directory
from phr_studies.bench.rounds import Arena
from phr_studies.bench.sb3 import PredictLoop, predict_peer

CROSSING, PONG = "MiniGrid-SimpleCrossingS9N1-v0", "PongDeterministic-v4"


def teacher() -> PlanNetwork:
    return load_model(zoo_directory() / "crossing-teacher").network


def fresh(env_id: str, **trunk: Any) -> PlanNetwork:
    env = make_env(env_id)
    return build_network(env.observation_space, env.n_actions, 1, TrunkConfig(**trunk), seed=3)


def played(loop: PredictLoop, seed: int) -> tuple[list[int], float]:
    """One episode of a grid: its actions and its return."""
    actions, total, done = list[int](), 0.0, False
    obs, _ = loop.env.reset(seed=seed)
    while not done:
        action, _ = loop.model.predict(obs, deterministic=True)
        obs, reward, terminated, truncated, _ = loop.env.step(action)
        actions.append(int(action))
        total += float(reward)
        done = terminated or truncated
    return actions, total


def test_predict_solves_the_42_layouts_as_our_network_does() -> None:
    network = teacher()
    starts = distinct_starts(make_env(CROSSING))
    ours = play_all_starts(TorchPlanner(network, "uint8"), CROSSING, starts, commitment=1)
    loop = PredictLoop(CROSSING, network)
    planner, env = TorchPlanner(network, "uint8"), make_env(CROSSING)
    n_steps, n_solved = 0, 0
    for start in starts:
        assert start.seed is not None
        actions, episode_return = played(loop, start.seed)
        env.reset(start.seed)
        for action in actions:
            assert planner.plan(env.observe()[None]).mode()[0, 0] == action
            env.advance(action)
        n_steps += len(actions)
        n_solved += episode_return > 0
    assert (len(starts), n_solved) == (42, 42)
    assert n_steps / 42 == ours.length_mean


def test_the_predict_loop_collects_what_our_timed_run_collects() -> None:
    network = teacher()
    record = PredictLoop(CROSSING, network).run(200, seed=5)
    agent = HorizonAgent(TorchPlanner(network, "uint8"), commitment=1)
    ours = timed_run(make_env(CROSSING), agent, Limit(steps=200), seed=5, rng=np.random.default_rng(0))
    assert (record["steps"], record["episodes"]) == (200, ours.episodes)
    assert record["score"] == pytest.approx(ours.score)
    assert record["episodes"] > 10
    assert record["seconds_wall"] > 0


def test_a_predict_loop_in_pong() -> None:
    loop = PredictLoop(PONG, fresh(PONG, kind="atari", channels=(4, 4, 4), width=8))
    record = loop.run(120, seed=0)
    assert record["steps"] == 120
    assert record["score"] <= 0
    loop.env.close()


def test_it_takes_part_in_the_loops() -> None:
    model = load_model(zoo_directory() / "crossing-student")
    arena = Arena(env_id=CROSSING, env=make_env(CROSSING), model=model, seconds_per_run=0.05, seed=11)
    peer = predict_peer(arena)
    first, second, again = peer.play(0), peer.play(1), peer.play(0)
    assert first["steps"] == second["steps"] == again["steps"] >= 1
    assert first["score"] == again["score"]
    assert min(each["seconds_wall"] for each in (first, second, again)) > 0
