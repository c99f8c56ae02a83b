"""The tensors that stage 2 draws its batches from."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from phr.actions import ActionSpace, Continuous, MultiDiscrete
from phr.distil.losses import smoothed
from phr.distil.phr_config import PHRConfig
from phr.distil.windows import windows_of
from phr.errors import EmptyBatchError, InvalidDataError
from phr.experience.trajectory import Experience

Batch = tuple[Tensor, Tensor, Tensor, Tensor]
"""Observations `(b, ...)`, teacher outputs `(b, horizon, n)`, actions `(b, horizon, ...)` and valid `(b, horizon)`."""


def regressed(valid: Tensor, config: PHRConfig) -> Tensor:
    """The steps that enter the loss: all valid ones where head 1 is anchored, else from i = 2 (Eq. 8)."""
    if config.trunk_mode == "anchored":
        return valid
    later = valid.clone()
    later[:, 0] = False
    return later


def smoothing_of(config: PHRConfig, space: ActionSpace) -> float:
    """ε of the labels; 0 where no probabilities are compared."""
    compares_numbers = config.loss == "squared_logits" or isinstance(space, Continuous)
    return 0.0 if compares_numbers else config.teacher_smoothing


def teacher_rows(outputs: Tensor, config: PHRConfig, space: ActionSpace) -> Tensor:
    """The rows that a student is compared with: the teacher's, smoothed where the settings say so and there are logits."""
    smoothing = smoothing_of(config, space)
    if not smoothing:
        return outputs
    if isinstance(space, MultiDiscrete):
        return torch.cat([smoothed(part, smoothing) for part in outputs.split(space.nvec, -1)], -1)
    return smoothed(outputs, smoothing)


def each_once(obs: Tensor) -> tuple[Tensor, Tensor]:
    """The different observations of a batch.

    Args:
        obs: Shape `(b, ...)`.

    Returns:
        k ≤ b observations `(k, ...)`, in the order in which they appear, and which of them each row shows, `(b,)`: an index
        into the first, and into what a network answers to it.
    """
    seen: dict[bytes, int] = {}
    which = [seen.setdefault(row.tobytes(), len(seen)) for row in obs.numpy()]
    first = [which.index(number) for number in range(len(seen))]
    return obs[first], torch.tensor(which)


class WindowData:
    """Windows of an experience, and which of their steps are regressed.

    Args:
        experience: The teacher's episodes.
        config: Says how they are cut, and whether head 1 is regressed too.

    Raises:
        InvalidDataError: If no window holds a step that is regressed.
    """

    def __init__(self, experience: Experience, config: PHRConfig) -> None:
        windows = windows_of(experience, config.horizon, stride=config.window_stride, pad=config.pad)
        self._obs = torch.from_numpy(experience.joined("obs"))
        self._logits = teacher_rows(torch.from_numpy(experience.joined("teacher_logits")), config, experience.action_space)
        self._actions = torch.from_numpy(experience.joined("actions"))
        self._sources, self._steps = torch.from_numpy(windows.sources), torch.from_numpy(windows.steps)
        self._valid = torch.from_numpy(windows.valid)
        self._config = config
        # A window that holds no regressed step adds nothing to a loss, and a batch of such windows has none.
        self._drawn = self.regressed(self._valid).any(dim=1).nonzero().squeeze(1)
        if not len(self._drawn) and config.horizon > 1:
            raise InvalidDataError(
                f"no episode goes on after a window's first step, so with trunk_mode {config.trunk_mode!r} there is nothing "
                "to regress; keep longer episodes, or use trunk_mode 'anchored'"
            )

    def __len__(self) -> int:
        return len(self._sources)

    @property
    def n_drawn(self) -> int:
        """How many windows hold a regressed step, and are drawn."""
        return len(self._drawn)

    def regressed(self, valid: Tensor) -> Tensor:
        """The steps that enter the loss."""
        return regressed(valid, self._config)

    def draw(self, rng: np.random.Generator, n: int) -> Tensor:
        """Rows of n windows drawn with replacement from those that hold a regressed step, shape `(n,)`.

        Raises:
            EmptyBatchError: If there is none: at horizon 1, where head 1 is not anchored.
        """
        if not len(self._drawn):
            raise EmptyBatchError("a plan of one step whose head 1 is not anchored has nothing to regress")
        return self._drawn[torch.from_numpy(rng.integers(len(self._drawn), size=n))]

    def draw_batch(self, rng: np.random.Generator, n: int) -> Batch:
        """A random batch of n windows."""
        return self.batch(self.draw(rng, n))

    def batch(self, rows: Tensor) -> Batch:
        """The windows of these rows."""
        steps = self._steps[rows]
        return self._obs[self._sources[rows]], self._logits[steps], self._actions[steps], self._valid[rows]
