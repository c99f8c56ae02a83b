from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from io import StringIO
from pathlib import Path
from typing import Any

import pytest

from phr.distil.phr import PHR
from phr.storage.owner import owned
from tests.cli.conftest import Outcome
from tests.helpers import CorridorEnv
from tests.trained import CORRIDOR, corridor_teacher, saved

Phr = Callable[..., Outcome]
SMALL = ("--horizon", 2, "--n-episodes", 8, "--n-updates", 6, "--batch-size", 8, "--curve-episodes", 0)


@pytest.fixture
def teacher(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return saved(corridor_teacher(), tmp_path / "teacher")


def interrupted(phr: Phr, monkeypatch: pytest.MonkeyPatch, *words: object, number: int = signal.SIGTERM) -> Outcome:
    """A distillation that a signal ends at its third update."""
    update = PHR.update

    def signalled(self: PHR) -> dict[str, float]:
        if self.n_updates == 2:
            os.kill(os.getpid(), number)
        return update(self)

    with monkeypatch.context() as patch:
        patch.setattr(PHR, "update", signalled)
        return phr("distill", "teacher", *SMALL, *words)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.usefixtures("teacher")
def test_resume_repeats_the_command_of_a_folder(
    phr: Phr, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, number: signal.Signals
) -> None:
    assert phr("distill", "teacher", *SMALL, "--threads", 2, "--out", "whole").code == 0
    outcome = interrupted(phr, monkeypatch, "--threads", 2, "--out", "a b", number=number)
    assert outcome.code == 128 + number
    assert "; phr resume 'a b' continues from the last checkpoint" in outcome.err
    assert json.loads((tmp_path / "a b" / "command.json").read_text())["words"][-4:] == ["--threads", "2", "--out", "a b"]
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    outcome = phr("resume", "../a b")
    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.out.startswith("phr distill teacher --horizon 2 ")
    assert (tmp_path / "a b" / "model.safetensors").read_bytes() == (tmp_path / "whole" / "model.safetensors").read_bytes()
    assert Path.cwd() == tmp_path / "elsewhere"
    assert "finished: nothing was done" in phr("resume", "../a b").out


@pytest.mark.usefixtures("teacher")
def test_without_a_name_the_folder_is_named_after_teacher_and_environment(phr: Phr, tmp_path: Path) -> None:
    assert phr("distill", "teacher", *SMALL, "--env-id", CORRIDOR).code == 0
    assert (tmp_path / "runs" / f"teacher-{CORRIDOR}" / "COMPLETE").exists()


@pytest.mark.parametrize(
    ("record", "message"),
    [
        (None, "run holds no command.json"),
        ({"words": ["fly"], "folder": "."}, "run holds the record of another folder: phr fly"),
        ({"words": ["evaluate", "oracle"], "folder": "."}, "run holds the record of another folder: phr evaluate oracle"),
        ({"words": ["train", "--env-id", "X-v0", "--out", "else"], "folder": "."}, "run holds the record of another folder"),
        ({"words": ["train", "--out", "run"], "folder": "."}, "missing: --env-id ID"),
        ({"words": ["train", "--env-id", "evil:make", "--out", "run"], "folder": "."}, "the record names code, evil:make"),
        ({"words": ["train", "--env-id", "evil:X-v0", "--out", "run"], "folder": "."}, "the record names code, evil:X-v0"),
        ({"words": ["train", "--env-id", "zoo:Evil", "--out", "run"], "folder": "."}, "the record names code, zoo:Evil"),
        (
            {"words": ["train", "--env-id", "X-v0?wrapper=evil:f", "--out", "run"], "folder": "."},
            "the record names code, X-v0",
        ),
        (
            {"words": ["distill", "t", "--save-experience", "x.npz", "--out", "run"], "folder": "."},
            "the record writes x.npz",
        ),
        ({"words": ["train", "--env-id", "minari:Evil", "--out", "run"], "folder": "."}, "the record names code"),
        ({"words": ["train", "--env-id", "hf:Evil?wrapper=zoo:f", "--out", "run"], "folder": "."}, "the record names code"),
        (
            {"words": ["train", "--env-id", "X-v0", "--start", "evil:m", "--out", "run"], "folder": "."},
            "the record names code",
        ),
        (
            {"words": ["distill", "t", "--env-id", "X-v0", "--wrapper", "zoo:f", "--out", "run"], "folder": "."},
            "the record names code, zoo:f",
        ),
        ({"words": ["distill", "evil:make", "--out", "run"], "folder": "."}, "the record names code, evil:make"),
        (
            {"words": ["distill", "t", "--env-id", "X-v0", "--wrapper", "evil:make", "--out", "run"], "folder": "."},
            "the record names code, evil:make",
        ),
        ({"words": ["train", "--env-id", "X-v0", "--out", "run"], "folder": "/nowhere"}, "typed in /nowhere, which is not"),
    ],
)
def test_a_record_that_cannot_be_trusted_is_refused(
    phr: Phr, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, record: Any, message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "run").mkdir()
    if record is not None:
        (tmp_path / "run" / "command.json").write_text(json.dumps(record))
    outcome = phr("resume", "run")
    assert (outcome.code, outcome.out, outcome.err.count("\n")) == (2, "", 1)
    assert message in outcome.err


WORDS = {
    "train": ("train", "--env-id", CORRIDOR, "--out", "{}"),
    "distill": ("distill", "teacher", *SMALL, "--out", "{}"),
    "tune": ("tune", "{}", "--teacher", "teacher"),
    "report": ("report", "teacher", "--out", "{}"),
    "reproduce": ("reproduce", "--out", "{}"),
    "bench": ("bench", "--quick", "--out", "{}"),
}


@pytest.mark.parametrize("name", WORDS)
@pytest.mark.usefixtures("teacher")
def test_a_second_writer_is_refused_in_one_line(phr: Phr, tmp_path: Path, name: str) -> None:
    held = tmp_path / ("teacher" if name == "tune" else "held")
    words = [held if word == "{}" else word for word in WORDS[name]]
    code = "import sys; from pathlib import Path; from phr.storage.owner import owned\nwith owned(Path(sys.argv[1])):\n"
    command = [sys.executable, "-c", code + " print('held', flush=True); sys.stdin.read()", str(held)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as first:
        assert first.stdout is not None
        assert first.stdout.readline() == "held\n"
        outcome = phr(*words)
        first.kill()
    assert (outcome.code, outcome.err.count("\n")) == (2, 1), outcome.err
    assert f"phr: {held} is being written by process {first.pid} on " in outcome.err


def test_two_commands_do_not_write_one_file(phr: Phr, tmp_path: Path, teacher: Path) -> None:
    words = ("evaluate", teacher, "--episodes", 1, "--runs", 1, "--json", tmp_path / "r.json")
    with owned(tmp_path / "r.json", is_file=True):
        assert phr(*words).code == 0, "the same thread may"
    code = "import sys; from pathlib import Path; from phr.storage.owner import owned\n"
    code += "with owned(Path(sys.argv[1]), is_file=True):\n print('held', flush=True); sys.stdin.read()"
    command = [sys.executable, "-c", code, str(tmp_path / "r.json")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as first:
        assert first.stdout is not None
        first.stdout.readline()
        outcome = phr(*words)
        first.kill()
    assert outcome.code == 2
    assert "r.json is being written by process" in outcome.err


class Hanging(CorridorEnv):
    """Its first step never returns."""

    def step(self, action: Any) -> Any:
        time.sleep(1000)


def test_an_environment_that_hangs_ends_the_command(tmp_path: Path) -> None:
    words = ["train", "--env-id", "tests.cli.test_resume:Hanging", "--out", str(tmp_path / "run"), "--step-timeout", "0.5"]
    ran = subprocess.run([sys.executable, "-m", "phr", *words], capture_output=True, text=True, timeout=120, check=False)
    assert (ran.returncode, ran.stderr.count("\n")) == (1, 1), ran.stderr
    assert ran.stderr.startswith(
        "phr: tests.cli.test_resume:Hanging: step() has not returned for 0.5 s (step 1 of an episode"
    )
    assert f"phr resume {tmp_path / 'run'} continues" in ran.stderr


@pytest.mark.parametrize(
    "words", [("--step-timeout",), ("--step-timeout", 0), ("--max-model-bytes", "x"), ("--step-timeout", "inf")]
)
def test_limits_are_positive_numbers(phr: Phr, words: tuple[Any, ...]) -> None:
    outcome = phr("evaluate", "oracle", *words)
    assert (outcome.code, outcome.err) == (2, f"phr: {words[0]} must be a positive number\n")


def test_a_folder_that_is_not_there(phr: Phr, tmp_path: Path) -> None:
    assert phr("resume", tmp_path / "none").err == f"phr: there is no folder {tmp_path / 'none'}\n"


@pytest.mark.usefixtures("teacher")
def test_paths_with_colons_are_no_code_and_options_of_all_commands_are_recorded(phr: Phr, tmp_path: Path) -> None:
    limits = ("--step-timeout", 100, "--max-model-bytes=1e9")
    words = ("distill", "teacher", *SMALL, "--out", "2026-12-01T10:00/run", *limits)
    assert phr(*words).code == 0
    record = json.loads((tmp_path / "2026-12-01T10:00" / "run" / "command.json").read_text())
    assert record["words"][-3:] == ["--step-timeout", "100", "--max-model-bytes=1e9"]
    outcome = phr("resume", "2026-12-01T10:00/run")
    assert (outcome.code, outcome.err) == (0, "")


def test_a_limit_ends_with_its_command(phr: Phr, teacher: Path) -> None:
    assert "more than --max-model-bytes 10 allows" in phr("evaluate", teacher, "--max-model-bytes", 10).err
    assert phr("evaluate", teacher, "--episodes", 1, "--runs", 1, "--no-bound").code == 0


def test_a_terminal_that_is_gone_changes_no_exit_code(phr: Phr, monkeypatch: pytest.MonkeyPatch, teacher: Path) -> None:
    class Gone(StringIO):
        def write(self, _text: str) -> int:
            raise OSError(5, "Input/output error")

    monkeypatch.setattr(sys, "stderr", Gone())
    assert interrupted(phr, monkeypatch, "--out", teacher.parent / "run", number=signal.SIGHUP).code == 128 + signal.SIGHUP
    assert (teacher.parent / "run" / "checkpoint").exists()
