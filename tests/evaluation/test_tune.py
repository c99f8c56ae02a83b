from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import gymnasium
import numpy as np
import pytest
from numpy.typing import NDArray

from benchmarks.promise import ERRORS, HORIZON, LENGTH, N_ACTIONS, Planned, Toy
from phr.acting.commitment import ConfidentCommitment, FixedCommitment, resolve_commitment
from phr.actions import Continuous, Discrete
from phr.envs.vector import VectorSplit
from phr.errors import IncompatibleModelError, SettingError
from phr.evaluation.episodes import make_vector
from phr.evaluation.tune import RandomPlanner, TuneSettings, Tuning, tune_planner
from phr.plan import CategoricalPlan, Planner

gymnasium.register("TestFollow-v0", "benchmarks.promise:Follow")
gymnasium.register("TestNoisyFollow-v0", "benchmarks.promise:Follow", kwargs={"noise": 0.05})
TOY = Toy("bounded", "TestFollow-v0", 0.9, 1.0, 0.0)
RIGHT = ERRORS[:1]


@pytest.fixture
def vector() -> Iterator[VectorSplit]:
    with make_vector("TestFollow-v0", 32) as opened:
        yield opened


def tune(student: Planner, teacher: Planner, vector: VectorSplit, **settings: Any) -> Tuning:
    known = {"retain": 0.9, "calibration": 50, "max_episodes": 600, "return_range": (0.0, 1.0), **settings}
    return tune_planner(student, teacher, vector, TuneSettings(**known), model="student", teacher_name="teacher")


def test_the_chosen_rule_keeps_what_was_asked_for_and_looks_seldom(vector: VectorSplit) -> None:
    found = tune(Planned(ERRORS, 0), Planned(RIGHT, 0), vector)
    assert found.choice is not None
    n = found.choice.commitment
    assert isinstance(n, int)
    assert TOY.share(n) >= 0.9
    assert n >= 4
    assert found.choice.looks_per_step == pytest.approx(np.ceil(LENGTH / n) / LENGTH)
    assert found.choice.certified_share >= 0.9
    assert found.verdict.startswith("certified: ≥ 90 % of the teacher's return with 95 % confidence")
    assert (found.zero, found.teacher_return) == (0.0, 1.0)


def test_every_row_states_what_its_episodes_show(vector: VectorSplit) -> None:
    found = tune(Planned(ERRORS, 0), Planned(RIGHT, 0), vector)
    fixed = [each for each in found.candidates if isinstance(each.commitment, int)]
    assert [each.commitment for each in fixed] == [1, 2, 3, 4, 5, 6, 7, 8]
    for each in fixed:
        n = each.commitment
        assert isinstance(n, int)
        spread = 4 * np.sqrt(0.25 / (LENGTH * each.episodes))
        assert each.share == pytest.approx(TOY.share(n), abs=spread)
        assert each.share == pytest.approx(each.return_mean)  # the teacher's return is 1, zero is 0
        assert each.certified_share <= each.share
    limits = [each for each in found.candidates if isinstance(each.commitment, dict)]
    assert {each.looks_per_step for each in limits} == {2 / LENGTH}, "plans that are sure of everything run to their end"


def test_it_is_repeatable(vector: VectorSplit) -> None:
    one, two = (tune(Planned(ERRORS, 0), Planned(RIGHT, 0), vector).candidates for _ in range(2))
    assert [replace(each, time_saved=None) for each in one] == [replace(each, time_saved=None) for each in two]


def test_a_student_as_good_as_its_teacher_executes_whole_plans(vector: VectorSplit) -> None:
    found = tune(Planned((0.0,) * HORIZON, 0), Planned(RIGHT, 0), vector)
    assert found.choice is not None
    assert found.choice.commitment == HORIZON
    assert found.choice.share == 1.0


def test_a_student_that_is_right_only_at_once_looks_at_every_step(vector: VectorSplit) -> None:
    found = tune(Planned((0.0, *[0.9] * (HORIZON - 1)), 0), Planned(RIGHT, 0), vector)
    assert found.choice is not None
    assert found.choice.commitment == 1
    assert "only n = 1 qualifies" in found.verdict


def test_a_student_that_is_never_good_enough_is_not_certified(vector: VectorSplit) -> None:
    found = tune(Planned((0.3,) * HORIZON, 0), Planned(RIGHT, 0), vector)
    assert found.choice is None
    assert found.verdict.startswith("not certified: ≥ 90 % of the teacher's return")
    assert "no rule kept so much, so the teacher has to look at every step" in found.verdict
    tested = [each for each in found.candidates if each.is_tested]
    assert len(tested) == 1
    assert 0.5 < tested[0].certified_share < 0.7
    assert tested[0].episodes < 600, "it is given up early"


def test_episodes_that_run_out_leave_the_share_that_is_certain(vector: VectorSplit) -> None:
    found = tune(Planned((0.0,) * HORIZON, 0), Planned(RIGHT, 0), vector, retain=0.99, max_episodes=64)
    assert found.choice is None
    assert "--retain asks for less, --max-episodes allows more episodes" in found.verdict
    tested = next(each for each in found.candidates if each.is_tested)
    assert tested.episodes == 64
    # log(1 / δ) + log(1 / 0.4) nats at the largest stake: what 64 perfect episodes can show.
    assert 0.92 < tested.certified_share < 0.95


