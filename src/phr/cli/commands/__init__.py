"""The commands, one file each. Their words are the names of the Python functions and settings they set."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from phr.cli.commands.convert import Convert
from phr.cli.commands.distill import Distill
from phr.cli.commands.evaluate import Evaluate
from phr.cli.commands.export import Export
from phr.cli.commands.train import Train
from phr_studies.commands.bench import Bench
from phr_studies.commands.doctor import Doctor
from phr_studies.commands.report import Report
from phr_studies.commands.reproduce import Reproduce


@runtime_checkable
class Command(Protocol):
    """Words, parsed."""

    def run(self) -> None:
        """Carry them out."""
        ...


COMMANDS: dict[str, type[Command]] = {
    "train": Train,
    "distill": Distill,
    "evaluate": Evaluate,
    "export": Export,
    "convert": Convert,
    "report": Report,
    "reproduce": Reproduce,
    "bench": Bench,
    "doctor": Doctor,
}


def summary(command: type[Command]) -> str:
    """What a command does, in one line."""
    return (command.__doc__ or "").splitlines()[0]


def describe() -> str:
    """The overview that `phr --help` prints."""
    rows = [f"  {name:<10} {summary(command)}" for name, command in COMMANDS.items()]
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
