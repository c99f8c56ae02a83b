"""What an action is, told without Gymnasium: one of n, one of several at once, or a vector of numbers.

A network answers `n_outputs` numbers for every step of a plan; `plan` turns them into distributions over actions. The
actions of a batch of plans have shape `(batch, horizon, *shape)`.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from phr.actions.choices import Discrete, MultiDiscrete
from phr.actions.continuous import CLOSE, Continuous
from phr.actions.space import ActionSpace
from phr.errors import InvalidDataError

__all__ = [
    "CLOSE",
    "ActionSpace",
    "Continuous",
    "Discrete",
    "MultiDiscrete",
    "action_space_from_json",
    "action_space_of",
    "as_space",
    "one_by_one",
    "whole_numbers",
]


def action_space_from_json(values: Any, n_outputs: int) -> ActionSpace:
    """What `to_json` gave.

    Args:
        values: None for a Discrete space.
        n_outputs: Numbers that a policy answers for one action.

    Raises:
        InvalidDataError: If the values describe no space, or one in which policies answer otherwise.
    """
    try:
        space = Discrete(n_outputs) if values is None else _KINDS[values["kind"]](values)
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise InvalidDataError(f"no action space is described by {values!r}") from error
    if not space.accepts(n_outputs):
        raise InvalidDataError(f"{space} do not go with {n_outputs} numbers a step")
    return space


def _continuous(values: dict[str, Any]) -> Continuous:
    low, high = (
        tuple(edge if value is None else _bound(value) for value in _listed(values[name]))
        for name, edge in (("low", -math.inf), ("high", math.inf))
    )
    recorded = None if "recorded" not in values else tuple(_mean_and_unit(pair) for pair in _listed(values["recorded"]))
    return Continuous(low, high, whole_numbers(values["shape"]), recorded)


def _mean_and_unit(pair: Any) -> tuple[float, float]:
    mean, unit = (_bound(value) for value in _listed(pair))
    if not np.float32(unit) > 0:
        raise ValueError(f"{unit!r} is no unit")
    return mean, unit


def _bound(value: Any) -> float:
    if type(value) not in (int, float) or not abs(value) <= _LARGEST:
        raise ValueError(f"{value!r} is no finite number")
    return float(value)


def _listed(values: Any) -> list[Any] | tuple[Any, ...]:
    if not isinstance(values, list | tuple):
        raise TypeError(f"{values!r} is no list")
    return values


def whole_numbers(values: Any, least: int = 1) -> tuple[int, ...]:
    """A list from a file, of whole numbers that are not below `least`.

    Raises:
        TypeError: If it is no list.
        ValueError: If it holds anything else.
    """
    for value in _listed(values):
        if type(value) is not int or value < least:
            raise ValueError(f"{value!r} is no whole number >= {least}")
    return tuple(values)


_LARGEST = float(np.finfo(np.float32).max)

_KINDS: dict[str, Any] = {
    "multi_discrete": lambda values: MultiDiscrete(whole_numbers(values["nvec"])),
    "continuous": _continuous,
}


def as_space(actions: int | ActionSpace) -> ActionSpace:
    """A number stands for a Discrete space."""
    return actions if isinstance(actions, ActionSpace) else Discrete(int(actions))


def action_space_of(planner: Any) -> ActionSpace:
    """The space that something plans in: its `action_space`, or Discrete with its `n_actions`."""
    space: ActionSpace | None = getattr(planner, "action_space", None)
    return Discrete(planner.n_actions) if space is None else space


def one_by_one(actions: NDArray[Any]) -> list[Any]:
    """The actions of an array `(n, *shape)`, as an environment takes them: whole numbers, or arrays of their own."""
    return actions.tolist() if actions.ndim == 1 else [*actions.copy()]
