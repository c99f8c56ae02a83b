"""What is lost, or silently wrong, when everything around phr goes wrong?

    .venv/bin/python benchmarks/reliability.py --out runs/reliability

`kills`: a command is killed (SIGKILL) just before its k-th change of a file or folder, for every k, and at random moments,
then continued by `phr resume`; the end has to be that of a command which nothing disturbed. What asks a signal to end leaves
within five seconds, with its exit code, a checkpoint and no process.

`files`: files of every kind that phr reads are damaged or forged; each reading ends in one line or in the same numbers,
within five seconds and 1 GiB.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import tyro

from benchmarks.breaking import files, kills
from phr.files import OWN_PREFIX
from phr_studies.report.tables import Column, Table, to_markdown

Part = Literal["kills", "files"]


@dataclass(frozen=True)
class Arguments:
    """Measure what is lost."""

    out: Path = Path("runs/reliability")
    """Folder for what the commands write."""
    only: tuple[Part, ...] = ("kills", "files")
    """Parts to measure."""
    random_kills: int = 100
    """Kills at random moments."""
    files: int = 10_000
    """Files to break."""
    seed: int = 0
    """Of the damage, of random moments, and of the first change to be killed at."""


def measure_kills(arguments: Arguments, folder: Path) -> Table:
    """Kills and signals."""
    rows: list[tuple[str, str, int, int, str]] = []
    works = kills.works(folder)
    for work in works:
        place = folder / work.name.replace(" ", "")
        which = "each change" if work.every == 1 else f"every {work.every}th change"
        found = kills.kills(work, place / "each", first=1 + arguments.seed % work.every)
        rows.append(_row(work.name, f"killed at {which}", found))
        each = arguments.random_kills // len(works)
        rows.append(_row(work.name, "killed at random", kills.random_kills(work, place / "random", each, arguments.seed)))
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP) if work.endless is not None else ():
            rows.append(_of_signal(work, work.fresh(place / number.name), number))
    columns = tuple(map(Column, ("command", "what", "moments", "lost", "first")))
    return Table("", columns, tuple(tuple(map(str, row)) for row in rows))


def _row(name: str, what: str, found: Iterable[tuple[int, str]]) -> tuple[str, str, int, int, str]:
    n, wrong = 0, []
    for number, why in found:
        n += 1
        if why:
            wrong.append(f"{number}: {why}")
            print(f"{name}, {what}, {wrong[-1][:300]}", flush=True)
    print(f"{name}, {what}: {n}, {len(wrong)} lost", flush=True)
    return name, what, n, len(wrong), wrong[0][:200] if wrong else ""


def _of_signal(work: kills.Work, out: Path, number: signal.Signals) -> tuple[str, str, int, int, str]:
    code, seconds, line = kills.signalled(
        [*work.words(out), *(work.endless or ())], number, (out / "checkpoint" / "latest.safetensors").exists
    )
    wrong = []
    wrong += [f"exit code {code}"] if code != 128 + number else []
    wrong += [f"took {seconds:.1f} s"] if seconds > 5 else []
    wrong += [f"wrote {line!r}"] if f"phr resume {out}" not in line else []
    wrong += [f"left {path}" for path in out.rglob(f"{OWN_PREFIX}*")]
    return work.name, f"{number.name}, {seconds:.1f} s", 1, len(wrong), "; ".join(wrong)


def measure_files(arguments: Arguments, folder: Path) -> Table:
    """Broken files."""
    rows = []
    for counted in files.measured(folder, arguments.files, arguments.seed):
        ends = [counted.ends[name] for name in ("refused", "same", "other", "wrong")]
        rows.append((counted.kind, counted.way, sum(counted.ends.values()), *ends, (counted.wrong or [""])[0][:300]))
        print(rows[-1], flush=True)
        for line in counted.wrong[1:]:
            print("  ", line[:300], flush=True)
    columns = tuple(map(Column, ("kind", "way", "files", "one line", "same", "other", "wrong", "first")))
    return Table("", columns, tuple(tuple(map(str, row)) for row in rows))


PARTS: dict[Part, Callable[[Arguments, Path], Table]] = {"kills": measure_kills, "files": measure_files}


def main(arguments: Arguments) -> int:
    """Print a table for each part; the exit code is 1 if anything was lost or wrong."""
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)  # commands inherit what a shell's background ignores
    is_wrong = False
    for part in arguments.only:
        table = PARTS[part](arguments, arguments.out.absolute() / part)
        print(to_markdown(table))
        at = next(at for at, column in enumerate(table.columns) if column.heading in ("lost", "wrong"))
        is_wrong |= any(row[at] != "0" for row in table.rows)
    return int(is_wrong)


if __name__ == "__main__":
    sys.exit(main(tyro.cli(Arguments)))
