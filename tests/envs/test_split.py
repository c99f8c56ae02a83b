from __future__ import annotations

import functools
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces
from hypothesis import given, settings
from hypothesis import strategies as st
from minigrid.minigrid_env import MiniGridEnv
from numpy.typing import NDArray

from phr.envs.registry import make_env
from phr.envs.split import Advance, ObservingEnv, SplitEnv, run_plan
from phr.envs.vector import VectorSplit
from phr.errors import NonFiniteError, UnsupportedEnvironmentError
from tests import helpers
from tests.envs.grid_reference import n_plain, reference_planes

IDS = [
    "PHR/FourRooms-v0",
    "MiniGrid-SimpleCrossingS9N1-v0",
    "MiniGrid-LavaGapS5-v0",
    "MiniGrid-DoorKey-5x5-v0",
    "MiniGrid-Dynamic-Obstacles-6x6-v0",
    "MiniGrid-Fetch-5x5-N2-v0",
    "CartPole-v1",
    "FrozenLake-v1",
    "tests.helpers:make_noisy",
    "tests.helpers:make_corridor",
]


@functools.cache
def split_and_plain(env_id: str) -> tuple[SplitEnv, gymnasium.Env[Any, Any]]:
    name = env_id.partition(":")[2]
    return make_env(env_id), getattr(helpers, name)() if name else gymnasium.make(env_id)


def reference_observation(env_id: str, plain: gymnasium.Env[Any, Any], latest: Any) -> NDArray[Any]:
    if isinstance(plain.unwrapped, MiniGridEnv):
        return reference_planes(plain.unwrapped, env_id)
    if isinstance(plain.observation_space, spaces.Discrete):
        return np.array([float(latest == state) for state in range(int(plain.observation_space.n))], np.float32)
    return np.asarray(latest)


@given(
    env_id=st.sampled_from(IDS),
    seed=st.integers(0, 2**31 - 1),
    plans=st.lists(st.lists(st.integers(0, 41), min_size=1, max_size=12), min_size=1, max_size=6),
)
@settings(max_examples=150)
def test_running_plans_equals_stepping_one_by_one(env_id: str, seed: int, plans: list[list[int]]) -> None:
    env, plain = split_and_plain(env_id)
    env.reset(seed)
    latest, _ = plain.reset(seed=seed)
    for plan in plans:
        actions = [action % env.n_actions for action in plan]
        got: list[float] = []
        last = run_plan(env, actions, got)
        rewards: list[float] = []
        reward, terminated, truncated, info = 0.0, False, False, dict[str, Any]()
        for action in actions:
            latest, gained, terminated, truncated, info = plain.step(action)
            rewards.append(reward := float(gained))
            if terminated or truncated:
                break
        assert got == rewards  # bit for bit
        assert last == (reward, terminated, truncated, info)
        obs, expected = env.observe(), reference_observation(env_id, plain, latest)
        n = n_plain(env_id) if isinstance(plain.unwrapped, MiniGridEnv) else None
        np.testing.assert_array_equal(obs[:n], expected)
        assert env.observation_space.contains(obs)
        if terminated or truncated:
            env.reset()  # its own generator goes on
            latest, _ = plain.reset()
            np.testing.assert_array_equal(env.observe()[:n], reference_observation(env_id, plain, latest))


def test_forgotten_steps_do_not_count_towards_the_time_limit() -> None:
    env = helpers.corridor(max_steps=5)
    env.reset(0)
    run_plan(env, [0] * 4, [])
    env.forget_steps()
    for _ in range(2):
        rewards: list[float] = []
        run_plan(env, [0] * 9, rewards)
        assert len(rewards) == 5
        env.reset()


def test_forgotten_steps_do_not_count_in_minigrids_reward_and_limit() -> None:
    env = make_env("MiniGrid-Empty-5x5-v0", max_steps=10)
    env.reset(0)
    run_plan(env, [0] * 8, [])
    env.forget_steps()
    reward, terminated, _, _ = run_plan(env, [2, 2, 1, 2, 2], [])
    assert terminated
    assert reward == 1 - 0.9 * 5 / 10


class CountingEnv(SplitEnv):
    """Ends after `length` steps; writes down its actions and counts its observations."""

    def __init__(self, length: int) -> None:
        self.env_id, self.n_actions = "counting", 2
        self.observation_space = spaces.Box(0, 1, (1,), np.float32)
        self._length = length
        self.taken: list[int] = []
        self.looks = 0

    def reset(self, seed: int | None = None) -> None:
        self.taken.clear()

    def advance(self, action: int) -> Advance:
        self.taken.append(action)
        return 1.0, len(self.taken) == self._length, False, {"step": len(self.taken)}

    def observe(self, out: NDArray[Any] | None = None) -> NDArray[Any]:
        self.looks += 1
        return np.zeros(1, np.float32)


@given(st.lists(st.integers(0, 1), min_size=1, max_size=10), st.integers(1, 12))
def test_a_plan_runs_without_looking_and_stops_with_the_episode(actions: list[int], length: int) -> None:
    env = CountingEnv(length)
    rewards = [7.0]  # of an earlier plan
    last = run_plan(env, actions, rewards)
    executed = min(length, len(actions))
    assert env.taken == actions[:executed]
    assert rewards == [7.0] + [1.0] * executed
    assert last == (1.0, length <= len(actions), False, {"step": executed})
    assert env.looks == 0


