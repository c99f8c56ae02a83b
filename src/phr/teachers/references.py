"""From a reference that a user types to something that plans.

It stands below `studies` and `api` because both resolve names.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from phr.envs.registry import env_id_of_file, make_env
from phr.errors import SettingError, UsageError
from phr.experience.logged import MINARI_PREFIX
from phr.protocols import Planner
from phr.storage.model import Model, load_model
from phr.teachers.foreign import (
    NOTHING_SAID,
    Foreign,
    Reading,
    is_action_only,
    is_foreign,
    is_sb3,
    load_foreign,
    name_of,
)
from phr.teachers.oracle import SOLVABLE_IDS, OraclePlanner
from phr.teachers.zoo import model_directory

ORACLE = "oracle"

Backend = Literal["torch", "onnx"]


@dataclass(frozen=True)
class Actor:
    """A planner and where it belongs.

    Attributes:
        reference: What the user typed.
        planner: What it stands for.
        env_id: The environment to act in.
        backend: What computes the plans.
        commitment: Actions to execute per look where the user says nothing; None for the whole horizon.
        model: The network and its manifest, None for planners without one.
        identity: Tells a planner without a model from another: a hash of what it was read from, else its name; empty where
            nothing does.
        action_only: It answers actions instead of probabilities.
    """

    reference: str
    planner: Planner
    env_id: str
    backend: str
    commitment: int | None = None
    model: Model | None = None
    identity: str = ""
    action_only: bool = False


def resolve(
    reference: Any,
    *,
    env_id: str | None = None,
    horizon: int | None = None,
    backend: Backend | None = None,
    reading: Reading = NOTHING_SAID,
) -> Actor:
    """Find what a reference stands for.

    Args:
        reference: A run directory, `zoo:NAME`, an `.onnx`, a Stable-Baselines3 `.zip`, `module:factory`, `oracle`; or, in
            memory, a model, a planner, a torch module or a function.
        env_id: Where to act; the model's own environment by default. Policies that phr did not train need it, and so do
            files whose environment is code.
        horizon: Actions that the oracle plans, 1 by default.
        backend: What computes a network's plans: torch by default, onnx for an exported file.
        reading: What the file of a policy that phr did not train does not say.

    Raises:
        SettingError: If there is no such backend, or the reference does not run on it.
        UnknownModelError: If the reference leads nowhere.
        UsageError: If the oracle is asked for without an environment, or in one it cannot read; if a file alone names code
            to run.
        CorruptFileError: If a file is missing, truncated or edited.
    """
    if backend is not None and backend not in get_args(Backend):
        raise SettingError(f"unknown backend {backend!r}; choose one of {', '.join(get_args(Backend))}")
    if isinstance(reference, Model):
        name = str(reference.directory or f"{reference.manifest.kind} in memory")
    else:
        name = name_of(reference)
    if name.startswith(MINARI_PREFIX):
        raise UsageError(f"{name} is a dataset, not a teacher; leave TEACHER out and say --experience {name}")
    if reading != NOTHING_SAID and not is_sb3(reference):
        raise SettingError(f"--activation and --normalize are for Stable-Baselines3's .zip files; {name} is none")
    if name == ORACLE:
        if backend is not None:
            raise SettingError(f"the oracle searches; it has no backend {backend!r}")
        return _oracle(env_id, 1 if horizon is None else horizon)
    if horizon is not None:
        raise UsageError(f"only the oracle takes a horizon; {name} has its own: say with the commitment how much to execute")
    if not isinstance(reference, Model):
        if _is_exported(name):
            return _exported(name, env_id, backend)
        if is_foreign(reference):
            return _foreign(load_foreign(reference, env_id, reading), backend)
    model = reference if isinstance(reference, Model) else load_model(model_directory(name))
    return _actor_of(model, name, env_id, backend or "torch")


def _actor_of(model: Model, name: str, env_id: str | None, backend: Backend) -> Actor:
    planner: Planner = model.planner
    if backend == "onnx":
        from phr.storage.onnx_export import onnx_planner  # onnxruntime, which torch's users need not wait for

        planner = onnx_planner(model)
    return Actor(name, planner, model.where(env_id, name), backend, model.manifest.commitment, model)


def _foreign(found: Foreign, backend: Backend | None) -> Actor:
    if backend not in (None, found.backend):
        raise SettingError(f"{found.name} runs on {found.backend}, not on {backend}; leave --backend out")
    action_only = is_action_only(found.teacher)
    return Actor(found.name, found.teacher, found.env_id, found.backend, identity=found.identity, action_only=action_only)


def _is_exported(name: str) -> bool:
    if not name.endswith(".onnx") or Path(name).is_dir():
        return False
    from phr.acting.onnx_file import is_ours

    return is_ours(Path(name))


def _exported(name: str, env_id: str | None, backend: Backend | None) -> Actor:
    if backend == "torch":
        raise SettingError(f"{name} is an exported model, which torch does not run; leave --backend out, or say onnx")
    from phr.acting.runtime import load_runtime

    planner = load_runtime(name)
    where = env_id_of_file(planner.env_id, env_id, name)
    return Actor(name, planner, where, "onnx", planner.commitment, identity=planner.identity)


def _oracle(env_id: str | None, horizon: int) -> Actor:
    if env_id is None:
        raise UsageError(f"the oracle needs --env-id; it solves {', '.join(SOLVABLE_IDS)}")
    with make_env(env_id) as env:
        if not env.shows_whole_grid:
            raise UsageError(f"the oracle reads grids seen whole, not {env_id}; it solves {', '.join(SOLVABLE_IDS)}")
        return Actor(ORACLE, OraclePlanner(env.n_actions, horizon), env_id, "search", identity=ORACLE)
