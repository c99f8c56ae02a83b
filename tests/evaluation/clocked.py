"""A world with a clock of its own: every operation takes a known time, and nothing else takes any."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces
from numpy.typing import NDArray

from phr.envs.split import Advance, SplitEnv
from phr.evaluation import bound, timed
from phr.plan import CategoricalPlan

STEP, RESET, OBSERVE, PLAN = 3.0, 50.0, 7.0, 200.0
"""Seconds."""


@dataclass
class Clock:
    """Tells the time that the operations took, and counts them."""

    now: float = 0.0
    counts: dict[str, int] = field(default_factory=lambda: {"step": 0, "reset": 0, "observe": 0, "plan": 0})

    def spend(self, what: str) -> None:
        self.counts[what] += 1
        self.now += {"step": STEP, "reset": RESET, "observe": OBSERVE, "plan": PLAN}[what]


class Simulator(gymnasium.Env[NDArray[np.float32], int]):
    """An episode lasts as long as its seed's generator says; looking is not part of a step."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.steps_left = 0

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.float32], dict[str, Any]]:
        super().reset(seed=seed)
        self.clock.spend("reset")
        self.steps_left = int(self.np_random.integers(4, 12))
        return np.zeros(1, np.float32), {}

    def step(self, action: int) -> tuple[NDArray[np.float32], float, bool, bool, dict[str, Any]]:
        assert self.steps_left > 0, "an ended episode was stepped"
        self.clock.spend("step")
        self.steps_left -= 1
        return np.zeros(1, np.float32), 0.0 if self.steps_left else 1.0, self.steps_left == 0, False, {}


class ClockedEnv(SplitEnv):
    """The simulator with its step split in two."""

    def __init__(self, clock: Clock) -> None:
        self.env_id, self.n_actions = "clocked", 2
        self.observation_space = spaces.Box(0, 1, (1,), np.float32)
        self.gym_env = self.simulator = Simulator(clock)

    def reset(self, seed: int | None = None) -> None:
        self.simulator.reset(seed=seed)

    def advance(self, action: int) -> Advance:
        _, reward, terminated, truncated, info = self.simulator.step(action)
        return reward, terminated, truncated, info

    def observe(self, out: NDArray[Any] | None = None) -> NDArray[Any]:
        self.simulator.clock.spend("observe")
        return np.zeros(1, np.float32)


class ClockedPlanner:
    """Plans for four steps, always the same."""

    horizon, n_actions = 4, 2

    def __init__(self, clock: Clock) -> None:
        self.clock = clock

    def plan(self, obs: NDArray[Any]) -> CategoricalPlan:
        self.clock.spend("plan")
        return CategoricalPlan.from_actions(np.zeros((len(obs), 4), np.int64), 2)


def install(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """A new clock, which the timed rooms read from now on."""
    clock = Clock()
    for module in (timed, bound):
        monkeypatch.setattr(module, "time", SimpleNamespace(perf_counter=lambda: clock.now))
    return clock
