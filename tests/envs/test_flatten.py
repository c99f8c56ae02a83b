"""Observations of every space: as Gymnasium flattens them, or refused."""

from __future__ import annotations

import re
from collections import OrderedDict
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces
from hypothesis import given, settings
from hypothesis import strategies as st
from minigrid.core.mission import MissionSpace
from minigrid.wrappers import FullyObsWrapper
from numpy.typing import NDArray

from phr.distil import runs
from phr.envs.flatten import mission_codes, reader_of
from phr.envs.registry import split_env
from phr.envs.split import ObservingEnv
from phr.errors import BrokenEnvironmentError, NonFiniteError, UnsupportedEnvironmentError
from tests.trained import a2c_config


class Rover(gymnasium.Env[Any, Any]):
    """Shows its cell, its battery and a picture, in a nested Dict."""

    def __init__(self, charge: float = 1.0) -> None:
        inner = spaces.Dict({"battery": spaces.Box(-1.0, 2.0, (1,), np.float64), "cell": spaces.Discrete(3, start=1)})
        self.observation_space = spaces.Dict(OrderedDict(state=inner, picture=spaces.Box(0, 9, (2, 2), np.uint8)))
        self.action_space = spaces.Discrete(2)
        self.cell, self._charge = 1, charge

    def _look(self) -> dict[str, Any]:
        state = {"cell": np.int64(self.cell), "battery": np.array([self._charge * self.cell / 4])}
        return {"picture": np.array([[self.cell, 7], [8, 9]], np.uint8), "state": state}

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        super().reset(seed=seed)
        self.cell = 1
        return self._look(), {}

    def step(self, action: Any) -> Any:
        self.cell = min(self.cell + int(action), 3)
        return self._look(), float(self.cell == 3), self.cell == 3, False, {}


class Showing(gymnasium.Env[Any, Any]):
    """Shows the same observation at every step."""

    action_space = spaces.Discrete(2)

    def __init__(self, space: spaces.Space[Any], obs: Any) -> None:
        self.observation_space, self._obs = space, obs

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        return self._obs, {}

    def step(self, action: Any) -> Any:
        return self._obs, 0.0, False, False, {}


def make_rover() -> gymnasium.Env[Any, Any]:
    """Also an environment factory, `tests.envs.test_flatten:make_rover`."""
    return gymnasium.wrappers.TimeLimit(Rover(), 20)


def test_a_dict_is_read_in_the_order_of_its_space() -> None:
    env = split_env(Rover(), "rover")
    assert isinstance(env, ObservingEnv)
    env.reset(0)
    env.advance(1)
    # state first, as in the OrderedDict: battery, then the one-hot cell (of 1, 2, 3); then the picture
    np.testing.assert_array_equal(env.observe(), np.array([0.5, 0, 1, 0, 2, 7, 8, 9]))
    assert env.observe().dtype == env.observation_space.dtype == np.float64
    assert env.observation_space.low.tolist() == [-1, 0, 0, 0, 0, 0, 0, 0]
    assert env.observation_space.high.tolist() == [2, 1, 1, 1, 9, 9, 9, 9]
    assert env.shown == (
        "rows of gymnasium.spaces.flatten, entries in the space's order: "
        "state.battery [0:1], state.cell [1:4] one-hot, picture [4:8]"
    )


def test_the_order_of_an_observation_does_not_matter() -> None:
    space = spaces.Dict(OrderedDict(b=spaces.Box(0, 1, (2,)), a=spaces.Discrete(2), c=spaces.Box(0, 1, (1, 2))))
    obs = {"c": np.array([[0.1, 0.2]]), "a": 1, "b": np.array([0.3, 0.4])}
    for given_obs in (obs, dict(sorted(obs.items()))):
        np.testing.assert_allclose(shown(space, given_obs), [0.3, 0.4, 0, 1, 0.1, 0.2], rtol=1e-6)


