"""Contestants that take turns, and what their rounds add up to.

A machine is faster in one minute than in the next. So contestants alternate in one process, a ratio is taken within a round,
and the median over the rounds is what counts; lowest and highest stand beside it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from phr.envs import SplitEnv
from phr.errors import InvalidDataError, SettingError
from phr.storage import Model

Measured = Mapping[str, float]
"""What one round of one contestant yields; of loops at least `seconds_wall`, `steps` and `score`."""

Spread = dict[str, Any]
"""`median`, `low`, `high` and the values of all `rounds`, in order."""


@dataclass(frozen=True)
class Contestant:
    """One who takes part.

    Attributes:
        name: For the tables.
        play: Measures one round; the argument is the round's number, from 0. What it has to set up, it sets up before the
            first round.
    """

    name: str
    play: Callable[[int], Measured]


@dataclass(frozen=True)
class Arena:
    """Where the loops of one table are run: everything that a peer needs to take part.

    Attributes:
        env_id: The environment.
        env: The same, with its step split in two.
        model: Whose weights act.
        seconds_per_run: How long one round of one contestant should take.
        seed: Round k begins with `seed + k`.
    """

    env_id: str
    env: SplitEnv
    model: Model
    seconds_per_run: float
    seed: int


Peer = Callable[[Arena], Contestant]
"""Prepares a contestant; raises a `UsageError` where it cannot take part, which becomes the text of its row."""


def alternate(contestants: Sequence[Contestant], rounds: int) -> dict[str, list[Measured]]:
    """Let all contestants play every round before the next begins; odd rounds go backwards.

    Nobody has the same neighbour before him in all rounds, so what one leaves behind (heat, caches) does not always fall to
    the same one.

    Returns:
        Name → one entry per round.

    Raises:
        SettingError: If there is no round.
        InvalidDataError: If two contestants have the same name.
    """
    if rounds < 1:
        raise SettingError(f"a bench needs at least one round, got {rounds}")
    measured: dict[str, list[Measured]] = {each.name: [] for each in contestants}
    if len(measured) < len(contestants):
        raise InvalidDataError(f"contestants need different names, got {[each.name for each in contestants]}")
    for index in range(rounds):
        for each in reversed(contestants) if index % 2 else contestants:
            measured[each.name].append(each.play(index))
    return measured


def spread(values: Sequence[float]) -> Spread:
    """Median, lowest and highest over the rounds.

    Raises:
        InvalidDataError: If there is no value.
    """
    if not values:
        raise InvalidDataError("a spread needs at least one round")
    rounds = [float(value) for value in values]
    return {"median": float(np.median(rounds)), "low": min(rounds), "high": max(rounds), "rounds": rounds}


def ratio(above: Spread, below: Spread) -> Spread | None:
    """Spread of the ratios within each round; None where a denominator is not positive.

    Raises:
        InvalidDataError: If one has more rounds than the other.
    """
    over, under = above["rounds"], below["rounds"]
    if len(over) != len(under):
        raise InvalidDataError(f"a ratio needs the same rounds on both sides, got {len(over)} and {len(under)}")
    if min(under) <= 0:
        return None
    return spread([a / b for a, b in zip(over, under, strict=True)])


def summed_up(rounds: Sequence[Measured]) -> dict[str, Spread]:
    """The rates of a loop over its rounds: `seconds_per_100k_steps` and `score_per_second`."""
    return {
        "seconds_per_100k_steps": spread([1e5 * each["seconds_wall"] / each["steps"] for each in rounds]),
        "score_per_second": spread([each["score"] / each["seconds_wall"] for each in rounds]),
    }
