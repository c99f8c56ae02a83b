from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from gymnasium.wrappers import TimeLimit

from phr.distil.runs import check_experience, named, record_teacher
from phr.distil.windows import cut_windows
from phr.errors import IncompatibleModelError, NoSuccessError
from phr.experience.success import Keep
from phr.experience.trajectory import Experience
from phr.storage.model import load_model
from tests.experience.builders import experience as made_up
from tests.experience.builders import trajectory
from tests.helpers import LEFT, RIGHT, CorridorEnv, TablePlanner, always_right
from tests.trained import CORRIDOR, corridor_experience, corridor_teacher, phr_config, saved


def test_the_teacher_is_recorded_greedily_from_varied_starts() -> None:
    planner = TablePlanner(np.tile([0.0, 1.0], (5, 1, 1)))  # rather right than left
    told: list[int] = []
    experience, selection = record_teacher(
        planner, CORRIDOR, phr_config(n_episodes=50), on_progress=lambda progress: told.append(progress.done)
    )
    assert len(experience.trajectories) == told[-1] == 50
    assert (experience.joined("actions") == RIGHT).all()
    assert {int(t.obs[0].argmax()) for t in experience.trajectories} == {0, 1, 2, 3}
    assert selection.is_success
    sampled, _ = record_teacher(planner, CORRIDOR, phr_config(n_episodes=50, sample_labels=True))
    assert set(sampled.joined("actions").tolist()) == {LEFT, RIGHT}


def test_a_share_of_the_episodes_begins_plainly() -> None:
    def starts(share: float) -> list[int]:
        config = phr_config(n_episodes=60, prefix=(1, 1), prefix_share=share)
        planner = TablePlanner(np.tile([0.0, 1.0], (5, 1, 1)))
        episodes, _ = record_teacher(planner, CORRIDOR, config)
        return [int(t.obs[0].argmax()) for t in episodes.trajectories]

    assert set(starts(0.0)) == {0}
    assert set(starts(1.0)) == {0, 1}, "one step left at the wall, or right"
    assert starts(1.0).count(0) < starts(0.5).count(0) < 60


class Half(CorridorEnv):
    """Reports every second episode as a failure, whatever happened; each shows which one it is."""

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        obs, info = super().reset(seed=seed)
        self.fails = bool(self.np_random.integers(2))
        return obs, info

    def step(self, action: Any) -> Any:
        obs, reward, ends, cut, info = super().step(action)
        return obs, reward + 2.0 * self.fails, ends, cut, {**info, "is_success": not self.fails}


def make_half() -> Any:
    return TimeLimit(Half(), 20)


@pytest.mark.parametrize(("keep", "fails"), [("auto", {False}), ("successes", {False}), ("all", {False, True})])
def test_a_recorded_failure_is_dropped_from_what_is_learnt(keep: Keep, fails: set[bool]) -> None:
    """A failed episode pays 2 a step more, by which every window of it would be known."""
    config = phr_config(n_episodes=40, prefix=(0, 0), keep=keep)
    recorded, selection = record_teacher(always_right(), "tests.distil.test_recording:make_half", config)
    assert {float(trajectory.rewards[0]) >= 2 for trajectory in recorded.trajectories} == fails
    assert len(recorded.trajectories) == selection.keep.sum() == (40 if keep == "all" else len(recorded.trajectories))
    assert 0 < len(recorded.trajectories) < 40 or keep == "all"
    steps, _ = cut_windows(recorded.lengths, 4)
    assert {reward >= 2 for reward in recorded.joined("rewards")[steps].ravel().tolist()} == fails


def test_a_quantile_keeps_the_best_of_what_was_recorded() -> None:
    config = phr_config(n_episodes=40, prefix=(0, 0), keep=0.99)
    recorded, selection = record_teacher(always_right(), "tests.distil.test_recording:make_half", config)
    assert {trajectory.episode_return for trajectory in recorded.trajectories} == {9.0}, "the best are the failures here"
    assert not selection.is_success


