"""Disks that are full, read-only or far away, folders that vanish, clocks that jump back, few open files."""

from __future__ import annotations

import errno
import itertools
import os
import resource
import shutil
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from benchmarks.breaking.forks import Told, told
from benchmarks.breaking.kills import Left, Work, before_changes, first_difference, undisturbed

SECONDS = 60.0


def failing(folder: Path, number: int, error: int) -> None:
    """Let changes of a folder fail from this one on; what frees space does not."""
    changes = itertools.count(1)

    def act(event: str, path: str) -> None:
        if event not in ("os.remove", "os.rmdir") and next(changes) >= number:
            raise OSError(error, os.strerror(error), path)

    before_changes(folder, act)


def failing_once(folder: Path, number: int, error: int) -> None:
    """Let one renaming of a file fail, as on a file system of the network."""
    renames = itertools.count(1)

    def act(event: str, path: str) -> None:
        if event == "os.rename" and next(renames) == number:
            raise OSError(error, os.strerror(error), path)

    before_changes(folder, act)


def vanishing(folder: Path, number: int) -> None:
    """Remove a folder before this change of it."""
    changes = itertools.count(1)

    def act(_event: str, _path: str) -> None:
        if next(changes) == number:
            shutil.rmtree(folder, ignore_errors=True)

    before_changes(folder, act)


def clock_back() -> None:
    """Let Python's wall clock, `time.time`, jump back an hour every time that it is read."""
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
    return first_difference(work.left(out), expected)


def tried(works: list[Work], folder: Path, *, every: int) -> Iterator[tuple[str, str, int, str]]:
    """Break the disk at every so many changes of each command; yield command, what, its number and what was wrong."""
    for work in works:
        expected, out = undisturbed(work, folder / "whole"), folder / "out"
        ways: dict[str, Callable[[int], None]] = {
            "disk full": partial(failing, out, error=errno.ENOSPC),
            "read-only": partial(failing, out, error=errno.EROFS),
            "a rename fails": partial(failing_once, out, error=errno.ESTALE),
            "folder vanishes": partial(vanishing, out),
        }
        n_changes = 0
        for way, begin in ways.items():
            for number in itertools.count(1, every):
                work.fresh(out)
                found = told(work.words(out), folder, seconds=SECONDS, before=partial(begin, number))
                yield work.name, way, number, _wrong(found, work, out, expected, is_kept=way != "folder vanishes")
                is_over = number + every > n_changes if way == "folder vanishes" else found.code == 0
                n_changes = max(n_changes, number)
                if is_over:
                    break
        for way, limit in (("clock jumps back", clock_back), ("200 open files", few_files)):
            found = told(work.words(work.fresh(out)), folder, seconds=SECONDS, before=limit)
            yield work.name, way, 1, _wrong(found, work, out, expected)
