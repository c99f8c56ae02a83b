"""Output of a running command: lines for a person, and a progress bar on a terminal, otherwise a line now and then."""

from __future__ import annotations

import difflib
import sys
import time
from collections.abc import Collection, Sequence
from contextlib import suppress

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, TaskID, TextColumn, TimeRemainingColumn
from rich.progress import Task as RichTask
from rich.table import Column, Table
from rich.text import Text

from phr.errors import printable
from phr.progress import Progress as Report

SECONDS_BETWEEN_LINES = 20.0

console = Console()
errors = Console(stderr=True)


class _Rate(ProgressColumn):
    """Units per second."""

    def render(self, task: RichTask) -> Text:
        unit = task.fields.get("unit", "")
        speed = task.finished_speed or task.speed
        return Text("" if not speed else f"{speed:,.0f} {unit}/s", style="cyan")


def _span(seconds: float) -> str:
    """`42 s`, `7 min`, `2.5 h`."""
    if seconds < 60:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 3600 else f"{seconds / 3600:.1f} h"


class ProgressBar:
    """A bar per stage, with rate and time left; where standard error is not a terminal, a line now and then."""

    def __init__(self) -> None:
        self._said = time.monotonic()
        self._stage, self._began, self._done_then = "", 0.0, 0
        stage, note = (Column(ratio=share, no_wrap=True, overflow="ellipsis") for share in (3, 2))
        bar = BarColumn(bar_width=12), TextColumn("{task.percentage:>3.0f}%"), _Rate(table_column=Column(no_wrap=True))
        left = TimeRemainingColumn(compact=True), TextColumn("left")
        columns = TextColumn("{task.description}", table_column=stage), *bar, *left
        notes = TextColumn("{task.fields[note]}", table_column=note)
        is_shown = errors.is_terminal
        # Expanded, a row is one line, however narrow the terminal.
        self._bar = Progress(*columns, notes, console=errors, disable=not is_shown, expand=True, speed_estimate_period=20)
        self._tasks: dict[str, TaskID] = {}

    def __enter__(self) -> ProgressBar:
        self._bar.start()
        return self

    def __exit__(self, *_error: object) -> None:
        with suppress(OSError):  # the terminal may be gone
            self._bar.stop()

    def __call__(self, report: Report) -> None:
        """Show where a stage stands."""
        if not errors.is_terminal:
            self._write_line(report)
            return
        if report.stage not in self._tasks:
            self._tasks[report.stage] = self._bar.add_task(
                printable(report.stage), total=report.total, unit=report.unit, note=""
            )
        note = printable(report.note)
        self._bar.update(self._tasks[report.stage], completed=report.done, total=report.total, note=note)

    def _write_line(self, report: Report) -> None:
        """Where a stage stands, every so often, for logs."""
        now = time.monotonic()
        if report.stage != self._stage:
            self._stage, self._began, self._done_then = report.stage, now, report.done
        if now - self._said < SECONDS_BETWEEN_LINES:
            return
        self._said = now
        parts = [f"{report.stage}: {report.done:,} of {report.total:,} {report.unit}"]
        if report.done > self._done_then:
            rate = (report.done - self._done_then) / (now - self._began)
            parts.append(f"{_span((report.total - report.done) / rate)} left")
        sys.stderr.write(printable(", ".join([*parts, *filter(None, [report.note])])) + "\n")
        sys.stderr.flush()


def say_last(line: str) -> None:
    """Write the line that a command ends with to standard error, if that is still there, below a bar and with the cursor."""
    with suppress(OSError):
        errors.show_cursor(True)
        sys.stderr.write(f"phr: {printable(line)}\n")
        sys.stderr.flush()


def one_line(text: object) -> str:
    """The text with every stretch of white space made one blank."""
    return " ".join(str(text).split())


def near_miss(wrong: str, known: Collection[str], otherwise: str) -> str:
    """A hint: the nearest of the known words, else the other text."""
    near = difflib.get_close_matches(wrong, known, n=1)
    return f"did you mean {near[0]}?" if near else otherwise


def say(line: str) -> None:
    """Print one line for a person."""
    console.print(printable(line), highlight=False, soft_wrap=True, markup=False, emoji=False)


def say_rows(heading: str, rows: Sequence[tuple[str, str]]) -> None:
    """Print a heading, and rows of a name and a text below it; long texts are wrapped within their column."""
    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(no_wrap=True, style="dim")
    grid.add_column()
    for name, found in rows:
        grid.add_row(Text(f"  {name}"), Text(printable(found)))
    console.print(Text(heading, style="bold"), grid, sep="\n")
