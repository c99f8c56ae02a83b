"""Line charts: learning curves from a run's `metrics.jsonl`, and how often a plan's actions are the teacher's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from phr.errors import InvalidDataError
from phr_studies.report.canvas import Axes, Figure, Theme, dress, name_the_lines, new_figure, save, text_beside

TEACHER_CURVE = {"episode_return": "sampled return", "greedy_return": "greedy return"}
STUDENT_CURVE = {"loss/plan": "plan loss (nats per step)"}
"""What a curve shows: metric → its name for people."""

COUNTERS = ("timesteps", "updates", "update", "minutes")
"""Keys that may serve as the horizontal axis, the best first."""


def curve(
    rows: Sequence[Mapping[str, Any]],
    file: Path,
    *,
    values: Mapping[str, str],
    references: Mapping[str, float] | None = None,
    log: bool = False,
) -> Path:
    """Draw metrics over training time, the raw values faint behind their running mean.

    Args:
        rows: Rows of `metrics.jsonl`; a row may lack any of the values.
        file: Where the PNG goes; the SVG and the dark twin lie beside it.
        values: Key of a metric → its name for people. Metrics that no row holds are left out.
        references: Name → value of horizontal lines, such as the best possible return.
        log: Logarithmic value axis.

    Returns:
        The PNG.

    Raises:
        InvalidDataError: If no row holds any of the values.
    """
    counter = next((name for name in COUNTERS if any(name in row for row in rows)), None)
    lines = {} if counter is None else {key: series_of(rows, counter, key) for key in values}
    lines = {key: line for key, line in lines.items() if len(line[0])}
    if counter is None or not lines:
        raise InvalidDataError(f"none of the {len(rows)} rows of metrics holds {' or '.join(values)} and a counter")
    named = {values[key]: line for key, line in lines.items()}
    return save(file, partial(_draw, named, counter, dict(references or {}), log))


def series_of(rows: Sequence[Mapping[str, Any]], counter: str, key: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Counter and value of every row that holds both, finite."""
    pairs = [(float(row[counter]), float(row[key])) for row in rows if counter in row and row.get(key) is not None]
    found = np.array([pair for pair in pairs if np.isfinite(pair).all()], np.float64).reshape(-1, 2)
    return found[:, 0], found[:, 1]


def running_mean(values: NDArray[np.float64], width: int) -> NDArray[np.float64]:
    """Mean of each value and its neighbours, a centred window of `width` that shrinks at both ends."""
    half = max(width, 1) // 2
    sums = np.concatenate([[0.0], np.cumsum(values)])
    first = np.maximum(np.arange(len(values)) - half, 0)
    last = np.minimum(np.arange(len(values)) + half + 1, len(values))
    mean: NDArray[np.float64] = (sums[last] - sums[first]) / (last - first)
    return mean


def _draw(
    lines: Mapping[str, tuple[NDArray[np.float64], NDArray[np.float64]]],
    counter: str,
    references: Mapping[str, float],
    log: bool,
    theme: Theme,
) -> Figure:
    figure, axes = _panel(theme)
    for index, (name, (x, y)) in enumerate(lines.items()):
        color = theme.cycle[index % len(theme.cycle)]
        axes.plot(x, y, color=color, linewidth=0.9, alpha=0.35)
        axes.plot(x, running_mean(y, len(y) // 25), color=color, linewidth=1.8, label=name)
    if log:
        axes.set_yscale("log")
        axes.minorticks_off()
    else:
        axes.locator_params(axis="y", nbins=6)
    axes.locator_params(axis="x", nbins=6)
    axes.xaxis.set_major_formatter(lambda value, _position: short_count(value))
    for name, value in references.items():
        axes.axhline(value, color=theme.faint, linewidth=1, linestyle=(0, (1, 2.5)))
        text_beside(axes, name, (0, value), (2, 3), xycoords=("axes fraction", "data"), color=theme.faint, fontsize=8)
    axes.set_xlabel({"timesteps": "environment steps", "minutes": "minutes"}.get(counter, "updates"), color=theme.faint)
    name_the_lines(axes)
    return figure


def short_count(value: float) -> str:
    """1500 → 1.5k, 2000000 → 2M."""
    for size, suffix in ((1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:.4g}{suffix}"
    return f"{value:.4g}"


_BOTTOM = 0.9
"""The axis begins here or below, so that a plan that is nearly perfect looks like one."""


def agreement(lines: Mapping[str, Sequence[float]], file: Path) -> Path:
    """Draw agreement over the position in the plan.

    Args:
        lines: Whose, on which states → share of equal actions (0 .. 1), one for each action of the plan.
        file: Where the PNG goes; the SVG and the dark twin lie beside it.

    Returns:
        The PNG.

    Raises:
        InvalidDataError: If a line has no action, or the lines are not equally long.
    """
    lengths = {len(line) for line in lines.values()}
    if len(lengths) != 1 or 0 in lengths:
        raise InvalidDataError(f"agreement needs one share for each action of a plan, got lines of {sorted(lengths)} shares")
    return save(file, partial(_draw_agreement, lines))


def _draw_agreement(lines: Mapping[str, Sequence[float]], theme: Theme) -> Figure:
    figure, axes = _panel(theme)
    for index, (name, shares) in enumerate(lines.items()):
        color = theme.cycle[index % len(theme.cycle)]
        axes.plot(range(1, len(shares) + 1), shares, color=color, marker="o", markersize=4, linewidth=1.8, label=name)
    axes.yaxis.set_major_formatter(lambda value, _position: f"{100 * value:.4g} %")
    axes.set_ylim(min(_BOTTOM, min(map(min, lines.values())) - 0.02), 1.005)
    axes.locator_params(axis="y", nbins=6)
    axes.locator_params(axis="x", integer=True)
    axes.set_xlabel("action of the plan", color=theme.faint)
    name_the_lines(axes)
    return figure


def _panel(theme: Theme) -> tuple[Figure, Axes]:
    figure = new_figure(5.4, 3.4)
    axes = figure.subplots()
    dress(axes, theme)
    return figure, axes
