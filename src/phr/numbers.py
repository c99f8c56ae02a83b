"""Checks of whole numbers that users pass."""

from __future__ import annotations

from typing import Any, TypeGuard

import numpy as np

from phr.errors import SettingError, UsageError


def is_whole(value: Any) -> TypeGuard[int]:
    """Return whether a value is a whole number, Python's or numpy's; True and False are none."""
    return isinstance(value, int | np.integer) and not isinstance(value, bool)


def check_whole(name: str, value: Any, least: int, error: type[UsageError] = SettingError) -> None:
    """Refuse what is not a whole number of at least `least`; `name` is the parameter's."""
    if not is_whole(value):
        raise error(f"{name} must be a whole number >= {least}, got {value!r}")
    if value < least:
        raise error(f"{name} must be >= {least}, got {value}")
