"""Windows of student states in memory, and batches that mix them with the teacher's own episodes."""

from __future__ import annotations

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor

from phr.actions import ActionSpace, as_space
from phr.distil.phr_config import PHRConfig
from phr.distil.student_states import StudentWindows
from phr.distil.window_data import Batch, WindowData, regressed, teacher_rows
from phr.errors import EmptyBatchError


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
