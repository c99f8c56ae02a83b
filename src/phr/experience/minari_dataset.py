"""Minari datasets as experience (optional extra `minari`)."""

from __future__ import annotations

import hashlib
import importlib
from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from phr.actions import ActionSpace
from phr.envs.split import plannable
from phr.errors import (
    CorruptFileError,
    IncompatibleModelError,
    MissingExtraError,
    UnknownModelError,
    UnsupportedEnvironmentError,
)
from phr.experience.trajectory import Experience, Trajectory

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
        CorruptFileError: If an episode lacks observations.
    """
    try:
        minari: Any = importlib.import_module("minari")
    except ModuleNotFoundError as error:
        raise MissingExtraError(
            f"{MINARI_PREFIX}{name} needs the package {error.name}; pip install 'phr[minari]'"
        ) from error
    try:
        dataset = minari.load_dataset(name)
    except FileNotFoundError as error:
        raise UnknownModelError(f"there is no dataset {name!r} here; minari download {name}") from error
    except Exception as error:  # Minari's readers raise many kinds
        raise CorruptFileError(f"the dataset {name!r} cannot be read: {type(error).__name__}: {error}") from error
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
    actions = np.asarray(episode.actions).reshape(n_steps, *acted.shape).astype(acted.dtype) - first
    certain = acted.certain(actions[:, None])  # what lies out of bounds was cut off by whoever took it
    terminated = bool(episode.terminations[-1])
    return Trajectory(
        obs=_observations(seen[:-1], space, box),
        actions=certain.mode()[:, 0],
        teacher_logits=certain.outputs[:, 0],
        rewards=np.asarray(episode.rewards, np.float32),
        terminated=terminated,
        truncated=bool(episode.truncations[-1]) or not terminated,  # a log that breaks off was cut
        is_success=_success(episode.infos),
    )


def _observations(seen: NDArray[Any], space: spaces.Space[Any], box: spaces.Box) -> NDArray[Any]:
    if isinstance(space, spaces.Discrete):
        rows: NDArray[Any] = np.eye(int(space.n), dtype=np.float32)[seen.astype(np.int64) - int(space.start)]
        return rows
    return np.ascontiguousarray(seen, box.dtype)


def _success(infos: Any) -> bool | None:
    said = infos.get("is_success") if isinstance(infos, dict) else None
    return None if said is None or not len(said) else bool(said[-1])
