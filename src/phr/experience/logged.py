"""Logged episodes and their spaces, for students without a teacher: files of phr's own, and Minari datasets."""

from __future__ import annotations

import hashlib
import importlib
import shlex
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from phr.actions import ActionSpace, Discrete
from phr.envs.registry import make_env
from phr.envs.split import plannable
from phr.errors import CorruptFileError, IncompatibleModelError, MissingExtraError, UnknownModelError, UsageError, error_text
from phr.experience.archive import load_experience
from phr.experience.collect import box_of
from phr.experience.success import success_word
from phr.experience.trajectory import Experience, Trajectory
from phr.experience.untrusted import check_hdf5
from phr.files import read_json, sha256_of

MINARI_PREFIX = "minari:"
"""Precedes the name of a dataset."""


def load_minari(name: str) -> tuple[str, Experience, spaces.Box]:
    """Read a local Minari dataset, `domain/dataset-v0`; return a hash of the episodes, the episodes, their space.

    CorruptFileError if it leads to other files or to code, claims more than it contains, or has an incomplete episode.
    """
    try:
        minari: Any = importlib.import_module("minari")
    except ModuleNotFoundError as error:
        raise MissingExtraError(f"minari:{name} needs the package {error.name}; pip install 'phr[minari]'") from error
    try:
        folder = Path(importlib.import_module("minari.storage.datasets_root_dir").get_dataset_path(name)) / "data"
        if not folder.exists():
            raise UnknownModelError(f"there is no dataset {name!r} here; minari download {shlex.quote(name)}")
        _check(folder)
        return _read(minari.load_dataset(name), name)
    except (UnknownModelError, IncompatibleModelError):
        raise
    except Exception as error:  # Minari's readers raise many kinds
        raise CorruptFileError(f"the dataset {name!r} cannot be read: {error_text(error)}") from error


def _check(folder: Path) -> None:
    """Check a dataset's files before Minari reads them; ValueError if they are unsafe, inconsistent or of another format."""
    metadata = read_json(folder / "metadata.json", dict[str, Any], finite=False)
    if not all(isinstance(metadata.get(name), str) for name in ("observation_space", "action_space")):
        # Minari would make the environment instead, from whatever code the file names.
        raise ValueError("its metadata must contain observation_space and action_space; phr does not make its environment")
    if metadata.get("data_format") != "hdf5":
        raise ValueError(f"phr reads Minari's format hdf5, this one is {metadata.get('data_format')!r}")
    n_episodes, n_claimed = check_hdf5(folder / "main_data.hdf5"), metadata.get("total_episodes")
    if n_claimed != n_episodes:
        raise ValueError(f"it claims {n_claimed} episodes and holds {n_episodes}")


def _read(dataset: Any, name: str) -> tuple[str, Experience, spaces.Box]:
    """Return what `load_minari` returns; a broken dataset may raise anything."""
    space, acted = dataset.observation_space, dataset.action_space
    first = int(acted.start) if isinstance(acted, spaces.Discrete) else 0
    try:
        actions = Discrete(int(acted.n)) if isinstance(acted, spaces.Discrete) else plannable(acted, repr(name))
    except UsageError as error:  # the actions are none to plan in
        raise IncompatibleModelError(f"the dataset {error}") from error
    if not isinstance(space, spaces.Box | spaces.Discrete):
        raise IncompatibleModelError(f"the dataset {name!r} has observations {space}; phr reads Box and Discrete ones")
    trajectories = tuple(_trajectory(each, space, actions, first, name) for each in dataset.iterate_episodes())
    if not trajectories:
        raise CorruptFileError(f"the dataset {name!r} holds no episode")
    env_id = dataset.env_spec.id if dataset.env_spec is not None else f"{MINARI_PREFIX}{name}"
    experience = Experience(env_id, trajectories, actions_in=actions)
    found = hashlib.sha256()
    for part in ("obs", "actions", "rewards"):
        found.update(np.ascontiguousarray(experience.joined(part)).tobytes())
    box = space if isinstance(space, spaces.Box) else spaces.Box(0.0, 1.0, experience.obs_shape, np.float32)
    return found.hexdigest(), experience, box


