"""What an action is, described without Gymnasium: one of n, one of several at once, or a vector of numbers.

A network outputs `n_outputs` numbers for every step of a plan; `plan` turns them into distributions over actions. The
actions of a batch of plans have shape `(batch, horizon, *shape)`.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from phr.errors import InvalidDataError, SettingError
from phr.plan import Bounds, CategoricalPlan, ContinuousPlan, MultiCategoricalPlan, NetworkPlan, Smoothing, Temperature

__all__ = ["CLOSE", "ActionSpace", "Continuous", "Discrete", "MultiDiscrete", "action_space_from_json", "action_space_of"]
__all__ += ["as_space", "one_by_one", "whole_numbers"]

CLOSE = 0.1
"""Continuous actions agree where they are no farther apart than this part of half the range."""

_LARGEST = float(np.finfo(np.float32).max)
"""A range that float32 does not hold is a way of writing 'anything'."""


class ActionSpace(ABC):
    """A set of actions; `shape` is that of one of them, `()` for a number."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    @property
    @abstractmethod
    def n_outputs(self) -> int:
        """Numbers that a policy outputs for one action; with standard deviations there are more (`accepts`)."""

    @abstractmethod
    def plan(self, outputs: NDArray[np.float32], smoothing: Smoothing = 0.0, temperature: Temperature = None) -> NetworkPlan:
        """Turn outputs of shape `(batch, horizon, n)` into distributions; for the other arguments see `phr.plan`."""

    @abstractmethod
    def certain(self, actions: NDArray[Any]) -> NetworkPlan:
        """A plan that is certain of its actions, which have shape `(batch, horizon, *shape)`."""

    @abstractmethod
    def samples(self, rng: np.random.Generator, n: int) -> list[Any]:
        """N random actions, uniform where the space has bounds."""

    @abstractmethod
    def check(self, actions: NDArray[Any]) -> None:
        """Refuse actions `(n, *shape)` of a wrong shape, number type or value."""

    def agree(self, one: NDArray[Any], other: NDArray[Any]) -> NDArray[np.bool_]:
        """Which actions of two arrays `(*batch, *shape)` are the same, continuous ones by `CLOSE`; shape `(*batch,)`."""
        same: NDArray[np.bool_] = self._equal(one, other).all(axis=tuple(range(-len(self.shape), 0)))
        return same

    def _equal(self, one: NDArray[Any], other: NDArray[Any]) -> Any:
        return one == other

    def to_json(self) -> dict[str, Any] | None:
        """Plain JSON values; None for Discrete spaces, which the number of outputs defines."""
        return None

    def accepts(self, n_outputs: int) -> bool:
        """Whether a policy over this space may output so many numbers."""
        return n_outputs == self.n_outputs

    def sample(self, rng: np.random.Generator) -> Any:
        """One random action."""
        return self.samples(rng, 1)[0]

    @property
    def choices(self) -> tuple[int, ...]:
        """How many actions each component has to choose from; empty for numbers."""
        return ()

    def legal(self, masks: Any) -> NDArray[np.bool_]:
        """Return masks, one flag for each choice of every component in a row, if they are ones that leave some action.

        SettingError for continuous actions, InvalidDataError for other masks.
        """
        n = sum(self.choices)
        if not n:
            raise SettingError(f"action masks are for discrete actions, not for {self}")
        try:
            found = np.asarray(masks)
        except Exception:  # ragged lists, tensors on another device
            found = np.empty(0)
        if found.shape != (n,) or found.dtype.kind not in "biuf" or not np.isin(found, (0, 1)).all():
            shown = " ".join(repr(masks).split())
            raise InvalidDataError(f"action masks of {self} are {n} flags, 0 or 1, got {shown:.80}")
        legal: NDArray[np.bool_] = found.astype(bool)
        if not all(part.any() for part in self._by_component(legal)):
            raise InvalidDataError(f"these action masks leave nothing to choose: {legal.astype(int).tolist()!s:.80}")
        return legal

    def is_legal(self, action: Any, legal: NDArray[np.bool_]) -> bool:
        """Return whether what `legal` returned allows an action."""
        chosen = np.ravel(action).tolist()
        return all(part[each] for part, each in zip(self._by_component(legal), chosen, strict=True))

    def _by_component(self, flags: NDArray[np.bool_]) -> list[NDArray[np.bool_]]:
        return np.split(flags, np.cumsum(self.choices)[:-1])


