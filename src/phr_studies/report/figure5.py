"""The paper's Fig. 5: the learned path on its map, numbered by action."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from phr_studies.paths import LearnedPath
from phr_studies.report.canvas import DARK, LIGHT, Artist, Axes, Figure, Theme, offsetbox, patches, save
from phr_studies.report.names import env_name

Cell = tuple[int, int]
"""Column and row."""

_CELL_INCHES = 0.5
_MARGIN, _HEAD, _FOOT = 0.12, 0.62, 0.62
"""Inches beside, above and below the map."""
_WALL, _LAVA, _GOAL, _GRID = "#39424e", "#f0a35e", "#8fd6a0", "#1c212722"
_PLAIN, _LOOKED, _START, _RIBBON = "#1c2127", "#b8060c", "#0072b2", "#0072b230"
_FREE = {LIGHT: "#f7f8fa", DARK: "#d3dae1"}
"""The map is light on dark pages too, only less glaring."""
_LARGEST, _ROOM_POINTS, _LINE_EMS = 10.5, 31.0, 1.3
_WORD_EMS = {False: 0.64, True: 0.7, ",": 0.36}
"""Widths of a plain digit, a bold digit and a comma, in font sizes."""
_STEPS = ((1, 0), (0, 1), (-1, 0), (0, -1))


@dataclass(frozen=True)
class Label:
    """The number of an action, and whether the policy was evaluated right before it."""

    number: int
    looked: bool


def cell_labels(path: LearnedPath) -> dict[Cell, tuple[Label, ...]]:
    """Which actions landed in which cell, in order; actions that turn or bump land where they began."""
    cells: dict[Cell, list[Label]] = {}
    for number, ((x, y, _), looked) in enumerate(zip(path.places[1:], path.looked, strict=True), start=1):
        cells.setdefault((x, y), []).append(Label(number, looked))
    return {cell: tuple(labels) for cell, labels in cells.items()}


Word = tuple[str, bool]
"""A piece of a cell's text, and whether it is red and bold."""


def label_lines(labels: Sequence[Label], per_line: int, *, most: int = 6) -> list[list[Word]]:
    """The text of one cell as lines of words.

    Args:
        labels: At least one.
        per_line: Numbers on a line.
        most: Numbers in a cell; of more, the first are shown and the others counted.
    """
    shown = labels if len(labels) <= most else labels[: most - 1]
    items = [(str(label.number), label.looked) for label in shown]
    if len(shown) < len(labels):
        items.append((f"+{len(labels) - len(shown)}", False))
    lines = [items[first : first + per_line] for first in range(0, len(items), per_line)]
    separated = [[word for item in line for word in (item, (",", False))] for line in lines]
    separated[-1].pop()
    return separated


def fit_labels(labels: Sequence[Label]) -> tuple[list[list[Word]], float]:
    """Wrap the numbers of one cell so that they may be written as large as possible.

    Returns:
        The lines, and the font size in points.
    """
    layouts = []
    for per_line in (3, 2, 1):
        lines = label_lines(labels, per_line)
        widest = max(sum(_WORD_EMS["," if text == "," else looked] * len(text) for text, looked in line) for line in lines)
        layouts.append((lines, min(_LARGEST, _ROOM_POINTS / widest, _ROOM_POINTS / (_LINE_EMS * len(lines)))))
    # One line reads better than two that are hardly larger.
    return max(layouts, key=lambda layout: layout[1] * (1.15 if len(layout[0]) == 1 else 1.0))


def figure5(path: LearnedPath, file: Path) -> Path:
    """Draw a learned path on its map.

    A number is the action that landed in a cell; actions taken right after an evaluation are red and bold.

    Args:
        path: What was walked.
        file: Where the PNG goes; the SVG and the dark twin lie beside it.

    Returns:
        The PNG.
    """
    return save(file, partial(_draw, path))


def _draw(path: LearnedPath, theme: Theme) -> Figure:
    rows, columns = path.layout.shape
    width = max(columns * _CELL_INCHES, 4.0) + 2 * _MARGIN
    height = rows * _CELL_INCHES + _HEAD + _FOOT
    figure = Figure(figsize=(width, height))
    left = (width - columns * _CELL_INCHES) / 2
    box = (left / width, _FOOT / height, columns * _CELL_INCHES / width, rows * _CELL_INCHES / height)
    axes = figure.add_axes(box)
    axes.set_xlim(0, columns)
    axes.set_ylim(rows, 0)
    axes.axis("off")
    _draw_cells(axes, path, _FREE[theme])
    _draw_ribbon(axes, path)
    _draw_start(axes, path)
    for (x, y), labels in cell_labels(path).items():
        _write_labels(axes, x, y, labels, beside_arrow=(x, y) == path.places[0][:2])
    _write_words(figure, path, theme, _MARGIN / width, height)
    return figure


