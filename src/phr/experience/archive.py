"""Experience on disk: one .npz of joined arrays, and a JSON description beside it."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal, NotRequired, TypedDict

import numpy as np

from phr.actions import Continuous, action_space_from_json
from phr.errors import CorruptFileError
from phr.experience.trajectory import Experience, Origin, Trajectory
from phr.experience.untrusted import read_npz
from phr.files import as_kind, atomic_path, read_json, sha256_of, write_json

_FORMAT = "phr-experience-2"
_ARRAYS, _ENDS = ("obs", "actions", "teacher_logits", "rewards"), ("terminated", "truncated", "is_success")
"""Fields of a trajectory, in order: one entry a step, one an episode."""


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
    actions = experience.action_space.to_json()
    description = {
        "format": _FORMAT,
        "env_id": experience.env_id,
        "origin": None if experience.origin is None else asdict(experience.origin),
        "n_trajectories": len(trajectories),
        "n_steps": int(experience.lengths.sum()),
        "obs_shape": list(experience.obs_shape),
        "n_actions": experience.n_actions,
        "sha256": sha256_of(path),
        **({} if actions is None else {"action_space": actions}),
    }
    write_json(path.with_suffix(".json"), description)


def load_experience(path: Path) -> Experience:
    """Read what `save_experience` wrote, executing nothing; CorruptFileError if a file is missing, edited or not phr's."""
    path, described = path.with_suffix(".npz"), path.with_suffix(".json")
    if not path.is_file():
        raise CorruptFileError(f"{path} is missing; recorded episodes are FILE.npz with FILE.json beside it")
    description = read_card(described)
    if sha256_of(path) != description["sha256"]:
        raise CorruptFileError(f"{path} was truncated or edited: its SHA-256 is not the one in its JSON")
    arrays = read_npz(path)
    if missing := {*_ARRAYS, *_ENDS, "lengths"} - set(arrays):
        raise CorruptFileError(f"{path} lacks {', '.join(sorted(missing))}")
    lengths = arrays["lengths"]
    whole = lengths.ndim == 1 and lengths.dtype.kind in "iu" and lengths.size > 0 and bool((lengths > 0).all())
    per_step, per_episode = ([arrays[name] for name in names] for names in (_ARRAYS, _ENDS))
    fit = whole and all(each.shape[:1] == (lengths.sum(),) for each in per_step) and arrays["teacher_logits"].ndim == 2
    kinds = "".join(each.dtype.kind for each in per_episode)
    if not fit or kinds != "bbi" or any(each.shape != lengths.shape for each in per_episode):  # the hash does not prove it
        raise CorruptFileError(f"{path} was edited: the lengths of its episodes are not those of its arrays")
    space = action_space_from_json(description.get("action_space"), arrays["teacher_logits"].shape[1])
    if isinstance(space, Continuous):
        space.check(arrays["actions"])
        arrays["actions"] = space.certain(arrays["actions"][:, None]).mode()[:, 0]  # as executed: clipped to the bounds
    steps = (np.split(arrays[name], np.cumsum(lengths)[:-1]) for name in _ARRAYS)
    trajectories = tuple(
        Trajectory(obs, actions, logits, rewards, bool(ended), bool(cut), None if success < 0 else bool(success))
        for obs, actions, logits, rewards, ended, cut, success in zip(*steps, *per_episode, strict=True)
    )
    return Experience(description["env_id"], trajectories, description["origin"], space)


class Card(TypedDict):
    """What `load_experience` needs of a description."""

    format: Literal["phr-experience-2"]
    env_id: str
    origin: Origin | None
    sha256: str
    action_space: NotRequired[dict[str, Any]]


def read_card(path: Path) -> Card:
    """The description of recorded episodes; CorruptFileError if it is missing, or of anything else."""
    values = read_json(path)
    if not isinstance(values, dict) or values.get("format") != _FORMAT:
        raise CorruptFileError(f"{path} does not describe phr experience")
    return as_kind(values, Card, str(path))
