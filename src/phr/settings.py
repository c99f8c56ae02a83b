"""Checks of what users pass; a setting of the two stages is checked by its field's annotation: its type and its range."""

from __future__ import annotations

import builtins
import difflib
import math
import numbers
import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields
from typing import Annotated, Any, TypeGuard, TypeVar, get_args, get_origin, get_type_hints

import numpy as np

from phr.errors import HorizonError, SettingError, UsageError

__all__ = ["said_settings"]


@dataclass(frozen=True)
class Range:
    """Smallest and largest value of a number; `above` and `below` are limits that it must not reach."""

    low: float = -math.inf
    high: float = math.inf
    above: float = -math.inf
    below: float = math.inf

    def __contains__(self, value: int | float) -> bool:
        return self.low <= value <= self.high and self.above < value < self.below

    def __str__(self) -> str:
        if self.high == self.below == math.inf:
            return "be positive" if self.above == 0 else f"be >= {self.low:g}"
        left = f"[{self.low:g}" if self.above == -math.inf else f"({self.above:g}"
        return f"lie in {left}, " + (f"{self.high:g}]" if self.below == math.inf else f"{self.below:g})")


Count = Annotated[int, Range(low=1.0)]
CountFromZero = Annotated[int, Range(low=0.0)]
Positive = Annotated[float, Range(above=0.0)]
NotNegative = Annotated[float, Range(low=0.0)]
Fraction = Annotated[float, Range(low=0.0, high=1.0)]
FractionBelowOne = Annotated[float, Range(low=0.0, below=1.0)]

_Kind = TypeVar("_Kind", bound=type)


def no_type_check(kind: _Kind) -> _Kind:
    """Mark a class of settings whose values `check_settings` checks.

    The tests' import hook skips classes with a decorator of this name, so that tests see our own errors; that of `typing`
    would also hide the annotations.
    """
    return kind


def is_whole(value: Any) -> TypeGuard[int]:
    """Return whether a value is a whole number, Python's or numpy's; True and False are none."""
    return isinstance(value, int | np.integer) and not isinstance(value, bool)


def check_whole(name: str, value: Any, least: int, error: type[UsageError] = SettingError) -> None:
    """Refuse a parameter that is not a whole number of at least `least`."""
    if not is_whole(value):
        raise error(f"{name} must be a whole number >= {least}, got {shown(value)}")
    if value < least:
        raise error(f"{name} must be >= {least}, got {shown(int(value))}")


def said_settings(config: Any) -> dict[str, Any]:
    """Return the settings as a run records them; those that are None are left out."""
    return {name: value for name, value in asdict(config).items() if value is not None}


def given_settings(kind: type[Any], overrides: Mapping[str, Any]) -> dict[str, Any]:
    """Return the overrides that are not None; SettingError if one is not a field of the dataclass `kind`."""
    names = {entry.name for entry in fields(kind)}
    for name in overrides:
        if name not in names:
            near = difflib.get_close_matches(name, names, n=1)
            raise SettingError(f"there is no setting {name!r}" + (f"; did you mean {near[0]!r}?" if near else ""))
    return {name: value for name, value in overrides.items() if value is not None}


def check_number(name: str, value: Any, must: str, holds: Callable[[float], bool]) -> None:
    """Raise SettingError, which ends "must …", unless it is a number, and one of those that `holds` accepts."""
    is_number = isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool)
    try:
        is_held = is_number and holds(float(value))
    except OverflowError:  # a whole number that no float holds
        is_held = False
    if not is_held:
        raise SettingError(f"{name} must {must}, got {shown(value)}")


def check_settings(config: Any) -> None:
    """Check the type and the range of every field, and store each number as its field's own type (20.0 as 20).

    `config` is a frozen dataclass with the fields `prefix` and `seed`; its annotations may be bool, int, float, a class,
    `Literal`, `tuple`, a union of these, or `Annotated` with a `Range`. HorizonError for the field `horizon`, SettingError
    for any other.
    """
    hints = get_type_hints(type(config), include_extras=True)
    for entry in fields(config):
        value = getattr(config, entry.name)
        try:
            object.__setattr__(config, entry.name, _checked(value, hints[entry.name]))
        except _RuleError as rule:
            kind, name = (HorizonError, "the horizon") if entry.name == "horizon" else (SettingError, entry.name)
            stop = ";" if str(rule).startswith("be one of") else ","
            raise kind(f"{name} must {rule}{stop} got {shown(value)}") from None
    low, high = config.prefix
    if not 0 <= low <= high:
        raise SettingError(f"prefix needs 0 <= low <= high, got {shown(low)}:{shown(high)}")
    check_whole("seed", config.seed, 0)


class _RuleError(Exception):
    """The rule that a value breaks, as the words after `must`."""


def _checked(value: Any, hint: Any) -> Any:
    """A value as the type that its field's annotation states."""
    parts = get_args(hint)
    match get_origin(hint):
        case typing.Annotated:
            number = _checked(value, parts[0])
            if number not in parts[1]:
                raise _RuleError(parts[1])
            return number
        case types.UnionType | typing.Union:
            if value is None and types.NoneType in parts:
                return None
            rules = []
            for kind in [each for each in parts if each is not types.NoneType]:
                try:
                    return _checked(value, kind)
                except _RuleError as rule:
                    rules.append(str(rule))
            raise _RuleError(" or ".join(rules))
        case typing.Literal:
            if not (isinstance(value, str) and value in parts):
                raise _RuleError(f"be one of {', '.join(map(repr, parts))}")
            return value
        case builtins.tuple:
            if not (isinstance(value, tuple | list) and len(value) == len(parts)):
                raise _RuleError(f"hold {len(parts)} values")
            try:
                return tuple(_checked(part, kind) for part, kind in zip(value, parts, strict=True))
            except _RuleError as rule:
                raise _RuleError(f"hold {len(parts)} values, each of which must {rule}") from None
    if hint in (int, float):
        return _number(value, hint)
    if hint is bool and isinstance(value, np.bool_):
        return bool(value)
    if not isinstance(value, hint):
        raise _RuleError("be True or False" if hint is bool else f"be a {hint.__name__}")
    return value


def _number(value: Any, kind: type[int] | type[float]) -> int | float:
    rule = "be a whole number" if kind is int else "be a number"
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise _RuleError(rule)
    if kind is int and isinstance(value, numbers.Integral):
        number: int | float = int(value)  # exactly: as a float it may be another number
    else:
        try:
            number = float(value)
        except OverflowError:
            number = math.inf
        if not math.isfinite(number):
            raise _RuleError("be finite")
    if kind is int and number != math.floor(number):
        raise _RuleError(rule)
    if kind is int and abs(number) > 2**53:  # up to here every whole number is also a float: a count may be written 2e6
        raise _RuleError(f"be at most {2**53:,}")
    return kind(number)


def shown(value: Any) -> str:
    """The value's repr on one line, cut off after 80 characters."""
    try:
        text = " ".join(repr(value).split())
    except Exception:  # whole numbers of more than 4,300 digits have none
        text = f"<{type(value).__name__}>"
    return text if len(text) <= 80 else text[:80] + "..."
