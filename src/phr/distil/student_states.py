"""Student states: where a student's own plans end, and the windows of what the teacher does from there."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from torch import Tensor

from phr.actions import ActionSpace
from phr.distil.config import PHRConfig
from phr.distil.windows import Batch, WindowData, regressed, teacher_rows
from phr.envs.vector import VectorSplit
from phr.errors import NonFiniteError
from phr.experience.collect import non_finite_plan, teacher_logits_of
from phr.plan import Planner, ask


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


class StudentWindowData:
    """A growing set of at most `capacity` student windows, with the methods of `WindowData`.

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
        obs, actions, logits, valid = (
            torch.from_numpy(array[keep]) for array in (windows.obs, windows.actions, windows.teacher_logits, windows.valid)
        )
        rows = slice(self._n, self._n + len(obs))
        self._obs[rows], self._actions[rows], self._valid[rows] = obs, actions, valid
        self._logits[rows] = teacher_rows(logits, self._config, self._space)
        self._n += len(obs)

    def draw(self, rng: np.random.Generator, n: int) -> Batch:
        """Return n windows, drawn with replacement."""
        return self.batch(torch.from_numpy(rng.integers(self._n, size=n)))

    def batch(self, rows: Tensor) -> Batch:
        """Return the windows of these rows."""
        return self._obs[rows], self._logits[rows], self._actions[rows], self._valid[rows]


def mixed_batch(own: WindowData, led: StudentWindowData, share: float, rng: np.random.Generator, n: int) -> Batch:
    """Return n random windows, a fixed share of them from student states, which come last.

    The share does not depend on how many windows each has: a few thousand student states would be lost among a million
    steps of long teacher episodes.
    """
    n_led = round(share * n)
    obs, logits, actions, valid = (
        torch.cat(parts) for parts in zip(own.draw(rng, n - n_led), led.draw(rng, n_led), strict=True)
    )
    return obs, logits, actions, valid


class StudentStates:
    """Plays a student's plans and the teacher in turn, within the same episodes, and records the teacher's part.

    **Which states.** An agent of commitment c looks where a plan, cut after c actions, has ended. One student serves every
    commitment from 1 to its horizon, so c is drawn evenly from 1 .. horizon whenever the student continues: every commitment
    gets as many windows as any other. A c drawn once an episode would leave it to a few long episodes to cover them.

    **How far from the teacher.** The teacher then acts for `horizon` steps and may repair everything. So one plan in a row
    never shows what a second plan makes of the first one's mistake. Therefore 1 .. `most_plans` plans, drawn evenly, are
    executed in a row, all cut at the same c, before the teacher acts.

    **What is recorded.** A window begins at the state itself and holds the greedy teacher's next `horizon` actions, taken
    in closed loop in this very episode, so it is correct in a stochastic environment too. An episode that ends cuts its
    window short (`valid`); a plan in which it ends leaves no window, because no agent looks then. An episode whose
    environment refuses an action of the student is abandoned and counted in the vector's `remarks`.

    **Variety.** In a deterministic environment the same states come again and again. With `noise`, some actions of a plan
    are random.

    No observation is made while a plan runs. All environments follow the student, then all follow the teacher, so that each
    network call serves all of them; an environment whose episode has ended waits for the next turn.

    The environments have autoreset `DISABLED` and scheduled seeds; `rng` draws commitments and numbers of plans.

    Source:
        Ross et al. 2011 (arXiv:1011.0686), DAgger, with a plan as the action; Laskey et al. 2017 (arXiv:1703.09327), noise.
    """

    def __init__(
        self,
        student: Planner,
        teacher: Planner,
        vector: VectorSplit,
        rng: np.random.Generator,
        *,
        most_plans: int = 1,
        noise: float = 0.0,
    ) -> None:
        self._student, self._teacher, self._vector, self._rng = student, teacher, vector, rng
        self._most_plans, self._noise = most_plans, noise
        self._ended, self._episodes = np.ones(vector.n_envs, bool), np.full(vector.n_envs, -1)

    def _no_actions(self, *shape: int) -> NDArray[Any]:
        space = self._vector.action_space
        return np.zeros((*shape, *space.shape), space.dtype)

    def turn(self) -> StudentWindows:
        """Play student, then teacher, in every environment; return at most one window each, in the environments' order.

        Raises:
            NonFiniteError: If the teacher's output contains NaN or Inf.
            BrokenEnvironmentError: If an environment refuses an action of the teacher, or breaks its contract.
        """
        self._vector.reset(self._ended)
        self._episodes += self._ended
        running = np.ones(self._vector.n_envs, bool)
        self._follow_student(running)
        windows = self._record_teacher(running)
        self._ended = ~running
        return windows

    def _follow_student(self, running: NDArray[np.bool_]) -> None:
        """Execute plans, and take the environments whose episode ends out of `running`."""
        horizon, n_envs = self._student.horizon, self._vector.n_envs
        commitments = self._rng.integers(1, horizon + 1, size=n_envs)
        n_plans = self._rng.integers(1, self._most_plans + 1, size=n_envs)
        actions = self._no_actions(n_envs, horizon)
        for number in range(self._most_plans):
            moving = running & (number < n_plans)
            if not moving.any():
                return
            actions[moving] = self._disturbed(self._student.plan(self._vector.observe(moving)).mode())
            for step in range(horizon):
                moving &= step < commitments
                if not moving.any():
                    break
                ended = self._vector.advance(actions[:, step], moving, abandon_refused=True).done
                moving &= ~ended
                running &= ~ended

    def _disturbed(self, plans: NDArray[Any]) -> NDArray[Any]:
        """Return the plans `(n, horizon, *action_shape)`, some of their actions replaced by random ones."""
        if not self._noise:
            return plans
        hit = self._rng.random(plans.shape[:2]) < self._noise
        plans = plans.copy()
        if hit.any():
            plans[hit] = self._vector.action_space.samples(self._rng, int(hit.sum()))
        return plans

    def _record_teacher(self, running: NDArray[np.bool_]) -> StudentWindows:
        """Let the teacher act, and take the environments whose episode ends out of `running`."""
        envs, horizon = np.flatnonzero(running), self._student.horizon
        actions, valid = self._no_actions(len(envs), horizon), np.zeros((len(envs), horizon), bool)
        logits = np.zeros((len(envs), horizon, self._teacher.n_actions), np.float32)
        chosen = self._no_actions(self._vector.n_envs)
        seen = sources = self._vector.observe(running)
        for step in range(horizon):
            if not running.any():
                break
            rows, plan = running[envs], ask(self._teacher, seen.copy())  # it may change its input; `sources` is recorded
            logits[rows, step] = teacher_logits_of(plan, len(seen))
            if not np.isfinite(logits[rows, step]).all():
                raise non_finite_plan(self._teacher, f"step {step} (from 0) after a plan of the student")
            actions[rows, step], valid[rows, step] = plan.mode()[:, 0], True
            chosen[running] = actions[rows, step]
            running &= ~self._vector.advance(chosen, running).done
            if step + 1 < horizon:
                seen = self._vector.observe(running)
        return StudentWindows(sources, actions, logits, valid, envs, self._episodes[envs])
