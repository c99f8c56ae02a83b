"""Where a student's own plans lead, and what the teacher does from there."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from phr.envs.vector import Autoreset, VectorSplit
from phr.errors import InvalidDataError, NonFiniteError, SettingError
from phr.experience.collect import non_finite_plan, teacher_logits_of
from phr.protocols import Planner


@dataclass(frozen=True, eq=False)
class StudentWindows:
    """Windows that begin where a student's plan ended; each holds one observation and the teacher's steps from it.

    Args:
        obs: What was seen when the plan had run out, shape `(n, *observation_shape)`.
        actions: The teacher's next actions, shape `(n, horizon, *action_shape)`; 0 where not `valid`.
        teacher_logits: Its outputs at the observations that these actions met, float32, shape `(n, horizon, n_outputs)`.
        valid: False where the episode had ended, shape `(n, horizon)`.
        envs: Which environment of the vector each comes from, int64, shape `(n,)`.
        episodes: Which episode of that environment, from 0, int64, shape `(n,)`.

    Raises:
        InvalidDataError: If the shapes disagree, or a window has no first step.
        NonFiniteError: If an observation, or an action or a logit of a valid step, is not finite.
    """

    obs: NDArray[Any]
    actions: NDArray[Any]
    teacher_logits: NDArray[np.float32]
    valid: NDArray[np.bool_]
    envs: NDArray[np.int64]
    episodes: NDArray[np.int64]

    def __post_init__(self) -> None:
        plans = {self.actions.shape[:2], self.valid.shape, self.teacher_logits.shape[:2]}
        if len(plans) != 1:
            raise InvalidDataError(f"actions, valid and logits of windows disagree about (n, horizon): {sorted(plans)}")
        n_each = {name: len(getattr(self, name)) for name in ("obs", "actions", "envs", "episodes")}
        if len(set(n_each.values())) != 1:
            raise InvalidDataError(f"windows need one entry each in every array, got {n_each}")
        if not self.valid[:, 0].all():
            raise InvalidDataError("the first step of every window must be valid")
        steps = {"actions": self.actions[self.valid], "teacher_logits": self.teacher_logits[self.valid]}
        for name, values in {"obs": self.obs, **steps}.items():
            if values.dtype.kind == "f" and not np.isfinite(values).all():
                raise NonFiniteError(f"{name} of windows of student states contains NaN or Inf")

    def __len__(self) -> int:
        return len(self.obs)

    def subset(self, rows: NDArray[np.bool_] | slice) -> StudentWindows:
        """The windows of a mask or a slice."""
        return StudentWindows(
            self.obs[rows],
            self.actions[rows],
            self.teacher_logits[rows],
            self.valid[rows],
            self.envs[rows],
            self.episodes[rows],
        )

    def keys(self) -> list[bytes]:
        """One hash a window: equal for windows that show the same and ask for the same actions."""
        said = zip(self.obs, self.actions, self.valid, strict=True)
        return [hashlib.blake2b(b"".join(part.tobytes() for part in parts), digest_size=16).digest() for parts in said]


class StudentStates:
    """Plays a student's plans and the teacher in turn, within the same episodes, and records the teacher's part.

    **Which states.** An agent of commitment c looks only where a plan of its own, cut after c actions, has ended. One
    student serves every commitment from 1 to its horizon, so it is asked about all of these states. Therefore c is drawn
    anew, evenly from 1 .. horizon, whenever the student takes over: every commitment gets as many windows as any other.
    Were the whole plan executed each time, the states after short ones would be left to luck; were c drawn once an episode,
    a few long episodes would not cover them.

    **How far from the teacher.** The teacher then acts for `horizon` steps and may bring everything back in order. So one
    plan in a row never shows what a second plan makes of the first one's mistake, and an agent that acts alone meets just
    that. Therefore 1 .. `most_plans` plans, drawn evenly, are executed in a row, all cut at the same c as an agent's are,
    before the teacher is asked.

    **What is recorded.** A window begins at the state itself and holds the greedy teacher's next `horizon` actions, taken
    in closed loop in this very episode. Nothing is cloned, so the answer is a true one in a stochastic environment too. An
    episode that ends cuts its window short (`valid`); a plan in which it ends leaves none, since nobody looks then. An
    episode whose environment refuses an action of the student is abandoned; the vector's `remarks` count them.

    **Variety.** Where nothing is random, the same states come again and again. With `noise`, an action of a plan is now and
    then a random one, and the teacher answers from a step aside.

    Nothing is observed while a plan runs. Environments move in step, all students and then all teachers, so that each
    network call serves all of them; one whose episode has ended waits for the next turn.

    Source:
        Ross et al. 2011 (arXiv:1011.0686), DAgger, with a plan as the action; Laskey et al. 2017 (arXiv:1703.09327), noise.

    Args:
        student: Its plans are executed, most likely actions first to last.
        teacher: Looked at every step; the most likely action of its first head counts.
        vector: Environments whose autoreset is `DISABLED` and whose seeds are scheduled; reset here.
        rng: Draws commitments and numbers of plans.
        most_plans: Most plans in a row, >= 1.
        noise: Probability that a step of a plan takes a random action.

    Raises:
        SettingError: If the environments reset themselves.
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
        if vector.autoreset is not Autoreset.DISABLED:
            raise SettingError(f"student states need autoreset 'disabled', got {vector.autoreset.value!r}")
        self._student, self._teacher, self._vector, self._rng = student, teacher, vector, rng
        self._most_plans, self._noise = most_plans, noise
        self._episodes = np.zeros(vector.n_envs, np.int64)
        vector.reset()

    def _no_actions(self, *shape: int) -> NDArray[Any]:
        space = self._vector.action_space
        return np.zeros((*shape, *space.shape), space.dtype)

    def turn(self) -> StudentWindows:
        """Student, then teacher, once in every environment; at most one window each, in the environments' order.

        Raises:
            NonFiniteError: If the teacher answers with a NaN or an infinity.
            BrokenEnvironmentError: If an environment refuses an action of the teacher, or breaks its contract.
        """
        running = np.ones(self._vector.n_envs, bool)
        self._follow_student(running)
        windows = self._record_teacher(running)
        self._vector.reset(~running)
        self._episodes += ~running
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
        """Plans `(n, horizon, *action_shape)`, some of their actions replaced by random ones."""
        if not self._noise:
            return plans
        hit = self._rng.random(plans.shape[:2]) < self._noise
        disturbed = plans.copy()
        if hit.any():
            disturbed[hit] = self._vector.action_space.samples(self._rng, int(hit.sum()))
        return disturbed

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
            rows, plan = running[envs], self._teacher.plan(seen)
            logits[rows, step] = teacher_logits_of(plan)
            if not np.isfinite(logits[rows, step]).all():
                raise non_finite_plan(self._teacher, f"step {step} (from 0) after a plan of the student")
            actions[rows, step], valid[rows, step] = plan.mode()[:, 0], True
            chosen[running] = actions[rows, step]
            running &= ~self._vector.advance(chosen, running).done
            if step + 1 < horizon:
                seen = self._vector.observe(running)
        return StudentWindows(sources, actions, logits, valid, envs, self._episodes[envs])
