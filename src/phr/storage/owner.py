"""One writer at a time: while a command writes into a folder, or a file, every other one that would is refused.

The operating system holds the lock, so one whose process is gone, however it ended, is free. Readers never wait.
"""

from __future__ import annotations

import errno
import json
import os
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypedDict

from filelock import FileLock, Timeout

from phr.errors import CorruptFileError, OutputDirectoryError, UnknownModelError
from phr.files import LOCK, OWN_PREFIX, check_directory, file_lock, read_json, sweep, write_json
from phr.interruption import COMMAND
from phr.progress import silent

_NO_LOCKS = {errno.ENOSYS, errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP}
"""Errors of file systems without locks, as some networks have: there nothing is held."""

_held: dict[Path, tuple[int, int]] = {}
"""Lock file → the thread that holds it here, and how often."""


@contextmanager
def owned(path: Path | None, *, is_file: bool = False, say: Callable[[str], None] = silent) -> Iterator[None]:
    """Hold a folder, which is made where it is missing, or a file's name; None holds nothing.

    A thread may hold one several times. `say` is called with who left its lock behind, if a writer was killed.
    What such a one left half written is removed.

    Raises:
        OutputDirectoryError: If another process, or thread, holds it; or no file can be made there.
    """
    if path is None:
        yield
        return
    where = path.absolute().parent if is_file else path.absolute()
    lock = where.resolve() / (file_lock(path) if is_file else LOCK)
    with ExitStack() as stack:
        me, (holder, count) = threading.get_ident(), _held.get(lock, (0, 0))
        if count and holder == me:
            _held[lock] = me, count + 1
            stack.callback(_held.__setitem__, lock, (me, count))
        else:
            check_directory(where)
            made = _make(where)
            stack.callback(_remove_empty, made)
            before = _acquired(lock, path, stack)
            if is_file:
                sweep(where, of=path)
            elif before is not None:
                say(f"{path} was left by {before}, which has ended")
                sweep(where, below=True)
        yield


def sweep_locks(folder: Path) -> None:
    """Remove the locks that killed writers left in a folder and below it, but the folder's own; those that are held stay."""
    for lock in [*folder.rglob(LOCK), *folder.rglob(f"{OWN_PREFIX}*.lock")]:
        where = lock.parent.resolve() / lock.name
        if where != folder.resolve() / LOCK and where not in _held:
            with suppress(OutputDirectoryError), ExitStack() as stack:
                _acquired(where, lock, stack)


RECORD = "command.json"
"""File of a run's or a study's folder: the command that wrote it, for `phr resume`."""


def record_command(folder: Path) -> None:
    """Keep the running command in a folder, if there is one."""
    if words := COMMAND.get():
        write_json(folder / RECORD, {"words": list(words), "folder": str(Path.cwd())})


def recorded_command(folder: Path) -> tuple[list[str], Path]:
    """Return a command's words and the folder that it was typed in; UnknownModelError if there is no record."""
    if not folder.is_dir():
        raise UnknownModelError(f"there is no folder {folder}")
    if not (folder / RECORD).is_file():
        raise UnknownModelError(
            f"{folder} holds no {RECORD}, so it was not begun by a command that can be continued; a run of Python's goes on "
            "by resume=True"
        )
    found = read_json(folder / RECORD, _Command)
    if not found["words"] or "\0" in "".join([found["folder"], *found["words"]]):
        raise CorruptFileError(f"{folder / RECORD} was edited: it states no command")
    return found["words"], Path(found["folder"])


class _Command(TypedDict):
    """A record."""

    words: list[str]
    folder: str


def _make(folder: Path) -> list[Path]:
    """Make a folder; return those that were missing, the innermost first."""
    missing = [each for each in (folder, *folder.parents) if not each.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputDirectoryError(f"cannot make the folder {folder}: {error.strerror}") from error
    return missing


def _remove_empty(folders: list[Path]) -> None:
    """Remove the folders that were made and have stayed empty: the command was refused."""
    for folder in folders:
        try:
            folder.rmdir()
        except OSError:
            return


def _acquired(lock: Path, path: Path, stack: ExitStack) -> str | None:
    """Take a lock until `stack` ends; return who left it behind, None if there was no such process."""
    before: list[str | None] = []
    held: list[os.stat_result] = []

    def note(descriptor: int) -> None:
        """Read who held the lock last, and write who holds it now, through the lock's own descriptor."""
        held.append(os.fstat(descriptor))
        before.append(_described(os.read(descriptor, _LONGEST)))
        with suppress(OSError):  # a full disk: the lock holds without a record
            os.ftruncate(descriptor, 0)
            os.lseek(descriptor, 0, os.SEEK_SET)
            os.write(descriptor, _me())

    try:
        # Older versions of filelock neither look again after an unlink nor keep the holder's record.
        kept = FileLock(lock, timeout=0, thread_local=False, mode=0o666, fallback_to_soft=False, on_acquired=note)
        kept.acquire()
    except Timeout:
        with suppress(OSError):
            before.append(_described(lock.read_bytes()[:_LONGEST]))
        who = next(iter(before), None) or "another process"
        raise OutputDirectoryError(
            f"{path} is being written by {who}; wait until it has ended, or write elsewhere"
        ) from None
    except OSError as error:
        if error.errno in _NO_LOCKS:
            lock.unlink(missing_ok=True)
            return None
        raise OutputDirectoryError(f"{path} cannot be locked by {lock.name}: {error.strerror}") from error
    stack.callback(kept.release)
    stack.callback(_unlink, lock, held[0])  # before the release: a process that has opened it by now looks again
    _held[lock] = threading.get_ident(), 1
    stack.callback(_held.pop, lock)
    return before[0]


def _unlink(lock: Path, held: os.stat_result) -> None:
    """Remove a lock file, if it is still the one that was locked: its folder may have been replaced meanwhile."""
    with suppress(OSError):
        if os.path.samestat(lock.stat(), held):
            lock.unlink()


_LONGEST = 2000
"""Bytes of a lock file that are read."""


def _me() -> bytes:
    since = datetime.now(UTC).isoformat(timespec="seconds")
    command = " ".join(sys.argv)[:200]
    return json.dumps({"pid": os.getpid(), "host": socket.gethostname(), "since": since, "command": command}).encode()


def _described(record: bytes) -> str | None:
    """Who wrote a lock file, by what it states; None where it states nothing."""
    try:
        found: Any = json.loads(record)
        pid, host, since, command = (str(found[name]) for name in ("pid", "host", "since", "command"))
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    shown = "".join(letter for letter in f"process {pid} on {host}, begun {since}" if letter.isprintable())
    return f"{shown} ({command[:80]!r})"
