"""Whether an environment's methods are still those that its package ships."""

from __future__ import annotations

import inspect
from typing import Any

_PACKAGES = ("ale_py", "gymnasium", "minigrid")


def methods_of(kind: type) -> set[Any]:
    """Return the functions that a class itself defines."""
    return {value for value in vars(kind).values() if inspect.isfunction(value)}


def is_patched(layer: Any, *, own: set[Any] | None = None, stand_in: Any = None) -> bool:
    """Return whether a method of an environment or wrapper was replaced, in the object or in its class.

    Args:
        layer: An instance of a class of Gymnasium, MiniGrid or ale-py.
        own: Functions that may come from elsewhere.
        stand_in: What may stand in for a method of the object.
    """
    kind = type(layer)
    if any(callable(getattr(kind, name, None)) and value is not stand_in for name, value in vars(layer).items()):
        return True
    found = (inspect.getattr_static(kind, name, None) for name in ("reset", "step", "gen_obs"))
    if not all(method is None or inspect.isfunction(method) for method in found):
        return True
    methods = {method for base in kind.__mro__ for method in methods_of(base)} - (own or set())
    return any(method.__globals__["__name__"].partition(".")[0] not in _PACKAGES for method in methods)