FLOATS = st.sampled_from([np.float16, np.float32, np.float64])
SHAPES = st.lists(st.integers(1, 3), max_size=3).map(tuple)
LEAVES = st.one_of(
    st.builds(lambda shape, dtype: spaces.Box(-1, 1, shape, dtype), SHAPES, FLOATS),
    st.builds(lambda shape: spaces.Box(-np.inf, np.inf, shape, np.float64), SHAPES),
    st.builds(
        lambda shape, dtype: spaces.Box(0, 100, shape, dtype),
        SHAPES,
        st.sampled_from([np.uint8, np.int8, np.int16, np.uint16, np.int32, np.int64]),
    ),
    st.builds(lambda n, start: spaces.Discrete(n, start=start), st.integers(1, 5), st.integers(-3, 3)),
    st.builds(lambda shape: spaces.MultiBinary(shape or 1), SHAPES),
    st.lists(st.integers(1, 4), min_size=1, max_size=4).flatmap(
        lambda nvec: st.builds(
            lambda start: spaces.MultiDiscrete(nvec, start=start),
            st.lists(st.integers(-3, 3), min_size=len(nvec), max_size=len(nvec)),
        )
    ),
    st.just(spaces.MultiDiscrete(np.array([[2, 3], [4, 1]]))),
)
NESTED = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.lists(inner, min_size=1, max_size=3).map(spaces.Tuple),
        st.lists(st.tuples(st.sampled_from("zyxab"), inner), min_size=1, max_size=3, unique_by=lambda each: each[0]).map(
            lambda entries: spaces.Dict(OrderedDict(entries))
        ),
    ),
    max_leaves=6,
)


def shown(space: spaces.Space[Any], obs: Any) -> NDArray[Any]:
    """What `ObservingEnv` shows of an observation."""
    env = ObservingEnv(Showing(space, obs), "x")
    env.reset(0)
    out = np.full(env.observation_space.shape, 99, env.observation_space.dtype)
    assert env.observe(out) is out
    np.testing.assert_array_equal(out, env.observe())
    return out


@given(space=NESTED, seed=st.integers(0, 99))
@settings(max_examples=60)
def test_it_is_gymnasiums_own_flattening(space: spaces.Space[Any], seed: int) -> None:
    space.seed(seed)
    obs = space.sample()
    flat, expected = spaces.flatten_space(space), spaces.flatten(space, obs)
    env = ObservingEnv(Showing(space, obs), "x")
    assert isinstance(flat, spaces.Box)
    assert isinstance(expected, np.ndarray)
    if isinstance(space, spaces.Discrete):  # alone, as networks have always read it
        flat, expected = spaces.Box(0, 1, flat.shape, np.float32), expected.astype(np.float32)
    if isinstance(space, spaces.Box):  # alone, it keeps its shape
        flat, expected = space, expected.reshape(space.shape)
    if not flat.shape:
        flat, expected = spaces.Box(flat.low[None], flat.high[None], dtype=flat.dtype.type), expected[None]
    assert env.observation_space == flat
    assert env.observation_space.dtype == flat.dtype
    np.testing.assert_array_equal(shown(space, obs), expected, strict=True)


@given(NESTED)
def test_the_layout_says_where_the_entries_are(space: spaces.Space[Any]) -> None:
    env = ObservingEnv(Showing(space, None), "x")
    layout = env.shown
    assert (layout is None) == isinstance(space, spaces.Box)
    if isinstance(space, spaces.Dict | spaces.Tuple):
        places = [tuple(map(int, each)) for each in re.findall(r"\[(\d+):(\d+)\]", layout or "")]
        assert [first for first, _ in places] == [0, *(end for _, end in places[:-1])]
        assert places[-1][1] == env.observation_space.shape[0]


