"""Observation statistics of a policy (Stable-Baselines3's `VecNormalize`), read without running a pickle."""

from __future__ import annotations

import io
import pickle
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from phr.errors import CorruptFileError, IncompatibleModelError, InvalidDataError, UnknownModelError, UsageError, error_text
from phr.experience.untrusted import read_npz
from phr.files import atomic_path, read_model_file, sha256_of

_FORMAT = "phr-normalization-1"


@dataclass(frozen=True, kw_only=True, eq=False)
class Normalization:
    """(obs − mean) / √(var + epsilon), clipped at ± clip_obs; `mean` and `var` have the shape of one observation.

    `identity` is the SHA-256 of its file, empty for none. InvalidDataError if shapes differ or a number is out of range.
    """

    mean: NDArray[np.float64]
    var: NDArray[np.float64]
    clip_obs: float
    epsilon: float
    identity: str = ""

    def __post_init__(self) -> None:
        if self.mean.shape != self.var.shape:
            raise InvalidDataError(f"mean and variance need one shape, got {self.mean.shape} and {self.var.shape}")
        finite = all(np.isfinite(each).all() for each in (self.mean, self.var, self.clip_obs, self.epsilon))
        if not finite or (self.var < 0).any() or (self.var + self.epsilon <= 0).any() or self.clip_obs <= 0:
            raise InvalidDataError("normalization needs finite means, positive variances and a positive clip_obs")

    @cached_property
    def _scaling(self) -> tuple[Tensor, Tensor]:
        return torch.from_numpy(self.mean), torch.from_numpy(np.sqrt(self.var + self.epsilon))

    def apply(self, obs: Tensor) -> Tensor:
        """Return normalised observations: computed in float64, as in Stable-Baselines3, then float32."""
        mean, deviation = self._scaling
        return ((obs.double() - mean) / deviation).clamp(-self.clip_obs, self.clip_obs).float()

    def save(self, path: Path) -> None:
        """Write an .npz of plain arrays; equal statistics give equal bytes."""
        arrays: dict[str, Any] = {"mean": self.mean, "var": self.var, "clip_obs": self.clip_obs, "epsilon": self.epsilon}
        with atomic_path(path) as temporary, temporary.open("wb") as file:
            np.savez(file, allow_pickle=False, format=_FORMAT, **arrays)


def load_normalization(path: Path) -> Normalization:
    """Read what `Normalization.save` wrote; nothing in the file is executed."""
    if path.suffix == ".pkl":
        raise CorruptFileError(
            f"{path} is a pickle, which can run any code when it is read; if you trust it: "
            f"phr convert {path} --out stats.npz --trust, then --normalize stats.npz"
        )
    if not path.exists():
        raise UnknownModelError(f"there is no file {path}")
    arrays = read_npz(path)
    try:
        if str(arrays["format"]) != _FORMAT:
            raise ValueError(f"its format is not {_FORMAT}")
        mean, var = arrays["mean"].astype(np.float64), arrays["var"].astype(np.float64)
        clip_obs, epsilon = float(arrays["clip_obs"]), float(arrays["epsilon"])
        return Normalization(mean=mean, var=var, clip_obs=clip_obs, epsilon=epsilon, identity=sha256_of(path))
    except (KeyError, TypeError, ValueError, InvalidDataError) as error:
        raise CorruptFileError(f"{path} was not written by phr convert: {error}") from error


_LARGEST_FILE = 1 << 28
_NUMPY_MODULES = ("numpy", "numpy.core.multiarray", "numpy._core.multiarray", "numpy.core.numeric", "numpy._core.numeric")
_NUMPY_NAMES = ("ndarray", "dtype", "_reconstruct", "scalar", "_frombuffer")


class _Inert:
    """Replaces an object that is not built; it keeps its state, so that any pickle can be read to its end."""

    state: Any = None

    def __init__(self, *_args: Any, **_kwargs: Any) -> None: ...

    def __setstate__(self, state: Any) -> None:
        self.state = state

    def __setitem__(self, _key: Any, _value: Any) -> None: ...

    def append(self, _value: Any) -> None: ...

    def extend(self, _values: Any) -> None: ...


class _InertUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if module in _NUMPY_MODULES and name in _NUMPY_NAMES:
            return super().find_class(module, name)
        return type(name.rpartition(".")[2] or "_", (_Inert,), {})

    def persistent_load(self, pid: Any) -> Any:
        raise pickle.UnpicklingError(f"it refers to something outside ({pid!r})")


def read_vecnormalize(path: Path, *, trust: bool) -> Normalization:
    """Read the observation statistics of a pickled `VecNormalize`; nothing in the file is called, yet `trust` is needed."""
    if not path.is_file():
        raise UnknownModelError(f"there is no file {path}")
    if not trust:
        raise UsageError(f"{path} is to be read as a pickle, which can run any code; if you trust who made it, add --trust")
    content = read_model_file(path, _LARGEST_FILE)
    try:
        found = _InertUnpickler(io.BytesIO(content)).load()
    except Exception as error:  # a broken pickle raises anything
        raise CorruptFileError(f"{path} is not a readable pickle ({error_text(error)})") from error
    state = found.state if isinstance(found, _Inert) and type(found).__name__ == "VecNormalize" else None
    if not isinstance(state, dict) or ("obs_rms" not in state and state.get("norm_obs", True)):
        raise CorruptFileError(f"{path} holds no VecNormalize of Stable-Baselines3")
    if not state.get("norm_obs", True):
        raise IncompatibleModelError(f"{path} normalises no observations, so its policy needs none; leave --normalize out")
    if isinstance(state["obs_rms"], dict):
        raise IncompatibleModelError(f"{path} normalises Dict observations, whose policies phr does not read")
    try:
        running = state["obs_rms"].state
        mean, var = np.asarray(running["mean"], np.float64), np.asarray(running["var"], np.float64)
        return Normalization(mean=mean, var=var, clip_obs=float(state["clip_obs"]), epsilon=float(state["epsilon"]))
    except (AttributeError, KeyError, TypeError, ValueError, InvalidDataError) as error:
        raise CorruptFileError(f"{path} holds no statistics of Stable-Baselines3's VecNormalize: {error}") from error
