"""`?action-noise=P` in every family of environments."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import phr
from phr.envs.registry import make_env
from phr.envs.split import SplitEnv
from phr.errors import SettingError, UnsupportedEnvironmentError
from phr.evaluation.episodes import distinct_starts
from tests.trained import CORRIDOR, corridor_student

IDS = [CORRIDOR, "MiniGrid-SimpleCrossingS9N1-v0", "MiniGrid-DoorKey-5x5-v0?view=partial", "ALE/Pong-v5", "Pendulum-v1"]


def noisy(env_id: str, probability: float) -> SplitEnv:
    return make_env(f"{env_id}{'&' if '?' in env_id else '?'}action-noise={probability}")


def played(env: SplitEnv, seed: int, n: int = 40) -> list[Any]:
    """Observations and results of one and the same actions."""
    env.reset(seed)
    rng, seen = np.random.default_rng(0), list[Any]()
    for action in env.action_space.samples(rng, n):
        reward, terminated, truncated, _ = env.advance(action)
        seen.append((env.observe().tobytes(), reward, terminated, truncated))
        if terminated or truncated:
            break
    return seen


@pytest.mark.parametrize("env_id", IDS)
def test_noise_of_0_changes_nothing_and_a_seed_repeats_any_other(env_id: str) -> None:
    with make_env(env_id) as plain, noisy(env_id, 0.0) as still, noisy(env_id, 0.5) as one, noisy(env_id, 0.5) as other:
        assert isinstance(one, type(plain)), "it is the same environment, fast path included"
        assert one.stepping == plain.stepping
        assert played(still, 3) == played(plain, 3)
        first = played(one, 3)
        assert first != played(plain, 3)
        assert played(other, 3) == first
        assert played(one, 3) == first, "also in the same instance, again"


def test_the_share_of_random_actions_is_the_one_asked_for() -> None:
    told: list[Any] = []
    with noisy(CORRIDOR, 0.3) as env:
        env.reset(0)
        told = [env._executed(-1) for _ in range(20_000)]  # type: ignore[attr-defined]
    replaced = [action for action in told if action != -1]
    assert len(replaced) / len(told) == pytest.approx(0.3, abs=0.01)
    assert np.mean(replaced) == pytest.approx(0.5, abs=0.02), "both actions alike"


def test_another_future_of_a_moment_has_other_noise() -> None:
    with noisy(CORRIDOR, 0.5) as env:
        futures = set()
        for chance in range(20):
            env.reset(0)
            env.reseed(chance)
            futures.add(tuple(env._executed(-1) for _ in range(10)))  # type: ignore[attr-defined]
    assert len(futures) == 20


def test_games_are_trained_without_their_own_vectors() -> None:
    with make_env("ALE/Pong-v5") as plain, noisy("ALE/Pong-v5", 0.1) as env:
        assert plain.native_vectors(2, lambda _env, _episode: 0) is not None
        assert env.native_vectors(2, lambda _env, _episode: 0) is None


def test_a_student_is_evaluated_in_noise_and_the_bound_is_measured() -> None:
    calm = phr.evaluate(corridor_student(), episodes=100, runs=1)
    found = phr.evaluate(corridor_student(), env_id=f"{CORRIDOR}?action-noise=0.4", episodes=100, runs=1, commitment=1)
    assert found.bound_failure is None
    assert found.bound is not None
    assert found.length_mean is not None
    assert calm.length_mean is not None
    assert found.length_mean > calm.length_mean


@pytest.mark.parametrize("env_id", ["ALE/Pong-v5?sticky=0&noop_max=3", "PHR/FourRooms-v0"])
def test_in_noise_no_list_of_starts_is_complete(env_id: str) -> None:
    with make_env(env_id) as plain, noisy(env_id, 0.0) as still, noisy(env_id, 0.1) as env:
        assert distinct_starts(still) == distinct_starts(plain)
        with pytest.raises(
            UnsupportedEnvironmentError, match=r"noise=0.1: action-noise makes every episode differ; evaluate"
        ):
            distinct_starts(env)


@pytest.mark.parametrize("wrong", ["1.5", "-0.1", "much", "nan", ""])
def test_a_probability_out_of_range_is_refused(wrong: str) -> None:
    with pytest.raises(SettingError, match="action-noise must be a number from 0 to 1, got"):
        make_env(f"{CORRIDOR}?action-noise={wrong}")


def test_unknown_options_name_the_known_one() -> None:
    with pytest.raises(UnsupportedEnvironmentError, match="no option 'noise'; it has action-noise, time-feature"):
        make_env("CartPole-v1?noise=0.1")
