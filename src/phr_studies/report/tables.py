"""Tables, described once and rendered as Markdown or for the terminal; the page renders them as HTML."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from phr.errors import InvalidDataError, MissingExtraError

Kind = Literal["text", "number", "interval", "verdict", "code"]

NOTHING = "–"
"""What an empty cell shows."""


def is_good(verdict: str) -> bool | None:
    """Whether a verdict is good news or bad; None for a draw or an empty cell."""
    return {"yes": True, "held": True, "no": False, "did not hold": False}.get(verdict)


@dataclass(frozen=True)
class Column:
    """A column: its heading, with the unit, and what its cells are.

    Attributes:
        heading: What stands above.
        kind: `text`; `number`, set to the right; `interval`, of the number on its left, set small; `verdict`,
            coloured if it is good or bad news; `code`, set in a fixed width.
        cell: Entry → text, for `Table.of`.
    """

    heading: str
    kind: Kind = "text"
    cell: Callable[[Any], str] = field(default=str, compare=False)


@dataclass(frozen=True)
class Table:
    """What a table says, apart from how it looks.

    Attributes:
        title: Stands above; may be empty.
        columns: From left to right.
        rows: One text per column.
        note: Stands below; may be empty.
        grouped: Rows with the same first cell belong together; a line parts them from the others.
        strong: Indices of the rows that are set bold.

    Raises:
        InvalidDataError: If a row has not one cell per column, or a strong row does not exist.
    """

    title: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str = ""
    grouped: bool = False
    strong: frozenset[int] = frozenset()

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


def to_rich(table: Table, *, intervals: bool = False) -> Any:
    """The table as a `rich.table.Table`, for the terminal.

    Args:
        table: What to show.
        intervals: Show the columns of intervals too; they need a wide terminal.

    Raises:
        MissingExtraError: If rich is not installed.
    """
    try:
        from rich import box
        from rich.table import Table as RichTable
        from rich.text import Text
    except ModuleNotFoundError as error:
        raise MissingExtraError(f"tables in the terminal need {error.name}; pip install 'phr[train]'") from error
    # Text, not str: a bracket in a cell is a bracket, not markup.
    shown = RichTable(
        title=Text(table.title, style="bold") if table.title else None,
        caption=Text(table.note, style="dim") if table.note else None,
        title_justify="left",
        caption_justify="left",
        box=box.SIMPLE_HEAD,
        pad_edge=False,
        collapse_padding=True,
    )
    columns = [(at, column) for at, column in enumerate(table.columns) if intervals or column.kind != "interval"]
    for at, column in columns:
        right, is_group = column.kind in ("number", "interval"), table.grouped and at == 0
        shown.add_column(Text(column.heading), justify="right" if right else "left", no_wrap=is_group)
    for index, row in enumerate(table.rows):
        if table.begins_group(index):
            shown.add_section()
        cells = [Text(row[at], style=_rich_style(row[at], column.kind)) for at, column in columns]
        shown.add_row(*cells, style="bold" if index in table.strong else None)
    return shown


def _rich_style(text: str, kind: Kind) -> str:
    if kind == "verdict":
        return {True: "green", False: "red", None: "dim"}[is_good(text)]
    return "dim" if kind == "interval" else ""
