"""The oracles are Stable-Baselines3's VecFrameStack and sb3-contrib's TimeFeatureWrapper."""

from __future__ import annotations

import copy
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.wrappers import TimeLimit
from sb3_contrib.common.wrappers import TimeFeatureWrapper
from stable_baselines3.common.vec_env import DummyVecEnv, VecFrameStack

from phr.envs.layers import FrameStack, TimeFeature
from phr.envs.registry import make_env, make_gym_env, present_id, successor_of, with_option
from phr.errors import SettingError, UnknownEnvironmentError, UnsupportedEnvironmentError
from tests.teachers.sb3_models import VECTOR, StillEnv, env_id

HERE = "tests.envs.test_layers"
SPACES: dict[str, spaces.Space[Any]] = {
    "vector": VECTOR,
    "matrix": spaces.Box(-1, 1, (2, 3), np.float64),
    "image, channels last": spaces.Box(0, 255, (6, 5, 3), np.uint8),
    "image, channels first": spaces.Box(0, 255, (3, 6, 5), np.uint8),
    "table": spaces.Dict({"a": VECTOR, "b": spaces.Box(0, 255, (4, 4, 1), np.uint8)}),
}


def steps(env: gymnasium.Env[Any, Any], n: int) -> list[Any]:
    """Observations of n steps over several episodes."""
    seen = [env.reset(seed=3)[0]]
    for _ in range(n):
        obs, _, terminated, truncated, _ = env.step(0)
        seen.append(env.reset()[0] if terminated or truncated else obs)
    return seen


@pytest.mark.parametrize("name", SPACES)
@pytest.mark.parametrize("n", [1, 2, 4])
def test_frames_are_stacked_as_by_stable_baselines3(name: str, n: int) -> None:
    def made() -> StillEnv:
        return StillEnv(SPACES[name], spaces.Discrete(2))

    env = FrameStack(made(), str(n))
    peer = VecFrameStack(DummyVecEnv([made]), n)
    assert env.observation_space.shape == peer.observation_space.shape
    peer.seed(3)
    expected = [peer.reset(), *(peer.step(np.zeros(1, np.int64))[0] for _ in range(20))]
    for mine, theirs in zip(steps(env, 20), expected, strict=True):
        parts = mine.items() if isinstance(mine, dict) else [(None, mine)]
        for key, part in parts:
            np.testing.assert_array_equal(part, theirs[0] if key is None else theirs[key][0])  # type: ignore[index]
        assert env.observation_space.contains(mine)


@pytest.mark.parametrize("limit", [None, 5])
@pytest.mark.parametrize("name", ["vector", "dict"])
def test_the_time_that_is_left_is_shown_as_by_sb3_contrib(name: str, limit: int | None) -> None:
    space = VECTOR if name == "vector" else spaces.Dict({"goal": VECTOR, "observation": VECTOR})

    def made() -> Any:
        gymnasium.registry.pop("Still-v0", None)
        make: Any = lambda: StillEnv(space, spaces.Discrete(2))  # noqa: E731
        gymnasium.register("Still-v0", make, max_episode_steps=limit)
        env = gymnasium.make("Still-v0", disable_env_checker=True)
        shown = copy.deepcopy(space)  # sb3-contrib changes the space that it is given
        return gymnasium.wrappers.TransformObservation(env, lambda obs: obs, shown)

    env = TimeFeature(made(), "")
    for mine, theirs in zip(steps(env, 20), steps(TimeFeatureWrapper(made()), 20), strict=True):
        for key, part in mine.items() if isinstance(mine, dict) else [(None, mine)]:
            np.testing.assert_array_equal(part, theirs if key is None else theirs[key])


def make_limited() -> gymnasium.Env[Any, Any]:
    return TimeLimit(StillEnv(VECTOR, spaces.Discrete(4)), 6)


def test_the_options_of_an_id_go_around_it_in_their_order() -> None:
    with make_env(f"{env_id('vector')}?append-zeros=2&frame-stack=3") as env:
        env.reset(1)
        shown = env.observe()
    assert shown.shape == (21,)
    assert not shown[:14].any()
    assert shown[14:19].any()
    assert not shown[19:].any()
    with make_env(f"{env_id('vector')}?frame-stack=3&append-zeros=2") as env:
        assert env.observation_space.shape == (17,)
    with make_env(f"{HERE}:make_limited?time-feature&action-noise=0.5") as env:
        env.reset(1)
        env.advance(0)
        assert env.observe()[-1] == np.float32(1 - 1 / 1000)  # such a limit is not in a spec
        env.forget_steps()
        env.advance(0)
        assert env.observe()[-1] == np.float32(1 - 1 / 1000)


def halved(env: gymnasium.Env[Any, Any]) -> gymnasium.Env[Any, Any]:
    return gymnasium.wrappers.TransformObservation(env, lambda obs: obs / 2, env.observation_space)


def none_made(env: gymnasium.Env[Any, Any]) -> int:
    return 3


def fails(env: gymnasium.Env[Any, Any]) -> Any:
    raise RuntimeError("two\nlines")


def test_a_wrapper_of_ones_own() -> None:
    with make_env("CartPole-v1") as plain, make_env(f"CartPole-v1?wrapper={HERE}:halved") as env:
        plain.reset(2)
        env.reset(2)
        np.testing.assert_allclose(env.observe(), plain.observe() / 2)


