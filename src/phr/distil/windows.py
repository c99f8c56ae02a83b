"""Algorithm 1, stage 2: cut the teacher's episodes into windows, the observation at step t and the teacher's next n actions.

Windows are indices into the joined arrays of an `Experience`, so overlapping windows do not copy observations. Stage 1 is
`phr.teacher.a2c`; the losses that compare a plan with a window are in `phr.distil.losses`, the training in `phr.distil.phr`.

Source: Wagner et al. 2021 (arXiv:2106.10075), Eq. 7 and implementation detail (i).
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from phr.actions import ActionSpace, Continuous, MultiDiscrete
from phr.distil.config import PHRConfig
from phr.distil.losses import smoothed
from phr.errors import InvalidDataError, NoWindowError
from phr.experience.trajectory import Experience


def cut_windows(
    lengths: NDArray[np.int64], horizon: int, *, stride: int = 1, pad: bool = True
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Return the steps of each window over joined trajectories, and which are valid; both `(n_windows, horizon)`.

    A window is looked at in its first step. Every `stride`-th step of a trajectory begins one, and always the first: the
    paper's t mod α = 0, with t counted from 1, would never train the start state, where every agent looks. With `pad`
    windows may run past the end of their trajectory, where its last step stands in, not valid; without it only
    t ≤ m − n + 1 remain, the paper's cut.

    Raises:
        NoWindowError: If the strict cut leaves no window at all.
    """
    firsts = np.cumsum(lengths) - lengths
    starts = [np.arange(0, length if pad else max(length - horizon + 1, 0), stride) for length in lengths.tolist()]
    owner = np.repeat(np.arange(len(lengths)), [len(s) for s in starts])
    if not len(owner):
        raise NoWindowError(
            f"no episode is as long as the horizon {horizon} (the longest has {max(lengths, default=0)} steps), "
            "so the strict cut leaves no window; keep padding on, or ask for a shorter horizon"
        )
    steps = (firsts[owner] + np.concatenate(starts))[:, None] + np.arange(horizon)
    ends = (firsts + lengths)[owner, None]
    return np.minimum(steps, ends - 1), steps < ends


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
    """The windows of the teacher's episodes, cut as the settings state; `InvalidDataError` if none can be regressed."""

    def __init__(self, experience: Experience, config: PHRConfig) -> None:
        steps, valid = cut_windows(experience.lengths, config.horizon, stride=config.window_stride, pad=config.pad)
        self._obs = torch.from_numpy(experience.joined("obs"))
        self._logits = teacher_rows(torch.from_numpy(experience.joined("teacher_logits")), config, experience.action_space)
        self._actions = torch.from_numpy(experience.joined("actions"))
        self._steps, self._valid = torch.from_numpy(steps), torch.from_numpy(valid)
        # A window that holds no regressed step adds nothing to a loss, and a batch of such windows has none.
        self._drawn = regressed(self._valid, config).any(dim=1).nonzero().squeeze(1)
        if not len(self._drawn) and config.horizon > 1:
            raise InvalidDataError(
                f"no episode goes on after a window's first step, so with trunk_mode {config.trunk_mode!r} there is nothing "
                "to regress; keep longer episodes, or use trunk_mode 'anchored'"
            )

    def __len__(self) -> int:
        return len(self._steps)

    def draw(self, rng: np.random.Generator, n: int) -> Batch:
        """Return n windows, drawn with replacement from those that hold a regressed step."""
        return self.batch(self._drawn[torch.from_numpy(rng.integers(len(self._drawn), size=n))])

    def batch(self, rows: Tensor) -> Batch:
        """Return the windows of these rows."""
        steps = self._steps[rows]
        return self._obs[steps[:, 0]], self._logits[steps], self._actions[steps], self._valid[rows]
