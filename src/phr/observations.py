"""Shape, number type and scale of the observations that a model reads, and their check."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from phr.errors import IncompatibleModelError, InvalidDataError, NonFiniteError, first_line

_BYTES = 255


def scale_of(space: Any) -> float:
    """The factor that maps bytes 0 .. 255 of a `gymnasium.spaces.Box` to 0 .. 1; 1 for 0/1 planes, floats and all else."""
    is_bytes = space.dtype == np.uint8 and bool((space.low == 0).all()) and bool((space.high == _BYTES).all())
    return 1 / _BYTES if is_bytes else 1.0


@dataclass(frozen=True)
class ObservationSpec:
    """Shape and number type of one observation, and the factor that the model applies first (`scale_of`)."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    scale: float = 1.0

    def __post_init__(self) -> None:
        # By its name in native byte order: numpy keeps one object for each number type, which `check` compares by identity.
        object.__setattr__(self, "dtype", np.dtype(np.dtype(self.dtype).newbyteorder("=").str))

    @classmethod
    def of(cls, space: Any) -> ObservationSpec:
        """The observations of a `gymnasium.spaces.Box`."""
        return cls(tuple(space.shape), np.dtype(space.dtype), scale_of(space))

    def check(self, obs: Any) -> NDArray[Any]:
        """Observations of shape `(batch, *shape)`, an array, a CPU tensor or nested lists, as an array of this number type.

        Floats of another width are cast. Whole numbers and bools must have this very type, because another type means
        another scale. Any memory layout and byte order is read. InvalidDataError if shape or number type differ, or the
        batch is empty; NonFiniteError if a number is NaN or infinite, or too large for this number type.
        """
        array = obs if type(obs) is np.ndarray else as_array(obs, self.dtype)
        dtype, shape = self.dtype, array.shape
        if array.dtype is not dtype or shape[1:] != self.shape or not shape or not shape[0]:
            array = self._cast(array)
        if dtype.kind == "f" and not np.isfinite(array).all():
            raise NonFiniteError(f"an observation contains NaN or Inf (as {dtype})")
        return array

    def _cast(self, obs: NDArray[Any]) -> NDArray[Any]:
        """The same observations in this number type; InvalidDataError if they are not such."""
        shape = obs.shape
        if shape[1:] != self.shape or not shape or not shape[0] or not self._reads(obs.dtype):
            raise InvalidDataError(self._refusal(obs))
        with np.errstate(over="ignore"):  # what overflows is infinite, which `check` refuses
            return obs.astype(self.dtype, copy=False)

    def check_space(self, space: Any, name: str, model: str = "the model") -> None:
        """Raise IncompatibleModelError if the model does not read the observations of the environment with this id."""
        found = ObservationSpec.of(space)
        if found.shape != self.shape or found.scale != self.scale or not self._reads(found.dtype):
            raise IncompatibleModelError(
                f"{model} reads observations {self}; {name} gives {found}. Wrap the environment so that it gives the "
                "observations that the model was made for."
            )

    def _reads(self, dtype: np.dtype[Any]) -> bool:
        return dtype == self.dtype or dtype.kind == self.dtype.kind == "f" or dtype.newbyteorder("=") == self.dtype

    def _refusal(self, obs: NDArray[Any]) -> str:
        expected = f"an observation must be {self.dtype} of shape {self.shape}"
        if obs.ndim and not len(obs):
            return f"{expected}; got an empty batch"
        found = f"{expected}; got {obs.dtype} of shape {obs.shape[1:]}"
        if obs.shape == self.shape:
            return f"{found}. Add a batch axis: obs[None]."
        return f"{found}. Pass observations as the environment gives them."

    def __str__(self) -> str:
        if self.scale != 1.0:
            return f"{self.dtype} of shape {self.shape}, values 0 .. {1 / self.scale:g}"
        return f"{self.dtype} of shape {self.shape}" + (", values as they are" if self.dtype == np.uint8 else "")


def as_array(obs: Any, dtype: np.dtype[Any] | None = None) -> NDArray[Any]:
    """Anything that numpy reads as an array; whole numbers in lists become `dtype` where it holds them exactly.

    InvalidDataError if numpy cannot read it: lists of unequal lengths, tensors on another device.
    """
    if isinstance(obs, np.ndarray):
        return np.asarray(obs)
    try:
        array = np.asarray(obs)
    except Exception as error:  # numpy's and torch's own, of many kinds
        found = f"{type(obs).__name__} ({first_line(error)})"
        raise InvalidDataError(f"an observation must be an array of numbers; got {found}") from error
    if dtype is None or not isinstance(obs, list | tuple) or array.dtype.kind not in "iu":
        return array
    with np.errstate(over="ignore", invalid="ignore"):
        cast = array.astype(dtype)
    return cast if (cast == array).all() else array
