"""Algorithm 1, stage 1: a teacher trained by A2C."""

from phr.teacher.a2c import A2C, A2CConfig

__all__ = ["A2C", "A2CConfig"]
