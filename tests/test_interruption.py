from __future__ import annotations

import os
import pickle
import signal
import threading

import pytest

from phr.interruption import COMMAND, Stopped, deferred_interrupt, running, terminal_ignored

SIGNALS = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]


@pytest.mark.parametrize("number", SIGNALS)
def test_every_signal_stops_a_command(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    with pytest.raises(Stopped) as stopped, running(["train"]):
        os.kill(os.getpid(), number)
    assert stopped.value.number == number
    assert pickle.loads(pickle.dumps(stopped.value)).number == number, "a worker's reaches its study"
    assert signal.getsignal(number) is before


def test_a_handler_that_is_not_pythons_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signal, "getsignal", lambda _number: None)
    monkeypatch.setattr(signal, "signal", lambda *_: pytest.fail("it could not be restored"))
    with running([]), deferred_interrupt(), terminal_ignored():
        pass


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_that_the_caller_ignores_stays_ignored(number: signal.Signals) -> None:
    """As under nohup, and in a shell's background."""
    before = signal.signal(number, signal.SIG_IGN)
    try:
        with running([]), deferred_interrupt() as pressed:
            os.kill(os.getpid(), number)
            assert not pressed
    finally:
        signal.signal(number, before)


@pytest.mark.parametrize("number", SIGNALS)
def test_an_update_ends_before_its_command_and_a_second_signal_waits_for_nothing(number: signal.Signals) -> None:
    done: list[str] = []

    def update(*signals: int) -> None:
        with deferred_interrupt() as pressed:
            for each in signals:
                os.kill(os.getpid(), each)
                done.append(f"after {each}")
                assert pressed == [each]

    with pytest.raises(Stopped) as stopped, running([]):
        update(int(number))
    assert (stopped.value.number, done) == (number, [f"after {int(number)}"])
    with pytest.raises(Stopped) as stopped, running([]):
        update(int(signal.SIGTERM), int(number))
    assert (stopped.value.number, done[1:]) == (number, [f"after {int(signal.SIGTERM)}"])


def test_a_program_that_calls_phr_keeps_its_own_handlers() -> None:
    taken: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, _frame: taken.append(number))
    try:
        with deferred_interrupt() as pressed:
            os.kill(os.getpid(), signal.SIGTERM)
            assert (taken, pressed) == ([signal.SIGTERM], [])
    finally:
        signal.signal(signal.SIGTERM, before)


def test_other_threads_take_no_signals() -> None:
    seen: list[tuple[str, ...]] = []

    def work() -> None:
        with running(["train"]), deferred_interrupt():
            seen.append(COMMAND.get())

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [("train",)]
    assert COMMAND.get() == ()
