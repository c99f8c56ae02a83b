"""Playing again, and forks: the same moment, other dice."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from phr.errors import BrokenEnvironmentError, UnsupportedEnvironmentError, UsageError
from phr_studies.doctor.world import World, fingerprint, fork, play, play_again

COINS = "tests.phr_studies.doctor.small_worlds:Coins"
NUMBERS = st.integers(0, 3) | st.floats(0, 1) | st.text(max_size=2)
NESTED = st.recursive(
    NUMBERS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=2), inner, max_size=3)
)


@given(NESTED, NESTED)
def test_fingerprints_agree_where_values_do(one: object, other: object) -> None:
    same = json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)
    assert (fingerprint(one) == fingerprint(other)) == same


def test_arrays_of_other_types_or_shapes_differ() -> None:
    zeros = [np.zeros(4, np.float32), np.zeros(2, np.float64), np.zeros((2, 2), np.float32), np.zeros(4, np.int32)]
    assert len({fingerprint(each) for each in zeros}) == 4


@pytest.mark.parametrize(("env_id", "acts"), [(COINS, True), ("tests.phr_studies.doctor.small_worlds:OddCoins", False)])
def test_a_fork_keeps_the_past_and_throws_other_dice(env_id: str, acts: bool) -> None:
    world = World(env_id)
    assert (world.env is not None) == (world.refusal is None) == acts
    action = world.action_space.sample()
    episode = play(world, 3, lambda _obs: action, 100)
    assert (episode.length, episode.ended, episode.episode_return) == (12, True, 12.0)
    assert play_again(world, 3, episode.actions) == episode
    futures = set()
    for chance in range(20):
        fork(world, episode.seed, episode.actions[:4], chance)
        assert fingerprint(world.observe()) == episode.trace[4][3]
        future = []
        for action in episode.actions[4:]:
            world.step(action)
            future.append(fingerprint(world.observe()))
        futures.add(tuple(future))
    assert len(futures) > 15


@pytest.mark.parametrize("name", ["Rescaling", "OddRescaling"])
def test_an_environment_that_changes_its_actions_is_replayed(name: str) -> None:
    world = World(f"tests.phr_studies.doctor.small_worlds:{name}")
    action = world.action_space.sample()
    before = action.copy()
    episode = play(world, 3, lambda _obs: action, 100)
    np.testing.assert_array_equal(action, before)
    assert episode.episode_return == pytest.approx(12 * 2 * float(before.sum()))
    assert play_again(world, 3, episode.actions) == episode


def test_a_world_that_phr_cannot_act_in_is_checked_too() -> None:
    world = World("tests.phr_studies.doctor.small_worlds:OddUnpaid")
    world.reset(0)
    with pytest.raises(BrokenEnvironmentError, match=r":OddUnpaid: step\(\) returned a wrong reward"):
        world.step(world.action_space.sample())


def test_patience_ends_before_the_episode_does() -> None:
    episode = play(World(COINS), 0, lambda _obs: 0, 5)
    assert (episode.length, episode.ended) == (5, False)


def test_what_cannot_be_made_is_refused() -> None:
    with pytest.raises(UsageError, match="did you mean CartPole-v1"):
        World("CartPol-v1")
    with pytest.raises(UnsupportedEnvironmentError, match="no option 'sticky'"):
        World("CartPole-v1?sticky=0.5")
    assert "phr plans over Discrete" in (World("tests.phr_studies.doctor.small_worlds:OddCoins").refusal or "")
