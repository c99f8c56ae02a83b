from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from phr.errors import InvalidDataError
from phr.evaluation.episodes import Jitter, measure_jitter

EFFECTS = st.lists(st.lists(st.sampled_from([-1, 0, 1]), max_size=12), min_size=1, max_size=4)


def arrays(*episodes: list[int]) -> list[NDArray[np.int64]]:
    return [np.array(episode, np.int64) for episode in episodes]


def slow(episodes: list[list[int]]) -> tuple[int, int, int]:
    """Steps that have one before them, changes, reversals: one step at a time."""
    steps = changes = reversals = 0
    for episode in episodes:
        last_push = 0
        for index, effect in enumerate(episode):
            if index:
                steps += 1
                changes += effect != episode[index - 1]
                reversals += effect != 0 and last_push == -effect
            last_push = effect or last_push
    return steps, changes, reversals


@given(EFFECTS)
def test_jitter_equals_a_slow_loop(episodes: list[list[int]]) -> None:
    steps, changes, reversals = slow(episodes)
    if not steps:
        with pytest.raises(InvalidDataError, match="has two"):
            measure_jitter(arrays(*episodes))
        return
    found = measure_jitter(arrays(*episodes))
    assert found == Jitter(changes / steps, reversals / steps)
    assert 0 <= found.reversals <= found.changes <= 1
    assert measure_jitter(arrays(*episodes, *episodes)) == found, "the same episodes twice"
    assert measure_jitter([-effects for effects in arrays(*episodes)]) == found, "up for down"


def test_jitter_by_hand() -> None:
    assert measure_jitter(arrays([1, 1, 1])) == Jitter(0.0, 0.0)
    assert measure_jitter(arrays([1, -1, 1])) == Jitter(1.0, 1.0)
    assert measure_jitter(arrays([1, 0, 1, 0, 1])) == Jitter(1.0, 0.0), "pausing is no reversal"
    assert measure_jitter(arrays([1, 0, -1])) == Jitter(1.0, 0.5), "a pause hides none either"
    assert measure_jitter(arrays([1, 1], [-1, -1])) == Jitter(0.0, 0.0), "episodes have nothing to do with each other"
    with pytest.raises(InvalidDataError, match="an effect is -1, 0 or 1, got 3"):
        measure_jitter(arrays([0, 3]))
