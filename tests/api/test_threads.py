from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

import phr
from phr.errors import PhrError, SettingError
from phr.networks import torch_threads
from tests.trained import CORRIDOR, corridor_student, corridor_teacher

QUICK: dict[str, Any] = {"horizon": 2, "n_updates": 1, "n_episodes": 16}


@pytest.fixture(autouse=True)
def three_threads() -> Iterator[None]:
    """A caller who computes with three."""
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(before)


GOOD: dict[str, Callable[[Path], Any]] = {
    "evaluate": lambda _: phr.evaluate(corridor_student(), steps=1, runs=1, threads=2),
    "train_teacher": lambda _: phr.train_teacher(CORRIDOR, total_timesteps=64, n_envs=2, threads=2),
    "distill": lambda _: phr.distill(corridor_teacher(), **QUICK, threads=2),
}
BAD: dict[str, Callable[[Path], Any]] = {
    "evaluate": lambda _: phr.evaluate("nowhere", threads=2),
    "evaluate, in mid-run": lambda _: phr.evaluate(corridor_student(), steps=1, runs=1, threads=2, on_run=failing),
    "train_teacher": lambda _: phr.train_teacher("nowhere", threads=2),
    "distill": lambda _: phr.distill("nowhere", horizon=2, threads=2),
    "reproduce": lambda out: phr.reproduce("fast", out=out),
    "make_report": lambda _: phr.make_report("nowhere"),
    "bench": lambda out: phr.bench(out=out, models=("nowhere",)),
    "evaluate, no threads": lambda _: phr.evaluate(corridor_student(), threads=0),
}


def failing(*_words: object) -> None:
    raise RuntimeError("the caller's own")


@pytest.mark.parametrize("name", GOOD)
def test_threads_are_restored(name: str, tmp_path: Path) -> None:
    corridor_student()
    torch.set_num_threads(3)
    GOOD[name](tmp_path)
    assert torch.get_num_threads() == 3


@pytest.mark.parametrize("name", BAD)
def test_threads_are_restored_after_an_error(name: str, tmp_path: Path) -> None:
    corridor_student()
    torch.set_num_threads(3)
    with pytest.raises((PhrError, RuntimeError)):
        BAD[name](tmp_path / "new")
    assert torch.get_num_threads() == 3


def test_the_given_threads_are_used_during_the_call() -> None:
    seen: list[int] = []
    note = lambda _index, _record: seen.append(torch.get_num_threads())  # noqa: E731
    phr.evaluate(corridor_student(), steps=1, runs=2, threads=2, on_run=note)
    assert seen == [2, 2]


@pytest.mark.parametrize("threads", [0, -1, 1025, 10**9, 1.5, "2", None, True])
def test_threads_are_a_sensible_number(threads: Any) -> None:
    unchecked = inspect.unwrap(torch_threads)
    with pytest.raises(SettingError, match="threads must be .*, got ") as caught:
        next(unchecked(threads))
    assert repr(threads) in str(caught.value)
    assert torch.get_num_threads() == 3


def test_blocks_may_be_nested() -> None:
    with torch_threads(1):
        with torch_threads(2):
            assert torch.get_num_threads() == 2
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == 3
