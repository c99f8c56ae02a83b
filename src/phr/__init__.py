"""Policy Horizon Regression: a policy that looks once and acts n times.

Importing phr is light: every name below is loaded on first use, and torch only by those that need it. Where Gymnasium is
installed, phr's own environments are registered with it.
"""

from __future__ import annotations

import importlib
import importlib.util
from typing import TYPE_CHECKING, Any

_EXPORTS = {
    "A2CConfig": "phr.learning.a2c",
    "CategoricalPlan": "phr.plan",
    "Evaluation": "phr.evaluation.summary",
    "HorizonAgent": "phr.acting.agent",
    "Model": "phr.storage.model",
    "PHRConfig": "phr.learning.phr_config",
    "Plan": "phr.plan",
    "Planner": "phr.protocols",
    "PhrError": "phr.errors",
    "VectorHorizonAgent": "phr.acting.agent",
    "bench": "phr.api",
    "convert_vecnormalize": "phr.api",
    "distill": "phr.api",
    "doctor": "phr.api",
    "evaluate": "phr.api",
    "export_onnx": "phr.api",
    "load": "phr.api",
    "load_teacher": "phr.api",
    "make_env": "phr.envs.registry",
    "make_report": "phr.api",
    "reproduce": "phr.api",
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
        bench,
        convert_vecnormalize,
        distill,
        doctor,
        evaluate,
        export_onnx,
        load,
        load_teacher,
        make_report,
        reproduce,
        train_teacher,
    )
    from phr.envs.registry import make_env
    from phr.errors import PhrError
    from phr.evaluation.summary import Evaluation
    from phr.learning.a2c import A2CConfig
    from phr.learning.phr_config import PHRConfig
    from phr.plan import CategoricalPlan, Plan
    from phr.protocols import Planner
    from phr.storage.model import Model

    __version__: str


def __getattr__(name: str) -> Any:
    if name == "__version__":
        return importlib.import_module("importlib.metadata").version("phr")
    if name not in _EXPORTS:
        raise AttributeError(f"module 'phr' has no attribute {name!r}")
    try:
        return getattr(importlib.import_module(_EXPORTS[name]), name)
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
