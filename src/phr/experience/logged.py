"""Episodes that somebody logged, and the spaces they were logged in: all that a student needs where there is no teacher."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from gymnasium import spaces

from phr.actions import ActionSpace
from phr.envs.registry import make_env
from phr.errors import IncompatibleModelError, UsageError
from phr.experience.archive import load_experience
from phr.experience.minari_dataset import MINARI_PREFIX, load_minari
from phr.experience.trajectory import Experience
from phr.files import sha256_of


@dataclass(frozen=True, eq=False)
class Logged:
    """Episodes and their spaces.

    Attributes:
        name: What the user calls them.
        identity: A hash that tells them from others.
        experience: The episodes.
        observation_space: What the observations are elements of.
        hearsay: The file alone names the environment, not the user.
    """

    name: str
    identity: str
    experience: Experience
    observation_space: spaces.Box
    hearsay: bool = True

    @property
    def env_id(self) -> str:
        """Where they were logged."""
        return self.experience.env_id

    @property
    def n_actions(self) -> int:
        """Numbers for one action: the size of a discrete action space."""
        return self.action_space.n_outputs

    @property
    def action_space(self) -> ActionSpace:
        """What the actions are."""
        return self.experience.action_space


def load_logged(reference: str | Path | None, env_id: str | None = None) -> Logged:
    """Read logged episodes.

    Args:
        reference: An `.npz` that `phr distill --save-experience` wrote, or `minari:NAME`.
        env_id: The environment they belong to, where it is another than they say; its spaces must be theirs.

    Raises:
        UsageError: If there is no reference.
        CorruptFileError: If the file is missing, truncated or edited.
        IncompatibleModelError: If they do not fit the environment, or their actions are of a kind that phr does not plan.
    """
    if reference is None:
        raise UsageError("there is nothing to learn from; give a TEACHER, or --experience FILE.npz or minari:NAME")
    name = str(reference)
    if name.startswith(MINARI_PREFIX):
        logged = Logged(name, *load_minari(name.removeprefix(MINARI_PREFIX)))
    else:
        experience = load_experience(Path(name))
        logged = Logged(name, sha256_of(Path(name).with_suffix(".npz")), experience, space_of(experience))
    return logged if env_id is None else _in_environment(logged, env_id)


def space_of(experience: Experience) -> spaces.Box:
    """A Box that holds the observations: bytes are 0/1 planes where none is larger, else 0 .. 255; numbers are unbounded."""
    obs = experience.trajectories[0].obs
    if obs.dtype == np.uint8:
        high = 1 if all(int(each.obs.max()) <= 1 for each in experience.trajectories) else 255
        return spaces.Box(0, high, experience.obs_shape, np.uint8)
    if obs.dtype.kind == "b":
        return spaces.Box(0, 1, experience.obs_shape, obs.dtype.type)
    if obs.dtype.kind == "f":
        return spaces.Box(-np.inf, np.inf, experience.obs_shape, obs.dtype.type)
    limits = np.iinfo(obs.dtype)
    return spaces.Box(limits.min, limits.max, experience.obs_shape, obs.dtype.type)


def _in_environment(logged: Logged, env_id: str) -> Logged:
    with make_env(env_id) as env:
        space, actions = env.observation_space, env.action_space
    own = logged.observation_space
    found, expected = (own.shape, str(own.dtype), logged.action_space), (space.shape, str(space.dtype), actions)
    if found != expected:
        raise IncompatibleModelError(
            f"{logged.name} has observations {found[0]} of {found[1]} and {found[2]}, "
            f"{env_id} has {expected[0]} of {expected[1]} and {expected[2]}"
        )
    experience = replace(logged.experience, env_id=env_id)
    return replace(logged, experience=experience, observation_space=space, hearsay=False)
