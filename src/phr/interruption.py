"""The running command, and signals that end it: Ctrl-C (SIGINT), SIGTERM and SIGHUP are alike, and none loses work.

A command turns each into `Stopped`, a KeyboardInterrupt. A training defers it to the end of its present update, and writes a
checkpoint. A second signal ends the command at once. A signal that the caller ignores (nohup, a background job) stays
ignored.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from types import FrameType
from typing import Any

__all__ = ["COMMAND", "Stopped", "deferred_interrupt", "running", "terminal_ignored"]

_SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))

COMMAND: ContextVar[tuple[str, ...]] = ContextVar("COMMAND", default=())
"""The words of the running command, of which a folder keeps a record; empty where Python calls."""

Handler = Callable[[int, FrameType | None], Any]


class Stopped(KeyboardInterrupt):
    """A signal asked the command to end; shells expect the exit code 128 + its number."""

    def __init__(self, number: int) -> None:
        super().__init__(number)  # in args, so that a worker's reaches its study
        self.number = number


def _stop(number: int, _frame: FrameType | None) -> None:
    raise Stopped(number)


@contextmanager
def running(words: Sequence[str]) -> Iterator[None]:
    """A command: the signals that are not ignored raise `Stopped`; elsewhere than in the main thread none arrives."""
    before = COMMAND.set(tuple(words))
    try:
        with _handled_by(_stop, [each for each in _SIGNALS if signal.getsignal(each) is not signal.SIG_IGN]):
            yield
    finally:
        COMMAND.reset(before)


@contextmanager
def deferred_interrupt() -> Iterator[list[int]]:
    """Let the present update finish when a signal comes: the list is no longer empty, and the block's end raises.

    Otherwise network, optimizer and environments would stop at different moments. Signals are deferred that would raise
    otherwise; outside the main thread none arrives.
    """
    pressed: list[int] = []

    def note(number: int, _frame: FrameType | None) -> None:
        if pressed:
            raise Stopped(number)
        pressed.append(number)

    raising = [each for each in _SIGNALS if signal.getsignal(each) in (_stop, signal.default_int_handler)]
    with _handled_by(note, raising):
        yield pressed
    if pressed:
        raise Stopped(pressed[0])


@contextmanager
def terminal_ignored() -> Iterator[None]:
    """Ignore the terminal's signals, in this thread and in the processes that it starts meanwhile."""
    with _handled_by(signal.SIG_IGN, [each for each in _SIGNALS if each != signal.SIGTERM]):
        yield


@contextmanager
def _handled_by(handler: Handler | signal.Handlers, signals: list[signal.Signals]) -> Iterator[None]:
    """Have signals handled otherwise; one whose handler is not Python's own could not be restored, and is left alone."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    previous = {each: signal.signal(each, handler) for each in signals if signal.getsignal(each) is not None}
    try:
        yield
    finally:
        for each, before in previous.items():
            signal.signal(each, before)
