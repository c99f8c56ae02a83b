"""What is lost, or silently wrong, when everything around phr goes wrong?

    .venv/bin/python -m benchmarks.reliability --out runs/reliability

`kills`: a command is killed (SIGKILL) just before its k-th change of a file or folder, for every k, and at random moments,
then continued by `phr resume`; the end has to be that of a command which nothing disturbed. What asks a signal to end leaves
within five seconds, with its exit code, a checkpoint and no process.

`pairs`: two commands on one folder, 0 to 20 seconds apart: one works, the other is refused, nothing is mixed.

`files`: files of every kind that phr reads are damaged or forged; each reading ends in one line or in the same numbers,
within five seconds and 1 GiB. `words`: command lines at random end with 0, or with 1 or 2 and one line. `environments`: so
does every command in environments that are broken in sixty ways, alone and as the 18th and later of 64; the line names them.
`disks`: so it does on full and read-only disks, where a rename fails, where the folder vanishes, where the clock jumps back
and where 200 files may be open; then it is continued to the end of an undisturbed command. `memory`: nothing grows.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import tyro

from benchmarks.breaking import disks, files, kills, memory, pairs, words, worlds
from phr.cli import main as phr
from phr.files import OWN_PREFIX
from phr_studies.report.tables import Column, Table, to_markdown

Part = Literal["kills", "pairs", "files", "words", "environments", "disks", "memory"]


@dataclass(frozen=True)
class Arguments:
    """Measure what is lost."""

    out: Path = Path("runs/reliability")
    """Folder for what the commands write."""
    only: tuple[Part, ...] = get_args(Part)
    """Parts to measure."""
    random_kills: int = 100
    """Kills at random moments."""
    pairs: int = 50
    """Pairs of commands on one folder."""
    files: int = 10_000
    """Files to break."""
    words: int = 2_000
    """Command lines."""
    every: int = 1
    """Take one of so many environments, and of so many changes of a disk."""
    match: str = ""
    """Only the commands (`kills`, `disks`) and faults (`environments`) whose name contains this."""
    scale: float = 1.0
    """Part of the steps, timesteps and distillations after which memory is compared."""
    seed: int = 0
    """Of the damage, of random moments, and of the first change to be killed at."""


def measure_kills(arguments: Arguments, folder: Path) -> Table:
    """Kills and signals."""
    rows: list[tuple[str, str, int, int, str]] = []
    works = [work for work in kills.works(folder) if arguments.match in work.name]
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


def measure_pairs(arguments: Arguments, folder: Path) -> Table:
    """Pairs of commands."""
    return _table("commands", "when", pairs.tried(folder, arguments.pairs, arguments.seed))


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


def measure_words(arguments: Arguments, folder: Path) -> Table:
    """Command lines."""
    found = ((name[0], str(code), wrong) for name, code, wrong in words.tried(folder, arguments.words, arguments.seed))
    return _table("command", "exit code", found)


def measure_environments(arguments: Arguments, folder: Path) -> Table:
    """Broken environments."""

    def found() -> Iterator[tuple[str, str, str]]:
        for alone in (True, False):
            for command, fault, _, wrong in worlds.tried(folder, alone=alone, every=arguments.every, match=arguments.match):
                yield command, "alone" if alone else "of 64", wrong and f"{fault}: {wrong}"

    return _table("command", "copies", found())


def measure_disks(arguments: Arguments, folder: Path) -> Table:
    """Broken disks."""
    works = [work for work in kills.works(folder / "sound") if work.run is phr and arguments.match in work.name]
    found = disks.tried(works, folder, every=arguments.every)
    return _table(
        "command", "what", ((command, way, wrong and f"{number}: {wrong}") for command, way, number, wrong in found)
    )


def _table(first: str, second: str, found: Iterable[tuple[str, str, str]]) -> Table:
    """Cases and wrong ones by two names; each wrong one is printed as it comes."""
    counts: dict[tuple[str, str], list[str]] = {}
    for one, other, wrong in found:
        counts.setdefault((one, other), []).append(wrong)
        if wrong:
            print(f"{one}, {other}: {wrong[:500]}", flush=True)
    rows = [
        (*names, len(cases), len(bad := [*filter(None, cases)]), (bad or [""])[0][:200]) for names, cases in counts.items()
    ]
    columns = tuple(map(Column, (first, second, "cases", "wrong", "first")))
    return Table("", columns, tuple(tuple(map(str, row)) for row in sorted(rows)))


def measure_memory(arguments: Arguments, _folder: Path) -> Table:
    """What is left of long use."""
    rows = []
    for name, n, before, after in memory.measured(arguments.scale):
        grown = after["bytes"] / before["bytes"] - 1
        left = [
            f"{after[what] - before[what]} {what}"
            for what in ("files", "threads", "processes")
            if after[what] > before[what]
        ]
        wrong = [f"{grown:.1%} more memory"] * (grown > _FLAT) + left
        rows.append(
            (
                f"{n:,} {name}",
                f"{before['bytes'] / 1e6:.1f}",
                f"{after['bytes'] / 1e6:.1f}",
                f"{grown:+.2%}",
                str(len(wrong)),
                "; ".join(wrong),
            )
        )
    return Table("", tuple(map(Column, ("what", "MB before", "MB after", "growth", "wrong", "first"))), tuple(rows))


_FLAT = 0.02

PARTS: dict[Part, Callable[[Arguments, Path], Table]] = {
    "kills": measure_kills,
    "pairs": measure_pairs,
    "files": measure_files,
    "words": measure_words,
    "environments": measure_environments,
    "disks": measure_disks,
    "memory": measure_memory,
}


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
