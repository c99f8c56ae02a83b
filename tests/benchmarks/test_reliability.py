from __future__ import annotations

import itertools
import os
import pickle
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.breaking import damage, files, worlds
from benchmarks.breaking.forks import Told, ended, in_a_fork, told
from benchmarks.breaking.kills import OFTEN, Work, kills, of_run
from phr.envs import make_env
from phr.errors import CorruptFileError, PhrError
from phr.storage.model import load_model
from tests.trained import CORRIDOR, corridor_student, corridor_teacher, saved

TRAIN = ("--total-timesteps", "64", "--n-envs", "4", "--n-steps", "8", "--eval-episodes", "1", "--n-evaluations", "1")
DISTILL = (
    *("--horizon", "2", "--n-episodes", "4", "--n-updates", "2", "--batch-size", "8", "--prefix", "0:0", "--width", "4"),
    *("--refine", "1", "--refine-windows", "8", "--refine-updates", "1", "--curve-episodes", "2", "--n-envs", "2"),
)


@pytest.mark.skipif(not hasattr(os, "fork") or sys.platform == "darwin", reason="processes are forked")
@pytest.mark.parametrize("name", ["train", "distill"])
def test_a_command_killed_at_any_of_its_writes_can_be_continued_to_the_same_end(tmp_path: Path, name: str) -> None:
    teacher = str(saved(corridor_teacher(), tmp_path / "teacher"))
    words = {"train": ("train", "--env-id", CORRIDOR, *TRAIN), "distill": ("distill", teacher, *DISTILL)}[name]
    work = Work(name, lambda out: (*words, *OFTEN, "--out", str(out)), of_run, every=4)
    found = list(kills(work, tmp_path))
    assert len(found) > 5
    assert not [each for each in found if each[1]]


def suicide() -> int:
    signal.raise_signal(signal.SIGKILL)
    return 0


def test_a_fork_has_the_exit_code_of_its_work() -> None:
    assert in_a_fork(lambda: 3) == 3
    assert in_a_fork(suicide) == -signal.SIGKILL


def grow() -> bytes:
    return bytes(1 << 30)


def refuse() -> None:
    raise CorruptFileError("no")


@pytest.mark.parametrize(
    ("work", "expected"),
    [
        (lambda: 3, ""),
        (refuse, ""),
        (lambda: dict[str, int]()["x"], "KeyError: 'x'"),
        (lambda: time.sleep(60), "took more than 1 s"),
        (grow, "MemoryError"),
        (suicide, "ended with -9"),
    ],
)
def test_however_work_in_a_fork_ends_it_is_reported(work: Callable[[], Any], expected: str) -> None:
    found = ended(work, seconds=1, more_bytes=1 << 28)
    assert found.wrong.startswith(expected)
    assert bool(found.wrong) == bool(expected)
    if not expected:
        assert (found.value, found.refused) == ((None, "CorruptFileError: no") if work is refuse else (3, ""))


def test_a_command_in_a_fork_is_judged_by_its_last_line_and_its_code(tmp_path: Path) -> None:
    assert told(["--version"], tmp_path, seconds=20).wrong == ""
    refused = told(["train", "--env-id", "nowhere-v0"], tmp_path, seconds=20)
    assert (refused.code, refused.wrong) == (2, "")
    bad = [Told(1, "", "Traceback\nphr: x", False), Told(70, "", "", False), Told(2, "", "oh", False)]
    for wrong in (*bad, Told(0, "\x1b", "", False)):
        assert wrong.wrong
    assert not Told(130, "", "phr: interrupted", True).wrong


@pytest.mark.parametrize("name", ["spoiled", "forged"])
@pytest.mark.parametrize("seed", range(20))
def test_damage_changes_a_file_and_the_same_seed_changes_it_alike(tmp_path: Path, name: str, seed: int) -> None:
    np.savez(tmp_path / "a.npz", x=np.arange(6.0))
    for data in ((tmp_path / "a.npz").read_bytes(), b'{"a": [1, {"b": "c"}]}', pickle.dumps({"a": 1}), b"plain text"):
        once, again = (getattr(damage, name)(data, random.Random(seed)) for _ in range(2))
        assert once == again
        assert isinstance(once, bytes)


@pytest.mark.parametrize("way", ["damaged", "forged"])
def test_broken_models_end_in_one_line_or_the_same_actions(tmp_path: Path, way: str) -> None:
    folder = saved(corridor_student(), tmp_path / "student")

    def read(at: Path) -> bytes:
        return load_model(at, CORRIDOR).planner.plan(np.eye(5, dtype=np.float32)).outputs.tobytes()

    made = {"damaged": damage.spoiled, "forged": damage.forged_json}[way]
    kinds = [
        files.Kind("manifest", folder, "manifest.json", read, {way: made}, files.hashes_of_manifest, has_checksum=False),
        files.Kind("weights", folder, "model.safetensors", read, {way: damage.spoiled}),
    ]
    for counted in files.measured(tmp_path, 60, among=kinds):
        assert not counted.wrong
        assert counted.ends["refused"] > 5


def test_an_error_without_a_name_is_found(tmp_path: Path) -> None:
    (tmp_path / "sound").mkdir()
    (tmp_path / "sound" / "file").write_text("0123456789" * 10)

    def read(at: Path) -> int:
        return int((at / "file").read_text())

    kind = files.Kind("number", tmp_path / "sound", "file", read, {"damaged": damage.spoiled})
    (counted,) = files.measured(tmp_path, 60, among=[kind])
    assert any("ValueError" in line for line in counted.wrong)
    assert any("other results without a word" in line for line in counted.wrong)


@pytest.mark.parametrize("fault", list(worlds.FAULTS))
@pytest.mark.parametrize("at", [-1, 2])
def test_every_fault_is_refused_or_meant(fault: str, at: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """On the environment itself, in this process; the commands are tried by the measurement."""
    if fault == "hangs" or (at < 0 and fault.startswith(worlds.OF_STEPS)):
        pytest.skip("it does not break here, or never ends")
    monkeypatch.setenv("PHR_BROKEN", f"{fault}/{at}/0")
    monkeypatch.setattr(worlds, "_made", itertools.count())

    def play() -> None:
        with closing(make_env(worlds.ID)) as env:
            env.reset(0)
            env.observe()
            for _ in range(5):
                env.advance(0)
                env.observe()

    if fault in worlds.MAY_PASS:
        with suppress(PhrError):
            play()
    else:
        with pytest.raises(PhrError, match=worlds.ID):
            play()


def test_the_measurement_begins_as_its_page_says() -> None:
    """From the root of a checkout, without anything in PYTHONPATH."""
    root = Path(__file__).parents[2]
    variables = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    command = [sys.executable, "-m", "benchmarks.reliability", "--help"]
    shown = subprocess.run(command, cwd=root, env=variables, capture_output=True, text=True, check=False)
    assert (shown.returncode, "--match" in shown.stdout) == (0, True), shown.stderr
