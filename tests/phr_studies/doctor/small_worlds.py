"""Environments with one fault or one habit each."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

Obs = NDArray[np.float32]
Step = tuple[Obs, float, bool, bool, dict[str, Any]]


class Coins(gymnasium.Env[Obs, Any]):
    """Shows a fair coin every `period` steps, the one before it in between; an episode has 12 steps.

    Args:
        period: Steps between two throws.
    """

    def __init__(self, period: int = 1) -> None:
        self.observation_space = spaces.Box(0.0, 1.0, (1,), np.float32)
        self.action_space: spaces.Space[Any] = spaces.Discrete(2)
        self._period, self._steps, self._coin = period, 0, 0

    def _look(self) -> Obs:
        if self._steps % self._period == 0:
            self._coin = int(self.np_random.integers(2))
        return np.array([self._coin], np.float32)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Obs, dict[str, Any]]:
        super().reset(seed=seed)
        self._steps = 0
        return self._look(), {}

    def step(self, action: Any) -> Step:
        self._steps += 1
        return self._look(), 1.0, self._steps == 12, False, {}


class OnlyOne(Coins):
    """Coins of a simulator that can be open once."""

    n_open = 0

    def __init__(self) -> None:
        if OnlyOne.n_open:
            raise OSError("in use")
        OnlyOne.n_open += 1
        super().__init__()

    def close(self) -> None:
        OnlyOne.n_open -= 1


class ManyCoins(Coins):
    """The same with a continuous action."""

    def __init__(self) -> None:
        super().__init__()
        self.action_space = spaces.Box(-1.0, 1.0, (2,), np.float32)


class Guessing(Coins):
    """Pays for the action that the coin shows."""

    def step(self, action: Any) -> Step:
        right = float(action == self._coin)
        obs, _, terminated, truncated, info = super().step(action)
        return obs, right, terminated, truncated, info


class Flipping(Guessing):
    """Pays the same, and flips its coin with probability 1/5 in each step."""

    def _look(self) -> Obs:
        thrown = self._steps == 0 or self.np_random.random() < 0.2
        if thrown:
            self._coin = int(self.np_random.integers(2)) if self._steps == 0 else 1 - self._coin
        return np.array([self._coin], np.float32)


class Echo(Coins):
    """Shows the action that was executed; no chance of its own."""

    def step(self, action: Any) -> Step:
        self._coin = int(action)
        return super().step(action)

    def _look(self) -> Obs:
        return np.array([self._coin], np.float32)


class Hiding(Echo):
    """Always shows 0; after each reset a seed decides the length of the episode."""

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Obs, dict[str, Any]]:
        super().reset(seed=seed)
        self._steps = int(self.np_random.integers(8))
        return self._look(), {}

    def _look(self) -> Obs:
        return np.zeros(1, np.float32)


class Aiming(Coins):
    """Takes the square of every number of an action away; their range is twice as wide as usual."""

    def __init__(self) -> None:
        super().__init__()
        self.action_space = spaces.Box(-2.0, 2.0, (2, 1), np.float32)

    def step(self, action: Any) -> Step:
        obs, _, terminated, truncated, info = super().step(action)
        return obs, -float(np.square(action).sum()), terminated, truncated, info


class OddCoins(Coins):
    """The same with actions that phr does not plan over."""

    def __init__(self) -> None:
        super().__init__()
        self.action_space = spaces.Box(0, 9, (2,), np.int64)


class Rescaling(Coins):
    """Doubles the array of the action that it is given; the sum of its numbers is the reward."""

    def __init__(self) -> None:
        super().__init__()
        self.action_space = spaces.Box(-1.0, 1.0, (2,), np.float32)

    def step(self, action: Any) -> Step:
        action *= 2
        obs, _, terminated, truncated, info = super().step(action)
        return obs, float(action.sum()), terminated, truncated, info


class OddRescaling(Rescaling):
    """The same with actions that phr does not plan over."""

    def __init__(self) -> None:
        super().__init__()
        self.action_space = spaces.Box(-9, 9, (2,), np.int64)


class Breaking(Coins):
    """Raises in its first step."""

    def step(self, action: Any) -> Step:
        raise RuntimeError("boom")


class Outdated(Coins):
    """Draws its chance from a generator of numpy's old kind."""

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Obs, dict[str, Any]]:
        self.np_random = np.random.RandomState(seed)  # type: ignore[assignment]
        self._steps = 0
        return self._look(), {}

    def _look(self) -> Obs:
        return np.array([self.np_random.randint(2)], np.float32)  # type: ignore[attr-defined]


class Carrying(Coins):
    """Rewards by the number of episodes so far, which no reset takes back."""

    def __init__(self) -> None:
        super().__init__()
        self._played = 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Obs, dict[str, Any]]:
        self._played += 1
        return super().reset(seed=seed)

    def step(self, action: Any) -> Step:
        obs, _, terminated, truncated, info = super().step(action)
        return obs, float(self._played), terminated, truncated, info


class Unseeded(Coins):
    """Throws its coin with dice that no seed reaches."""

    def _look(self) -> Obs:
        return np.random.default_rng().random(1, dtype=np.float32)


class Wide(Coins):
    """Shows float64 where it promises float32."""

    def _look(self) -> Any:
        return super()._look().astype(np.float64)


def follow(obs: NDArray[Any]) -> NDArray[np.int64]:
    """Plays what the coin shows: no plan outlives a throw but by luck."""
    return obs[:, 0].astype(np.int64)


def make_follower() -> Any:
    """The same as a factory, for the command line."""
    return follow


class Raising(Coins):
    """Fails in mid-episode."""

    def step(self, action: Any) -> Step:
        if self._steps == 5:
            raise ValueError("no such\ncell")
        return super().step(action)


class Ancient(Coins):
    """Has the reset of old Gym."""

    def reset(self) -> Any:  # type: ignore[override]
        return super().reset()


class Paying(Coins):
    """Pays what is no number."""

    def step(self, action: Any) -> Step:
        obs, _, terminated, truncated, info = super().step(action)
        return obs, float("nan"), terminated, truncated, info


class OddUnpaid(OddCoins):
    """The same without a reward."""

    def step(self, action: Any) -> Step:
        obs, _, *ending = super().step(action)
        return (obs, None, *ending)  # type: ignore[return-value]
