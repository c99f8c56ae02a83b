"""A student is the same in every unit of its observations and its actions."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces
from numpy.typing import NDArray

import phr

STEPS = 6


class Follow(gymnasium.Env[NDArray[Any], NDArray[Any]]):
    """The right action is a number seen at the start, in another unit; the reward counts how near it is."""

    def __init__(self, seen: tuple[float, float], acted: tuple[float, float], bounded: bool) -> None:
        self.seen, self.acted = seen, acted
        reach = 2 * acted[1] if bounded else np.inf
        self.observation_space = spaces.Box(-np.inf, np.inf, (1,), np.float64)
        self.action_space = spaces.Box(acted[0] - reach, acted[0] + reach, (1,), np.float64)

    def _look(self) -> NDArray[Any]:
        return np.array([self.seen[0] + self.seen[1] * self.x])

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[Any], dict[str, Any]]:
        super().reset(seed=seed)
        self.t, self.x = 0, float(self.np_random.uniform(-1, 1))
        return self._look(), {}

    def step(self, action: NDArray[Any]) -> tuple[NDArray[Any], float, bool, bool, dict[str, Any]]:
        self.t += 1
        apart = abs((float(action[0]) - self.acted[0]) / self.acted[1] - self.x)
        return self._look(), max(0.0, 1.0 - apart), False, self.t == STEPS, {}


KINDS: dict[str, tuple[tuple[float, float], tuple[float, float], bool]] = {
    "plain": ((0.0, 1.0), (0.0, 1.0), True),
    "utm": ((5_572_094.0, 0.2), (0.0, 1.0), True),
    "tiny_range": ((0.0, 1e-9), (0.0, 1e-7), True),
    "wide_range": ((0.0, 1.0), (0.0, 1e7), True),
    "tiny_unbounded": ((0.0, 1.0), (0.0, 1e-7), False),
    "far_unbounded": ((0.0, 1.0), (5e4, 100.0), False),
}


def make_plain() -> Follow:
    return Follow(*KINDS["plain"])


def make_utm() -> Follow:
    return Follow(*KINDS["utm"])


def make_tiny_range() -> Follow:
    return Follow(*KINDS["tiny_range"])


def make_wide_range() -> Follow:
    return Follow(*KINDS["wide_range"])


def make_tiny_unbounded() -> Follow:
    return Follow(*KINDS["tiny_unbounded"])


def make_far_unbounded() -> Follow:
    return Follow(*KINDS["far_unbounded"])


@pytest.mark.parametrize("kind", KINDS)
def test_a_student_learns_in_any_unit(kind: str) -> None:
    seen, acted, _ = KINDS[kind]

    def teacher(obs: NDArray[Any]) -> NDArray[Any]:
        return acted[0] + acted[1] * (obs - seen[0]) / seen[1]

    teacher.identity = kind  # type: ignore[attr-defined]
    env_id = f"{__name__}:make_{kind}"
    settings: dict[str, Any] = {"n_episodes": 40, "n_updates": 150, "batch_size": 64, "refine": 0, "prefix": (0, 0)}
    student = phr.distill(teacher, env_id=env_id, horizon=2, **settings)
    assert min(student.manifest.notes["agreement_per_head"]) > 0.8
    found = phr.evaluate(student, env_id=env_id, episodes=20, runs=1).return_mean
    assert found is not None
    assert found > 0.85 * STEPS
