"""Plot the return of a training over steps and over minutes, from its TensorBoard files.

    .venv/bin/python benchmarks/training_curve.py --run runs/pong/first runs/pong/teacher --out docs/results/pong-teacher

Writes `steps.png` and `minutes.png` (with SVG and dark variants) and `curve.csv`, and prints twenty rows of it. Minutes
exclude interruptions: gaps of more than two minutes and the pause before a `--resume`.
"""

from __future__ import annotations

import csv
import io
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import tyro
from tensorboard.backend.event_processing.event_file_loader import EventFileLoader

from phr.cli.display import say
from phr.errors import UsageError
from phr.files import write_text
from phr_studies.report.canvas import curve

RETURN, GREEDY = "episode_return", "greedy_return"
STOPPED = 2.0
"""A gap of so many minutes is an interruption; a running training writes every few seconds."""
NAMES = {RETURN: "sampled return", GREEDY: "greedy return"}


@dataclass(frozen=True)
class Arguments:
    """Plot a training's return over steps and minutes."""

    run: tuple[Path, ...]
    """A run directory of phr train, followed by the runs that continued its training, in order."""
    out: Path
    """Output directory of the figures and the table."""


Row = dict[str, float]


def main(arguments: Arguments) -> int:
    """Read the runs, plot, write and print."""
    rows = list[Row]()
    for run in arguments.run:
        found = rows_of(run / "tensorboard")
        if not found:
            raise UsageError(f"{run} must contain TensorBoard files with returns, got none")
        rows = following(rows, found)
    for counter, name in (("timesteps", "steps"), ("minutes", "minutes")):
        of_counter = [{key: value for key, value in row.items() if key in (counter, *NAMES)} for row in rows]
        curve(of_counter, arguments.out / f"{name}.png", values=NAMES)
    write_text(arguments.out / "curve.csv", to_csv(rows))
    sampled = [row for row in rows if RETURN in row]
    every = max(len(sampled) // 20, 1)
    say("| steps | minutes | sampled return |\n| ---: | ---: | ---: |")
    for row in sampled[every - 1 :: every]:
        say(f"| {row['timesteps']:,.0f} | {row['minutes']:.1f} | {row[RETURN]:.2f} |")
    return 0


def following(rows: list[Row], later: list[Row]) -> list[Row]:
    """Return the rows of two trainings, the second of which continued the first."""
    if not rows:
        return later
    ends = {counter: max(row[counter] for row in rows) for counter in ("timesteps", "minutes")}
    return [*rows, *({**row, **{counter: row[counter] + end for counter, end in ends.items()}} for row in later)]


def rows_of(folder: Path) -> list[Row]:
    """Return one row per recorded return, in the order of training; a resumed run replaces repeated steps."""
    rows: dict[tuple[float, str], Row] = {}
    minutes = 0.0
    for file in sorted(folder.glob("events.*")):
        latest: float | None = None
        for time, step, name, value in scalars(file):
            silence = 0.0 if latest is None else (time - latest) / 60
            minutes += silence if silence < STOPPED else 0.0
            latest = time
            if name in NAMES:
                rows[step, name] = {"timesteps": step, "minutes": minutes, name: value}
    return [rows[key] for key in sorted(rows)]


def scalars(file: Path) -> Iterator[tuple[float, float, str, float]]:
    """Yield (wall time in seconds, step, name, value) of every scalar; the first event of a file has only a time."""
    for event in EventFileLoader(str(file)).Load():
        if not event.summary.value:
            yield event.wall_time, 0.0, "", 0.0
        for value in event.summary.value:
            number = value.tensor.float_val[0] if value.HasField("tensor") else value.simple_value
            yield event.wall_time, float(event.step), value.tag, float(number)


def to_csv(rows: list[Row]) -> str:
    """Return the table as CSV text."""
    text = io.StringIO()
    writer = csv.DictWriter(text, ("timesteps", "minutes", RETURN, GREEDY), lineterminator="\n")
    writer.writeheader()
    writer.writerows(
        {key: f"{value:.6g}" if key != "timesteps" else f"{value:.0f}" for key, value in row.items()} for row in rows
    )
    return text.getvalue()


if __name__ == "__main__":
    sys.exit(main(tyro.cli(Arguments)))
