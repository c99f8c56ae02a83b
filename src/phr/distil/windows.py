"""Algorithm 1, stage 2: cut the teacher's episodes into windows, the observation at step t and the teacher's next n actions.

Windows are indices into the joined arrays of an `Experience`, so overlapping windows do not copy observations. Stage 1 is
`phr.teacher.a2c`; the losses that compare a plan with a window are in `phr.distil.losses`, the training in `phr.distil.phr`.

Source: Wagner et al. 2021 (arXiv:2106.10075), Eq. 7 and implementation detail (i).
"""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from torch import Tensor

from phr.actions import ActionSpace, Continuous, MultiDiscrete
from phr.distil.config import PHRConfig
from phr.distil.losses import smoothed
from phr.errors import InvalidDataError, NonFiniteError, NoWindowError
from phr.experience.trajectory import Experience

_CANDIDATES = 8
"""Random windows for each one that is drawn by priority."""


def cut_windows(
    lengths: NDArray[np.int64], horizon: int, *, stride: int = 1, pad: bool = True
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Return the steps of each window over joined trajectories, and which are valid; both `(n_windows, horizon)`.

    A window is looked at in its first step. Every `stride`-th step of a trajectory begins one, and always the first: the
    paper's t mod α = 0, with t counted from 1, would never train the start state, where every agent looks. With `pad`
    windows may run past the end of their trajectory, where its last step stands in, not valid; without it only
    t ≤ m − n + 1 remain, the paper's cut; `NoWindowError` if these are none.
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
    return 0.0 if config.loss == "squared_logits" or isinstance(space, Continuous) else config.teacher_smoothing


def teacher_rows(outputs: Tensor, config: PHRConfig, space: ActionSpace) -> Tensor:
    """Return the rows that a student is compared with: the teacher's, logits smoothed as `smoothing_of` states."""
    if not (smoothing := smoothing_of(config, space)):
        return outputs
    parts = outputs.split(space.nvec, -1) if isinstance(space, MultiDiscrete) else [outputs]
    return torch.cat([smoothed(part, smoothing) for part in parts], -1)


def each_once(obs: Tensor) -> tuple[Tensor, Tensor]:
    """Return the k different observations of a batch, `(k, ...)`, and the index of each row among them, `(b,)`."""
    seen: dict[bytes, int] = {}
    which = [seen.setdefault(row.tobytes(), len(seen)) for row in obs.numpy()]
    first = [which.index(number) for number in range(len(seen))]
    return obs[first], torch.tensor(which)


class Windows(ABC):
    """Windows to learn from."""

    _obs: Tensor
    _logits: Tensor
    _actions: Tensor
    _valid: Tensor
    lack: Tensor
    """By how much each window's loss was above the least possible when it was last drawn; NaN where it never was."""

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def _random(self, rng: np.random.Generator, n: int) -> Tensor:
        """Return the indices of n windows that hold a regressed step, drawn with replacement."""

    @abstractmethod
    def batch(self, rows: Tensor) -> Batch:
        """Return the windows of these rows."""

    def draw(self, rng: np.random.Generator, n: int, priority: float = 0.0) -> Tensor:
        """Return the indices of n windows that hold a regressed step, drawn with replacement.

        With a `priority` that part of a window's chance is in proportion to its `lack`; one that was never drawn counts as
        an average one. They are drawn among random ones, eight for each, so that no update reads every window, and no window
        comes more than eight times as often as by chance. Weighted sampling: Efraimidis & Spirakis 2006.
        """
        rows = self._random(rng, n * (_CANDIDATES if priority else 1))
        if not priority:
            return rows
        lack = self.lack[rows]
        mean = lack.nanmean()
        relative = (lack / mean).nan_to_num(nan=1.0) if mean > 0 else torch.ones_like(lack)
        keys = torch.from_numpy(rng.exponential(size=len(rows))) / (priority * relative + (1 - priority))
        return rows[keys.topk(n, largest=False).indices]


class WindowData(Windows):
    """The windows of the teacher's episodes, cut as the settings state; `InvalidDataError` if none can be regressed."""

    def __init__(self, experience: Experience, config: PHRConfig) -> None:
        steps, valid = cut_windows(experience.lengths, config.horizon, stride=config.window_stride, pad=config.pad)
        self._obs = torch.from_numpy(experience.joined("obs"))
        self._logits = teacher_rows(torch.from_numpy(experience.joined("teacher_logits")), config, experience.action_space)
        self._actions = torch.from_numpy(experience.joined("actions"))
        self._steps, self._valid = torch.from_numpy(steps), torch.from_numpy(valid)
        self.lack = torch.full((len(steps),), torch.nan)
        # A window that holds no regressed step adds nothing to a loss, and a batch of such windows has none.
        self._drawn = regressed(self._valid, config).any(dim=1).nonzero().squeeze(1)
        if not len(self._drawn) and config.horizon > 1:
            raise InvalidDataError(
                f"no episode goes on after a window's first step, so with trunk_mode {config.trunk_mode!r} there is nothing "
                "to regress; keep longer episodes, or use trunk_mode 'anchored'"
            )

    def __len__(self) -> int:
        return len(self._steps)

    def _random(self, rng: np.random.Generator, n: int) -> Tensor:
        return self._drawn[torch.from_numpy(rng.integers(len(self._drawn), size=n))]

    def batch(self, rows: Tensor) -> Batch:
        """Return the windows of these rows."""
        steps = self._steps[rows]
        return self._obs[steps[:, 0]], self._logits[steps], self._actions[steps], self._valid[rows]


@dataclass(frozen=True, eq=False)
class StudentWindows:
    """N windows that begin where a student's plan ended: one observation each, and the teacher's steps from it."""

    obs: NDArray[Any]
    """After the last action of the plans."""
    actions: NDArray[Any]
    """The teacher's next, shape `(n, horizon, *action_shape)`; 0 where not `valid`."""
    teacher_logits: NDArray[np.float32]
    """Shape `(n, horizon, n_outputs)`."""
    valid: NDArray[np.bool_]
    """False where the episode had ended, shape `(n, horizon)`."""
    envs: NDArray[np.int64]
    episodes: NDArray[np.int64]
    """Index of the episode in its environment."""

    def __post_init__(self) -> None:
        if self.obs.dtype.kind == "f" and not np.isfinite(self.obs).all():
            raise NonFiniteError("an observation of a student state contains NaN or Inf")

    def __len__(self) -> int:
        return len(self.obs)

    def first(self, n: int) -> StudentWindows:
        """Return the first n windows."""
        return StudentWindows(*(getattr(self, entry.name)[:n] for entry in fields(self)))

    def keys(self) -> list[bytes]:
        """Return one hash per window; windows of the same observation and actions have the same."""
        windows = zip(self.obs, self.actions, self.valid, strict=True)
        return [hashlib.blake2b(b"".join(part.tobytes() for part in parts), digest_size=16).digest() for parts in windows]


class StudentWindowData(Windows):
    """A growing set of at most `capacity` student windows.

    `unique` leaves out windows with the observation and actions of an earlier one: in a deterministic environment the same
    path comes again and again, and would outnumber all others.
    """

    def __init__(
        self, capacity: int, obs: spaces.Box, actions: ActionSpace, n_outputs: int, config: PHRConfig, *, unique: bool
    ) -> None:
        self._config, self._space = config, actions
        # Not initialised, so that the operating system hands out pages only as rows are written.
        self._obs = torch.from_numpy(np.empty((capacity, *obs.shape), obs.dtype))
        self._logits = torch.empty((capacity, config.horizon, n_outputs))
        self._actions = torch.from_numpy(np.empty((capacity, config.horizon, *actions.shape), actions.dtype))
        self._valid = torch.empty((capacity, config.horizon), dtype=torch.bool)
        self.lack = torch.full((capacity,), torch.nan)
        self._seen: set[bytes] | None = set() if unique else None
        self._n = 0

    def __len__(self) -> int:
        return self._n

    def add(self, windows: StudentWindows, keys: list[bytes], among: NDArray[np.bool_]) -> None:
        """Add the windows of the mask `among` that hold a step to regress; `keys` are those of `StudentWindows.keys`."""
        keep = among & regressed(torch.from_numpy(windows.valid), self._config).any(dim=1).numpy()
        if not self._config.pad:
            keep &= windows.valid.all(axis=1)
        if self._seen is not None:
            for row in np.flatnonzero(keep).tolist():
                keep[row] = keys[row] not in self._seen
                self._seen.add(keys[row])
        arrays = windows.obs, windows.actions, windows.teacher_logits, windows.valid
        obs, actions, logits, valid = (torch.from_numpy(array[keep]) for array in arrays)
        rows = slice(self._n, self._n + len(obs))
        self._obs[rows], self._actions[rows], self._valid[rows] = obs, actions, valid
        self._logits[rows] = teacher_rows(logits, self._config, self._space)
        self._n += len(obs)

    def _random(self, rng: np.random.Generator, n: int) -> Tensor:
        return torch.from_numpy(rng.integers(self._n, size=n))

    def batch(self, rows: Tensor) -> Batch:
        """Return the windows of these rows."""
        return self._obs[rows], self._logits[rows], self._actions[rows], self._valid[rows]


Drawn = list[tuple[Windows, Tensor]]
"""Which windows of which sets, in this order."""


def joined(drawn: Drawn) -> Batch:
    """Return the drawn windows as one batch."""
    parts = [windows.batch(rows) for windows, rows in drawn]
    obs, logits, actions, valid = (torch.cat(columns) for columns in zip(*parts, strict=True))
    return obs, logits, actions, valid
