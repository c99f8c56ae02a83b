"""One round of refinement in play: which windows it finds, and which of them only measure."""

from __future__ import annotations

import hashlib
from typing import Any

from phr.envs.lanes import random_prefix
from phr.envs.registry import make_env
from phr.envs.vector import Autoreset, VectorSplit
from phr.experience.student_states import StudentStates
from phr.learning.phr import PHR
from phr.learning.student_windows import StudentWindowData
from phr.protocols import Planner
from phr.seeding import Streams

REFINING_ENVS = 64
"""Environments that are played side by side."""

_PATIENCE = 8
"""Turns for each window wanted of an environment; where episodes end within a plan, most turns leave none."""


class RefinementRound:
    """A round in play: environments of its own, so that its number and the seed decide all of it.

    Args:
        number: From 1.
        actor: Whose plans are played.
        teacher: Asked where they end.
        env_id: Where.
        student: Whose settings say how much.
        n_before: Windows of the rounds before.
    """

    def __init__(self, number: int, actor: Planner, teacher: Planner, env_id: str, student: PHR, n_before: int) -> None:
        config = student.config
        self.number, self.n_windows, self.n_before, self._n_turns = number, 0, n_before, 0
        self._wanted, self._hash = config.refine_windows, hashlib.sha256()
        streams = Streams(config.seed)
        n_envs = min(REFINING_ENVS, max(2, config.refine_windows))

        def seed(env: int, episode: int) -> int:
            return streams.integer("refine-env", number, env, episode)

        def prefix(env: int, episode: int) -> tuple[Any, ...]:
            rng = streams.rng("refine-prefix", number, env, episode)
            return random_prefix(student.space, rng, config.prefix, config.prefix_share)

        self._vector = VectorSplit([make_env(env_id) for _ in range(n_envs)], Autoreset.DISABLED, seed, prefix)
        rng = streams.rng("refine-commitments", number)
        most, noise = config.refine_plans, config.refine_noise
        self._states = StudentStates(actor, teacher, self._vector, rng, most_plans=most, noise=noise)
        self._first_held_out = n_envs - max(1, n_envs // 8)
        self._most_turns = _PATIENCE * -(-config.refine_windows // n_envs)

    @property
    def done(self) -> bool:
        """Whether all windows are there, or no more can be hoped for."""
        return self.n_windows >= self._wanted or self._n_turns >= self._most_turns

    @property
    def sha256(self) -> str:
        """Of all windows so far: what they show and the actions they ask for."""
        return self._hash.hexdigest()

    def turn(self, windows: StudentWindowData, held_out: StudentWindowData) -> None:
        """Play on, and add the new windows to those that are trained on, or to those that only measure."""
        new = self._states.turn().subset(slice(self._wanted - self.n_windows))
        keys = new.keys()
        self._hash.update(b"".join(keys))
        aside = new.envs >= self._first_held_out
        for data, rows in ((windows, ~aside), (held_out, aside)):
            data.add(new.subset(rows), [key for key, wanted in zip(keys, rows.tolist(), strict=True) if wanted])
        self.n_windows += len(new)
        self._n_turns += 1

    def close(self) -> None:
        """Close the environments."""
        self._vector.close()
