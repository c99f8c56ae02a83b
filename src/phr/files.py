"""Files that are written completely or not at all.

Everything is written beside its place, flushed to the disk and renamed; readers check what they read and say which file is
broken. JSON is written with sorted keys, so equal content has equal bytes; what is read back is compared with a schema: the
annotations of a class.
"""

from __future__ import annotations

import errno
import hashlib
import json
import math
import os
import stat
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from pathlib import Path
from typing import Annotated, Any, TypeVar, overload

import msgspec

from phr.errors import CorruptFileError, OutputDirectoryError, PhrError, UnknownModelError

__all__ = [
    "OWN_PREFIX",
    "AtLeastOne",
    "AtLeastZero",
    "as_kind",
    "atomic_path",
    "check_file_target",
    "check_links",
    "ensure_directory",
    "file_lock",
    "parse_json",
    "read_json",
    "read_jsonl",
    "sha256_of",
    "sweep",
    "without_twins",
]
__all__ += ["write_bytes", "write_json", "write_text", "writing"]


MAX_MODEL_BYTES: ContextVar[int] = ContextVar("MAX_MODEL_BYTES", default=1 << 32)
"""The largest file that is read."""

AtLeastZero = Annotated[int, msgspec.Meta(ge=0)]
AtLeastOne = Annotated[int, msgspec.Meta(ge=1)]
"""Whole numbers of schemas."""

_Kind = TypeVar("_Kind")
_Value = TypeVar("_Value")

OWN_PREFIX = ".phr-"
"""Begins the names of files that belong to no result: locks, and what is being written."""
TEMPORARY = f"{OWN_PREFIX}writing-"
LOCK = f"{OWN_PREFIX}lock"
"""File of a folder that is being written; it states by whom."""


def _key(path: Path) -> str:
    """Return what stands for a file's name in those of its lock and its temporaries, of one length for every name."""
    return hashlib.sha256(os.fsencode(path.name)).hexdigest()[:16]


def file_lock(path: Path) -> str:
    """Return the name of the lock of a file that is being written."""
    return f"{OWN_PREFIX}{_key(path)}.lock"


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a temporary path in the same folder, renamed to `path` when the block ends without an error.

    OutputDirectoryError, which names `path`, if it cannot be written.
    """
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        suffix = path.suffix if len(path.suffix) <= _LONGEST_SUFFIX else ""
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f"{TEMPORARY}{_key(path)}-", suffix=suffix)
        os.close(handle)
        temporary = Path(name)
        try:
            yield temporary
            with temporary.open("rb") as file:
                os.fsync(file.fileno())
            temporary.chmod(0o644)
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Name the file in an error of the disk: no space left, read-only, gone."""
    try:
        yield
    except OSError as error:
        raise OutputDirectoryError(f"{path} cannot be written: {error.strerror or error}") from error


_LONGEST_SUFFIX = 16
"""Characters of a suffix that a temporary keeps, as some writers go by it."""


def sweep(folder: Path, *, of: Path | None = None, below: bool = False) -> None:
    """Remove what killed writers left half written in a folder, and in those below it, or of one file; for its only writer.

    What belongs to a file, or to a folder below, that is locked stays: that has a writer of its own.
    """
    pattern = f"{TEMPORARY}*" if of is None else f"{TEMPORARY}{_key(of)}-*"
    for each in (folder.rglob if below else folder.glob)(pattern):
        key = each.name.removeprefix(TEMPORARY).partition("-")[0]
        between = [parent for parent in each.parents if folder in parent.parents]
        locks = [each.parent / f"{OWN_PREFIX}{key}.lock", *(parent / LOCK for parent in between)]
        if of is not None or not any(lock.exists() for lock in locks):
            with suppress(OSError):  # another user's, or a folder: it does no harm
                each.unlink()