@dataclass(frozen=True)
class Discrete(ActionSpace):
    """The numbers 0 .. n − 1."""

    n: int

    shape = ()
    dtype = np.dtype(np.int64)

    def __post_init__(self) -> None:
        if self.n < 1:
            raise InvalidDataError(f"a Discrete space needs at least one action, got {self.n}")

    @property
    def n_outputs(self) -> int:
        """One logit for each action."""
        return self.n

    @property
    def choices(self) -> tuple[int, ...]:
        """One of n."""
        return (self.n,)

    def plan(
        self, outputs: NDArray[np.float32], smoothing: Smoothing = 0.0, temperature: Temperature = None
    ) -> CategoricalPlan:
        """A categorical distribution for each step."""
        return CategoricalPlan(outputs, smoothing, temperature)

    def certain(self, actions: NDArray[Any]) -> CategoricalPlan:
        """A plan that is certain of its actions."""
        return CategoricalPlan.from_actions(actions, self.n)

    def samples(self, rng: np.random.Generator, n: int) -> list[int]:
        """N random actions."""
        return [*rng.integers(self.n, size=n).tolist()]

    def check(self, actions: NDArray[Any]) -> None:
        """Refuse anything but whole numbers in 0 .. n − 1."""
        if actions.ndim != 1 or actions.dtype.kind not in "iu":
            raise InvalidDataError(f"{self} needs whole-numbered actions (n,), got {actions.dtype} of {actions.shape}")
        if actions.size and not 0 <= actions.min() <= actions.max() < self.n:
            raise InvalidDataError(f"actions lie in {actions.min()}..{actions.max()}, but there are {self.n} logits")

    def __str__(self) -> str:
        return f"{self.n} actions"


@dataclass(frozen=True)
class MultiDiscrete(ActionSpace):
    """Several choices at once: component i is one of 0 .. nvec[i] − 1."""

    nvec: tuple[int, ...]

    dtype = np.dtype(np.int64)

    def __post_init__(self) -> None:
        if not self.nvec or min(self.nvec) < 1:
            raise InvalidDataError(f"a MultiDiscrete space needs at least one action in every component, got {self.nvec}")

    @property
    def shape(self) -> tuple[int, ...]:  # type: ignore[override]  # a class attribute elsewhere
        """One number for each component."""
        return (len(self.nvec),)

    @property
    def n_outputs(self) -> int:
        """The logits of all components, one after the other."""
        return sum(self.nvec)

    @property
    def choices(self) -> tuple[int, ...]:
        """One of each component."""
        return self.nvec

    def plan(
        self, outputs: NDArray[np.float32], smoothing: Smoothing = 0.0, temperature: Temperature = None
    ) -> MultiCategoricalPlan:
        """Independent categorical distributions."""
        return MultiCategoricalPlan(outputs, self.nvec, smoothing, temperature)

    def certain(self, actions: NDArray[Any]) -> MultiCategoricalPlan:
        """A plan that is certain of its actions."""
        parts = (CategoricalPlan.from_actions(actions[..., i], n).logits for i, n in enumerate(self.nvec))
        return self.plan(np.concatenate([*parts], axis=-1))

    def samples(self, rng: np.random.Generator, n: int) -> list[NDArray[np.int64]]:
        """N random actions."""
        return [*rng.integers(self.nvec, size=(n, len(self.nvec)))]

    def check(self, actions: NDArray[Any]) -> None:
        """Refuse what is outside some component."""
        if actions.shape[1:] != self.shape or actions.dtype.kind not in "iu":
            found = f"{actions.dtype} of {actions.shape}"
            raise InvalidDataError(f"{self} need whole-numbered actions (n, {len(self.nvec)}), got {found}")
        if actions.size and ((actions < 0) | (actions >= np.array(self.nvec))).any():
            raise InvalidDataError(f"an action lies outside of {self}")

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {"kind": "multi_discrete", "nvec": list(self.nvec)}

    def __str__(self) -> str:
        return f"MultiDiscrete({list(self.nvec)}) actions"


