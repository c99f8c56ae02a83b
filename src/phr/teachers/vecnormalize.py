"""Stable-Baselines3's `vecnormalize.pkl` → statistics without a pickle.

Whoever converts such a file says that it is trusted. Even so nothing in it is called: the reader builds numpy arrays and
plain values, and an inert stand-in for every other object.
"""

from __future__ import annotations

import io
import pickle
from pathlib import Path
from typing import Any

import numpy as np

from phr.errors import CorruptFileError, IncompatibleModelError, InvalidDataError, UnknownModelError, UsageError
from phr.files import read_model_file
from phr.teachers.normalization import Normalization

_LARGEST_FILE = 1 << 28
_NUMPY_MODULES = ("numpy", "numpy.core.multiarray", "numpy._core.multiarray", "numpy.core.numeric", "numpy._core.numeric")
_NUMPY_NAMES = ("ndarray", "dtype", "_reconstruct", "scalar", "_frombuffer")


class _Inert:
    """Stands for an object that is not built; it keeps what it is told, so that any pickle can be walked through."""

    def __new__(cls, *_args: Any, **_kwargs: Any) -> _Inert:
        return super().__new__(cls)

    def __init__(self, *_args: Any, **_kwargs: Any) -> None:
        self.state: Any = None

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
    """Take the observation statistics out of a pickled `VecNormalize`.

    Args:
        path: What `VecNormalize.save` wrote.
        trust: The file is from somebody who may run code here.

    Raises:
        UsageError: If it is not trusted.
        UnknownModelError: If there is no such file.
        CorruptFileError: If it was truncated or edited, or holds something else.
        IncompatibleModelError: If it does not normalise observations, or those of a Dict.
    """
    if not path.is_file():
        raise UnknownModelError(f"there is no file {path}")
    if not trust:
        raise UsageError(
            f"{path} is a pickle, which can run any code when it is read; if you trust who made it, add --trust"
        )
    content = read_model_file(path, _LARGEST_FILE)
    try:
        found = _InertUnpickler(io.BytesIO(content)).load()
    except Exception as error:  # a broken pickle raises anything
        raise CorruptFileError(f"{path} is not a readable pickle ({type(error).__name__}: {error})") from error
    state = found.state if isinstance(found, _Inert) and type(found).__name__ == "VecNormalize" else None
    if not isinstance(state, dict) or ("obs_rms" not in state and state.get("norm_obs", True)):
        raise CorruptFileError(f"{path} holds no VecNormalize of Stable-Baselines3")
    if not state.get("norm_obs", True):
        raise IncompatibleModelError(f"{path} normalises no observations, so its policy needs none; leave --normalize out")
    if isinstance(state["obs_rms"], dict):
        raise IncompatibleModelError(f"{path} normalises Dict observations, whose policies phr does not read")
    return _normalization(path, state)


def _normalization(path: Path, state: dict[str, Any]) -> Normalization:
    try:
        running = state["obs_rms"].state
        mean, var = np.asarray(running["mean"], np.float64), np.asarray(running["var"], np.float64)
        return Normalization(mean=mean, var=var, clip_obs=float(state["clip_obs"]), epsilon=float(state["epsilon"]))
    except (AttributeError, KeyError, TypeError, ValueError, InvalidDataError) as error:
        raise CorruptFileError(f"{path} holds no statistics of Stable-Baselines3's VecNormalize: {error}") from error
