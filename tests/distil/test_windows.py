from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from phr.distil.windows import cut_windows
from phr.errors import InvalidDataError
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
            steps, valid = cut_windows(np.array(lengths), horizon, stride=stride, pad=pad)
            found = [
                [places[step] if ok else None for step, ok in zip(row, ends, strict=True)]
                for row, ends in zip(steps.tolist(), valid.tolist(), strict=True)
            ]
            assert found == expected


@given(lengths_lists, st.integers(1, 12), st.integers(1, 6))
def test_no_window_leaves_its_episode_even_where_it_is_padded(lengths: list[int], horizon: int, stride: int) -> None:
    steps, valid = cut_windows(np.array(lengths), horizon, stride=stride)
    owner = np.repeat(np.arange(len(lengths)), lengths)
    last = np.cumsum(lengths) - 1
    assert (owner[steps] == owner[steps[:, 0]][:, None]).all()
    assert (steps[~valid] == np.broadcast_to(last[owner[steps[:, 0]]][:, None], steps.shape)[~valid]).all()
    assert (valid[:, :-1] >= valid[:, 1:]).all()  # valid steps come first


@given(lengths_lists, st.integers(1, 12), st.integers(1, 12))
def test_the_first_window_of_every_episode_is_kept(lengths: list[int], horizon: int, stride: int) -> None:
    steps, _ = cut_windows(np.array(lengths), horizon, stride=stride)
    firsts = np.cumsum(lengths) - lengths
    assert set(firsts.tolist()) <= set(steps[:, 0].tolist())


@given(lengths_lists, st.integers(1, 12))
def test_with_stride_one_and_padding_every_step_is_a_source_once(lengths: list[int], horizon: int) -> None:
    steps, valid = cut_windows(np.array(lengths), horizon)
    assert steps[:, 0].tolist() == list(range(sum(lengths)))
    assert len(steps) == sum(lengths)
    assert steps.shape[1] == horizon
    expected = sum(min(horizon, length - t) for length in lengths for t in range(length))
    assert valid.sum() == expected


@given(lengths_lists, st.integers(1, 9))
def test_the_strict_cut_keeps_only_whole_windows(lengths: list[int], horizon: int) -> None:
    n_windows = sum(max(length - horizon + 1, 0) for length in lengths)  # t <= m - n + 1, per trajectory
    if n_windows:
        steps, valid = cut_windows(np.array(lengths), horizon, pad=False)
        assert valid.all()
        assert len(steps) == n_windows


def test_the_paper_s_own_numbers() -> None:
    """METHOD: an optimal Crossing episode of 14 steps yields nothing at horizon 16 by the strict cut."""
    for stride, pad, starts in ((5, False, [0, 5, 10]), (5, True, [0, 5, 10]), (4, True, [0, 4, 8, 12])):
        assert cut_windows(np.array([14]), 4, stride=stride, pad=pad)[0][:, 0].tolist() == starts
    with pytest.raises(InvalidDataError, match="no episode is as long as the horizon 16 .the longest has 14 steps."):
        cut_windows(np.array([13, 14]), 16, pad=False)


def test_no_lengths_give_no_window() -> None:
    with pytest.raises(InvalidDataError, match="no episode"):
        cut_windows(np.zeros(0, np.int64), 2)


def test_windows_over_experience_point_into_its_joined_arrays() -> None:
    both = experience(trajectory([0.0, 1.0]), trajectory([0.0, 0.0, 1.0], first=2))
    steps, valid = cut_windows(both.lengths, 2, stride=2)
    obs, actions = both.joined("obs"), both.joined("actions")
    assert obs[steps[:, 0], 0].tolist() == [0, 2, 4]
    assert actions[steps].tolist() == [[0, 1], [2, 0], [1, 1]]
    assert valid.tolist() == [[True, True], [True, True], [True, False]]
