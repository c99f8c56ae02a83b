"""The paper's Fig. 4: score per second, and seconds per 100,000 steps, over n."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Literal

from phr.errors import InvalidDataError
from phr_studies.report.canvas import Axes, Figure, SeriesStyle, Theme, dress, new_figure, save, series_styles, text_beside
from phr_studies.report.points import ACTION_REPEAT, OPTIMUM, TEACHER, Interval, Point, find, in_order
from phr_studies.report.tables import env_name, series_name

Quantity = Literal["score", "seconds"]

_DODGE = 1.035
"""Neighbouring series stand this factor apart along n, so that equal values do not hide each other."""
_LABEL_GAP = 0.068
"""Least distance between two labels, as a fraction of the panel's height."""
_HEADROOM = 1.14
"""The value axis ends this factor above the highest value."""


def figure4(points: Sequence[Point], path: Path) -> Path:
    """Draw throughput and time over n, one column per environment, one line per series; return the PNG.

    The teacher's n = 1 is a diamond; a series without a point of its own at n = 1 starts there. A dotted line
    marks half of the teacher's time, the paper's claim; numbers with × are the first student's speed-ups. The optimum
    stands in the upper panel alone: its time is the first student's. Columns and lines come in order of first appearance.
    """
    if not points:
        raise InvalidDataError("a figure needs at least one point, got none")
    return save(path, partial(_draw, points))


def _draw(points: Sequence[Point], theme: Theme) -> Figure:
    env_ids = in_order(points, lambda point: point.env_id)
    figure = new_figure(4.9 * len(env_ids), 6.6)
    grid = figure.subplots(2, len(env_ids), squeeze=False)
    for (upper, lower), env_id in zip(grid.T, env_ids, strict=True):
        here = [point for point in points if point.env_id == env_id]
        upper.set_title(env_name(env_id), loc="left", color=theme.ink, fontsize=12, fontweight="bold", pad=20)
        text_beside(upper, "score per second  (higher is better)", (0, 1), (0, 7), color=theme.faint)
        text_beside(lower, "seconds per 100,000 steps  (lower is better)", (0, 1), (0, 7), color=theme.faint)
        _panel(upper, here, "score", theme)
        _panel(lower, [point for point in here if point.series != OPTIMUM] or here, "seconds", theme)
        _mark_speed(lower, here, theme)
        lower.set_xlabel("n, actions executed per look", color=theme.faint)
    return figure


def _panel(axes: Axes, points: Sequence[Point], quantity: Quantity, theme: Theme) -> None:
    dress(axes, theme)
    ticks = sorted({point.n for point in points})
    axes.set_xscale("log", base=2)
    axes.set_xlim(ticks[0] / 1.25, ticks[-1] * 1.25)
    axes.set_xticks(ticks, [str(n) for n in ticks])
    axes.minorticks_off()
    names = in_order(points, lambda point: point.series)
    styles = series_styles(names, theme)
    teacher = find(points, points[0].env_id, TEACHER, 1)
    ends: list[tuple[str, float, float]] = []
    for index, name in enumerate(names):
        line = sorted((point for point in points if point.series == name), key=lambda point: point.n)
        if teacher is not None and name != OPTIMUM and line[0].n > 1:
            line.insert(0, teacher)
        shift = 1.0 if name in (TEACHER, OPTIMUM) else _DODGE ** (index - len(names) / 2)
        end = _line(axes, line, quantity, styles[name], shift)
        if name != TEACHER:
            ends.append((name, *end))
    _scale_values(axes, [end for point in points for end in value_of(point, quantity)[1]])
    _name_lines(axes, ends, styles)
    if teacher is not None:
        at = (1, value_of(teacher, quantity)[0])
        offset, side = ((9, 4), "left") if quantity == "seconds" else ((0, 10), "center")
        text_beside(axes, "teacher", at, offset, xycoords="data", color=theme.ink, ha=side)


def value_of(point: Point, quantity: Quantity) -> tuple[float, Interval]:
    """A point's value and interval; where there is no interval, the value twice."""
    if quantity == "score":
        value, interval = point.score_per_second, point.score_interval
    else:
        value, interval = point.seconds_per_100k_steps, point.seconds_interval
    return value, interval or (value, value)


