"""Models of the five-cell corridor, trained once for all tests that only look at them."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import gymnasium

from phr.distil import runs
from phr.distil.config import PHRConfig
from phr.distil.losses import PlanLoss
from phr.distil.runs import Distillation, named, record_teacher
from phr.experience.trajectory import Experience
from phr.networks.trunks import TrunkConfig
from phr.storage.model import Model, save_model
from phr.teacher.a2c import A2CConfig

CORRIDOR_FACTORY = "tests.helpers:make_corridor"
CORRIDOR = "Corridor-v0"
"""Registered, because a saved model may not name a factory without being asked for it."""
gymnasium.register(CORRIDOR, CORRIDOR_FACTORY)
TRUNK = TrunkConfig(kind="mlp", width=32)


def a2c_config(**settings: Any) -> A2CConfig:
    """Enough to learn the corridor, in a second."""
    known = {"total_timesteps": 4000, "n_envs": 8, "n_evaluations": 2, "eval_episodes": 4, "trunk": TRUNK}
    return A2CConfig(**{**known, **settings})


def phr_config(**settings: Any) -> PHRConfig:
    """Enough to distil the corridor, in a second."""
    known = {"horizon": 4, "n_updates": 150, "batch_size": 64, "n_episodes": 64, "learning_rate": 3e-3, "prefix": (0, 4)}
    return PHRConfig(**{**known, **settings})


@cache
def corridor_teacher() -> Model:
    """Solves the corridor."""
    return runs.train_teacher(CORRIDOR, a2c_config())


@cache
def corridor_experience() -> Experience:
    """What that teacher does there."""
    config = phr_config()
    experience, _ = record_teacher(corridor_teacher().planner, CORRIDOR, config)
    return named(experience, config, teacher="", teacher_id=corridor_teacher().sha256)


@cache
def corridor_student(loss: PlanLoss = "cross_entropy") -> Model:
    """That teacher's student of horizon 4."""
    return Distillation(corridor_teacher().planner, CORRIDOR, phr_config(loss=loss), start=corridor_teacher().network).run()


def saved(model: Model, directory: Path) -> Path:
    """A folder that holds the model."""
    save_model(directory, model.network, model.manifest)
    return directory
