from __future__ import annotations

import inspect
import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from phr.envs.registry import make_env, split_env
from phr.envs.split import SplitEnv
from phr.envs.vector import Autoreset, Start, VectorSplit, make_training_vectors
from phr.errors import (
    BrokenEnvironmentError,
    InvalidDataError,
    NonFiniteError,
    SettingError,
    UnsupportedEnvironmentError,
)
from tests.helpers import LEFT, RIGHT, corridor, make_corridor, noisy


def numbered_seeds(env: int, episode: int) -> int:
    return 1000 * env + episode


def corridors(autoreset: Autoreset, n_envs: int = 2, max_steps: int = 20, **kwargs: Any) -> VectorSplit:
    vector = VectorSplit([corridor(max_steps, **kwargs) for _ in range(n_envs)], autoreset, numbered_seeds)
    vector.reset()
    return vector


def cells(vector: VectorSplit) -> list[int]:
    return [int(cell) for cell in vector.observe().argmax(axis=1)]


def walk(vector: VectorSplit, *actions: int) -> Any:
    for action in actions:
        step = vector.advance(np.full(vector.n_envs, action, np.int64))
    return step


def test_same_step_resets_at_once() -> None:
    vector = corridors("same_step")
    step = walk(vector, *[RIGHT] * 4)
    assert step.terminated.all()
    assert step.final_obs == {}  # a terminated state has no value
    assert cells(vector) == [0, 0]
    walk(vector, RIGHT)
    assert cells(vector) == [1, 1]


def test_same_step_keeps_the_last_observation_of_a_truncated_episode() -> None:
    vector = corridors("same_step", max_steps=3)
    step = walk(vector, *[RIGHT] * 3)
    assert step.truncated.all()
    assert not step.terminated.any()
    assert {env: int(obs.argmax()) for env, obs in step.final_obs.items()} == {0: 3, 1: 3}
    assert cells(vector) == [0, 0]


def test_an_episode_that_ends_both_ways_is_terminated() -> None:
    step = walk(corridors("same_step", max_steps=4), *[RIGHT] * 4)
    assert step.terminated.all()
    assert step.truncated.all()
    assert step.final_obs == {}


def test_disabled_leaves_the_reset_to_the_caller() -> None:
    vector = corridors("disabled")
    walk(vector, *[RIGHT] * 4)
    with pytest.raises(InvalidDataError, match="environment 0 has no running episode; reset it"):
        walk(vector, RIGHT)
    vector.reset(np.array([True, False]))
    assert cells(vector) == [0, 4]
    step = vector.advance(np.array([RIGHT, RIGHT]), np.array([True, False]))
    assert not step.done.any()
    assert cells(vector) == [1, 4]


@pytest.mark.parametrize("autoreset", ["same_step", "disabled"])
def test_an_environment_must_be_reset_before_its_first_step(autoreset: Autoreset) -> None:
    vector = VectorSplit([corridor()], autoreset)
    with pytest.raises(InvalidDataError, match="no running episode"):
        walk(vector, RIGHT)


def test_only_the_masked_environments_move_and_are_seen() -> None:
    vector = corridors("disabled", n_envs=3)
    mask = np.array([True, False, True])
    step = vector.advance(np.full(3, RIGHT, np.int64), mask)
    assert step.rewards.tolist() == [0, 0, 0]
    assert cells(vector) == [1, 0, 1]
    assert vector.observe(np.array([False, True, True])).argmax(axis=1).tolist() == [0, 1]
    out = np.empty((2, 5), np.float32)
    assert vector.observe(mask, out) is out
    assert vector.observe(np.zeros(3, bool)).shape == (0, 5)


def test_each_episode_is_seeded_by_the_schedule() -> None:
    asked: list[tuple[int, int]] = []

    def schedule(env: int, episode: int) -> int:
        asked.append((env, episode))
        return numbered_seeds(env, episode)

    vector = VectorSplit([noisy(end_probability=0.0, max_steps=2) for _ in range(2)], "same_step", schedule)
    vector.reset()
    walk(vector, 0, 0, 0, 0)
    assert asked == [(0, 0), (1, 0), (0, 1), (1, 1), (0, 2), (1, 2)]
    alone = noisy()
    alone.reset(numbered_seeds(1, 2))
    np.testing.assert_array_equal(vector.observe()[1], alone.observe())


def test_infos_tell_of_ended_episodes_only() -> None:
    vector = VectorSplit([noisy(end_probability=0.3, says_success=True) for _ in range(4)], "same_step", numbered_seeds)
    vector.reset()
    for _ in range(20):
        step = walk(vector, 1)
        assert sorted(step.infos) == np.flatnonzero(step.done).tolist()
        assert all(info["is_success"] == (step.rewards[env] > 0) for env, info in step.infos.items())


def test_environments_of_one_vector_must_agree() -> None:
    with pytest.raises(UnsupportedEnvironmentError, match="environments of one vector must agree"):
        VectorSplit([corridor(), noisy()], "disabled")
    with pytest.raises(InvalidDataError, match="at least one"):
        VectorSplit([], "disabled")


