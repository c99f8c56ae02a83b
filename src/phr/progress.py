"""Long computations: their progress, and the processors that they may use."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

__all__ = ["OnProgress", "Progress", "available_cores", "busy_share", "silent"]


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


def busy_share() -> Callable[[], float | None]:
    """Begin to measure; what is returned gives the share of the machine's cores that other programs kept busy since.

    None where it is unknown. By Linux's /proc/stat, which counts the cores of the whole machine, also for a container that
    may use few of them.
    """
    try:
        before, own = _core_times(), time.process_time()
    except (OSError, ValueError):
        return lambda: None

    def since() -> float | None:
        after, mine = _core_times(), time.process_time() - own
        busy, total = (now - then for now, then in zip(after, before, strict=True))
        return max(0.0, busy - mine) / total if total > 0 else None

    return since


def _core_times() -> tuple[float, float]:
    """Seconds that all cores were busy, and seconds of all cores, since the machine began."""
    with Path("/proc/stat").open() as file:
        user, nice, system, idle, waiting, *others = map(float, file.readline().split()[1:9])
    ticks = os.sysconf("SC_CLK_TCK")
    busy = user + nice + system + sum(others)
    return busy / ticks, (busy + idle + waiting) / ticks
