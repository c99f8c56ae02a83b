from __future__ import annotations

from pathlib import Path

import pytest

from phr.errors import SettingError
from phr_studies.bench.latency import LatencySettings, latencies, measure, on_schedule, summary, tables
from phr_studies.report.tables import to_markdown
from tests.phr_studies.bench.exported import corridor_reference, torch_for_onnx


class Clock:
    """Time that passes only where a test says so."""

    def __init__(self, oversleeps: float = 0.0) -> None:
        self.now, self.oversleeps = 100.0, oversleeps
        self.slept: list[float] = []

    def read(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds + self.oversleeps


def run(clock: Clock, durations: list[float], move: float = 0.0, rate: float = 10.0) -> tuple[list[float], list[float]]:
    waiting = iter(durations)

    def act() -> None:
        clock.now += next(waiting)

    def world() -> None:
        clock.now += move

    return on_schedule(act, world, rate, len(durations), clock=clock.read, sleep=clock.sleep)


def test_a_late_action_is_made_at_once_and_the_ticks_do_not_move() -> None:
    clock = Clock()
    took, answered = run(clock, [0.01, 0.25, 0.01, 0.01, 0.01])
    assert took == pytest.approx([0.01, 0.25, 0.01, 0.01, 0.01])
    # The second takes until 0.05 after the third tick's successor began: the third is answered 0.16 late, the fourth 0.07.
    assert answered == pytest.approx([0.01, 0.25, 0.16, 0.07, 0.01])
    assert clock.slept == pytest.approx([0.1, 0.09, 0.03])
    assert latencies(took, answered, 0.1)["misses"] == 2


def test_waking_late_and_a_slow_world_count_against_the_deadline_but_not_as_latency() -> None:
    took, answered = run(Clock(oversleeps=0.095), [0.01, 0.01])
    assert took == pytest.approx([0.01, 0.01])
    assert answered == pytest.approx([0.105, 0.015])
    assert latencies(took, answered, 0.1)["misses"] == 1
    took, answered = run(Clock(), [0.01, 0.01], move=0.19)
    assert answered == pytest.approx([0.01, 0.11])


def test_percentiles_of_a_round() -> None:
    found = latencies([1e-6 * each for each in range(1, 102)], [0.0] * 101, None)
    assert found["p50_us"] == pytest.approx(51)
    assert found["p99_us"] == pytest.approx(100)
    assert found["worst_us"] == pytest.approx(101)
    assert found["amortised_us"] == pytest.approx(51)
    assert (found["actions"], found["misses"]) == (101, 0)


def test_rounds_are_summed_up_and_the_worst_is_the_worst_of_all() -> None:
    first = {"p50_us": 1.0, "p99_us": 2.0, "worst_us": 9.0, "amortised_us": 1.0, "actions": 10, "misses": 1}
    second = {"p50_us": 3.0, "p99_us": 4.0, "worst_us": 5.0, "amortised_us": 2.0, "actions": 10, "misses": 2}
    found = summary([first, second])
    assert (found["p50_us"]["median"], found["worst_us"], found["actions"], found["misses"]) == (2.0, 9.0, 20, 3)


def test_the_section_runs_with_real_pauses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch_for_onnx(monkeypatch)
    settings = LatencySettings(
        model=corridor_reference(tmp_path), hz=(400.0,), commitments=(1, 4, 16), rounds=2, seconds_per_run=0.02
    )
    values = measure(settings)
    assert [(row["hz"], row["commitment"]) for row in values["rows"]] == [(None, 1), (None, 4), (400.0, 1), (400.0, 4)]
    assert all(row["actions"] == 16 for row in values["rows"] if row["hz"])
    text = to_markdown(tables(values)[0])
    assert "| 400 Hz | 4 |" in text
    assert "| no pauses | 1 |" in text


@pytest.mark.parametrize("rate", [0.0, -5.0, float("inf"), float("nan")])
def test_a_rate_is_a_positive_number(rate: float) -> None:
    with pytest.raises(SettingError, match="rate must be positive"):
        LatencySettings(model="any", hz=(50.0, rate))
