"""Commands come from the entry-point group phr.commands, each imported only when it is chosen."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import EntryPoint
from typing import Any

import pytest

import phr as package
from phr.cli import commands
from tests.cli.conftest import Outcome

Phr = Callable[..., Outcome]


@dataclass(frozen=True, kw_only=True)
class Greet:
    """Say hello."""

    name: str
    """Whom to greet."""

    def run(self) -> None:
        print(f"hello {self.name}")


@pytest.fixture
def plugged(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, str]]:
    """Entry points by name, in place of the installed ones."""
    points: dict[str, str] = {}
    monkeypatch.setattr(
        commands, "entry_points", lambda group: [EntryPoint(name, value, group) for name, value in points.items()]
    )
    commands.registered.cache_clear()
    yield points
    commands.registered.cache_clear()


def test_the_command_of_another_package_runs(phr: Phr, plugged: dict[str, str]) -> None:
    plugged["greet"] = f"{__name__}:Greet"
    assert phr("greet", "--name", "you") == Outcome(0, "hello you\n", "")
    assert "  greet      Say hello.\n" in commands.describe()
    assert phr("greet").err == "phr: missing: --name TEXT; see phr greet --help\n"


@pytest.mark.parametrize(
    ("value", "why"),
    [
        ("no_such_package.commands:Greet", "ModuleNotFoundError: No module named 'no_such_package'"),
        (f"{__name__}:Missing", f"AttributeError: module '{__name__}' has no attribute 'Missing'"),
    ],
)
def test_a_broken_plug_in_is_one_line_and_harms_no_other_command(
    phr: Phr, plugged: dict[str, str], value: str, why: str
) -> None:
    plugged |= {"broken": value, "greet": f"{__name__}:Greet"}
    message = f"the command 'broken' ({value}) cannot be loaded: {why}"
    assert phr("broken") == Outcome(1, "", f"phr: {message}\n")
    assert f"  broken     {message}\n" in commands.describe()
    assert phr("greet", "--name", "you").code == 0


def test_an_installation_without_commands_says_so(phr: Phr, plugged: dict[str, str]) -> None:
    assert phr("train").err == (
        "phr: the installed phr registers no commands (phr.commands); install it again: pip install 'phr[train]'\n"
    )
    assert not plugged


def test_every_command_of_both_packages_is_registered() -> None:
    assert list(commands.registered()) == [
        "train", "distill", "resume", "tune", "evaluate", "export", "bench", "doctor", "push", "report", "reproduce",
    ]  # fmt: skip
    for name in commands.registered():
        command: Any = commands.load(name)
        assert command.__doc__
        assert callable(command.run)


def test_the_overview_needs_no_torch_and_one_command_imports_no_other() -> None:
    code = "import sys; from phr.cli.commands import {}; {}; print([name for name in {} if name in sys.modules])"
    overview = code.format("describe", "describe()", ["torch", "matplotlib", "minigrid"])
    chosen = code.format("load", "load('train')", ["torch", "phr_studies"])
    for each in (overview, chosen):
        ran = subprocess.run([sys.executable, "-c", each], capture_output=True, text=True, check=True)
        assert ran.stdout == "[]\n"


def test_a_function_that_no_package_provides_is_an_attribute_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.metadata.entry_points", lambda **_group: ())
    with pytest.raises(AttributeError, match=r"no attribute 'doctor': no installed package provides it \(phr.api\)"):
        _ = package.doctor
