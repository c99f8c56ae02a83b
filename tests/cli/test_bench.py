from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from phr.files import read_json
from tests.cli.conftest import Outcome
from tests.trained import corridor_student, saved

Phr = Callable[..., Outcome]


def test_bench_prints_its_tables_and_writes_them(phr: Phr, tmp_path: Path) -> None:
    student = saved(corridor_student(), tmp_path / "student")
    out, copy = tmp_path / "bench", tmp_path / "copy.json"
    done = phr("bench", "--quick", "--sections", "grids", "--model", student, "--out", out, "--json", copy)
    assert done.code == 0, done.err
    assert "FullyObsWrapper" in done.out
    assert read_json(copy) == read_json(out / "bench.json")
    assert list(read_json(copy)["sections"]) == ["grids"]
    assert "FullyObsWrapper" in (out / "bench.md").read_text()


def test_wrong_words_of_bench_are_one_line(phr: Phr, tmp_path: Path) -> None:
    student = saved(corridor_student(), tmp_path / "student")
    for words, text in (
        (("--sections", "loop"), "there is no section 'loop'"),
        (("--model", tmp_path / "nowhere"), "nowhere is not a run directory"),
        (("--model", student, "--hz", "50", "0"), "a rate must be positive"),
    ):
        done = phr("bench", "--out", tmp_path / "bench", *words)
        assert done.code == 2
        assert text in done.err
        assert done.err.count("\n") == 1
