from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from phr.errors import HorizonError, InvalidDataError
from phr.plan import CategoricalPlan, FloatArray, IntArray, Planner
from phr_studies.worlds import RandomPlanner, RepeatPlanner
from tests.helpers import LEFT, RIGHT, TablePlanner

OBS = np.eye(5, dtype=np.float32)


def test_action_repeat_plans_the_first_action_over_and_over() -> None:
    planner = RepeatPlanner(TablePlanner.of_actions([[RIGHT, LEFT], [LEFT, RIGHT]], 2), 4)
    assert isinstance(planner, Planner)
    assert (planner.horizon, planner.n_actions) == (4, 2)
    assert planner.plan(OBS[:2, :2]).mode().tolist() == [[RIGHT] * 4, [LEFT] * 4]


def test_action_repeat_keeps_the_whole_distribution() -> None:
    teacher = TablePlanner.random(np.random.default_rng(0), 5, 1, 3)
    repeated = RepeatPlanner(teacher, 3).plan(OBS)
    for step in range(3):
        np.testing.assert_array_equal(repeated.outputs[:, step], teacher.plan(OBS).logits[:, 0])


def test_action_repeat_is_as_sure_as_the_plan_that_it_repeats() -> None:
    class Smoothed:
        horizon, n_actions = 2, 2

        def plan(self, obs: NDArray[Any]) -> CategoricalPlan:
            return CategoricalPlan(np.log([[[0.95, 0.05], [0.5, 0.5]]]).astype(np.float32), 0.1)

    teacher = Smoothed()
    np.testing.assert_array_equal(
        RepeatPlanner(teacher, 3).plan(OBS).confidence(), teacher.plan(OBS).confidence()[:, [0, 0, 0]]
    )


def test_action_repeat_needs_a_horizon_and_logits() -> None:
    with pytest.raises(HorizonError, match="horizon must be >= 1, got 0"):
        RepeatPlanner(TablePlanner.of_actions([[0]], 2), 0)

    class Bare:
        batch_size = horizon = 1

        def mode(self) -> IntArray:
            return np.zeros((1, 1), np.int64)

        def sample(self, rng: np.random.Generator) -> IntArray:
            return self.mode()

        def confidence(self) -> FloatArray:
            return np.ones((1, 1), np.float32)

    class BarePlanner:
        horizon = n_actions = 1

        def plan(self, obs: FloatArray) -> Bare:
            return Bare()

    with pytest.raises(InvalidDataError, match="needs a plan with logits over actions, got a Bare"):
        RepeatPlanner(BarePlanner(), 2).plan(OBS)


def test_random_play_is_uniform_over_actions_and_steps() -> None:
    planner = RandomPlanner(3, np.random.default_rng(0), horizon=2)
    assert isinstance(planner, Planner)
    actions = np.concatenate([planner.plan(OBS).mode() for _ in range(2000)])
    assert actions.shape == (10_000, 2)
    for step in range(2):
        np.testing.assert_allclose(np.bincount(actions[:, step]) / 10_000, 1 / 3, atol=0.02)
    assert abs(np.corrcoef(actions.T)[0, 1]) < 0.05


def test_the_generator_decides_random_play() -> None:
    first, again, other = (RandomPlanner(4, np.random.default_rng(seed), 8).plan(OBS).mode() for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)
