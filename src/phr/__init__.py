"""Policy Horizon Regression: a policy that looks once and acts n times.

Importing phr is light: every name below is loaded on first use, and torch only by those that need it. `bench`, `doctor`,
`make_report` and `reproduce` come from the package `phr_studies`, found through the entry-point group `phr.api`. Where
Gymnasium is installed, phr's own environments are registered with it.
"""

from __future__ import annotations

import importlib
import importlib.util
from typing import TYPE_CHECKING, Any

_EXPORTS = {
    "A2CConfig": "phr.teacher.a2c",
    "CategoricalPlan": "phr.plan",
    "Evaluation": "phr.evaluation.summary",
    "HorizonAgent": "phr.acting.agent",
    "Model": "phr.storage.model",
    "PHRConfig": "phr.distil.config",
    "Plan": "phr.plan",
    "Planner": "phr.protocols",
    "PhrError": "phr.errors",
    "VectorHorizonAgent": "phr.acting.agent",
    "convert_vecnormalize": "phr.api",
    "distill": "phr.api",
    "evaluate": "phr.api",
    "export_onnx": "phr.api",
    "load": "phr.api",
    "load_teacher": "phr.api",
    "make_env": "phr.envs.registry",
    "train_teacher": "phr.api",
}

__all__ = [
    "A2CConfig",
    "CategoricalPlan",
    "Evaluation",
    "HorizonAgent",
    "Model",
    "PHRConfig",
    "PhrError",
    "Plan",
    "Planner",
    "VectorHorizonAgent",
    "__version__",
    "bench",
    "convert_vecnormalize",
    "distill",
    "doctor",
    "evaluate",
    "export_onnx",
    "load",
    "load_teacher",
    "make_env",
    "make_report",
    "reproduce",
    "train_teacher",
]

if TYPE_CHECKING:
    from phr.acting.agent import HorizonAgent, VectorHorizonAgent
    from phr.api import (
        convert_vecnormalize,
        distill,
        evaluate,
        export_onnx,
        load,
        load_teacher,
        train_teacher,
    )
    from phr.distil.config import PHRConfig
    from phr.envs.registry import make_env
    from phr.errors import PhrError
    from phr.evaluation.summary import Evaluation
    from phr.plan import CategoricalPlan, Plan
    from phr.protocols import Planner
    from phr.storage.model import Model
    from phr.teacher.a2c import A2CConfig

    __version__: str


def __getattr__(name: str) -> Any:
    if name == "__version__":
        return importlib.import_module("importlib.metadata").version("phr")
    if name not in __all__:
        raise AttributeError(f"module 'phr' has no attribute {name!r}")
    try:
        if name in _EXPORTS:
            return getattr(importlib.import_module(_EXPORTS[name]), name)
        for point in importlib.import_module("importlib.metadata").entry_points(group="phr.api", name=name):
            return point.load()
        raise AttributeError(f"module 'phr' has no attribute {name!r}: no installed package provides it (phr.api)")
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] == "phr":
            raise
        from phr.errors import MissingExtraError

        raise MissingExtraError(f"phr.{name} needs {error.name}; pip install 'phr[train]'") from error


def __dir__() -> list[str]:
    return sorted(__all__)


if importlib.util.find_spec("gymnasium") is not None:
    from gymnasium import register, registry

    from phr.envs import FOUR_ROOMS_ID

    if FOUR_ROOMS_ID not in registry:
        register(FOUR_ROOMS_ID, entry_point="phr.envs.four_rooms:FourRoomsEnv")