def _held(seen: NDArray[Any], dtype: np.dtype[Any]) -> NDArray[Any]:
    """Cast observations; ValueError if whole numbers would change. Floats may be rounded."""
    with np.errstate(over="ignore", invalid="ignore"):
        cast = seen.astype(dtype)
    if dtype.kind != "f" and (lost := cast != seen).any():
        raise ValueError(f"an observation is {seen[lost].flat[0].item()!r}, which {dtype} cannot hold")
    return cast


def _trajectory(episode: Any, space: spaces.Box | spaces.Discrete, acted: ActionSpace, first: int, name: str) -> Trajectory:
    """Convert an episode; Minari's last observation is left out, as no action follows it. `first` is its first action."""
    n_steps, seen = len(episode.rewards), np.asarray(episode.observations)
    if len(seen) != n_steps + 1:
        raise CorruptFileError(f"the dataset {name!r} has an episode of {n_steps} steps with {len(seen)} observations")
    if isinstance(space, spaces.Discrete):
        places = _held(seen[:-1], np.dtype(np.int64)) - int(space.start)
        Discrete(int(space.n)).check(places)
        obs = np.zeros((n_steps, int(space.n)), np.float32)
        obs[np.arange(n_steps), places] = 1.0
    else:
        obs = np.ascontiguousarray(_held(seen[:-1], space.dtype))
    actions = np.asarray(episode.actions).reshape(n_steps, *acted.shape)
    if acted.dtype.kind == "f" or actions.dtype.kind in "iu":
        actions = actions.astype(acted.dtype) - acted.dtype.type(first)
    acted.check(actions)
    certain = acted.certain(actions[:, None])  # actions out of bounds were clipped when they were executed
    terminated = bool(episode.terminations[-1])
    reported = episode.infos.get("is_success") if isinstance(episode.infos, dict) else None  # one entry a step
    return Trajectory(
        obs=obs,
        actions=certain.mode()[:, 0],
        teacher_logits=certain.outputs[:, 0],
        rewards=np.asarray(episode.rewards, np.float32),
        terminated=terminated,
        truncated=bool(episode.truncations[-1]) or not terminated,  # a log that breaks off was cut
        is_success=None if reported is None or not len(reported) else success_word(reported[-1], f"the dataset {name!r}"),
    )


@dataclass(frozen=True, eq=False)
class Logged:
    """Episodes, of which `identity` is a hash, and their spaces; `env_id_from_file`: the id does not come from the user."""

    name: str
    identity: str
    experience: Experience
    observation_space: spaces.Box
    env_id_from_file: bool = True

    @property
    def env_id(self) -> str:
        """The environment's id."""
        return self.experience.env_id

    @property
    def action_space(self) -> ActionSpace:
        """What the actions are."""
        return self.experience.action_space


def load_logged(reference: str | Path | None, env_id: str | None = None) -> Logged:
    """Read logged episodes from an `.npz` that `phr distill --save-experience` wrote, or from `minari:NAME`.

    `env_id` replaces the recorded environment, whose spaces must be the same; IncompatibleModelError if they are not.
    """
    if reference is None:
        raise UsageError("there is nothing to learn from; give a TEACHER, or --experience FILE.npz or minari:NAME")
    name = str(reference)
    if name.startswith(MINARI_PREFIX):
        logged = Logged(name, *load_minari(name.removeprefix(MINARI_PREFIX)))
    else:
        experience = load_experience(Path(name))
        logged = Logged(name, sha256_of(Path(name).with_suffix(".npz")), experience, space_of(experience))
    if env_id is None:
        return logged
    with make_env(env_id) as env:
        space, actions = env.observation_space, env.action_space
    own = logged.observation_space
    if (own.shape, own.dtype, logged.action_space) != (space.shape, space.dtype, actions):
        found = f"{own.shape} of {own.dtype} and {logged.action_space}"
        wanted = f"{space.shape} of {space.dtype} and {actions}"
        raise IncompatibleModelError(f"{name} has observations {found}, {env_id} has {wanted}")
    experience = replace(logged.experience, env_id=env_id)
    return replace(logged, experience=experience, observation_space=space, env_id_from_file=False)


def space_of(experience: Experience) -> spaces.Box:
    """Return a Box of the observations: bytes are 0/1 planes if none is larger, else 0 .. 255; numbers are unbounded."""
    dtype = experience.trajectories[0].obs.dtype
    planes = dtype.kind == "b" or (dtype == np.uint8 and all(each.obs.max() <= 1 for each in experience.trajectories))
    return box_of(experience.obs_shape, dtype, planes=planes)