def test_arguments_of_the_constructor() -> None:
    with make_env("Pendulum-v1?kwargs.g=9.5") as env:
        core: Any = env.gym_env.unwrapped
        assert core.g == 9.5
    with make_env("FrozenLake-v1?kwargs.is_slippery=false&kwargs.map_name=8x8") as env:
        assert env.observation_space.shape == (64,)


@pytest.mark.parametrize(
    ("asked", "error", "message"),
    [
        (
            "CartPole-v1?frame-stack=0",
            SettingError,
            "CartPole-v1.*frame-stack must be a whole number from 1 to 65536, got '0'",
        ),
        ("CartPole-v1?frame-stack=x", SettingError, "got 'x'"),
        ("CartPole-v1?append-zeros=1e9", SettingError, "append-zeros must be a whole number"),
        ("CartPole-v1?time-feature=3", SettingError, "time-feature has no value, got '3'"),
        ("CartPole-v1?frame-stack=2&frame-stack=2", UnknownEnvironmentError, "the option 'frame-stack' stands there twice"),
        ("CartPole-v1?action-noise=0.1&action-noise=0.2", UnknownEnvironmentError, "'action-noise' stands there twice"),
        ("CartPole-v1?kwargs.nothing=3", UnsupportedEnvironmentError, "unexpected keyword argument 'nothing'"),
        (f"CartPole-v1?wrapper={HERE}:none_made", UnsupportedEnvironmentError, "returned a int, not a gymnasium.Env"),
        (f"CartPole-v1?wrapper={HERE}:fails", UnsupportedEnvironmentError, "made no environment: .*two lines"),
        (f"CartPole-v1?wrapper={HERE}:missing", UnknownEnvironmentError, "has no 'missing'"),
        ("CartPole-v1?wrapper=nowhere_at_all:x", UnknownEnvironmentError, "cannot import 'nowhere_at_all'"),
        (
            "FrozenLake-v1?append-zeros=3",
            UnsupportedEnvironmentError,
            "append-zeros needs arrays, its observation is Discrete",
        ),
        ("CarRacing-v3?time-feature", UnsupportedEnvironmentError, "time-feature needs vectors, the observation has shape"),
        ("CartPole-v1?stack=3", UnsupportedEnvironmentError, "no option 'stack'"),
    ],
)
def test_options_that_cannot_be_meant_are_one_line(asked: str, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message) as caught:
        make_env(asked)
    assert "\n" not in str(caught.value)


def test_setting_an_option_keeps_the_others() -> None:
    assert with_option("X-v0", "sticky", 0.5) == "X-v0?sticky=0.5"
    assert (
        with_option("X-v0?a=1&sticky=0&wrapper=m:f&wrapper=m:g", "sticky", 1) == "X-v0?a=1&sticky=1&wrapper=m:f&wrapper=m:g"
    )


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("Pendulum-v0", "Pendulum-v1"),
        ("LunarLander-v2", "LunarLander-v3"),
        ("LunarLanderContinuous-v2", "LunarLanderContinuous-v3"),
        ("HalfCheetah-v3", "HalfCheetah-v4"),
        ("Hopper-v2", "Hopper-v4"),
        ("Ant-v3", "Ant-v4?append-zeros=84"),
        ("Ant-v3?action-noise=0.1", "Ant-v4?append-zeros=84&action-noise=0.1"),
        ("Walker2d-v3?time-feature", "Walker2d-v4?time-feature"),
    ],
)
def test_an_old_id_is_made_as_its_successor(old: str, new: str) -> None:
    found, notices = present_id(old)
    assert found == new
    assert len(notices) == 1
    assert f"{old} is made as {new}" in notices[0]
    with make_env(new) as env:
        env.reset(0)
        shape = env.observe().shape
    assert shape == {"Ant": (111,), "Walk": (18,), "Half": (17,)}.get(new[:4].rstrip("-"), shape)
    if "?" not in old:
        with pytest.raises(
            UnknownEnvironmentError, match=f"{old}.* any more; its successor is .*with the same observations"
        ):
            make_env(old)


def test_an_old_id_with_other_observations_is_only_named() -> None:
    assert present_id("Humanoid-v3") == ("Humanoid-v3", ())
    newer = successor_of("Humanoid-v3")
    assert newer is not None
    with pytest.raises(
        UnknownEnvironmentError, match="its successor is Humanoid-v4, whose observations differ: it shows contact"
    ):
        make_gym_env("Humanoid-v3")


@pytest.mark.parametrize(
    ("name", "package"),
    [
        ("AntBulletEnv-v0", "pybullet_envs_gymnasium"),
        ("PandaReach-v1", "panda_gym"),
        ("FetchReach-v1", "gymnasium_robotics"),
        ("highway-fast-v0", "highway_env"),
    ],
)
def test_the_package_of_other_ids_is_named(name: str, package: str) -> None:
    with pytest.raises(UnknownEnvironmentError, match=f"{package} registers such ids: install it, then --env-id {package}:"):
        make_env(name)


def test_an_id_that_somebody_registered_is_theirs() -> None:
    gymnasium.register("Pendulum-v0", lambda: StillEnv(VECTOR, spaces.Discrete(2)))  # type: ignore[arg-type]
    try:
        assert present_id("Pendulum-v0") == ("Pendulum-v0", ())
        with make_env("Pendulum-v0") as env:
            assert env.n_actions == 2
    finally:
        gymnasium.registry.pop("Pendulum-v0")


def test_present_ids_stay() -> None:
    for name in ("CartPole-v1", "CartPole-v0", "HalfCheetah-v5", "tests.helpers:make_noisy", None):
        assert present_id(name) == (name, ())
