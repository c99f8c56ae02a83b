from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from phr.distil.windows import Windows, cut_windows, window_starts, windows_of
from phr.errors import HorizonError, InvalidDataError, SettingError
from tests.experience.builders import experience, trajectory

lengths_lists = st.lists(st.integers(1, 9), min_size=1, max_size=5)


def brute_force(lengths: list[int], horizon: int, stride: int, pad: bool) -> list[list[tuple[int, int] | None]]:
    """Every window as (trajectory, step) pairs, None where nothing was done any more: the paper's t = 1, 1+α, ..."""
    windows = []
    for number, length in enumerate(lengths):
        for t in range(length):
            if t % stride == 0 and (pad or t + horizon <= length):
                windows.append([(number, t + k) if t + k < length else None for k in range(horizon)])
    return windows


@pytest.mark.parametrize("pad", [True, False])
def test_windows_equal_a_brute_force_enumeration(pad: bool) -> None:
    for lengths in [*itertools.product(range(1, 5), repeat=2), (7,), (1, 6, 2)]:
        places = [(number, t) for number, length in enumerate(lengths) for t in range(length)]
        for horizon, stride in itertools.product(range(1, 7), range(1, 5)):
            expected = brute_force(list(lengths), horizon, stride, pad)
            if not expected:
                with pytest.raises(InvalidDataError):
                    cut_windows(np.array(lengths), horizon, stride=stride, pad=pad)
                continue
            windows = cut_windows(np.array(lengths), horizon, stride=stride, pad=pad)
            found = [
                [places[step] if ok else None for step, ok in zip(steps, valid, strict=True)]
                for steps, valid in zip(windows.steps.tolist(), windows.valid.tolist(), strict=True)
            ]
            assert found == expected
            assert [places[source] for source in windows.sources] == [window[0] for window in expected]


@given(lengths_lists, st.integers(1, 12), st.integers(1, 6))
def test_no_window_leaves_its_episode_even_where_it_is_padded(lengths: list[int], horizon: int, stride: int) -> None:
    windows = cut_windows(np.array(lengths), horizon, stride=stride)
    owner = np.repeat(np.arange(len(lengths)), lengths)
    last = np.cumsum(lengths) - 1
    assert (owner[windows.steps] == owner[windows.sources][:, None]).all()
    assert (
        windows.steps[~windows.valid]
        == np.broadcast_to(last[owner[windows.sources]][:, None], windows.steps.shape)[~windows.valid]
    ).all()
    assert (windows.valid[:, :-1] >= windows.valid[:, 1:]).all()  # valid steps come first


@given(lengths_lists, st.integers(1, 12), st.integers(1, 12))
def test_the_first_window_of_every_episode_is_kept(lengths: list[int], horizon: int, stride: int) -> None:
    windows = cut_windows(np.array(lengths), horizon, stride=stride)
    firsts = np.cumsum(lengths) - lengths
    assert set(firsts.tolist()) <= set(windows.sources.tolist())


@given(lengths_lists, st.integers(1, 12))
def test_with_stride_one_and_padding_every_step_is_a_source_once(lengths: list[int], horizon: int) -> None:
    windows = cut_windows(np.array(lengths), horizon)
    assert windows.sources.tolist() == list(range(sum(lengths)))
    assert len(windows) == sum(lengths)
    assert windows.horizon == horizon
    expected = sum(min(horizon, length - t) for length in lengths for t in range(length))
    assert windows.valid.sum() == expected


@given(lengths_lists, st.integers(1, 9))
def test_the_strict_cut_keeps_only_whole_windows(lengths: list[int], horizon: int) -> None:
    n_windows = sum(max(length - horizon + 1, 0) for length in lengths)  # t <= m - n + 1, per trajectory
    if n_windows:
        windows = cut_windows(np.array(lengths), horizon, pad=False)
        assert windows.valid.all()
        assert len(windows) == n_windows


def test_the_paper_s_own_numbers() -> None:
    """METHOD: an optimal Crossing episode of 14 steps yields nothing at horizon 16 by the strict cut."""
    assert window_starts(14, 16, 1, pad=False).tolist() == []
    assert window_starts(14, 4, 5, pad=False).tolist() == [0, 5, 10]
    assert window_starts(14, 4, 5, pad=True).tolist() == [0, 5, 10]
    assert window_starts(14, 4, 4, pad=True).tolist() == [0, 4, 8, 12]
    with pytest.raises(InvalidDataError, match="no episode is as long as the horizon 16 .the longest has 14 steps."):
        cut_windows(np.array([13, 14]), 16, pad=False)


def test_no_lengths_give_no_window() -> None:
    with pytest.raises(InvalidDataError, match="no episode"):
        cut_windows(np.zeros(0, np.int64), 2)


def test_impossible_settings_are_refused() -> None:
    with pytest.raises(HorizonError, match="the horizon must be >= 1, got 0"):
        cut_windows(np.array([3]), 0)
    with pytest.raises(SettingError, match="window_stride must be >= 1, got 0"):
        cut_windows(np.array([3]), 1, stride=0)


def test_windows_over_experience_point_into_its_joined_arrays() -> None:
    both = experience(trajectory([0.0, 1.0]), trajectory([0.0, 0.0, 1.0], first=2))
    windows = windows_of(both, 2, stride=2)
    obs, actions = both.joined("obs"), both.joined("actions")
    assert obs[windows.sources, 0].tolist() == [0, 2, 4]
    assert actions[windows.steps].tolist() == [[0, 1], [2, 0], [1, 1]]
    assert windows.valid.tolist() == [[True, True], [True, True], [True, False]]


def test_windows_that_contradict_themselves_are_refused() -> None:
    steps, valid = np.array([[0, 1], [1, 2]]), np.ones((2, 2), bool)
    Windows(np.array([0, 1]), steps, valid)
    with pytest.raises(InvalidDataError, match="windows disagree: 1 sources"):
        Windows(np.array([0]), steps, valid)
    with pytest.raises(InvalidDataError, match="windows disagree"):
        Windows(np.array([0, 1]), steps, valid[:, :1])
    with pytest.raises(InvalidDataError, match="the first step of every window must be its source"):
        Windows(np.array([1, 1]), steps, valid)
    with pytest.raises(InvalidDataError, match="and valid"):
        Windows(np.array([0, 1]), steps, ~valid)
