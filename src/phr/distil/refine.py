"""Refinement (DAgger): train a student further on the states that its own plans lead to.

Plain distillation shows a student the teacher's states alone, but a plan ends where the student's actions led. In each round
the present student is played, the teacher acts from where its plans end (`StudentStates`), and the windows of all rounds are
trained on beside the teacher's own episodes. No episode is dropped for its outcome: here an episode mostly fails because of
the student, and the worse its state, the more the teacher's action in it is worth.

Source: Ross et al. 2011 (arXiv:1011.0686), Algorithm 3.1 (DAgger: windows are aggregated over the rounds).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray
from torch import Tensor

from phr.distil.phr import PHR
from phr.distil.student_states import MixedWindows, StudentStates, StudentWindowData, StudentWindows
from phr.envs.lanes import random_prefix
from phr.envs.vector import Remarks
from phr.evaluation.episodes import make_vector
from phr.networks.policy import TorchPlanner, blank_network
from phr.progress import Progress
from phr.protocols import Planner
from phr.seeding import Streams
from phr.storage.tensors import network_tensors, restore_network

_PATIENCE = 8
"""Most turns per wanted window of an environment; turns whose episode ends within a plan leave none."""

_HOPELESS = 1024
"""Turns of single environments without any window after which the round ends: no plan seems to end within an episode."""

_HELD_OUT = 8
"""One of so many environments is held out to measure agreement; with fewer environments, one of so many episodes."""


class RefinementRound:
    """A round in play; its number, from 1, and the seed determine it, so it has environments of its own."""

    def __init__(
        self, number: int, actor: Planner, teacher: Planner, env_id: str, student: PHR, n_before: int, remarks: Remarks
    ) -> None:
        config = student.config
        self.number, self.n_windows, self.n_before, self._n_turns = number, 0, n_before, 0
        self._wanted, self._hash = config.refine_windows, hashlib.sha256()
        streams = Streams(config.seed)

        def seed(env: int, episode: int) -> int:
            return streams.integer("refine-env", number, env, episode)

        def prefix(env: int, episode: int) -> tuple[Any, ...]:
            rng = streams.rng("refine-prefix", number, env, episode)
            return random_prefix(student.space, rng, config.prefix, config.prefix_share)

        n_wanted = min(config.side_by_side, config.refine_windows)
        with ExitStack() as opened:
            vector = opened.enter_context(make_vector(env_id, n_wanted, seed, prefix, remarks))
            rng = streams.rng("refine-commitments", number)
            most, noise = config.refine_plans, config.refine_noise
            self._states = StudentStates(actor, teacher, vector, rng, most_plans=most, noise=noise)
            self._opened = opened.pop_all()
        self._n_envs = vector.n_envs
        self._most_turns = _PATIENCE * -(-config.refine_windows // self._n_envs)

    @property
    def done(self) -> bool:
        """Whether all windows are there, or no more are to be expected."""
        hopeless = not self.n_windows and self._n_turns * self._n_envs >= _HOPELESS
        return self.n_windows >= self._wanted or self._n_turns >= self._most_turns or hopeless

    @property
    def sha256(self) -> str:
        """Hash of the observations and actions of all windows so far."""
        return self._hash.hexdigest()

    def turn(self, windows: StudentWindowData, held_out: StudentWindowData) -> None:
        """Play one turn, and add its windows to the training windows or to the held-out ones."""
        new = self._states.turn().subset(slice(self._wanted - self.n_windows))
        keys = new.keys()
        self._hash.update(b"".join(keys))
        aside = self._held_out(new)
        for data, rows in ((windows, ~aside), (held_out, aside)):
            data.add(new.subset(rows), [key for key, wanted in zip(keys, rows.tolist(), strict=True) if wanted])
        self.n_windows += len(new)
        self._n_turns += 1

    def _held_out(self, windows: StudentWindows) -> NDArray[np.bool_]:
        """Return which windows are held out; all windows of one episode are on the same side."""
        if self._n_envs < _HELD_OUT:
            aside: NDArray[np.bool_] = (windows.envs + windows.episodes) % _HELD_OUT == 1
        else:
            aside = windows.envs >= self._n_envs - self._n_envs // _HELD_OUT
        return aside

    def close(self) -> None:
        """Close the environments."""
        self._opened.close()


class Refinement:
    """A distillation and the rounds of refinement after it; `update` plays one turn of a round, or takes a gradient step.

    A checkpoint holds the weights that were played instead of windows: playing them again gives the same windows, which a
    hash confirms.

    Args:
        student: The distillation, with the settings of the rounds.
        teacher: Acts greedily where the student's plans end.
        env_id: The environment.
        obs_space: Observation space.
        say: Called with the results of each round, one line at a time.
        remarks: Counts what did not go as asked.

    Attributes:
        skipped: Why there is nothing to refine; empty where there is.
        reports: Windows of each round, and the agreement before and after it, head by head.
    """

    def __init__(
        self,
        student: PHR,
        teacher: Planner,
        env_id: str,
        obs_space: spaces.Box,
        *,
        say: Callable[[str], None] = lambda _line: None,
        remarks: Remarks | None = None,
    ) -> None:
        self.student, self._teacher, self._env_id, self._say = student, teacher, env_id, say
        self._remarks = Remarks() if remarks is None else remarks
        self.skipped = ""
        self.reports: list[dict[str, Any]] = []
        self._played: list[dict[str, Tensor]] = []
        self._n_ready = 0
        self._round: RefinementRound | None = None
        config = student.config
        self._space, self._actions = obs_space, student.space
        self.windows = self._no_windows(config.refine * config.refine_windows, unique=True)
        self._held_out = self._no_windows(config.refine_windows, unique=False)

    def _no_windows(self, capacity: int, *, unique: bool) -> StudentWindowData:
        config, n_outputs = self.student.config, self._teacher.n_actions
        return StudentWindowData(capacity, self._space, self._actions, config, unique=unique, n_outputs=n_outputs)

    @property
    def n_updates(self) -> int:
        """Gradient steps done."""
        return self.student.n_updates

    @property
    def done(self) -> bool:
        """Whether the last round has reached its end, or there is nothing to refine."""
        return bool(self.skipped) or self.student.done

    def progress(self) -> Progress:
        """Return the windows of the round in play, else the gradient steps."""
        if self.skipped:
            return replace(self.student.progress(), total=self.n_updates)
        if self._round is None:
            return self.student.progress()
        stage = f"refinement, round {self._round.number} of {self.student.config.refine}: playing the student"
        return Progress(stage, self._round.n_windows, self.student.config.refine_windows, "windows")

    def averages(self) -> dict[str, float]:
        """Return nothing: the loss is in every row of metrics."""
        return {}

    def update(self) -> dict[str, float]:
        """Play one turn of a round, which has no metrics; where no round is to be played, take one gradient step.

        If no plan of the student ends within an episode, `skipped` is set and the training is done.

        Returns:
            The loss and the gradient norm; with the first and the last step of a round also the agreement.

        Raises:
            NonFiniteError: If the loss or the gradient is not finite, or the teacher's plan is not.
            BrokenEnvironmentError: If the environment refuses an action of the teacher, or breaks its contract.
        """
        config = self.student.config
        if self.n_updates == config.n_updates + len(self._played) * config.refine_updates:
            weights = network_tensors(self.student.network, prefix="")
            self._played.append({name: value.clone() for name, value in weights.items()})
        if self._n_ready < len(self._played):
            self._play()
            return {}
        begin, length = config.phase(self.n_updates)
        first = bool(self._played) and self.n_updates == begin
        values = self.student.update()
        if first:
            values |= self._metrics("before")
        if self._played and self.n_updates == begin + length:
            self._close_round()
            values |= self._metrics("after")
        return values

    def _play(self) -> None:
        """Play one turn of the first round whose windows are missing."""
        if self._round is None:
            self._held_out = self._no_windows(self.student.config.refine_windows, unique=False)
            self._round = self._open_round(self._n_ready + 1)
        self._round.turn(self.windows, self._held_out)
        if self._round.done:
            played = self._round
            self.close()
            self._finish_playing(played)
            self._n_ready += 1

    def _open_round(self, number: int) -> RefinementRound:
        network = blank_network(self.student.network.config)
        restore_network(network, self._played[number - 1], prefix="")
        actor, n_before = TorchPlanner(network, self._space.dtype), len(self.windows)
        return RefinementRound(number, actor, self._teacher, self._env_id, self.student, n_before, self._remarks)

    def close(self) -> None:
        """Close the environments of the round in play."""
        if self._round is not None:
            self._round.close()
            self._round = None

    def _finish_playing(self, played: RefinementRound) -> None:
        """Report a round, and mix its windows in; one that is replayed after resuming is compared with its report."""
        config = self.student.config
        if not len(self.windows):
            self.skipped = (
                f"refinement was skipped: {played.n_windows} plans of the student ended within an episode of {self._env_id} "
                "and left nothing to regress; episodes are too short for it"
            )
            return
        self.student.draw_from(MixedWindows(self.student.data, self.windows, config.refine_share))
        title = f"refinement, round {played.number} of {config.refine}"
        if len(self.reports) >= played.number:
            if self.reports[played.number - 1]["sha256"] != played.sha256:
                self._say(
                    f"{title}: playing it again led to other states; {self._env_id} is not determined by its seed, so this "
                    "run does not continue exactly"
                )
            return
        before, n_new, n_held_out = self._agreement(), len(self.windows) - played.n_before, len(self._held_out)
        report = {"round": played.number, "windows": n_new, "held_out": n_held_out, "sha256": played.sha256}
        self.reports.append({**report, "before": before})
        self._say(
            f"{title}: {n_new:,} new windows where the student's plans led; agreement with the teacher there, on "
            f"{n_held_out:,} others, head by head: {_percents(before)}"
        )

    def _close_round(self) -> None:
        report = self.reports[-1]
        report["after"] = self._agreement()
        config = self.student.config
        self._say(f"refinement, round {report['round']} of {config.refine}, trained: {_percents(report['after'])}")

    def _agreement(self) -> list[float | None]:
        """Return the agreement on held-out windows; None for a head without any valid step in them."""
        if not len(self._held_out):
            return [None] * self.student.config.horizon
        found = zip(self.student.agreement(self._held_out), self._held_out.steps_per_head(), strict=True)
        return [value if n else None for value, n in found]

    def _metrics(self, when: str) -> dict[str, float]:
        report = self.reports[-1]
        known = ((k, value) for k, value in enumerate(report[when], start=1) if value is not None)
        heads = {f"refine/agreement_{when}/head_{k}": value for k, value in known}
        return {"refine/round": float(report["round"]), "refine/windows": float(report["windows"]), **heads}

    def checkpoint(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Return all that `restore` needs to continue bit for bit."""
        tensors, state = self.student.checkpoint()
        for number, weights in enumerate(self._played, start=1):
            tensors |= {f"round-{number}.{name}": value for name, value in weights.items()}
        return tensors, {**state, "n_played": len(self._played), "reports": [dict(report) for report in self.reports]}

    def restore(self, tensors: dict[str, Tensor], state: dict[str, Any]) -> None:
        """Go back to where `checkpoint` was taken; the next updates replay the earlier rounds."""
        self.student.restore(tensors, state)
        self.reports = state["reports"]
        for number in range(1, state["n_played"] + 1):
            prefix = f"round-{number}."
            weights = {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
            self._played.append(weights)


def _percents(agreement: list[float | None]) -> str:
    """Return the percentages of the heads."""
    return " ".join("–" if value is None else f"{100 * value:.1f}" for value in agreement) + " %"