@pytest.mark.parametrize(
    ("space", "layout"),
    [
        (spaces.Discrete(5), "one-hot rows of Discrete(5); obs.argmax(-1) returns the numbers"),
        (
            spaces.Discrete(5, start=2),
            "one-hot rows of Discrete(5); obs.argmax(-1) + 2 returns the numbers",
        ),
        (
            spaces.MultiDiscrete([2, 3]),
            "rows of gymnasium.spaces.flatten(MultiDiscrete([2 3])) (one-hot, component after component)",
        ),
        (spaces.MultiBinary(3), "rows of gymnasium.spaces.flatten(MultiBinary(3))"),
        (
            spaces.Tuple([spaces.Discrete(2), spaces.MultiBinary(3)]),
            "rows of gymnasium.spaces.flatten, entries in the space's order: 0 [0:2] one-hot, 1 [2:5]",
        ),
    ],
)
def test_what_is_shown_is_described(space: spaces.Space[Any], layout: str) -> None:
    assert ObservingEnv(Showing(space, None), "x").shown == layout


def test_float64_keeps_its_digits() -> None:
    offset = spaces.Box(-np.inf, np.inf, (2,), np.float64)
    far = np.array([5.57e6 + 1e-6, 1e15 + 0.125])
    np.testing.assert_array_equal(shown(spaces.Dict(x=offset, n=spaces.Discrete(2)), {"x": far, "n": 0}), [*far, 1, 0])
    np.testing.assert_array_equal(shown(offset, far), far)


def test_an_entry_is_rounded_to_its_own_dtype_first() -> None:
    space = spaces.Dict(a=spaces.Box(-1, 1, (1,), np.float32), b=spaces.Box(-1, 1, (1,), np.float64))
    obs = {"a": np.array([0.1]), "b": np.array([0.1])}
    np.testing.assert_array_equal(shown(space, obs), spaces.flatten(space, obs))
    assert shown(space, obs).tolist() == [float(np.float32(0.1)), 0.1]


def box(dtype: Any, shape: tuple[int, ...] = (2,)) -> spaces.Box:
    low, high = {"f": (-9, 9), "b": (0, 1)}.get(np.dtype(dtype).kind, (0, 100))
    return spaces.Box(low, high, shape, dtype)


@pytest.mark.parametrize(
    ("space", "obs", "expected"),
    [
        (box(np.float32), [1, 2], [1, 2]),  # a list of the right shape
        (box(np.float32), (0.5, np.float64(2)), [0.5, 2]),
        (box(np.float32), np.array([1, 2], np.int64), [1, 2]),
        (box(np.float32), np.array([True, False]), [1, 0]),
        (box(np.float32), np.array([1e30, -1e-30]), np.array([1e30, -1e-30], np.float32)),  # out of bounds
        (box(np.float32), np.array([1, 2], ">f4"), [1, 2]),
        (box(np.float32), torch.tensor([1.0, 2.0]), [1, 2]),
        (box(np.float32, (2, 2)), [[1, 2], [3, 4]], [[1, 2], [3, 4]]),
        (box(np.float32, ()), 0.5, [0.5]),
        (box(np.float32, ()), np.array(0.5), [0.5]),
        (box(np.float32, (1,)), np.array([0.5]), [0.5]),
        (box(np.int64), np.array([3.0, -4.0]), [3, -4]),
        (box(np.uint8), [255, 0], [255, 0]),
        (box(np.bool_), [0, 1], [False, True]),
        (spaces.Discrete(5), 4, [0, 0, 0, 0, 1]),
        (spaces.Discrete(2), np.uint8(1), [0, 1]),
        (spaces.Discrete(2, start=-1), np.array(-1), [1, 0]),
        (spaces.Discrete(2), torch.tensor(1), [0, 1]),
        (spaces.MultiDiscrete([2, 3]), [1, 2], [0, 1, 0, 0, 1]),
        (spaces.MultiDiscrete([2, 3]), np.array([1, 2], np.uint8), [0, 1, 0, 0, 1]),
        (spaces.MultiBinary(3), [True, False, True], [1, 0, 1]),
        (spaces.MultiBinary((1, 2)), np.array([[1.0, 0.0]]), [1, 0]),
        (spaces.Tuple([spaces.Discrete(2), spaces.Discrete(2)]), [1, 0], [0, 1, 1, 0]),
        (spaces.Tuple([spaces.Discrete(2), spaces.Discrete(2)]), np.array([1, 0]), [0, 1, 1, 0]),
        (spaces.Dict(a=spaces.Discrete(2)), {"a": 1, "beside": "it"}, [0, 1]),
        (spaces.Dict(a=spaces.Discrete(2)), OrderedDict(a=0), [1, 0]),
    ],
)
def test_values_that_fit_are_shown_as_they_are(space: spaces.Space[Any], obs: Any, expected: Any) -> None:
    np.testing.assert_array_equal(shown(space, obs), expected)