def _draw_cells(axes: Axes, path: LearnedPath, free: str) -> None:
    rows, columns = path.layout.shape
    for y in range(rows):
        for x in range(columns):
            kinds = ((path.layout.walls, _WALL), (path.layout.lava, _LAVA), (path.layout.goal, _GOAL))
            color = next((color for cells, color in kinds if cells[y, x]), free)
            edge = _WALL if color == _WALL else _GRID
            axes.add_patch(patches.Rectangle((x, y), 1, 1, facecolor=color, edgecolor=edge, linewidth=0.7, zorder=1))


def _draw_ribbon(axes: Axes, path: LearnedPath) -> None:
    """A pale band under the numbers, along the cells that were entered."""
    x, y = zip(*((x + 0.5, y + 0.5) for x, y, _ in path.places), strict=True)
    axes.plot(x, y, color=_RIBBON, linewidth=20, solid_capstyle="round", solid_joinstyle="round", zorder=2)


def _draw_start(axes: Axes, path: LearnedPath) -> None:
    """A triangle that points where the agent faces at first; in the corner where numbers share its cell."""
    x, y, direction = path.places[0]
    shared = (x, y) in cell_labels(path)
    center_x, center_y, size = (x + 0.24, y + 0.24, 0.17) if shared else (x + 0.5, y + 0.5, 0.3)
    (dx, dy), (side_x, side_y) = _STEPS[direction], _STEPS[(direction + 1) % 4]
    corners = [
        (center_x + size * dx, center_y + size * dy),
        (center_x + size * (0.85 * side_x - 0.75 * dx), center_y + size * (0.85 * side_y - 0.75 * dy)),
        (center_x - size * (0.85 * side_x + 0.75 * dx), center_y - size * (0.85 * side_y + 0.75 * dy)),
    ]
    axes.add_patch(patches.Polygon(corners, facecolor=_START, edgecolor="none", zorder=4))


def _write_labels(axes: Axes, x: int, y: int, labels: Sequence[Label], *, beside_arrow: bool) -> None:
    """All numbers of one cell, each in its own colour."""
    lines, size = fit_labels(labels)
    packed: list[Artist] = []
    for line in lines:
        words: list[Artist] = [_word(text, looked, size) for text, looked in line]
        packed.append(offsetbox.HPacker(children=words, pad=0, sep=0.4, align="baseline"))
    everything = offsetbox.VPacker(children=packed, pad=0, sep=1.5, align="center")
    place = (x + 0.56, y + 0.62) if beside_arrow else (x + 0.5, y + 0.5)
    axes.add_artist(offsetbox.AnnotationBbox(everything, place, frameon=False, pad=0, zorder=5))


def _word(text: str, looked: bool, size: float) -> offsetbox.TextArea:
    style = {
        "color": _LOOKED if looked else _PLAIN,
        "fontweight": "bold" if looked else "normal",
        "fontsize": size,
    }
    return offsetbox.TextArea(text, textprops=style)


def _write_words(figure: Figure, path: LearnedPath, theme: Theme, left: float, height: float) -> None:
    """Title and result above the map, the legend below it."""
    n_actions, n_looks = len(path.actions), path.evaluations
    title = path.title or env_name(path.env_id)
    looks = f"{n_looks} evaluation{'s' if n_looks != 1 else ''}"
    ending = "goal reached" if path.solved else "goal not reached"
    result = f"n = {path.commitment}: {n_actions} actions, {looks}, {ending}"
    figure.text(
        left,
        1 - 0.1 / height,
        title,
        color=theme.ink,
        fontsize=min(11, 400 / len(title)),
        fontweight="bold",
        va="top",
    )
    figure.text(left, 1 - 0.35 / height, result, color=theme.faint, fontsize=9, va="top")
    legend = [
        ("numbers: the action that landed there", theme.faint, "normal"),
        ("red and bold: taken right after an evaluation", theme.alert, "bold"),
    ]
    for line, (text, color, weight) in enumerate(legend):
        y = (_FOOT - 0.12 - 0.21 * line) / height
        figure.text(left, y, text, color=color, fontsize=8.5, fontweight=weight, va="top")