def _line(axes: Axes, line: Sequence[Point], quantity: Quantity, style: SeriesStyle, shift: float) -> tuple[float, float]:
    # The teacher's own point is shared by all lines, so it is never shifted.
    x = [point.n * (1.0 if point.series == TEACHER else shift) for point in line]
    values, intervals = zip(*(value_of(point, quantity) for point in line), strict=True)
    low, high = zip(*intervals, strict=True)
    is_teacher = style.line == "none"
    axes.plot(
        x,
        values,
        color=style.color,
        marker=style.marker,
        markersize=8 if is_teacher else 5.5,
        linewidth=style.width,
        linestyle=style.line,
        zorder=6 if is_teacher else 4 if style.marker else 3,
    )
    if low != high:
        axes.fill_between(x, low, high, color=style.color, alpha=0.14, linewidth=0, zorder=1.5)
        axes.vlines(x, low, high, color=style.color, linewidth=1.3, zorder=3.5)
    return x[-1], values[-1]


def _scale_values(axes: Axes, values: Sequence[float]) -> None:
    """Let the value axis begin at 0, so that ratios can be read off; below 0 only where a value is."""
    axes.locator_params(axis="y", nbins=6)
    low, high = min(*values, 0.0), max(*values, 0.0)
    axes.set_ylim(low * _HEADROOM, high * _HEADROOM if high > 0 else 1.0)
    if low < 0:
        axes.axhline(0, color=axes.spines["bottom"].get_edgecolor(), linewidth=0.8, zorder=1)


def spread(values: Sequence[float], gap: float) -> list[float]:
    """Move values in [0, 1] apart as little as possible, in their order, until neighbours are `gap` apart.

    The least-squares solution (pool adjacent violators) within [0, 1], beyond 1 only where the room does not suffice.
    """
    order = sorted(range(len(values)), key=lambda index: values[index])
    blocks: list[tuple[float, int]] = []  # mean and size of neighbours that touch, with the gaps taken out
    for rank, index in enumerate(order):
        blocks.append((values[index] - rank * gap, 1))
        while len(blocks) > 1 and blocks[-2][0] > blocks[-1][0]:
            (first, n_first), (second, n_second) = blocks[-2:]
            n_both = n_first + n_second
            blocks[-2:] = [((first * n_first + second * n_second) / n_both, n_both)]
    highest = 1 - (len(values) - 1) * gap
    flat = [max(min(mean, highest), 0.0) for mean, size in blocks for _ in range(size)]
    placed = [0.0] * len(values)
    for rank, index in enumerate(order):
        placed[index] = flat[rank] + rank * gap
    return placed


def _name_lines(axes: Axes, ends: Sequence[tuple[str, float, float]], styles: dict[str, SeriesStyle]) -> None:
    bottom, top = axes.get_ylim()
    heights = spread([(y - bottom) / (top - bottom) for _, _, y in ends], _LABEL_GAP)
    for (name, x, y), height in zip(ends, heights, strict=True):
        color = styles[name].color
        hairline = {"arrowstyle": "-", "color": color, "linewidth": 0.6, "relpos": (0, 0.5), "shrinkA": 1, "shrinkB": 5}
        text_beside(
            axes,
            series_name(name),
            (x, y),
            (1.03, height),
            xycoords="data",
            textcoords="axes fraction",
            color=color,
            va="center",
            annotation_clip=False,
            arrowprops=hairline,
        )


def _mark_speed(axes: Axes, points: Sequence[Point], theme: Theme) -> None:
    """Half of the teacher's time, and the first student's speed-ups over it."""
    teacher = find(points, points[0].env_id, TEACHER, 1)
    if teacher is None:
        return
    seconds = teacher.seconds_per_100k_steps
    axes.axhline(seconds / 2, color=theme.faint, linewidth=1, linestyle=(0, (1, 2.5)), zorder=1)
    words = {"xycoords": ("axes fraction", "data"), "ha": "right", "color": theme.faint, "fontsize": 8}
    text_beside(axes, "half of the teacher's time", (1, seconds / 2), (-2, 3), **words)
    students = [point for point in points if point.series not in (TEACHER, OPTIMUM, ACTION_REPEAT) and point.n > 1]
    if not students:
        return
    first = students[0].series
    color = series_styles([first], theme)[first].color
    behind = {"facecolor": theme.paper, "edgecolor": "none", "pad": 1.5}
    words = {"xycoords": ("data", "axes fraction"), "ha": "center", "color": color, "bbox": behind}
    for student in students:
        if student.series == first:
            speed_up = f"{seconds / student.seconds_per_100k_steps:.1f}×"
            text_beside(axes, speed_up, (student.n, 0.9), (0, 0), fontweight="bold", **words)
    what = f"speed-up of {series_name(first)}"
    text_beside(axes, what, (1, 0.82), (-2, 0), ha="right", color=color, fontsize=8.5, bbox=behind)
