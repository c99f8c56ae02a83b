"""Third-party teachers: Stable-Baselines3's `.zip`, `module:factory`, ONNX files, functions."""

from __future__ import annotations

import hashlib
import inspect
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from phr.actions import ActionSpace
from phr.envs.registry import env_id_of_file, find_factory, make_env, option_names, present_id, with_option
from phr.errors import FOREIGN_ERRORS, CorruptFileError, IncompatibleModelError, UnknownModelError, UsageError, error_text
from phr.files import check_readable
from phr.observations import ObservationSpec
from phr.plan import Planner
from phr.storage.model import Model
from phr.storage.tensors import digest
from phr.teachers.cleanrl import read_cleanrl
from phr.teachers.normalization import read_vecnormalize
from phr.teachers.policy import PolicyTeacher, arguments_of, teacher_of
from phr.teachers.sb3 import NO_STATISTICS, sb3_teacher
from phr.teachers.sb3_file import Description, describe, read_sb3_file
from phr.teachers.training_run import CONFIG, Recorded, is_training_run, read_run

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
    """Return the identity of an attribute's value, `""` where it cannot be known."""
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


PICKLES = (".pkl", ".pickle", ".joblib")
TORCH_FILES = (".pt", ".pth", ".ckpt", ".cleanrl_model")
_SAMPLE, _RESETS = 16, 4
"""Batch size of the trial call, and the number of episodes whose first observations fill it."""


@dataclass(frozen=True, kw_only=True)
class Reading:
    """Settings of a `.zip` policy that its file does not record."""

    normalize: str | Path | None = None
    """Observation statistics used in its training, the `vecnormalize.pkl`."""


NOTHING_SAID = Reading()


@dataclass(frozen=True)
class Actor:
    """A planner and its environment; `reference` is the user's text.

    `identity` is for planners without a `model`: a hash of the source, else a name; empty where unknown.
    """

    reference: str
    planner: Planner
    env_id: str
    backend: str
    model: Model | None = None
    identity: str = ""
    notices: tuple[str, ...] = ()
    """How the reference was read, where the user left that open."""
    warnings: tuple[str, ...] = ()
    """What makes results with it doubtful."""
    recorded: Recorded | None = None
    """The last evaluation in its training."""

    @property
    def action_only(self) -> bool:
        """Return whether it returns actions instead of probabilities."""
        return isinstance(self.planner, PolicyTeacher) and self.planner.action_only


def is_sb3(reference: object) -> bool:
    """Return whether a reference is a Stable-Baselines3 `.zip`, or the folder of a training that holds one."""
    return isinstance(reference, str | Path) and (str(reference).endswith(".zip") or is_training_run(Path(reference)))


