from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from phr.errors import CorruptFileError, OutputDirectoryError, UnknownModelError
from phr.files import LOCK, TEMPORARY, atomic_path, sweep
from phr.interruption import running
from phr.storage.owner import owned, record_command, recorded_command

HOLD = """
import sys
from pathlib import Path
from phr.storage.owner import owned
with owned(Path(sys.argv[1]), is_file=sys.argv[2] == "file"):
    print("held", flush=True)
    sys.stdin.readline()
"""


@contextmanager
def another(path: Path, kind: str) -> Iterator[subprocess.Popen[str]]:
    """A process that holds a folder or a file until its input ends."""
    words = [sys.executable, "-c", HOLD, str(path), kind]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


@pytest.mark.parametrize("kind", ["folder", "file"])
def test_the_second_is_refused_and_names_the_first(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "a" / "b.json"
    with another(path, kind) as process, pytest.raises(OutputDirectoryError) as refused, owned(path, is_file=kind == "file"):
        pass
    assert f"{path} is being written by process {process.pid} on " in str(refused.value)
    assert "'-c " in str(refused.value), "its command"
    with owned(path, is_file=kind == "file"):
        pass


def test_a_killed_owner_is_followed_and_named(tmp_path: Path) -> None:
    said: list[str] = []
    with another(tmp_path, "folder") as process:
        pass
    assert (tmp_path / LOCK).exists(), "it had no time to remove it"
    with owned(tmp_path, say=said.append):
        pass
    (line,) = said
    assert line.startswith(f"{tmp_path} was left by process {process.pid} on ")
    assert line.endswith(", which has ended")
    assert not list(tmp_path.iterdir())
    with owned(tmp_path, say=said.append):
        pass
    assert said == [line]


def test_one_thread_may_hold_twice_and_another_not_at_all(tmp_path: Path) -> None:
    errors: list[BaseException] = []

    def intrude() -> None:
        try:
            with owned(tmp_path):
                pass
        except OutputDirectoryError as error:
            errors.append(error)

    def wait() -> None:
        thread = threading.Thread(target=intrude)
        thread.start()
        thread.join()

    with owned(tmp_path):
        with owned(tmp_path):
            wait()
        assert (tmp_path / LOCK).exists()
        wait()
        assert len(errors) == 2
    wait()
    assert len(errors) == 2


def test_the_same_folder_by_another_name_is_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "run")
    monkeypatch.chdir(tmp_path)
    for name in (Path("run"), tmp_path / "link", Path("link/../run")):
        with another(tmp_path / "run", "folder"), pytest.raises(OutputDirectoryError, match="is being written"), owned(name):
            pass


def test_folders_that_stay_empty_are_removed(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="refused"), owned(tmp_path / "a" / "b"):
        raise ValueError("refused")
    assert not list(tmp_path.iterdir())
    with owned(tmp_path / "a" / "b"):
        (tmp_path / "a" / "b" / "result").touch()
    assert [path.name for path in (tmp_path / "a").rglob("*")] == ["b", "result"]


def test_nothing_is_held_where_nothing_is_written(tmp_path: Path) -> None:
    with owned(None):
        assert not list(tmp_path.iterdir())
    (tmp_path / "file").touch()
    with pytest.raises(OutputDirectoryError), owned(tmp_path / "file" / "run"):
        pass


