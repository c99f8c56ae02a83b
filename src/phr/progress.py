"""Long computations: their progress, and the processors that they may use."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass

__all__ = ["OnProgress", "Progress", "available_cores", "silent"]


@dataclass(frozen=True)
class Progress:
    """The state of a computation: `done` of `total` units of a stage, and the latest result in a few words."""

    stage: str
    done: int
    total: int
    unit: str
    note: str = ""


OnProgress = Callable[[Progress], None]


def silent(_report: object) -> None:
    """Show nothing."""


def available_cores() -> int:
    """Processors that this process may use: fewer than the machine has where its affinity is narrowed (taskset, cpusets)."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
