from __future__ import annotations

import pytest

from phr.envs.registry import make_env
from phr.evaluation.timed import RunOptions
from phr_studies.bench.models import quarter_of
from phr_studies.bench.rounds import Arena, Recorder, Understudy, bounded_contestant, loop_contestant, play, steps_that_take
from tests.helpers import TablePlanner
from tests.trained import CORRIDOR, corridor_student


def arena(seconds: float = 0.01) -> Arena:
    return Arena(CORRIDOR, make_env(CORRIDOR), corridor_student(), seconds, seed=3)


def test_an_understudy_takes_the_time_of_one_and_plays_the_plans_of_another() -> None:
    where, model = arena(), corridor_student()
    recorder = Recorder(model.planner)
    original = play(where, recorder, 2, 50, seed=5)
    lazy = TablePlanner.of_actions([[0] * 4] * 5, 2)  # never reaches the goal by itself

    copied = play(where, Understudy(lazy, recorder.plans), 2, 50, seed=5)

    assert (copied.returns, copied.lengths, copied.score) == (original.returns, original.lengths, original.score)
    assert original.score > 0
    assert len(lazy.batch_sizes) == copied.evaluations == original.evaluations


def test_a_quarter_network_has_a_quarter_of_the_units_and_the_same_plan_shape() -> None:
    model = corridor_student()
    quarter = quarter_of(model)
    assert quarter.network.config.trunk.width == model.network.config.trunk.width // 4
    assert (quarter.horizon, quarter.manifest.n_actions) == (model.horizon, model.manifest.n_actions)


def test_steps_are_chosen_to_fill_the_time() -> None:
    short, long = (steps_that_take(arena(seconds), corridor_student().planner, 4) for seconds in (1e-9, 1e9))
    assert short == 200  # as many as it takes to find out
    assert long == 1_000_000  # never more


def test_a_round_is_seeded_by_its_number_and_carries_the_bound() -> None:
    where = arena()
    contestant = bounded_contestant("n", where, corridor_student().planner, 4, seconds_per_bound=0.01)
    found = contestant.play(2)
    again = play(where, corridor_student().planner, 4, int(found["steps"]), 5, RunOptions())
    assert found["score"] == again.score
    assert found["evaluations_per_step"] == pytest.approx(again.evaluations / again.steps)
    terms = found["sim_us"] + found["reset_us"] / found["steps_per_episode"]
    terms += found["evaluations_per_step"] * (found["obs_us"] + found["policy_us"])
    assert found["bound_us"] == pytest.approx(terms)
    assert found["fraction"] == pytest.approx(terms / (1e6 * found["seconds_wall"] / found["steps"]))


def test_observing_always_acts_the_same() -> None:
    always = loop_contestant("always", arena(), corridor_student().planner, 4, observe_always=True).play(0)
    looking = play(arena(), corridor_student().planner, 4, int(always["steps"]), 3)
    assert (always["score"], always["evaluations"]) == (looking.score, looking.evaluations)
