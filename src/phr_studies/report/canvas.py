"""What all pictures share (colours for light and dark pages, reproducible files), and the line charts.

Every picture is written three times: `name.png` and `name-dark.png` for the page, and `name.svg` for a paper.
No global state of matplotlib is left changed, and no file carries a date, so equal data give equal bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from phr.errors import InvalidDataError, MissingExtraError
from phr.files import atomic_path
from phr_studies.report.points import ACTION_REPEAT, OPTIMUM, TEACHER
from phr_studies.report.tables import dark_variant

try:
    import matplotlib
    from matplotlib import layout_engine, ticker
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
    """Colours of a picture: background, text, axes and secondary text, grid lines, what must not be overlooked."""

    paper: str
    ink: str
    faint: str
    grid: str
    alert: str
    cycle: tuple[str, ...]
    """Colours of the series, distinguishable by colour-blind readers (after Okabe & Ito 2008)."""


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
    """Draw for light and dark pages; write `path` as PNG, its dark twin and the SVG beside it; return the light PNG."""
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
    """Draw metrics over training time, the raw values faint behind their running mean; return the PNG.

    Args:
        rows: Rows of `metrics.jsonl`; a row may lack any of the values.
        file: Where the PNG goes; the SVG and the dark twin lie beside it.
        values: Key of a metric → its name for people. Metrics that no row holds are left out.
        references: Name → value of horizontal lines, such as the best possible return.
        log: Logarithmic value axis.
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
        axes.yaxis.set_major_locator(ticker.LogLocator(subs=(1, 2, 5)))  # a curve may stay within one decade
        axes.yaxis.set_major_formatter(lambda value, _position: f"{value:g}")
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


def agreement(lines: Mapping[str, Sequence[float | None]], file: Path) -> Path:
    """Draw agreement over the position in the plan, and return the PNG.

    `lines`: whose, on which states → share of equal actions (0 .. 1), one for each action of the plan, None if not measured.
    """
    lengths = {len(line) for line in lines.values()}
    if len(lengths) != 1 or 0 in lengths:
        raise InvalidDataError(f"agreement needs one share for each action of a plan, got lines of {sorted(lengths)} shares")
    return save(file, partial(_draw_agreement, {name: np.array(line, np.float64) for name, line in lines.items()}))


def _draw_agreement(lines: Mapping[str, NDArray[np.float64]], theme: Theme) -> Figure:
    figure, axes = _panel(theme)
    for index, (name, shares) in enumerate(lines.items()):
        color = theme.cycle[index % len(theme.cycle)]
        axes.plot(range(1, len(shares) + 1), shares, color=color, marker="o", markersize=4, linewidth=1.8, label=name)
    axes.yaxis.set_major_formatter(lambda value, _position: f"{100 * value:.4g} %")
    lowest = min(float(line[np.isfinite(line)].min(initial=1.0)) for line in lines.values())
    axes.set_ylim(min(_BOTTOM, lowest - 0.02), 1.005)
    axes.locator_params(axis="y", nbins=6)
    axes.locator_params(axis="x", integer=True)
    axes.set_xlabel("action of the plan", color=theme.faint)
    name_the_lines(axes)
    return figure


def reliability(rows: Sequence[Sequence[float | int]], file: Path) -> Path:
    """Draw the share of plans that were right over their confidence, and return the PNG.

    `rows`: mean confidence, share that was right, number of steps, as `phr.distil.calibrate` measures them.
    """
    if not rows:
        raise InvalidDataError("reliability needs at least one row, got none")
    return save(file, partial(_draw_reliability, rows))


def _draw_reliability(rows: Sequence[Sequence[float | int]], theme: Theme) -> Figure:
    figure, axes = _panel(theme)
    sure, right, counts = (np.array(column, np.float64) for column in zip(*rows, strict=True))
    axes.plot([0, 1], [0, 1], color=theme.faint, linewidth=1, linestyle=(0, (1, 2.5)))
    axes.plot(sure, right, color=theme.cycle[0], linewidth=1.8)
    axes.scatter(sure, right, s=12 + 120 * counts / counts.max(), color=theme.cycle[0], zorder=3)
    axes.set_xlim(0, 1.02)
    axes.set_ylim(0, 1.02)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(lambda value, _position: f"{100 * value:.4g} %")
    axes.set_xlabel("joint confidence of the plan so far", color=theme.faint)
    axes.set_ylabel("plans that are right so far", color=theme.faint)
    return figure


def _panel(theme: Theme) -> tuple[Figure, Axes]:
    figure = new_figure(5.4, 3.4)
    axes = figure.subplots()
    dress(axes, theme)
    return figure, axes