def test_returns_that_can_be_negative_count_from_a_random_policy() -> None:
    with make_vector("TestNoisyFollow-v0", 32) as vector:
        found = tune(Planned(ERRORS, 0), Planned(RIGHT, 0), vector, retain=0.85, return_range=None)
    assert found.zero == pytest.approx(-0.5, abs=0.2)
    assert "random policy" in found.zero_is
    assert not found.is_bounded
    assert "the worst and best seen" in str(found)
    for each in found.candidates:
        if isinstance(each.commitment, int):
            share = 1 - (1 - TOY.share(each.commitment)) * 2 / 1.5
            assert each.share == pytest.approx(share, abs=0.1)


def test_zero_can_be_stated() -> None:
    with make_vector("TestNoisyFollow-v0", 32) as vector:
        found = tune(Planned(ERRORS, 0), Planned(RIGHT, 0), vector, retain=0.85, return_range=None, zero=-1.0)
    assert (found.zero, found.zero_is) == (-1.0, "as asked")


def test_a_teacher_that_acts_at_random_is_refused(vector: VectorSplit) -> None:
    blind = RandomPlanner(Discrete(N_ACTIONS), np.random.default_rng(0))
    with pytest.raises(IncompatibleModelError, match="a random policy .* there is nothing to keep"):
        tune(Planned(ERRORS, 0), blind, vector)


def test_a_zero_above_the_teacher_is_refused(vector: VectorSplit) -> None:
    with pytest.raises(IncompatibleModelError, match="not more than zero=2"):
        tune(Planned(ERRORS, 0), Planned(RIGHT, 0), vector, zero=2.0)


def test_a_return_outside_the_stated_range_is_refused(vector: VectorSplit) -> None:
    with pytest.raises(SettingError, match="return_range is 0:0.5, but an episode of TestFollow-v0 returned 1"):
        tune(Planned(ERRORS, 0), Planned(RIGHT, 0), vector, return_range=(0.0, 0.5))


def test_a_teacher_of_other_actions_is_refused(vector: VectorSplit) -> None:
    other = Planned(RIGHT, 0)
    other.action_space = Discrete(3)
    with pytest.raises(IncompatibleModelError, match="teacher has 3 actions"):
        tune(Planned(ERRORS, 0), other, vector)


class Unsure(Planned):
    """Plans without confidences."""

    def plan(self, obs: NDArray[Any]) -> CategoricalPlan:
        plan = super().plan(obs)

        class Mute(CategoricalPlan):
            def confidence(self) -> Any:
                raise SettingError("this plan does not know how sure it is")

        return Mute(plan.outputs)


def test_plans_without_confidences_are_tried_at_fixed_numbers_only(vector: VectorSplit) -> None:
    found = tune(Unsure(ERRORS, 0), Planned(RIGHT, 0), vector)
    assert all(isinstance(each.commitment, int) for each in found.candidates)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"retain": 0.0}, "retain must be a number above 0 and at most 1, got 0.0"),
        ({"retain": 1.01}, "retain must be"),
        ({"retain": float("nan")}, "retain must be"),
        ({"retain": "much"}, "retain must be"),
        ({"retain": True}, "retain must be"),
        ({"confidence": 1.0}, "confidence must be a number between 0 and 1, got 1.0"),
        ({"confidence": 0.0}, "confidence must be"),
        ({"max_episodes": 0}, "max_episodes must be >= 1"),
        ({"calibration": 10}, "calibration must be >= 25"),
        ({"zero": float("inf")}, "zero must be a finite number"),
        ({"return_range": (1.0, 1.0)}, "return_range needs two finite numbers, low < high"),
        ({"return_range": (0.0, float("inf"))}, "return_range needs two finite numbers"),
        ({"seed": -1}, "seed must be >= 0"),
    ],
)
def test_settings_out_of_range_are_refused(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(SettingError, match=said):
        TuneSettings(**settings)


def test_random_actions_stay_in_their_range_and_differ() -> None:
    space = Continuous((-1.0,), (2.0,), (1,))
    planner = RandomPlanner(space, np.random.default_rng(0))
    actions = planner.plan(np.zeros((500, 3), np.float32)).mode()
    assert actions.shape == (500, 1, 1)
    assert actions.min() >= -1
    assert actions.max() <= 2
    assert actions.std() == pytest.approx(3 / np.sqrt(12), rel=0.1)


def test_a_manifests_threshold_is_a_rule() -> None:
    assert resolve_commitment({"threshold": 0.7}, 4) == ConfidentCommitment(0.7)
    assert ConfidentCommitment(0.7).to_json() == {"threshold": 0.7}
    assert FixedCommitment(3).to_json() == 3
    for wrong in ({}, {"threshold": 2.0}, {"limit": 0.5}, {"threshold": 0.5, "n": 2}):
        with pytest.raises(SettingError):
            resolve_commitment(wrong, 4)
