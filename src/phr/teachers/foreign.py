"""Teachers that users already have: Stable-Baselines3's `.zip`, `module:factory`, others' ONNX files, a function."""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from phr.actions import ActionSpace
from phr.envs.registry import find_factory, is_factory, make_env
from phr.envs.split import SplitEnv
from phr.errors import CorruptFileError, IncompatibleModelError, UnknownModelError, UsageError
from phr.observations import ObservationSpec
from phr.protocols import Planner
from phr.teachers.continuous import ContinuousTeacher
from phr.teachers.identity import identity_of
from phr.teachers.normalization import load_normalization
from phr.teachers.policy import PolicyTeacher, teacher_of
from phr.teachers.sb3 import read_sb3
from phr.teachers.zoo import ZOO_PREFIX

_PICKLES = (".pkl", ".pickle", ".pt", ".pth", ".ckpt", ".cleanrl_model", ".joblib")
_SAMPLE, _RESETS = 16, 4
"""A policy is first asked about so many observations at once, the first ones of so many episodes, over and over."""


@dataclass(frozen=True, kw_only=True)
class Reading:
    """What has to be said of a file that does not say it itself."""

    activation: str | None = None
    """The activation function of a Stable-Baselines3 policy, where its file keeps it in a pickle."""
    normalize: str | Path | None = None
    """Statistics of the observations that it was trained with, from `phr convert`."""


NOTHING_SAID = Reading()


@dataclass(frozen=True)
class Foreign:
    """A policy that phr did not train.

    Attributes:
        name: What the user calls it.
        teacher: It.
        env_id: Where it acts.
        backend: What computes it.
        identity: Tells it from another: a hash of its weights or of what it holds, else the name that a user typed; empty
            where nothing does.
    """

    name: str
    teacher: Planner
    env_id: str
    backend: str
    identity: str


def is_sb3(reference: object) -> bool:
    """Whether a reference is a file of Stable-Baselines3's."""
    return isinstance(reference, str | Path) and str(reference).endswith(".zip")


def is_foreign(reference: object) -> bool:
    """Whether a reference stands for a policy that phr did not write."""
    if not isinstance(reference, str | Path):
        return True
    name = str(reference)
    if name.startswith(ZOO_PREFIX) or Path(name).is_dir():
        return False
    return Path(name).suffix in (".zip", ".onnx", *_PICKLES) or is_factory(name)


def load_foreign(reference: Any, env_id: str | None, reading: Reading) -> Foreign:
    """Read, import or wrap a policy.

    Args:
        reference: `FILE.zip`, `FILE.onnx` of another maker, `module:factory`, a torch module, a function, or a planner.
        env_id: Where it acts; needed by all of them.
        reading: What its file does not say.

    Raises:
        UsageError: If no environment is named, or the reference stands for nothing that can be read.
        CorruptFileError: If a file was truncated or edited.
    """
    name, is_file = name_of(reference), isinstance(reference, str | Path)
    if is_file and Path(name).suffix in _PICKLES:
        raise _pickled(name)
    if is_file and name.endswith(".onnx"):
        from phr.teachers.foreign_onnx import read_foreign_onnx  # onnxruntime, which others need not wait for

        policy, identity = read_foreign_onnx(Path(name))
        return _wrapped(name, policy, _named(name, env_id), "onnx", identity, choose=policy.choose_output)
    if is_sb3(reference):
        if not Path(name).is_file():
            raise UnknownModelError(f"there is no file {name}")
        return _zip(name, _named(name, env_id), reading)
    if is_file:
        factory = find_factory(name, UnknownModelError)
        return _from_factory(name, factory, _named(name, env_id))
    env_id = _named(name, env_id)
    if isinstance(reference, Planner):
        return Foreign(name, reference, env_id, "python", identity_of(reference))
    return _wrapped(name, reference, env_id, "python", identity_of(reference))


