from __future__ import annotations

import time
from queue import Queue

import pytest

from phr.progress import Progress
from phr_studies.workbench import Relay


def progress(done: int) -> Progress:
    return Progress("training", done, 10, "updates")


def test_reports_carry_the_name_of_the_work_and_come_a_few_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    queue: Queue[Progress] = Queue()
    report = Relay(queue).named("student 3")
    now = 100.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    for done in range(1, 11):
        report(progress(done))
        now += 0.1
    told = [queue.get_nowait() for _ in range(queue.qsize())]
    assert {entry.stage for entry in told} == {"student 3"}
    assert [entry.done for entry in told] == [1, 4, 7, 10]


def test_the_end_is_always_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    queue: Queue[Progress] = Queue()
    report = Relay(queue).named("student 3")
    monkeypatch.setattr(time, "monotonic", lambda: 100.0)
    report(progress(9))
    report(progress(10))
    assert [queue.get_nowait().done for _ in range(2)] == [9, 10]


def test_without_a_queue_nothing_happens() -> None:
    Relay().named("student 3")(progress(10))
