"""Algorithm 1, stage 2: windows, losses, training, refinement, presets."""

from __future__ import annotations

from typing import TYPE_CHECKING

from phr.lazy import lazy_names

if TYPE_CHECKING:
    from phr.distil.losses import PlanLoss as PlanLoss
    from phr.distil.config import PHRConfig as PHRConfig
    from phr.distil.presets import default_trunk_of as default_trunk_of
    from phr.distil.presets import student_config as student_config
    from phr.distil.presets import teacher_config as teacher_config
    from phr.distil.runs import named as named
    from phr.distil.runs import record_teacher as record_teacher
    from phr.distil.runs import Distillation as Distillation

__getattr__, __all__ = lazy_names(
    __name__,
    {
        "losses": "PlanLoss",
        "config": "PHRConfig",
        "presets": "default_trunk_of student_config teacher_config",
        "runs": "Distillation named record_teacher",
    },
)
