"""Refinement (DAgger): train a student further on the states that its own plans lead to.

Plain distillation shows a student the teacher's states alone, but a plan ends where the student's actions led. In each round
the present student is played, the teacher acts from where its plans end (`StudentStates`), and the windows of all rounds are
trained on beside the teacher's own episodes. No episode is dropped for its outcome: here an episode mostly fails because of
the student, and the worse its state, the more the teacher's action in it is worth.

Source: Ross et al. 2011 (arXiv:1011.0686), Algorithm 3.1 (DAgger: windows are aggregated over the rounds).
"""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any, NotRequired, TypedDict

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray
from torch import Tensor

from phr.distil.config import SIDE_BY_SIDE, PHRConfig
from phr.distil.phr import PHR
from phr.distil.windows import StudentWindowData, StudentWindows, Windows
from phr.envs.vector import Remarks, VectorSplit, random_prefix
from phr.evaluation.episodes import make_vector
from phr.experience.collect import non_finite_plan, teacher_logits_of
from phr.experience.trajectory import Experience
from phr.files import AtLeastZero, as_kind
from phr.networks.policy import PlanNetwork, TorchPlanner, blank_network
from phr.plan import Planner, memory_of
from phr.progress import Progress
from phr.seeding import Streams
from phr.storage.tensors import network_tensors

_PATIENCE = 8
"""Most turns per wanted window of an environment; turns whose episode ends within a plan leave none."""

_HOPELESS = 1024
"""Turns of single environments without any window after which the round ends: no plan seems to end within an episode."""

_MEASURED_TURNS = 3
"""Turns after which it is known how long a window takes."""

_FEWEST = 2000
"""Windows of a round below which there are fewer rounds instead."""

_PROBE = 256
"""Held-out windows that judge whether a round is needed at all."""

_HELD_OUT = 8
"""One of so many environments is held out to measure agreement; with fewer environments, one of so many episodes."""


class StudentStates:
    """Plays a student's plans and the teacher in turn, within the same episodes, and records the teacher's part.

    **Which states.** An agent of commitment c looks where a plan, cut after c actions, has ended. One student serves every
    commitment from 1 to its horizon, so c is drawn evenly from 1 .. horizon whenever the student continues: every commitment
    gets as many windows as any other. A c drawn once an episode would leave it to a few long episodes to cover them.

    **How far from the teacher.** The teacher then acts for `horizon` steps and may repair everything. So one plan in a row
    never shows what a second plan makes of the first one's mistake. Therefore 1 .. `refine_plans` plans, drawn evenly, are
    executed in a row, all cut at the same c, before the teacher acts.

    **What is recorded.** A window begins at the state itself and holds the greedy teacher's next `horizon` actions, taken
    in closed loop in this very episode, so it is correct in a stochastic environment too. An episode that ends cuts its
    window short (`valid`); a plan in which it ends leaves no window, because no agent looks then. An episode whose
    environment refuses an action of the student is abandoned and counted in the vector's `remarks`.

    **Variety.** In a deterministic environment the same states come again and again. With `refine_noise`, some actions of a
    plan are random.

    No observation is made while a plan runs. All environments follow the student, then all follow the teacher, so that each
    network call serves all of them; an environment whose episode has ended waits for the next turn.

    The environments have autoreset `disabled` and scheduled seeds; `rng` draws commitments and numbers of plans.

    Source: DAgger with a plan as the action; noise: Laskey et al. 2017 (arXiv:1703.09327).
    """

    def __init__(
        self, student: Planner, teacher: Planner, vector: VectorSplit, rng: np.random.Generator, config: PHRConfig
    ) -> None:
        self._student, self._teacher, self._vector, self._rng = student, teacher, vector, rng
        self._most_plans, self._noise = config.refine_plans, config.refine_noise
        self._ended, self._episodes = np.ones(vector.n_envs, bool), np.full(vector.n_envs, -1)
        self._memory = memory_of(teacher, vector.n_envs)

    def _no_actions(self, *shape: int) -> NDArray[Any]:
        space = self._vector.action_space
        return np.zeros((*shape, *space.shape), space.dtype)

    def turn(self) -> StudentWindows:
        """Play student, then teacher, in every environment; return at most one window each, in the environments' order."""
        self._vector.reset(self._ended)
        self._memory.forget(np.flatnonzero(self._ended))
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
                if self._memory.remembers:  # the teacher has to see what happens, although it does not act
                    self._memory.plan(self._vector.observe(moving), np.flatnonzero(moving))
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
            rows = running[envs]
            plan = self._memory.plan(seen.copy(), np.flatnonzero(running))  # it may change its input; `sources` is recorded
            logits[rows, step] = teacher_logits_of(plan, len(seen))
            if not np.isfinite(logits[rows, step]).all():
                raise non_finite_plan(self._teacher, f"step {step} (from 0) after a plan of the student")
            actions[rows, step], valid[rows, step] = plan.mode()[:, 0], True
            chosen[running] = actions[rows, step]
            running &= ~self._vector.advance(chosen, running).done
            if step + 1 < horizon:
                seen = self._vector.observe(running)
        return StudentWindows(sources, actions, logits, valid, envs, self._episodes[envs])


