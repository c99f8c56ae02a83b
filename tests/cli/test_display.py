from __future__ import annotations

from io import StringIO

import pytest
from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from phr.cli import display
from phr.cli.display import SECONDS_BETWEEN_LINES, ProgressBar
from phr.progress import Progress


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time in its first entry."""
    now = [0.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    return now


def test_off_a_terminal_a_line_comes_now_and_then(clock: list[float], capsys: pytest.CaptureFixture[str]) -> None:
    with ProgressBar() as bar:
        for done in range(0, 1001, 10):
            clock[0] = done / 10
            bar(Progress("training", done, 10_000, "steps", "return 0.5"))
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "training: 200 of 10,000 steps, 16 min left, return 0.5"
    assert len(lines) == int(100 / SECONDS_BETWEEN_LINES)


def test_what_is_left_counts_from_where_a_stage_was_taken_up(clock: list[float], capsys: pytest.CaptureFixture[str]) -> None:
    bar = ProgressBar()
    bar(Progress("training", 9000, 10_000, "steps"))
    clock[0] = SECONDS_BETWEEN_LINES
    bar(Progress("training", 9500, 10_000, "steps"))
    assert capsys.readouterr().err == f"training: 9,500 of 10,000 steps, {SECONDS_BETWEEN_LINES:.0f} s left\n"


def test_what_has_not_moved_has_no_time_left(clock: list[float], capsys: pytest.CaptureFixture[str]) -> None:
    bar = ProgressBar()
    clock[0] = 2 * SECONDS_BETWEEN_LINES
    bar(Progress("evaluating", 0, 5, "runs"))
    assert capsys.readouterr().err == "evaluating: 0 of 5 runs\n"


@pytest.mark.parametrize(("seconds", "said"), [(42.4, "42 s"), (61.0, "1 min"), (9000.0, "2.5 h")])
def test_spans(seconds: float, said: str) -> None:
    assert display._span(seconds) == said


@pytest.mark.parametrize("width", [60, 80, 200])
def test_a_stage_takes_one_line_of_a_terminal(monkeypatch: pytest.MonkeyPatch, width: int) -> None:
    shown = StringIO()
    monkeypatch.setattr(display, "errors", Console(file=shown, force_terminal=True, width=width))
    with ProgressBar() as bar:
        bar(
            Progress("refinement, round 4 of 8: playing the student", 10, 20_000, "windows", "agreement 92.1 %, loss 0.0034")
        )
    rows = Text.from_ansi(shown.getvalue().replace("\r", "\n")).plain.splitlines()
    assert {row.split(",")[0][:8] for row in rows if row.strip()} == {"refineme"}
    assert max(map(cell_len, rows)) <= width


def test_a_total_that_changes_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = StringIO()
    monkeypatch.setattr(display, "errors", Console(file=shown, force_terminal=True, width=100))
    with ProgressBar() as bar:
        bar(Progress("distilling", 10, 45_000, "updates"))
        bar(Progress("distilling", 1000, 2000, "updates"))
    assert "50%" in shown.getvalue()


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain, ε → 2×", "plain, ε → 2×"), ("two\nlines", "two\nlines"), ("\x1b[2J\x07", r"\x1b[2J\x07"), ("a\rb", r"a\rb"),
        ("\u202egnp.exe", r"\u202egnp.exe"), ("\udc80", r"\udc80"), ("\x9b1m", r"\x9b1m"), ("a\u200bb", r"a\u200bb"),
    ],
)  # fmt: skip
def test_what_a_terminal_would_obey_is_escaped(text: str, shown: str, capsys: pytest.CaptureFixture[str]) -> None:
    display.say(text)
    display.say_rows("heading", [("name", text)])
    display.say_last(text)
    out, err = capsys.readouterr()
    assert out.startswith(f"{shown}\nheading\n")
    assert "".join(out[len(shown) :].split()).endswith("".join(shown.split()))
    assert err == f"phr: {shown}\n"
