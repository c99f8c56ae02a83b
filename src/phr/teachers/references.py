"""From a reference that a user types to something that plans.

It stands below `studies` and `api` because both resolve names.
"""

from __future__ import annotations

import difflib
import os
from dataclasses import dataclass
from pathlib import Path

from phr.envs.minigrid_split import FullViewEnv
from phr.envs.registry import make_env
from phr.errors import UnknownModelError, UsageError
from phr.protocols import Planner
from phr.storage.model import Model, load_model
from phr.teachers.oracle import SOLVABLE_IDS, OraclePlanner

ORACLE = "oracle"
ZOO_PREFIX = "zoo:"


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
    """

    reference: str
    planner: Planner
    env_id: str
    backend: str
    commitment: int | None = None
    model: Model | None = None


def zoo_directory() -> Path:
    """The folder of trained models: `$PHR_ZOO`, else `zoo/` of the checkout that phr runs from."""
    named = os.environ.get("PHR_ZOO")
    return Path(named) if named else Path(__file__).resolve().parents[3] / "zoo"


def zoo_names() -> list[str]:
    """Names of the finished models in the zoo."""
    return sorted(path.parent.name for path in zoo_directory().glob("*/COMPLETE"))


def resolve(reference: str | Path | Model, *, env_id: str | None = None, horizon: int | None = None) -> Actor:
    """Find what a reference stands for.

    Args:
        reference: A run directory, `zoo:NAME`, `oracle`, or a model in memory.
        env_id: Where to act; the model's own environment by default.
        horizon: Actions that the oracle plans, 1 by default.

    Raises:
        UnknownModelError: If the reference leads nowhere.
        UsageError: If the oracle is asked for without an environment, or in one it cannot read.
        CorruptFileError: If a file is missing, truncated or edited.
    """
    if isinstance(reference, Model):
        name = str(reference.directory or f"{reference.manifest.kind} in memory")
    else:
        name = str(reference)
        if name == ORACLE:
            return _oracle(env_id, 1 if horizon is None else horizon)
    if horizon is not None:
        raise UsageError(f"only the oracle takes a horizon; {name} has its own: say with the commitment how much to execute")
    model = reference if isinstance(reference, Model) else load_model(_model_directory(name))
    return _actor_of(model, name, env_id)


def _actor_of(model: Model, name: str, env_id: str | None) -> Actor:
    return Actor(name, model.planner, env_id or model.env_id, "torch", model.manifest.commitment, model)


def _oracle(env_id: str | None, horizon: int) -> Actor:
    if env_id is None:
        raise UsageError(f"the oracle needs --env-id; it solves {', '.join(SOLVABLE_IDS)}")
    env = make_env(env_id)
    if not isinstance(env, FullViewEnv):
        raise UsageError(f"the oracle reads grids seen whole, not {env_id}; it solves {', '.join(SOLVABLE_IDS)}")
    return Actor(ORACLE, OraclePlanner(env.n_actions, horizon), env_id, "search")


def _model_directory(name: str) -> Path:
    if name.startswith(ZOO_PREFIX):
        directory = zoo_directory() / name.removeprefix(ZOO_PREFIX)
        if not directory.is_dir():
            if not zoo_directory().is_dir():
                raise UnknownModelError(
                    f"there is no zoo at {zoo_directory()}; run from a checkout, or set PHR_ZOO to a folder of models"
                )
            known = zoo_names()
            near = difflib.get_close_matches(name.removeprefix(ZOO_PREFIX), known, n=1)
            hint = f"did you mean zoo:{near[0]}?" if near else f"it holds {', '.join(known) or 'nothing'}"
            raise UnknownModelError(f"the zoo ({zoo_directory()}) has no model {name!r}; {hint}")
        return directory
    directory = Path(name)
    if directory.is_dir():
        return directory
    if directory.suffix in (".zip", ".onnx") or ":" in name:
        raise UnknownModelError(f"{name}: this kind of model cannot be read yet; give a run directory, zoo:NAME or oracle")
    raise UnknownModelError(
        f"{name} is not a run directory; give a folder that phr train or phr distill wrote, zoo:NAME or oracle"
    )
