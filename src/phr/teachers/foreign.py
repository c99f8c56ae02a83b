"""Third-party teachers: Stable-Baselines3's `.zip`, `module:factory`, ONNX files, functions."""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from phr.actions import ActionSpace
from phr.envs.registry import find_factory, make_env
from phr.envs.split import SplitEnv
from phr.errors import CorruptFileError, IncompatibleModelError, UnknownModelError, UsageError
from phr.observations import ObservationSpec
from phr.protocols import Planner
from phr.storage.model import Model
from phr.storage.tensors import digest
from phr.teachers.normalization import load_normalization
from phr.teachers.policy import ContinuousTeacher, PolicyTeacher, required_arguments, teacher_of
from phr.teachers.sb3 import read_sb3

_PLAIN = (str, int, float, bool, type(None), np.generic, np.dtype, torch.device, ActionSpace)


def identity_of(policy: Any) -> str:
    """Return a text that differs where two policies do, `""` where it cannot be known.

    A string `identity` attribute is trusted: teachers read from a file keep its hash there, and users may set one. A torch
    module is identified by its weights, a planner by its class and attributes. A bare function may depend on any value.
    """
    given = getattr(policy, "identity", None)
    if isinstance(given, str) and given:
        return given
    if isinstance(policy, nn.Module):
        return digest(dict(policy.state_dict()))
    if not isinstance(policy, Planner) or not hasattr(policy, "__dict__"):
        return ""
    kind = f"{type(policy).__module__}.{type(policy).__qualname__}"
    parts = [f"{name} {_part(value)}" for name, value in sorted(vars(policy).items()) if _part(value)]
    if "<locals>" in kind or len(parts) != len(vars(policy)):  # one name, many classes; or a part is unknown
        return ""
    return hashlib.sha256("\n".join([kind, *parts]).encode()).hexdigest()


def _part(value: Any) -> str:
    """The identity of an attribute's value, `""` where it cannot be known."""
    if isinstance(value, _PLAIN):
        return f"{type(value).__name__} {value!r}"
    if isinstance(value, np.ndarray):
        array = "" if value.dtype.hasobject else hashlib.sha256(np.ascontiguousarray(value).tobytes()).hexdigest()
        return array and f"{value.dtype} {value.shape} {array}"
    if isinstance(value, Tensor):
        return digest({"": value})
    if isinstance(value, list | tuple):
        parts = [_part(each) for each in value]
        return f"{type(value).__name__} {parts}" if all(parts) else ""
    return identity_of(value) if isinstance(value, nn.Module | Planner) else ""


PICKLES = (".pkl", ".pickle", ".pt", ".pth", ".ckpt", ".cleanrl_model", ".joblib")
_SAMPLE, _RESETS = 16, 4
"""Batch size of the trial call, and the number of episodes whose first observations fill it."""


@dataclass(frozen=True, kw_only=True)
class Reading:
    """Settings of a `.zip` policy that its file does not record."""

    activation: str | None = None
    """Its activation function, where the file records it only as a pickle."""
    normalize: str | Path | None = None
    """Observation statistics used in its training, from `phr convert`."""


NOTHING_SAID = Reading()


@dataclass(frozen=True)
class Actor:
    """A planner and its environment.

    Attributes:
        reference: The user's text.
        planner: What it names.
        env_id: The environment to act in.
        backend: What computes the plans.
        commitment: Default number of actions to execute per look; None for the whole horizon.
        model: The network and its manifest, None for other planners.
        identity: For planners without a model: a hash of the source, else a name; empty where unknown.
    """

    reference: str
    planner: Planner
    env_id: str
    backend: str
    commitment: int | None = None
    model: Model | None = None
    identity: str = ""

    @property
    def action_only(self) -> bool:
        """Return whether it returns actions instead of probabilities."""
        return isinstance(self.planner, PolicyTeacher | ContinuousTeacher) and self.planner.action_only


def is_sb3(reference: object) -> bool:
    """Return whether a reference is a Stable-Baselines3 `.zip`."""
    return isinstance(reference, str | Path) and str(reference).endswith(".zip")


def load_foreign(reference: Any, env_id: str | None, reading: Reading) -> Actor:
    """Read, import or wrap a policy.

    Args:
        reference: `FILE.zip`, a third-party `FILE.onnx`, `module:factory`, a torch module, a function, or a planner.
        env_id: The environment to act in; required.
        reading: What its file does not record.

    Raises:
        UsageError: If `env_id` is None, or the reference cannot be read.
        CorruptFileError: If a file was truncated or edited.
    """
    name, is_file = name_of(reference), isinstance(reference, str | Path)
    if is_file and Path(name).suffix in PICKLES:
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
        return Actor(name, reference, env_id, "python", identity=identity_of(reference))
    return _wrapped(name, reference, env_id, "python", identity_of(reference))


def _zip(name: str, env_id: str, reading: Reading) -> Actor:
    normalization = None if reading.normalize is None else load_normalization(Path(reading.normalize))
    teacher, sha256 = read_sb3(Path(name), env_id, activation=reading.activation, normalization=normalization)
    parts = [sha256, reading.activation or "", "" if normalization is None else normalization.identity]
    identity = hashlib.sha256(" ".join(parts).encode()).hexdigest() if any(parts[1:]) else sha256
    teacher.identity = identity
    return Actor(name, teacher, env_id, "torch", identity=identity)


def _from_factory(name: str, factory: Any, env_id: str) -> Actor:
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
        return Actor(name, policy, env_id, "python", identity=identity_of(policy) or name)
    if not callable(policy):
        raise IncompatibleModelError(f"{name} returned a {type(policy).__name__}, not a torch module or a function")
    return _wrapped(name, policy, env_id, "python", identity_of(policy) or name)


def _takes_env(factory: Callable[..., Any], name: str) -> bool:
    """Whether a factory takes the environment: as its one argument without a default, or as one named `env`."""
    try:
        parameters = inspect.signature(factory).parameters.values()
    except (TypeError, ValueError):
        return False
    needed = required_arguments(parameters)
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
) -> Actor:
    with make_env(env_id) as env:
        sample = _sample_of(env)
        choose(sample, env.action_space)
        spec = ObservationSpec.of(env.observation_space)
        teacher = teacher_of(policy, sample, spec, env.action_space, name, env.shown)
    teacher.identity = identity
    return Actor(name, teacher, env_id, backend, identity=identity)


def _sample_of(env: SplitEnv) -> NDArray[Any]:
    """First observations of a few episodes, repeated; no action is executed, as some may be illegal."""
    first = []
    for seed in range(_RESETS):
        env.reset(seed)
        first.append(env.observe().copy())
    return np.stack([first[index % _RESETS] for index in range(_SAMPLE)])


def _named(name: str, env_id: str | None) -> str:
    if env_id is None:
        raise UsageError(f"{name} does not record its environment; add --env-id ID (a Gymnasium id, or module:factory)")
    return env_id


def name_of(reference: Any) -> str:
    """Return the name of a reference: its text, or the qualified name of a function or of an object's class."""
    if isinstance(reference, str | Path):
        return str(reference)
    kind = reference if inspect.isroutine(reference) or inspect.isclass(reference) else type(reference)
    return f"{kind.__module__}.{kind.__qualname__}"


def _pickled(name: str) -> CorruptFileError:
    return CorruptFileError(
        f"{name} is a pickle, which can run any code when it is read, so phr reads none (VecNormalize statistics: "
        f"phr convert {name} --out stats.npz --trust; a policy: load it in a module:factory of your own)"
    )
