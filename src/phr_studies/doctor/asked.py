"""A teacher that can be asked what it would do, whatever its actions look like."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from phr.actions import CLOSE, ActionSpace, Continuous, one_by_one
from phr.errors import IncompatibleModelError
from phr.evaluation import check_fits
from phr.teachers import Reading, name_of, resolve
from phr_studies.doctor.world import World


@dataclass(frozen=True)
class Asked:
    """A teacher and when two of its actions are the same.

    Attributes:
        reference: What the user typed.
        act: Observation → its most likely action.
        actions: The space that they are of.
    """

    reference: str
    act: Callable[[Any], Any]
    actions: ActionSpace

    @property
    def tolerance(self) -> float | None:
        """How far two actions may lie apart and be the same, as a part of their range; None where they are told exactly."""
        return CLOSE / 2 if isinstance(self.actions, Continuous) else None

    def same(self, one: Any, other: Any) -> bool:
        """Whether two actions are the same."""
        return bool(self.actions.agree(np.asarray(one)[None], np.asarray(other)[None])[0])


def ask(reference: Any, world: World, reading: Reading) -> Asked:
    """A teacher of any make for this world.

    Args:
        reference: As for `phr evaluate`.
        world: Where it acts.
        reading: What its file does not say.

    Raises:
        UsageError: If phr cannot act there, the reference stands for nothing that can be read, or does not fit.
        CorruptFileError: If a file was truncated or edited.
    """
    if world.env is None:
        raise IncompatibleModelError(f"{name_of(reference)} cannot act here: {world.refusal}")
    actor = resolve(reference, env_id=world.env_id, reading=reading)
    check_fits(actor.planner, world.env)

    def act(obs: Any) -> Any:
        return one_by_one(actor.planner.plan(obs[None]).mode()[:, 0])[0]

    return Asked(name_of(reference), act, world.env.action_space)
