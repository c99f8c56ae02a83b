"""Algorithm 1, stage 2: cut the teacher's episodes into windows, the observation at step t and the teacher's next n actions.

Windows are indices into the joined arrays of an `Experience`, so overlapping windows do not copy observations. Stage 1 is
`phr.teacher.a2c`; the losses that compare a plan with a window are in `phr.distil.losses`, the training in `phr.distil.phr`.

Source: Wagner et al. 2021 (arXiv:2106.10075), Eq. 7 and implementation detail (i).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from phr.actions import ActionSpace, Continuous, MultiDiscrete
from phr.distil.config import PHRConfig
from phr.distil.losses import smoothed
from phr.errors import EmptyBatchError, HorizonError, InvalidDataError, NoWindowError, SettingError
from phr.experience.trajectory import Experience


@dataclass(frozen=True, eq=False)
class Windows:
    """Windows over joined trajectories.

    Attributes:
        sources: Index of each window's observation, int64, shape `(n_windows,)`.
        steps: Index of the step that each plan entry is compared with, int64, shape `(n_windows, horizon)`; the
            trajectory's last step where not `valid`.
        valid: False where a window runs past the end of its trajectory, shape `(n_windows, horizon)`.

    Raises:
        InvalidDataError: If the shapes disagree, or a window's first step is not its source.
    """

    sources: NDArray[np.int64]
    steps: NDArray[np.int64]
    valid: NDArray[np.bool_]

    def __post_init__(self) -> None:
        if self.steps.shape != self.valid.shape or len(self.steps) != len(self.sources):
            raise InvalidDataError(
                f"windows disagree: {len(self.sources)} sources, steps {self.steps.shape}, valid {self.valid.shape}"
            )
        if not (self.steps[:, 0] == self.sources).all() or not self.valid[:, 0].all():
            raise InvalidDataError("the first step of every window must be its source, and valid")

    def __len__(self) -> int:
        return len(self.sources)

    @property
    def horizon(self) -> int:
        """Steps of a window."""
        return int(self.steps.shape[1])


def window_starts(length: int, horizon: int, stride: int, *, pad: bool) -> NDArray[np.int64]:
    """Return the first steps of one trajectory's windows: every `stride`-th step, and always the first.

    The paper's t mod α = 0, with t counted from 1, would never train the start state, where every agent looks. With `pad`
    windows may run past the end; without it only t ≤ m − n + 1 remain, the paper's cut.
    """
    return np.arange(0, length if pad else max(length - horizon + 1, 0), stride)


def cut_windows(lengths: NDArray[np.int64], horizon: int, *, stride: int = 1, pad: bool = True) -> Windows:
    """Return the windows of joined trajectories; no window crosses from one trajectory into the next.

    Args:
        lengths: Steps of each trajectory, in order.
        horizon: Steps of a window, >= 1.
        stride: α; every α-th window is kept, the first always.
        pad: Keep the windows that run past the end, with a mask; False gives the paper's strict cut.

    Raises:
        HorizonError: If the horizon is below 1.
        SettingError: If the stride is below 1.
        NoWindowError: If the strict cut leaves no window at all.
    """
    if horizon < 1:
        raise HorizonError(f"the horizon must be >= 1, got {horizon}")
    if stride < 1:
        raise SettingError(f"window_stride must be >= 1, got {stride}")
    firsts = np.cumsum(lengths) - lengths
    starts = [window_starts(int(length), horizon, stride, pad=pad) for length in lengths]
    owner = np.repeat(np.arange(len(lengths)), [len(s) for s in starts])
    if not len(owner):
        raise NoWindowError(
            f"no episode is as long as the horizon {horizon} (the longest has {max(lengths, default=0)} steps), "
            "so the strict cut leaves no window; keep padding on, or ask for a shorter horizon"
        )
    sources = firsts[owner] + np.concatenate(starts)
    ends = (firsts + lengths)[owner, None]
    steps = sources[:, None] + np.arange(horizon)
    return Windows(sources, np.minimum(steps, ends - 1), steps < ends)


def windows_of(experience: Experience, horizon: int, *, stride: int = 1, pad: bool = True) -> Windows:
    """Return `cut_windows` of the trajectories of an experience."""
    return cut_windows(experience.lengths, horizon, stride=stride, pad=pad)


Batch = tuple[Tensor, Tensor, Tensor, Tensor]
"""Observations `(b, ...)`, teacher outputs `(b, horizon, n)`, actions `(b, horizon, ...)` and valid `(b, horizon)`."""


def regressed(valid: Tensor, config: PHRConfig) -> Tensor:
    """Return the steps that enter the loss: all valid ones where head 1 is anchored, else from i = 2 (Eq. 8)."""
    if config.trunk_mode == "anchored":
        return valid
    later = valid.clone()
    later[:, 0] = False
    return later


def smoothing_of(config: PHRConfig, space: ActionSpace) -> float:
    """Return ε of the labels; 0 where no probabilities are compared."""
    compares_numbers = config.loss == "squared_logits" or isinstance(space, Continuous)
    return 0.0 if compares_numbers else config.teacher_smoothing


def teacher_rows(outputs: Tensor, config: PHRConfig, space: ActionSpace) -> Tensor:
    """Return the rows that a student is compared with: the teacher's, logits smoothed as `smoothing_of` states."""
    smoothing = smoothing_of(config, space)
    if not smoothing:
        return outputs
    if isinstance(space, MultiDiscrete):
        return torch.cat([smoothed(part, smoothing) for part in outputs.split(space.nvec, -1)], -1)
    return smoothed(outputs, smoothing)


def each_once(obs: Tensor) -> tuple[Tensor, Tensor]:
    """Return the k different observations of a batch, `(k, ...)`, and the index of each row among them, `(b,)`."""
    seen: dict[bytes, int] = {}
    which = [seen.setdefault(row.tobytes(), len(seen)) for row in obs.numpy()]
    first = [which.index(number) for number in range(len(seen))]
    return obs[first], torch.tensor(which)


class WindowData:
    """The windows of the teacher's episodes, cut as the settings state, and which of their steps are regressed.

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
        """Windows that hold a regressed step; only these are drawn."""
        return len(self._drawn)

    def regressed(self, valid: Tensor) -> Tensor:
        """Return the steps that enter the loss."""
        return regressed(valid, self._config)

    def draw(self, rng: np.random.Generator, n: int) -> Tensor:
        """Return n rows, `(n,)`, drawn with replacement from the windows that hold a regressed step.

        Raises:
            EmptyBatchError: If there is none: at horizon 1, where head 1 is not anchored.
        """
        if not len(self._drawn):
            raise EmptyBatchError("a plan of one step whose head 1 is not anchored has nothing to regress")
        return self._drawn[torch.from_numpy(rng.integers(len(self._drawn), size=n))]

    def draw_batch(self, rng: np.random.Generator, n: int) -> Batch:
        """Return a random batch of n windows."""
        return self.batch(self.draw(rng, n))

    def batch(self, rows: Tensor) -> Batch:
        """Return the windows of these rows."""
        steps = self._steps[rows]
        return self._obs[self._sources[rows]], self._logits[steps], self._actions[steps], self._valid[rows]
