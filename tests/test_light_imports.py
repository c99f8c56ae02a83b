"""A robot has numpy, onnxruntime and msgspec; a simulator needs no torch."""

from __future__ import annotations

import subprocess
import sys

import pytest

IMPORT_ALL = """
import importlib, pkgutil, sys

blocked, rooms = sys.argv[1].split(","), sys.argv[2].split(",")
for name in blocked:
    sys.modules[name] = None  # importing it raises ModuleNotFoundError
for room in rooms:
    module = importlib.import_module(room)
    inside = [] if room == "phr" else getattr(module, "__path__", [])
    for found in pkgutil.walk_packages(inside, room + "."):
        importlib.import_module(found.name)
assert not [name for name in blocked if sys.modules.get(name) is not None]
"""

GROUND = ["phr", "phr.errors", "phr.plan", "phr.seeding", "phr.files", "phr.manifest", "phr.observations"]
"""The package itself, without the rooms in it, and its ground floor."""


def import_without(blocked: list[str], rooms: list[str]) -> None:
    subprocess.run([sys.executable, "-c", IMPORT_ALL, ",".join(blocked), ",".join(rooms)], check=True)


def test_the_lower_floors_import_without_torch() -> None:
    import_without(["torch"], [*GROUND, "phr.acting", "phr.envs", "phr.experience", "phr.evaluation"])


def test_acting_imports_with_numpy_and_onnxruntime_alone() -> None:
    others = ["torch", "gymnasium", "minigrid", "onnx", "matplotlib", "PIL", "rich", "tyro", "tensorboard", "jaxtyping"]
    import_without(others, [*GROUND, "phr.acting"])


@pytest.mark.parametrize("module", ["phr", "phr.acting.agent", "phr.envs.registry", "phr.evaluation.evaluate"])
def test_light_rooms_do_not_pull_torch_in(module: str) -> None:
    code = f"import sys, {module}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