def write_bytes(path: Path, data: bytes) -> None:
    """Write a file atomically."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(data)


def write_text(path: Path, text: str) -> None:
    """Write a UTF-8 text file atomically."""
    write_bytes(path, text.encode())


def write_json(path: Path, value: Any) -> None:
    """Write a value as readable JSON, atomically, keys sorted."""
    write_text(path, json.dumps(value, indent=2, sort_keys=True, allow_nan=False) + "\n")


def check_file_target(path: Path | None) -> None:
    """Refuse a folder, a path below a file or one that cannot be written, before anything is computed; None passes."""
    if path is None:
        return
    if path.is_dir():
        raise OutputDirectoryError(f"{path} is a folder; name a file in it")
    if inside := next((parent for parent in path.parents if parent.is_file()), None):
        raise OutputDirectoryError(f"{path} cannot be written: {inside} is a file")
    _try_to_write(next(each for each in path.absolute().parents if each.exists()), f"{path} cannot be written")


def _try_to_write(folder: Path, refusal: str) -> None:
    """Write a temporary file without a name; OutputDirectoryError where that fails, as on a read-only file system."""
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise OutputDirectoryError(f"{refusal}: no file can be made in {folder} ({error.strerror})") from error


def read_model_file(path: Path, most: int | None = None) -> bytes:
    """The bytes of a file that a user names; one with more than `most`, or `MAX_MODEL_BYTES`, is refused unread."""
    check_readable(path, most)
    try:
        return path.read_bytes()
    except OSError as error:
        raise CorruptFileError(f"{path} cannot be read: {error.strerror}") from error


def check_readable(path: Path, most: int | None = None, *, limited: bool = True) -> None:
    """Refuse a file before it is opened: one that is larger than `most` or `MAX_MODEL_BYTES`; pipes and devices never end.

    With `limited` False any size passes: for what phr itself wrote into a run's folder. UnknownModelError if it is missing;
    CorruptFileError for the others.
    """
    try:
        found = path.stat()
    except FileNotFoundError as error:
        raise UnknownModelError(f"there is no file {path}") from error
    except OSError as error:
        raise CorruptFileError(f"{path} cannot be read: {error.strerror}") from error
    if not stat.S_ISREG(found.st_mode):
        raise CorruptFileError(f"{path} is a folder, a pipe or a device; expected a file")
    if limited and found.st_size > (limit := MAX_MODEL_BYTES.get()):
        raise CorruptFileError(f"{path} has {found.st_size:,} bytes, more than --max-model-bytes {limit} allows")
    if most is not None and found.st_size > most:
        raise CorruptFileError(f"{path} has {found.st_size:,} bytes; such a file has at most {most:,}")


@overload
def read_json(path: Path) -> Any: ...
@overload
def read_json(path: Path, kind: type[_Kind], *, finite: bool = ...) -> _Kind: ...
def read_json(path: Path, kind: Any = Any, *, finite: bool = True) -> Any:
    """Read a JSON file as `parse_json` and `as_kind`; CorruptFileError, too, if it is missing or too large."""
    try:
        return as_kind(parse_json(read_model_file(path, most=1 << 26), str(path), finite=finite), kind, str(path))
    except UnknownModelError as error:
        raise CorruptFileError(f"{path} is missing") from error


def parse_json(text: bytes | str, name: str, *, finite: bool = True) -> Any:
    """The value of a JSON text; CorruptFileError, naming the file `name`, if it is none or states anything twice.

    Numbers have to be finite, as JSON has no others; without `finite` Python's NaN and Infinity pass.
    """
    kinds: dict[str, Any] = {"parse_constant": _no_number, "parse_float": _finite} if finite else {}
    try:
        text = text if isinstance(text, str) else text.decode()
        values = json.loads(text, object_pairs_hook=without_twins, **kinds)
        if "\\ud" in text or "\\uD" in text:  # half of a pair is no character, and no text with it can be written
            json.dumps(values, ensure_ascii=False).encode()
        return values
    except (ValueError, RecursionError) as error:  # a number of too many digits is a plain ValueError
        raise CorruptFileError(f"{name} is not readable JSON ({error}); it was truncated or edited") from error


def without_twins(pairs: Iterable[tuple[Any, _Value]]) -> dict[Any, _Value]:
    """Named values; ValueError if one has two, as readers differ in which they believe."""
    values: dict[Any, _Value] = {}
    for name, value in pairs:
        if name in values:
            raise ValueError(f"it states {name!r} twice")
        values[name] = value
    return values


def _no_number(text: str) -> float:
    raise ValueError(f"{text} is not a number of JSON")


def _finite(text: str) -> float:
    if math.isinf(number := float(text)):
        raise ValueError(f"{text[:40]} is too large")
    return number


@overload
def as_kind(values: Any, kind: type[_Kind], name: str) -> _Kind: ...
@overload
def as_kind(values: Any, kind: Any, name: str) -> Any: ...
def as_kind(values: Any, kind: Any, name: str) -> Any:
    """JSON values as a class with annotated fields, a TypedDict or another type; CorruptFileError if they do not fit.

    Nothing is converted but lists to tuples and whole numbers to floats. Entries that the class lacks are left out.
    """
    try:
        return msgspec.convert(values, kind, str_keys=True)
    except (msgspec.ValidationError, PhrError) as error:
        raise CorruptFileError(f"{name} was edited: {str(error).replace(' - at `$.', ' at `')}") from error


def append_jsonl(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    """Append one JSON object per line; a half last line, of a program killed while writing, is dropped."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with writing(path), path.open("a+b") as file:
        if file.tell():
            file.seek(-1, os.SEEK_END)
            if file.read() != b"\n":
                file.truncate(path.read_bytes().rfind(b"\n") + 1)
        file.writelines(json_row(row).encode() for row in rows)


