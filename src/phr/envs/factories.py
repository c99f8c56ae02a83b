"""`package.module:name`: things of the user's own, found by name."""

from __future__ import annotations

import importlib
from typing import Any

from phr.errors import UsageError


def is_factory(reference: str) -> bool:
    """Whether a reference looks like `package.module:name`."""
    module, colon, name = reference.partition(":")
    return bool(colon) and name.isidentifier() and all(part.isidentifier() for part in module.split("."))


def find_factory(reference: str, unknown: type[UsageError]) -> Any:
    """Import the module and take the name out of it.

    Args:
        reference: `package.module:name`.
        unknown: Raised, with one line, where it leads nowhere.
    """
    module, _, name = reference.partition(":")
    try:
        found = importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise unknown(f"{reference}: cannot import {error.name!r}; is its folder on PYTHONPATH?") from error
    except Exception as error:  # the module is the user's own: anything may happen in it
        raise unknown(f"{reference}: importing {module!r} failed with {type(error).__name__}: {error}") from error
    try:
        return getattr(found, name)
    except AttributeError as error:
        raise unknown(f"{reference}: module {module!r} has no {name!r}") from error
