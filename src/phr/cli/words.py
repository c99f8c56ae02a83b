"""Options: how a command is read from them, their types, and the placeholders that `--help` shows for them.

A command is a dataclass. Where it names a configuration (`SETTINGS = "module:Class"`), every field of that becomes an option
too, with the field's own name and docstring, so no setting is out of reach and none has two names.
"""

from __future__ import annotations

import importlib
import inspect
import re
from collections.abc import Callable
from dataclasses import MISSING, Field, field, fields, make_dataclass
from decimal import Decimal, InvalidOperation
from functools import partial
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, NoReturn, Union, get_args, get_origin, get_type_hints
from urllib.parse import quote

import docstring_parser
import tyro
from tyro import _errors as tyro_errors  # a private hook for parse errors, so pyproject.toml pins tyro

from phr.cli.display import near_miss, one_line
from phr.errors import UsageError


def word(metavar: str | None, help: str | None = None, aliases: tuple[str, ...] | None = None) -> Any:  # tyro's names
    """Set how `--help` shows an option; the help texts state defaults themselves, where a reader needs them."""
    return tyro.conf.arg(metavar=metavar, help=help, aliases=aliases, help_behavior_hint="")


Count = Annotated[int, word("N")]
OptionalEnvId = Annotated[str | None, word("ID")]
Folder = Annotated[Path, word("DIR")]
OptionalFolder = Annotated[Path | None, word("DIR")]
OptionalFile = Annotated[Path | None, word("FILE")]
Normalize = Annotated[
    Path | None, word("FILE.pkl", "Observation statistics that a .zip was trained with: its vecnormalize.pkl.")
]
EnvKwargs = Annotated[
    str | None, word("KEY=VALUE,...", "With --env-id: arguments of the environment's constructor, like g=9.8,render_fps=30.")
]
FrameStack = Annotated[int | None, word("N", "With --env-id: the last N observations are shown at once.")]
Wrapper = Annotated[str | None, word("MODULE:FUNCTION", "With --env-id: what is put around the environment.")]
Flag = Annotated[bool, word(None)]
Seed = Annotated[int, word("S", "Seed of everything random (default: 0).")]


def read_command(command: type[Any], name: str, *words: str) -> Any:
    """Build the command called `name` from its arguments; the settings that were given go into its field `settings`."""
    options = _options_of(command)

    def refuse(event: tyro_errors.ParseErrorEvent) -> NoReturn:
        why = _complaint(event, options)
        raise UsageError(why if why.endswith("?") else f"{why}; see phr {name} --help")

    config = (tyro.conf.OmitArgPrefixes, tyro.conf.FlagCreatePairsOff, tyro.conf.DisallowNone)
    with tyro_errors.on_parse_error(refuse):
        values = vars(tyro.cli(options, prog=f"phr {name}", args=words, config=config, registry=READERS))
    own = {each.name for each in fields(command)}
    given = {each.name: values[each.name] for each in fields(options) if values[each.name] is not each.default}
    settings = {name: value for name, value in given.items() if name not in own}
    arguments = {name: value for name, value in values.items() if name in own}
    return command(**arguments, **({"settings": settings} if "settings" in own else {}))


def file_targets(command: Any) -> list[Path]:
    """The files that a command is asked to write: its options of this kind."""
    kinds = get_type_hints(type(command), include_extras=True)
    named = [getattr(command, each.name) for each in fields(command) if kinds[each.name] == OptionalFile]
    return [path for path in named if path is not None]


def layered(arguments: dict[str, Any]) -> dict[str, Any]:
    """Return a command's arguments with what goes around the environment as options of its id (`phr.envs.layers`)."""
    words = ("env_kwargs", "wrapper", "frame_stack")
    kwargs, wrapper, stack = (arguments.get(name) for name in words)
    pairs = [pair.partition("=") for pair in kwargs.split(",")] if kwargs else []
    if not all(key and equals for key, equals, _ in pairs):
        raise UsageError(f"--env-kwargs must be KEY=VALUE,KEY=VALUE, got {kwargs!r}")
    options = [f"kwargs.{quote(key, safe='')}={quote(value, safe='')}" for key, _, value in pairs]
    options += [f"wrapper={quote(wrapper, safe=':')}"] if wrapper else []
    options += [f"frame-stack={stack}"] if stack is not None else []
    kept = {name: value for name, value in arguments.items() if name not in words}
    if not options:
        return kept
    if kept.get("env_id") is None:
        raise UsageError("--env-kwargs, --wrapper and --frame-stack change the environment of --env-id; add that")
    env_id = kept["env_id"]
    return {**kept, "env_id": env_id + ("&" if "?" in env_id else "?") + "&".join(options)}


def _options_of(command: type[Any]) -> type[Any]:
    """Make the flat dataclass that tyro parses: the command's own fields, then one option for each of its `SETTINGS`.

    A setting that is left out is None (False for a flag): its value is then the preset's.
    """
    kinds, documented = get_type_hints(command, include_extras=True), _documented(command)
    own = {each.name: each for each in fields(command) if each.name != "settings"}
    options = [(name, _with_help(kinds[name], documented.get(name, "")), each.default) for name, each in own.items()]
    if named := getattr(command, "SETTINGS", None):
        module, _, name = named.partition(":")
        config = getattr(importlib.import_module(module), name)  # torch, which other commands need not wait for
        hints, texts = get_type_hints(config), _documented(config)
        settings = [each for each in fields(config) if each.name not in own and _is_word(hints[each.name])]
        options += [_setting(each, _plain(hints[each.name]), texts.get(each.name, "")) for each in settings]
    options.sort(key=lambda option: option[2] is not MISSING)
    rows = [(name, kind, field(default=default)) for name, kind, default in options]
    made = make_dataclass(command.__name__, rows, frozen=True, kw_only=True)
    made.__doc__ = inspect.getdoc(command)
    return made


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


