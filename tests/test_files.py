from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, TypedDict

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Meta

from phr import files
from phr.acting.onnx_file import read_onnx, read_plain_onnx
from phr.errors import CorruptFileError, OutputDirectoryError, PhrError
from phr.experience.untrusted import read_npz
from phr.files import MAX_MODEL_BYTES, as_kind, read_json, read_jsonl, sha256_of
from phr.storage.tensors import load_tensors
from phr.teachers.cleanrl import read_cleanrl
from phr.teachers.normalization import read_vecnormalize
from phr.teachers.references import resolve
from phr.teachers.sb3_file import read_sb3_file

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)


def names_in(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "model.bin"
    files.write_bytes(path, b"old")

    def write_half() -> None:
        with files.atomic_path(path) as temporary:
            temporary.write_bytes(b"ha")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_half()
    assert path.read_bytes() == b"old"
    assert names_in(tmp_path) == ["model.bin"]


def test_checking_a_folder_leaves_things_as_they_were(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    files.check_directory(tmp_path / "there")
    files.check_directory(tmp_path / "there" / "a" / "b")
    assert [str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")] == ["there"]
    (tmp_path / "there" / "a").write_text("a file")
    with pytest.raises(OutputDirectoryError, match="cannot make the folder"):
        files.check_directory(tmp_path / "there" / "a" / "b")


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="/proc is a folder in which nobody can make a file")
@pytest.mark.parametrize("check", [files.check_directory, files.check_file_target])
def test_a_folder_in_which_no_file_can_be_made_is_refused_beforehand(check: Callable[[Path], None]) -> None:
    with pytest.raises(OutputDirectoryError, match=r"/proc/deep/new: no file|/proc/deep/new cannot be written: no file"):
        check(Path("/proc/deep/new"))


def test_a_write_makes_missing_folders_and_leaves_no_temporary_file(tmp_path: Path) -> None:
    files.write_text(tmp_path / "a" / "b" / "note.txt", "λ")
    assert (tmp_path / "a" / "b" / "note.txt").read_text(encoding="utf-8") == "λ"
    assert names_in(tmp_path / "a" / "b") == ["note.txt"]


@given(value=json_values)
def test_json_comes_back_as_it_was(tmp_path_factory: pytest.TempPathFactory, value: object) -> None:
    path = tmp_path_factory.mktemp("json") / "value.json"
    files.write_json(path, value)
    assert files.read_json(path) == value


def test_equal_json_has_equal_bytes(tmp_path: Path) -> None:
    files.write_json(tmp_path / "a.json", {"x": 1, "a": 2})
    files.write_json(tmp_path / "b.json", {"a": 2, "x": 1})
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()


def test_json_refuses_nan(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        files.write_json(tmp_path / "value.json", {"x": float("nan")})
    assert names_in(tmp_path) == []


@pytest.mark.parametrize("content", [b"", b'{"a": 1', b"\xff\xfe\x00", b"not json"])
def test_broken_json_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "config.json"
    path.write_bytes(content)
    with pytest.raises(CorruptFileError, match="config.json is not readable JSON"):
        files.read_json(path)


def test_missing_json_is_named(tmp_path: Path) -> None:
    with pytest.raises(CorruptFileError, match="config.json is missing"):
        files.read_json(tmp_path / "config.json")
    (tmp_path / "folder.json").mkdir()
    with pytest.raises(CorruptFileError, match="folder.json is a folder, a pipe or a device"):
        files.read_json(tmp_path / "folder.json")


@given(first=st.lists(st.dictionaries(st.text(), json_values, max_size=3), max_size=3))
def test_lines_are_appended(tmp_path_factory: pytest.TempPathFactory, first: list[dict[str, object]]) -> None:
    path = tmp_path_factory.mktemp("jsonl") / "sub" / "metrics.jsonl"
    files.append_jsonl(path, first)
    files.append_jsonl(path, [{"last": True}])
    assert files.read_jsonl(path) == [*first, {"last": True}]


def test_lines_of_a_missing_file_are_none(tmp_path: Path) -> None:
    assert files.read_jsonl(tmp_path / "metrics.jsonl") == []


@pytest.mark.parametrize("cut", range(1, 11))
def test_after_a_crash_in_mid_line_reading_and_appending_go_on(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "metrics.jsonl"
    files.append_jsonl(path, [{"row": 1}])
    path.write_bytes(path.read_bytes() + b'{"row": 2}\n'[:cut])
    assert files.read_jsonl(path) == [{"row": 1}]  # also where only the end of the line is missing: appending drops it
    files.append_jsonl(path, [{"row": 3}])
    files.append_jsonl(path, [{"row": 4}])
    assert files.read_jsonl(path) == [{"row": 1}, {"row": 3}, {"row": 4}]


def test_a_file_of_half_a_line_is_begun_anew(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(b'{"row"')
    files.append_jsonl(path, [{"row": 1}])
    assert files.read_jsonl(path) == [{"row": 1}]


def test_a_broken_line_in_the_middle_is_named(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"row": 1}\n{"row"\n{"row": 3}\n')
    with pytest.raises(CorruptFileError, match="metrics.jsonl, line 2, is not readable JSON"):
        files.read_jsonl(path)


def test_numbers_that_json_lacks_are_null(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    files.append_jsonl(path, [{"update": 1, "loss": float("nan"), "return": -math.inf}])
    assert path.read_text() == '{"loss": null, "return": null, "update": 1}\n'
    path.write_text('{"loss": NaN, "update": 1}\n')  # as written before
    assert files.read_jsonl(path)[0]["update"] == 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"a": 1, "b": 2, "a": 1}', "it states 'a' twice"),
        ('[{"c": {"x": 1, "x": 2}}]', "it states 'x' twice"),
        ("NaN", "NaN is not a number of JSON"),
        ('{"a": [-Infinity]}', "-Infinity is not a number of JSON"),
        ("1e999", "1e999 is too large"),
        ("-1" + "0" * 400 + ".5", "is too large"),
    ],
)
def test_json_means_one_thing_or_is_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(CorruptFileError, match=f"a.json is not readable JSON .*{message}"):
        read_json(tmp_path / "a.json")


class Point(TypedDict):
    x: float
    names: Annotated[list[str], Meta(min_length=1)]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([], "expected `object`, got `array`"),
        ({"x": 1}, "missing required field `names`"),
        ({"x": "1", "names": ["a"]}, "expected `float`, got `str` at `x`"),
        ({"x": True, "names": ["a"]}, "expected `float`, got `bool` at `x`"),
        ({"x": 1, "names": []}, "length >= 1 at `names`"),
        ({"x": 1, "names": ["a", 2]}, r"expected `str`, got `int` at `names\[1\]`"),
    ],
    ids=str,
)
def test_values_of_another_kind_are_refused(tmp_path: Path, values: Any, message: str) -> None:
    (tmp_path / "a.json").write_text(json.dumps(values))
    with pytest.raises(CorruptFileError, match=f"(?i)a.json was edited: .*{message}"):
        read_json(tmp_path / "a.json", Point)


def test_values_of_a_kind_are_read(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('{"x": 1, "names": ["a"], "more": {}}')
    assert read_json(tmp_path / "a.json", Point) == {"x": 1.0, "names": ["a"]}
    assert as_kind([[1, 2], [3, 4]], tuple[tuple[int, int], ...], "it") == ((1, 2), (3, 4))


@given(content=st.binary())
def test_hashes_are_sha256(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    path = tmp_path_factory.mktemp("hash") / "file"
    path.write_bytes(content)
    assert files.sha256_of(path) == hashlib.sha256(content).hexdigest()


def test_a_folder_is_made_once_and_found_again(tmp_path: Path) -> None:
    wanted = tmp_path / "runs" / "one"
    assert files.ensure_directory(wanted) == files.ensure_directory(wanted) == wanted
    assert wanted.is_dir()


def test_a_file_in_the_way_of_a_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "runs").write_text("a file")
    for wanted in (tmp_path / "runs", tmp_path / "runs" / "one"):
        with pytest.raises(OutputDirectoryError, match="cannot make the folder .*runs"):
            files.ensure_directory(wanted)
    assert issubclass(OutputDirectoryError, PhrError)


def test_a_target_that_could_not_be_written_is_refused_beforehand(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("here")
    files.check_file_target(None)
    files.check_file_target(tmp_path / "file")
    files.check_file_target(tmp_path / "new" / "deep.json")
    with pytest.raises(OutputDirectoryError, match="is a folder; name a file in it"):
        files.check_file_target(tmp_path)
    with pytest.raises(OutputDirectoryError, match="file/deep.json cannot be written: .*file is a file"):
        files.check_file_target(tmp_path / "file" / "deep.json")
    assert names_in(tmp_path) == ["file"]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no named pipes")
def test_pipes_devices_and_folders_are_not_opened(tmp_path: Path) -> None:
    """A pipe waits for ever, a device never ends."""
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "zero").symlink_to("/dev/zero")
    readers: list[Callable[[Path], object]] = [
        read_json, read_jsonl, sha256_of, load_tensors, read_npz, read_onnx, read_plain_onnx, read_sb3_file,
        read_vecnormalize, lambda path: read_cleanrl(path, "CartPole-v1"),
    ]  # fmt: skip
    for ending in (".zip", ".onnx", ".pt"):
        (tmp_path / f"x{ending}").symlink_to(tmp_path / "pipe")
        with pytest.raises(CorruptFileError, match="expected a file"):
            resolve(tmp_path / f"x{ending}", env_id="CartPole-v1")
    for read in readers:
        for name in ("pipe", "zero", ""):
            with pytest.raises(CorruptFileError, match=r"is a folder, a pipe or a device; expected a file"):
                read(tmp_path / name)


def test_the_largest_file_is_a_setting(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text("[1, 2, 3]")
    assert read_json(tmp_path / "a.json") == [1, 2, 3]
    before = MAX_MODEL_BYTES.set(8)
    try:
        with pytest.raises(CorruptFileError, match=r"a\.json has 9 bytes, more than --max-model-bytes 8 allows"):
            read_json(tmp_path / "a.json")
    finally:
        MAX_MODEL_BYTES.reset(before)


def test_links_out_of_a_folder_are_refused(tmp_path: Path) -> None:
    outside, folder = tmp_path / "outside", tmp_path / "folder"
    outside.mkdir()
    (folder / "deep").mkdir(parents=True)
    (folder / "model").write_text("")
    (folder / "deep" / "inside").symlink_to(folder / "model")
    (folder / "round").symlink_to(folder / "round")
    files.check_links(folder)
    (tmp_path / "other-name").symlink_to(folder)
    files.check_links(tmp_path / "other-name")
    for at, target in (("deep/figures", outside), ("metrics.jsonl", outside / "missing"), ("deep/up", Path("../.."))):
        link = folder / at
        link.symlink_to(target)
        with pytest.raises(OutputDirectoryError, match=rf"{at} is a link to a place outside {folder}; .*remove it"):
            files.check_links(folder)
        link.unlink()


@pytest.mark.parametrize("text", ['"\\ud800"', '{"\\uDfff": 1}', '["a", {"b": "x\\ud834"}]'])
def test_half_of_a_character_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(CorruptFileError, match=r"a\.json is not readable JSON"):
        read_json(tmp_path / "a.json")
    (tmp_path / "a.json").write_text('"\\ud834\\udd1e"')
    assert read_json(tmp_path / "a.json") == "\U0001d11e"


def test_what_cannot_be_swept_does_no_harm(tmp_path: Path) -> None:
    (tmp_path / ".phr-writing-x").mkdir()
    files.sweep(tmp_path)
    assert (tmp_path / ".phr-writing-x").is_dir()
