from __future__ import annotations

import itertools
import sys
import time

import pytest

from phr import progress
from phr.progress import available_cores, busy_share


def test_there_is_a_core() -> None:
    assert available_cores() >= 1


@pytest.mark.parametrize(
    ("busy", "own", "share"),
    [(0.0, 0.0, 0.0), (1.0, 0.0, 0.5), (2.0, 0.0, 1.0), (1.0, 0.5, 0.25), (0.2, 0.5, 0.0)],
)
def test_the_share_of_busy_cores_is_that_of_other_programs(
    monkeypatch: pytest.MonkeyPatch, busy: float, own: float, share: float
) -> None:
    times = iter([(100.0, 1000.0), (100.0 + busy, 1002.0)])  # two cores for a second
    monkeypatch.setattr(progress, "_core_times", lambda: next(times))
    clock = itertools.count()
    monkeypatch.setattr("time.process_time", lambda: own * next(clock))
    assert busy_share()() == pytest.approx(share)


@pytest.mark.skipif(sys.platform != "linux", reason="read from /proc")
def test_the_share_of_this_machine_is_known() -> None:
    share = busy_share()
    time.sleep(0.05)
    found = share()
    assert found is not None
    assert 0 <= found <= 1


@pytest.mark.parametrize("error", [FileNotFoundError(), ValueError(), PermissionError()])
def test_an_unknown_share_is_none(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def unknown() -> None:
        raise error

    monkeypatch.setattr(progress, "_core_times", unknown)
    assert busy_share()() is None
