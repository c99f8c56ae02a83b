from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from phr.actions import (
    CLOSE,
    ActionSpace,
    Continuous,
    Discrete,
    MultiDiscrete,
    action_space_from_json,
    action_space_of,
    as_space,
    one_by_one,
)
from phr.errors import InvalidDataError
from phr.plan import CategoricalPlan
from tests.helpers import TablePlanner

INF = float("inf")
BOX = Continuous((-2.0, 0.0, -INF, 3.0), (2.0, 1.0, INF, INF), (2, 2))


@st.composite
def action_spaces(draw: st.DrawFn) -> ActionSpace:
    kind = draw(st.sampled_from(["discrete", "multi", "box"]))
    sizes = st.integers(1, 5)
    if kind == "discrete":
        return Discrete(draw(sizes))
    if kind == "multi":
        return MultiDiscrete(tuple(draw(st.lists(sizes, min_size=1, max_size=4))))
    shape = tuple(draw(st.lists(st.integers(1, 3), min_size=1, max_size=2)))
    n = int(np.prod(shape))
    numbers = st.floats(-100, 100, width=32)
    low = draw(st.lists(numbers | st.just(-INF), min_size=n, max_size=n))
    high = [max(below if below > -INF else 0.0, draw(numbers | st.just(INF))) for below in low]
    return Continuous(tuple(low), tuple(high), shape)


@given(action_spaces())
def test_json_tells_a_space_whole(space: ActionSpace) -> None:
    values = json.loads(json.dumps(space.to_json(), allow_nan=False))
    assert action_space_from_json(values, space.n_outputs) == space


@given(action_spaces(), st.integers(0, 2**32))
def test_random_actions_are_of_the_space_and_certain_plans_hold_them(space: ActionSpace, seed: int) -> None:
    rng = np.random.default_rng(seed)
    actions = np.array([space.sample(rng), *space.samples(rng, 5)])
    assert actions.shape == (6, *space.shape)
    space.check(actions.astype(space.dtype))
    actions = actions.astype(space.dtype)
    plan = space.certain(actions.reshape(2, 3, *space.shape))
    assert (plan.batch_size, plan.horizon, plan.outputs.shape) == (2, 3, (2, 3, space.n_outputs))
    np.testing.assert_array_equal(plan.mode().reshape(actions.shape), actions)
    assert space.agree(actions, actions).tolist() == [True] * 6
    assert all(np.array_equal(one, two) for one, two in zip(one_by_one(actions), actions, strict=True))


def test_random_numbers_fill_the_range() -> None:
    drawn = np.stack(BOX.samples(np.random.default_rng(0), 2000)).reshape(-1, 4)
    assert drawn.dtype == np.float32
    low, high = drawn.min(0), drawn.max(0)
    np.testing.assert_allclose([low[:2], high[:2]], [[-2, 0], [2, 1]], atol=0.02)
    assert low[2] < -2.5
    assert high[2] > 2.5  # where there are no bounds, a normal distribution
    assert low[3] == 3


def test_units_are_half_the_range_where_it_ends() -> None:
    at = BOX.bounds
    assert at.unit.tolist() == [2, 0.5, 1, 1]
    assert at.center.tolist() == [0, 0.5, 0, 3]
    assert at.bounded.tolist() == [True, True, False, False]
    huge = Continuous((-3e38,), (3e38,), (1,)).bounds
    assert (huge.unit.tolist(), huge.center.tolist()) == ([1], [0])
    for half in (5e-8, 1e6, 1e30):
        at = Continuous((-half,), (half,), (1,)).bounds
        assert (at.unit.tolist(), at.bounded.tolist()) == ([float(np.float32(half))], [True])
    assert Continuous((1.0,), (1.0,), (1,)).bounds.unit.tolist() == [1]
    assert Continuous((0.0,), (1e-45,), (1,)).bounds.unit.tolist() == [1]  # half of it is no float32


