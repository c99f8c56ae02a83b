"""Episodes that somebody logged, and the spaces they were logged in: all that a student needs where there is no teacher."""

from __future__ import annotations

import hashlib
import importlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from phr.actions import ActionSpace, Discrete
from phr.envs.registry import make_env
from phr.envs.split import plannable
from phr.errors import (
    CorruptFileError,
    IncompatibleModelError,
    MissingExtraError,
    UnknownModelError,
    UnsupportedEnvironmentError,
    UsageError,
)
from phr.experience.archive import load_experience
from phr.experience.success import success_word
from phr.experience.trajectory import Experience, Trajectory
from phr.experience.untrusted import check_hdf5
from phr.files import read_json, sha256_of

MINARI_PREFIX = "minari:"
"""Stands before a dataset's name where a user names one."""


def load_minari(name: str) -> tuple[str, Experience, spaces.Box]:
    """Read a dataset that is on this machine.

    Args:
        name: As Minari calls it, `domain/dataset-v0`.

    Returns:
        A hash of the episodes, the episodes, and what their observations are elements of.

    Raises:
        MissingExtraError: If Minari is not installed.
        UnknownModelError: If there is no such dataset here.
        IncompatibleModelError: If its actions or its observations are of another kind than phr reads.
        CorruptFileError: If it leads to other files or to code, claims more than it holds, or an episode is not whole.
    """
    try:
        minari: Any = importlib.import_module("minari")
    except ModuleNotFoundError as error:
        raise MissingExtraError(
            f"{MINARI_PREFIX}{name} needs the package {error.name}; pip install 'phr[minari]'"
        ) from error
    try:
        folder = Path(importlib.import_module("minari.storage.datasets_root_dir").get_dataset_path(name)) / "data"
        if not folder.exists():
            raise UnknownModelError(f"there is no dataset {name!r} here; minari download {name}")
        _check(folder)
        return _read(minari.load_dataset(name), name)
    except (UnknownModelError, IncompatibleModelError):
        raise
    except Exception as error:  # Minari's readers raise many kinds
        reason = " ".join(str(error).split())
        raise CorruptFileError(f"the dataset {name!r} cannot be read: {type(error).__name__}: {reason}") from error


def _check(folder: Path) -> None:
    """Look through a dataset's files before Minari reads them.

    Raises:
        ValueError: If they name spaces only by an environment, which Minari would make from whatever code they point at; if
            they are of another format; if they claim more episodes, or larger ones, than they hold.
    """
    said = read_json(folder / "metadata.json")
    spaces_said = [said.get(name) for name in ("observation_space", "action_space")]
    if not all(isinstance(each, str) for each in spaces_said):
        raise ValueError("it does not tell its spaces, and phr makes no environment of a dataset's to ask for them")
    if said.get("data_format") != "hdf5":
        raise ValueError(f"phr reads Minari's format hdf5, this one is {said.get('data_format')!r}")
    n_episodes, n_claimed = check_hdf5(folder / "main_data.hdf5"), said.get("total_episodes")
    if n_claimed != n_episodes:
        raise ValueError(f"it claims {n_claimed} episodes and holds {n_episodes}")


def _read(dataset: Any, name: str) -> tuple[str, Experience, spaces.Box]:
    """What `load_minari` returns; whatever is wrong raises whatever it raises."""
    space, acted = dataset.observation_space, dataset.action_space
    actions, first = _actions(acted, name)
    box = _box(space, name)
    trajectories = tuple(_trajectory(episode, space, box, actions, first, name) for episode in dataset.iterate_episodes())
    if not trajectories:
        raise CorruptFileError(f"the dataset {name!r} holds no episode")
    env_id = dataset.env_spec.id if dataset.env_spec is not None else f"{MINARI_PREFIX}{name}"
    experience = Experience(env_id, trajectories, actions_in=actions)
    found = hashlib.sha256()
    for part in ("obs", "actions", "rewards"):
        found.update(np.ascontiguousarray(experience.joined(part)).tobytes())
    return found.hexdigest(), experience, box


def _actions(space: spaces.Space[Any], name: str) -> tuple[ActionSpace, int]:
    """The action space from 0 on, and what its first action is called in the dataset."""
    first = int(space.start) if isinstance(space, spaces.Discrete) else 0
    try:
        return plannable(spaces.Discrete(int(space.n)) if isinstance(space, spaces.Discrete) else space, repr(name)), first
    except UnsupportedEnvironmentError as error:
        raise IncompatibleModelError(f"the dataset {error}") from error


def _box(space: spaces.Space[Any], name: str) -> spaces.Box:
    if isinstance(space, spaces.Box):
        return space
    if isinstance(space, spaces.Discrete):
        return spaces.Box(0.0, 1.0, (int(space.n),), np.float32)
    raise IncompatibleModelError(
        f"the dataset {name!r} has observations {space}; phr reads Box and Discrete ones of a dataset"
    )


def _trajectory(
    episode: Any, space: spaces.Space[Any], box: spaces.Box, acted: ActionSpace, first: int, name: str
) -> Trajectory:
    """One episode; Minari keeps the last observation too, which nobody acted on."""
    n_steps = len(episode.rewards)
    seen = np.asarray(episode.observations)
    if len(seen) != n_steps + 1:
        raise CorruptFileError(f"the dataset {name!r} has an episode of {n_steps} steps with {len(seen)} observations")
    actions = np.asarray(episode.actions).reshape(n_steps, *acted.shape)
    if acted.dtype.kind == "f" or actions.dtype.kind in "iu":
        actions = actions.astype(acted.dtype) - acted.dtype.type(first)
    acted.check(actions)
    certain = acted.certain(actions[:, None])  # what lies out of bounds was cut off by whoever took it
    terminated = bool(episode.terminations[-1])
    return Trajectory(
        obs=_observations(seen[:-1], space, box),
        actions=certain.mode()[:, 0],
        teacher_logits=certain.outputs[:, 0],
        rewards=np.asarray(episode.rewards, np.float32),
        terminated=terminated,
        truncated=bool(episode.truncations[-1]) or not terminated,  # a log that breaks off was cut
        is_success=_success(episode.infos, name),
    )


def _observations(seen: NDArray[Any], space: spaces.Space[Any], box: spaces.Box) -> NDArray[Any]:
    if isinstance(space, spaces.Discrete):
        places = seen.astype(np.int64) - int(space.start)
        Discrete(int(space.n)).check(places)
        rows = np.zeros((len(places), int(space.n)), np.float32)
        rows[np.arange(len(places)), places] = 1.0
        return rows
    return np.ascontiguousarray(seen, box.dtype)


def _success(infos: Any, name: str) -> bool | None:
    """What the info of an episode's last step reports; infos hold one entry a step."""
    reported = infos.get("is_success") if isinstance(infos, dict) else None
    return None if reported is None or not len(reported) else success_word(reported[-1], f"the dataset {name!r}")


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
