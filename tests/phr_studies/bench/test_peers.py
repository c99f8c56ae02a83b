from __future__ import annotations

import pytest

from phr.envs.registry import make_env
from phr.errors import MissingExtraError, UnsupportedEnvironmentError
from phr.networks.trunks import TrunkConfig
from phr_studies.bench.loops import REPEATS, repeat_action, stable_baselines3_predict
from phr_studies.bench.models import untrained
from phr_studies.bench.rounds import Arena, play
from phr_studies.worlds import RepeatPlanner
from tests.phr_studies.bench.exported import torch_for_onnx
from tests.trained import CORRIDOR, corridor_student


def test_repeat_action_plays_what_our_own_action_repeat_plays(monkeypatch: pytest.MonkeyPatch) -> None:
    torch_for_onnx(monkeypatch)
    model = corridor_student()
    arena = Arena(CORRIDOR, make_env(CORRIDOR), model, 0.02, seed=1)
    found = repeat_action(arena).play(0)
    ours = play(arena, RepeatPlanner(model.planner, REPEATS), REPEATS, int(found["steps"]), 1)
    assert (found["steps"], found["score"]) == (ours.steps, ours.score)
    assert ours.score > 0


def test_the_predict_loop_is_measured_on_grids_and_refused_elsewhere() -> None:
    env_id = "MiniGrid-SimpleCrossingS9N1-v0"
    model = untrained(env_id, trunk=TrunkConfig(kind="grid", channels=(2, 2, 2), width=4))
    found = stable_baselines3_predict(Arena(env_id, make_env(env_id), model, 0.01, seed=1)).play(0)
    assert found["steps"] >= 1
    assert found["seconds_wall"] > 0
    with pytest.raises(UnsupportedEnvironmentError, match="grids seen whole and on Atari"):
        stable_baselines3_predict(Arena(CORRIDOR, make_env(CORRIDOR), corridor_student(), 0.01, seed=1))


def test_an_old_gymnasium_has_no_such_wrapper(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr("gymnasium.wrappers.RepeatAction")
    with pytest.raises(MissingExtraError, match="Gymnasium 1.3"):
        repeat_action(Arena(CORRIDOR, make_env(CORRIDOR), corridor_student(), 0.02, seed=1))
