"""Cutting trajectories into windows: what was seen at step t, and what the teacher did from there.

Windows are kept as indices into the joined arrays of an `Experience`, so a thousand overlapping windows cost a thousand rows
of integers, not a thousand copies of observations.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from phr.errors import HorizonError, InvalidDataError, NoWindowError, SettingError
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
