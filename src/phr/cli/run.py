"""Run one command: arguments in, an exit code and at most one line of error out."""

from __future__ import annotations

import sys
import traceback
from typing import Any, NoReturn, get_args, get_type_hints

import tyro
from tyro import _errors as tyro_errors  # a private hook for parse errors, so pyproject.toml pins tyro

import phr
from phr.cli.commands import describe, load, near_miss, one_line
from phr.cli.words import READERS, command_of, options_of
from phr.errors import PhrError, UsageError

_CONFIG = (tyro.conf.OmitArgPrefixes, tyro.conf.FlagCreatePairsOff, tyro.conf.DisallowNone)


def run(words: list[str]) -> int:
    """Parse and carry out; see `phr.cli.main` for the exit codes."""
    debug, goes_on = "--debug" in words, ""
    try:
        command = parse([word for word in words if word != "--debug"])
        goes_on = getattr(command, "goes_on", "")
        command.run()
    except PhrError as error:
        if debug:
            traceback.print_exc()
        sys.stderr.write(f"phr: {one_line(error)}\n")
        return 2 if isinstance(error, UsageError) else 1
    except KeyboardInterrupt:
        sys.stderr.write(f"phr: interrupted{goes_on and f'; {goes_on}'}\n")
        return 130
    except BrokenPipeError:
        return 1
    except Exception as error:
        if debug:
            raise
        sys.stderr.write(f"phr: {type(error).__name__}: {one_line(error)} (run again with --debug for the traceback)\n")
        return 1
    return 0


def parse(words: list[str]) -> Any:
    """Build the command that the arguments name; SystemExit after printing help or the version."""
    if not words or words[0] in ("-h", "--help", "help"):
        print(describe())
        raise SystemExit(0)
    if words[0] == "--version":
        print(f"phr {phr.__version__}")
        raise SystemExit(0)
    name, rest = words[0], words[1:]
    command = load(name)
    options = options_of(command)

    def refuse(event: tyro_errors.ParseErrorEvent) -> NoReturn:
        why = _complaint(event, options)
        raise UsageError(why if why.endswith("?") else f"{why}; see phr {name} --help")

    with tyro_errors.on_parse_error(refuse):
        parsed = tyro.cli(options, prog=f"phr {name}", args=rest, config=_CONFIG, registry=READERS)
    return command_of(command, parsed)


def _complaint(event: tyro_errors.ParseErrorEvent, options: type[Any]) -> str:
    """State in one sentence why arguments were rejected."""
    match event:
        case tyro_errors.UnrecognizedArgs(tokens=[first, *_]):
            if not first.startswith("-"):
                return f"unexpected argument {first!r}"
            kinds = get_type_hints(options, include_extras=True)
            known = [_option(name) for name, kind in kinds.items() if tyro.conf.Positional not in get_args(kind)]
            hint = near_miss(first, [*known, "--help", "--debug"], "")
            return f"unknown option {first}" + (f"; {hint}" if hint else "")
        case tyro_errors.MissingArgs(missing_arguments=missing):
            return f"missing: {', '.join(_written(each.arg) for each in missing)}"
        case tyro_errors.BadValue(argument=argument):
            return f"{_option(argument.field.intern_name)} needs a value"
        case tyro_errors.InstantiationFailure(message=message, argument=argument) if argument is not None:
            return f"{_option(argument.field.intern_name)} {one_line(message)}"
    return "the arguments were not understood"


def _option(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _written(argument: Any) -> str:
    """An option and its placeholder, or a positional argument's placeholder alone."""
    placeholder = argument.lowered.metavar or ""
    return placeholder if argument.is_positional() else f"{_option(argument.field.intern_name)} {placeholder}".strip()
