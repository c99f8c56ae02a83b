from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from phr.envs.atari import AtariVector
from phr.envs.registry import make_env
from phr.envs.split import TrainingVector, VectorStep
from phr.envs.vector import VectorSplit
from tests.envs.atari_reference import atari


def seeds(env: int, turn: int) -> int:
    return 100 * turn + env


def native(env_id: str, n_envs: int = 2) -> AtariVector:
    return AtariVector(atari(env_id), range(n_envs), seeds, 1)


def advance(vector: AtariVector, actions: Any) -> VectorStep:
    vector.send(actions)
    return vector.receive()


@pytest.mark.parametrize(
    "env_id",
    [
        "PongDeterministic-v4",
        "SpaceInvadersDeterministic-v4",
        "BreakoutDeterministic-v4?fire=reset",
    ],
)
def test_native_and_single_show_the_same_pixels_and_pay_the_same(env_id: str) -> None:
    vector, env = native(env_id), atari(env_id)
    vector.reset()
    begin(vector, env)
    rng = np.random.default_rng(0)
    n_ended, paid = 0, set()
    for _ in range(250):
        np.testing.assert_array_equal(vector.observe()[0], env.observe())  # not one of 28,224 pixels differs
        actions = rng.integers(env.n_actions, size=2)
        step = advance(vector, actions)
        reward, terminated, truncated, _ = env.advance(int(actions[0]))
        assert (step.rewards[0], step.terminated[0], step.truncated[0]) == (reward, terminated, truncated)
        paid.add(reward)
        if terminated:
            n_ended += 1
            begin(vector, env)
    assert len(paid) > 1
    assert n_ended > 0 or "Breakout" not in env_id


def begin(vector: AtariVector, env: Any) -> None:
    """The native environment draws its idle frames itself, of which FIRE is the first, and never fewer than that."""
    env.begin(max(int(vector.n_noops[0]) - (env.settings.fire == "reset"), 0))


def test_rewards_are_the_games_own() -> None:
    vector = native("SpaceInvadersDeterministic-v4")
    vector.reset()
    rewards = np.concatenate([advance(vector, np.ones(2, np.int64)).rewards for _ in range(200)])
    assert rewards.dtype == np.float32
    assert rewards.max() >= 5  # an invader of the lowest row


@pytest.fixture
def short() -> Iterator[AtariVector]:
    vector = native("PongDeterministic-v4?max_frames=24", n_envs=3)
    vector.reset()
    yield vector
    vector.close()


def test_a_cut_off_game_keeps_its_last_observation_and_starts_at_once(short: AtariVector) -> None:
    steps = [advance(short, np.zeros(3, np.int64)) for _ in range(6)]
    assert not any(step.done.any() or step.final_obs for step in steps[:-1])
    assert steps[-1].truncated.all()
    assert not steps[-1].terminated.any()
    assert sorted(steps[-1].final_obs) == [0, 1, 2]
    shown = short.observe()
    for index, last in steps[-1].final_obs.items():
        assert last.shape == (4, 84, 84)
        assert last.any(axis=(1, 2)).all()  # four frames of the old game
        assert shown[index].any(axis=(1, 2)).tolist() == [False, False, False, True]  # the first of a new one
    assert not advance(short, np.zeros(3, np.int64)).done.any()


def test_a_terminated_game_has_no_last_observation() -> None:
    vector = native("BreakoutDeterministic-v4", n_envs=1)
    vector.reset()
    rng = np.random.default_rng(0)
    step = advance(vector, np.ones(1, np.int64))
    while not step.done.any():
        step = advance(vector, rng.integers(4, size=1))
    assert step.terminated.all()
    assert step.final_obs == {}
    assert list(step.infos) == [0]


def play(vector: AtariVector) -> list[Any]:
    rng = np.random.default_rng(0)
    shown = [vector.observe()]
    for _ in range(40):
        advance(vector, rng.integers(6, size=2))
        shown.append(vector.observe(out=np.empty_like(shown[0])))
    return shown


def test_seeds_fix_what_is_played_sticky_actions_included() -> None:
    played = []
    for _ in range(2):
        vector = native("ALE/Pong-v5")
        vector.reset()
        played.append(play(vector))
    np.testing.assert_array_equal(played[0], played[1])
    assert (played[0][-1][0] != played[0][-1][1]).any()  # the games differ from each other


def test_restoring_begins_new_games_with_fresh_seeds() -> None:
    vector = native("PongDeterministic-v4", n_envs=3)
    vector.reset()
    first, state = vector.n_noops.copy(), vector.state()
    resumed = native("PongDeterministic-v4", n_envs=3)
    resumed.restore(state)
    assert resumed.n_noops.tolist() != first.tolist()
    vector.restore(state)
    np.testing.assert_array_equal(vector.observe(), resumed.observe())
    assert resumed.state() == [{"round": 1}] * 3


def test_training_may_step_either_vector() -> None:
    split = VectorSplit([atari("PongDeterministic-v4")], "same_step")
    vectors: list[TrainingVector] = [split, native("PongDeterministic-v4", n_envs=1)]
    for vector in vectors:
        vector.reset()
        vector.send(np.zeros(1, np.int64))
        step = vector.receive()
        assert [array.shape for array in (step.rewards, step.terminated, step.truncated)] == [(1,)] * 3
        assert vector.observe(out=np.empty((1, 4, 84, 84), np.uint8)).any()
        assert json.loads(json.dumps(vector.state())) == vector.state()


@pytest.mark.parametrize(
    ("env_id", "kwargs"),
    [
        ("Pong-v4", {}),  # its frame skip varies
        ("BreakoutDeterministic-v4?fire=life", {}),
        ("PongDeterministic-v4", {"mode": 1}),
        ("PongDeterministic-v4", {"difficulty": 1}),
    ],
)
def test_what_the_native_emulators_cannot_play_is_left_to_ours(env_id: str, kwargs: Any) -> None:
    assert make_env(env_id, **kwargs).native_vectors(2, seeds) is None
