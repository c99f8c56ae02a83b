"""Progress of a long computation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

__all__ = ["OnProgress", "Progress", "silent"]


@dataclass(frozen=True)
class Progress:
    """The state of a computation: `done` of `total` units, and the latest result in a few words."""

    stage: str
    done: int
    total: int
    unit: str
    note: str = ""


OnProgress = Callable[[Progress], None]


def silent(_progress: Progress) -> None:
    """Show nothing."""