def load_foreign(reference: Any, env_id: str | None, reading: Reading) -> Actor:
    """Read, import or wrap a policy to act in `env_id`, which is required where the reference does not name it.

    The reference is `FILE.zip`, the folder of a training, a checkpoint of CleanRL, a third-party `FILE.onnx`,
    `module:factory`, a torch module, a function, or a planner.
    """
    name, policy, backend = name_of(reference), reference, "python"
    is_file = isinstance(reference, str | Path)
    if is_file and Path(name).suffix in PICKLES:
        raise CorruptFileError(
            f"{name} is a pickle, which can run any code when it is read, so phr reads none (VecNormalize statistics: "
            f"--normalize {shlex.quote(str(name))}; a policy: load it in a module:factory of your own)"
        )
    if is_sb3(reference):
        return _load_sb3(name, env_id, reading)
    if is_file and Path(name).suffix in TORCH_FILES:
        if env_id is None:
            raise UsageError(_NO_ENVIRONMENT.format(name))
        agent = read_cleanrl(Path(name), env_id)
        how: dict[str, Any] = {"notices": agent.notices, "warnings": agent.warnings}
        return Actor(name, agent, env_id, "torch", identity=agent.identity, **how)
    if is_file and name.endswith(".onnx"):
        from phr.teachers.foreign_onnx import OnnxPolicy  # onnxruntime, which others need not wait for

        policy, backend = OnnxPolicy(Path(name)), "onnx"
    elif is_file:
        policy = find_factory(name, UnknownModelError)
    if env_id is None:
        raise UsageError(_NO_ENVIRONMENT.format(name))
    if is_file and backend == "python" and not isinstance(policy, nn.Module):
        policy = _made_by(policy, name, env_id)
    identity = identity_of(policy) or (name if is_file else "")
    if isinstance(policy, Planner):
        return Actor(name, policy, env_id, backend, identity=identity)
    with make_env(env_id) as env:
        first = []
        for seed in range(_RESETS):  # no action is executed, as some may be illegal
            env.reset(seed)
            first.append(env.observe().copy())
        sample = np.stack(first * (_SAMPLE // _RESETS))
        if backend == "onnx":
            policy.choose_output(sample, env.action_space)
        teacher = teacher_of(policy, sample, ObservationSpec.of(env.observation_space), env.action_space, name, env.shown)
    teacher.identity = identity
    return Actor(name, teacher, env_id, backend, identity=identity)


_NO_ENVIRONMENT = "{} does not record its environment; add --env-id ID (a Gymnasium id, or module:factory)"


def _load_sb3(name: str, env_id: str | None, reading: Reading) -> Actor:
    """Read a `.zip` with all that its folder states about it; what the user gave goes first."""
    if not Path(name).is_dir():
        check_readable(Path(name))
    run = read_run(Path(name), env_id=env_id)
    if env_id is None and not run.env_id:
        raise UsageError(_NO_ENVIRONMENT.format(name))
    where, renamed = present_id(env_id_of_file(run.env_id, env_id, str(run.file)))
    file = read_sb3_file(run.file)
    description = describe(file)
    where, needed = _with_needs(description, str(where))
    path = run.statistics if reading.normalize is None else Path(reading.normalize)
    statistics = None if path is None else read_vecnormalize(path)
    is_known = path is not None or run.normalizes is False
    teacher = sb3_teacher(file, description, where, statistics, is_known=is_known)
    warnings = (*teacher.warnings, *(run.warnings if reading.normalize is None else ()))
    if run.normalizes and path is None and not warnings:
        warnings = (f"{run.file} was trained with VecNormalize, by its {CONFIG}, and {NO_STATISTICS}",)
    found = [f"observations are normalised with {path}"] if reading.normalize is None and statistics is not None else []
    teacher.warnings, teacher.notices = warnings, (*found, *run.notices, *renamed, *needed)
    how: dict[str, Any] = {"notices": teacher.notices, "warnings": warnings, "recorded": run.recorded}
    return Actor(name, teacher, where, "torch", identity=teacher.identity, **how)


_FRAMES = 4
"""Observations that a student of a recurrent policy sees, unless the id says otherwise."""


def _with_needs(description: Description, env_id: str) -> tuple[str, tuple[str, ...]]:
    """Return the id under which the environment shows what the policy or its student needs, with a notice."""
    if description.is_masked and "action-masks" not in option_names(env_id):
        shown = with_option(env_id, "action-masks", "")
        why = "the policy masks illegal actions, so observations show which are legal"
        return shown, (f"{why}: the environment is made as {shown}",)
    is_row = len(description.observations.shape or ()) == 1
    if description.is_recurrent and is_row and "frame-stack" not in option_names(env_id):
        shown = with_option(env_id, "frame-stack", _FRAMES)
        why = f"the policy remembers its episode; its student sees the last {_FRAMES} observations (--frame-stack N)"
        return shown, (f"{why}: the environment is made as {shown}",)
    return env_id, ()


def _made_by(factory: Any, name: str, env_id: str) -> Any:
    """Return the policy that a factory makes from nothing, or from the environment: its one required argument, or `env`."""
    if not callable(factory):
        raise UnknownModelError(f"{name} is a {type(factory).__name__}, not a function that makes a policy")
    names, needed = arguments_of(factory)
    if len(needed) > 1:
        wanted = ", ".join(needed)
        raise IncompatibleModelError(f"{name} needs {wanted}; a factory is called with nothing, or with the environment")
    try:
        if needed or names[:1] == ["env"]:
            with make_env(env_id) as env:
                policy = factory(env.gym_env)
        else:
            policy = factory()
    except UsageError:
        raise
    except FOREIGN_ERRORS as error:  # the user's own code
        reason = f"{error_text(error)} (it is called with nothing, or with the environment)"
        raise IncompatibleModelError(f"{name} made no policy: {reason}") from error
    if not isinstance(policy, Planner) and not callable(policy):
        raise IncompatibleModelError(f"{name} returned a {type(policy).__name__}, not a torch module or a function")
    return policy


def name_of(reference: Any) -> str:
    """Return the name of a reference: its text, or the qualified name of a function or of an object's class."""
    if isinstance(reference, str | Path):
        return str(reference)
    kind = reference if inspect.isroutine(reference) or inspect.isclass(reference) else type(reference)
    return f"{kind.__module__}.{kind.__qualname__}"