@pytest.mark.parametrize("first", [0, 1, -3])
def test_a_discrete_observation_becomes_one_hot(first: int) -> None:
    env = helpers.corridor(first=first)
    env.reset(0)
    assert env.observation_space == spaces.Box(0, 1, (5,), np.float32)
    assert env.observe().tolist() == [1, 0, 0, 0, 0]
    env.advance(helpers.RIGHT)
    out = np.full(5, 9, np.float32)
    assert env.observe(out) is out
    assert out.tolist() == [0, 1, 0, 0, 0]


class OneBoxEnv(gymnasium.Env[NDArray[Any], np.int64]):
    """Shows whatever it is given."""

    def __init__(self, obs: NDArray[Any]) -> None:
        high = np.inf if obs.dtype.kind == "f" else 255
        self.observation_space = spaces.Box(-high if obs.dtype.kind == "f" else 0, high, obs.shape, obs.dtype.type)
        self.action_space = spaces.Discrete(2)
        self._obs = obs

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[Any], dict[str, Any]]:
        return self._obs, {}

    def step(self, action: np.int64) -> tuple[NDArray[Any], float, bool, bool, dict[str, Any]]:
        return self._obs, 0.0, False, False, {}


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_an_observation_that_is_not_finite_is_refused(bad: float) -> None:
    env = ObservingEnv(OneBoxEnv(np.array([0.0, bad, 1.0])), "broken")
    env.reset()
    with pytest.raises(NonFiniteError, match=r"broken: reset\(\) returned an observation that contains NaN"):
        env.observe()


def test_an_observation_is_a_copy_of_the_environments_own() -> None:
    shown = np.arange(12, dtype=np.uint8).reshape(3, 4)
    env = ObservingEnv(OneBoxEnv(shown), "bytes")
    env.reset()
    obs = env.observe()
    assert obs.dtype == np.uint8
    assert obs.shape == (3, 4)
    shown[:] = 0
    assert obs.sum() == 66


class SpacesEnv(OneBoxEnv):
    """Claims to have other spaces."""

    def __init__(self, observation_space: spaces.Space[Any], action_space: spaces.Space[Any]) -> None:
        self.observation_space = observation_space
        self.action_space = action_space


BOX = spaces.Box(0, 1, (2,), np.float32)


@pytest.mark.parametrize(
    "space",
    [
        spaces.Dict({}),
        spaces.Tuple(()),
        spaces.Text(5),
    ],
)
def test_other_observation_spaces_are_refused(space: spaces.Space[Any]) -> None:
    with pytest.raises(UnsupportedEnvironmentError, match="odd: observation space .* is not supported"):
        ObservingEnv(SpacesEnv(space, spaces.Discrete(2)), "odd")


@pytest.mark.parametrize(
    "space",
    [
        spaces.Box(0, 9, (2,), np.int64),
        spaces.Box(-1, 1, (), np.float32),
        spaces.Box(-1, 1, (2,), np.float16),  # it does not hold the float32 that phr plans
        spaces.MultiDiscrete([2, 3], start=[0, 1]),
        spaces.MultiDiscrete(np.array([[2, 3], [2, 3]])),
        spaces.MultiBinary(3),
        spaces.Discrete(3, start=1),
        spaces.Tuple((spaces.Discrete(2), BOX)),
    ],
)
def test_other_action_spaces_are_refused(space: spaces.Space[Any]) -> None:
    with pytest.raises(UnsupportedEnvironmentError, match="odd: action space .* is not supported"):
        ObservingEnv(SpacesEnv(BOX, space), "odd")


class Showing(gymnasium.Env[Any, Any]):
    """Shows what it is given, and pays it too."""

    action_space = spaces.Discrete(2)

    def __init__(self, space: spaces.Box, shown: Any) -> None:
        self.observation_space, self._shown = space, shown

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        return self._shown, {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        return self._shown, float(self._shown), False, False, {}


@pytest.mark.parametrize("shown", [2.0, np.float32(2.0), np.array(2.0, np.float32)])
def test_a_lone_number_is_a_vector_of_one(shown: Any) -> None:
    env = ObservingEnv(Showing(spaces.Box(-3, 3, (), np.float32), shown), "lone")
    assert env.observation_space == spaces.Box(-3, 3, (1,), np.float32)
    env.reset()
    np.testing.assert_array_equal(env.observe(), np.array([2.0], np.float32), strict=True)
    vector = VectorSplit([env, env], "disabled")
    vector.reset()
    np.testing.assert_array_equal(vector.observe(), np.array([[2.0], [2.0]], np.float32), strict=True)


def test_an_observation_of_no_number_is_refused() -> None:
    with pytest.raises(UnsupportedEnvironmentError, match="empty: observation space .* is not supported"):
        ObservingEnv(Showing(spaces.Box(-1, 1, (0,), np.float32), np.zeros(0, np.float32)), "empty")


@pytest.mark.parametrize("reward", [np.nan, np.inf])
def test_a_reward_that_is_no_number_is_refused(reward: float) -> None:
    env = ObservingEnv(Showing(spaces.Box(-3, 3, (), np.float32), reward), "paying")
    env.reset()
    with pytest.raises(NonFiniteError, match=r"paying: step\(\) returned a reward that is NaN or infinite"):
        env.advance(0)


def test_an_environment_is_closed_after_its_block_also_on_errors(monkeypatch: pytest.MonkeyPatch) -> None:
    closed: list[SplitEnv] = []
    monkeypatch.setattr(SplitEnv, "close", lambda env: closed.append(env))
    with helpers.corridor() as env:
        assert closed == []
    with pytest.raises(KeyError), helpers.corridor() as broken:
        raise KeyError
    assert closed == [env, broken]