PAIR = spaces.Tuple([box(np.float32), spaces.Discrete(3)])


@pytest.mark.parametrize(
    ("space", "obs", "message"),
    [
        (box(np.float32), np.array([1], np.float32), r"expected float32 of shape \(2,\), got float32 of shape \(1,\)"),
        (box(np.float32), 0.5, r"expected float32 of shape \(2,\), got 0.5"),
        (box(np.float32), np.array(0.5), r"got float64 of shape \(\)"),
        (box(np.float32), [[1, 2]], r"got int64 of shape \(1, 2\)"),
        (box(np.float32), [1, 2, 3], r"got int64 of shape \(3,\)"),
        (box(np.float32), [[1], [2, 3]], "got a list of length 2"),
        (box(np.float32, (2, 2)), [1.0, 2.0], r"expected float32 of shape \(2, 2\), got float64 of shape \(2,\)"),
        (box(np.float32, (2, 2)), [[1.0], [2.0]], r"got float64 of shape \(2, 1\)"),
        (box(np.float32, (2, 1)), [1.0, 2.0], r"expected float32 of shape \(2, 1\), got float64 of shape \(2,\)"),
        (box(np.float32, ()), [0.5], r"expected float32 of shape \(\), got float64 of shape \(1,\)"),
        (box(np.float32, (1,)), 0.5, r"expected float32 of shape \(1,\), got 0.5"),
        (box(np.float32), None, "got None"),
        (box(np.float32), "ab", "got 'ab'"),
        (box(np.float32), ["1", "2"], r"got <U1 of shape \(2,\)"),
        (box(np.float32), [1, None], r"got object of shape \(2,\)"),
        (box(np.float32), np.array([1, 2j]), r"got complex128 of shape \(2,\)"),
        (box(np.float32), {"a": 1}, "got a dict of length 1"),
        (box(np.int64), [0.2, 1.0], "expected numbers that int64 can hold, got 0.2"),
        (box(np.int64), [1.0, float("nan")], "expected numbers that int64 can hold, got nan"),
        (box(np.int64), np.array([1, 2**63], np.uint64), f"expected numbers that int64 can hold, got {2**63}"),
        (box(np.uint8), [0, 300], "expected numbers that uint8 can hold, got 300"),
        (box(np.uint8), [-1, 300], "expected numbers that uint8 can hold, got -1"),
        (box(np.uint8), [0.5, 255.0], "expected numbers that uint8 can hold, got 0.5"),
        (box(np.bool_), [0, 2], "expected numbers that bool can hold, got 2"),
        (spaces.Discrete(5), -1, "expected a whole number from 0 to 4, got -1"),
        (spaces.Discrete(5), 5, "expected a whole number from 0 to 4, got 5"),
        (spaces.Discrete(5), np.uint8(255), "expected a whole number from 0 to 4, got 255"),
        (spaces.Discrete(5, start=2), 1, "expected a whole number from 2 to 6, got 1"),
        (spaces.Discrete(5, start=-2), 3, "expected a whole number from -2 to 2, got 3"),
        (spaces.Discrete(5), 2.5, "got 2.5"),
        (spaces.Discrete(5), 2.0, "got 2.0"),
        (spaces.Discrete(5), True, "got True"),
        (spaces.Discrete(5), np.float64(2), r"got np.float64\(2.0\)"),
        (spaces.Discrete(5), np.array([2]), r"got int64 of shape \(1,\)"),
        (spaces.Discrete(5), [2], "got a list of length 1"),
        (spaces.Discrete(5), None, "got None"),
        (spaces.Discrete(5), "2", "got '2'"),
        (spaces.MultiDiscrete([2, 3]), [1, 3], "component 1: expected a whole number from 0 to 2, got 3"),
        (spaces.MultiDiscrete([2, 3]), [-1, 0], "component 0: expected a whole number from 0 to 1, got -1"),
        (spaces.MultiDiscrete([2, 3], start=[5, 5]), [5, 8], "component 1: expected a whole number from 5 to 7, got 8"),
        (spaces.MultiDiscrete([2, 3]), [1.5, 0], "expected numbers that int64 can hold, got 1.5"),
        (spaces.MultiDiscrete([2, 3]), 1, r"expected int64 of shape \(2,\), got 1"),
        (spaces.MultiDiscrete([2, 3]), [1], r"got int64 of shape \(1,\)"),
        (spaces.MultiBinary(3), [0, 1, 2], "expected 0 or 1, got 2"),
        (spaces.MultiBinary(3), [0, 1, -1], "expected 0 or 1, got -1"),
        (spaces.MultiBinary(3), [0, 1], r"expected int8 of shape \(3,\), got int64 of shape \(2,\)"),
        (spaces.MultiBinary(3), 1, r"expected int8 of shape \(3,\), got 1"),
        (PAIR, ([1.0, 2.0],), "expected a tuple of length 2, got a tuple of length 1"),
        (PAIR, ([1.0, 2.0], 1, 2), "expected a tuple of length 2, got a tuple of length 3"),
        (PAIR, {0: [1.0, 2.0], 1: 1}, "expected a tuple of length 2, got a dict of length 2"),
        (PAIR, np.array(1), r"expected a tuple of length 2, got int64 of shape \(\)"),
        (PAIR, ([1.0, 2.0], 3), "entry '1': expected a whole number from 0 to 2, got 3"),
        (PAIR, ([1.0], 2), r"entry '0': expected float32 of shape \(2,\), got float64 of shape \(1,\)"),
        (spaces.Dict(a=PAIR), {"a": ([1.0, 2.0], -1)}, "entry 'a.1': expected a whole number from 0 to 2, got -1"),
        (spaces.Dict(a=PAIR), {"b": 1, "c": 2}, "expected the key 'a', got 'b', 'c'"),
        (spaces.Dict(a=PAIR), {}, "expected the key 'a', got no key"),
        (spaces.Dict(a=spaces.Dict(b=PAIR)), {"a": {}}, "entry 'a': expected the key 'b', got no key"),
        (spaces.Dict(a=spaces.Dict(b=PAIR)), {"a": [1]}, "entry 'a': expected a dict, got a list of length 1"),
        (spaces.Dict(a=PAIR), ("a",), "expected a dict, got a tuple of length 1"),
        (spaces.Dict(a=PAIR), None, "expected a dict, got None"),
    ],
)
def test_values_outside_the_space_are_refused(space: spaces.Space[Any], obs: Any, message: str) -> None:
    env = ObservingEnv(Showing(space, obs), "odd")
    env.reset(0)
    start = rf"^odd: reset\(\) returned an observation outside its observation space: {message if message[0] == 'e' else ''}"
    with pytest.raises(BrokenEnvironmentError, match=start) as caught:
        env.observe()
    assert re.search(message, str(caught.value))
    assert "\n" not in str(caught.value)
    env.advance(0)
    with pytest.raises(BrokenEnvironmentError, match=r"^odd: step\(\) returned an observation outside"):
        env.observe()


