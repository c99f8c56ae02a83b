"""Plans: for each of the next steps a distribution over actions, all from one look."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache, reduce
from itertools import accumulate
from typing import Any, ClassVar, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from phr.errors import FOREIGN_ERRORS, IncompatibleModelError, InvalidDataError, PhrError, SettingError, error_text

__all__ = ["ActionArray", "Bounds", "CategoricalPlan", "ContinuousPlan", "FloatArray", "IntArray", "MultiCategoricalPlan"]
__all__ += ["NetworkPlan", "Plan", "Planner", "Smoothing", "Temperature", "repeat_first", "smoothing_of_steps"]
__all__ += ["temperature_of"]

FloatArray = NDArray[np.float32]
IntArray = NDArray[np.int64]
ActionArray = NDArray[Any]
"""Whole numbers, or for continuous actions float32."""
Smoothing = float | tuple[float, ...]
"""ε of the labels in training, (1 − ε)·p + ε/n_actions: that of every step, or one for each step."""
Temperature = tuple[float, ...] | None
"""How sure a plan may be, one number for each step, measured on states that it was not trained on (`phr.distil.calibrate`).
Choices: logits are divided by it (Guo et al. 2017, arXiv:1706.04599, section 4.2), and smoothing does not count. Continuous
actions: it is a factor on the standard deviation, or, in units of half the range, this itself where there is none."""


@runtime_checkable
class Plan(Protocol):
    """`horizon` distributions over actions for each environment of a batch; `action_shape` is `()` for Discrete."""

    @property
    def batch_size(self) -> int:
        """Number of environments planned for."""

    @property
    def horizon(self) -> int:
        """Number of actions planned ahead."""

    def mode(self) -> ActionArray:
        """Most likely action of every step, shape `(batch, horizon, *action_shape)`."""

    def sample(self, rng: np.random.Generator) -> ActionArray:
        """One action drawn for every step, shape `(batch, horizon, *action_shape)`."""

    def confidence(self) -> FloatArray:
        """Probability of `mode()` at every step, in (0, 1], shape `(batch, horizon)`."""


@runtime_checkable
class Planner(Protocol):
    """Anything that turns observations into a plan, numpy in and out: a network, an ONNX session, a search, a table."""

    @property
    def horizon(self) -> int:
        """Actions predicted from one look, >= 1. A teacher has horizon 1."""

    @property
    def n_actions(self) -> int:
        """Size of the discrete action space; of other actions, which an `action_space` describes, numbers output for one."""

    def plan(self, obs: NDArray[Any]) -> Plan:
        """Plan for observations of shape `(batch, *observation_shape)`; NonFiniteError for NaN and Inf, in outputs too."""


@dataclass(frozen=True, eq=False)
class _OfOutputs:
    """A plan that holds a network's outputs, float32, shape `(batch, horizon, n)`."""

    outputs: FloatArray

    @property
    def batch_size(self) -> int:
        """Number of environments planned for."""
        return int(self.outputs.shape[0])

    @property
    def horizon(self) -> int:
        """Number of actions planned ahead."""
        return int(self.outputs.shape[1])


@dataclass(frozen=True, eq=False)
class CategoricalPlan(_OfOutputs):
    """A plan over discrete actions (the paper's policy vector, Eq. 1), trained on labels smoothed by `smoothing`.

    `outputs` are logits, unnormalised log-probabilities, float32, shape `(batch, horizon, n_actions)`; InvalidDataError if
    they do not have three axes, or one of the last two is empty.
    """

    smoothing: Smoothing = 0.0
    temperature: Temperature = None

    def __post_init__(self) -> None:
        shape = self.outputs.shape
        if len(shape) != 3 or 0 in shape[1:]:
            raise InvalidDataError(f"plan logits must have shape (batch, horizon, n_actions), got {shape}")

    @property
    def logits(self) -> FloatArray:
        """The outputs by their name."""
        return self.outputs

    @classmethod
    def from_actions(cls, actions: IntArray, n_actions: int, margin: float = 30.0) -> CategoricalPlan:
        """A plan that is certain of its actions; `actions` has shape `(batch, horizon)`.

        Raises:
            InvalidDataError: If they are not whole numbers in 0 .. n_actions − 1.
        """
        if actions.dtype.kind not in "iu" or (actions.size and not 0 <= actions.min() <= actions.max() < n_actions):
            found = f"{actions.min()}..{actions.max()}" if actions.dtype.kind in "iu" else actions.dtype
            raise InvalidDataError(f"planned actions must be whole numbers in 0..{n_actions - 1}, got {found}")
        logits = np.zeros((*actions.shape, n_actions), dtype=np.float32)
        np.put_along_axis(logits, actions[..., None], margin, axis=-1)
        return cls(logits)

    @cached_property
    def probs(self) -> FloatArray:
        """Softmax of the logits, shape `(batch, horizon, n_actions)`."""
        exp = np.exp(self.logits - self.logits.max(axis=-1, keepdims=True))
        probs: FloatArray = exp / exp.sum(axis=-1, keepdims=True)
        return probs

    def mode(self) -> IntArray:
        """Most likely action of every step; the lowest index wins a tie."""
        actions: IntArray = self.outputs.argmax(axis=-1)
        return actions

    def sample(self, rng: np.random.Generator) -> IntArray:
        """One action drawn for every step, by the Gumbel-max trick."""
        noise = rng.gumbel(size=self.logits.shape).astype(np.float32)
        actions: IntArray = (self.logits + noise).argmax(axis=-1)
        return actions

    def confidence(self) -> FloatArray:
        """Probability of the most likely action at every step, at its temperature, else corrected for label smoothing."""
        # For every look of an agent: ufuncs, because the array methods and np.clip cost microseconds more.
        below = self.outputs - np.maximum.reduce(self.outputs, axis=-1, keepdims=True)
        if self.temperature is not None:
            below /= _row(self.temperature)[:, None]
        most: FloatArray = 1.0 / np.add.reduce(np.exp(below), axis=-1)
        if self.temperature is not None or not self.smoothing:
            return most
        n_actions = self.outputs.shape[-1]
        smoothing = _row(self.smoothing) if isinstance(self.smoothing, tuple) else self.smoothing
        corrected = (most - smoothing / n_actions) / (1.0 - smoothing)
        clipped: FloatArray = np.minimum(np.maximum(corrected, 1.0 / n_actions), 1.0)
        return clipped