class RefinementRound:
    """A round in play; its number, from 1, and the seed determine it, so it has environments of its own."""

    def __init__(
        self, number: int, actor: TorchPlanner, teacher: Planner, env_id: str, config: PHRConfig, remarks: Remarks
    ) -> None:
        self.number, self.n_windows, self._n_turns, self.is_judged = number, 0, 0, False
        self._config, self.hash = config, hashlib.sha256()  # of the observations and actions of all windows
        streams = Streams(config.seed)

        def prefix(env: int, episode: int) -> tuple[Any, ...]:
            rng = streams.rng("refine-prefix", number, env, episode)
            return random_prefix(actor.action_space, rng, config.prefix, config.prefix_share)

        n_wanted = min(config.n_envs or SIDE_BY_SIDE, config.refine_windows)
        self.vector = make_vector(env_id, n_wanted, partial(streams.integer, "refine-env", number), prefix, remarks)
        self._states = StudentStates(actor, teacher, self.vector, streams.rng("refine-commitments", number), config)
        self._begun = time.monotonic()

    @property
    def window_seconds(self) -> float | None:
        """Mean time of a window that was played; None before a few turns, and without any."""
        is_known = self._n_turns >= _MEASURED_TURNS and self.n_windows > 0
        return (time.monotonic() - self._begun) / self.n_windows if is_known else None

    def lower(self, n_windows: int) -> None:
        """Play no more windows than these."""
        self._config = replace(self._config, refine_windows=n_windows)

    @property
    def done(self) -> bool:
        """Whether all windows are there, or no more are to be expected."""
        wanted, n_envs = self._config.refine_windows, self.vector.n_envs
        hopeless = not self.n_windows and self._n_turns * n_envs >= _HOPELESS
        return self.n_windows >= wanted or self._n_turns >= _PATIENCE * -(-wanted // n_envs) or hopeless

    def turn(self, windows: StudentWindowData, held_out: StudentWindowData) -> None:
        """Play one turn, and add its windows to the training windows or to the held-out ones."""
        new = self._states.turn().first(self._config.refine_windows - self.n_windows)
        keys, aside = new.keys(), self._held_out(new)
        self.hash.update(b"".join(keys))
        windows.add(new, keys, ~aside)
        held_out.add(new, keys, aside)
        self.n_windows += len(new)
        self._n_turns += 1

    def _held_out(self, windows: StudentWindows) -> NDArray[np.bool_]:
        """Return which windows are held out; all windows of one episode are on the same side."""
        n_envs = self.vector.n_envs
        by_episode: NDArray[np.bool_] = (windows.envs + windows.episodes) % _HELD_OUT == 1
        return by_episode if n_envs < _HELD_OUT else windows.envs >= n_envs - n_envs // _HELD_OUT


class Refinement(PHR):
    """A distillation with rounds of refinement; `update` plays one turn of a round, or takes a gradient step.

    A checkpoint holds the weights that were played instead of windows: playing them again gives the same windows, which a
    hash confirms. `reports` has the windows of each round, and the agreement before and after it, head by head.
    """

    skipped = ""
    """Why there is nothing to refine."""
    is_enough = False
    """Whether unseen plans are right as often as `config.refine_until` asks for, so that no further round is needed."""

    def __init__(
        self,
        start: PlanNetwork,
        experience: Experience,
        config: PHRConfig,
        teacher: Planner,
        env_id: str,
        obs_space: spaces.Box,
        say: Callable[[str], None],
        remarks: Remarks,
        *,
        until: float = math.inf,
    ) -> None:
        super().__init__(start, experience, config, until=until)
        self._teacher, self._env_id, self._obs_space = teacher, env_id, obs_space
        self._say, self._remarks = say, remarks
        self.reports: list[dict[str, Any]] = []
        self._played: list[dict[str, Tensor]] = []
        self._n_ready = 0
        self._round: RefinementRound | None = None
        self.windows = self._no_windows(config.refine * config.refine_windows, unique=True)
        self.held_out = self._no_windows(1, unique=False)
        """Those of the latest round that nothing is trained on."""

    def _no_windows(self, capacity: int, *, unique: bool) -> StudentWindowData:
        made_for = self._obs_space, self.space, self._teacher.n_actions, self.config
        return StudentWindowData(capacity, *made_for, unique=unique)

    def close(self) -> None:
        """Close the environments of the round in play."""
        if self._round is not None:
            self._round.vector.close()
            self._round = None

    @property
    def done(self) -> bool:
        """Whether the last round has reached its end, or there is nothing (more) to refine."""
        return self.is_enough or (super().done and self._n_ready == len(self._played))

    def progress(self) -> Progress:
        """Return the windows of the round in play, else the gradient steps."""
        if self.is_enough:
            return replace(super().progress(), total=self.n_updates)
        if self._round is None:
            return super().progress()
        stage = f"{self._title(self._round.number)}: playing the student"
        return Progress(stage, self._round.n_windows, self.config.refine_windows, "windows")

    def _title(self, number: int) -> str:
        return f"refinement, round {number} of {self.config.refine}"

    def _sources(self) -> list[tuple[Windows, int]]:
        """Return a fixed share of student states, last.

        It does not depend on how many windows each has: a few thousand student states would be lost among a million steps of
        long teacher episodes.
        """
        n = self.config.batch_size
        n_led = round(self.config.refine_share * n) if len(self.windows) else 0
        return [(windows, part) for windows, part in ((self.data, n - n_led), (self.windows, n_led)) if part]

    def _noted(self) -> dict[str, Windows]:
        return super()._noted() | {"student": self.windows}

    def update(self) -> dict[str, float]:
        """Play one turn of a round, which has no metrics; where no round is to be played, take one gradient step.

        The first and the last step after a round also return the agreement. If no plan of the student ends within an
        episode, `skipped` is set, and the teacher's own episodes are learnt from to the end.
        """
        n_begun = len(self._played)
        is_due = n_begun < self.config.refine and self.n_updates == (n_begun + 1) * self.config.refine_updates
        if self._n_ready == n_begun and is_due:
            weights = network_tensors(self.network, prefix="")
            self._played.append({name: value.clone() for name, value in weights.items()})
        if self._n_ready < len(self._played):
            self._play()
            return {}
        begin, length = self.config.phase(self.n_updates)
        first = bool(self.reports) and self.n_updates == begin
        values = super().update()
        if first:
            values |= self._metrics("before")
        if self.reports and self.n_updates == begin + length:
            report = self.reports[-1]
            report["after"], report["plans_after"] = self._compared()
            self._say(f"{self._title(report['round'])}, trained: {_percents(report['after'])}")
            values |= self._metrics("after")
        return values

    def _play(self) -> None:
        """Play one turn of the first round whose windows are missing."""
        if self._round is None:
            self.held_out, self._n_before = self._no_windows(self.config.refine_windows, unique=False), len(self.windows)
            network = blank_network(self.network.config)
            network.load_state_dict(self._played[self._n_ready])
            actor = TorchPlanner(network, self._obs_space.dtype)
            number = self._n_ready + 1
            self._round = RefinementRound(number, actor, self._teacher, self._env_id, self.config, self._remarks)
        self._round.turn(self.windows, self.held_out)
        self._fit_rounds(self._round)
        self.is_enough = self._is_enough(self._round)
        if self._round.done or self.is_enough:
            self._n_ready += 1
            self._report(self._round)
            self.close()

    def _fit_rounds(self, played: RefinementRound) -> None:
        """Lower the windows of all rounds, or the rounds, to what there is time for; once, early in the first round."""
        each = played.window_seconds
        if not math.isfinite(self.until) or "refinement" in self.decided or self.reports or each is None:
            return
        config = self.config
        left, update = max(0.0, self.until - time.monotonic()), self.update_seconds or 0.0
        rounds, further = affordable_rounds(config, left + played.n_windows * each, each, update)
        n_windows = max(further, played.n_windows, played.vector.n_envs)  # as many environments play in a replay
        changed = {"refine": rounds, "refine_windows": n_windows}
        self.decide("refinement", {name: n for name, n in changed.items() if n < getattr(config, name)})
        played.lower(n_windows)
        if self.decided["refinement"]:
            self._say(
                f"refinement has time for {rounds} round{'s' if rounds > 1 else ''} of {n_windows:,} windows, instead of "
                f"{config.refine} of {config.refine_windows:,}"
            )

    def _is_enough(self, played: RefinementRound) -> bool:
        """Judge the weights that play, once in a round: as soon as `_PROBE` windows are held out, or at its end.

        The windows are unseen in either case. A round that is replayed after its training was judged before it.
        """
        n = len(self.held_out)
        if self.config.refine_until >= 1 or played.is_judged or not n or (n < _PROBE and not played.done):
            return False
        if self.n_updates != played.number * self.config.refine_updates:
            return False
        played.is_judged = True
        return self.compare(self.held_out)[1] >= self.config.refine_until

    def _report(self, played: RefinementRound) -> None:
        """Report a round; one that is replayed after resuming is compared with its report."""
        if not len(self.windows):
            self.skipped = (
                f"refinement was skipped: {played.n_windows} plans of the student ended within an episode of {self._env_id} "
                "and left nothing to regress; episodes are too short for it"
            )
            self.config = replace(self.config, refine=played.number)
        elif len(self.reports) < played.number:
            (before, plans), n_new, n_held_out = self._compared(), len(self.windows) - self._n_before, len(self.held_out)
            report = {"round": played.number, "windows": n_new, "held_out": n_held_out, "sha256": played.hash.hexdigest()}
            earlier: float | None = self.reports[-1]["plans_before"] if self.reports else None
            self.reports.append({**report, "before": before, "plans_before": plans})
            title, whole, verdict = self._title(played.number), "unknown" if plans is None else f"{plans:.1%}", ""
            if self.is_enough:
                verdict = ", which is enough"
            elif self.config.refine_until < 1 and plans is not None and earlier is not None and plans <= earlier:
                verdict = ", no more than a round ago, so this round is the last"
                self.config = replace(self.config, refine=played.number)
            self._say(
                f"{title}: {n_new:,} new windows where the student's plans led; agreement with the "
                f"teacher there, on {n_held_out:,} others, head by head: {_percents(before)}; whole plans {whole}{verdict}"
            )
        elif self.reports[played.number - 1]["sha256"] != played.hash.hexdigest():
            self._say(
                f"{self._title(played.number)}: playing it again led to other states; {self._env_id} is not determined by "
                "its seed, so this run does not continue exactly"
            )

    def _compared(self) -> tuple[list[float | None], float | None]:
        """Return the agreement on held-out windows, head by head and of whole plans."""
        return self.compare(self.held_out) if len(self.held_out) else ([None] * self.config.horizon, None)

    def _metrics(self, when: str) -> dict[str, float]:
        report = self.reports[-1]
        known = ((k, value) for k, value in enumerate(report[when], start=1) if value is not None)
        heads = {f"refine/agreement_{when}/head_{k}": value for k, value in known}
        return {"refine/round": float(report["round"]), "refine/windows": float(report["windows"]), **heads}

    def checkpoint(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Return all that `restore` needs to continue bit for bit."""
        tensors, state = super().checkpoint()
        for number, weights in enumerate(self._played, start=1):
            tensors |= {f"round-{number}.{name}": value for name, value in weights.items()}
        mine = {"n_played": len(self._played), "reports": [dict(report) for report in self.reports]}
        return tensors, {**state, **mine, "refine": self.config.refine}

    def restore(self, tensors: dict[str, Tensor], state: dict[str, Any]) -> None:
        """Go back to where `checkpoint` was taken; the next updates replay the earlier rounds."""
        super().restore(tensors, state)
        as_kind(state, _Refined, "its state")
        self.config = replace(self.config, refine=state["refine"])  # less, where rounds were left out
        self.reports, self._played = state["reports"], []
        for prefix in (f"round-{number}." for number in range(1, state["n_played"] + 1)):
            mine = {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
            self._played.append(mine)


_Shares = list[float | None]


class _Report(TypedDict):
    round: int
    windows: AtLeastZero
    held_out: AtLeastZero
    sha256: str
    before: _Shares
    plans_before: float | None
    after: NotRequired[_Shares]
    plans_after: NotRequired[float | None]


class _Refined(TypedDict):
    """What a refinement adds to the state in a checkpoint."""

    n_played: AtLeastZero
    reports: list[_Report]
    refine: AtLeastZero


def affordable_rounds(config: PHRConfig, left: float, per_window: float, per_update: float) -> tuple[int, int]:
    """Return how many rounds, of how many windows each, can be played and learnt from in so many seconds.

    Half of the time at the least is for playing, and a third at the most for training between the rounds. Windows become
    fewer before rounds do, down to `_FEWEST`.
    """
    fewest = min(_FEWEST, config.refine_windows)
    for rounds in range(config.refine, 1, -1):
        between = (rounds - 1) * config.refine_updates * per_update
        n_windows = _affordable_windows(config, rounds, left, per_window, per_update)
        if n_windows >= fewest and between <= left / 3:
            return rounds, n_windows
    return 1, _affordable_windows(config, 1, left, per_window, per_update)


def _affordable_windows(config: PHRConfig, rounds: int, left: float, per_window: float, per_update: float) -> int:
    learning = ((rounds - 1) * config.refine_updates + config.n_updates) * per_update
    return min(config.refine_windows, int((left - min(learning, left / 2)) / (rounds * per_window)))


def _percents(agreement: list[float | None]) -> str:
    return " ".join("–" if value is None else f"{100 * value:.1f}" for value in agreement) + " %"