def test_what_a_killed_writer_left_is_swept_and_nothing_else(tmp_path: Path) -> None:
    for name in ("model.onnx", "other.onnx", "a[1].json"):
        with atomic_path(tmp_path / name) as temporary:
            os.link(temporary, tmp_path / f"{temporary.name}.kept")  # as it is when a process is killed here
        (tmp_path / name).unlink()
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / f"{TEMPORARY}x.y").touch()
    (tmp_path / "thesis.tex").touch()
    with owned(tmp_path / "model.onnx", is_file=True), owned(tmp_path / "a[1].json", is_file=True):
        pass
    (left,) = (path for path in tmp_path.iterdir() if path.name.startswith(TEMPORARY))
    with owned(tmp_path / "other.onnx", is_file=True):
        left.touch()
        sweep(tmp_path)
        assert left.exists(), "it has a writer of its own"
    left.touch()
    with owned(tmp_path / "other", is_file=True):
        assert left.exists(), "another file's"
    sweep(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run", "thesis.tex"]
    assert len(list((tmp_path / "run").iterdir())) == 1, "a folder below may be another's"
    with owned(tmp_path / "run"):
        sweep(tmp_path, below=True)
        assert len(list((tmp_path / "run").iterdir())) == 2, "it has a writer of its own"
    sweep(tmp_path, below=True)
    assert not list((tmp_path / "run").iterdir())


def test_a_folder_keeps_the_command_that_wrote_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    record_command(tmp_path)
    with pytest.raises(UnknownModelError, match=r"holds no command\.json"):
        recorded_command(tmp_path)
    with running(["train", "--out", "a b"]):
        record_command(tmp_path)
    record_command(tmp_path)
    assert recorded_command(tmp_path) == (["train", "--out", "a b"], tmp_path)


@pytest.mark.parametrize(
    "edited",
    ["[]", "{}", '{"words": [], "folder": "/"}', '{"words": ["a", 1], "folder": "/"}', '{"words": ["a"], "folder": 1}'],
)
def test_an_edited_record_is_refused(tmp_path: Path, edited: str) -> None:
    (tmp_path / "command.json").write_text(edited)
    with pytest.raises(CorruptFileError, match="command.json was edited: "):
        recorded_command(tmp_path)
    (tmp_path / "command.json").write_text(json.dumps({"words": ["a\0"], "folder": "/"}))
    with pytest.raises(CorruptFileError):
        recorded_command(tmp_path)


def test_where_a_file_system_has_no_locks_nothing_is_held(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(number: int) -> Callable[..., None]:
        def acquire(*_: object, **__: object) -> None:
            raise OSError(number, os.strerror(number))

        return acquire

    for number in (errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP):
        monkeypatch.setattr("fcntl.flock", refuse(number))
        with owned(tmp_path / "run"), owned(tmp_path / "run"):
            assert not list((tmp_path / "run").iterdir())
        assert not list(tmp_path.iterdir())
    monkeypatch.setattr("fcntl.flock", refuse(errno.EIO))
    with pytest.raises(OutputDirectoryError, match=r"cannot be locked by \.phr-lock: Input/output error"), owned(tmp_path):
        pass


def test_a_full_disk_holds_without_a_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr("phr.storage.owner.os.write", full)
        with owned(tmp_path):
            assert (tmp_path / LOCK).read_bytes() == b""
    assert not list(tmp_path.iterdir())


def test_the_lock_of_a_folder_that_was_replaced_is_left_to_its_new_writer(tmp_path: Path) -> None:
    with owned(tmp_path / "run"):
        (tmp_path / "run").rename(tmp_path / "before")
        with another(tmp_path / "run", "folder"):
            new = (tmp_path / "run" / LOCK).read_text()
    assert (tmp_path / "run" / LOCK).read_text() == new


@pytest.mark.parametrize("name", ["a" * 250, "語" * 80, "a." + "b" * 200, ".json"])
def test_every_name_that_a_file_may_have_can_be_written(tmp_path: Path, name: str) -> None:
    with owned(tmp_path / name, is_file=True), atomic_path(tmp_path / name) as temporary:
        temporary.write_text("whole")
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_the_next_owner_of_a_killed_ones_folder_sweeps_it(tmp_path: Path) -> None:
    deep = tmp_path / "report" / "figures"
    deep.mkdir(parents=True)
    for folder in (tmp_path, deep):
        (folder / ".phr-writing-0123456789abcdef-x.png").write_text("half")
    with owned(tmp_path):
        pass
    assert len(list(tmp_path.rglob(".phr-writing-*"))) == 2, "they may belong to another writer of a file in it"
    (tmp_path / LOCK).write_text(json.dumps({"pid": 1, "host": "here", "since": "then", "command": "phr"}))
    with owned(tmp_path):
        assert not list(tmp_path.rglob(".phr-writing-*"))
