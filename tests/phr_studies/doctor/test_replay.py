"""Whether playing again repeats, and what is left to chance."""

from __future__ import annotations

import numpy as np

from phr_studies.doctor.world import (
    N_FORKS,
    N_STARTS,
    Difference,
    Episode,
    Replay,
    World,
    examine_replay,
    first_difference,
    random_choice,
)

ROOM = "tests.phr_studies.doctor.small_worlds"


def examined(env_id: str, seed: int = 0) -> Replay:
    return examine_replay(World(env_id), seed=seed, n_episodes=3, max_steps=40)


def test_a_deterministic_world() -> None:
    found = examined("tests.helpers:make_corridor")
    assert (found.repeats, found.forks_changed, found.forks) == (True, 0, N_FORKS)
    assert (found.starts, found.different_starts, found.different_episodes) == (N_STARTS, 1, 1)


def test_chance_after_the_start_is_seen() -> None:
    found = examined(f"{ROOM}:Coins")
    assert found.repeats
    assert (found.forks_changed or 0) > N_FORKS // 2
    assert (found.different_starts, found.steps) == (2, 36)
    assert found.different_episodes > 10
    assert examined(f"{ROOM}:Coins") == found
    assert examined(f"{ROOM}:Coins", seed=1) != found


def test_a_state_that_outlives_its_episode_is_seen() -> None:
    """Two environments that play in the same order would agree."""
    assert examined(f"{ROOM}:Carrying").difference == Difference(0, 1, "reward")


def test_dice_that_no_seed_reaches_are_seen() -> None:
    found = examined(f"{ROOM}:Unseeded")
    assert found.difference == Difference(0, 0, "observation")
    assert (found.repeats, found.forks, found.forks_changed) == (False, None, None)


def test_the_first_difference_is_named() -> None:
    entry = (0.0, False, False, b"a")
    before = Episode(0, (0, 0), (entry, entry, entry))
    assert first_difference(4, before, before) is None
    for changed, what in (
        ((1.0, *entry[1:]), "reward"),
        ((0.0, True, False, b"a"), "end"),
        ((*entry[:3], b"b"), "observation"),
    ):
        assert first_difference(4, before, Episode(0, (0, 0), (entry, entry, changed))) == Difference(4, 2, what)


def test_random_actions_are_the_seeds_and_leave_the_space_alone() -> None:
    world = World(f"{ROOM}:ManyCoins")
    world.action_space.seed(9)
    before = world.action_space.np_random.bit_generator.state
    one, other = (
        np.stack([choose(None) for _ in range(5)]) for choose in (random_choice(world, 1), random_choice(world, 1))
    )
    assert (one == other).all()
    assert world.action_space.np_random.bit_generator.state == before
