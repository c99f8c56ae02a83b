"""Observation statistics of a policy (Stable-Baselines3's `VecNormalize`), read without running their pickle."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from torch import Tensor

from phr.errors import CorruptFileError, IncompatibleModelError, InvalidDataError
from phr.files import read_model_file, sha256_of
from phr.settings import shown
from phr.teachers.inert import Described, array_of, describe_pickle

_LARGEST_FILE = 1 << 28


@dataclass(frozen=True, kw_only=True, eq=False)
class Normalization:
    """(obs − mean) / deviation, clipped at ± limit; arrays of the shape of one observation.

    InvalidDataError if shapes differ or a number is out of range.
    """

    mean: NDArray[np.float64]
    deviation: NDArray[np.float64]
    limit: NDArray[np.float64]

    def __post_init__(self) -> None:
        if not self.mean.shape == self.deviation.shape == self.limit.shape:
            shapes = f"{self.mean.shape}, {self.deviation.shape} and {self.limit.shape}"
            raise InvalidDataError(f"mean, deviation and limit need one shape, got {shapes}")
        finite = all(np.isfinite(each).all() for each in (self.mean, self.deviation))
        if not finite or (self.deviation <= 0).any() or not (self.limit > 0).all():
            raise InvalidDataError("normalization needs finite means, positive deviations and positive limits")

    @classmethod
    def of(cls, mean: NDArray[Any], var: NDArray[Any], *, clip_obs: float, epsilon: float) -> Normalization:
        """Return (obs − mean) / √(var + epsilon), clipped at ± clip_obs; InvalidDataError for a negative variance."""
        mean, var = mean.astype(np.float64), var.astype(np.float64)
        if not math.isfinite(clip_obs) or not math.isfinite(epsilon) or not (var >= 0).all():
            raise InvalidDataError("normalization needs finite numbers and variances of at least 0")
        return cls(mean=mean, deviation=np.sqrt(np.maximum(var + epsilon, 0.0)), limit=np.full(mean.shape, clip_obs))

    @cached_property
    def _tensors(self) -> tuple[Tensor, Tensor, Tensor]:
        return torch.from_numpy(self.mean), torch.from_numpy(self.deviation), torch.from_numpy(self.limit)

    def apply(self, obs: Tensor) -> Tensor:
        """Return normalised observations: computed in float64, as in Stable-Baselines3, then float32."""
        mean, deviation, limit = self._tensors
        return ((obs.double() - mean) / deviation).clamp(-limit, limit).float()


@dataclass(frozen=True, kw_only=True, eq=False)
class Statistics:
    """How a `vecnormalize.pkl` normalises observations: whole ones (key None), or a Dict's entries by name."""

    entries: Mapping[str | None, Normalization]
    identity: str
    """SHA-256 of the file."""

    def over(self, space: spaces.Space[Any] | None, seen: spaces.Box) -> Normalization:
        """Return one normalization of the observations `seen`, the flat row of a Dict `space`, or whole ones.

        Entries of a Dict without statistics stay as they are. IncompatibleModelError if shapes or names differ.
        """
        if not isinstance(space, spaces.Dict):
            whole = self.entries.get(None)
            found = sorted(map(str, self.entries)) if whole is None else whole.mean.shape
            if whole is None or whole.mean.shape != seen.shape:
                raise IncompatibleModelError(f"the statistics are of observations {found}, it gives {seen.shape}")
            return whole
        parts = []
        for key, part in space.spaces.items():
            if (mine := self.entries.get(key)) is None:
                n = spaces.flatdim(part)
                mine = Normalization(mean=np.zeros(n), deviation=np.ones(n), limit=np.full(n, np.inf))
            elif not isinstance(part, spaces.Box) or mine.mean.shape != part.shape:
                raise IncompatibleModelError(f"the statistics of {key!r} have shape {mine.mean.shape}, it gives {part}")
            parts.append(mine)
        if unknown := [str(key) for key in self.entries if key not in space.spaces]:
            raise IncompatibleModelError(f"the statistics are of {unknown[0]!r}, it gives {', '.join(space.spaces)}")
        rows = ("mean", "deviation", "limit")
        joined = {row: np.concatenate([getattr(part, row).ravel() for part in parts]) for row in rows}
        return Normalization(**joined)


def read_vecnormalize(path: Path) -> Statistics | None:
    """Read the observation statistics of a pickled `VecNormalize`, None if it normalises rewards alone.

    The pickle is read as a description: nothing in it is called. CorruptFileError if it holds no such statistics.
    """
    found = describe_pickle(read_model_file(path, _LARGEST_FILE), str(path))
    is_ours = isinstance(found, Described) and found.maker.endswith(".vec_normalize.VecNormalize")
    state = found.state if is_ours and isinstance(found.state, dict) else None
    if state is None or ("obs_rms" not in state and state.get("norm_obs", True)):
        raise CorruptFileError(f"{path} holds no VecNormalize of Stable-Baselines3")
    if (is_on := state.get("norm_obs", True)) is False:
        return None
    if is_on is not True:
        raise CorruptFileError(f"{path} was edited: its entry norm_obs is {shown(is_on)}")
    try:
        running, how = state["obs_rms"], {"clip_obs": _number(state["clip_obs"]), "epsilon": _number(state["epsilon"])}
        if isinstance(running, dict):
            keys = state.get("norm_obs_keys") or list(running)
            entries: dict[str | None, Normalization] = {key: _entry(running[key], how) for key in keys}
        else:
            entries = {None: _entry(running, how)}
    except (AttributeError, KeyError, TypeError, ValueError, OverflowError, InvalidDataError) as error:
        raise CorruptFileError(f"{path} holds no statistics of Stable-Baselines3's VecNormalize: {error}") from error
    return Statistics(entries=entries, identity=sha256_of(path))


def _entry(running: Any, how: dict[str, float]) -> Normalization:
    mean, var = (array_of(running.state[name]) for name in ("mean", "var"))
    if mean.dtype.kind + var.dtype.kind != "ff":
        raise ValueError(f"mean and variance are arrays of floating-point numbers, got {mean.dtype} and {var.dtype}")
    return Normalization.of(mean, var, **how)


def _number(value: Any) -> float:
    array = array_of(value)
    if array.size != 1 or array.dtype.kind not in "iuf":
        raise ValueError("a number was expected")
    return float(array.item())
