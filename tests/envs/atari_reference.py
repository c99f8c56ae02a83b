"""Shared Atari environments, and preprocessing the slow way: frame by frame through ale-py's, every frame prepared."""

from __future__ import annotations

import functools
from collections import deque
from typing import Any

import cv2
import gymnasium
import numpy as np
from numpy.typing import NDArray

from phr.envs.atari import AtariSplitEnv, register_old_names
from phr.envs.registry import make_env


@functools.cache
def atari(env_id: str, copy: int = 0) -> AtariSplitEnv:
    """Environments are slow to make and start anew with every seed, so tests share them."""
    env = make_env(env_id)
    assert isinstance(env, AtariSplitEnv)
    return env


class SlowAtari:
    """Steps `frame_skip` frames, shows the last four decisions: grey, maximum of two frames, resized.

    With `fire`, presses NOOP, FIRE and the next action for one decision each after a lost life, the last two at the start.
    """

    def __init__(self, game_id: str, frame_skip: int = 4, fire: bool = False) -> None:
        register_old_names()
        made = gymnasium.make(game_id, frameskip=1, repeat_action_probability=0.0, obs_type="grayscale")
        self.env: Any = made.unwrapped
        self._frame_skip, self._fire = frame_skip, fire

    def begin(self, n_noops: int) -> None:
        screen, _ = self.env.reset(seed=0)
        for _ in range(n_noops):
            screen, *_ = self.env.step(0)
        self._stack = deque([np.zeros((84, 84), np.uint8)] * 3 + [self._small(screen)], maxlen=4)
        if self._fire:
            self._decide(1)
            self._decide(2)

    def step(self, action: int) -> tuple[float, bool]:
        lives = self.env.ale.lives()
        total, terminated = self._decide(action)
        if self._fire and 0 < self.env.ale.lives() < lives:
            for press in (0, 1, 2):
                reward, terminated = self._decide(press)
                total += reward
        return total, terminated

    def _decide(self, action: int) -> tuple[float, bool]:
        screens: list[NDArray[Any]] = []
        total = 0.0
        for _ in range(self._frame_skip):
            screen, reward, terminated, _, _ = self.env.step(action)
            screens.append(screen)
            total += reward
        self._stack.append(self._small(np.max(screens[-2:], axis=0)))
        return total, terminated

    @property
    def obs(self) -> NDArray[Any]:
        return np.stack(self._stack)

    def _small(self, screen: NDArray[Any]) -> NDArray[Any]:
        return np.asarray(cv2.resize(screen, (84, 84), interpolation=cv2.INTER_AREA))
