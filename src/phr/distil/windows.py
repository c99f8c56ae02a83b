"""Cutting trajectories into windows: what was seen at step t, and what the teacher did from there.

Windows are kept as indices into the joined arrays of an `Experience`, so a thousand overlapping windows cost a thousand rows
of integers, not a thousand copies of observations.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from torch import Tensor

from phr.actions import ActionSpace, Continuous, MultiDiscrete, as_space
from phr.distil.config import PHRConfig
from phr.distil.losses import smoothed
from phr.distil.student_states import StudentWindows
from phr.errors import EmptyBatchError, HorizonError, InvalidDataError, NoWindowError, SettingError
from phr.experience.trajectory import Experience


@dataclass(frozen=True, eq=False)
class Windows:
    """Windows over joined trajectories.

    Attributes:
        sources: Index of the observation that each window looks at, int64, shape `(n_windows,)`.
        steps: Index of the step that each plan entry is compared with, int64, shape `(n_windows, horizon)`; where not
            `valid`, the trajectory's last step stands in.
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
    """Where the windows of one trajectory start.

    Every `stride`-th step, always including the first: t mod α = 0 with t counted from 1 would never train the start state,
    where an agent surely looks. With `pad` windows may run past the end; without it only t ≤ m − n + 1 remain, the paper's
    cut.

    Source:
        Wagner et al. 2021 (arXiv:2106.10075), Eq. 7 and implementation detail (i), mended.
    """
    return np.arange(0, length if pad else max(length - horizon + 1, 0), stride)


def cut_windows(lengths: NDArray[np.int64], horizon: int, *, stride: int = 1, pad: bool = True) -> Windows:
    """Cut joined trajectories into windows; no window crosses from one trajectory into the next.

    Args:
        lengths: Steps of each trajectory, in the order in which they are joined.
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
    """`cut_windows` over the trajectories of an experience."""
    return cut_windows(experience.lengths, horizon, stride=stride, pad=pad)


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


class StudentWindowData:
    """Windows of student states, one observation each; memory is taken as they come, up to the capacity.

    Args:
        capacity: Most windows that it will hold.
        space: Of the observations.
        actions: The action space.
        n_outputs: Numbers that the teacher answers for one action.
        config: Says which windows hold something to regress.
        unique: Leave out a window that shows the same and asks for the same actions as one that came before: where nothing
            is random, an agent walks the same path again and again, and it would outnumber all others.
    """

    def __init__(
        self,
        capacity: int,
        space: spaces.Box,
        actions: int | ActionSpace,
        config: PHRConfig,
        *,
        unique: bool,
        n_outputs: int | None = None,
    ) -> None:
        self._config, self._space = config, as_space(actions)
        # Not initialised, so that the operating system hands out pages only as rows are written.
        self._obs = torch.from_numpy(np.empty((capacity, *space.shape), space.dtype))
        self._logits = torch.empty((capacity, config.horizon, n_outputs or self._space.n_outputs))
        self._actions = torch.from_numpy(np.empty((capacity, config.horizon, *self._space.shape), self._space.dtype))
        self._valid = torch.empty((capacity, config.horizon), dtype=torch.bool)
        self._seen: set[bytes] | None = set() if unique else None
        self._n = 0

    def __len__(self) -> int:
        return self._n

    def add(self, windows: StudentWindows, keys: list[bytes]) -> None:
        """Take in those windows that are wanted; `keys` are theirs."""
        keep = self._trainable(windows)
        if self._seen is not None:
            for row in np.flatnonzero(keep).tolist():
                keep[row] = keys[row] not in self._seen
                self._seen.add(keys[row])
        kept = windows.subset(keep)
        rows = slice(self._n, self._n + len(kept))
        self._obs[rows] = torch.from_numpy(kept.obs)
        self._actions[rows], self._valid[rows] = torch.from_numpy(kept.actions), torch.from_numpy(kept.valid)
        self._logits[rows] = teacher_rows(torch.from_numpy(kept.teacher_logits), self._config, self._space)
        self._n += len(kept)

    def _trainable(self, windows: StudentWindows) -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
        """Windows with a regressed step, and whole ones where the strict cut is asked for."""
        some = regressed(torch.from_numpy(windows.valid), self._config).any(dim=1).numpy()
        return some if self._config.pad else some & windows.valid.all(axis=1)

    def steps_per_head(self) -> list[int]:
        """How many windows have a valid step for each head."""
        counts: list[int] = self._valid[: self._n].sum(dim=0).tolist()
        return counts

    def draw(self, rng: np.random.Generator, n: int) -> Tensor:
        """Rows of n windows drawn with replacement, shape `(n,)`.

        Raises:
            EmptyBatchError: If there is none.
        """
        if not self._n:
            raise EmptyBatchError("there is no window of student states to draw from")
        return torch.from_numpy(rng.integers(self._n, size=n))

    def batch(self, rows: Tensor) -> Batch:
        """As `WindowData.batch`."""
        return self._obs[rows], self._logits[rows], self._actions[rows], self._valid[rows]


class MixedWindows:
    """Draws a fixed part of every batch from student states, and the rest from the teacher's own episodes.

    How many windows each of them has plays no part: a few thousand student states would be lost among a million steps of
    long teacher episodes.

    Args:
        experience: The teacher's own.
        student_states: Those of all rounds.
        share: The part of a batch that comes from student states, in (0, 1].
    """

    def __init__(self, experience: WindowData, student_states: StudentWindowData, share: float) -> None:
        self._experience, self._student_states, self._share = experience, student_states, share

    def draw_batch(self, rng: np.random.Generator, n: int) -> Batch:
        """A random batch of n windows, student states last."""
        n_student = round(self._share * n)
        own = self._experience.batch(self._experience.draw(rng, n - n_student))
        led = self._student_states.batch(self._student_states.draw(rng, n_student))
        obs, logits, actions, valid = (torch.cat(parts) for parts in zip(own, led, strict=True))
        return obs, logits, actions, valid
