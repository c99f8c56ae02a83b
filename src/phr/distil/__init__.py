"""Algorithm 1, stage 2: windows, losses, training, refinement, presets."""

from phr.distil.config import PHRConfig
from phr.distil.losses import PlanLoss
from phr.distil.presets import fresh_trunk, student_config, teacher_config
from phr.distil.runs import Distillation, named, record_teacher

__all__ = ["Distillation", "PHRConfig", "PlanLoss", "fresh_trunk", "named", "record_teacher", "student_config"]
__all__ += ["teacher_config"]
