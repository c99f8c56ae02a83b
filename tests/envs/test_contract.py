"""What a Gymnasium environment may return, and what is refused with a line that names it and the call."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces
from gymnasium.wrappers import TimeLimit
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from phr.envs.contract import CheckedEnv, described, watch_calls, watched
from phr.envs.split import ObservingEnv, run_plan
from phr.errors import BrokenEnvironmentError, NonFiniteError, NoSuccessError, UnsupportedEnvironmentError

OBS = np.zeros(2, np.float32)


class Scripted(gymnasium.Env[Any, Any]):
    """Returns what it is given, and keeps the actions that reach it."""

    def __init__(self, step: Any = (OBS, 1.0, False, False, {}), reset: Any = (OBS, {}), acts: Any = None) -> None:
        self.observation_space = spaces.Box(-1, 1, (2,), np.float32)
        self.action_space = spaces.Discrete(3) if acts is None else acts
        self._step, self._reset = step, reset
        self.actions: list[Any] = []

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        return self._reset() if callable(self._reset) else self._reset

    def step(self, action: Any) -> Any:
        self.actions.append(action)
        return self._step() if callable(self._step) else self._step


def stepped(**changes: Any) -> Any:
    """What `advance` returns where one of the five values is another."""
    values = {"obs": OBS, "reward": 1.0, "terminated": False, "truncated": False, "info": {}, **changes}
    env = ObservingEnv(Scripted(tuple(values.values())), "odd")
    env.reset(0)
    return env.advance(0)


def raises(error: BaseException) -> Callable[[], Any]:
    def call() -> Any:
        raise error

    return call


@pytest.mark.parametrize(
    ("reward", "expected"),
    [
        (2, 2.0), (True, 1.0), (-0.5, -0.5), (np.float32(0.5), 0.5), (np.float64(0.1), 0.1), (np.int64(-3), -3.0),
        (np.float16(0.5), 0.5), (np.bool_(True), 1.0), (np.array(4.5), 4.5), (np.array(3), 3.0), (torch.tensor(1.5), 1.5),
    ],
)  # fmt: skip
def test_a_reward_is_any_one_number(reward: Any, expected: float) -> None:
    got = stepped(reward=reward)[0]
    assert type(got) is float
    assert got == expected


@pytest.mark.parametrize(
    ("reward", "got"),
    [
        (None, "None"), ("1.0", "'1.0'"), (b"1", "b'1'"), (1 + 0j, r"\(1\+0j\)"), (Decimal(1), "Decimal"),
        (np.array([1.0]), r"float64 of shape \(1,\)"), (np.array([1.0, 2.0]), r"float64 of shape \(2,\)"),
        (np.array([[1]]), r"int64 of shape \(1, 1\)"), ([1.0], "a list of length 1"), ((1.0, 2.0), "a tuple of length 2"),
        ({"r": 1.0}, "a dict of length 1"), (np.array("1"), r"<U1 of shape \(\)"), (np.array(None), r"object of shape \(\)"),
        (torch.ones(1), r"a Tensor of shape \(1,\)"), (10**400, "a value of type int"),
    ],
)  # fmt: skip
def test_what_is_not_one_number_is_no_reward(reward: Any, got: str) -> None:
    with pytest.raises(BrokenEnvironmentError, match=rf"^odd: step\(\) returned a wrong reward: expected one .* got {got}"):
        stepped(reward=reward)


@pytest.mark.parametrize("reward", [float("nan"), float("inf"), np.float32("-inf"), np.array(np.nan)])
def test_a_reward_is_finite(reward: Any) -> None:
    with pytest.raises(
        NonFiniteError, match=r"^odd: step\(\) returned a reward that is NaN or infinite \(step 1 of an episode, seed 0\)$"
    ):
        stepped(reward=reward)


@pytest.mark.parametrize("name", ["terminated", "truncated"])
@pytest.mark.parametrize(
    ("flag", "expected"),
    [(True, True), (np.bool_(True), True), (np.array(False), False), (1, True), (0, False), (np.int64(1), True)],
)
def test_a_flag_is_a_boolean_or_0_or_1(name: str, flag: Any, expected: bool) -> None:
    got = stepped(**{name: flag})[1 if name == "terminated" else 2]
    assert got is expected


@pytest.mark.parametrize("name", ["terminated", "truncated"])
@pytest.mark.parametrize(
    "flag", [None, "False", "", np.array([True]), np.array([False, True]), [False], 2, -1, 1.0, 0.0, np.float32(0), {}]
)
def test_anything_else_is_no_flag(name: str, flag: Any) -> None:
    with pytest.raises(
        BrokenEnvironmentError, match=rf"^odd: step\(\) returned a wrong {name}: expected True or False, got "
    ):
        stepped(**{name: flag})


@pytest.mark.parametrize("info", [None, [], (), "", 0, [("is_success", True)]])
def test_an_info_is_a_dict(info: Any) -> None:
    with pytest.raises(BrokenEnvironmentError, match=r"^odd: step\(\) returned a wrong info: expected a dict, got "):
        stepped(info=info)
    with pytest.raises(BrokenEnvironmentError, match=r"^odd: reset\(\) returned a wrong info: expected a dict, got "):
        ObservingEnv(Scripted(reset=(OBS, info)), "odd").reset()


@pytest.mark.parametrize(
    ("result", "got"),
    [
        ((OBS, 1.0, True, {}), "a tuple of length 4"),
        ((OBS, 1.0, True, False, {}, {}), "a tuple of length 6"),
        ([OBS, 1.0, True, False, {}], "a list of length 5"),
        (OBS, r"float32 of shape \(2,\)"),
        (np.zeros(5), r"float64 of shape \(5,\)"),
        (None, "None"),
    ],
)
def test_a_step_is_a_tuple_of_five(result: Any, got: str) -> None:
    env = ObservingEnv(Scripted(step=result), "odd")
    env.reset()
    message = rf"^odd: step\(\) must return \(observation, .*\): expected a tuple of length 5, got {got}\. "
    with pytest.raises(BrokenEnvironmentError, match=message):
        env.advance(0)


@pytest.mark.parametrize(
    ("result", "got"),
    [
        (OBS, r"float32 of shape \(2,\)"),  # of the length of (observation, info)
        ([OBS, {}], "a list of length 2"),
        ((OBS,), "a tuple of length 1"),
        ((OBS, {}, {}), "a tuple of length 3"),
        ({"a": 1, "b": 2}, "a dict of length 2"),
        ("ab", "'ab'"),
        (None, "None"),
    ],
)
def test_a_reset_is_a_tuple_of_two(result: Any, got: str) -> None:
    message = rf"^odd: reset\(\) must return \(observation, info\): expected a tuple of length 2, got {got}\. "
    with pytest.raises(BrokenEnvironmentError, match=message):
        ObservingEnv(Scripted(reset=result), "odd").reset()


def test_an_observation_of_two_entries_is_not_taken_for_an_observation_and_an_info() -> None:
    env = Scripted(reset=(0, 1))  # as an old reset() returns a Tuple observation
    env.observation_space = spaces.Tuple([spaces.Discrete(2), spaces.Discrete(2)])
    with pytest.raises(BrokenEnvironmentError, match=r"reset\(\) returned a wrong info: expected a dict, got 1\."):
        ObservingEnv(env, "odd").reset()


class NoSeed(Scripted):
    def reset(self) -> Any:  # type: ignore[override]  # as environments were written before 2022
        return OBS, {}


class SeedAlone(Scripted):
    def reset(self, seed: int | None = None) -> Any:  # type: ignore[override]
        return OBS, {}


class Failing(Scripted):
    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        return len(3)  # type: ignore[arg-type]  # a TypeError of its own


@pytest.mark.parametrize("env", [NoSeed(), TimeLimit(NoSeed(), 5), TimeLimit(TimeLimit(NoSeed(), 5), 3)])
def test_a_reset_accepts_a_seed(env: Any) -> None:
    message = r"^odd: reset\(\) must accept the keyword arguments seed and options: .* got NoSeed\.reset\(\) -> "
    with pytest.raises(BrokenEnvironmentError, match=message):
        ObservingEnv(env, "odd").reset(3)


def test_options_are_needed_where_wrappers_hand_them_on() -> None:
    ObservingEnv(SeedAlone(), "old").reset(3)
    with pytest.raises(BrokenEnvironmentError, match=r"got SeedAlone\.reset\(seed"):
        ObservingEnv(TimeLimit(SeedAlone(), 5), "odd").reset(3)


def test_a_type_error_of_its_own_is_told_as_it_is() -> None:
    with pytest.raises(BrokenEnvironmentError, match=r"^odd: reset\(\) raised TypeError: object of type 'int' has no len"):
        ObservingEnv(Failing(), "odd").reset(3)


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("illegal\n  move"),
        ValueError("illegal move"),
        AssertionError("illegal move"),
        SystemExit("illegal move"),
    ],
)
def test_errors_of_an_environment_name_it_the_call_and_the_moment(error: BaseException) -> None:
    name = type(error).__name__
    env = ObservingEnv(Scripted(step=raises(error)), "odd")
    env.reset()
    message = rf"^odd: step\(\) raised {name}: illegal move \(step 1 of an episode\)$"
    with pytest.raises(BrokenEnvironmentError, match=message) as caught:
        run_plan(env, [0, 1], [])
    assert caught.value.__cause__ is error
    with pytest.raises(BrokenEnvironmentError, match=rf"^odd: reset\(\) raised {name}: illegal move$"):
        ObservingEnv(Scripted(reset=raises(error)), "odd").reset()


@pytest.mark.parametrize("error", [NoSuccessError("ours"), KeyboardInterrupt()])
def test_our_own_errors_and_interrupts_pass(error: BaseException) -> None:
    with pytest.raises(type(error)) as caught:
        ObservingEnv(Scripted(reset=raises(error)), "odd").reset()
    assert caught.value is error
    env = ObservingEnv(Scripted(step=raises(error)), "odd")
    env.reset()
    with pytest.raises(type(error)) as caught:
        env.advance(0)
    assert caught.value is error


def test_an_environment_without_spaces_is_refused() -> None:
    env = Scripted()
    del env.action_space
    with pytest.raises(UnsupportedEnvironmentError, match="odd: action space None is not supported"):
        ObservingEnv(env, "odd")
    env = Scripted()
    del env.observation_space
    with pytest.raises(UnsupportedEnvironmentError, match="odd: observation space None is not supported"):
        ObservingEnv(env, "odd")


ACTION_SPACES = [
    (spaces.Discrete(3), 2),
    (spaces.Discrete(3, dtype=np.int32), 2),
    (spaces.MultiDiscrete([2, 3]), np.array([1, 2])),
    (spaces.MultiDiscrete([2, 3], dtype=np.int32), np.array([1, 2])),
    (spaces.Box(-1, 1, (2,), np.float32), np.array([0.5, -0.5], np.float32)),
    (spaces.Box(-1, 1, (2, 1), np.float64), np.array([[0.5], [-0.5]], np.float32)),
]


@pytest.mark.parametrize(("space", "action"), ACTION_SPACES)
@pytest.mark.parametrize("bare", [False, True])
def test_actions_arrive_as_the_space_samples_them(space: spaces.Space[Any], action: Any, bare: bool) -> None:
    env = Scripted(acts=space)
    split = ObservingEnv(env, "odd")
    split.reset()
    (split.bare().step if bare else split.advance)(action)
    got, sample = env.actions[0], space.sample()
    assert type(got) is type(sample)
    assert got.dtype == sample.dtype
    assert space.contains(got)
    np.testing.assert_array_equal(got, action)


class InPlace(Scripted):
    """Rescales the action that it is given."""

    def step(self, action: Any) -> Any:
        action *= 3
        return super().step(action)


@pytest.mark.parametrize(("space", "action"), ACTION_SPACES[2:])
@pytest.mark.parametrize("bare", [False, True])
def test_an_environment_may_change_the_action_that_it_is_given(
    space: spaces.Space[Any], action: NDArray[Any], bare: bool
) -> None:
    env = InPlace(acts=space)
    split = ObservingEnv(env, "odd")
    split.reset()
    before = action.copy()
    for _ in range(2):
        (split.bare().step if bare else split.advance)(action)
    np.testing.assert_array_equal(action, before)
    np.testing.assert_array_equal(env.actions[0], 3 * before)
    np.testing.assert_array_equal(env.actions[1], 3 * before)


def test_actions_of_other_spaces_are_copied_too() -> None:
    space = spaces.Dict(force=spaces.Box(-1, 1, (2,)), gears=spaces.Tuple([spaces.Discrete(3)]))
    env = Scripted(acts=space)
    action = {"force": np.ones(2, np.float32), "gears": (np.int64(1),)}
    CheckedEnv(env, "odd").step(action)
    env.actions[0]["force"] *= 3
    np.testing.assert_array_equal(action["force"], 1)


def test_the_bare_simulator_is_looked_at_where_it_stands() -> None:
    shown = iter(range(9))
    env = Scripted(
        step=lambda: (np.full(2, next(shown), np.float32), 0.0, False, False, {}),
        reset=lambda: (np.full(2, next(shown), np.float32), {}),
    )
    bare = ObservingEnv(env, "odd").bare()
    bare.reset(3)
    assert bare.observe().tolist() == [0, 0]
    bare.step(1)
    bare.step(1)
    assert bare.observe().tolist() == [2, 2]


@given(st.recursive(st.none() | st.floats() | st.text() | st.binary(), lambda inner: st.lists(inner) | st.tuples(inner)))
def test_descriptions_are_short_and_one_line(value: Any) -> None:
    text = described(value)
    assert 0 < len(text) <= 60
    assert "\n" not in text


@given(
    result=st.lists(
        st.sampled_from([OBS, 1.0, 0, True, None, {}, "x", np.zeros(1), np.float32(2), np.bool_(False)]), max_size=6
    ).map(tuple)
)
def test_a_step_returns_five_values_of_pythons_own_types_or_is_refused(result: tuple[Any, ...]) -> None:
    env = ObservingEnv(Scripted(step=result), "odd")
    env.reset()
    try:
        reward, terminated, truncated, info = env.advance(0)
    except BrokenEnvironmentError:
        return
    assert (type(reward), type(terminated), type(truncated), type(info)) == (float, bool, bool, dict)
    assert result == (result[0], reward, terminated, truncated, info)


@pytest.mark.parametrize("obs", [np.ma.masked_array([0.1, 0.2], [False, True]), np.ma.masked])
def test_masked_observations_are_no_numbers(obs: Any) -> None:
    env = ObservingEnv(Scripted(reset=(obs, {})), "odd")
    env.reset(0)
    with pytest.raises(BrokenEnvironmentError, match=r"^odd: reset\(\) returned an observation outside"):
        env.observe()


def test_an_error_while_closing_is_a_warning() -> None:
    class Stuck(Scripted):
        def close(self) -> None:
            raise RuntimeError("device\nbusy")

    with pytest.warns(RuntimeWarning, match=r"^odd: close\(\) raised RuntimeError: device busy$"):
        ObservingEnv(Stuck(), "odd").close()


@pytest.mark.parametrize(
    "space",
    [
        spaces.Discrete(2**50), spaces.Discrete(2**62), spaces.MultiDiscrete([2**50, 3]),
        spaces.Dict(a=spaces.Discrete(2**50)), spaces.Tuple([spaces.MultiDiscrete([2**50])]),
    ],
)  # fmt: skip
def test_spaces_too_large_for_one_hot_rows_are_refused(space: spaces.Space[Any]) -> None:
    env = Scripted()
    env.observation_space = space
    with pytest.raises(UnsupportedEnvironmentError, match="^odd: observation space .* is too large"):
        ObservingEnv(env, "odd")


@pytest.mark.parametrize("call", ["reset()", "step()"])
def test_a_call_that_hangs_is_given_up(call: str) -> None:
    lines: list[str] = []
    given_up = threading.Event()

    def wait(*_: Any, **__: Any) -> Any:
        assert given_up.wait(30)
        raise RuntimeError("at last")

    def give_up(line: str) -> None:
        lines.append(line)
        given_up.set()

    env = ObservingEnv(Scripted(**{call.removesuffix("()"): wait}), "odd")

    def play() -> None:
        env.reset(7)
        env.advance(0)

    with watched(0.05, give_up), pytest.raises(BrokenEnvironmentError, match="at last"):
        play()
    where = "(seed 7)" if call == "reset()" else "(step 1 of an episode, seed 7)"
    assert lines == [f"odd: {call} has not returned for 0.05 s {where}"]


def test_calls_that_return_are_not_given_up() -> None:
    lines: list[str] = []
    with watched(1e-2, lines.append):
        env = ObservingEnv(Scripted(), "odd")
        env.reset(7)
        time.sleep(0.05)
        env.advance(0)
        time.sleep(0.05)
    assert not lines


@pytest.mark.parametrize("call", ["reset", "step"])
def test_calls_of_another_program_are_seen(call: str) -> None:
    lines: list[str] = []

    def wait(*_args: Any, **_kwargs: Any) -> None:
        while not lines:
            time.sleep(0.01)

    env: Any = Scripted(**{call: wait})
    before = env.reset
    watch_calls(env, "odd")
    assert env.reset == before, "there is no watch"
    with watched(0.05, lines.append):
        watch_calls(env, "odd")
        env.reset(seed=7)
        env.step(0)
    assert [line.partition(" for ")[0] for line in lines] == [f"odd: {call}() has not returned"]
