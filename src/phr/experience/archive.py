"""Experience on disk: one .npz of joined arrays, and a JSON description beside it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from phr.actions import Continuous, action_space_from_json
from phr.errors import CorruptFileError
from phr.experience.trajectory import Experience, Origin, Trajectory
from phr.experience.untrusted import read_npz
from phr.files import atomic_path, read_json, sha256_of, write_json

_FORMAT = "phr-experience-2"
_ARRAYS = ("obs", "actions", "teacher_logits", "rewards")
"""Fields of a trajectory, in order."""


def save_experience(experience: Experience, path: Path) -> None:
    """Write the .npz file `path`, and a description with the suffix .json beside it."""
    path = path.with_suffix(".npz")
    trajectories = experience.trajectories
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(
            file,
            allow_pickle=False,
            lengths=experience.lengths,
            terminated=np.array([t.terminated for t in trajectories]),
            truncated=np.array([t.truncated for t in trajectories]),
            is_success=np.array([-1 if t.is_success is None else int(t.is_success) for t in trajectories], np.int8),
            **{name: experience.joined(name) for name in _ARRAYS},
        )
    description = {
        "format": _FORMAT,
        "env_id": experience.env_id,
        "origin": None if experience.origin is None else experience.origin.to_json(),
        "n_trajectories": len(trajectories),
        "n_steps": int(experience.lengths.sum()),
        "obs_shape": list(experience.obs_shape),
        "n_actions": experience.n_actions,
        "sha256": sha256_of(path),
    }
    if (actions := experience.action_space.to_json()) is not None:
        description["action_space"] = actions
    write_json(path.with_suffix(".json"), description)


def load_experience(path: Path) -> Experience:
    """Read what `save_experience` wrote, without executing anything in the file.

    Raises:
        CorruptFileError: If a file is missing, truncated, edited or not written by phr.
    """
    path = path.with_suffix(".npz")
    description = read_json(path.with_suffix(".json"))
    described = isinstance(description, dict) and description.get("format") == _FORMAT
    if not described or not {"env_id", "origin", "sha256"} <= description.keys():
        raise CorruptFileError(f"{path.with_suffix('.json')} does not describe phr experience")
    if not path.is_file():
        raise CorruptFileError(f"{path} is missing")
    if sha256_of(path) != description["sha256"]:
        raise CorruptFileError(f"{path} was truncated or edited: its SHA-256 is not the one in its JSON")
    arrays = read_npz(path)
    missing = {*_ARRAYS, "lengths", "terminated", "truncated", "is_success"} - set(arrays)
    if missing:
        raise CorruptFileError(f"{path} lacks {', '.join(sorted(missing))}")
    _check_arrays(arrays, path)
    space = action_space_from_json(description.get("action_space"), arrays["teacher_logits"].shape[1])
    if isinstance(space, Continuous):
        space.check(arrays["actions"])
        arrays["actions"] = space.certain(arrays["actions"][:, None]).mode()[:, 0]  # as executed: clipped to the bounds
    cuts = np.cumsum(arrays["lengths"])[:-1]
    steps = (np.split(arrays[name], cuts) for name in _ARRAYS)
    ends = (arrays[name] for name in ("terminated", "truncated", "is_success"))
    trajectories = tuple(
        Trajectory(obs, actions, logits, rewards, bool(ended), bool(cut), None if success < 0 else bool(success))
        for obs, actions, logits, rewards, ended, cut, success in zip(*steps, *ends, strict=True)
    )
    origin = description["origin"]
    origin = None if origin is None else Origin.from_json(origin)
    return Experience(description["env_id"], trajectories, origin, space)


def _check_arrays(arrays: dict[str, NDArray[Any]], path: Path) -> None:
    """Check that the arrays fit together, which the hash does not prove."""
    lengths = arrays["lengths"]
    whole = lengths.ndim == 1 and lengths.dtype.kind in "iu" and lengths.size > 0 and bool((lengths > 0).all())
    steps = (int(lengths.sum()),) if whole else ()
    per_step = [arrays[name].shape[:1] for name in _ARRAYS]
    per_episode = [arrays[name].shape for name in ("terminated", "truncated", "is_success")]
    if not whole or any(shape != steps for shape in per_step) or any(shape != lengths.shape for shape in per_episode):
        raise CorruptFileError(f"{path} was edited: the lengths of its episodes are not those of its arrays")
