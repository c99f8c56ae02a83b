"""`package.module:name`: the user's own code, found by name."""

from __future__ import annotations

import importlib
from types import ModuleType
from typing import Any

from phr.errors import UsageError


def is_factory(reference: str) -> bool:
    """Whether a reference looks like `package.module:name`."""
    module, colon, name = reference.partition(":")
    return bool(colon) and name.isidentifier() and all(part.isidentifier() for part in module.split("."))


def imports_code(env_id: str) -> bool:
    """Whether making this environment imports a module that the id names: `module:factory`, Gymnasium's `module:Id-v0`."""
    return ":" in env_id.partition("?")[0]


def env_id_of_file(found: str, said: str | None, name: str) -> str:
    """The environment to act in: what the user said, else what a file says, unless that would run code of its choice.

    Args:
        found: What the file says.
        said: What the user said, None for nothing.
        name: The file, for the message.

    Raises:
        UsageError: If the user said nothing and the file's id imports a module.
    """
    if said is None and imports_code(found):
        raise UsageError(f"{name} asks for the environment {found}, which is code; if you trust it, say --env-id {found}")
    return found if said is None else said


def import_named(reference: str, unknown: type[UsageError]) -> ModuleType:
    """Import the module of `package.module:name` and return it.

    Args:
        reference: The module, a colon, and anything.
        unknown: Raised, with one line, if the module cannot be imported.
    """
    module = reference.partition(":")[0]
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise unknown(f"{reference}: cannot import {error.name!r}; is its folder on PYTHONPATH?") from error
    except Exception as error:  # the module is the user's own: anything may happen in it
        raise unknown(f"{reference}: importing {module!r} failed with {type(error).__name__}: {error}") from error


def find_factory(reference: str, unknown: type[UsageError]) -> Any:
    """Import the module of `package.module:name` and return what it calls `name`.

    Args:
        reference: As above.
        unknown: Raised, with one line, if the module cannot be imported or has no such name.
    """
    module, _, name = reference.partition(":")
    found = import_named(reference, unknown)
    try:
        return getattr(found, name)
    except AttributeError as error:
        raise unknown(f"{reference}: module {module!r} has no {name!r}") from error
