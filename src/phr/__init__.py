"""Policy Horizon Regression: a policy that looks once and acts n times.

Importing phr is light: every name below is loaded on first use, and torch only by those that need it. `bench`, `doctor`,
`make_report`, `push` and `reproduce` come from the package `phr_studies`, found through the entry-point group `phr.api`.
Where Gymnasium is installed, phr's own environments are registered with it.
"""

from __future__ import annotations

import importlib
import importlib.util
from typing import TYPE_CHECKING, Any

from phr.errors import MissingExtraError
from phr.lazy import lazy_names

if TYPE_CHECKING:
    from phr.acting.agent import HorizonAgent as HorizonAgent, VectorHorizonAgent as VectorHorizonAgent
    from phr.api import distill as distill, evaluate as evaluate, load as load
    from phr.api import (
        export_onnx as export_onnx,
        load_teacher as load_teacher,
        train_teacher as train_teacher,
        tune as tune,
    )
    from phr.evaluation.tuning import Tuning as Tuning
    from phr.distil.config import PHRConfig as PHRConfig
    from phr.envs.registry import make_env as make_env
    from phr.errors import PhrError as PhrError
    from phr.evaluation.evaluate import Evaluation as Evaluation
    from phr.plan import CategoricalPlan as CategoricalPlan, Plan as Plan, Planner as Planner
    from phr.storage.model import Model as Model
    from phr.teacher.a2c import A2CConfig as A2CConfig

    __version__: str

_load, _own = lazy_names(
    __name__,
    {
        "acting.agent": "HorizonAgent VectorHorizonAgent",
        "api": "distill evaluate export_onnx load load_teacher train_teacher tune",
        "distil.config": "PHRConfig",
        "envs.registry": "make_env",
        "errors": "PhrError",
        "evaluation.evaluate": "Evaluation",
        "evaluation.tuning": "Tuning",
        "plan": "CategoricalPlan Plan Planner",
        "storage.model": "Model",
        "teacher.a2c": "A2CConfig",
    },
)
_PLUGGED_IN = ("bench", "doctor", "make_report", "push", "reproduce")
__all__ = sorted([*_own, *_PLUGGED_IN, "__version__"])


def __getattr__(name: str) -> Any:
    if name == "__version__":
        return importlib.import_module("importlib.metadata").version("phr")
    try:
        if name not in _PLUGGED_IN:
            return _load(name)
        for point in importlib.import_module("importlib.metadata").entry_points(group="phr.api", name=name):
            return point.load()
        raise AttributeError(f"module 'phr' has no attribute {name!r}: no installed package provides it (phr.api)")
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] == "phr":
            raise
        raise MissingExtraError(f"phr.{name} needs {error.name}; pip install 'phr[train]'") from error


def __dir__() -> list[str]:
    return __all__


if importlib.util.find_spec("gymnasium") is not None:
    from gymnasium import register, registry

    from phr.envs import CLIFF_IDS, FOUR_ROOMS_ID

    if FOUR_ROOMS_ID not in registry:
        register(FOUR_ROOMS_ID, entry_point="phr.envs.four_rooms:FourRoomsEnv")
    for _id, _world in CLIFF_IDS.items():
        if _id not in registry:
            register(_id, entry_point="phr.envs.cliffs:CliffEnv", kwargs={"world": _world}, max_episode_steps=100)
