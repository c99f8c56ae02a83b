"""The commands: whatever installed packages register in the entry-point group `phr.commands`.

A command is a frozen dataclass: its fields are the options, its docstring's first line is the summary, `run` carries it out.
It may have an attribute `goes_on`, which the message after Ctrl-C ends with.
"""

from __future__ import annotations

import difflib
from collections.abc import Collection, Mapping
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Protocol, cast, runtime_checkable

from phr.errors import PhrError, UsageError

GROUP = "phr.commands"
_FIRST = ("train", "distill", "evaluate", "export", "convert")
"""The order of the overview; other commands follow by name."""


@runtime_checkable
class Command(Protocol):
    """Words, parsed."""

    def run(self) -> None:
        """Carry them out."""
        ...


def one_line(text: object) -> str:
    """The text with every stretch of white space made one blank."""
    return " ".join(str(text).split())


def near_miss(wrong: str, known: Collection[str], otherwise: str) -> str:
    """A hint: the nearest of the known words, else the other text."""
    near = difflib.get_close_matches(wrong, known, n=1)
    return f"did you mean {near[0]}?" if near else otherwise


@cache
def registered() -> Mapping[str, EntryPoint]:
    """Name → entry point of every command, none of them imported.

    Raises:
        PhrError: If there is none: phr's own are missing from the installation.
    """
    found = {point.name: point for point in entry_points(group=GROUP)}
    if not found:
        raise PhrError(f"the installed phr registers no commands ({GROUP}); install it again: pip install 'phr[train]'")
    names = [*(name for name in _FIRST if name in found), *sorted(found.keys() - set(_FIRST))]
    return {name: found[name] for name in names}


def load(name: str) -> type[Command]:
    """The class of a command.

    Raises:
        UsageError: If no package registers it.
        PhrError: If its package cannot be imported.
    """
    known = registered()
    if name not in known:
        hint = near_miss(name, [*known, "--help", "--version"], f"choose one of {', '.join(known)}")
        raise UsageError(f"unknown command {name!r}; {hint}")
    try:
        return cast(type[Command], known[name].load())
    except PhrError:
        raise
    except Exception as error:  # whatever a plug-in's import raises
        why = one_line(f"{type(error).__name__}: {error}")
        raise PhrError(f"the command {name!r} ({known[name].value}) cannot be loaded: {why}") from error


def _summary(name: str) -> str:
    """What a command does, in one line."""
    try:
        return (load(name).__doc__ or "").partition("\n")[0]
    except PhrError as error:
        return one_line(str(error))


def describe() -> str:
    """The overview that `phr --help` prints."""
    rows = [f"  {name:<10} {_summary(name)}" for name in registered()]
    return "\n".join(
        [
            "usage: phr COMMAND [OPTIONS]",
            "",
            "Policy Horizon Regression: a policy that looks once and acts n times.",
            "",
            "commands:",
            *rows,
            "",
            "options:",
            "  --help     Show this, or the options of a COMMAND.",
            "  --version  Show the version.",
            "  --debug    With any COMMAND: show the traceback of an error.",
        ]
    )
