"""How much error in its own actions a teacher bears: what a student, which always errs a little, can hope to keep.

The teacher plays its episodes once more, sees every observation, and something is done to its actions. What it loses then,
a student loses whose plans err as much, however early it looks again.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from phr.actions import ActionSpace, Continuous
from phr.seeding import Streams
from phr_studies.doctor.asked import Asked
from phr_studies.doctor.world import World, play

ERRORS = (0.0, 0.03, 0.1)
"""Of choices: the share of actions that are random instead. Of numbers: the deviation of a normal error, in halves of their
range; in units where they have none."""


@dataclass(frozen=True, kw_only=True)
class ErrorTolerance:
    """What a teacher collects that errs."""

    episodes: int
    """Episodes for each error, from the same starts."""
    steps: int
    """Most steps of each."""
    continuous: bool
    """Whether errors are added to numbers; otherwise actions are replaced."""
    returns: tuple[float, ...]
    """Mean return over these steps for each of `ERRORS`."""


def bear_errors(world: World, teacher: Asked, *, seed: int, n_episodes: int, max_steps: int) -> ErrorTolerance:
    """Play the teacher with errors of several sizes.

    Args:
        world: Where.
        teacher: Who acts.
        seed: Fixes episodes and errors.
        n_episodes: Episodes for each error.
        max_steps: Most steps of each.
    """
    streams = Streams(seed)
    returns = []
    for error in ERRORS:
        collected = []
        for index in range(n_episodes):
            err = partial(err_by, error, teacher.actions, streams.rng("doctor-errors", index))
            act = partial(_err_after, teacher.act, err)
            collected.append(play(world, streams.integer("doctor-teacher", index), act, max_steps).episode_return)
        returns.append(float(np.mean(collected)))
    continuous = isinstance(teacher.actions, Continuous)
    return ErrorTolerance(episodes=n_episodes, steps=max_steps, continuous=continuous, returns=tuple(returns))


def _err_after(act: Callable[[Any], Any], err: Callable[[Any], Any], obs: Any) -> Any:
    return err(act(obs))


def err_by(error: float, actions: ActionSpace, rng: np.random.Generator, action: Any) -> Any:
    """An action with an error.

    Args:
        error: How large (`ERRORS`).
        actions: What it is of.
        rng: Where the error comes from; as much is drawn for every size of it.
        action: The right one.

    Returns:
        The action itself for an error of 0; numbers are cut off at their bounds.
    """
    if not isinstance(actions, Continuous):
        instead, chance = actions.sample(rng), rng.random()
        return instead if chance < error else action
    at, noise = actions.bounds, rng.normal(size=actions.shape)
    if not error:
        return action
    low, high, unit = (side.reshape(actions.shape) for side in (at.low, at.high, at.unit))
    return np.clip(action + error * unit * noise, low, high).astype(actions.dtype)
