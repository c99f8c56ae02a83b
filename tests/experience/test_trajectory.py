from __future__ import annotations

from dataclasses import FrozenInstanceError, replace
from typing import Any

import numpy as np
import pytest

from phr.errors import InvalidDataError, NonFiniteError
from phr.experience.trajectory import Experience
from tests.experience.builders import experience, trajectory


def test_length_and_return() -> None:
    one = trajectory([0.5, -1.0, 2.0])
    assert one.length == 3
    assert one.episode_return == 1.5


@pytest.mark.parametrize("name", ["obs", "actions", "teacher_logits", "rewards"])
def test_every_array_needs_one_entry_per_step(name: str) -> None:
    one = trajectory([0.0, 0.0, 1.0])
    with pytest.raises(InvalidDataError, match=f"one entry per step in every array, got .*'{name}': 2"):
        replace(one, **{name: getattr(one, name)[:2]})


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e300])
@pytest.mark.parametrize("name", ["obs", "actions", "teacher_logits", "rewards"])
def test_numbers_that_are_not_finite_are_refused_with_their_step(name: str, value: float) -> None:
    one = trajectory([0.0, 0.5, 1.0])
    arrays: dict[str, Any] = {"actions": np.zeros((3, 3)), name: np.array(getattr(one, name), np.float64)}
    if name == "actions":
        arrays[name] = np.zeros((3, 3))
    arrays[name].reshape(3, -1)[2, 0] = value
    if name == "obs" and np.isfinite(value):
        assert replace(one, **arrays).obs[2, 0] == value, "observations keep their number type"
        return
    with pytest.raises(NonFiniteError, match=rf"{name} contains NaN or Inf at step 2 of 3 \(from 0\)"):
        replace(one, **arrays)


def test_data_that_holds_arrays_compares_by_identity() -> None:
    one, same = trajectory([0.0, 1.0]), trajectory([0.0, 1.0])
    assert one != same
    assert one == one
    assert len({one, same}) == 2
    assert experience(one) != experience(same)


def test_an_empty_episode_is_refused() -> None:
    with pytest.raises(InvalidDataError, match="one entry per step"):
        trajectory([])


def test_an_episode_must_have_ended() -> None:
    with pytest.raises(InvalidDataError, match="a trajectory of 2 steps has not ended"):
        trajectory([0.0, 0.0], terminated=False)


@pytest.mark.parametrize("action", [-1, 3])
def test_actions_must_have_logits(action: int) -> None:
    with pytest.raises(InvalidDataError, match=r"actions lie in .*, but there are 3 logits"):
        replace(trajectory([0.0, 1.0]), actions=np.array([0, action]))


def test_logits_and_actions_must_have_their_axes() -> None:
    one = trajectory([0.0, 1.0])
    with pytest.raises(InvalidDataError, match=r"needs logits \(length, n_actions\), got \(2,\)"):
        replace(one, teacher_logits=one.teacher_logits[:, 0])
    with pytest.raises(InvalidDataError, match=r"3 actions needs whole-numbered actions \(n,\), got int64 of \(2, 1\)"):
        experience(replace(one, actions=one.actions[:, None]))


def test_a_trajectory_is_frozen() -> None:
    one = trajectory([1.0])
    with pytest.raises(FrozenInstanceError):
        one.terminated = False  # type: ignore[misc]


def test_joined_arrays_lie_end_to_end() -> None:
    both = experience(trajectory([0.0, 1.0]), trajectory([2.0, 3.0, 4.0], first=2))
    assert both.lengths.tolist() == [2, 3]
    assert both.joined("rewards").tolist() == [0, 1, 2, 3, 4]
    assert both.joined("obs")[:, 0].tolist() == [0, 1, 2, 3, 4]
    assert (both.n_actions, both.obs_shape) == (3, (2,))


def test_a_subset_keeps_the_order() -> None:
    parts = [trajectory([float(k)]) for k in range(4)]
    assert experience(*parts).subset([True, False, False, True]).trajectories == (parts[0], parts[3])
    with pytest.raises(InvalidDataError, match="at least one trajectory"):
        experience(*parts).subset(np.zeros(4, bool))


def test_trajectories_must_agree() -> None:
    one = trajectory([1.0])
    others = [
        trajectory([1.0], n_actions=2),
        replace(one, obs=one.obs[:, :1]),
        replace(one, obs=one.obs.astype(np.float64)),
    ]
    for other in others:
        with pytest.raises(InvalidDataError, match="trajectories disagree"):
            experience(one, other)
    with pytest.raises(InvalidDataError, match="at least one trajectory"):
        Experience("made-up", ())
