"""Public names of a package, each loaded on first use, where one of its modules is slow to import or needs an extra."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any


def lazy_names(package: str, modules: dict[str, str]) -> tuple[Callable[[str], Any], list[str]]:
    """The module-level `__getattr__` and `__all__` of a package (PEP 562).

    `modules` maps a module, relative to the package, to the names it contributes, separated by blanks. The same names stand
    in the package's `if TYPE_CHECKING:` block, for type checkers and readers.
    """
    where = {name: f"{package}.{module}" for module, names in modules.items() for name in names.split()}

    def load(name: str) -> Any:
        if name not in where:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return getattr(importlib.import_module(where[name]), name)

    return load, sorted(where)
