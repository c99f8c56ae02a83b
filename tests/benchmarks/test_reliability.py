from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import pytest

from benchmarks.breaking.forks import in_a_fork
from benchmarks.breaking.kills import OFTEN, Work, kills, of_run
from tests.trained import CORRIDOR, corridor_teacher, saved

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