def json_row(row: dict[str, Any]) -> str:
    """A line of a file of JSON objects; its numbers that are not finite, which JSON lacks, are null."""
    values = {name: None if isinstance(value, float) and not math.isfinite(value) else value for name, value in row.items()}
    return json.dumps(values, sort_keys=True, allow_nan=False) + "\n"


def read_jsonl(path: Path) -> list[dict[str, Any]]:
    """Read a file of JSON objects, one per line; a missing file is an empty list, a last line without its end is dropped."""
    if not path.exists():
        return []
    rows, lines = [], read_model_file(path).split(b"\n")
    for number, line in enumerate(lines[:-1], start=1):
        name = f"{path}, line {number},"
        rows.append(as_kind(parse_json(line, name, finite=False), dict[str, Any], name))
    return rows


def sha256_of(path: Path) -> str:
    """Hexadecimal SHA-256 of a file's bytes."""
    check_readable(path)
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check_directory(path: Path) -> None:
    """Refuse a folder that `ensure_directory` could not make, without making it."""
    nearest = next(each for each in (path, *path.absolute().parents) if os.path.lexists(each))
    if not nearest.is_dir():
        raise OutputDirectoryError(f"cannot make the folder {path}: {os.strerror(errno.ENOTDIR)}")
    if not os.access(nearest, os.W_OK | os.X_OK):
        raise OutputDirectoryError(f"cannot make the folder {path}: {os.strerror(errno.EACCES)}")
    _try_to_write(nearest, f"cannot make the folder {path}")


def check_links(folder: Path) -> None:
    """Refuse a folder where a link leads out of it: its maker would choose which files are written over."""
    root = os.path.realpath(folder)
    for where, folders, names in os.walk(root):
        for path in (Path(where, name) for name in (*folders, *names)):
            if path.is_symlink() and not Path(os.path.realpath(path)).is_relative_to(root):
                raise OutputDirectoryError(
                    f"{path} is a link to a place outside {folder}; phr writes through none: remove it"
                )


def ensure_directory(path: Path) -> Path:
    """Make a folder and its parents, and return its path."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputDirectoryError(f"cannot make the folder {path}: {error.strerror}") from error
    return path