def test_another_word_for_autoreset_is_refused() -> None:
    construct: Any = inspect.unwrap(VectorSplit.__init__)  # without the type checks of the tests
    with pytest.raises(SettingError, match="autoreset must be one of same_step, disabled, got 'SAME_STEP'"):
        construct(object.__new__(VectorSplit), [corridor()], "SAME_STEP")


@given(seed=st.integers(0, 10_000), n_steps=st.integers(0, 60))
def test_a_vector_equals_its_environments_stepped_alone(seed: int, n_steps: int) -> None:
    vector = VectorSplit([noisy(), noisy()], "same_step", numbered_seeds)
    vector.reset()
    rng = np.random.default_rng(seed)
    plan = rng.integers(3, size=(n_steps, 2))
    rewards = np.array([vector.advance(actions).rewards for actions in plan]).reshape(n_steps, 2)
    for index in range(2):
        env, episode = noisy(), 0
        env.reset(numbered_seeds(index, 0))
        for k in range(n_steps):
            reward, *ends, _ = env.advance(int(plan[k, index]))
            if any(ends):
                episode += 1
                env.reset(numbered_seeds(index, episode))
            assert rewards[k, index] == np.float32(reward)
        np.testing.assert_array_equal(vector.observe()[index], env.observe())


def futures(vector: VectorSplit, seed: int) -> list[Any]:
    rng, seen = np.random.default_rng(seed), []
    for _ in range(25):
        step = vector.advance(rng.integers(3, size=vector.n_envs))
        seen.append((vector.observe().tolist(), step.rewards.tolist(), step.terminated.tolist()))
    return seen


@given(
    seed=st.integers(0, 10_000),
    n_steps=st.integers(0, 40),
    env_id=st.sampled_from(["tests.helpers:make_noisy", "MiniGrid-Dynamic-Obstacles-5x5-v0"]),
)
@settings(max_examples=20)
def test_a_restored_vector_has_the_same_future(seed: int, n_steps: int, env_id: str) -> None:
    def fresh() -> VectorSplit:
        return VectorSplit([make_env(env_id) for _ in range(2)], "same_step", numbered_seeds)

    rng, vector = np.random.default_rng(seed), fresh()
    vector.reset()
    for _ in range(n_steps):
        vector.advance(rng.integers(3, size=2), rng.random(2) < 0.7)
    state = json.loads(json.dumps(vector.state()))
    expected = futures(vector, seed)
    for other in (vector, fresh()):  # where it was, and in another process
        other.restore(state)
        assert other.state() == state
        assert futures(other, seed) == expected


def test_a_replay_that_ends_early_is_refused() -> None:
    long, short = corridors("same_step", n_envs=1), corridors("same_step", n_envs=1, max_steps=2)
    walk(long, RIGHT, RIGHT, RIGHT)
    with pytest.raises(InvalidDataError, match="replaying an episode did not repeat it"):
        short.restore(long.state())


def test_a_state_of_another_size_is_refused() -> None:
    with pytest.raises(InvalidDataError, match="a state of 2 environments does not fit 3"):
        corridors("same_step", n_envs=3).restore(corridors("same_step").state())


@pytest.mark.parametrize(
    ("prefix", "cell"),
    [((), 0), ((RIGHT, RIGHT), 2), ((RIGHT, LEFT, LEFT, RIGHT), 1), ((RIGHT,) * 4, 0), ((RIGHT,) * 5, 0)],
)
def test_a_prefix_is_played_unless_it_would_end_the_episode(prefix: tuple[int, ...], cell: int) -> None:
    env = corridor()
    Start(0, prefix).enter(env)
    assert int(env.observe().argmax()) == cell


def test_seed_and_prefix_decide_the_episode_also_where_the_prefix_ends_it() -> None:
    for seed in range(20):
        start, after = Start(seed, (0, 1, 2, 1)), noisy(end_probability=0.2)
        after.reset(99)  # whatever was played before
        after.advance(2)
        fresh = noisy(end_probability=0.2)
        start.enter(fresh)
        start.enter(after)
        for action in (2, 0, 1):
            np.testing.assert_array_equal(after.observe(), fresh.observe())
            assert after.advance(action) == fresh.advance(action)


def test_a_prefix_takes_nothing_from_the_step_limit() -> None:
    env = corridor(max_steps=5)
    Start(0, (RIGHT, LEFT, RIGHT, LEFT)).enter(env)
    assert [env.advance(LEFT)[2] for _ in range(5)] == [False] * 4 + [True]


def test_an_episode_may_begin_as_the_caller_likes() -> None:
    vector = corridors("disabled")
    vector.begin(1, Start(0, (RIGHT, RIGHT)))
    assert cells(vector) == [0, 2]


