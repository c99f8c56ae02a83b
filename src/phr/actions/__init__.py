"""What an action is, told without Gymnasium: one of n, one of several at once, or a vector of numbers.

A network answers `n_outputs` numbers for every step of a plan; `plan` turns them into distributions over actions. The
actions of a batch of plans have shape `(batch, horizon, *shape)`.
"""

from __future__ import annotations

import math
from typing import Any

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
    except (KeyError, TypeError, ValueError) as error:
        raise InvalidDataError(f"no action space is described by {values!r}") from error
    if not space.accepts(n_outputs):
        raise InvalidDataError(f"{space} do not go with {n_outputs} numbers a step")
    return space


def _continuous(values: dict[str, Any]) -> Continuous:
    sides = (
        tuple(edge if value is None else float(value) for value in values[name])
        for name, edge in (("low", -math.inf), ("high", math.inf))
    )
    low, high = sides
    return Continuous(low, high, tuple(int(side) for side in values["shape"]))


_KINDS: dict[str, Any] = {
    "multi_discrete": lambda values: MultiDiscrete(tuple(int(n) for n in values["nvec"])),
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
