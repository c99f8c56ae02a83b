"""Folders of models: the zoo's by name, others by path."""

from __future__ import annotations

import difflib
import os
from pathlib import Path

from phr.errors import UnknownModelError

ZOO_PREFIX = "zoo:"


def zoo_directory() -> Path:
    """The folder of trained models: `$PHR_ZOO`, else `zoo/` of the checkout that phr runs from."""
    named = os.environ.get("PHR_ZOO")
    return Path(named) if named else Path(__file__).resolve().parents[3] / "zoo"


def zoo_names() -> list[str]:
    """Names of the finished models in the zoo."""
    return sorted(path.parent.name for path in zoo_directory().glob("*/COMPLETE"))


def model_directory(name: str) -> Path:
    """Where a model lies.

    Args:
        name: `zoo:NAME`, or a folder.

    Raises:
        UnknownModelError: If there is no such folder, or no such model in the zoo.
    """
    if name.startswith(ZOO_PREFIX):
        directory = zoo_directory() / (name.removeprefix(ZOO_PREFIX) or "(no name)")
        if not directory.is_dir():
            if not zoo_directory().is_dir():
                raise UnknownModelError(
                    f"there is no zoo at {zoo_directory()}; run from a checkout, or set PHR_ZOO to a folder of models"
                )
            known = zoo_names()
            near = difflib.get_close_matches(name.removeprefix(ZOO_PREFIX), known, n=1)
            hint = f"did you mean zoo:{near[0]}?" if near else f"it holds {', '.join(known) or 'nothing'}"
            raise UnknownModelError(f"the zoo in {zoo_directory()} has no {name.removeprefix(ZOO_PREFIX)!r}; {hint}")
        return directory
    directory = Path(name)
    if directory.is_dir():
        return directory
    raise UnknownModelError(
        f"{name} is not a run directory; give a folder that phr train or phr distill wrote, zoo:NAME, FILE.onnx, "
        "a Stable-Baselines3 FILE.zip, module:factory or oracle"
    )
