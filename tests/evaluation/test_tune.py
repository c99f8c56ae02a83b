from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
from numpy.typing import NDArray

from benchmarks.promise import ERRORS, HORIZON, LENGTH, N_ACTIONS, Follow, Planned, Toy
from phr.acting.agent import HorizonAgent
from phr.acting.commitment import ConfidentCommitment, FixedCommitment, resolve_commitment
from phr.actions import Continuous, Discrete
from phr.envs.vector import Start, VectorSplit
from phr.errors import IncompatibleModelError, SettingError
from phr.evaluation.baselines import Baseline, GreedyRepeat, play_repeats
from phr.evaluation.episodes import make_vector, play_episodes
from phr.evaluation.tune import (
    Prospect,
    RandomPlanner,
    TeacherReturns,
    TuneSettings,
    _coarse_first,
    _look_seconds,
    _Rule,
    _rules,
    _Scale,
    measure_curve,
    tune_planner,
)
from phr.evaluation.tuning import Tuning
from phr.plan import CategoricalPlan, Planner
from phr.seeding import Streams
from phr_studies.report.tuning import tuning_figure
from tests.helpers import RIGHT as EAST
from tests.helpers import TablePlanner
from tests.trained import CORRIDOR

gymnasium.register("TestFollow-v0", "benchmarks.promise:Follow")
gymnasium.register("TestNoisyFollow-v0", "benchmarks.promise:Follow", kwargs={"noise": 0.05})
gymnasium.register("TestBreaker-v0", "tests.evaluation.test_tune:Breaker")
gymnasium.register("TestStrict-v0", "tests.evaluation.test_tune:Strict")
gymnasium.register("TestRare-v0", "tests.evaluation.test_tune:Rare")
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
    assert found.verdict.endswith(f", {found.choice.episodes} fresh episodes")
    assert replace(found, fresh_episodes=999_999).verdict == found.verdict, "they are those of the certified rule"
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
        assert each.share is not None
        assert each.certified_share <= each.share
    limits = [each for each in found.candidates if isinstance(each.commitment, dict)]
    assert {each.looks_per_step for each in limits} == {2 / LENGTH}, "plans that are sure of everything run to their end"


def timed_as(monkeypatch: pytest.MonkeyPatch, limit: float) -> None:
    times = {"fixed n": 2e-5, "confidence limit": limit, "teacher": 2e-5}
    monkeypatch.setattr(
        "phr.evaluation.tune._look_seconds", lambda agents, *_: {name: times.get(name, 2e-5) for name in agents}
    )


def test_it_is_repeatable_where_times_are(vector: VectorSplit, monkeypatch: pytest.MonkeyPatch) -> None:
    timed_as(monkeypatch, 3e-5)
    one, two = (tune(Planned(ERRORS, 0), Planned(RIGHT, 0), vector).candidates for _ in range(2))
    assert [replace(each, time_saved=None) for each in one] == [replace(each, time_saved=None) for each in two]


def test_a_limit_never_counts_as_cheaper_than_a_fixed_number(vector: VectorSplit, monkeypatch: pytest.MonkeyPatch) -> None:
    timed_as(monkeypatch, 1e-5)
    prospect = judged(Planned((0.0,) * HORIZON, 0), vector)
    assert prospect.look_seconds == {"fixed n": 2e-5, "confidence limit": 2e-5, "teacher": 2e-5}
    found = prospect.certify(vector)
    assert found.choice is not None
    assert found.choice.commitment == HORIZON, "limits look as seldom here, because the student is sure of everything"


def test_a_student_as_good_as_its_teacher_executes_whole_plans(vector: VectorSplit) -> None:
    found = tune(Planned((0.0,) * HORIZON, 0), Planned(RIGHT, 0), vector)
    assert found.choice is not None
    assert found.choice.commitment == HORIZON
    assert found.choice.share == 1.0


@pytest.mark.parametrize(("retain", "played"), [(0.995, 600), (0.99, 300), (0.5, 25), (1.0, 25)])
def test_a_higher_share_plays_a_longer_calibration(retain: float, played: int) -> None:
    assert TuneSettings(retain=retain, calibration=25).n_calibration == played
    assert TuneSettings(retain=retain, calibration=25, max_episodes=30).n_calibration == min(played, 30)


