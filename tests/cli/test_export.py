"""`phr export`, and what may be done with what it wrote."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from phr import api
from phr.storage import onnx_export
from tests.cli.conftest import Outcome
from tests.exported import corridor_file, corridor_graph
from tests.trained import CORRIDOR, corridor_student, saved

Phr = Callable[..., Outcome]


@pytest.fixture
def student(tmp_path: Path) -> Path:
    return saved(corridor_student(), tmp_path / "student")


def evaluated(phr: Phr, tmp_path: Path, model: Path, *words: object) -> dict[str, Any]:
    outcome = phr("evaluate", model, "--runs", 2, "--episodes", 3, "--json", tmp_path / "result.json", *words)
    assert (outcome.code, outcome.err) == (0, "")
    told: dict[str, Any] = json.loads((tmp_path / "result.json").read_text())
    return told


def test_export_says_what_it_compared_and_evaluate_reads_the_file(phr: Phr, tmp_path: Path, student: Path) -> None:
    outcome = phr("export", student, "--out", tmp_path / "s.onnx", "--int8")
    assert (outcome.code, outcome.err) == (0, "")
    written, first, second = outcome.out.splitlines()
    assert written == f"written to {tmp_path / 's.onnx'} and {tmp_path / 's.int8.onnx'}"
    assert first.startswith(f"{tmp_path / 's.onnx'} matches torch at batch sizes 1, 2, 7, 64: every argmax equal, logits")
    assert second.startswith(f"{tmp_path / 's.int8.onnx'} plans 100.00% of the float file's actions on 4 real observations")

    told = {name: evaluated(phr, tmp_path, tmp_path / name) for name in ("student", "s.onnx", "s.int8.onnx")}
    assert [each["backend"] for each in told.values()] == ["torch", "onnx", "onnx"]
    for each in told.values():
        found = (each["env_id"], each["horizon"], each["commitment"], each["return_mean"], each["evaluations_per_episode"])
        assert found == (CORRIDOR, 4, 4, 1.0, 1.0)


def test_a_folder_runs_on_onnx_too(phr: Phr, tmp_path: Path, student: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnx_export, "onnx_bytes", lambda _model: corridor_graph())
    torch = evaluated(phr, tmp_path, student, "--backend", "torch")
    onnx = evaluated(phr, tmp_path, student, "--backend", "onnx", "--all-starts")
    assert (torch["backend"], onnx["backend"]) == ("torch", "onnx")
    assert torch["return_mean"] == onnx["return_mean"] == 1.0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("{file}", "--backend", "torch"), "is an exported model, which torch does not run"),
        (("{file}", "--threads", 2), "an exported model runs on one thread, not on 2"),
        (("{file}", "--commitment", 5), "commitment must lie in 1..4 (the model's horizon), got 5"),
        (("{file}", "--horizon", 2), "only the oracle takes a horizon"),
        (("{file}", "--env-id", "CartPole-v1"), "float32 of shape (5,); CartPole-v1 gives float32 of shape (4,). "),
        (("{folder}/none.onnx",), "there is no file {folder}/none.onnx"),
        (("oracle", "--env-id", "PHR/FourRooms-v0", "--backend", "onnx"), "the oracle searches; it has no backend 'onnx'"),
    ],
)
def test_what_cannot_be_evaluated_is_refused_in_one_line(
    phr: Phr, tmp_path: Path, words: tuple[object, ...], message: str
) -> None:
    names = {"file": corridor_file(tmp_path), "folder": tmp_path}
    outcome = phr("evaluate", *(str(word).format(**names) for word in words))
    assert (outcome.code, outcome.out, outcome.err.count("\n")) == (2, "", 1)
    assert message.format(**names) in outcome.err


def test_a_spoilt_file_is_one_line(phr: Phr, tmp_path: Path) -> None:
    path = corridor_file(tmp_path)
    whole = path.read_bytes()
    for spoilt in (whole[:-7], whole[:500], b"", whole[:300] + b"\x01" + whole[301:]):
        path.write_bytes(spoilt)
        outcome = phr("evaluate", path)
        assert (outcome.code, outcome.out, outcome.err.count("\n")) == (1, "", 1)
        assert f"{path} was " in outcome.err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("oracle", "--out", "{folder}/x.onnx"), "oracle has no network to load"),
        (("{file}", "--out", "{folder}/x.onnx"), "student.onnx has no network to load"),
        (("nowhere", "--out", "{folder}/x.onnx"), "nowhere is not a run directory"),
        (("{model}", "--out", "{folder}/x.pt"), "out must be a file named ….onnx"),
        (("{model}",), "--out"),
    ],
)
def test_what_cannot_be_exported_is_refused_in_one_line(
    phr: Phr, tmp_path: Path, student: Path, words: tuple[str, ...], message: str
) -> None:
    names = {"file": corridor_file(tmp_path), "folder": tmp_path, "model": student}
    outcome = phr("export", *(word.format(**names) for word in words))
    assert (outcome.code, outcome.out, outcome.err.count("\n")) == (2, "", 1)
    assert message in outcome.err
    assert not (tmp_path / "x.onnx").exists()


def test_python_takes_a_model_or_a_name(tmp_path: Path, student: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnx_export, "onnx_bytes", lambda _model: corridor_graph())
    first = api.export_onnx(corridor_student(), tmp_path / "a.onnx").path.read_bytes()
    second = api.export_onnx(str(student), str(tmp_path / "b.onnx")).path.read_bytes()
    assert len(second) > len(first)  # the folder's manifest names its files, too
    assert api.evaluate(tmp_path / "b.onnx", episodes=1, runs=1).backend == "onnx"
