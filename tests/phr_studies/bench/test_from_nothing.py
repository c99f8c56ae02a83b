from __future__ import annotations

import json
from pathlib import Path

import pytest

from phr.errors import OutputDirectoryError
from phr.networks.trunks import TrunkConfig
from phr.storage.model import load_model
from phr_studies.bench.from_nothing import FromNothingSettings, measure, tables
from phr_studies.report.tables import to_markdown
from tests.trained import CORRIDOR


def settings(out: Path) -> FromNothingSettings:
    trunk = TrunkConfig(kind="mlp", width=32)
    teacher = {"total_timesteps": 4000, "n_envs": 8, "n_evaluations": 2, "eval_episodes": 4, "trunk": trunk}
    student = {"n_updates": 150, "batch_size": 64, "n_episodes": 64, "prefix": (0, 4)}
    return FromNothingSettings(out=out, env_id=CORRIDOR, horizon=4, teacher=teacher, student=student)


def test_both_stages_are_timed_and_their_models_play_every_start(tmp_path: Path) -> None:
    values = measure(settings(tmp_path))
    assert json.loads(json.dumps(values)) == values
    for stage in ("teacher", "student"):
        assert values[stage]["seconds_wall"] > 0
        assert (values[stage]["n_solved"], values[stage]["n_starts"], values[stage]["length_mean"]) == (1, 1, 4)
    assert load_model(tmp_path / "teacher").horizon == 1
    assert load_model(tmp_path / "student").horizon == values["horizon"] == 4
    text = to_markdown(tables(values)[0])
    assert "| 1, the teacher |" in text
    assert "| 2, a student of horizon 4 |" in text
    assert "1 of 1" in text
    with pytest.raises(OutputDirectoryError):
        measure(settings(tmp_path))  # what is there already cannot be timed again
