"""Both stages of training, and their presets."""

from __future__ import annotations

from typing import TYPE_CHECKING

from phr.lazy import lazy_names

if TYPE_CHECKING:
    from phr.learning.a2c import A2C as A2C
    from phr.learning.a2c import A2CConfig as A2CConfig
    from phr.learning.losses import PlanLoss as PlanLoss
    from phr.learning.phr_config import PHRConfig as PHRConfig
    from phr.learning.presets import default_trunk_of as default_trunk_of
    from phr.learning.presets import student_config as student_config
    from phr.learning.presets import teacher_config as teacher_config
    from phr.learning.recording import named as named
    from phr.learning.recording import record_teacher as record_teacher
    from phr.learning.runs import distill as distill
    from phr.learning.settings import said_settings as said_settings

__getattr__, __all__ = lazy_names(
    __name__,
    {
        "a2c": "A2C A2CConfig",
        "losses": "PlanLoss",
        "phr_config": "PHRConfig",
        "presets": "default_trunk_of student_config teacher_config",
        "recording": "named record_teacher",
        "runs": "distill",
        "settings": "said_settings",
    },
)
