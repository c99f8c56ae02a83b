from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest

from phr.cli import display, main


@dataclass(frozen=True)
class Outcome:
    """How a command ended, and what it said."""

    code: int
    out: str
    err: str


@pytest.fixture
def phr(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Outcome]:
    """Runs a command in this process; however slow the machine, no line of progress mixes with what it says."""
    monkeypatch.setattr(display, "SECONDS_BETWEEN_LINES", float("inf"))

    def run(*words: object) -> Outcome:
        capsys.readouterr()
        code = main([str(word) for word in words])
        captured = capsys.readouterr()
        return Outcome(code, captured.out, captured.err)

    return run
