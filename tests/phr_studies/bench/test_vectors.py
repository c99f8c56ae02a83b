from __future__ import annotations

from pathlib import Path

import pytest

from phr.envs.registry import make_env
from phr.envs.vector import VectorSplit
from phr.errors import SettingError
from phr_studies.bench.vectors import VectorSettings, measure, play_vector, tables
from phr_studies.report.tables import to_markdown
from tests.phr_studies.bench.exported import corridor_reference, torch_for_onnx
from tests.trained import CORRIDOR, corridor_student


def test_environments_of_a_vector_act_as_each_would_alone() -> None:
    vector = VectorSplit([make_env(CORRIDOR) for _ in range(3)], "same_step")
    found = play_vector(vector, corridor_student().planner, 2, n_ticks=40)
    # Four steps lead to the goal: ten episodes each, two looks in every one of them, all in step.
    assert found["steps"] == 120
    assert found["score"] == 30.0
    assert (found["evaluations"], found["batches"]) == (60, 20)


def test_the_section_compares_with_the_smallest_vector(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch_for_onnx(monkeypatch)
    settings = VectorSettings(
        model=corridor_reference(tmp_path), n_envs=(1, 3), commitments=(1, 16), rounds=2, seconds_per_run=0.005
    )
    values = measure(settings)
    assert [(row["commitment"], row["n_envs"]) for row in values["rows"]] == [(1, 1), (1, 3)]
    one, three = values["rows"]
    assert one["speedup"]["rounds"] == [1.0, 1.0]
    assert three["environments_per_batch"]["median"] == 3.0  # at commitment 1 everybody always looks
    assert "| 1 | 3 |" in to_markdown(tables(values)[0])


def test_a_vector_has_an_environment() -> None:
    with pytest.raises(SettingError, match="got 0"):
        VectorSettings(model="any", n_envs=(4, 0))
