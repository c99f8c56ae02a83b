from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

import phr
from phr.acting.runtime import load_runtime
from phr.errors import IncompatibleModelError, OutputDirectoryError, UsageError
from phr.files import sha256_of
from phr.plan import CategoricalPlan
from phr.teachers.foreign import identity_of
from phr.teachers.oracle import OraclePlanner
from phr.teachers.references import resolve
from tests.exported import corridor_file
from tests.teachers.sb3_models import env_id, made
from tests.trained import CORRIDOR

QUICK: dict[str, Any] = {"horizon": 2, "n_updates": 2, "n_episodes": 4, "refine": 0}


class Table:
    """Answers the same logits everywhere."""

    horizon = 1
    n_actions = 2

    def __init__(self, held: Any) -> None:
        self.held = held

    def plan(self, obs: NDArray[Any]) -> CategoricalPlan:
        return CategoricalPlan(np.tile(np.array([0, 9], np.float32), (len(obs), 1, 1)))


def linear(seed: int) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Linear(5, 2)


@pytest.mark.parametrize(
    "make",
    [
        lambda n: Table(np.arange(n)),
        lambda n: Table(torch.arange(n)),
        lambda n: Table([n, "x"]),
        lambda n: Table(linear(n)),
        lambda n: Table(Table(linear(n))),
        linear,
    ],
)
def test_what_is_held_tells(make: Any) -> None:
    assert identity_of(make(3)) == identity_of(make(3)) != identity_of(make(4)) != ""


@pytest.mark.parametrize("held", [object(), lambda: None, {"a": 1}, np.array([object()]), [print]])
def test_what_may_hide_anything_tells_nothing(held: Any) -> None:
    assert identity_of(Table(held)) == identity_of(lambda obs: obs) == ""


def test_a_text_of_ones_own_is_believed() -> None:
    def rule(obs: Any) -> Any:
        return obs

    rule.identity = "first"  # type: ignore[attr-defined]
    assert identity_of(rule) == "first"
    assert identity_of(OraclePlanner(3)) == "oracle" != identity_of(OraclePlanner(3, 2))


def test_a_file_keeps_its_hash(tmp_path: Path) -> None:
    path = corridor_file(tmp_path)
    assert identity_of(load_runtime(path)) == sha256_of(path) == resolve(path).identity


def test_two_files_are_two_teachers(tmp_path: Path) -> None:
    teachers = []
    for name in ("A2C", "PPO"):
        made(name, "vector").save(tmp_path / f"{name}.zip")
        teachers.append(phr.load_teacher(tmp_path / f"{name}.zip", env_id=env_id("vector")))
    one, other = teachers
    assert identity_of(one) == resolve(tmp_path / "A2C.zip", env_id=env_id("vector")).identity
    words = {**QUICK, "env_id": env_id("vector"), "keep": "auto"}
    first = phr.distill(one, out=tmp_path / "run", save_experience=tmp_path / "one.npz", **words)
    assert phr.distill(one, out=tmp_path / "run", resume=True, **words).sha256 == first.sha256
    with pytest.raises(OutputDirectoryError, match="holds another run"):
        phr.distill(other, out=tmp_path / "run", resume=True, **words)
    with pytest.raises(IncompatibleModelError, match="recorded from another teacher"):
        phr.distill(other, experience=tmp_path / "one.npz", **words)


def test_a_bare_function_is_told_from_no_other(tmp_path: Path) -> None:
    def right(obs: Any) -> Any:
        return np.ones(len(obs), np.int64)

    phr.distill(right, env_id=CORRIDOR, out=tmp_path / "run", save_experience=tmp_path / "one.npz", **QUICK)
    for more in ({"resume": True, "out": tmp_path / "run"}, {"experience": tmp_path / "one.npz"}):
        with pytest.raises(UsageError, match="^.*right has no identity: expected an attribute `identity`"):
            phr.distill(right, env_id=CORRIDOR, **more, **QUICK)
    right.identity = "to the right, 1"  # type: ignore[attr-defined]
    words: dict[str, Any] = {"env_id": CORRIDOR, "out": tmp_path / "named", **QUICK}
    assert phr.distill(right, **words).sha256 == phr.distill(right, resume=True, **words).sha256
