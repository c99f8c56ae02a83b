"""Algorithm 1, stage 1: a teacher trained by A2C."""

from __future__ import annotations

from typing import TYPE_CHECKING

from phr.lazy import lazy_names

if TYPE_CHECKING:
    from phr.teacher.a2c import A2C as A2C
    from phr.teacher.a2c import A2CConfig as A2CConfig

__getattr__, __all__ = lazy_names(__name__, {"a2c": "A2C A2CConfig"})
