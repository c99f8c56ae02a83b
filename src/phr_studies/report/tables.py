"""Names and numbers as text; tables, described once and rendered as Markdown or for the terminal (the page: as HTML)."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from phr.errors import InvalidDataError, MissingExtraError, printable
from phr_studies.report.points import Interval

Kind = Literal["text", "number", "interval", "verdict", "code"]
"""Numbers are set to the right, an interval (of the number on its left) small, a verdict coloured as good or bad news."""

NOTHING = "–"
"""What an empty cell shows."""


def is_good(verdict: str) -> bool | None:
    """Whether a verdict is good news or bad; None for a draw or an empty cell."""
    return {"yes": True, "held": True, "no": False, "did not hold": False}.get(verdict)


@dataclass(frozen=True)
class Column:
    """A column: its heading, with the unit, and what its cells are."""

    heading: str
    kind: Kind = "text"
    cell: Callable[[Any], str] = field(default=str, compare=False)
    """Entry → text, for `Table.of`."""


@dataclass(frozen=True)
class Table:
    """The contents of a table, without its looks; title (above) and note (below) may be empty."""

    title: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str = ""
    grouped: bool = False
    """Rows with the same first cell belong together; a line parts them from the others."""
    strong: frozenset[int] = frozenset()
    """Indices of the rows that are set bold."""

    def __post_init__(self) -> None:
        for index, row in enumerate(self.rows):
            if len(row) != len(self.columns):
                raise InvalidDataError(
                    f"table {self.title!r}: row {index} has {len(row)} cells for {len(self.columns)} columns"
                )
        if self.strong and not self.strong <= set(range(len(self.rows))):
            raise InvalidDataError(f"table {self.title!r}: strong rows {sorted(self.strong)} of {len(self.rows)} rows")

    @classmethod
    def of(
        cls, title: str, entries: Iterable[Any], columns: Sequence[Column], note: str = "", *, grouped: bool = False
    ) -> Table:
        """A row for each entry, made by the columns' cells."""
        rows = tuple(tuple(column.cell(entry) for column in columns) for entry in entries)
        return cls(title, tuple(columns), rows, note, grouped)

    def begins_group(self, index: int) -> bool:
        """Whether a line parts this row from the one above it."""
        return self.grouped and index > 0 and self.rows[index][0] != self.rows[index - 1][0]


def to_markdown(table: Table) -> str:
    """The table in GitHub's Markdown, numbers set to the right; ends with a line feed."""
    rules = ["---:" if column.kind in ("number", "interval") else "---" for column in table.columns]
    lines = [_markdown_row([column.heading for column in table.columns]), _markdown_row(rules)]
    for index, row in enumerate(table.rows):
        cells = [_markdown_cell(cell, column.kind) for cell, column in zip(row, table.columns, strict=True)]
        lines.append(_markdown_row([f"**{cell}**" if index in table.strong and cell else cell for cell in cells]))
    head = [f"### {table.title}", ""] if table.title else []
    foot = ["", table.note] if table.note else []
    return "\n".join([*head, *lines, *foot]) + "\n"


def _markdown_cell(text: str, kind: Kind) -> str:
    escaped = text.replace("|", "\\|").replace("\n", " ")
    return f"`{escaped}`" if kind == "code" and escaped not in ("", NOTHING) else escaped


def _markdown_row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


_VERDICT_STYLES = {True: "green", False: "red", None: "dim"}


def to_rich(table: Table) -> Any:
    """The table as a `rich.table.Table`, for the terminal; intervals are left out because they need a wide one."""
    try:
        from rich import box
        from rich.table import Table as RichTable
        from rich.text import Text
    except ModuleNotFoundError as error:
        raise MissingExtraError(f"tables in the terminal need {error.name}; pip install 'phr[train]'") from error
    # Text, not str: a bracket in a cell is a bracket, not markup.
    shown = RichTable(
        title=Text(printable(table.title), style="bold") if table.title else None,
        caption=Text(printable(table.note), style="dim") if table.note else None,
        title_justify="left",
        caption_justify="left",
        box=box.SIMPLE_HEAD,
        pad_edge=False,
        collapse_padding=True,
    )
    columns = [(at, column) for at, column in enumerate(table.columns) if column.kind != "interval"]
    for at, column in columns:
        justify: Literal["left", "right"] = "right" if column.kind == "number" else "left"
        shown.add_column(Text(column.heading), justify=justify, no_wrap=table.grouped and at == 0)
    for index, row in enumerate(table.rows):
        if table.begins_group(index):
            shown.add_section()
        cells = [
            Text(printable(row[at]), _VERDICT_STYLES[is_good(row[at])] if column.kind == "verdict" else "")
            for at, column in columns
        ]
        shown.add_row(*cells, style="bold" if index in table.strong else None)
    return shown


_SERIES = {"cross_entropy": "cross-entropy", "kl": "KL", "forward_kl": "forward KL", "squared_logits": "squared, logits"}


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


def rule_name(commitment: int | str) -> str:
    """How much of a plan is executed: `n = 4`, or the name of a rule."""
    return commitment if isinstance(commitment, str) else f"n = {commitment}"


def counted(n: int, noun: str) -> str:
    """`1 evaluation`, `4 evaluations`."""
    return f"{n:,} {noun}{'' if n == 1 else 's'}"


def times(factor: float | None) -> str:
    """A ratio: `2.31×`."""
    return NOTHING if factor is None else f"{factor:.2f}×" if factor < 9.995 else f"{factor:.1f}×"