@dataclass(frozen=True)
class Continuous(ActionSpace):
    """Vectors of float32 numbers between two bounds, which may be infinite; one bound for each number of the flat array."""

    low: tuple[float, ...]
    high: tuple[float, ...]
    shape: tuple[int, ...]
    recorded: tuple[tuple[float, float], ...] | None = field(default=None, compare=False)
    """Mean and spread of each number in a teacher's actions: center and unit of those without end. Not part of `==`."""

    dtype = np.dtype(np.float32)

    def __post_init__(self) -> None:
        fits = all(side > 0 for side in self.shape) and len(self.low) == len(self.high) == math.prod(self.shape)
        fits = fits and (self.recorded is None or len(self.recorded) == len(self.low))
        if not fits or not all(low <= high for low, high in zip(self.low, self.high, strict=True)):
            raise InvalidDataError(
                f"actions of shape {self.shape} need as many bounds, low <= high: {self.low}, {self.high}"
            )

    @classmethod
    def between(cls, low: NDArray[Any], high: NDArray[Any]) -> Continuous:
        """The space between two arrays.

        Bounds that float32 does not hold are rounded to the inside; where there is no float32 between them, to the nearest.
        """
        nearest_low, nearest_high = low.astype(np.float32), high.astype(np.float32)
        down = np.where(nearest_low < low, np.nextafter(nearest_low, np.float32(np.inf)), nearest_low)
        up = np.where(nearest_high > high, np.nextafter(nearest_high, np.float32(-np.inf)), nearest_high)
        none_between = down > up
        down, up = np.where(none_between, nearest_low, down), np.where(none_between, nearest_high, up)
        return cls(tuple(down.ravel().tolist()), tuple(up.ravel().tolist()), low.shape)

    def measured_on(self, actions: NDArray[Any]) -> Continuous:
        """The space with the mean and the standard deviation of recorded actions, shape `(n, *shape)`.

        A number that never varied has its own size as its unit, or 1 if it is 0. No unit is below float32's smallest normal
        number, whose reciprocal float32 still holds.
        """
        if self.bounds.bounded.all():
            return self
        numbers = actions.reshape(len(actions), -1).astype(np.float64)
        means, spreads = numbers.mean(axis=0), numbers.std(axis=0)
        varies = spreads > np.abs(means) * np.finfo(np.float32).eps
        units = np.where(varies, spreads, np.where(means != 0, np.abs(means), 1.0))
        units = np.maximum(units, np.finfo(np.float32).tiny)
        return replace(self, recorded=tuple(zip(means.tolist(), units.tolist(), strict=True)))

    @property
    def n_outputs(self) -> int:
        """The numbers of one action; a policy with standard deviations outputs twice as many."""
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
            bounded = ((wide / 2).astype(np.float32) > 0) & (wide <= _LARGEST)
            means, units = ([0.0], [1.0]) if self.recorded is None else zip(*self.recorded, strict=True)
            center = np.where(bounded, low + wide / 2, np.clip(means, low, high)).astype(np.float32)
            unit = np.where(bounded, wide / 2, units).astype(np.float32)
        return Bounds(low, high, center, unit, bounded, self.shape)

    def plan(
        self, outputs: NDArray[np.float32], smoothing: Smoothing = 0.0, temperature: Temperature = None
    ) -> ContinuousPlan:
        """Actions, and their spread where the outputs contain it; there is nothing to smooth."""
        return ContinuousPlan(outputs, self.bounds, temperature)

    def certain(self, actions: NDArray[Any]) -> ContinuousPlan:
        """A plan of these actions."""
        return self.plan(actions.reshape(*actions.shape[:2], self.n_outputs).astype(np.float32))

    def samples(self, rng: np.random.Generator, n: int) -> list[NDArray[np.float32]]:
        """N random actions: uniform where the range is bounded, else normal."""
        at, size = self.bounds, (n, self.n_outputs)
        numbers = at.center + at.unit * np.where(at.bounded, rng.uniform(-1, 1, size), rng.normal(size=size))
        return [*np.clip(numbers, at.low, at.high).astype(np.float32).reshape(n, *self.shape)]

    def _equal(self, one: NDArray[Any], other: NDArray[Any]) -> Any:
        return np.abs(one - other) <= CLOSE * self.bounds.unit.reshape(self.shape)

    def check(self, actions: NDArray[Any]) -> None:
        """Refuse what is not finite; actions out of bounds are allowed."""
        if actions.shape[1:] != self.shape or actions.dtype.kind != "f":
            found = f"{actions.dtype} of {actions.shape[1:]}"
            raise InvalidDataError(f"{self} need float actions of shape {self.shape}, got {found}")
        if not np.isfinite(actions).all():
            raise InvalidDataError("a continuous action contains NaN or Inf")

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values; None means no bound."""
        low, high = ([value if math.isfinite(value) else None for value in side] for side in (self.low, self.high))
        values: dict[str, Any] = {"kind": "continuous", "low": low, "high": high, "shape": list(self.shape)}
        if self.recorded is not None:
            values["recorded"] = [list(pair) for pair in self.recorded]
        return values

    def __str__(self) -> str:
        return f"continuous actions of shape {self.shape} in {min(self.low):g} .. {max(self.high):g}"


def action_space_from_json(values: Any, n_outputs: int) -> ActionSpace:
    """Read the values of `to_json`; InvalidDataError if they describe no space, or one without `n_outputs` outputs."""
    try:
        if values is None:
            space: ActionSpace = Discrete(n_outputs)
        elif values["kind"] == "multi_discrete":
            space = MultiDiscrete(whole_numbers(values["nvec"]))
        elif values["kind"] == "continuous":
            low, high = (
                tuple(edge if value is None else _finite(value) for value in _listed(values[name]))
                for name, edge in (("low", -math.inf), ("high", math.inf))
            )
            recorded = None if "recorded" not in values else tuple(map(_mean_and_unit, _listed(values["recorded"])))
            space = Continuous(low, high, whole_numbers(values["shape"]), recorded)
        else:
            raise ValueError(values["kind"])
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise InvalidDataError(f"no action space is described by {values!r}") from error
    if not space.accepts(n_outputs):
        raise InvalidDataError(f"{space} do not go with {n_outputs} numbers a step")
    return space


def _mean_and_unit(pair: Any) -> tuple[float, float]:
    mean, unit = map(_finite, _listed(pair))
    if not np.float32(unit) > 0:
        raise ValueError(f"the unit must be positive, got {unit!r}")
    return mean, unit


def _finite(value: Any) -> float:
    if type(value) not in (int, float) or not abs(value) <= _LARGEST:
        raise ValueError(f"expected a finite number, got {value!r}")
    return float(value)


def _listed(values: Any) -> list[Any] | tuple[Any, ...]:
    if not isinstance(values, list | tuple):
        raise TypeError(f"expected a list, got {values!r}")
    return values


def whole_numbers(values: Any) -> tuple[int, ...]:
    """A list from a file, of whole numbers >= 1; TypeError or ValueError for anything else."""
    for value in _listed(values):
        if type(value) is not int or value < 1:
            raise ValueError(f"expected a whole number >= 1, got {value!r}")
    return tuple(values)


def as_space(actions: int | ActionSpace) -> ActionSpace:
    """The space itself, or the Discrete space with so many actions."""
    return actions if isinstance(actions, ActionSpace) else Discrete(int(actions))


def action_space_of(planner: Any) -> ActionSpace:
    """The space that something plans in: its `action_space`, or Discrete with its `n_actions`."""
    space: ActionSpace | None = getattr(planner, "action_space", None)
    return Discrete(planner.n_actions) if space is None else space


def one_by_one(actions: NDArray[Any]) -> list[Any]:
    """The actions of an array `(n, *shape)`, as an environment takes them: whole numbers, or arrays of their own."""
    return actions.tolist() if actions.ndim == 1 else [*actions.copy()]
