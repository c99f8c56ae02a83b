"""From a reference that a user types to something that plans."""

from __future__ import annotations

import difflib
import os
import shlex
from dataclasses import replace
from itertools import chain, islice
from pathlib import Path
from typing import Any, Literal, get_args

from phr.acting.onnx_file import is_ours
from phr.envs.registry import env_id_of_file, is_factory, make_env, present_id
from phr.errors import SettingError, UnknownModelError, UsageError
from phr.experience.logged import MINARI_PREFIX
from phr.manifest import MANIFEST
from phr.plan import Planner
from phr.settings import shown
from phr.storage.model import CHECKPOINT, Model, load_model
from phr.storage.model import CONFIG as RUN_SETTINGS
from phr.teachers.foreign import NOTHING_SAID, PICKLES, TORCH_FILES, Actor, Reading, is_sb3, load_foreign, name_of
from phr.teachers.hub import HUB_PREFIX, download
from phr.teachers.oracle import SOLVABLE_IDS, oracle_of
from phr.teachers.training_run import is_training_run

ZOO_PREFIX, ORACLE = "zoo:", "oracle"

Backend = Literal["torch", "onnx"]


def zoo_directory() -> Path:
    """Return the folder of trained models: `$PHR_ZOO`, else `zoo/` of the checkout that phr runs from, or was started in."""
    if named := os.environ.get("PHR_ZOO"):
        return Path(named)
    own, here = Path(__file__).resolve().parents[3] / "zoo", Path.cwd() / "zoo"
    return here if here.is_dir() and not own.is_dir() else own


def model_directory(name: str) -> Path:
    """Return the folder of a model, `zoo:NAME`, `hf:OWNER/NAME` or a path; UnknownModelError if there is none."""
    if name.startswith(HUB_PREFIX):
        return download(name)[0]
    zoo, short = zoo_directory(), name.removeprefix(ZOO_PREFIX)
    directory = zoo / (short or "(no name)") if name.startswith(ZOO_PREFIX) else Path(name)
    if directory.is_dir():
        below = [] if any((directory / each).exists() for each in _OF_A_RUN) else _policies_below(directory)
        if below:
            some = ", ".join(map(str, below[:_SHOWN])) + (f" and {len(below) - _SHOWN} more" if len(below) > _SHOWN else "")
            raise UnknownModelError(f"{name} is not a policy itself; name one of those below it: {some}")
        return directory
    if not name.startswith(ZOO_PREFIX):
        raise UnknownModelError(
            f"{name} is not a run directory, as there is no such folder; give one that phr train or phr distill wrote, or "
            "zoo:NAME; where other policies are taken, also a folder of RL Baselines3 Zoo, FILE.onnx, a Stable-Baselines3 "
            "FILE.zip, module:factory or oracle"
        )
    if not zoo.is_dir():
        raise UnknownModelError(f"there is no zoo at {zoo}; start phr in a checkout, or set PHR_ZOO to a folder of models")
    known = sorted(path.parent.name for path in zoo.glob("*/COMPLETE"))
    near = difflib.get_close_matches(short, known, n=1)
    hint = f"did you mean zoo:{near[0]}?" if near else f"it holds {', '.join(known) or 'nothing'}"
    raise UnknownModelError(f"the zoo in {zoo} has no {short!r}; {hint}")


_OF_A_RUN = (MANIFEST, RUN_SETTINGS, CHECKPOINT)
_SHOWN = 6
_LOOKED_AT = 2000
"""The most folders that are looked at for policies."""


def _policies_below(folder: Path) -> list[Path]:
    """Return the folders, up to two levels below one, that are policies."""
    each = islice(chain(folder.glob("*/"), folder.glob("*/*/")), _LOOKED_AT)
    found = {path for path in each if path.is_dir() and ((path / MANIFEST).exists() or is_training_run(path))}
    return sorted(path for path in found if path.parent not in found)  # the inner folder of a run belongs to it


def is_foreign(reference: object) -> bool:
    """Return whether a reference is a third-party policy."""
    if not isinstance(reference, str | Path):
        return True
    name = str(reference)
    if name.startswith(ZOO_PREFIX):
        return False
    if name.startswith(HUB_PREFIX):
        return is_foreign(download(name)[0])
    if Path(name).is_dir():
        return not (Path(name) / MANIFEST).exists() and is_training_run(Path(name))
    return Path(name).suffix in (".zip", ".onnx", *PICKLES, *TORCH_FILES) or is_factory(name)


