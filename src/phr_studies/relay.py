"""Progress that crosses from worker processes to the one that draws the bars."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Protocol, runtime_checkable

from phr.progress import OnProgress, Progress

_SECONDS_BETWEEN = 0.25


@runtime_checkable
class Inbox(Protocol):
    """Where reports are put: a queue, or the stand-in of one that lives in another process."""

    def put(self, report: Progress, /) -> None:
        """Take one report."""
        ...


class Relay:
    """Puts progress reports into a queue, a few a second.

    Args:
        queue: Read by the process that draws; None drops everything.
    """

    def __init__(self, queue: Inbox | None = None) -> None:
        self._queue = queue

    def named(self, name: str) -> OnProgress:
        """A callback whose reports carry the name of a piece of work."""
        last = 0.0

        def report(progress: Progress) -> None:
            nonlocal last
            now = time.monotonic()
            if self._queue is not None and (now - last > _SECONDS_BETWEEN or progress.done >= progress.total):
                last = now
                self._queue.put(replace(progress, stage=name))

        return report
