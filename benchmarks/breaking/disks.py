"""Disks that are full, read-only or far away, folders that vanish, clocks that jump back, few open files."""

from __future__ import annotations

import errno
import itertools
import os
import resource
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from benchmarks.breaking.forks import Told, in_a_fork, told
from benchmarks.breaking.kills import CHANGES, WRITES, Left, Work

SECONDS = 60.0


def failing(
    folder: Path, number: int, error: int, *, once: bool, events: frozenset[str] | None = None
) -> Callable[[], None]:
    """Let changes of a folder fail from this one on, or only this one; those of some events alone."""

    def begin() -> None:
        seen = 0

        def watch(event: str, values: tuple[Any, ...]) -> None:
            nonlocal seen
            is_change = event in CHANGES or (event == "open" and isinstance(values[2], int) and values[2] & WRITES)
            frees = event in ("os.remove", "os.rmdir")  # which a full disk allows
            if is_change and not frees and str(values[0]).startswith(str(folder)) and (events is None or event in events):
                seen += 1
                if seen == number or (seen > number and not once):
                    raise OSError(error, os.strerror(error), str(values[0]))

        sys.addaudithook(watch)

    return begin


def vanishing(folder: Path, number: int) -> Callable[[], None]:
    """Remove a folder before this change of it."""

    def begin() -> None:
        seen = 0

        def watch(event: str, values: tuple[Any, ...]) -> None:
            nonlocal seen
            is_change = event in CHANGES or (event == "open" and isinstance(values[2], int) and values[2] & WRITES)
            if seen >= 0 and is_change and str(values[0]).startswith(str(folder)):
                seen += 1
                if seen == number:
                    seen = -1
                    shutil.rmtree(folder, ignore_errors=True)

        sys.addaudithook(watch)

    return begin


def clock_back() -> None:
    """Let the wall clock jump back an hour every time that it is read."""
    began, jumps = time.time(), itertools.count()
    time.time = lambda: began - 3600.0 * next(jumps)


def few_files() -> None:
    """Allow no more than 200 open files."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (200, 200))


def _wrong(found: Told, work: Work, out: Path, expected: Left, *, is_kept: bool = True) -> str:
    """What was wrong: about how a command ended, or after it was continued when the disk was sound again."""
    if found.wrong:
        return found.wrong
    last = (found.err.splitlines() or [""])[-1]
    if found.code and str(out) not in last:
        return f"the file has no name: {last[:300]!r}"
    if not is_kept:
        return ""
    if found.code and (code := work.continued(out)):
        return f"continuing it ended with {code}"
    left = work.left(out)
    return next((f"{name}: {left[name]}, not {expected[name]}" for name in expected if left[name] != expected[name]), "")


def tried(works: list[Work], folder: Path, *, every: int) -> Iterator[tuple[str, str, int, str]]:
    """Break the disk at every so many changes of each command; yield command, what, its number and what was wrong."""
    for work in works:
        whole = work.fresh(folder / "whole")
        if in_a_fork(lambda work=work, whole=whole: work.run(work.words(whole))):  # type: ignore[misc]
            raise SystemExit(f"{work.name} failed")
        expected, out = work.left(whole), folder / "out"
        ways: dict[str, Callable[[int], Callable[[], None]]] = {
            "disk full": lambda number, out=out: failing(out, number, errno.ENOSPC, once=False),  # type: ignore[misc]
            "read-only": lambda number, out=out: failing(out, number, errno.EROFS, once=False),  # type: ignore[misc]
            "a rename fails": lambda number, out=out: failing(  # type: ignore[misc]
                out, number, errno.ESTALE, once=True, events=frozenset({"os.rename"})
            ),
            "folder vanishes": lambda number, out=out: vanishing(out, number),  # type: ignore[misc]
        }
        n_changes = 0
        for way, begin in ways.items():
            for number in itertools.count(1, every):
                work.fresh(out)
                found = told(work.words(out), folder, seconds=SECONDS, before=begin(number))
                yield work.name, way, number, _wrong(found, work, out, expected, is_kept=way != "folder vanishes")
                is_over = number + every > n_changes if way == "folder vanishes" else found.code == 0
                n_changes = max(n_changes, number)
                if is_over:
                    break
        for way, limit in (("clock jumps back", clock_back), ("200 open files", few_files)):
            found = told(work.words(work.fresh(out)), folder, seconds=SECONDS, before=limit)
            yield work.name, way, 1, _wrong(found, work, out, expected)
