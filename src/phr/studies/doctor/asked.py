"""A teacher that can be asked what it would do, whatever its actions look like."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from gymnasium import spaces

from phr.errors import IncompatibleModelError
from phr.evaluation.evaluate import check_fits
from phr.studies.doctor.world import SplitWorld, World
from phr.teachers.foreign import Reading, is_foreign, load_foreign, name_of
from phr.teachers.policy import ContinuousTeacher
from phr.teachers.references import resolve

TOLERANCE = 0.05
"""Two continuous actions count as the same if no number differs by more than this part of its range."""


@dataclass(frozen=True)
class Asked:
    """A teacher and when two of its actions are the same.

    Attributes:
        reference: What the user typed.
        act: Observation → its most likely action.
        space: Of its actions.
    """

    reference: str
    act: Callable[[Any], Any]
    space: spaces.Space[Any]

    @property
    def tolerance(self) -> float | None:
        """How far two actions may lie apart and be the same, as a part of their range; None where they are told exactly."""
        return TOLERANCE if isinstance(self.space, spaces.Box) else None

    def same(self, one: Any, other: Any) -> bool:
        """Whether two actions are the same."""
        if not isinstance(self.space, spaces.Box):
            return bool(np.array_equal(one, other))
        span = self.space.high - self.space.low
        return bool((np.abs(np.asarray(one) - other) <= TOLERANCE * np.where(np.isfinite(span), span, 1.0)).all())


def ask(reference: Any, world: World, reading: Reading) -> Asked:
    """A teacher of any make for this world.

    Args:
        reference: As for `phr evaluate`.
        world: Where it acts.
        reading: What its file does not say.

    Raises:
        UsageError: If the reference stands for nothing that can be read, or does not fit the environment.
        CorruptFileError: If a file was truncated or edited.
    """
    act = _planner(reference, world, reading) if isinstance(world, SplitWorld) else _continuous(reference, world, reading)
    return Asked(name_of(reference), act, world.action_space)


def _planner(reference: Any, world: SplitWorld, reading: Reading) -> Callable[[Any], Any]:
    actor = resolve(reference, env_id=world.env_id, reading=reading)
    check_fits(actor.planner, world.env, expected_shape=actor.model.manifest.obs_shape if actor.model else None)

    def act(obs: Any) -> Any:
        first = actor.planner.plan(obs[None]).mode()[0, 0]
        return int(first) if np.ndim(first) == 0 else first

    return act


def _continuous(reference: Any, world: World, reading: Reading) -> Callable[[Any], Any]:
    """A teacher where phr cannot act, which may still be read and asked."""
    if not is_foreign(reference):
        raise IncompatibleModelError(f"{name_of(reference)} cannot act here: {world.refusal}")
    teacher = load_foreign(reference, world.env_id, reading).teacher
    if not isinstance(teacher, ContinuousTeacher):
        raise IncompatibleModelError(f"{name_of(reference)} cannot act here: {world.refusal}")
    return lambda obs: teacher.actions(np.asarray(obs)[None])[0]
