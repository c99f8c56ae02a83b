"""Return against looks per step: every rule that `phr tune` tried, the teacher, the certified one, the baselines."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import phr
from phr_studies.report.canvas import Axes, Figure, Theme, dress, name_the_lines, new_figure, save, series_styles
from phr_studies.report.points import ACTION_REPEAT


def tuning_figure(found: phr.Tuning, path: Path) -> Path:
    """Draw the share of the teacher's return over looks per step; return the PNG."""
    return save(path, partial(_draw, found))


def _draw(found: phr.Tuning, theme: Theme) -> Figure:
    figure = new_figure(6.4, 4.0)
    axes = figure.subplots()
    dress(axes, theme)
    for index, (name, prefix, kind) in enumerate((("fixed n", "n = ", int), ("confidence limit", "confidence ", dict))):
        rules = sorted((each.looks_per_step, 100 * each.share, each.name.removeprefix(prefix)) for each in found.candidates
                        if isinstance(each.commitment, kind) and each.share is not None)  # fmt: skip
        x, y = [at for at, _, _ in rules], [share for _, share, _ in rules]
        if rules:
            axes.plot(x, y, color=theme.cycle[index], marker="os"[index], markersize=4.5, linewidth=1.6, label=name)
            _label(axes, rules, theme.cycle[index], above=index == 1)
    repeats = sorted((each.looks_per_step, 100 * each.share, each.n) for each in found.baselines
                     if each.is_repeat and each.share is not None)  # fmt: skip
    if repeats:
        style = series_styles((ACTION_REPEAT,), theme)[ACTION_REPEAT]
        x, y = [at for at, _, _ in repeats], [share for _, share, _ in repeats]
        axes.plot(x, y, color=style.color, marker=style.marker, markersize=4.5, linestyle=style.line, linewidth=1.2,
                  label="action repeat, untested")  # fmt: skip
        named = [(at, share, str(n)) for at, share, n in repeats if n > 1]
        _label(axes, named, style.color, above=True)
    axes.plot([1], [100], color=theme.ink, marker="D", markersize=6, linestyle="none", label="teacher")
    for each in found.baselines:
        if not each.is_repeat and each.share is not None:
            axes.plot([each.looks_per_step], [100 * each.share], color=theme.cycle[3], marker="s", markersize=12,
                      fillstyle="none", markeredgewidth=1.6, linestyle="none",
                      label=f"{_end_of(each.name)}, untested")  # fmt: skip
    if found.choice is not None and found.choice.share is not None:
        at = found.choice.looks_per_step, 100 * found.choice.share
        low = 100 * min(found.choice.certified_share, found.choice.share)
        axes.plot([at[0]] * 2, [low, at[1]], color=theme.alert, linewidth=1.4)
        axes.plot(*at, color=theme.alert, marker="o", markersize=11, fillstyle="none", linestyle="none",
                  markeredgewidth=1.6, label=f"certified: {found.choice.name}")  # fmt: skip
    axes.axhline(100 * found.retain, color=theme.faint, linewidth=1, linestyle=(0, (1, 2.5)),
                 label=f"asked: {100 * found.retain:g} %")  # fmt: skip
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_formatter(lambda value, _position: f"{value:.3g}")
    axes.minorticks_off()
    observed = [each.share for each in found.candidates] + [each.share for each in found.baselines]
    shares = [100 * share for share in observed if share is not None]
    low, high = max(min([*shares, 100 * found.retain]) - 2, -10), max(100, *shares)
    axes.set_ylim(low, high + max(1, 0.1 * (high - low)))  # the names of the points need room
    axes.yaxis.set_major_formatter(lambda value, _position: f"{value:.4g} %")
    axes.set_xlabel("looks per step  (fewer to the left)", color=theme.faint)
    axes.set_ylabel("share of the teacher's return", color=theme.faint)
    name_the_lines(axes)
    return figure


def _end_of(name: str) -> str:
    """The last part of a path, which may be too long for a legend."""
    return name.rstrip("/").rpartition("/")[2]


_CLOSE = 0.06
"""Labels nearer than this part of the axis are left out."""


def _label(axes: Axes, points: Sequence[tuple[float, float, str]], color: str, *, above: bool) -> None:
    """Names of the rules beside their points, where there is room."""
    last = 0.0
    for looks, share, name in points:
        if looks < last * 2 ** (5 * _CLOSE):
            continue
        last = looks
        axes.annotate(name, (looks, share), xytext=(0, 6 if above else -12), textcoords="offset points", color=color,
                      fontsize=7.5, ha="center")  # fmt: skip
