from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces

from phr.actions import Discrete
from phr.distil.losses import smoothed
from phr.distil.windows import StudentWindowData, StudentWindows, WindowData, mixed_batch
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
    assert set(data.draw(np.random.default_rng(0), 200)[0][:, 0].tolist()) == {0, 1, 2, 7, 8}


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


@pytest.mark.parametrize(("share", "n_student"), [(0.5, 32), (0.25, 16), (1.0, 64)])
def test_a_batch_mixes_in_a_fixed_part_whatever_the_sizes(share: float, n_student: int) -> None:
    experience = WindowData(corridor_experience(), phr_config())
    led = filled(windows(2, first=7))
    obs, logits, actions, valid = mixed_batch(experience, led, share, np.random.default_rng(0), 64)
    assert (obs[:, 0] >= 7).sum() == n_student
    assert {len(part) for part in (obs, logits, actions, valid)} == {64}