def test_a_teacher_that_never_succeeds_is_refused_after_the_first_episodes_unless_all_are_kept() -> None:
    done: list[int] = []
    words = {"n_episodes": 300, "prefix": (0, 0)}
    with pytest.raises(NoSuccessError, match="none of 128 episodes"):
        record_teacher(always_right(), "tests.helpers:make_contrary", phr_config(**words))
    recorded, _ = record_teacher(
        always_right(),
        "tests.helpers:make_contrary",
        phr_config(**words, keep="all"),
        on_progress=lambda progress: done.append(progress.done),
    )
    assert len(recorded.trajectories) == done[-1] == 300


def check(experience: Experience, env_id: str = CORRIDOR, teacher_id: str = "", **settings: Any) -> None:
    identity = teacher_id or corridor_teacher().sha256
    check_experience(experience, env_id, phr_config(**settings), teacher="runs/mine", teacher_id=identity)


def test_experience_says_whose_it_is_and_how_it_was_recorded() -> None:
    config = phr_config(seed=7, prefix=(1, 3), sample_labels=True)
    origin = named(made_up(trajectory([1.0])), config, teacher="zoo:mine", teacher_id="abc").origin
    assert origin is not None
    assert (origin.teacher, origin.teacher_id, origin.seed, origin.prefix) == ("zoo:mine", "abc", 7, (1, 3))
    assert origin.sampled
    assert {"phr", "torch", "numpy", "gymnasium"} <= set(origin.versions)


def test_the_teacher_that_was_recorded_may_be_distilled(tmp_path: Any) -> None:
    check(corridor_experience())
    check(corridor_experience(), teacher_id=load_model(saved(corridor_teacher(), tmp_path)).sha256)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({"env_id": "CartPole-v1"}, f"recorded in {CORRIDOR}, not in CartPole-v1"),
        (
            {"teacher_id": "0123456789abcdef"},
            r"recorded from another teacher: a model in memory \([0-9a-f]{12}\), not runs/mine \(0123456789ab\)",
        ),
        ({"sample_labels": True}, "recorded from a greedy teacher, the settings ask for a sampling one"),
    ],
)
def test_what_does_not_fit_is_refused(words: dict[str, Any], message: str) -> None:
    with pytest.raises(IncompatibleModelError, match=message):
        check(corridor_experience(), **words)


def test_experience_of_nobody_is_refused() -> None:
    with pytest.raises(IncompatibleModelError, match="does not record its teacher"):
        check(replace(corridor_experience(), origin=None))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: replace(t, obs=t.obs[:, :4]), r"observations \(4,\) of float32 and 2 actions, .* has \(5,\)"),
        (lambda t: replace(t, obs=t.obs.astype(np.float64)), "of float64 and 2 actions, .* of float32 and 2"),
        (
            lambda t: replace(t, teacher_logits=np.pad(t.teacher_logits, ((0, 0), (0, 1)))),
            "and 3 actions, .* and 2 actions$",
        ),
    ],
)
def test_experience_of_other_spaces_is_refused(change: Any, message: str) -> None:
    recorded = corridor_experience()
    changed = replace(recorded, trajectories=tuple(change(t) for t in recorded.trajectories), actions_in=None)
    with pytest.raises(IncompatibleModelError, match=message):
        check(changed)


@pytest.mark.parametrize(
    ("n_episodes", "record_steps", "expected"),
    [(64, 10**6, 64), (64, 100, 25), (64, 1, 8), (128, 1, 16), (200, 1, 128), (200, 4 * 150, 150), (3, 1, 1)],
)
def test_no_more_is_recorded_than_the_steps_wanted(n_episodes: int, record_steps: int, expected: int) -> None:
    """Each episode has four steps; an eighth of the episodes, at most 128, are played to know that."""
    config = phr_config(n_episodes=n_episodes, record_steps=record_steps, prefix=(0, 0))
    experience, _ = record_teacher(corridor_teacher().planner, CORRIDOR, config)
    assert len(experience.trajectories) == expected
