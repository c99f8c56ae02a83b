"""Types of options: how their text is read, and the placeholders that `--help` shows for them.

A command is a dataclass. Where it names a configuration (`SETTINGS = "module:Class"`), every field of that becomes an option
too, with the field's own name and docstring, so no setting is out of reach and none has two names.
"""

from __future__ import annotations

import importlib
import inspect
import re
from collections.abc import Callable
from dataclasses import MISSING, Field, fields, make_dataclass
from decimal import Decimal, InvalidOperation
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import docstring_parser
import tyro


def word(metavar: str | None, help: str | None = None, aliases: tuple[str, ...] | None = None) -> Any:  # tyro's names
    """Set how `--help` shows an option; the help texts state defaults themselves, where a reader needs them."""
    return tyro.conf.arg(metavar=metavar, help=help, aliases=aliases, help_behavior_hint="")


Count = Annotated[int, word("N")]
OptionalEnvId = Annotated[str | None, word("ID")]
Folder = Annotated[Path, word("DIR")]
OptionalFolder = Annotated[Path | None, word("DIR")]
OptionalFile = Annotated[Path | None, word("FILE")]
Activation = Annotated[
    str | None, word("NAME", "Activation function of a Stable-Baselines3 .zip that does not record it: tanh, relu, ...")
]
Normalize = Annotated[
    Path | None, word("FILE.npz", "Observation statistics that a .zip was trained with, as phr convert writes them.")
]
Flag = Annotated[bool, word(None)]
Seed = Annotated[int, word("S", "Seed of everything random (default: 0).")]


def options_of(command: type[Any]) -> type[Any]:
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
    rows: list[Any] = [(name, kind) for name, kind, default in options if default is MISSING]
    rows += [(name, kind, default) for name, kind, default in options if default is not MISSING]
    made = make_dataclass(command.__name__, rows, frozen=True, kw_only=True)
    made.__doc__ = inspect.getdoc(command)
    return made


def command_of(command: type[Any], parsed: Any) -> Any:
    """Build the command from what `options_of` parsed; the settings that were given go into its field `settings`."""
    own, values = {each.name for each in fields(command)}, vars(parsed)
    untouched = {each.name: each.default for each in fields(parsed)}
    given = {name: value for name, value in values.items() if name not in own and value is not untouched[name]}
    settings = {"settings": given} if "settings" in own else {}
    return command(**{name: value for name, value in values.items() if name in own}, **settings)


def _documented(kind: type[Any]) -> dict[str, str]:
    """The docstrings below a dataclass's fields, each on one line."""
    params = docstring_parser.parse_from_object(kind).params
    return {each.arg_name: " ".join((each.description or "").split()) for each in params}


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
        (metavar, read), made = _KINDS[kind], get_origin(kind) or kind
    else:
        # typing caches unions, so that the order of the members may be that of an equal union written elsewhere.
        first, *rest = sorted(_kinds(kind), key=lambda each: each in _KINDS)
        if get_origin(first) is not Literal or rest not in ([], [int], [float]):
            return None
        metavar = "|".join([*map(_shown, get_args(first)), *(_KINDS[each][0] for each in rest)])
        read, made = lambda text: _choice(text, get_args(first), *rest), object
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


def number(text: str) -> float:
    """Read a number; ValueError, in plain words, if it is none."""
    try:
        return float(text)
    except ValueError:
        raise ValueError(f"must be a number; got {text!r}") from None


def whole_range(text: str) -> tuple[int, int]:
    """Read the two numbers of LO:HI."""
    low, colon, high = text.partition(":")
    if not (colon and low.isdecimal() and high.isdecimal()):
        raise ValueError(f"must be LO:HI, two whole numbers; got {text!r}")
    return int(low), int(high)


def _yes_or_no(text: str) -> bool:
    if text not in ("yes", "no"):
        raise ValueError(f"must be yes or no; got {text!r}")
    return text == "yes"


def _choice(text: str, choices: tuple[Any, ...], number_kind: type[Any] | None = None) -> Any:
    """One of the choices, where a dash equals an underscore, or a number if there is a kind of numbers."""
    for choice in choices:
        if _shown(choice) == _shown(text):
            return choice
    shown = ", ".join(map(_shown, choices))
    if number_kind is None:
        raise ValueError(f"must be one of {shown}; got {text!r}")
    try:
        return _KINDS[number_kind][1](text)
    except ValueError:
        noun = "a whole number" if number_kind is int else "a number"
        raise ValueError(f"must be {shown} or {noun}; got {text!r}") from None


_KINDS: dict[Any, tuple[str, Callable[[str], Any]]] = {
    int: ("N", whole_number),
    float: ("X", number),
    bool: ("yes|no", _yes_or_no),
    str: ("TEXT", str),
    Path: ("PATH", Path),
    tuple[int, int]: ("LO:HI", whole_range),
}
"""Types of one word → their placeholder and reader."""