@pytest.mark.parametrize("retain", [0.995, 0.9975])
def test_whole_plans_without_a_loss_are_tested_whatever_the_share(vector: VectorSplit, retain: float) -> None:
    words: dict[str, Any] = {"retain": retain, "calibration": 25, "max_episodes": 2000}
    student = Planned((0.0,) * HORIZON, 0)
    assert judged(student, vector, **words).keeps_whole_plans
    found = tune(student, Planned(RIGHT, 0), vector, **words)
    assert found.choice is not None
    assert found.choice.looks_per_step == pytest.approx(2 / LENGTH)


def test_a_student_that_is_right_only_at_once_looks_at_every_step(vector: VectorSplit) -> None:
    found = tune(Planned((0.0, *[0.9] * (HORIZON - 1)), 0), Planned(RIGHT, 0), vector)
    assert found.choice is not None
    assert found.choice.commitment == 1
    assert "only n = 1 qualifies" in found.verdict


def test_a_student_that_is_never_good_enough_is_not_certified(vector: VectorSplit) -> None:
    found = tune(Planned((0.3,) * HORIZON, 0), Planned(RIGHT, 0), vector)
    assert found.choice is None
    assert found.verdict.startswith("not certified: ≥ 90 % of the teacher's return")
    assert "no rule of this student kept so much" in found.verdict
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
    assert "of the teacher's return above zero = -1 with 95 % confidence" in found.verdict


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


class Fading(Planned):
    """Right as long as it is calibrated, then only at once."""

    def fade(self) -> None:
        self.errors = (0.0, *[0.9] * (HORIZON - 1))


def judged(student: Planner, vector: VectorSplit, **settings: Any) -> Prospect:
    known = {"retain": 0.9, "calibration": 50, "max_episodes": 600, "return_range": (0.0, 1.0), **settings}
    return TeacherReturns(Planned(RIGHT, 0), "teacher", vector, TuneSettings(**known)).judge(student, "student", vector)


def test_where_the_cheapest_rule_fails_the_others_are_tested_from_the_safest(vector: VectorSplit) -> None:
    student = Fading((0.0,) * HORIZON, 0)
    prospect = judged(student, vector)
    to_test = prospect.to_test()
    assert to_test[0].commitment == FixedCommitment(1)
    assert len(to_test) == 4
    assert [rule.looks for rule in to_test] == sorted((rule.looks for rule in to_test), reverse=True)
    student.fade()
    found = prospect.certify(vector)
    assert found.choice is not None
    assert found.choice.commitment == 1
    assert sum(each.is_tested for each in found.candidates) == 3, "the cheapest, the safest, and one that fails, too"
    assert f"n = 1 is all that could be certified in {found.fresh_episodes} episodes: " in found.verdict
    assert "only" not in found.verdict


def test_a_rule_that_lost_more_than_a_cheaper_one_is_not_tested(vector: VectorSplit) -> None:
    prospect = judged(Planned((0.0,) * HORIZON, 0), vector, max_episodes=2000)
    boldest, *others = sorted(prospect.rules, key=lambda rule: rule.looks)
    for rule in others[:-1]:
        rule.calibrated[:2, 0] = 0.0
    assert all(rule in prospect.promising() for rule in (boldest, others[0], others[-1]))
    assert prospect.to_test() == [others[-1], boldest]


