"""Actions that are whole numbers: one of n, or several of these at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from phr.actions.space import ActionSpace
from phr.errors import InvalidDataError
from phr.plan import CategoricalPlan, MultiCategoricalPlan, Smoothing


@dataclass(frozen=True)
class Discrete(ActionSpace):
    """The numbers 0 .. n − 1."""

    n: int

    def __post_init__(self) -> None:
        if self.n < 1:
            raise InvalidDataError(f"a Discrete space needs at least one action, got {self.n}")

    shape = ()
    dtype = np.dtype(np.int64)

    def plan(self, outputs: NDArray[np.float32], smoothing: Smoothing = 0.0) -> CategoricalPlan:
        """A categorical distribution for each step."""
        return CategoricalPlan(outputs, smoothing)

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

    def plan(self, outputs: NDArray[np.float32], smoothing: Smoothing = 0.0) -> MultiCategoricalPlan:
        """Independent categorical distributions."""
        return MultiCategoricalPlan(outputs, self.nvec, smoothing)

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