def test_every_episode_begins_with_the_prefix_of_the_schedule() -> None:
    def schedule(env: int, episode: int) -> tuple[int, ...]:
        return (RIGHT,) * (env + episode)

    vector = VectorSplit([corridor(), corridor()], "same_step", numbered_seeds, schedule)
    vector.reset()
    assert cells(vector) == [0, 1]
    walk(vector, *[RIGHT] * 4)
    assert cells(vector)[0] == 1
    other = VectorSplit([corridor(), corridor()], "same_step", numbered_seeds, schedule)
    other.restore(vector.state())
    assert cells(other) == cells(vector)


def test_closing_closes_every_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    closed: list[SplitEnv] = []
    monkeypatch.setattr(SplitEnv, "close", lambda env: closed.append(env))
    vector = corridors("disabled")
    vector.close()
    assert closed == list(vector.envs)
    with pytest.raises(KeyError), vector:
        raise KeyError
    assert closed == 2 * list(vector.envs)


def opener(n_good: int, closed: list[SplitEnv], *, n_cells: int = 5) -> Callable[[], SplitEnv]:
    """Makes so many corridors, the last of them with `n_cells`; then it fails."""
    made: list[SplitEnv] = []

    def make() -> SplitEnv:
        if len(made) == n_good:
            raise OSError("no more")
        env = corridor(n_cells=n_cells if len(made) == n_good - 1 else 5)
        env.close = lambda: closed.append(env)  # type: ignore[method-assign]
        made.append(env)
        return env

    return make


@pytest.mark.parametrize(("n_good", "n_wanted"), [(1, 4), (3, 4), (4, 4), (9, 4)])
def test_opening_takes_as_many_as_can_be_open(n_good: int, n_wanted: int) -> None:
    closed: list[SplitEnv] = []
    with VectorSplit.open(opener(n_good, closed), n_wanted) as vector:
        assert vector.n_envs == min(n_good, n_wanted)
        assert closed == []
        message = (
            f"corridor: only {n_good} of 4 copies could be opened side by side (no more); n_envs={n_good} asks for no more"
        )
        assert vector.remarks.lines() == ([message] if n_good < n_wanted else [])
    assert closed == list(vector.envs)


def test_the_first_environment_has_to_open() -> None:
    with pytest.raises(OSError, match="^no more$"):
        VectorSplit.open(opener(0, []), 4)
    with pytest.raises(InvalidDataError, match="needs at least one"):
        VectorSplit.open(opener(4, []), 0)


def test_what_was_opened_is_closed_where_the_vector_cannot_be_made() -> None:
    closed: list[SplitEnv] = []
    with pytest.raises(UnsupportedEnvironmentError, match="must agree"):
        VectorSplit.open(opener(3, closed, n_cells=4), 3)
    assert len(closed) == 3


def test_every_environment_is_closed_also_where_closing_one_fails() -> None:
    closed: list[SplitEnv] = []
    vector = VectorSplit.open(opener(4, closed), 3)

    def fail() -> None:
        raise OSError("cannot close")

    vector.envs[1].close = fail  # type: ignore[method-assign]
    with pytest.raises(OSError, match="cannot close"):
        vector.close()
    assert closed == [vector.envs[0], vector.envs[2]]


@pytest.mark.parametrize("reward", [1e39, -1e39, 1e300])
def test_rewards_beyond_float32_are_refused(reward: float, monkeypatch: pytest.MonkeyPatch) -> None:
    vector = corridors("disabled")
    vector.reset()
    monkeypatch.setattr(vector.envs[1], "advance", lambda _action: (reward, False, False, {}))
    with pytest.raises(NonFiniteError, match=r"step\(\) returned the reward .*, which float32 does not hold"):
        walk(vector, 1, 1)


def test_infos_of_environments_that_share_one_dict_stay_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    vector, shared = corridors("disabled"), dict[str, Any]()
    vector.reset()
    for number, env in enumerate(vector.envs):

        def advance(_action: Any, number: int = number) -> Any:
            shared["is_success"] = bool(number)
            return 0.0, True, False, shared

        monkeypatch.setattr(env, "advance", advance)
    assert vector.advance(np.array([1, 1])).infos == {0: {"is_success": False}, 1: {"is_success": True}}


def test_training_names_n_envs_where_so_many_cannot_be_open() -> None:
    closed: list[SplitEnv] = []
    with pytest.raises(UnsupportedEnvironmentError, match=r"only 2 of n_envs=3 copies could be opened .*; lower n_envs$"):
        make_training_vectors(opener(2, closed), 3, numbered_seeds)
    assert len(closed) == 2


def test_an_error_names_the_environment_its_seed_and_the_step(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_action: Any) -> Any:
        raise SystemExit(3)

    vector = VectorSplit([split_env(make_corridor(), f"corridor-{n}") for n in range(3)], "disabled", lambda i, _k: 10 + i)
    vector.reset()
    vector.advance(np.full(3, RIGHT))
    monkeypatch.setattr(vector.envs[1].gym_env.unwrapped, "step", fail)
    message = r"^corridor-1: step\(\) raised SystemExit: 3 \(step 2 of an episode, seed 11\), environment 1 of 3$"
    with pytest.raises(BrokenEnvironmentError, match=message):
        vector.advance(np.full(3, RIGHT))
