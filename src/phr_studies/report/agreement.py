"""How often a student's plan says what the teacher does, action by action."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

from phr.errors import InvalidDataError
from phr_studies.report.canvas import Figure, Theme, dress, name_the_lines, new_figure, save

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
    return save(file, partial(_draw, lines))


def _draw(lines: Mapping[str, Sequence[float]], theme: Theme) -> Figure:
    figure = new_figure(5.4, 3.4)
    axes = figure.subplots()
    dress(axes, theme)
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
