from __future__ import annotations

import pytest

from phr.envs.registry import make_env
from phr.evaluation.timed import RunOptions
from phr_studies.bench.rounds import Arena, bounded_contestant, loop_contestant, play, steps_that_take
from tests.trained import CORRIDOR, corridor_student


def arena(seconds: float = 0.01) -> Arena:
    return Arena(CORRIDOR, make_env(CORRIDOR), corridor_student(), seconds, seed=3)


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
