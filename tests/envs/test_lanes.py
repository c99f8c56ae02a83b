from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from gymnasium import spaces
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from phr.envs import vector as vector_module
from phr.envs.split import Advance, SplitEnv
from phr.envs.vector import Lanes, Start, VectorSplit, random_starts
from phr.errors import SettingError, UnsupportedEnvironmentError
from tests.helpers import corridor


class SeedLengthEnv(SplitEnv):
    """An episode is as long as its seed says."""

    def __init__(self) -> None:
        self.env_id, self.n_actions = "seed-length", 2
        self.observation_space = spaces.Box(0, np.inf, (1,), np.float32)
        self.begun: list[int] = []
        self._left = 0

    def reset(self, seed: int | None = None) -> None:
        assert seed is not None
        self.begun.append(seed)
        self._left = seed

    def advance(self, action: int) -> Advance:
        self._left -= 1
        return 0.0, self._left == 0, False, {}

    def observe(self, out: NDArray[Any] | None = None) -> NDArray[Any]:
        return np.array([self._left], np.float32)


@given(st.lists(st.integers(1, 9), max_size=12), st.integers(1, 5))
def test_every_start_is_played_once_to_its_end_in_order(lengths: list[int], n_envs: int) -> None:
    envs = [SeedLengthEnv() for _ in range(n_envs)]
    vector = VectorSplit(envs, "disabled")
    lanes = Lanes(vector, [Start(length) for length in lengths])
    steps = [0] * len(lengths)
    begun: list[int] = []
    while lanes.running.any():
        for episode in lanes.episode[lanes.running].tolist():
            steps[episode] += 1
            begun += [episode] if steps[episode] == 1 else []
        lanes.begin_next(vector.advance(np.zeros(n_envs, np.int64), lanes.running).done)
    assert steps == lengths  # long episodes too, whatever the others did
    assert begun == list(range(len(lengths)))
    assert sorted(seed for env in envs for seed in env.begun) == sorted(lengths)


def test_more_environments_than_episodes_stay_idle() -> None:
    lanes = Lanes(VectorSplit([corridor() for _ in range(3)], "disabled"), [Start(0)])
    assert lanes.episode.tolist() == [0, -1, -1]
    assert lanes.running.tolist() == [True, False, False]


def test_environments_that_reset_themselves_are_refused() -> None:
    with pytest.raises(SettingError, match="needs autoreset 'disabled', got 'same_step'"):
        Lanes(VectorSplit([corridor()], "same_step"), [Start(0)])


def test_random_prefixes_have_every_length_and_action() -> None:
    starts = random_starts(range(500), 3, np.random.default_rng(0), prefix=(2, 5))
    assert [start.seed for start in starts] == list(range(500))
    assert {len(start.prefix) for start in starts} == {2, 3, 4, 5}
    assert {action for start in starts for action in start.prefix} == {0, 1, 2}
    assert random_starts(range(3), 3, np.random.default_rng(0)) == [Start(0), Start(1), Start(2)]


def test_a_share_of_the_starts_has_a_prefix() -> None:
    def lengths(share: float) -> list[int]:
        starts = random_starts(range(400), 3, np.random.default_rng(0), prefix=(2, 5), share=share)
        return [len(start.prefix) for start in starts]

    assert set(lengths(0.0)) == {0}
    assert 250 < sum(length > 0 for length in lengths(0.75)) < 350
    assert set(lengths(0.75)) == {0, 2, 3, 4, 5}
    assert lengths(1.0) == [len(s.prefix) for s in random_starts(range(400), 3, np.random.default_rng(0), prefix=(2, 5))]


def test_the_seed_of_the_prefixes_bites() -> None:
    first, again, other = (random_starts(range(9), 3, np.random.default_rng(s), prefix=(3, 3)) for s in (1, 1, 2))
    assert first == again != other


@pytest.mark.parametrize("prefix", [(-1, 2), (3, 2)])
def test_an_empty_range_of_prefixes_is_refused(prefix: tuple[int, int]) -> None:
    with pytest.raises(SettingError, match=f"0 <= low <= high, got {prefix[0]}:{prefix[1]}"):
        random_starts([0], 2, np.random.default_rng(0), prefix=prefix)


@pytest.mark.parametrize("n_envs", [1, 3])
def test_episodes_without_an_end_are_refused(n_envs: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vector_module, "PATIENCE", 30)
    vector = VectorSplit([SeedLengthEnv() for _ in range(n_envs)], "disabled")

    def play(lengths: list[int]) -> None:
        lanes = Lanes(vector, [Start(length) for length in lengths])
        while lanes.running.any():
            lanes.begin_next(vector.advance(np.zeros(n_envs, np.int64), lanes.running).done)

    play([30 // n_envs] * 9)  # long, and long together, but they end
    with pytest.raises(UnsupportedEnvironmentError, match="^seed-length: no episode ended within 30 steps; give it a step"):
        play([5, 5, 5, 40, 40, 40])