def _zip(name: str, env_id: str, reading: Reading) -> Foreign:
    normalization = None if reading.normalize is None else load_normalization(Path(reading.normalize))
    teacher, sha256 = read_sb3(Path(name), env_id, activation=reading.activation, normalization=normalization)
    said = [sha256, reading.activation or "", "" if normalization is None else normalization.identity]
    identity = hashlib.sha256(" ".join(said).encode()).hexdigest() if any(said[1:]) else sha256
    teacher.identity = identity
    return Foreign(name, teacher, env_id, "torch", identity)


def _from_factory(name: str, factory: Any, env_id: str) -> Foreign:
    if isinstance(factory, nn.Module):
        return _wrapped(name, factory, env_id, "python", identity_of(factory))
    if not callable(factory):
        raise UnknownModelError(f"{name} is a {type(factory).__name__}, not a function that makes a policy")
    try:
        if _takes_env(factory, name):
            with make_env(env_id) as env:
                policy = factory(env.gym_env)
        else:
            policy = factory()
    except UsageError:
        raise
    except Exception as error:  # the user's own code
        raise IncompatibleModelError(
            f"{name} made no policy: {type(error).__name__}: {error} (it is called with nothing, or with the environment, "
            "and returns the policy)"
        ) from error
    if isinstance(policy, Planner):
        return Foreign(name, policy, env_id, "python", identity_of(policy) or name)
    if not callable(policy):
        raise IncompatibleModelError(f"{name} returned a {type(policy).__name__}, not a torch module or a function")
    return _wrapped(name, policy, env_id, "python", identity_of(policy) or name)


def _takes_env(factory: Callable[..., Any], name: str) -> bool:
    """Whether a factory wants to see the environment: its one argument without a default, or one named `env`."""
    try:
        parameters = inspect.signature(factory).parameters.values()
    except (TypeError, ValueError):
        return False
    variadic = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    needed = [each.name for each in parameters if each.default is each.empty and each.kind not in variadic]
    if len(needed) > 1:
        raise IncompatibleModelError(
            f"{name} needs {', '.join(needed)}; a factory is called with nothing, or with the environment"
        )
    return bool(needed) or next((each.name for each in parameters), "") == "env"


def _wrapped(
    name: str,
    policy: Any,
    env_id: str,
    backend: str,
    identity: str,
    choose: Callable[[NDArray[Any], ActionSpace], None] = lambda _sample, _actions: None,
) -> Foreign:
    with make_env(env_id) as env:
        sample = _sample_of(env)
        choose(sample, env.action_space)
        spec = ObservationSpec.of(env.observation_space)
        teacher = teacher_of(policy, sample, spec, env.action_space, name, env.shown)
    teacher.identity = identity
    return Foreign(name, teacher, env_id, backend, identity)


def _sample_of(env: SplitEnv) -> NDArray[Any]:
    """First observations of a few episodes, repeated; no action is played, because not every one may be legal."""
    first = []
    for seed in range(_RESETS):
        env.reset(seed)
        first.append(env.observe().copy())
    return np.stack([first[index % _RESETS] for index in range(_SAMPLE)])


def _named(name: str, env_id: str | None) -> str:
    if env_id is None:
        raise UsageError(f"{name} does not say where it acts; add --env-id ID (a Gymnasium id, or module:factory)")
    return env_id


def name_of(reference: Any) -> str:
    """What to call a reference: its text, or where a function or an object's class was defined."""
    if isinstance(reference, str | Path):
        return str(reference)
    kind = reference if inspect.isroutine(reference) or inspect.isclass(reference) else type(reference)
    return f"{kind.__module__}.{kind.__qualname__}"


def _pickled(name: str) -> CorruptFileError:
    return CorruptFileError(
        f"{name} is a pickle, which can run any code when it is read, so phr reads none (VecNormalize statistics: "
        f"phr convert {name} --out stats.npz --trust; a policy: load it in a module:factory of your own)"
    )


def is_action_only(planner: Planner) -> bool:
    """Whether a teacher has actions alone, no probabilities."""
    return isinstance(planner, PolicyTeacher | ContinuousTeacher) and planner.action_only
