"""Observations to compare two backends on: some that an environment gives, some that nothing ever gave."""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from phr.actions import one_by_one
from phr.envs.split import SplitEnv
from phr.errors import BrokenEnvironmentError
from phr.protocols import Planner

_EPISODES = 16
"""Fewest episodes that share the observations, so that a long game does not fill them with its first minute."""
_PATIENCE = 20
"""Steps to play per observation asked for; an environment with few states has no more of them."""
_LARGEST = float(np.finfo(np.float32).max)
"""A range wider than this stands for 'anything'."""


def meet_observations(planner: Planner, env: SplitEnv, n: int, rng: np.random.Generator) -> NDArray[Any]:
    """Distinct observations on the planner's own way and off it: every second episode is played at random.

    An environment that refuses a random action is played by the planner alone from then on; one that refuses an action of
    the planner begins another episode.

    Args:
        planner: Looks at every step and takes its most likely action.
        env: Where.
        n: Observations wanted.
        rng: Draws seeds and random actions.

    Returns:
        Shape `(m, *observation_shape)` in random order, 1 <= m <= n; fewer than n where the environment has no more.
    """
    found: dict[bytes, NDArray[Any]] = {}
    n_steps = episode = 0
    random_play = True
    while len(found) < n and n_steps < _PATIENCE * n:
        wanted = min(n, len(found) + max(1, n // _EPISODES))
        env.reset(int(rng.integers(2**31)))
        done = False
        while not done and len(found) < wanted and n_steps < _PATIENCE * n:
            obs = env.observe()
            found.setdefault(obs.tobytes(), obs.copy())
            at_random = random_play and episode % 2 == 1
            action = env.action_space.sample(rng) if at_random else one_by_one(planner.plan(obs[None]).mode()[:, 0])[0]
            n_steps += 1
            try:
                _, terminated, truncated, _ = env.advance(action)
            except BrokenEnvironmentError:
                random_play = random_play and not at_random
                break
            done = terminated or truncated
        episode += 1
    return rng.permutation(np.stack(list(found.values())))


def random_observations(space: spaces.Box, n: int, rng: np.random.Generator) -> NDArray[Any]:
    """Values drawn evenly between the bounds; where a range has no end, from a normal distribution cut off at them.

    Returns:
        Shape `(n, *space.shape)`, of the space's number type.
    """
    dtype: Any = space.dtype
    shape = (n, *space.shape)
    if dtype.kind in "biu":
        low, high = np.asarray(space.low, dtype), np.asarray(space.high, dtype)
        return rng.integers(low, high, shape, dtype, endpoint=True)
    low, high = space.low.astype(np.float64), space.high.astype(np.float64)
    with np.errstate(over="ignore"):
        bounded = high - low <= _LARGEST
    even = rng.uniform(np.where(bounded, low, 0.0), np.where(bounded, high, 1.0), shape)
    values = np.where(bounded, even, np.clip(rng.normal(size=shape), low, high))
    return values.astype(dtype)
