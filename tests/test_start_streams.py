"""Episodes that train, select, evaluate and tune a policy begin with seeds of different streams."""

from __future__ import annotations

from collections import defaultdict
from itertools import combinations
from pathlib import Path
from typing import Any

import gymnasium
import pytest

import phr
from phr.evaluation.tune import _Games
from phr.teacher.a2c import GreedyTest
from tests.helpers import make_corridor

ENV_ID = "tests.test_start_streams:make_noted"
PHASE = ["none"]
SEEDS: dict[str, set[int]] = defaultdict(set)
"""The seeds that environments were really reset with, by phase."""


class Noting(gymnasium.Wrapper[Any, Any, Any, Any]):
    """Notes its seeds."""

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        if seed is not None:
            SEEDS[PHASE[0]].add(seed)
        return super().reset(seed=seed, options=options)


def make_noted(**kwargs: Any) -> gymnasium.Env[Any, Any]:
    """The corridor that notes its seeds; an environment factory."""
    return Noting(make_corridor(**kwargs))


def test_the_seeds_of_training_selection_evaluation_and_tuning_never_meet(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    SEEDS.clear()
    select = GreedyTest.run

    def selecting(self: GreedyTest) -> float:
        before, PHASE[0] = PHASE[0], "selection"
        try:
            return select(self)
        finally:
            PHASE[0] = before

    monkeypatch.setattr(GreedyTest, "run", selecting)
    PHASE[0] = "training"
    enough: dict[str, Any] = {"total_timesteps": 4000, "n_envs": 8, "learning_rate": 3e-3}
    teacher = phr.train_teacher(ENV_ID, n_evaluations=2, eval_episodes=40, **enough)
    PHASE[0] = "recording"
    few: dict[str, Any] = {"env_id": ENV_ID, "horizon": 2, "n_updates": 20, "n_episodes": 40, "curve_episodes": 0}
    phr.distill(teacher, refine=0, save_experience=tmp_path / "episodes.npz", **few)
    PHASE[0] = "refinement"
    words: dict[str, Any] = {"refine": 2, "refine_windows": 64, "refine_updates": 5}
    student = phr.distill(teacher, experience=tmp_path / "episodes.npz", **words, **few)
    PHASE[0] = "evaluation"
    for prefix in ((0, 0), (1, 2)):
        phr.evaluate(student, env_id=ENV_ID, episodes=20, runs=6, random_prefix=prefix)
    play = _Games.play

    def playing(self: _Games, *arguments: Any, **words: Any) -> Any:
        PHASE[0] = self._stream
        return play(self, *arguments, **words)

    monkeypatch.setattr(_Games, "play", playing)
    phr.tune(student, teacher, env_id=ENV_ID, calibration=50, max_episodes=50)
    phases = {"training", "selection", "recording", "refinement", "evaluation", "tune-calibration", "tune-fresh"}
    assert set(SEEDS) == phases
    assert {phase: len(seeds) >= 40 for phase, seeds in SEEDS.items()} == dict.fromkeys(SEEDS, True)
    for one, other in combinations(SEEDS, 2):
        assert SEEDS[one].isdisjoint(SEEDS[other]), (one, other)
