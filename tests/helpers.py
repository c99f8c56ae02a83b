"""Planners and environments small enough to know everything about."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from gymnasium.wrappers import TimeLimit
from numpy.typing import NDArray

from phr.envs.registry import split_env
from phr.envs.split import SplitEnv
from phr.plan import CategoricalPlan

LEFT, RIGHT = 0, 1


class TablePlanner:
    """Plans with one row of fixed logits per state; the state is the hot place of a one-hot observation.

    Args:
        logits: Shape `(n_states, horizon, n_actions)`.
    """

    def __init__(self, logits: NDArray[Any]) -> None:
        self._logits = logits.astype(np.float32)
        self.horizon = int(logits.shape[1])
        self.n_actions = int(logits.shape[2])
        self.batch_sizes: list[int] = []

    @classmethod
    def of_actions(cls, actions: Sequence[Sequence[int]], n_actions: int) -> TablePlanner:
        """Certain plans; `actions[state]` is the plan made there."""
        return cls(CategoricalPlan.from_actions(np.array(actions, np.int64), n_actions).logits)

    @classmethod
    def random(cls, rng: np.random.Generator, n_states: int, horizon: int, n_actions: int) -> TablePlanner:
        """Any plans, with all degrees of confidence."""
        return cls(rng.normal(scale=3.0, size=(n_states, horizon, n_actions)))

    def plan(self, obs: NDArray[Any]) -> CategoricalPlan:
        self.batch_sizes.append(len(obs))
        return CategoricalPlan(self._logits[obs.argmax(axis=1)])


class CorridorEnv(gymnasium.Env[np.int64, np.int64]):
    """A row of cells; action 1 goes right, any other left. Reward 1 at the right end, where the episode ends, else 0.

    From the left end the optimum is `n_cells - 1` steps, all to the right, with return 1.

    Args:
        n_cells: Length of the corridor.
        slip: Probability that a step goes the other way; 0 is deterministic.
        random_start: Start in any cell but the last instead of the first.
        first: Number of the leftmost cell, which shifts the observations.
    """

    def __init__(self, n_cells: int = 5, slip: float = 0.0, random_start: bool = False, first: int = 0) -> None:
        self.observation_space = spaces.Discrete(n_cells, start=first)
        self.action_space = spaces.Discrete(2)
        self._last, self._first = n_cells - 1, first
        self._slip, self._random_start = slip, random_start
        self.cell = 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.int64, dict[str, Any]]:
        super().reset(seed=seed)
        self.cell = int(self.np_random.integers(self._last)) if self._random_start else 0
        return np.int64(self._first + self.cell), {}

    def step(self, action: np.int64) -> tuple[np.int64, float, bool, bool, dict[str, Any]]:
        forward = action == RIGHT
        if self._slip and self.np_random.random() < self._slip:
            forward = not forward
        self.cell = min(self.cell + 1, self._last) if forward else max(self.cell - 1, 0)
        done = self.cell == self._last
        return np.int64(self._first + self.cell), float(done), done, False, {}


class NoisyEnv(gymnasium.Env[NDArray[np.float32], np.int64]):
    """Observations, rewards and ends are drawn from the environment's own generator and depend on every action so far."""

    def __init__(self, end_probability: float = 0.1, says_success: bool = False) -> None:
        self.observation_space = spaces.Box(-np.inf, np.inf, (3,), np.float32)
        self.action_space = spaces.Discrete(3)
        self._end_probability, self._says_success = end_probability, says_success
        self._drift = 0.0

    def _look(self) -> NDArray[np.float32]:
        return (self._drift + self.np_random.normal(size=3)).astype(np.float32)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.float32], dict[str, Any]]:
        super().reset(seed=seed)
        self._drift = 0.0
        return self._look(), {}

    def step(self, action: np.int64) -> tuple[NDArray[np.float32], float, bool, bool, dict[str, Any]]:
        self._drift = 0.9 * self._drift + float(action) - 1.0
        reward = float(self.np_random.normal(self._drift))
        ends, cut = (self.np_random.random(2) < self._end_probability).tolist()
        return self._look(), reward, ends, cut, {"is_success": reward > 0} if self._says_success else {}


class Contrary(gymnasium.Wrapper[Any, Any, Any, Any]):
    """Says of success the opposite of what the reward says."""

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        obs, reward, terminated, truncated, info = super().step(action)
        return obs, reward, terminated, truncated, {**info, "is_success": float(reward) <= 0}


def make_contrary(**kwargs: Any) -> gymnasium.Env[Any, Any]:
    """The corridor whose goal is no success, and whose step limit is one; also an environment factory."""
    return Contrary(make_corridor(**kwargs))


def make_corridor(max_steps: int = 20, **kwargs: Any) -> gymnasium.Env[Any, Any]:
    """The five-cell corridor with a step limit; also an environment factory, `tests.helpers:make_corridor`."""
    return TimeLimit(CorridorEnv(**kwargs), max_steps)


def make_noisy(max_steps: int = 30, **kwargs: Any) -> gymnasium.Env[Any, Any]:
    """The noisy environment with a step limit; also an environment factory, `tests.helpers:make_noisy`."""
    return TimeLimit(NoisyEnv(**kwargs), max_steps)


def corridor(max_steps: int = 20, **kwargs: Any) -> SplitEnv:
    """The corridor with its step split in two."""
    return split_env(make_corridor(max_steps, **kwargs), "corridor")


def noisy(max_steps: int = 30, **kwargs: Any) -> SplitEnv:
    """The noisy environment with its step split in two."""
    return split_env(make_noisy(max_steps, **kwargs), "noisy")


def always_right(horizon: int = 1, n_cells: int = 5) -> TablePlanner:
    """The corridor's optimal planner."""
    return TablePlanner.of_actions([[RIGHT] * horizon] * n_cells, 2)


class Proxy(gymnasium.Env[Any, Any]):
    """Stands for another environment, but is no `gymnasium.Wrapper`."""

    def __init__(self, env: gymnasium.Env[Any, Any]) -> None:
        self.env, self.observation_space, self.action_space = env, env.observation_space, env.action_space

    @property
    def unwrapped(self) -> Any:
        return self.env.unwrapped

    def reset(self, **kwargs: Any) -> Any:
        return self.env.reset(**kwargs)

    def step(self, action: Any) -> Any:
        obs, reward, *rest = self.env.step(action)
        return obs, float(reward) + 1.0, *rest
