"""One round of refinement in play: which windows it finds, and which of them only measure."""

from __future__ import annotations

import hashlib
from contextlib import ExitStack
from typing import Any

import numpy as np
from numpy.typing import NDArray

from phr.distil.phr import PHR
from phr.distil.student_states import StudentStates, StudentWindows
from phr.distil.student_windows import StudentWindowData
from phr.envs.lanes import random_prefix
from phr.envs.remarks import Remarks
from phr.evaluation.episodes import make_vector
from phr.protocols import Planner
from phr.seeding import Streams

_PATIENCE = 8
"""Turns for each window wanted of an environment; where episodes end within a plan, most turns leave none."""

_HOPELESS = 1024
"""Turns of single environments without any window, after which no more is played: no plan seems to end in an episode."""

_HELD_OUT = 8
"""One of so many environments only measures, or where there are fewer, one of so many episodes of each."""


class RefinementRound:
    """A round in play: environments of its own, so that its number and the seed decide all of it.

    Args:
        number: From 1.
        actor: Whose plans are played.
        teacher: Asked where they end.
        env_id: Where.
        student: Whose settings say how much.
        n_before: Windows of the rounds before.
        remarks: Collects what did not go as asked.
    """

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
        """Whether all windows are there, or no more can be expected."""
        hopeless = not self.n_windows and self._n_turns * self._n_envs >= _HOPELESS
        return self.n_windows >= self._wanted or self._n_turns >= self._most_turns or hopeless

    @property
    def sha256(self) -> str:
        """Of all windows so far: what they show and the actions they ask for."""
        return self._hash.hexdigest()

    def turn(self, windows: StudentWindowData, held_out: StudentWindowData) -> None:
        """Play on, and add the new windows to those that are trained on, or to those that only measure."""
        new = self._states.turn().subset(slice(self._wanted - self.n_windows))
        keys = new.keys()
        self._hash.update(b"".join(keys))
        aside = self._held_out(new)
        for data, rows in ((windows, ~aside), (held_out, aside)):
            data.add(new.subset(rows), [key for key, wanted in zip(keys, rows.tolist(), strict=True) if wanted])
        self.n_windows += len(new)
        self._n_turns += 1

    def _held_out(self, windows: StudentWindows) -> NDArray[np.bool_]:
        """Which windows only measure agreement; all windows of one episode are on the same side."""
        if self._n_envs < _HELD_OUT:
            aside: NDArray[np.bool_] = (windows.envs + windows.episodes) % _HELD_OUT == 1
        else:
            aside = windows.envs >= self._n_envs - self._n_envs // _HELD_OUT
        return aside

    def close(self) -> None:
        """Close the environments."""
        self._opened.close()
