"""What the settings of both stages have in common: how they are checked."""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from typing import Any

from phr.errors import SettingError
from phr.seeding import Streams


def said_settings(config: Any) -> dict[str, Any]:
    """The settings as a run keeps them; one that is None says nothing, so runs from before there was such a one go on."""
    return {name: value for name, value in asdict(config).items() if value is not None}


def given_settings(kind: type[Any], overrides: Mapping[str, Any]) -> dict[str, Any]:
    """Those overrides that say something; None says nothing.

    Raises:
        SettingError: If one is no field of the dataclass `kind`.
    """
    names = {entry.name for entry in fields(kind)}
    for name in overrides:
        if name not in names:
            near = difflib.get_close_matches(name, names, n=1)
            raise SettingError(f"there is no setting {name!r}" + (f"; did you mean {near[0]!r}?" if near else ""))
    return {name: value for name, value in overrides.items() if value is not None}


def check_settings(
    config: Any,
    *,
    at_least_one: Sequence[str],
    positive: Sequence[str],
    choices: Mapping[str, Sequence[str]],
    not_negative: Sequence[str] = (),
) -> None:
    """Refuse values that make no sense, before anything is done with them.

    Args:
        config: A dataclass with the fields `prefix` and `seed`.
        at_least_one: Names of the fields that count something.
        positive: Names of the fields that scale something.
        choices: Field → the words that it may hold.
        not_negative: Names of the fields that weigh something, 0 for not at all.

    Raises:
        SettingError: For the first field that is wrong.
    """
    values = {entry.name: getattr(config, entry.name) for entry in fields(config)}
    for name, value in values.items():
        if isinstance(value, float) and not math.isfinite(value):
            raise SettingError(f"{name} must be finite, got {value}")
    for name in at_least_one:
        if values[name] < 1:
            raise SettingError(f"{name} must be >= 1, got {values[name]}")
    for name in positive:
        if values[name] <= 0:
            raise SettingError(f"{name} must be positive, got {values[name]}")
    for name in not_negative:
        if values[name] < 0:
            raise SettingError(f"{name} must be >= 0, got {values[name]}")
    for name, known in choices.items():
        if values[name] not in known:
            raise SettingError(f"unknown {name} {values[name]!r}; choose one of {', '.join(known)}")
    low, high = values["prefix"]
    if not 0 <= low <= high:
        raise SettingError(f"prefix needs 0 <= low <= high, got {low}:{high}")
    Streams(values["seed"])
