from __future__ import annotations

import pytest

from phr.report.tables import to_markdown
from phr.studies.bench.scratch import ScratchSettings, measure, tables
from tests.trained import CORRIDOR, TRUNK


@pytest.mark.slow
def test_both_stages_are_timed_and_play_every_start() -> None:
    settings = ScratchSettings(
        env_id=CORRIDOR,
        horizon=4,
        teacher={"total_timesteps": 4000, "n_envs": 8, "n_evaluations": 2, "eval_episodes": 4, "trunk": TRUNK},
        student={"n_updates": 150, "batch_size": 64, "n_episodes": 64, "prefix": (0, 4)},
    )
    values = measure(settings)
    teacher, student = values["stages"]
    assert (teacher["horizon"], student["horizon"]) == (1, 4)
    assert teacher["starts_solved"] == student["starts_solved"] == (1, 1)
    assert min(teacher["seconds_wall"], student["seconds_wall"]) > 0
    text = to_markdown(tables(values)[0])
    assert "| student | 4 |" in text
    assert "4,000 steps of A2C, then 150 updates" in text
