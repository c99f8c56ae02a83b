from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces

from phr.envs.registry import split_env
from phr.envs.split import SplitEnv
from phr.errors import InvalidDataError
from phr.teacher.a2c import A2C
from tests.helpers import noisy
from tests.trained import a2c_config


class WallClock(gymnasium.Env[Any, Any]):
    """Shows a number that no seed fixes; its episodes end when they would anyway."""

    ticks = 0

    def __init__(self) -> None:
        self.observation_space = spaces.Box(-np.inf, np.inf, (3,), np.float32)
        self.action_space = spaces.Discrete(3)

    def _look(self) -> Any:
        WallClock.ticks += 1
        return np.full(3, WallClock.ticks, np.float32)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        super().reset(seed=seed)
        return self._look(), {}

    def step(self, action: Any) -> Any:
        return self._look(), 0.0, False, False, {}


def clock() -> SplitEnv:
    return split_env(WallClock(), "clock")


def training(make: Callable[[], SplitEnv]) -> A2C:
    return A2C(make, a2c_config(n_envs=3))


def test_a_restored_training_sees_what_it_saw() -> None:
    first, second = training(noisy), training(noisy)
    for _ in range(5):
        first.update()
    second.restore(*copy.deepcopy(first.checkpoint()))
    np.testing.assert_array_equal(first.collector.observe(), second.collector.observe())
    assert first.update() == second.update()
    assert all(torch.equal(a, b) for a, b in zip(first.network.parameters(), second.network.parameters(), strict=True))


def test_an_environment_that_its_seed_does_not_fix_is_found_out() -> None:
    first = training(clock)
    first.update()
    with pytest.raises(InvalidDataError, match="clock: .* led to other observations: .*exact resuming is impossible"):
        training(clock).restore(*first.checkpoint())


def test_a_training_that_has_not_begun_has_seen_nothing() -> None:
    first, second = training(clock), training(clock)
    second.restore(*first.checkpoint())
    assert "obs_sha256" not in second.collector.state()


def test_a_checkpoint_without_the_hash_is_still_read() -> None:
    first = training(clock)
    first.update()
    state = first.collector.state()
    del state["obs_sha256"]
    second = training(clock).collector
    second.restore(state)
    assert {**second.state(), "obs_sha256": None} == {**state, "obs_sha256": None}