@dataclass(frozen=True, eq=False)
class MultiCategoricalPlan(_OfOutputs):
    """A plan over several independent choices at once; `outputs` are the logits of all components, one after the other."""

    nvec: tuple[int, ...]
    smoothing: Smoothing = 0.0
    temperature: Temperature = None

    def __post_init__(self) -> None:
        n, shape = sum(self.nvec), self.outputs.shape
        if self.outputs.ndim != 3 or not self.horizon or shape[2] != n:
            raise InvalidDataError(f"logits of components {self.nvec} must have shape (batch, horizon, {n}), got {shape}")

    @cached_property
    def components(self) -> tuple[CategoricalPlan, ...]:
        """One plan for each component."""
        ends = accumulate(self.nvec)
        parts = [self.outputs[..., end - n : end] for n, end in zip(self.nvec, ends, strict=True)]
        return tuple(CategoricalPlan(part, self.smoothing, self.temperature) for part in parts)

    def mode(self) -> IntArray:
        """Most likely action of every step, shape `(batch, horizon, components)`."""
        return np.stack([each.mode() for each in self.components], axis=-1)

    def sample(self, rng: np.random.Generator) -> IntArray:
        """One action drawn for every step, shape `(batch, horizon, components)`."""
        return np.stack([each.sample(rng) for each in self.components], axis=-1)

    def confidence(self) -> FloatArray:
        """Probability of the most likely action at every step: the product over its components."""
        sure: FloatArray = reduce(np.multiply, [each.confidence() for each in self.components])
        return sure


@dataclass(frozen=True, eq=False)
class Bounds:
    """Where continuous actions lie; every array is flat, float32, one entry for each number of an action.

    Attributes:
        low: May be −∞, as `high` may be ∞.
        center: The middle of the range; where it has no end, the mean of recorded actions, else 0 or the bound next to it.
        unit: Half the range, in which distances count; where it has no end, the spread of recorded actions, else 1.
        bounded: Whether the range has two ends.
        shape: Of one action.
    """

    low: FloatArray
    high: FloatArray
    center: FloatArray
    unit: FloatArray
    bounded: NDArray[np.bool_]
    shape: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class ContinuousPlan(_OfOutputs):
    """A plan over vectors of numbers.

    `outputs` are the actions, flat and before they are cut off at the bounds, shape `(batch, horizon, d)`; or `2 d` numbers,
    the actions and the logarithms of the standard deviations, these in units of half the range.
    """

    bounds: Bounds
    temperature: Temperature = None

    TOLERATED: ClassVar[float] = 0.25
    """`confidence` is the probability that the teacher's action is at most this part of half the range away."""

    def __post_init__(self) -> None:
        n = len(self.bounds.low)
        if self.outputs.ndim != 3 or not self.horizon or self.outputs.shape[2] not in (n, 2 * n):
            raise InvalidDataError(f"a plan of {n} numbers must have shape (batch, horizon, {n}), got {self.outputs.shape}")

    def mode(self) -> FloatArray:
        """The planned actions, cut off at the bounds, shape `(batch, horizon, *action_shape)`."""
        return self._within(self.outputs[..., : len(self.bounds.low)])

    def sample(self, rng: np.random.Generator) -> FloatArray:
        """One action drawn for every step; SettingError if the plan has no standard deviations."""
        spread = self._spread("there is nothing to sample; take the most likely actions")
        means = self.outputs[..., : len(self.bounds.low)]
        return self._within(means + self.bounds.unit * spread * rng.normal(size=means.shape).astype(np.float32))

    def confidence(self) -> FloatArray:
        """Probability that the teacher's action lies within `TOLERATED` of the planned one, in its least sure number."""
        if self.temperature is not None and self.outputs.shape[2] == len(self.bounds.low):
            return _near(self.temperature)[None].repeat(self.batch_size, axis=0)
        spread = np.maximum.reduce(self._spread("commitment 'auto' cannot be used; give a number"), axis=-1)
        return _within_tolerated(spread if self.temperature is None else spread * _row(self.temperature))

    def _spread(self, otherwise: str) -> FloatArray:
        """Standard deviations in units of half the range; `otherwise` is what their absence means."""
        n = len(self.bounds.low)
        if self.outputs.shape[2] == n:
            why = "this plan contains actions, but not how sure it is of them"
            raise SettingError(f"{why}, so {otherwise}, or distil with --loss gaussian")
        return np.exp(self.outputs[..., n:])

    def _within(self, numbers: FloatArray) -> FloatArray:
        cut: FloatArray = np.minimum(np.maximum(numbers, self.bounds.low), self.bounds.high)
        return cut.reshape(*numbers.shape[:2], *self.bounds.shape)


