"""Updates of a training as a piece of work whose length can be chosen."""

from __future__ import annotations

import time
from collections.abc import Callable

Runner = Callable[[int], None]
"""Does so many updates."""

PILOT_UPDATES = 4
"""How many tell how long one takes."""


def calibrated(run: Runner, seconds: float) -> int:
    """Updates that take about so long."""
    return max(1, round(PILOT_UPDATES * seconds / timed(run, PILOT_UPDATES)))


def timed(run: Runner, n_updates: int) -> float:
    """Seconds that so many updates take."""
    begin = time.perf_counter()
    run(n_updates)
    return time.perf_counter() - begin
