"""What phr_studies may import of phr: names that a public module lists in `__all__`, and nothing else."""

from __future__ import annotations

import ast
import importlib
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import phr
import phr_studies

PUBLIC_MODULES = (
    "phr",
    "phr.acting",
    "phr.actions",
    "phr.cli",
    "phr.distil",
    "phr.envs",
    "phr.errors",
    "phr.evaluation",
    "phr.experience",
    "phr.files",
    "phr.interruption",
    "phr.manifest",
    "phr.networks",
    "phr.plan",
    "phr.progress",
    "phr.seeding",
    "phr.settings",
    "phr.storage",
    "phr.teacher",
    "phr.teachers",
)
"""The modules whose `__all__` is meant for users; docs/architecture.md lists them too."""

Import = tuple[str, str, str]
"""File and line, module, name."""


def source_files(package: Path) -> list[Path]:
    return sorted(package.rglob("*.py"))


def imports_of(code: str, where: str) -> Iterator[Import]:
    """Every name of phr that a module imports, and every attribute `phr.name` that it reads."""
    tree = ast.parse(code)
    for node in ast.walk(tree):
        at = f"{where}:{getattr(node, 'lineno', 0)}"
        if isinstance(node, ast.ImportFrom) and node.module and node.module.partition(".")[0] == "phr":
            yield from ((at, node.module, alias.name) for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from ((at, alias.name, "") for alias in node.names if alias.name.partition(".")[0] == "phr")
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "phr":
            yield at, "phr", node.attr
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and "\n" in node.value:
            yield from _imports_of_text(node.value, at)


def _imports_of_text(text: str, where: str) -> Iterator[Import]:
    """Imports of a script that is kept in a string and run in a process of its own."""
    if "import " not in text:
        return
    try:
        ast.parse(text)
    except SyntaxError:
        return
    yield from imports_of(text, where)


def refusal(module: str, name: str) -> str | None:
    """Why such an import is none of a public name; None where it is one."""
    if module not in PUBLIC_MODULES:
        return f"{module} is not a public module"
    if not name or name in ("__file__", "__version__") or f"{module}.{name}" in PUBLIC_MODULES:
        return None
    return None if name in importlib.import_module(module).__all__ else f"{module}.__all__ does not list {name}"


def test_phr_studies_imports_public_names_only() -> None:
    root = Path(phr_studies.__file__).parent
    found = [
        f"{at}: {why}"
        for file in source_files(root)
        for at, module, name in imports_of(file.read_text(encoding="utf-8"), str(file.relative_to(root)))
        if (why := refusal(module, name))
    ]
    assert not found, "\n".join(found)


def test_phr_never_names_phr_studies_in_an_import() -> None:
    for file in source_files(Path(phr.__file__).parent):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not [name for name in names if name.startswith("phr_studies")], file


@pytest.mark.parametrize("module", PUBLIC_MODULES)
def test_every_public_name_can_be_loaded(module: str) -> None:
    public = importlib.import_module(module)
    assert not [name for name in public.__all__ if name.startswith("_") and name != "__version__"]
    assert all(getattr(public, name) is not None for name in public.__all__)
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = public.no_such_name


@pytest.mark.parametrize(
    ("code", "why"),
    [
        ("from phr.envs.registry import make_env", "phr.envs.registry is not a public module"),
        ("import phr.envs.registry", "phr.envs.registry is not a public module"),
        ("import phr\nphr.learning_rate", "phr.__all__ does not list learning_rate"),
        ("from phr.files import _LARGEST_JSON", "phr.files.__all__ does not list _LARGEST_JSON"),
        ("CODE = '''\nfrom phr.acting.runtime import load_runtime\n'''", "phr.acting.runtime is not a public module"),
        ("from phr.envs import make_env\nimport phr\nphr.load", None),
    ],
)
def test_the_check_sees_private_imports(code: str, why: str | None) -> None:
    assert [found for _, *one in imports_of(code, "here") if (found := refusal(*one))] == ([why] if why else [])


def test_every_pinned_version_has_its_hashes() -> None:
    root = Path(__file__).parents[1]
    pinned = {line.lower() for line in (root / "constraints.txt").read_text().splitlines() if line and line[0] != "#"}
    text = (root / "hashes.txt").read_text().lower()
    hashed = dict(re.findall(r"^(\S+==\S+)((?: \\\n    --hash=sha256:[0-9a-f]{64})+)$", text, re.MULTILINE))
    named = {re.sub("[-_.]+", "-", name) + "==" + version for name, _, version in (line.partition("==") for line in pinned)}
    (torch,) = (name for name in named if name.startswith("torch=="))
    assert set(hashed) == named - {torch}
