"""Running one command: words in, one line of error and an exit code out."""

from __future__ import annotations

import contextlib
import io
import sys
import traceback
from dataclasses import fields
from typing import Any, get_type_hints

import tyro

from phr.cli.commands import Command, describe, load
from phr.cli.complaints import complaint, one_line
from phr.cli.words import POSITIONAL, WORDS
from phr.errors import PhrError, UsageError

_CONFIG = (tyro.conf.OmitArgPrefixes, tyro.conf.FlagCreatePairsOff)


def run(words: list[str]) -> int:
    """Parse and carry out; see `phr.cli.main` for the exit codes."""
    debug = "--debug" in words
    words = [word for word in words if word != "--debug"]
    try:
        parse(words).run()
    except UsageError as error:
        return _fail(error, debug, 2)
    except PhrError as error:
        return _fail(error, debug, 1)
    except KeyboardInterrupt:
        sys.stderr.write(f"phr: interrupted{_after_interrupt(words)}\n")
        return 130
    except BrokenPipeError:
        return 1
    except Exception as error:
        if debug:
            raise
        sys.stderr.write(f"phr: {type(error).__name__}: {one_line(str(error))} (run again with --debug for the traceback)\n")
        return 1
    return 0


def parse(words: list[str]) -> Command:
    """The command that the words stand for.

    Raises:
        UsageError: If they stand for none, in one line.
        SystemExit: After printing help or the version.
    """
    if not words or words[0] in ("-h", "--help", "help"):
        print(describe())
        raise SystemExit(0)
    if words[0] == "--version":
        import phr

        print(f"phr {phr.__version__}")
        raise SystemExit(0)
    name, rest = words[0], words[1:]
    command = load(name)
    box = io.StringIO()
    try:
        with contextlib.redirect_stderr(box):
            return tyro.cli(command, prog=f"phr {name}", args=rest, config=_CONFIG, registry=WORDS)
    except SystemExit as stop:
        if stop.code in (0, None):
            raise
        said = complaint(box.getvalue(), _options(command))
        raise UsageError(said if said.endswith("?") else f"{said}; see phr {name} --help") from None


def _options(command: Any) -> list[str]:
    """Every option of a command, with its dashes."""
    kinds = get_type_hints(command, include_extras=True)
    named = [field.name for field in fields(command) if POSITIONAL not in getattr(kinds[field.name], "__metadata__", ())]
    return [*(f"--{name.replace('_', '-')}" for name in named), "--help", "--debug"]


def _after_interrupt(words: list[str]) -> str:
    """What the interrupted command says of going on."""
    try:
        goes_on: str = getattr(load(words[0]), "goes_on", "") if words else ""
    except PhrError:
        return ""
    return f"; {goes_on}" if goes_on else ""


def _fail(error: PhrError, debug: bool, code: int) -> int:
    if debug:
        traceback.print_exc()
    sys.stderr.write(f"phr: {one_line(str(error))}\n")
    return code