def resolve(
    reference: Any,
    *,
    env_id: str | None = None,
    horizon: int | None = None,
    backend: Backend | None = None,
    reading: Reading = NOTHING_SAID,
) -> Actor:
    """Return the planner that a reference names.

    It is a run directory, `zoo:NAME`, `hf:OWNER/NAME`, an `.onnx`, a Stable-Baselines3 `.zip`, a folder of RL Baselines3
    Zoo, `module:factory`, `oracle`; or, in memory, a model, a planner, a torch module or a function. `env_id` (default: the
    model's own) is required for third-party policies whose folder does not name it, and for files whose environment is code.
    An old id is taken as its successor where observations are the same, which is a notice of the result. `horizon` is the
    oracle's (default: 1), `backend` a network's (default: torch, or onnx for an exported file), `reading` a third-party
    file's.

    SettingError if the reference does not run on the backend; UnknownModelError if there is no such model; CorruptFileError
    if a file is missing, truncated or edited; UsageError if the oracle has no environment that it can read, or if a file
    alone names code to run.
    """
    is_policy = isinstance(reference, str | Path | Model | Planner) or callable(reference)  # modules are callable
    if not is_policy:
        raise UnknownModelError(
            f"{shown(reference)} is not a policy; expected a model, a path or name, a torch module, a function from "
            "observations to actions or logits, or a planner"
        )
    if backend is not None and backend not in get_args(Backend):
        raise SettingError(f"unknown backend {backend!r}; choose one of {', '.join(get_args(Backend))}")
    in_memory = reference if isinstance(reference, Model) else None
    name = str(in_memory.directory or f"{in_memory.manifest.kind} in memory") if in_memory else name_of(reference)
    if name.startswith(MINARI_PREFIX):
        raise UsageError(f"{name} is a dataset, not a teacher; leave TEACHER out and use --experience {shlex.quote(name)}")
    env_id, renamed = present_id(env_id)
    pinned = name
    if name.startswith(HUB_PREFIX):
        path, pinned = download(name)
        reference, name = path, str(path)
    actor = _found(reference, name, in_memory, env_id, horizon, backend, reading)
    return replace(actor, reference=pinned, notices=(*renamed, *actor.notices))


def _found(
    reference: Any,
    name: str,
    in_memory: Model | None,
    env_id: str | None,
    horizon: int | None,
    backend: Backend | None,
    reading: Reading,
) -> Actor:
    if reading != NOTHING_SAID and not is_sb3(reference):
        raise SettingError(f"--normalize is for Stable-Baselines3's .zip files; {name} is none")
    if name == ORACLE:
        if backend is not None:
            raise SettingError(f"the oracle searches; it has no backend {backend!r}")
        if env_id is None:
            raise UsageError(f"the oracle needs --env-id; it solves {', '.join(SOLVABLE_IDS)}")
        with make_env(env_id) as env:
            oracle = oracle_of(env, 1 if horizon is None else horizon)
            if oracle is None:
                raise UsageError(f"the oracle reads grids seen whole, not {env_id}; it solves {', '.join(SOLVABLE_IDS)}")
        return Actor(ORACLE, oracle, env_id, "search", identity=ORACLE)
    if horizon is not None:
        fewer = "Set the commitment to execute fewer actions."
        raise UsageError(f"only the oracle takes a horizon; {name} has its own. {fewer}")
    if isinstance(reference, str | Path) and name.endswith(".onnx") and not Path(name).is_dir() and is_ours(Path(name)):
        if backend == "torch":
            raise SettingError(f"{name} is an exported model, which torch does not run; leave --backend out, or use onnx")
        from phr.acting.runtime import load_runtime  # onnxruntime, which torch's users need not wait for

        exported = load_runtime(name)
        where = env_id_of_file(exported.env_id, env_id, name)
        return Actor(name, exported, where, "onnx", identity=exported.identity)
    if in_memory is None and is_foreign(reference):
        found = load_foreign(reference, env_id, reading)
        if backend not in (None, found.backend):
            raise SettingError(f"{name} runs on {found.backend}, not on {backend}; leave --backend out")
        return found
    model = in_memory or load_model(model_directory(name))
    planner: Planner = model.planner
    if backend == "onnx":
        from phr.storage.onnx_export import onnx_planner

        planner = onnx_planner(model)
    return Actor(name, planner, model.where(env_id, name), backend or "torch", model)
