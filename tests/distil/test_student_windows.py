from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces

from phr.actions import Discrete
from phr.distil.losses import smoothed
from phr.distil.windows import StudentWindowData, StudentWindows, WindowData, joined
from tests.trained import corridor_experience, phr_config

SPACE = spaces.Box(0, 1, (5,), np.float32)


def windows(n: int, first: int = 0, n_valid: int = 4) -> StudentWindows:
    numbers = np.arange(first, first + n)
    return StudentWindows(
        obs=np.repeat(numbers[:, None], 5, axis=1).astype(np.float32),
        actions=np.full((n, 4), 1, np.int64),
        teacher_logits=np.sin(np.arange(first * 8, (first + n) * 8)).reshape(n, 4, 2).astype(np.float32),
        valid=np.tile(np.arange(4) < n_valid, (n, 1)),
        envs=np.zeros(n, np.int64),
        episodes=np.zeros(n, np.int64),
    )


def filled(*parts: StudentWindows, unique: bool = True, **settings: Any) -> StudentWindowData:
    data = StudentWindowData(50, SPACE, Discrete(2), 2, phr_config(**settings), unique=unique)
    for part in parts:
        data.add(part, part.keys(), np.ones(len(part), bool))
    return data


def test_what_was_added_comes_back() -> None:
    first, second = windows(3), windows(2, first=7)
    data = filled(first, second, teacher_smoothing=0.0)
    obs, logits, actions, valid = data.batch(torch.arange(5))
    np.testing.assert_array_equal(obs, np.concatenate([first.obs, second.obs]))
    np.testing.assert_array_equal(logits, np.concatenate([first.teacher_logits, second.teacher_logits]))
    np.testing.assert_array_equal(actions, np.ones((5, 4)))
    np.testing.assert_array_equal(valid, np.ones((5, 4)))
    assert set(data.draw(np.random.default_rng(0), 200).tolist()) == set(range(5))


def test_what_repeats_itself_is_kept_once_if_asked() -> None:
    parts = (windows(3), windows(3), windows(4, first=2))
    assert len(filled(*parts)) == 6
    assert len(filled(*parts, unique=False)) == 10


@pytest.mark.parametrize("mode", ["shared", "frozen", "own", "anchored"])
def test_only_windows_with_something_to_regress_are_kept(mode: str) -> None:
    assert len(filled(windows(3, n_valid=1), trunk_mode=mode)) == (3 if mode == "anchored" else 0)
    assert len(filled(windows(3, n_valid=2), trunk_mode=mode)) == 3


def test_the_strict_cut_keeps_whole_windows() -> None:
    assert len(filled(windows(3, n_valid=3), windows(2), pad=False)) == 2


def test_rows_are_smoothed_as_those_of_the_teachers_own_episodes() -> None:
    data = filled(windows(3), loss="kl", teacher_smoothing=0.1)
    torch.testing.assert_close(data.batch(torch.arange(3))[1], smoothed(torch.from_numpy(windows(3).teacher_logits), 0.1))


def test_a_batch_has_the_windows_of_all_sets_in_order() -> None:
    experience, led = WindowData(corridor_experience(), phr_config()), filled(windows(2, first=7))
    obs, logits, actions, valid = joined([(experience, torch.tensor([0, 3])), (led, torch.tensor([1, 0, 1]))])
    assert obs[2:, 0].tolist() == [8, 7, 8]
    for found, expected in zip((obs, logits, actions, valid), experience.batch(torch.tensor([0, 3])), strict=True):
        torch.testing.assert_close(found[:2], expected)
        assert len(found) == 5


def shares(data: StudentWindowData, priority: float, n: int = 20_000) -> torch.Tensor:
    rng = np.random.default_rng(0)
    drawn = torch.cat([data.draw(rng, 1, priority) for _ in range(n)])  # each among eight random ones
    return drawn.bincount(minlength=len(data)) / n


@pytest.mark.parametrize("priority", [0.0, 0.5, 0.9])
def test_windows_are_drawn_in_proportion_to_what_they_lack(priority: float) -> None:
    data, lack = filled(windows(10)), torch.linspace(0.0, 3.0, 10)
    data.lack[:10] = lack
    weights = priority * lack / lack.mean() + (1 - priority)
    torch.testing.assert_close(shares(data, priority), weights / weights.sum(), atol=0.02, rtol=0.0)


def test_a_rare_window_comes_at_most_eight_times_as_often_as_by_chance() -> None:
    data = filled(windows(45))
    data.lack[:45] = 0.0
    data.lack[7] = 5.0
    share = float(shares(data, 0.9)[7])  # in all draws that meet it, nearly: 1 - (44 / 45)^8 = .165, weighted by .94
    assert 0.13 < share < 8 / 45


def test_unknown_windows_count_as_average_ones_and_none_starves() -> None:
    data = filled(windows(10))
    data.lack[:5] = torch.tensor([0.0, 0.0, 0.0, 0.0, 5.0])  # mean 1, as the unknown ones
    drawn = shares(data, 0.6, 5000)
    assert drawn[4] > drawn[5:].max() > drawn[5:].min() > drawn[:4].max() > drawn[:4].min() > 0
    data.lack[:10] = 0.0  # nothing is lacking: all alike
    assert shares(data, 0.6, 5000).min() > 0.08
