from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from phr.envs.atari import AtariVector
from phr.envs.registry import make_env, split_env
from phr.envs.split import SplitEnv
from phr.envs.vector import VectorSplit, make_training_vectors
from phr.errors import UnsupportedEnvironmentError
from tests.helpers import corridor

PONG = "PongDeterministic-v4"
BREAKOUT_LIFE = "BreakoutDeterministic-v4?fire=life"


def seeds(env: int, episode: int) -> int:
    return 100 * episode + env


def renamed() -> SplitEnv:
    return split_env(make_env(PONG).gym_env, "a game of my own")


def native(n_envs: int, monkeypatch: pytest.MonkeyPatch, cores: int, env_id: str = PONG) -> list[AtariVector]:
    monkeypatch.setattr("phr.envs.atari.available_cores", lambda: cores)
    vectors = make_training_vectors(lambda: make_env(env_id), n_envs, seeds)
    found = [vector for vector in vectors if isinstance(vector, AtariVector)]
    assert len(found) == len(vectors)
    return found


def test_atari_is_stepped_natively_under_its_own_options(monkeypatch: pytest.MonkeyPatch) -> None:
    env_id = f"{PONG}?max_frames=40&noop_max=0"
    vectors = native(3, monkeypatch, 2, env_id)
    assert [vector.n_envs for vector in vectors] == [2, 1]
    for vector in vectors:
        assert (vector.env_id, vector.n_actions) == (env_id, 6)
        assert not vector.exact_resume
        vector.reset()
        assert not vector.n_noops.any()
        vector.close()


def test_groups_are_numbered_through(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the number of cores, a game has its own seed."""
    noops = []
    for cores in (1, 2):
        vectors = native(4, monkeypatch, cores)
        assert len(vectors) == cores
        for vector in vectors:
            vector.reset()
        noops.append([n for vector in vectors for n in vector.n_noops.tolist()])
    assert noops[0] == noops[1]
    assert len(set(noops[0])) > 1


@pytest.mark.parametrize(
    "make", [corridor, lambda: make_env("Pong-v4"), lambda: make_env(PONG, mode=1), lambda: make_env(BREAKOUT_LIFE)]
)
def test_what_the_native_vector_cannot_play_is_stepped_one_by_one(make: Callable[[], SplitEnv]) -> None:
    [vector] = make_training_vectors(make, 2, seeds)
    assert isinstance(vector, VectorSplit)
    assert (vector.n_envs, vector.autoreset, vector.exact_resume) == (2, "same_step", True)


def test_fire_is_left_out_where_a_game_has_no_such_button(monkeypatch: pytest.MonkeyPatch) -> None:
    assert len(native(2, monkeypatch, 2, "MsPacmanDeterministic-v4?fire=life")) == 2


def test_a_game_with_a_name_of_its_own_is_stepped_natively_too() -> None:
    vector = make_training_vectors(renamed, 1, seeds)[0]
    assert isinstance(vector, AtariVector)
    assert vector.env_id == "a game of my own"


@pytest.mark.parametrize("make", [corridor, lambda: make_env(PONG)])
def test_only_what_is_handed_out_stays_open(make: Callable[[], SplitEnv]) -> None:
    opened, closed = list[SplitEnv](), list[SplitEnv]()

    def counted() -> SplitEnv:
        if len(opened) == 3:
            raise UnsupportedEnvironmentError("only three")
        env = make()
        env.close = lambda: closed.append(env)  # type: ignore[method-assign]
        opened.append(env)
        return env

    [*vectors] = make_training_vectors(counted, 2, seeds)
    assert closed == [env for env in opened if not any(env in getattr(vector, "envs", ()) for vector in vectors)]
    if len(opened) == 2:
        with pytest.raises(UnsupportedEnvironmentError, match="only three"):
            make_training_vectors(counted, 2, seeds)
        assert closed == opened[2:]


def test_prefixes_are_played_by_stepping_one_by_one() -> None:
    [vector] = make_training_vectors(lambda: make_env(PONG), 1, seeds, lambda _env, _episode: (0, 0))
    assert isinstance(vector, VectorSplit)


@pytest.mark.parametrize("make", [corridor, lambda: make_env(PONG)])
def test_what_was_sent_is_received(make: Callable[[], SplitEnv]) -> None:
    vector = make_training_vectors(make, 1, seeds)[0]
    vector.reset()
    vector.send(np.ones(1, np.int64))
    assert vector.receive().rewards.shape == (1,)