def test_numbers_without_bounds_are_counted_in_what_was_recorded() -> None:
    actions = np.zeros((4, 2, 2), np.float32)
    actions[:, 0, 0] = [1, -1, 1, -1]
    actions[:, 1, 0] = 5e6 + np.array([2, -2, 2, -2])
    actions[:, 1, 1] = 7
    space = BOX.measured_on(actions)
    assert space.bounds.center.tolist() == [0, 0.5, 5e6, 7]
    assert space.bounds.unit.tolist() == [2, 0.5, 2, 7]  # one number never varied
    assert (space, hash(space)) == (BOX, hash(BOX))
    assert json.loads(json.dumps(space.to_json()))["recorded"][2] == [5e6, 2.0]
    again = action_space_from_json(json.loads(json.dumps(space.to_json())), 4)
    assert isinstance(again, Continuous)
    assert again.recorded == space.recorded
    still = BOX.measured_on(np.zeros((3, 2, 2), np.float32)).bounds
    assert still.unit.tolist() == [2, 0.5, 1, 1]
    assert still.center.tolist() == [0, 0.5, 0, 3]
    for unit in (1e-30, 1e-7, 1e6):
        small = Continuous((-INF,), (INF,), (1,)).measured_on(unit * np.array([[2.0], [4.0]], np.float32)).bounds
        np.testing.assert_allclose([small.center[0], small.unit[0]], [3 * unit, unit], rtol=1e-6)
    subnormal = Continuous((-INF,), (INF,), (1,)).measured_on(np.array([[2e-40], [4e-40]], np.float32)).bounds
    assert subnormal.unit.tolist() == [float(np.finfo(np.float32).tiny)]
    bounded = Continuous((-1.0,), (1.0,), (1,))
    assert bounded.measured_on(np.full((3, 1), 0.5)) is bounded


@given(st.sampled_from([1e-36, 1e-7, 1.0, 1e5, 1e30]), st.floats(-1, 1, width=32), st.integers(0, 100))
@example(1e-36, 1.0, 0)
@example(1e30, 1.0, 0)
def test_agreement_does_not_depend_on_units(unit: float, apart: float, seed: int) -> None:
    numbers = np.random.default_rng(seed).normal(size=(50, 1))
    other = numbers + apart
    found = []
    for factor in (1.0, unit):
        one, two = ((factor * each).astype(np.float32) for each in (numbers, other))
        found.append(Continuous((-INF,), (INF,), (1,)).measured_on(one).agree(one, two))
    clear = np.abs(np.abs(apart) - CLOSE * numbers.std()) > 1e-3
    assert not clear or (found[0] == found[1]).all()


def test_actions_agree_within_a_part_of_the_range() -> None:
    one = np.zeros((3, 2, 2), np.float32)
    two = one.copy()
    two[1, 0, 0] = 0.99 * CLOSE * 2.0
    two[2, 0, 1] = 1.01 * CLOSE * 0.5
    assert BOX.agree(one, two).tolist() == [True, True, False]
    multi = MultiDiscrete((3, 2))
    assert multi.agree(np.array([[0, 1], [2, 1]]), np.array([[0, 1], [2, 0]])).tolist() == [True, False]


def test_bounds_that_float32_does_not_hold_are_rounded_inwards() -> None:
    low, high = np.array([-0.1, 0.3]), np.array([0.1, 0.7])
    space = Continuous.between(low, high)
    assert space.shape == (2,)
    assert (np.array(space.low) >= low).all()
    assert (np.array(space.high) <= high).all()
    np.testing.assert_allclose([space.low, space.high], [low, high], rtol=1e-6)


@pytest.mark.parametrize(("low", "high"), [(0.1, 0.1), (-0.1, -0.1), (0.1, np.nextafter(0.1, 1.0)), (0.5, 0.5)])
def test_a_range_without_a_float32_is_the_nearest_one(low: float, high: float) -> None:
    space = Continuous.between(np.array([low, -1.0]), np.array([high, 1.0]))
    assert (space.low[0], space.high[0]) == (float(np.float32(low)),) * 2
    assert (space.low[1], space.high[1]) == (-1.0, 1.0)


