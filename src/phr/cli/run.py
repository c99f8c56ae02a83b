"""Running one command: words in, one line of error and an exit code out."""

from __future__ import annotations

import contextlib
import io
import sys
import traceback
from dataclasses import fields
from typing import Any

import tyro

from phr.cli.commands import COMMANDS, Command, describe
from phr.cli.complaints import complaint, near_miss, one_line
from phr.cli.words import POSITIONAL, WORDS
from phr.errors import PhrError, UsageError

_RESUME = "; --resume goes on from the last checkpoint, or begins where there was none yet"
_GOES_ON = {
    "train": _RESUME,
    "distill": f"{_RESUME}; episodes are recorded anew",
    "bench": "; finished sections are written",
    "reproduce": "; the same command goes on with what is missing",
}
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
        sys.stderr.write(f"phr: interrupted{_GOES_ON.get(words[0], '') if words else ''}\n")
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
    if name not in COMMANDS:
        hint = near_miss(name, [*COMMANDS, "--help", "--version"], f"choose one of {', '.join(COMMANDS)}")
        raise UsageError(f"there is no command {name!r}; {hint}")
    box = io.StringIO()
    try:
        with contextlib.redirect_stderr(box):
            return tyro.cli(COMMANDS[name], prog=f"phr {name}", args=rest, config=_CONFIG, registry=WORDS)
    except SystemExit as stop:
        if stop.code in (0, None):
            raise
        said = complaint(box.getvalue(), _options(COMMANDS[name]))
        raise UsageError(said if said.endswith("?") else f"{said}; see phr {name} --help") from None


def _options(command: Any) -> list[str]:
    """Every option of a command, with its dashes."""
    named = [field.name for field in fields(command) if field.type not in POSITIONAL]
    return [*(f"--{name.replace('_', '-')}" for name in named), "--help", "--debug"]


def _fail(error: PhrError, debug: bool, code: int) -> int:
    if debug:
        traceback.print_exc()
    sys.stderr.write(f"phr: {one_line(str(error))}\n")
    return code
