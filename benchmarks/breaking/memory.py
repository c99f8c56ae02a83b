"""What a long-lived process keeps after millions of steps and hundreds of students: memory, files, threads, processes."""

from __future__ import annotations

import gc
import resource
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

import phr
from phr.acting import HorizonAgent

ENV_ID = "CartPole-v1"
PARTS = 10
WARM_UP = 2
"""Of `PARTS`, before anything is compared: pools, caches and the allocator's arenas fill once."""
TINY: dict[str, Any] = {
    "horizon": 2,
    "n_episodes": 8,
    "n_updates": 3,
    "batch_size": 16,
    "prefix": (0, 0),
    "refine": 0,
    "width": 8,
}


def held() -> dict[str, int]:
    """Bytes of memory in use, open files, threads, children."""
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    tasks = list(Path("/proc/self/task").iterdir())
    children = sum(len((task / "children").read_text().split()) for task in tasks if (task / "children").exists())
    return {
        "bytes": pages * resource.getpagesize(),
        "files": len(list(Path("/proc/self/fd").iterdir())),
        "threads": len(tasks),
        "processes": children,
    }


def acting(n: int) -> Callable[[], None]:
    """A part of so many steps of a robot's loop."""
    agent = HorizonAgent(phr.train_teacher(ENV_ID, total_timesteps=512, seed=0).planner)
    obs = np.zeros(4, np.float32)

    def part() -> None:
        for _ in range(n // PARTS):
            agent.act(obs if agent.needs_observation else None)

    return part


def training(n: int) -> Callable[[], None]:
    """A part of so many timesteps of stage 1."""

    def part() -> None:
        phr.train_teacher(ENV_ID, total_timesteps=n // PARTS, seed=0)

    return part


def distilling(n: int) -> Callable[[], None]:
    """A part of so many distillations."""
    teacher = phr.train_teacher(ENV_ID, total_timesteps=512, seed=0)

    def part() -> None:
        for _ in range(n // PARTS):
            phr.distill(teacher, seed=0, curve_episodes=2, n_envs=4, **TINY)

    return part


def measured(scale: float = 1.0) -> Iterator[tuple[str, int, dict[str, int], dict[str, int]]]:
    """Do 5,000,000 steps, 1,000,000 timesteps and 200 distillations, or less; yield what is held early and at the end."""
    for name, n, begin in (
        ("steps acting", 5_000_000, acting),
        ("timesteps trained", 1_000_000, training),
        ("distillations", 200, distilling),
    ):
        count = max(PARTS, int(n * scale))
        part, before = begin(count), {}
        for number in range(PARTS):
            part()
            if number + 1 == WARM_UP:
                before = held()
        yield name, count, before, held()
