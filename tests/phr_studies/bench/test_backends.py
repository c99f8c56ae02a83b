from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from phr.envs.registry import make_env
from phr.storage import onnx_export
from phr_studies.bench import backends
from phr_studies.bench.backends import BackendSettings, CompilerError, compiled_planner, find_compiler, measure, tables
from phr_studies.bench.rounds import Arena
from phr_studies.report.tables import to_markdown
from tests.exported import corridor_graph
from tests.phr_studies.bench.exported import corridor_reference
from tests.trained import CORRIDOR, corridor_student


def arena() -> Arena:
    return Arena(CORRIDOR, make_env(CORRIDOR), corridor_student(), 0.01, seed=0)


def no_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setattr(shutil, "which", lambda _name: None)


def test_all_backends_play_the_same_game(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    no_compiler(monkeypatch)
    for module in (backends, onnx_export):
        monkeypatch.setattr(module, "onnx_bytes", lambda _model: corridor_graph())
    settings = BackendSettings(
        model=corridor_reference(tmp_path), commitments=(1, 4, 16), rounds=2, seconds_per_run=0.005, calibration=64
    )
    values = measure(settings)

    names = [backend["name"] for backend in values["backends"]]
    assert names == ["ONNX Runtime", "ONNX Runtime, int8", "torch, eager"]
    assert values["missing"] == {"torch.compile": "no compiler"}
    for backend in values["backends"]:
        assert [entry["commitment"] for entry in backend["commitments"]] == [1, 4]
        assert all(entry["score_per_second"]["median"] > 0 for entry in backend["commitments"])
    onnx = values["backends"][0]["commitments"][0]
    assert onnx["time_ratio"]["rounds"] == [1.0, 1.0]
    assert values["int8"]["agreement"] > 0.9
    (table,) = tables(values)
    assert "torch.compile: no compiler" in to_markdown(table)


def test_a_failing_compiler_leaves_a_row_that_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    class Broken(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = torch.nn.Parameter(torch.zeros(1))

        def forward(self, obs: Any) -> Any:
            raise RuntimeError("cc1plus went away\nand more")

    monkeypatch.setattr(backends, "find_compiler", lambda: "g++")
    monkeypatch.setattr(torch, "compile", lambda _network, dynamic: Broken())
    monkeypatch.setattr(backends, "TorchPlanner", lambda network, _obs_dtype: _Planner(network))
    with pytest.raises(CompilerError, match="compiling failed: cc1plus went away$"):
        compiled_planner(arena())


class _Planner:
    def __init__(self, network: torch.nn.Module) -> None:
        self._network = network

    def plan(self, obs: Any) -> Any:
        return self._network(obs)


def test_the_compiler_is_the_one_that_is_named_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "my-compiler")
    monkeypatch.setattr(shutil, "which", lambda name: f"/bin/{name}" if name in ("my-compiler", "c++") else None)
    assert find_compiler() == "/bin/my-compiler"
    monkeypatch.delenv("CXX")
    assert find_compiler() == "/bin/c++"
