"""Names that users rely on: more may come, none may go."""

from __future__ import annotations

import subprocess
import sys

import pytest

import phr

PUBLIC = [
    "A2CConfig",
    "CategoricalPlan",
    "Evaluation",
    "HorizonAgent",
    "Model",
    "PHRConfig",
    "PhrError",
    "Plan",
    "Planner",
    "Tuning",
    "VectorHorizonAgent",
    "__version__",
    "bench",
    "distill",
    "doctor",
    "evaluate",
    "export_onnx",
    "load",
    "load_teacher",
    "make_env",
    "make_report",
    "push",
    "reproduce",
    "train_teacher",
    "tune",
]


def run(code: str, *words: str) -> str:
    """What a fresh interpreter prints."""
    ran = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


def test_the_public_names_are_these() -> None:
    assert phr.__all__ == PUBLIC
    assert dir(phr) == sorted(PUBLIC)


@pytest.mark.parametrize("name", PUBLIC)
def test_every_public_name_is_there(name: str) -> None:
    value = getattr(phr, name)
    if name == "__version__":
        assert value.count(".") == 2
    else:
        assert value.__name__ == name
        assert value.__module__.startswith(("phr.", "phr_studies."))
        assert value.__doc__


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'phr' has no attribute 'destill'"):
        phr.destill  # noqa: B018
    assert not hasattr(phr, "torch")


def test_the_environment_of_ours_is_registered_once_with_gymnasium() -> None:
    code = "import phr, importlib, gymnasium; importlib.reload(phr); print(gymnasium.make('PHR/FourRooms-v0').spec.id)"
    assert run(code) == "PHR/FourRooms-v0\n"


def test_importing_phr_is_light() -> None:
    heavy = ["torch", "matplotlib", "minigrid", "rich", "tyro", "onnxruntime", "jaxtyping"]
    assert run(f"import sys, phr; print([name for name in {heavy} if name in sys.modules])") == "[]\n"


WITHOUT = """
import sys
for name in sys.argv[2].split(","):
    sys.modules[name] = None  # importing it raises ModuleNotFoundError
import phr
try:
    print(getattr(phr, sys.argv[1]).__name__)
except phr.PhrError as error:
    print(f"{type(error).__name__}: {error}")
"""


@pytest.mark.parametrize(
    "name", ["train_teacher", "distill", "evaluate", "export_onnx", "load", "reproduce", "A2CConfig", "PHRConfig"]
)
def test_without_torch_a_name_gives_the_pip_line(name: str) -> None:
    assert run(WITHOUT, name, "torch") == f"MissingExtraError: phr.{name} needs torch; pip install 'phr[train]'\n"


def test_without_gymnasium_acting_works_and_making_gives_the_pip_line() -> None:
    missing = "gymnasium,minigrid,torch,jaxtyping"
    assert run(WITHOUT, "HorizonAgent", missing) == "HorizonAgent\n"
    assert run(WITHOUT, "make_env", missing) == "MissingExtraError: phr.make_env needs gymnasium; pip install 'phr[train]'\n"
