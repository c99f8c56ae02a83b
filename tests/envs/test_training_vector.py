from __future__ import annotations

import pytest

from phr.envs.atari_vector import AtariVector
from phr.envs.registry import make_env, split_env
from phr.envs.split import SplitEnv
from phr.envs.training_vector import make_training_vector
from phr.envs.vector import Autoreset, VectorSplit
from tests.helpers import corridor

PONG = "PongDeterministic-v4"


def seeds(env: int, episode: int) -> int:
    return 100 * episode + env


def renamed() -> SplitEnv:
    return split_env(make_env(PONG).gym_env, "a game of my own")


def test_atari_is_stepped_natively_under_its_own_options() -> None:
    vector = make_training_vector(lambda: make_env(f"{PONG}?max_frames=40&noop_max=0"), 3, seeds)
    assert isinstance(vector, AtariVector)
    assert (vector.env_id, vector.n_envs, vector.n_actions) == (f"{PONG}?max_frames=40&noop_max=0", 3, 6)
    assert (vector.autoreset, vector.exact_resume) == (Autoreset.SAME_STEP, False)
    vector.reset()
    assert vector.n_noops.tolist() == [0, 0, 0]
    vector.close()


@pytest.mark.parametrize("make", [corridor, renamed, lambda: make_env("Pong-v4")])
def test_what_the_native_vector_cannot_play_is_stepped_one_by_one(make: object) -> None:
    assert callable(make)
    vector = make_training_vector(make, 2, seeds)
    assert isinstance(vector, VectorSplit)
    assert (vector.n_envs, vector.autoreset, vector.exact_resume) == (2, Autoreset.SAME_STEP, True)


def test_prefixes_are_played_by_stepping_one_by_one() -> None:
    vector = make_training_vector(lambda: make_env(PONG), 1, seeds, lambda _env, _episode: (0, 0))
    assert isinstance(vector, VectorSplit)


def test_seeds_reach_either_vector() -> None:
    native = make_training_vector(lambda: make_env(PONG), 4, seeds)
    again = make_training_vector(lambda: make_env(PONG), 4, seeds)
    other = make_training_vector(lambda: make_env(PONG), 4, lambda env, episode: seeds(env, episode) + 50)
    for vector in (native, again, other):
        vector.reset()
    assert isinstance(native, AtariVector)
    assert isinstance(again, AtariVector)
    assert isinstance(other, AtariVector)
    assert native.n_noops.tolist() == again.n_noops.tolist() != other.n_noops.tolist()
