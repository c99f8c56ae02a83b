"""What people read: names of environments and series, and numbers; what is unknown is a dash."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from phr_studies.report.points import Interval
from phr_studies.report.tables import NOTHING

_SERIES = {
    "cross_entropy": "cross-entropy",
    "kl": "KL",
    "forward_kl": "forward KL",
    "squared_logits": "squared, logits",
}


def env_name(env_id: str) -> str:
    """An environment's id without namespace, family and version: what fits above a picture."""
    return re.sub(r"-v\d+$", "", env_id.rpartition("/")[2].rpartition(":")[2]).removeprefix("MiniGrid-")


def series_name(series: str) -> str:
    """A series as people call it."""
    key = series.replace("-", "_")
    return _SERIES.get(key, key.replace("_", " "))


def dark_variant(path: Path) -> Path:
    """Where the dark twin of a picture lies."""
    return path.with_name(f"{path.stem}-dark{path.suffix}")


def number(value: float | None, decimals: int | None = None) -> str:
    """A number with so many decimals, else with about four digits: 0.9605, 14.21, 123.4, 12,340."""
    if value is None:
        return NOTHING
    if decimals is None:
        size = abs(value)
        decimals = 0 if size >= 999.95 else 1 if size >= 99.995 else 2 if size >= 9.9995 else 3 if size >= 0.99995 else 4
        decimals = 0 if value == 0 else decimals
    return f"{value:,.{decimals}f}".replace("-", "−")


def whole(value: float | None) -> str:
    """A number without decimals."""
    return number(value, 0)


def interval(ends: Interval | None) -> str:
    """Both ends: `0.9601 … 0.9608`."""
    return NOTHING if ends is None else f"{number(ends[0])} … {number(ends[1])}"


def mean_and_range(values: Sequence[float]) -> str:
    """The mean of several values with the lowest and the highest: `0.9841 (0.9524 … 1.000)`; one number where all agree."""
    if not values:
        return NOTHING
    mean = number(sum(values) / len(values))
    return mean if min(values) == max(values) else f"{mean} ({interval((min(values), max(values)))})"


def percent(fraction: float | None) -> str:
    """`100 %` only for all of it: 0.99999 is `99.99 %`, and 0.00001 is `0.01 %`, never `0 %`."""
    if fraction is None:
        return NOTHING
    if fraction in (0.0, 1.0):
        return f"{fraction:.0%}".replace("%", " %")
    if 0 < fraction < 1:
        fraction = min(max(fraction, 0.0001), 0.9999)
    text = f"{100 * fraction:.2f}" if min(abs(fraction), abs(1 - fraction)) < 0.01 else f"{100 * fraction:.1f}"
    return f"{text.rstrip('0').rstrip('.')} %".replace("-", "−")


def counted(n: int, noun: str) -> str:
    """`1 evaluation`, `4 evaluations`."""
    return f"{n:,} {noun}{'' if n == 1 else 's'}"


def times(factor: float | None) -> str:
    """A ratio: `2.31×`."""
    return NOTHING if factor is None else f"{factor:.2f}×" if factor < 9.995 else f"{factor:.1f}×"