def _documented(kind: type[Any]) -> dict[str, str]:
    """The docstrings below a dataclass's fields, each on one line."""
    params = docstring_parser.parse_from_object(kind).params
    return {each.arg_name: one_line(each.description or "") for each in params}


def _with_help(kind: Any, text: str) -> Any:
    """The type with a help text, unless it has one."""
    configured = not text or any(getattr(each, "help", None) for each in getattr(kind, "__metadata__", ()))
    return kind if configured else Annotated[kind, tyro.conf.arg(help=text)]


def _is_word(kind: Any) -> bool:
    """Whether a setting can be written as one word; nested configurations cannot."""
    return all(each in _KINDS or get_origin(each) is Literal for each in _kinds(kind))


def _kinds(kind: Any) -> list[Any]:
    """The members of a union but None, or the one type that it is."""
    is_union = get_origin(kind) in (Union, UnionType)
    return [each for each in get_args(kind) if each is not type(None)] if is_union else [kind]


def _plain(kind: Any) -> Any:
    """`T` of `T | None`."""
    kinds = _kinds(kind)
    return kinds[0] if len(kinds) == 1 else kind


def _setting(each: Field[Any], kind: Any, text: str) -> tuple[str, Any, Any]:
    """One setting as an option: name, type with its help, default."""
    if kind is bool and each.default is False:
        return each.name, Annotated[bool, word(None, text)], False
    metavar = _KINDS[kind][0] if kind in _KINDS else None
    if each.default is MISSING:
        return each.name, Annotated[kind, word(metavar, text)], MISSING
    if each.default is not None:
        text = f"{text} (default: {_shown(each.default)})"
    aliases = ("--random-prefix",) if each.name == "prefix" else None  # `phr evaluate` calls it so
    return each.name, Annotated[kind | None, tyro.conf.FlagConversionOff, word(metavar, text, aliases)], None


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value[0]}:{value[1]}" if isinstance(value, tuple) else str(value).replace("_", "-")


READERS = tyro.constructors.ConstructorRegistry()
"""How text becomes a value, with messages for people."""


@READERS.primitive_rule
def _reader(info: tyro.constructors.PrimitiveTypeInfo) -> tyro.constructors.PrimitiveConstructorSpec[Any] | None:
    kind = _plain(info.type)
    if kind in _KINDS:
        metavar, read, made = _KINDS[kind][0], partial(_read, kind), get_origin(kind) or kind
    else:
        # typing caches unions, so that the order of the members may be that of an equal union written elsewhere.
        first, *rest = sorted(_kinds(kind), key=lambda each: each in _KINDS)
        if get_origin(first) is not Literal or rest not in ([], [int], [float]):
            return None
        metavar = "|".join([*map(_shown, get_args(first)), *(_KINDS[each][0] for each in rest)])
        read, made = partial(_choice, get_args(first), rest), object
    return tyro.constructors.PrimitiveConstructorSpec(
        nargs=1,
        metavar=metavar,
        instance_from_str=lambda words: read(words[0]),
        is_instance=lambda value: value is None or isinstance(value, made),  # None: left out
        str_from_instance=lambda value: [_shown(value)],
    )


def whole_number(text: str) -> int:
    """Read `1000`, `1_000`, `1,000` or `1e3`; ValueError if it is not a whole number of at most 18 digits."""
    try:
        value = Decimal(text.replace(",", "") if re.fullmatch(r"[+-]?\d{1,3}(,\d{3})+", text) else text)
        # The exponent first: 1e999999999 is a whole number that no memory holds.
        if value.is_finite() and value.adjusted() < 18 and value == value.to_integral_value():
            return int(value)
    except InvalidOperation:
        pass
    raise ValueError(f"must be a whole number; got {text!r}")


def _read(kind: Any, text: str) -> Any:
    try:
        return _KINDS[kind][2](text)
    except (KeyError, ValueError):
        raise ValueError(f"must be {_KINDS[kind][1]}; got {text!r}") from None


def _choice(choices: tuple[Any, ...], numbers: list[Any], text: str) -> Any:
    """One of the choices, where a dash equals an underscore, or a number if `numbers` names a kind of them."""
    for choice in choices:
        if _shown(choice) == _shown(text):
            return choice
    shown = ", ".join(map(_shown, choices))
    if not numbers:
        raise ValueError(f"must be one of {shown}; got {text!r}")
    try:
        return _read(numbers[0], text)
    except ValueError:
        raise ValueError(f"must be {shown} or {_KINDS[numbers[0]][1]}; got {text!r}") from None


def _whole_range(text: str) -> tuple[int, int]:
    low, high = text.split(":")
    if not (low.isdecimal() and high.isdecimal()):
        raise ValueError
    return int(low), int(high)


def _range(text: str) -> tuple[float, float]:
    low, high = text.split(":")
    return float(low), float(high)


_KINDS: dict[Any, tuple[str, str, Callable[[str], Any]]] = {
    int: ("N", "a whole number", whole_number),
    float: ("X", "a number", float),
    bool: ("yes|no", "yes or no", {"yes": True, "no": False}.__getitem__),
    str: ("TEXT", "a text", str),
    Path: ("PATH", "a path", Path),
    tuple[int, int]: ("LO:HI", "LO:HI, two whole numbers", _whole_range),
    tuple[float, float]: ("LO:HI", "LO:HI, two numbers", _range),
}
"""Types of one word → their placeholder, what they are, and their reader."""
