"""Algorithm 1, stage 2: windows, losses, training, refinement, presets."""

from phr.distil.config import PHRConfig
from phr.distil.losses import PlanLoss
from phr.distil.presets import default_trunk_of, student_config, teacher_config
from phr.distil.runs import Distillation, named, record_teacher

__all__ = ["Distillation", "PHRConfig", "PlanLoss", "default_trunk_of", "named", "record_teacher", "student_config"]
__all__ += ["teacher_config"]
