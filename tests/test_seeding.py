from __future__ import annotations

import itertools
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from phr.errors import SettingError, UnsupportedEnvironmentError
from phr.seeding import Streams, reseed, rng_from_state, rng_state

seeds = st.integers(0, 2**70)
names = st.text(max_size=10)


@given(seeds, names, st.integers(0, 10))
def test_the_same_name_gives_the_same_stream(seed: int, name: str, index: int) -> None:
    first, again = (Streams(seed).rng(name, index).random(4).tolist() for _ in range(2))
    assert first == again
    assert Streams(seed).integer(name, index) == Streams(seed).integer(name, index)


def test_seeds_names_and_indices_each_give_other_numbers() -> None:
    keys: list[tuple[int, str, tuple[int, ...]]] = [
        (seed, name, index)
        for seed, name in itertools.product((0, 1, 2**40), ("envs", "network", ""))
        for index in ((), (0,), (1,), (0, 0), (0, 1))
    ]
    drawn = {Streams(seed).rng(name, *index).integers(2**62) for seed, name, index in keys}
    integers = {Streams(seed).integer(name, *index) for seed, name, index in keys}
    assert len(drawn) == len(integers) == len(keys)


def test_drawing_from_one_stream_does_not_shift_another() -> None:
    streams = Streams(3)
    expected = streams.rng("a").random(3)
    streams.rng("b").random(100)
    np.testing.assert_array_equal(streams.rng("a").random(3), expected)


@given(seeds, names)
def test_integers_suit_every_library(seed: int, name: str) -> None:
    assert 0 <= Streams(seed).integer(name) < 2**31


def test_no_global_stream_is_touched() -> None:
    before = np.random.get_state(legacy=False)  # noqa: NPY002 (what must not change)
    Streams(0).rng("x").random(10)
    Streams(0).integer("x")
    assert str(np.random.get_state(legacy=False)) == str(before)  # noqa: NPY002


@given(seeds, st.integers(0, 20))
def test_a_generator_goes_on_after_its_state_went_through_json(seed: int, n_drawn: int) -> None:
    rng = Streams(seed).rng("x")
    rng.random(n_drawn)
    rng.integers(10, dtype=np.int32)  # leaves half a word in the generator's pocket
    restored = rng_from_state(json.loads(json.dumps(rng_state(rng))))
    assert restored.integers(10, size=5, dtype=np.int32).tolist() == rng.integers(10, size=5, dtype=np.int32).tolist()
    assert restored.random(5).tolist() == rng.random(5).tolist()


def test_only_todays_generators_can_be_seeded_anew() -> None:
    rng, other = np.random.default_rng(0), np.random.default_rng(7)
    reseed(rng, 7)
    assert rng.random() == other.random()
    with pytest.raises(UnsupportedEnvironmentError, match="draws its random numbers from a RandomState, .* self.np_random"):
        reseed(np.random.RandomState(0), 7)


def test_a_negative_seed_is_refused() -> None:
    with pytest.raises(SettingError, match="seed must be >= 0, got -1"):
        Streams(-1)
