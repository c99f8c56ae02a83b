"""What an action is, told without Gymnasium: one of n, one of several at once, or a vector of numbers.

A network answers `n_outputs` numbers for every step of a plan; `plan` turns them into distributions over actions. The
actions of a batch of plans have shape `(batch, horizon, *shape)`.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from phr.errors import InvalidDataError
from phr.plan import Bounds, CategoricalPlan, ContinuousPlan, MultiCategoricalPlan, NetworkPlan

_BOUNDED = 1e6
"""A range wider than this is a way of writing 'anything'."""

CLOSE = 0.1
"""Continuous actions agree where they are no farther apart than this part of half the range."""


class ActionSpace(ABC):
    """A set of actions.

    Attributes:
        shape: Of one action; `()` for a number.
        dtype: Its number type.
    """

    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    @property
    @abstractmethod
    def n_outputs(self) -> int:
        """Numbers that a policy answers for one action; a policy that also tells its spread answers more (`accepts`)."""

    @abstractmethod
    def plan(self, outputs: NDArray[np.float32]) -> NetworkPlan:
        """The distributions that outputs of shape `(batch, horizon, n)` stand for."""

    @abstractmethod
    def certain(self, actions: NDArray[Any]) -> NetworkPlan:
        """A plan that is certain of its actions, which have shape `(batch, horizon, *shape)`."""

    @abstractmethod
    def samples(self, rng: np.random.Generator, n: int) -> list[Any]:
        """N random actions, uniform where the space has bounds."""

    @abstractmethod
    def agree(self, one: NDArray[Any], other: NDArray[Any]) -> NDArray[np.bool_]:
        """Which actions of two arrays `(*batch, *shape)` are the same, shape `(*batch,)`."""

    @abstractmethod
    def check(self, actions: NDArray[Any]) -> None:
        """Refuse actions `(n, *shape)` that are not of this space.

        Raises:
            InvalidDataError: For a wrong shape, number type or value.
        """

    @abstractmethod
    def to_json(self) -> dict[str, Any] | None:
        """Plain JSON values; None for Discrete spaces, which a number tells whole."""

    def accepts(self, n_outputs: int) -> bool:
        """Whether policies over this space may answer so many numbers."""
        return n_outputs == self.n_outputs

    def sample(self, rng: np.random.Generator) -> Any:
        """One random action."""
        return self.samples(rng, 1)[0]


@dataclass(frozen=True)
class Discrete(ActionSpace):
    """The numbers 0 .. n − 1."""

    n: int

    def __post_init__(self) -> None:
        if self.n < 1:
            raise InvalidDataError(f"a Discrete space needs at least one action, got {self.n}")

    shape = ()
    dtype = np.dtype(np.int64)

    def plan(self, outputs: NDArray[np.float32]) -> CategoricalPlan:
        """A categorical distribution for each step."""
        return CategoricalPlan(outputs)

    @property
    def n_outputs(self) -> int:
        """One logit for each action."""
        return self.n

    def certain(self, actions: NDArray[Any]) -> CategoricalPlan:
        """A plan that is certain of its actions."""
        return CategoricalPlan.from_actions(actions, self.n)

    def samples(self, rng: np.random.Generator, n: int) -> list[int]:
        """N random actions."""
        actions: list[int] = rng.integers(self.n, size=n).tolist()
        return actions

    def sample(self, rng: np.random.Generator) -> int:
        """One random action."""
        return int(rng.integers(self.n))

    def agree(self, one: NDArray[Any], other: NDArray[Any]) -> NDArray[np.bool_]:
        """Equal ones."""
        same: NDArray[np.bool_] = one == other
        return same

    def check(self, actions: NDArray[Any]) -> None:
        """Refuse what is no whole number of 0 .. n − 1."""
        if actions.ndim != 1 or actions.dtype.kind not in "iu":
            raise InvalidDataError(f"{self} needs whole-numbered actions (n,), got {actions.dtype} of {actions.shape}")
        if actions.size and not 0 <= actions.min() <= actions.max() < self.n:
            raise InvalidDataError(f"actions lie in {actions.min()}..{actions.max()}, but there are {self.n} logits")

    def to_json(self) -> None:
        """Nothing: a number tells it whole."""
        return None

    def __str__(self) -> str:
        return f"{self.n} actions"


@dataclass(frozen=True)
class MultiDiscrete(ActionSpace):
    """Several choices at once: component i is one of 0 .. nvec[i] − 1."""

    nvec: tuple[int, ...]

    def __post_init__(self) -> None:
        if not self.nvec or min(self.nvec) < 1:
            raise InvalidDataError(f"a MultiDiscrete space needs at least one action in every component, got {self.nvec}")

    dtype = np.dtype(np.int64)

    @property
    def shape(self) -> tuple[int, ...]:  # type: ignore[override]  # a class attribute elsewhere
        """One number for each component."""
        return (len(self.nvec),)

    @property
    def n_outputs(self) -> int:
        """The logits of all components, one after the other."""
        return sum(self.nvec)

    def plan(self, outputs: NDArray[np.float32]) -> MultiCategoricalPlan:
        """Independent categorical distributions."""
        return MultiCategoricalPlan(outputs, self.nvec)

    def certain(self, actions: NDArray[Any]) -> MultiCategoricalPlan:
        """A plan that is certain of its actions."""
        parts = (CategoricalPlan.from_actions(actions[..., i], n).logits for i, n in enumerate(self.nvec))
        return self.plan(np.concatenate([*parts], axis=-1))

    def samples(self, rng: np.random.Generator, n: int) -> list[NDArray[np.int64]]:
        """N random actions."""
        return [*rng.integers(self.nvec, size=(n, len(self.nvec)))]

    def agree(self, one: NDArray[Any], other: NDArray[Any]) -> NDArray[np.bool_]:
        """Equal in every component."""
        same: NDArray[np.bool_] = (one == other).all(axis=-1)
        return same

    def check(self, actions: NDArray[Any]) -> None:
        """Refuse what is outside some component."""
        if actions.shape[1:] != self.shape or actions.dtype.kind not in "iu":
            raise InvalidDataError(
                f"{self} need whole-numbered actions (n, {len(self.nvec)}), got {actions.dtype} of {actions.shape}"
            )
        if actions.size and ((actions < 0) | (actions >= np.array(self.nvec))).any():
            raise InvalidDataError(f"an action lies outside of {self}")

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {"kind": "multi_discrete", "nvec": list(self.nvec)}

    def __str__(self) -> str:
        return f"MultiDiscrete({list(self.nvec)}) actions"


@dataclass(frozen=True)
class Continuous(ActionSpace):
    """Vectors of numbers between two bounds, float32; a bound may be infinite.

    Args:
        low: Least value of every number, the array flattened.
        high: Greatest.
        shape: Of one action.
    """

    low: tuple[float, ...]
    high: tuple[float, ...]
    shape: tuple[int, ...]

    dtype = np.dtype(np.float32)

    def __post_init__(self) -> None:
        fits = len(self.low) == len(self.high) == math.prod(self.shape) > 0
        if not fits or not all(low <= high for low, high in zip(self.low, self.high, strict=True)):
            raise InvalidDataError(
                f"continuous actions of shape {self.shape} need as many bounds, low <= high, got {self.low} and {self.high}"
            )

    @classmethod
    def between(cls, low: NDArray[Any], high: NDArray[Any]) -> Continuous:
        """The space between two arrays; bounds that float32 does not hold are rounded to the inside."""
        down, up = low.astype(np.float32), high.astype(np.float32)
        down = np.where(down < low, np.nextafter(down, np.float32(np.inf)), down)
        up = np.where(up > high, np.nextafter(up, np.float32(-np.inf)), up)
        return cls(tuple(down.ravel().tolist()), tuple(up.ravel().tolist()), low.shape)

    @property
    def n_outputs(self) -> int:
        """The numbers of one action; a policy that tells its spread answers twice as many."""
        return len(self.low)

    def accepts(self, n_outputs: int) -> bool:
        """Actions alone, or actions and the logarithms of their spread."""
        return n_outputs in (self.n_outputs, 2 * self.n_outputs)

    @cached_property
    def bounds(self) -> Bounds:
        """The bounds as arrays, and the unit in which distances count."""
        low, high = np.array(self.low, np.float32), np.array(self.high, np.float32)
        with np.errstate(over="ignore", invalid="ignore"):
            wide = high.astype(np.float64) - low
            bounded = (wide > 0) & (wide <= _BOUNDED)
            center = np.where(bounded, low + wide / 2, np.clip(0.0, low, high)).astype(np.float32)
            unit = np.where(bounded, wide / 2, 1.0).astype(np.float32)
        return Bounds(low, high, center, unit, bounded, self.shape)

    def plan(self, outputs: NDArray[np.float32]) -> ContinuousPlan:
        """Actions, and their spread where the outputs tell it."""
        return ContinuousPlan(outputs, self.bounds)

    def certain(self, actions: NDArray[Any]) -> ContinuousPlan:
        """A plan of these actions."""
        return self.plan(actions.reshape(*actions.shape[:2], self.n_outputs).astype(np.float32))

    def samples(self, rng: np.random.Generator, n: int) -> list[NDArray[np.float32]]:
        """N random actions: uniform where the range is bounded, else normal."""
        at = self.bounds
        size = (n, self.n_outputs)
        numbers = at.center + at.unit * np.where(at.bounded, rng.uniform(-1, 1, size), rng.normal(size=size))
        return [*np.clip(numbers, at.low, at.high).astype(np.float32).reshape(n, *self.shape)]

    def agree(self, one: NDArray[Any], other: NDArray[Any]) -> NDArray[np.bool_]:
        """Those whose numbers are all within `CLOSE` of half the range."""
        apart = np.abs(one - other) <= CLOSE * self.bounds.unit.reshape(self.shape)
        same: NDArray[np.bool_] = apart.all(axis=tuple(range(apart.ndim - len(self.shape), apart.ndim)))
        return same

    def check(self, actions: NDArray[Any]) -> None:
        """Refuse what is not finite; actions out of bounds are cut off by whoever takes them."""
        if actions.shape[1:] != self.shape or actions.dtype.kind != "f":
            raise InvalidDataError(
                f"{self} need float actions of shape {self.shape}, got {actions.dtype} of {actions.shape[1:]}"
            )
        if not np.isfinite(actions).all():
            raise InvalidDataError("a continuous action holds a NaN or an infinity")

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values; None stands for no bound."""
        low, high = ([value if math.isfinite(value) else None for value in side] for side in (self.low, self.high))
        return {"kind": "continuous", "low": low, "high": high, "shape": list(self.shape)}

    def __str__(self) -> str:
        low, high = min(self.low), max(self.high)
        return f"continuous actions of shape {self.shape} in {low:g} .. {high:g}"


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
