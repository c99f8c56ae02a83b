"""What all pictures share: colours for light and dark pages, and files whose bytes repeat.

Every picture is written three times: `name.png` and `name-dark.png` for the page, and `name.svg` for a paper.
No global state of matplotlib is left changed, and no file carries a date, so equal data give equal bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from phr.errors import MissingExtraError
from phr.files import atomic_path
from phr_studies.report.points import ACTION_REPEAT, OPTIMUM, TEACHER
from phr_studies.report.text import dark_variant

try:
    import matplotlib
    from matplotlib import layout_engine
    from matplotlib import offsetbox as offsetbox
    from matplotlib import patches as patches
    from matplotlib.artist import Artist as Artist
    from matplotlib.axes import Axes as Axes
    from matplotlib.figure import Figure as Figure
except ModuleNotFoundError as error:
    raise MissingExtraError(f"figures need {error.name}; pip install 'phr[train]'") from error

Spot = tuple[float | int, float | int]
"""Where on a picture, in whatever units."""

DPI = 192
"""Two pixels of the file for one of the page, so that pictures stay sharp on dense screens."""


@dataclass(frozen=True)
class Theme:
    """Colours of a picture.

    Attributes:
        paper: Background.
        ink: Text and the teacher.
        faint: Axes, grid lines and secondary text.
        grid: Lines behind the data.
        alert: What must not be overlooked.
        cycle: Colours of the series, distinguishable by colour-blind readers (after Okabe & Ito 2008).
    """

    paper: str
    ink: str
    faint: str
    grid: str
    alert: str
    cycle: tuple[str, ...]


LIGHT = Theme(
    paper="#ffffff",
    ink="#1c2127",
    faint="#68727d",
    grid="#e6e9ed",
    alert="#c4161c",
    cycle=("#0072b2", "#d55e00", "#009e73", "#b0569b", "#8f6d00"),
)
DARK = Theme(
    paper="#161a20",
    ink="#e8ebef",
    faint="#97a1ac",
    grid="#2b323b",
    alert="#ff7b7b",
    cycle=("#56b4e9", "#f28e4b", "#2fc79b", "#dd93c4", "#e6c24d"),
)

_SETTINGS: Any = {
    "font.family": ["DejaVu Sans"],  # comes with matplotlib, so it is the same everywhere
    "font.size": 9.5,
    "axes.unicode_minus": True,
    "svg.hashsalt": "phr",
    "svg.fonttype": "path",
    "path.simplify": True,
}


def save(path: Path, draw: Callable[[Theme], Figure]) -> Path:
    """Draw for light and dark pages and write PNG and SVG.

    Args:
        path: Where the light PNG goes; its dark twin and the SVG lie beside it.
        draw: Makes the figure in the given colours.

    Returns:
        The light PNG.
    """
    path = path.with_suffix(".png")
    with matplotlib.rc_context(_SETTINGS):
        for theme, target in ((LIGHT, path), (DARK, dark_variant(path))):
            figure = draw(theme)
            with atomic_path(target) as temporary:
                figure.savefig(temporary, format="png", dpi=DPI, facecolor=theme.paper, metadata={"Software": None})
            if theme is LIGHT:
                with atomic_path(path.with_suffix(".svg")) as temporary:
                    figure.savefig(temporary, format="svg", facecolor=theme.paper, metadata={"Date": None})
    return path


def new_figure(width: float, height: float) -> Figure:
    """A figure of so many inches whose axes, labels and titles arrange themselves."""
    engine = layout_engine.ConstrainedLayoutEngine(w_pad=0.12, h_pad=0.1, wspace=0.03, hspace=0.03)
    return Figure(figsize=(width, height), layout=engine)


def dress(axes: Axes, theme: Theme) -> None:
    """Quiet axes: horizontal grid lines, no box."""
    axes.set_facecolor(theme.paper)
    axes.grid(axis="y", color=theme.grid, linewidth=0.8)
    axes.set_axisbelow(True)
    for side, spine in axes.spines.items():
        spine.set_visible(side == "bottom")
        spine.set_color(theme.faint)
    axes.tick_params(colors=theme.faint, labelcolor=theme.faint, length=3, width=0.8, left=False)


@dataclass(frozen=True)
class SeriesStyle:
    """How one series is drawn: colour, marker (none for an empty string), line style and width."""

    color: str
    marker: str
    line: str = "-"
    width: float = 1.8


def series_styles(series: Sequence[str], theme: Theme) -> dict[str, SeriesStyle]:
    """A style for every series; the known ones keep theirs whatever else is drawn."""
    known = {
        TEACHER: SeriesStyle(theme.ink, "D", "none"),
        OPTIMUM: SeriesStyle(theme.ink, "", "-", 0.9),
        ACTION_REPEAT: SeriesStyle(theme.faint, "X", "--"),
        "cross_entropy": SeriesStyle(theme.cycle[0], "o"),
        "squared": SeriesStyle(theme.cycle[1], "s"),
        "kl": SeriesStyle(theme.cycle[2], "^"),
    }
    others = [name for name in series if name.replace("-", "_") not in known]
    styles = {name: SeriesStyle(theme.cycle[3 + at % 2], "vPhd"[at % 4]) for at, name in enumerate(others)}
    return {name: styles.get(name) or known[name.replace("-", "_")] for name in series}


def name_the_lines(axes: Axes) -> None:
    """Names above the panel, in the colours of their lines."""
    handles, names = axes.get_legend_handles_labels()
    axes.legend(
        handles,
        names,
        loc="lower left",
        bbox_to_anchor=(-0.02, 1.0),
        ncols=3,
        frameon=False,
        labelcolor="linecolor",
        handlelength=1.2,
        columnspacing=1.2,
        borderpad=0.1,
    )


def text_beside(axes: Axes, text: str, at: Spot, offset: Spot, **style: Any) -> None:
    """Write a text some points away from a place, by default one given in fractions of the axes."""
    style = {"xycoords": "axes fraction", "textcoords": "offset points", **style}
    axes.annotate(text, at, xytext=offset, **style)