@pytest.mark.parametrize(
    ("space", "obs"),
    [
        (box(np.float32), [1.0, 1e39]),  # overflows
        (box(np.float16), np.array([7e4, 0], np.float32)),
        (box(np.float16), [70000, 0]),
        (box(np.float32), [np.nan, 0]),
        (box(np.float64), [np.inf, 0]),
        (spaces.Dict(a=box(np.float32), b=box(np.float64)), {"a": [1.0, 1e39], "b": [0, 0]}),
        (spaces.Tuple([box(np.float32), spaces.Discrete(2)]), (np.array([0, -np.inf], np.float32), 1)),
    ],
)
@pytest.mark.filterwarnings("error")
def test_numbers_that_are_not_finite_or_overflow_are_refused(space: spaces.Space[Any], obs: Any) -> None:
    env = ObservingEnv(Showing(space, obs), "odd")
    env.reset(0)
    message = r"^odd: reset\(\) returned an observation that contains NaN, infinity or a number too large for its dtype \("
    with pytest.raises(NonFiniteError, match=message):
        env.observe()


@given(
    space=LEAVES,
    obs=st.one_of(
        st.integers(-(2**64), 2**64),
        st.floats(),
        st.lists(st.integers(-(2**40), 2**40) | st.floats(), max_size=4),
        st.lists(st.lists(st.integers(-300, 300), max_size=3), max_size=3),
    ),
)
@settings(max_examples=60)
def test_no_value_is_taken_for_another(space: spaces.Space[Any], obs: Any) -> None:
    try:
        found = shown(space, obs)
    except (BrokenEnvironmentError, NonFiniteError):
        return
    given_obs = np.asarray(obs)
    if isinstance(space, spaces.Box):
        assert given_obs.shape == space.shape
        np.testing.assert_allclose(found.reshape(space.shape), given_obs, rtol=1e-2, atol=1e-4)  # float16's digits
        if space.dtype.kind in "iu":
            np.testing.assert_array_equal(found.reshape(space.shape), given_obs)
    else:
        assert given_obs.shape == (space.shape or ())
        np.testing.assert_array_equal(spaces.unflatten(space, found.astype(space.dtype)), given_obs)


