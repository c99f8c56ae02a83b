"""Observation statistics that a policy was trained with (Stable-Baselines3's `VecNormalize`), baked into the teacher."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from phr.errors import CorruptFileError, InvalidDataError, UnknownModelError
from phr.experience.untrusted import read_npz
from phr.files import atomic_path, sha256_of

_FORMAT = "phr-normalization-1"


@dataclass(frozen=True, kw_only=True, eq=False)
class Normalization:
    """(obs − mean) / √(var + epsilon), cut off at ± clip_obs.

    Attributes:
        mean: float64, the shape of one observation.
        var: The same; >= 0.
        clip_obs: > 0.
        epsilon: >= 0.
        identity: SHA-256 of the file it was read from, empty for none.

    Raises:
        InvalidDataError: If shapes disagree, or a number makes no sense.
    """

    mean: NDArray[np.float64]
    var: NDArray[np.float64]
    clip_obs: float
    epsilon: float
    identity: str = ""

    def __post_init__(self) -> None:
        if self.mean.shape != self.var.shape:
            raise InvalidDataError(f"mean and variance need one shape, got {self.mean.shape} and {self.var.shape}")
        finite = (
            np.isfinite(self.mean).all() and np.isfinite(self.var).all() and np.isfinite([self.clip_obs, self.epsilon]).all()
        )
        if not finite or (self.var < 0).any() or (self.var + self.epsilon <= 0).any() or self.clip_obs <= 0:
            raise InvalidDataError("normalization needs finite means, positive variances and a positive clip_obs")

    def save(self, path: Path) -> None:
        """Write an .npz of plain arrays; equal statistics give equal bytes."""
        arrays: dict[str, Any] = {"mean": self.mean, "var": self.var, "clip_obs": self.clip_obs, "epsilon": self.epsilon}
        with atomic_path(path) as temporary, temporary.open("wb") as file:
            np.savez(file, allow_pickle=False, format=_FORMAT, **arrays)


def load_normalization(path: Path) -> Normalization:
    """Read what `save` wrote; nothing in the file is executed.

    Raises:
        UnknownModelError: If there is no such file.
        CorruptFileError: If it was truncated or edited, is a pickle, or was not written by phr convert.
    """
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
            raise CorruptFileError(f"{path} holds no statistics that phr convert wrote (format {_FORMAT})")
        return Normalization(
            mean=arrays["mean"].astype(np.float64),
            var=arrays["var"].astype(np.float64),
            clip_obs=float(arrays["clip_obs"]),
            epsilon=float(arrays["epsilon"]),
            identity=sha256_of(path),
        )
    except (KeyError, TypeError, ValueError, InvalidDataError) as error:
        raise CorruptFileError(f"{path} holds no statistics that phr convert wrote: {error}") from error


class NormalizeLayer(nn.Module):
    """Applies a `Normalization` in float64, as Stable-Baselines3 does, and hands on float32."""

    mean: Tensor
    deviation: Tensor

    def __init__(self, normalization: Normalization) -> None:
        super().__init__()
        self.register_buffer("mean", torch.from_numpy(normalization.mean))
        self.register_buffer("deviation", torch.from_numpy(np.sqrt(normalization.var + normalization.epsilon)))
        self.clip_obs = normalization.clip_obs

    def forward(self, obs: Tensor) -> Tensor:
        """Normalised observations, float32, of the same shape."""
        return ((obs.double() - self.mean) / self.deviation).clamp(-self.clip_obs, self.clip_obs).float()