def test_a_number_is_a_discrete_space_and_so_is_a_planner_that_says_no_more() -> None:
    assert as_space(3) == Discrete(3)
    assert as_space(BOX) is BOX
    assert action_space_of(TablePlanner(np.zeros((1, 1, 4)))) == Discrete(4)


def test_discrete_plans_are_what_they_were() -> None:
    logits = np.random.default_rng(0).normal(size=(2, 3, 4)).astype(np.float32)
    plan = Discrete(4).plan(logits)
    assert type(plan) is CategoricalPlan
    assert plan.logits is logits
    rng, same = np.random.default_rng(1), np.random.default_rng(1)
    assert Discrete(4).samples(rng, 9) == same.integers(4, size=9).tolist()
    space: ActionSpace = Discrete(4)
    assert space.to_json() is None


WRONG_ACTIONS: list[tuple[ActionSpace, Any, str]] = [
    (Discrete(2), np.array([0, 2]), "actions lie in 0..2, but there are 2"),
    (Discrete(2), np.array([0.5]), "2 actions needs whole-numbered actions"),
    (MultiDiscrete((3, 2)), np.array([[2, 2]]), r"an action lies outside of MultiDiscrete\(\[3, 2\]\)"),
    (MultiDiscrete((3, 2)), np.array([2, 1]), r"whole-numbered actions \(n, 2\), got int64 of \(2,\)"),
    (BOX, np.zeros((1, 4), np.float32), r"need float actions of shape \(2, 2\), got float32 of \(4,\)"),
    (BOX, np.zeros((1, 2, 2), np.int64), "need float actions"),
    (BOX, np.full((1, 2, 2), np.nan, np.float32), "contains NaN or Inf"),
]


@pytest.mark.parametrize(("space", "actions", "message"), WRONG_ACTIONS)
def test_other_actions_are_refused(space: ActionSpace, actions: Any, message: str) -> None:
    with pytest.raises(InvalidDataError, match=message):
        space.check(actions)


@pytest.mark.parametrize(
    "make",
    [
        lambda: Discrete(0),
        lambda: MultiDiscrete(()),
        lambda: MultiDiscrete((2, 0)),
        lambda: Continuous((0.0,), (1.0, 2.0), (2,)),
        lambda: Continuous((1.0,), (0.0,), (1,)),
        lambda: Continuous((float("nan"),), (0.0,), (1,)),
        lambda: Continuous((), (), (0,)),
    ],
)
def test_spaces_that_make_no_sense_are_refused(make: Any) -> None:
    with pytest.raises(InvalidDataError, match="at least one action|as many bounds, low <= high"):
        make()


@pytest.mark.parametrize(
    ("values", "n_outputs"),
    [
        ({"kind": "text"}, 3),
        ({"nvec": [1, 2]}, 3),
        ([], 3),
        ({"kind": "multi_discrete", "nvec": [2, 2]}, 3),
        ({"kind": "multi_discrete", "nvec": "ab"}, 3),
        ({"kind": "continuous", "low": [0], "high": [1], "shape": [1]}, 3),
        ({"kind": "continuous", "low": [0], "high": [1]}, 1),
        ({"kind": "continuous", "low": [None], "high": [None], "shape": [1], "recorded": [[0, 0]]}, 1),
        ({"kind": "continuous", "low": [None], "high": [None], "shape": [1], "recorded": [[0]]}, 1),
        ({"kind": "continuous", "low": [None], "high": [None], "shape": [1], "recorded": [0, 1]}, 1),
        ({"kind": "continuous", "low": [None], "high": [None], "shape": [1], "recorded": [[0, float("nan")]]}, 1),
    ],
)
def test_descriptions_that_were_edited_are_refused(values: Any, n_outputs: int) -> None:
    with pytest.raises(InvalidDataError, match="no action space is described by|do not go with 3 numbers a step"):
        action_space_from_json(values, n_outputs)