class Lazy:
    """An array that fails when it is made."""

    def __array__(self, *_args: Any, **_kwargs: Any) -> NDArray[Any]:
        raise RuntimeError("the camera is gone")

    def __repr__(self) -> str:
        return "Lazy"


def test_an_array_that_cannot_be_made_is_refused() -> None:
    env = ObservingEnv(Showing(box(np.float32), Lazy()), "odd")
    env.reset(0)
    with pytest.raises(BrokenEnvironmentError, match=r"^odd: reset\(\) .* got Lazy\."):
        env.observe()


def test_a_wrapped_minigrid_shows_its_picture_and_direction() -> None:
    plain = FullyObsWrapper(gymnasium.make("MiniGrid-Empty-5x5-v0"))
    env = split_env(FullyObsWrapper(gymnasium.make("MiniGrid-Empty-5x5-v0")), "wrapped")
    env.reset(0)
    obs, _ = plain.reset(seed=0)
    for action in (1, 2, 0, 0, 2):
        expected = np.concatenate([np.eye(4)[obs["direction"]], obs["image"].ravel()])
        np.testing.assert_array_equal(env.observe(), expected)  # a mission that never changes says nothing
        env.advance(action)
        obs = plain.step(action)[0]


def test_a_mission_that_varies_is_spelt_out() -> None:
    env = split_env(FullyObsWrapper(gymnasium.make("MiniGrid-GoToDoor-5x5-v0")), "wrapped")
    told = {}
    for seed in range(20):
        env.reset(seed)
        core: Any = env.gym_env.unwrapped
        told[core.mission] = tuple(env.observe()[-6:].tolist())
    assert len(told) == len(set(told.values())) > 2
    assert {sum(code) for code in told.values()} == {1}


@pytest.mark.filterwarnings("ignore:.*not within the observation space")
def test_a_mission_outside_its_space_is_refused() -> None:
    env = split_env(FullyObsWrapper(gymnasium.make("MiniGrid-GoToDoor-5x5-v0")), "wrapped")
    env.reset(0)
    core: Any = env.gym_env.unwrapped
    core.mission = "go home"
    env.advance(0)
    with pytest.raises(BrokenEnvironmentError, match="'mission': expected a mission of its MissionSpace, got 'go home'"):
        env.observe()


def test_a_mission_without_end_is_refused() -> None:
    with pytest.raises(UnsupportedEnvironmentError, match="missions follow a grammar"):
        split_env(FullyObsWrapper(gymnasium.make("BabyAI-GoToLocal-v0")), "baby")