class Varied(Planned):
    """Right in whole plans where 0 or 1 is shown, else in the first half, and sure of just these actions."""

    def __init__(self) -> None:
        super().__init__((0.0,) * HORIZON, 0)
        self.n_confidences = 0

    def plan(self, obs: NDArray[Any]) -> CategoricalPlan:
        outputs = super().plan(obs).outputs.copy()
        late = outputs[np.asarray(obs)[:, 0] >= 2, HORIZON // 2 :]
        outputs[np.asarray(obs)[:, 0] >= 2, HORIZON // 2 :] = np.roll(late, 1, axis=-1) / 300
        counter = self

        class Counted(CategoricalPlan):
            def confidence(self) -> Any:
                counter.n_confidences += 1
                return super().confidence()

        return Counted(outputs)


@pytest.mark.parametrize(("seconds", "is_fixed"), [(1e-5, False), (1e-4, True)])
def test_rules_are_chosen_by_their_policy_time(vector: VectorSplit, seconds: float, is_fixed: bool) -> None:
    times = {"fixed n": 1e-5, "confidence limit": seconds, "teacher": 2e-5}
    prospect = replace(judged(Varied(), vector, max_episodes=100), look_seconds=times)
    found = prospect.certify(vector)
    assert found.choice is not None
    assert isinstance(found.choice.commitment, int) is is_fixed
    for each in found.candidates:
        mine = times["fixed n" if isinstance(each.commitment, int) else "confidence limit"]
        assert each.time_saved == pytest.approx(2e-5 / (each.looks_per_step * mine))


def test_no_rule_is_tested_that_costs_more_and_looks_less(vector: VectorSplit) -> None:
    times = {"fixed n": 1e-5, "confidence limit": 1e-4, "teacher": 2e-5}
    to_test = replace(judged(Varied(), vector), look_seconds=times).to_test()
    assert all(isinstance(rule.commitment, FixedCommitment) for rule in to_test)


def test_an_agents_whole_decision_is_timed(vector: VectorSplit) -> None:
    student = Varied()
    agents = {"fixed n": HorizonAgent(student, 1), "confidence limit": HorizonAgent(student, ConfidentCommitment())}
    taken = _look_seconds(agents, vector, 0)
    assert taken.keys() == agents.keys()
    assert student.n_confidences == agents["confidence limit"].evaluations > 3
    assert judged(student, vector).look_seconds.keys() == {"fixed n", "confidence limit", "teacher"}


def test_a_rule_that_is_slower_than_the_teacher_is_named_so(vector: VectorSplit) -> None:
    prospect = judged(Planned((0.0,), 0), vector)
    times = {"fixed n": 3e-5, "teacher": 2e-5}
    found = replace(prospect, look_seconds=times).certify(vector)
    assert "slower than the teacher: 1.5 × its policy time" in found.verdict


def test_a_full_share_of_equal_returns_is_given_up_at_once(vector: VectorSplit) -> None:
    found = tune(Planned((0.0,) * HORIZON, 0), Planned(RIGHT, 0), vector, retain=1.0)
    assert found.choice is None
    assert found.fresh_episodes == 32
    assert "episodes prove this only of a student that collects more than its teacher" in found.verdict
    assert "--max-episodes" not in found.verdict


def test_a_full_share_of_a_better_student_is_certified(vector: VectorSplit) -> None:
    found = tune(Planned(RIGHT, 0), Planned((0.2,), 0), vector, retain=1.0)
    assert found.choice is not None
    assert found.choice.certified_share >= 1


@pytest.mark.parametrize("retain", [0.9925, 0.98765])
def test_the_certified_share_is_never_below_what_is_certified(vector: VectorSplit, retain: float) -> None:
    found = tune(Planned((0.0,) * HORIZON, 0), Planned(RIGHT, 0), vector, retain=retain)
    assert found.choice is not None
    assert found.choice.certified_share >= retain
    assert f"≥ {100 * retain:g} % of" in found.verdict


def test_a_named_policy_is_no_action_repeat_whatever_its_name(vector: VectorSplit) -> None:
    words: dict[str, Any] = {"repeat": False, "baseline": ("action repeat 1", Planned(RIGHT, 3))}
    settings = TuneSettings(retain=0.9, calibration=25, max_episodes=25)
    found = tune_planner(Planned(RIGHT, 0), Planned(RIGHT, 0), vector, settings, model="m", teacher_name="t", **words)
    assert [each.is_repeat for each in found.baselines] == [False]
    words["baseline_is_timed"] = False
    found = tune_planner(Planned(RIGHT, 0), Planned(RIGHT, 0), vector, settings, model="m", teacher_name="t", **words)
    assert found.baselines[0].time_saved is None


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
        ({"confidence": 1.0}, "confidence must be a number above 0.5 and below 1, got 1.0"),
        ({"confidence": 0.5}, "confidence must be a number above 0.5 and below 1, got 0.5"),
        ({"confidence": 0.0}, "confidence must be"),
        ({"max_episodes": 0}, "max_episodes must be >= 1"),
        ({"calibration": 10}, "calibration must be >= 25"),
        ({"zero": float("inf")}, "zero must be a finite number"),
        ({"return_range": (1.0, 1.0)}, "return_range must be two finite numbers, low < high, got \\(1.0, 1.0\\)"),
        ({"return_range": (0.0, float("inf"))}, "return_range must be two finite numbers"),
        ({"return_range": (0,)}, "return_range must be two finite numbers, low < high, got \\(0,\\)"),
        ({"return_range": ("a", "b")}, "return_range must be two finite numbers, low < high, got 'a'"),
        ({"return_range": 1.0}, "return_range must be two finite numbers, low < high, got 1.0"),
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


def by_hand(seed: int, n: int) -> tuple[float, int, int]:
    """Return, steps and looks of the right action repeated n times, without any of phr's loops."""
    env = gymnasium.make("TestFollow-v0")
    shown, _ = env.reset(seed=seed)
    total, steps, looks, ended = 0.0, 0, 0, False
    while not ended:
        looks, action = looks + 1, np.int64(shown[0])
        for _ in range(n):
            shown, reward, ended, _, _ = env.step(action)
            total, steps = total + float(reward), steps + 1
            if ended:
                break
    env.close()
    return total, steps, looks


@pytest.mark.parametrize("retain", [0.9, 0.01])
def test_action_repeat_is_a_loop_by_hand_from_the_calibrations_starts(vector: VectorSplit, retain: float) -> None:
    found = tune(Planned(ERRORS, 0), Planned(RIGHT, 0), vector, retain=retain)
    assert [each.n for each in found.baselines] == [1, 2, 3, 4, 5, 6, 7, 8]
    for each in found.baselines:
        # One right action in n, and the others by chance: without hope of .9 after 25 episodes.
        assert each.episodes == (25 if retain == 0.9 and each.n > 1 else 50)
        starts = [Streams(0).integer("tune-calibration", index) for index in range(each.episodes)]
        returns, steps, looks = np.array([by_hand(start, each.n) for start in starts]).T
        assert each.return_mean == pytest.approx(returns.mean(), abs=1e-6)
        assert each.share == pytest.approx(returns.mean(), abs=1e-6)
        assert each.looks_per_episode == looks.mean()
        assert each.looks_per_step == looks.sum() / steps.sum()
        assert each.time_saved == 1 / each.looks_per_step
    best = found.best_repeat
    assert best is not None
    assert best.n == (1 if retain == 0.9 else 8)


def test_nothing_of_the_certificate_depends_on_baselines(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where rewards are disturbed by noise that no seed repeats, and policies draw from generators of their own."""
    timed_as(monkeypatch, 3e-5)
    found = []
    for words in ({}, {"repeat": False}, {"repeat": False, "baseline": ("small", Planned((0.2,), 5))}):
        Follow.n_made = 0
        with make_vector("TestNoisyFollow-v0", 32) as vector:
            settings = TuneSettings(retain=0.85, calibration=50, max_episodes=300)
            names: dict[str, Any] = {"model": "student", "teacher_name": "teacher", "is_timed": False}
            student, teacher = Planned(ERRORS, 0), Planned((0.02,), 1)
            found.append(tune_planner(student, teacher, vector, settings, **names, **words))
    first, *others = found
    assert [len(each.baselines) for each in found] == [8, 0, 1]
    assert first.choice is not None
    for other in others:
        assert replace(other, baselines=(), repeat_fas=None) == replace(first, baselines=(), repeat_fas=None)
        assert other.verdict == first.verdict
        assert other.evidence() == first.evidence()


def test_where_repeating_is_right_it_looks_as_seldom_as_the_student() -> None:
    plans = TablePlanner.of_actions([[EAST] * 4] * 5, 2)
    with make_vector(CORRIDOR, 8) as vector:
        found = tune(plans, TablePlanner.of_actions([[EAST]] * 5, 2), vector, calibration=25, max_episodes=100)
    best = found.best_repeat
    assert best is not None
    assert (best.n, best.share, best.looks_per_episode, best.time_saved) == (4, 1.0, 1.0, 4.0)
    assert "best action repeat that keeps 90 %: n = 4, 4.0 × fewer looks" in str(found)
    assert (found.fas, found.repeat_fas, found.fas_lengths) == (1.0, 1.0, (1, 4))


def test_the_frequency_averaged_score_and_the_budgets_by_hand(vector: VectorSplit) -> None:
    found = tune(Planned((0.0,) * HORIZON, 0), Planned(RIGHT, 0), vector)
    assert (found.fas, found.fas_lengths) == (1.0, (1, 4, 8))
    starts = [Start(Streams(0).integer("tune-calibration", index)) for index in range(50)]
    blind = RandomPlanner(Discrete(N_ACTIONS), Streams(0).rng("tune-random"))
    zero = play_episodes(blind, vector, starts).returns.mean()
    repeated = [each.return_mean for each in found.baselines if each.n in (1, 4, 8)]
    assert found.repeat_fas == pytest.approx(np.mean([(each - zero) / (1 - zero) for each in repeated]))
    assert [(each.looks, each.rule, each.share) for each in found.budgets] == [
        (2, "n = 8", 1.0), (4, "n = 8", 1.0), (8, "n = 8", 1.0), (16, "n = 8", 1.0),
    ]  # fmt: skip
    for budget in found.budgets:
        within = [each for each in found.baselines if each.looks_per_episode <= budget.looks]
        assert budget.repeat_share == max(each.share for each in within if each.share is not None)
    assert found.budgets[-1].repeat == "action repeat 1"


def test_a_small_network_is_a_row_that_looks_at_every_step(vector: VectorSplit) -> None:
    settings = TuneSettings(retain=0.9, calibration=50, max_episodes=100)
    small = ("runs/small", Planned((0.1, 0.9), 3))
    found = tune_planner(
        Planned(ERRORS, 0), Planned(RIGHT, 0), vector, settings, model="m", teacher_name="t", baseline=small
    )
    row = found.baselines[-1]
    assert (row.name, row.is_repeat, row.looks_per_step, row.episodes) == ("runs/small", False, 1.0, 50)
    assert row.share == pytest.approx(0.9, abs=0.05)
    assert row.time_saved is not None
    assert "runs/small" in str(found)
    assert found.best_repeat is not None


def test_a_small_network_of_other_actions_is_refused(vector: VectorSplit) -> None:
    other = Planned(RIGHT, 0)
    other.action_space = Discrete(3)
    with pytest.raises(IncompatibleModelError, match="runs/small has 3 actions"):
        tune_planner(
            Planned(ERRORS, 0), Planned(RIGHT, 0), vector, TuneSettings(), model="m", teacher_name="t",
            baseline=("runs/small", other),
        )  # fmt: skip


class Breaker(Follow):
    """Raises where an action is repeated nine times."""

    def step(self, action: np.int64) -> Any:
        self._row = [*getattr(self, "_row", []), int(action)][-9:]
        if len(self._row) == 9 and len(set(self._row)) == 1:
            self._row = []
            raise RuntimeError("breaker tripped")
        return super().step(action)


class Late(Planned):
    """Raises after five looks."""

    def plan(self, obs: NDArray[Any]) -> CategoricalPlan:
        self.n_looks = getattr(self, "n_looks", 0) + 1
        if self.n_looks > 5:
            raise RuntimeError("licence expired")
        return super().plan(obs)


def test_baselines_that_cannot_be_played_leave_the_certificate() -> None:
    with make_vector("TestBreaker-v0", 8) as vector:
        found = judged(Planned((0.0,) * HORIZON, 0), vector).certify(vector, repeat=True, baseline=("late", Late(RIGHT, 0)))
    assert found.choice is not None
    assert found.choice.commitment == HORIZON
    assert (found.baselines, found.repeat_fas) == ((), None)
    repeat, named = found.warnings
    assert repeat.startswith("action repeat could not be played: ")
    assert "breaker tripped" in repeat
    assert named.startswith("the baseline late could not be played: ")
    assert str(found).splitlines()[-1] == f"warning: {named}"


class Rare(Follow):
    """Pays, or not."""

    pays = True

    def step(self, action: np.int64) -> Any:
        obs, reward, *rest = super().step(action)
        return obs, reward * Rare.pays, *rest


def test_a_share_of_nothing_is_unknown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with make_vector("TestRare-v0", 8) as vector:
        prospect = judged(Planned((0.0,) * HORIZON, 0), vector, max_episodes=25)
        monkeypatch.setattr(Rare, "pays", False)
        found = prospect.certify(vector, repeat=True)
    (tested,) = (each for each in found.candidates if each.is_tested)
    assert tested.share is None
    assert found.choice is None
    assert "unknown" in next(line for line in str(found).splitlines() if line.endswith("tested"))
    assert json.loads(json.dumps(found.to_json(), allow_nan=False))["fresh_episodes"] == 25
    assert tuning_figure(found, tmp_path / "rare.png").stat().st_size > 10_000


class Strict(Follow):
    """Raises at a wrong action."""

    def step(self, action: np.int64) -> Any:
        if int(action) != self._shown[self._at]:
            raise ValueError("illegal action")
        return super().step(action)


def test_refused_actions_of_the_random_policy_end_its_episodes() -> None:
    steps: list[str] = []
    with make_vector("TestStrict-v0", 8) as vector:
        settings = TuneSettings(retain=0.9, calibration=25, max_episodes=100)
        found = tune_planner(
            Planned((0.0,) * HORIZON, 0), Planned(RIGHT, 0), vector, settings, model="m", teacher_name="t", repeat=False,
            on_progress=lambda progress: steps.append(progress.stage),
        )  # fmt: skip
        curve = measure_curve(Planned(RIGHT, 0), Planned(RIGHT, 0), vector, episodes=10)
    assert found.choice is not None
    (line,) = found.warnings
    assert line.startswith("30 episodes of the random policy were abandoned, because the environment refused an action (")
    assert steps[:2] == ["calibrating, 30 episodes of the teacher", "calibrating, 30 episodes of a random policy"]
    assert curve.shares == {1: 1.0}


def test_a_teacher_without_a_name_is_called_the_teacher(vector: VectorSplit) -> None:
    with pytest.raises(IncompatibleModelError, match="^the teacher collects "):
        TeacherReturns(RandomPlanner(Discrete(N_ACTIONS), np.random.default_rng(0)), "teacher", vector, TuneSettings())


def test_repeating_needs_no_logits() -> None:
    class Bare:
        horizon, n_actions = 2, 3

        def plan(self, obs: NDArray[Any]) -> Any:
            class Plan:
                batch_size, horizon = len(obs), 2

                def mode(self) -> Any:
                    return np.array([[2, 0]] * len(obs))

                def sample(self, rng: np.random.Generator) -> Any:
                    raise NotImplementedError

                confidence = sample

            return Plan()

    assert GreedyRepeat(Bare(), 3).plan(np.zeros((2, 1))).mode().tolist() == [[2, 2, 2]] * 2


def test_repeats_without_hope_play_no_more() -> None:
    asked: list[tuple[str, int]] = []

    def play(name: str, _planner: Planner, n: int, count: int) -> Any:
        asked.append((name, count))
        return np.full((count, 3), float(n))

    plans = TablePlanner.of_actions([[0]], 2)
    played = play_repeats(plans, (1, 2, 3), play, (25, 100), lambda mine: bool(mine.mean() < 3))
    assert {n: len(each) for n, each in played.items()} == {1: 100, 2: 100, 3: 25}
    assert asked == [("teacher", 25), ("teacher", 100), ("repeat 2", 25), ("repeat 2", 100), ("repeat 3", 25)]
    hurried = play_repeats(plans, (8, 4, 2), play, (25, 100), lambda _mine: True, until=0.0)
    assert {n: len(each) for n, each in hurried.items()} == {8: 100}, "the first in any case"


def test_an_action_repeat_that_needs_no_student_is_named(vector: VectorSplit) -> None:
    """Noise that no action changes: the repeated action keeps everything, too."""
    found = judged(Planned((0.0,) * HORIZON, 0), vector).certify(vector)
    [choice, best] = [found.choice, found.best_repeat]
    assert choice is not None
    is_beaten = best is not None and best.n > 1 and best.looks_per_step <= 1.05 * choice.looks_per_step
    assert [line.startswith("without any student, the teacher's action repeated") for line in found.simpler] == [
        True
    ] * is_beaten
    assert set(found.simpler) <= set(found.warnings)
    rare = replace(found, baselines=tuple(replace(each, share=0.5) for each in found.baselines))
    assert not rare.simpler
    alike = Baseline(
        name="action repeat 8", n=8, is_repeat=True, looks_per_step=choice.looks_per_step, looks_per_episode=1.0,
        return_mean=1.0, share=0.995, episodes=50, time_saved=8.0,
    )  # fmt: skip
    [line] = replace(found, baselines=(alike,)).simpler
    assert line.startswith("without any student, the teacher's action repeated 8 times kept 99.5 % as observed in 50 epi")
    assert not replace(found, baselines=(replace(alike, share=0.5),)).simpler
    assert not replace(found, baselines=(replace(alike, looks_per_step=2 * choice.looks_per_step),)).simpler


def test_returns_outside_a_stated_range_are_found() -> None:
    returns = np.array([-1.0, 0.0, 2.0])
    assert _Scale(0.0, (0.0, 1.0), is_bounded=True).outside(returns).tolist() == [-1.0, 2.0]
    assert not len(_Scale(0.0, (0.0, 1.0), is_bounded=False).outside(returns))
    rounded = np.array([10 * float(np.float32(0.1)), 1.000001])
    assert _Scale(0.0, (0.0, 1.0), is_bounded=True).outside(rounded).tolist() == [1.000001]


def calibrated(vector: VectorSplit, **words: Any) -> TeacherReturns:
    settings = TuneSettings(retain=0.9, calibration=200, max_episodes=600, return_range=(0.0, 1.0))
    return TeacherReturns(Planned(RIGHT, 0), "teacher", vector, settings, **words)


def test_without_time_the_boldest_rule_alone_is_played_and_tested_a_little(vector: VectorSplit) -> None:
    returns = calibrated(vector, seconds=0.0)
    assert (len(returns.theirs), len(returns.blind)) == (50, 50)
    assert returns.episode_seconds == pytest.approx(LENGTH * returns.step_seconds)
    prospect = returns.judge(Planned(ERRORS, 0), "student", vector, seconds=0.0, max_episodes=100)
    assert [(rule.commitment, len(rule.calibrated)) for rule in prospect.rules] == [(FixedCommitment(HORIZON), 25)]
    found = prospect.certify(vector, seconds=0.0)
    (candidate,) = found.candidates
    assert (candidate.commitment, candidate.episodes, found.fresh_episodes) == (HORIZON, 32, 32), "one turn of each lane"
    assert (found.calibration_episodes, found.n_rules, found.fas_lengths) == (50, 17, (HORIZON,))
    assert "kept so much" not in found.verdict, "what was not played is unknown"


def test_without_time_a_rule_that_holds_is_still_found(vector: VectorSplit) -> None:
    prospect = calibrated(vector).judge(Planned((0.0,) * HORIZON, 0), "student", vector, seconds=0.0)
    found = prospect.certify(vector)
    assert found.choice is not None
    assert found.choice.commitment == HORIZON


def test_with_a_little_time_the_cheapest_rule_that_may_hold_is_played_most(vector: VectorSplit) -> None:
    student = Planned((0.0, 0.0, 0.0, 0.0, 0.9, 0.9, 0.9, 0.9), 0)
    ticks = iter(range(10**6))

    class Clock:
        monotonic = perf_counter = staticmethod(lambda: float(next(ticks)))

    returns = calibrated(vector)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("phr.evaluation.tune._look_seconds", lambda agents, *_: dict.fromkeys(agents, 1e-5))
        patch.setattr("phr.evaluation.tune.time", Clock)
        prospect = returns.judge(student, "student", vector, seconds=2 * 17 + 1.0)  # a look at each rule, then one of each
    full = [rule.commitment for rule in prospect.rules if len(rule.calibrated) == 200]
    assert len(prospect.rules) == 17
    assert full[0] == FixedCommitment(1), "the safest comes after it"
    assert FixedCommitment(4) in full


def test_the_cheapest_rule_has_most_of_the_error_and_the_others_the_rest(
    vector: VectorSplit, monkeypatch: pytest.MonkeyPatch
) -> None:
    deltas: list[float] = []

    def note(_differences: Any, _worst: float, delta: float, *, bounded: bool) -> int | None:
        deltas.append(delta)
        return None

    prospect = judged(Planned((0.0,) * HORIZON, 0), vector)
    assert len(prospect.to_test()) == 4
    monkeypatch.setattr("phr.evaluation.tune.certain_after", note)
    prospect.certify(vector)
    printed = {0.05}  # of the shares that each rule alone is certain of
    assert {round(each, 9) for each in deltas} - printed == {0.04, 0.01}
    assert round(deltas[0], 9) == 0.04
    deltas.clear()
    judged(Planned((0.0,), 0), vector).certify(vector)
    assert {round(each, 9) for each in deltas} == {0.05}, "a single rule has all of it"


def test_the_boldest_rules_of_each_kind_come_first_and_coarsely() -> None:
    fixed = [_Rule(FixedCommitment(n), np.zeros((0, 3))) for n in range(1, 9)]
    limits = [_Rule(ConfidentCommitment(limit), np.zeros((0, 3))) for limit in (0.1, 0.5, 0.9)]
    order = [rule.name for rule in _coarse_first([*fixed, *limits])]
    assert order == [
        "n = 8", "confidence 0.1", "n = 4", "confidence 0.9", "n = 2", "confidence 0.5", "n = 1", "n = 7", "n = 6", "n = 5",
        "n = 3",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("errors", "shorter"),
    [
        ((0.0,) * 8, None),
        ((0.0, 0.0, *[0.9] * 6), 4),
        ((0.9,) * 8, 2),
        ((0.0, *[0.9] * 7), 2),
        ((0.0,) * 4 + (0.9,) * 4, None),
        ((0.9, 0.9), None),
    ],
)
def test_a_shorter_horizon_has_twice_the_actions_that_hold_or_those_that_may(
    vector: VectorSplit, errors: tuple[float, ...], shorter: int | None
) -> None:
    assert judged(Planned(errors, 0), vector).shorter_horizon == shorter


def test_a_limit_of_a_plan_that_is_as_sure_everywhere_is_no_rule_of_its_own() -> None:
    class Steered:
        horizon, n_actions, action_space = 3, 1, Continuous((-1.0,), (1.0,), (1,))

        def __init__(self, n_outputs: int) -> None:
            self.n_outputs = n_outputs

        def plan(self, obs: NDArray[Any]) -> Any:
            outputs = np.zeros((len(obs), 3, self.n_outputs), np.float32)
            return replace(self.action_space.plan(outputs), temperature=(0.1, 0.2, 0.3))

    with make_vector("Pendulum-v1", 1) as pendulum:
        plain, spread = ([str(each) for each in _rules(Steered(n), pendulum, 0)] for n in (1, 2))
    assert plain == ["n = 1", "n = 2", "n = 3"]
    assert len(spread) == 3 + 9


def test_no_time_is_left_unused_while_rules_are_not_played(vector: VectorSplit, monkeypatch: pytest.MonkeyPatch) -> None:
    """The boldest rules have no hope, and are played first."""
    student, returns = Planned((0.0, 0.0, *[0.9] * 6), 0), calibrated(vector)
    clock, played = [0.0], returns._games.play

    def play(*args: Any, **words: Any) -> Any:
        clock[0] += 1.0
        return played(*args, **words)

    class Clock:
        perf_counter = staticmethod(lambda: clock[0])

    monkeypatch.setattr("phr.evaluation.tune._look_seconds", lambda agents, *_: dict.fromkeys(agents, 1e-5))
    monkeypatch.setattr("phr.evaluation.tune.time", Clock)
    monkeypatch.setattr(returns._games, "play", play)
    prospect = returns.judge(student, "student", vector, seconds=8.0)
    assert clock[0] == 9.0, "a rule that is begun is played to its end"
    known = {rule.commitment: len(rule.calibrated) for rule in prospect.rules}
    assert known[FixedCommitment(2)] == 200
    assert prospect.looks_per_step == 0.5
    assert prospect.shorter_horizon == 4


def test_what_a_tested_rule_is_certain_of_has_the_confidence_of_its_test(
    vector: VectorSplit, monkeypatch: pytest.MonkeyPatch
) -> None:
    student = Fading((0.0,) * HORIZON, 0)
    prospect = judged(student, vector, max_episodes=45)
    student.fade()
    one, most = (next(rule for rule in prospect.rules if rule.commitment == FixedCommitment(n)) for n in (1, HORIZON))
    monkeypatch.setattr(Prospect, "to_test", lambda _self: [one, most])
    found = prospect.certify(vector)
    assert found.choice is None
    assert [round(rule.delta or 0.0, 9) for rule in (most, one)] == [0.04, 0.01]
    certain = {each.commitment: each.certified_share for each in found.candidates if each.is_tested}
    assert all(share < 0.9 for share in certain.values()), "else the verdict would contradict itself"


def test_where_the_first_action_is_the_worst_looking_at_every_step_is_no_refuge(vector: VectorSplit) -> None:
    found = tune(Planned((0.6, *[0.1] * 7), 0), Planned(RIGHT, 0), vector)
    assert found.choice is None
    assert found.commitment == 1
    warning = next(line for line in found.warnings if line.startswith("n = 1 kept"))
    assert warning.endswith("so one action per look is not the best that this student can do")
    usual = tune(Planned((0.3, *[0.6] * 7), 0), Planned(RIGHT, 0), vector)
    assert usual.choice is None
    assert not any(line.startswith("n = 1 kept") for line in usual.warnings)


@pytest.mark.parametrize("seed", range(4))
def test_no_rule_is_certain_of_more_than_it_kept(vector: VectorSplit, seed: int) -> None:
    found = tune(Planned((0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8), seed), Planned(RIGHT, 0), vector, seed=seed, retain=0.8)
    assert all(each.certified_share <= each.share + 1e-9 for each in found.candidates if each.share is not None)


def test_the_score_of_action_repeat_is_over_the_same_numbers_or_left_out(vector: VectorSplit) -> None:
    prospect = judged(Planned((0.0,) * HORIZON, 0), vector)
    whole, hurried = prospect.certify(vector), prospect.certify(vector, repeat_seconds=0.0)
    assert whole.repeat_fas is not None
    assert (len(hurried.baselines), hurried.repeat_fas) == (1, None)
    assert hurried.fas == whole.fas
    assert "of action repeat" not in str(hurried)