@lru_cache
def _row(values: tuple[float, ...]) -> FloatArray:
    """One number for each step, as an array that nobody changes."""
    return np.array(values, np.float32)


@lru_cache
def _near(temperature: tuple[float, ...]) -> FloatArray:
    """Confidence of continuous plans whose standard deviations are the temperature: the same in every plan."""
    return _within_tolerated(_row(temperature))


def _within_tolerated(spread: FloatArray) -> FloatArray:
    """Probability that a normal error with these standard deviations is at most `ContinuousPlan.TOLERATED`."""
    limits = (ContinuousPlan.TOLERATED / (math.sqrt(2) * spread)).ravel().tolist()  # numpy has no erf
    return np.array([math.erf(limit) for limit in limits], np.float32).reshape(spread.shape)


NetworkPlan = CategoricalPlan | MultiCategoricalPlan | ContinuousPlan
"""Plans that hold a network's `outputs`."""


def smoothing_of_steps(smoothing: float, first: float | None, horizon: int) -> Smoothing:
    """The smoothing of a whole plan; `first` is that of its first step, None where it equals the others."""
    return smoothing if first is None else (first, *(smoothing,) * (horizon - 1))


def temperature_of(values: Mapping[str, Any], horizon: int) -> Temperature:
    """The temperatures among a network's JSON values; ValueError unless there are none, or a positive one for each step."""
    found = values.get("temperature")
    if found is None:
        return None
    numbers = all(type(each) in (int, float) and 0 < each < math.inf for each in found) if isinstance(found, list) else False
    if not numbers or len(found) != horizon:
        raise ValueError(f"temperature must be {horizon} positive numbers, got {found!r}")
    return tuple(map(float, found))


def repeat_first(plan: NetworkPlan, horizon: int) -> NetworkPlan:
    """The distribution of a plan's first step, `horizon` times."""
    outputs = np.repeat(plan.outputs[:, :1], horizon, axis=1)
    first = None if plan.temperature is None else plan.temperature[:1] * horizon
    if isinstance(plan, ContinuousPlan) or not isinstance(plan.smoothing, tuple):
        return replace(plan, outputs=outputs, temperature=first)
    return replace(plan, outputs=outputs, smoothing=plan.smoothing[0], temperature=first)


class Memory:
    """What a planner keeps of the episodes of n environments; this one is of a planner that keeps nothing.

    A planner whose plans depend on all observations of an episode so far, as an LSTM's do, has an attribute `remembers`,
    True, and a method `memory(n)` that returns one of its own, with these methods.
    """

    remembers = False
    """Whether it has to be asked at every step, in order."""

    def __init__(self, planner: Planner) -> None:
        self._planner = planner

    def plan(self, obs: NDArray[Any], lanes: NDArray[Any]) -> Any:
        """Plan for one observation of each of these environments."""
        return ask(self._planner, obs)

    def forget(self, lanes: NDArray[Any]) -> None:
        """Begin a new episode in these environments."""


def memory_of(planner: Planner, n: int) -> Memory:
    """Return a fresh memory for the episodes of n environments."""
    make: Any = getattr(planner, "memory", None)
    made: Memory = make(n) if remembers(planner) else Memory(planner)
    return made


def remembers(planner: object) -> bool:
    """Return whether a planner has a memory of its own."""
    return getattr(planner, "remembers", False) is True


def ask(planner: Planner, obs: NDArray[Any]) -> Any:
    """Return `planner.plan(obs)`, a plan if the planner follows the protocol; IncompatibleModelError if its code fails."""
    try:
        return planner.plan(obs)
    except PhrError:
        raise
    except FOREIGN_ERRORS as error:  # the user's own code
        raise IncompatibleModelError(f"{type(planner).__name__}.plan raised {error_text(error)}") from error
