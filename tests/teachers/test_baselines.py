from __future__ import annotations

import numpy as np
import pytest

from phr.errors import HorizonError
from phr.protocols import Planner
from phr.teachers.baselines import RandomPlanner, RepeatPlanner
from tests.helpers import TablePlanner


def test_the_first_distribution_is_repeated() -> None:
    inner = TablePlanner.random(np.random.default_rng(0), n_states=5, horizon=3, n_actions=4)
    repeat: Planner = RepeatPlanner(inner, 6)
    looks = np.eye(5, dtype=np.float32)
    logits = RepeatPlanner(inner, 6).plan(looks).logits
    assert (repeat.horizon, repeat.n_actions) == (6, 4)
    for step in range(6):
        np.testing.assert_array_equal(logits[:, step], inner.plan(looks).logits[:, 0])
    with pytest.raises(HorizonError, match="the horizon must be >= 1, got 0"):
        RepeatPlanner(inner, 0)


def test_random_actions_are_uniform_and_follow_their_rng() -> None:
    looks = np.zeros((6000, 1), np.float32)
    first, again, other = (RandomPlanner(3, np.random.default_rng(s), 2).plan(looks).mode() for s in (1, 1, 2))
    assert first.shape == (6000, 2)
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()
    shares = np.bincount(first.ravel(), minlength=3) / first.size
    assert np.abs(shares - 1 / 3).max() < 4 * np.sqrt(2 / 9 / first.size)