@pytest.mark.parametrize(
    "space",
    [
        spaces.Text(5),
        spaces.Sequence(spaces.Discrete(2)),
        spaces.Graph(spaces.Box(0, 1, (2,)), None),
        spaces.OneOf([spaces.Discrete(2), spaces.Discrete(3)]),
    ],
)
def test_entries_that_are_not_flattened_are_refused(space: spaces.Space[Any]) -> None:
    with pytest.raises(UnsupportedEnvironmentError, match="x: observation space .* is not supported: expected Box"):
        ObservingEnv(Showing(space, None), "x")
    with pytest.raises(UnsupportedEnvironmentError, match="x: entry 'in.side' of its observation is .* not supported"):
        ObservingEnv(Showing(spaces.Dict({"in": spaces.Dict({"side": space})}), None), "x")
    with pytest.raises(UnsupportedEnvironmentError, match="x: entry '1' of its observation is .* not supported"):
        ObservingEnv(Showing(spaces.Tuple([spaces.Discrete(2), space]), None), "x")


@pytest.mark.parametrize(
    "space",
    [
        spaces.Dict({}),
        spaces.Tuple([]),
        spaces.Dict({"a": spaces.Dict({})}),
        spaces.Dict({"a": spaces.Box(0, 1, (0,))}),
    ],
)
def test_a_space_without_numbers_is_refused(space: spaces.Space[Any]) -> None:
    with pytest.raises(UnsupportedEnvironmentError, match="x: observation space .* is not supported: it holds no number"):
        ObservingEnv(Showing(space, None), "x")


def test_a_teacher_is_trained_on_a_dict() -> None:
    model = runs.train_teacher("tests.envs.test_flatten:make_rover", a2c_config(total_timesteps=2000))
    assert model.manifest.obs_shape == (8,)
    assert model.manifest.notes["greedy_return"] == 1.0


def test_every_mission_has_a_code_of_its_own() -> None:
    space = MissionSpace(lambda color, kind: f"get the {color} {kind}", [["red", "blue", "grey"], ["key", "ball"]])
    codes = mission_codes(space, "toy")
    assert codes["get the blue key"].tolist() == [0, 1, 0, 1, 0]
    assert len(codes) == len({code.tobytes() for code in codes.values()}) == 6


def test_a_mission_that_never_changes_has_no_code() -> None:
    assert mission_codes(MissionSpace(lambda: "go"), "toy") == {}


class OwnMissionSpace(MissionSpace):
    """May say anything."""


@pytest.mark.parametrize("space", [OwnMissionSpace(lambda: "go"), spaces.Text(9)])
def test_other_spaces_are_refused(space: spaces.Text | OwnMissionSpace) -> None:
    with pytest.raises(UnsupportedEnvironmentError, match="toy: its missions follow a grammar"):
        mission_codes(space, "toy")


@pytest.mark.parametrize("dtype", [">f4", ">f8", ">i2", ">u8"])
def test_foreign_byte_orders_become_this_machines(dtype: str) -> None:
    kind: Any = np.dtype(dtype)
    own = kind.newbyteorder("=")
    obs = np.array([1, 2], dtype)
    for space, value in (
        (spaces.Box(0, 9, (2,), kind), obs),
        (spaces.Dict(a=spaces.Box(0, 9, (2,), kind)), {"a": obs}),
    ):
        reader = reader_of(space, "odd")
        out = np.zeros(2, own)
        reader.write(value, out)
        assert reader.space.dtype == own
        assert reader.space.dtype.isnative
        assert out.tolist() == [1, 2]


@pytest.mark.skipif(np.dtype(np.longdouble).itemsize == 8, reason="longdouble is float64 here")
@pytest.mark.parametrize("inside", [lambda box: box, lambda box: spaces.Dict(a=box), lambda box: spaces.Tuple([box])])
def test_numbers_wider_than_networks_read_are_refused(inside: Any) -> None:
    with pytest.raises(UnsupportedEnvironmentError, match="^odd: observations of .* are not supported"):
        reader_of(inside(spaces.Box(-1, 1, (2,), np.longdouble)), "odd")
