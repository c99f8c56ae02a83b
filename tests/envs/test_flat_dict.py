from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces
from hypothesis import given
from hypothesis import strategies as st
from minigrid.wrappers import FullyObsWrapper

from phr.envs.flat_dict import FlatDict
from phr.envs.registry import split_env
from phr.envs.split import ObservingEnv
from phr.errors import NonFiniteError, UnsupportedEnvironmentError
from phr.learning import runs
from tests.trained import a2c_config


class Rover(gymnasium.Env[Any, Any]):
    """Shows its cell, its battery and a picture, in a nested Dict."""

    def __init__(self, charge: float = 1.0) -> None:
        inner = spaces.Dict({"battery": spaces.Box(-1.0, 2.0, (1,), np.float64), "cell": spaces.Discrete(3, start=1)})
        self.observation_space = spaces.Dict({"state": inner, "picture": spaces.Box(0, 9, (2, 2), np.uint8)})
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


def make_rover() -> gymnasium.Env[Any, Any]:
    """Also an environment factory, `tests.envs.test_flat_dict:make_rover`."""
    return gymnasium.wrappers.TimeLimit(Rover(), 20)


def test_a_dict_is_read_in_the_order_of_its_keys() -> None:
    env = split_env(Rover(), "rover")
    assert isinstance(env, ObservingEnv)
    env.reset(0)
    env.advance(1)
    # picture, then state: battery, then the one-hot cell (of 1, 2, 3)
    np.testing.assert_array_equal(env.observe(), np.array([2, 7, 8, 9, 0.5, 0, 1, 0], np.float32))
    assert env.observe().dtype == env.observation_space.dtype == np.float32
    assert env.observation_space.low.tolist() == [0, 0, 0, 0, -1, 0, 0, 0]
    assert env.observation_space.high.tolist() == [9, 9, 9, 9, 2, 1, 1, 1]


def test_the_order_in_which_a_dict_was_made_does_not_matter() -> None:
    entries = {"b": spaces.Box(0, 1, (2,)), "a": spaces.Discrete(2), "c": spaces.Box(0, 1, (1, 2))}
    obs = {"c": np.array([[0.1, 0.2]]), "a": 1, "b": np.array([0.3, 0.4])}
    first, second = np.zeros(6, np.float32), np.zeros(6, np.float32)
    FlatDict(spaces.Dict(entries), "x").write(obs, first)
    FlatDict(spaces.Dict(list(reversed(entries.items()))), "x").write(obs, second)
    np.testing.assert_allclose(first, [0, 1, 0.3, 0.4, 0.1, 0.2])
    np.testing.assert_array_equal(first, second)


@given(
    shapes=st.dictionaries(st.sampled_from("abcd"), st.lists(st.integers(1, 3), max_size=3), min_size=1),
    sizes=st.dictionaries(st.sampled_from("wxyz"), st.integers(1, 4)),
    seed=st.integers(0, 99),
)
def test_it_is_gymnasiums_own_flattening(shapes: dict[str, list[int]], sizes: dict[str, int], seed: int) -> None:
    boxes = {key: spaces.Box(-1, 1, tuple(shape), np.float32) for key, shape in shapes.items()}
    space = spaces.Dict({**boxes, **{key: spaces.Discrete(n) for key, n in sizes.items()}}, seed=seed)
    flat = FlatDict(space, "x")
    obs = space.sample()
    out = np.full(flat.space.shape, np.nan, np.float32)
    flat.write(obs, out)
    np.testing.assert_array_equal(out, spaces.flatten(space, obs))
    reference = spaces.flatten_space(space)
    assert isinstance(reference, spaces.Box)
    low, high = reference.low.astype(np.float32), reference.high.astype(np.float32)
    assert flat.space == spaces.Box(low, high, dtype=np.float32)


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


def test_a_mission_without_end_is_refused() -> None:
    with pytest.raises(UnsupportedEnvironmentError, match="missions follow a grammar"):
        split_env(FullyObsWrapper(gymnasium.make("BabyAI-GoToLocal-v0")), "baby")


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        (spaces.Text(5), "x: entry 'in.side' of its Dict observation is Text"),
        (spaces.Tuple([spaces.Discrete(2)]), "x: entry 'in.side' of its Dict observation is Tuple"),
        (spaces.Dict({}), "x: observation space .* it shows no number"),
    ],
)
def test_entries_that_are_no_numbers_are_refused(entry: spaces.Space[Any], message: str) -> None:
    with pytest.raises(UnsupportedEnvironmentError, match=message):
        FlatDict(spaces.Dict({"in": spaces.Dict({"side": entry})}), "x")


def test_an_entry_that_is_not_finite_is_refused() -> None:
    env = split_env(Rover(charge=float("nan")), "rover")
    env.reset(0)
    with pytest.raises(NonFiniteError, match="rover: the observation holds a NaN"):
        env.observe()


def test_a_teacher_is_trained_on_a_dict() -> None:
    model = runs.train_teacher("tests.envs.test_flat_dict:make_rover", a2c_config(total_timesteps=1000))
    assert model.manifest.obs_shape == (8,)
    assert model.manifest.notes["greedy_return"] == 1.0
