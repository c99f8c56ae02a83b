"""Work in a process of its own, bounded in time and memory, whose end is reported however it ends."""

from __future__ import annotations

import os
import pickle
import resource
import signal
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from phr.cli import main as phr
from phr.errors import PhrError, error_text

SECONDS, BYTES = 5, 1 << 30
"""What reading a file may take."""


def in_a_fork(work: Callable[[], int], *, kill_after: float | None = None) -> int:
    """The exit code of some work in a process of its own, minus the signal that killed it; its output is dropped.

    It may be killed after some seconds.
    """
    child = os.fork()
    if child == 0:
        code = 1
        try:
            _silence()
            code = work()
        finally:
            os._exit(code)
    if kill_after is not None:
        time.sleep(kill_after)
        os.kill(child, signal.SIGKILL)  # it is not gone before it is waited for
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status)


@dataclass(frozen=True)
class Ended:
    """How some work ended: with a value, with an error of phr's (`refused`), or as it never should (`wrong`)."""

    value: Any = None
    refused: str = ""
    wrong: str = ""


def ended(work: Callable[[], Any], *, seconds: int = SECONDS, more_bytes: int = BYTES) -> Ended:
    """Do some work in a fork that may take so long and so much more memory; its value has to be picklable."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.close(reading)
            _silence()
            with os.fdopen(writing, "wb") as pipe:
                pickle.dump(_tried(work, seconds, more_bytes), pipe)
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        content = pipe.read()
    _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    if code == -signal.SIGALRM:
        return Ended(wrong=f"took more than {seconds} s")
    if code or not content:
        return Ended(wrong=f"ended with {code}")
    found: Ended = pickle.loads(content)
    return found


def _tried(work: Callable[[], Any], seconds: int, more_bytes: int) -> Ended:
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + more_bytes, resource.RLIM_INFINITY))
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.alarm(seconds)
    try:
        return Ended(value=work())
    except PhrError as error:
        text = f"{type(error).__name__}: {error}"
        return Ended(refused=text) if text.isprintable() else Ended(wrong=f"not one line of text: {text!r}")
    except BaseException as error:  # what a user would see as a traceback
        return Ended(wrong=error_text(error)[:300])


@dataclass(frozen=True)
class Told:
    """A command's exit code, and what it wrote; `interrupted`: it was asked to end, as it worked longer than it may."""

    code: int
    out: str
    err: str
    interrupted: bool

    @property
    def wrong(self) -> str:
        """What no command may do, whatever is asked of it; an empty text if it did nothing of that."""
        last = (self.err.splitlines() or [""])[-1]
        if "Traceback" in self.err + self.out or "run again with --debug" in last:
            return f"an error without a name: {last[:300]!r}"
        if self.code not in (0, 1, 2) and not (self.interrupted and self.code == 128 + signal.SIGINT):
            return f"exit code {self.code}, {last[:300]!r}"
        if self.code in (1, 2) and not last.startswith("phr: "):
            return f"exit code {self.code} and {last[:300]!r}, after {self.out[-200:]!r}"
        raw = [letter for letter in self.err + self.out if not letter.isprintable() and letter != "\n"]
        return f"it wrote {raw[0]!r}" if raw else ""


def told(words: Sequence[str], folder: Path, *, seconds: float, before: Callable[[], object] = lambda: None) -> Told:
    """Run a command in a folder, in a fork; after so many seconds it is interrupted, and killed 30 s later.

    `before` is called in the fork, before the command.
    """
    paths = [folder / ".out", folder / ".err"]
    child = os.fork()
    if child == 0:
        code = 70
        try:
            os.setsid()
            os.chdir(folder)
            for stream, path in enumerate(paths, start=1):
                os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), stream)
            sys.stdout, sys.stderr = (os.fdopen(stream, "w", buffering=1) for stream in (1, 2))
            os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
            before()
            code = phr(list(words))
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else 70
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
    since, interrupted = time.monotonic(), False
    while True:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            break
        late = time.monotonic() - since
        if late > seconds and not interrupted:
            os.kill(child, signal.SIGINT)
            interrupted = True
        if late > seconds + 30:
            os.kill(child, signal.SIGKILL)
        time.sleep(0.01)
    out, err = (path.read_text(errors="replace") for path in paths)
    return Told(os.waitstatus_to_exitcode(status), out, err, interrupted)


def _silence() -> None:
    for stream in (1, 2):
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream)
