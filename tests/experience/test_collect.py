from __future__ import annotations

import gc
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from phr.distil.windows import cut_windows
from phr.envs.registry import split_env
from phr.envs.vector import Start, VectorSplit, random_starts
from phr.errors import BrokenEnvironmentError, InvalidDataError, NonFiniteError, NoSuccessError, SettingError
from phr.experience import collect
from phr.experience.collect import collect_experience
from phr.experience.success import select_episodes
from phr.experience.trajectory import Trajectory
from phr.plan import CategoricalPlan, FloatArray, IntArray
from tests.helpers import LEFT, RIGHT, CorridorEnv, TablePlanner, always_right, corridor, make_contrary, noisy


class LinearTeacher:
    """Logits that are a fixed linear function of the observation, given out in one buffer that is used again."""

    def __init__(self, n_features: int = 3, n_actions: int = 3, horizon: int = 1) -> None:
        self.n_actions, self.horizon = n_actions, horizon
        self._weights = np.random.default_rng(5).normal(size=(n_features, horizon, n_actions))
        self._buffer = np.zeros((64, horizon, n_actions), np.float32)

    def logits(self, obs: NDArray[Any]) -> NDArray[np.float32]:
        return np.tensordot(obs, self._weights, axes=1).astype(np.float32)

    def plan(self, obs: NDArray[Any]) -> CategoricalPlan:
        self._buffer[: len(obs)] = self.logits(obs)
        return CategoricalPlan(self._buffer[: len(obs)])


def one_by_one(teacher: LinearTeacher, start: Start) -> tuple[list[Any], list[int], list[float], bool, bool]:
    """The slow way: one environment, one loop."""
    env = noisy()
    start.enter(env)
    obs, actions, rewards = [], [], []
    terminated = truncated = False
    while not (terminated or truncated):
        obs.append(env.observe())
        actions.append(int(teacher.logits(obs[-1])[0].argmax()))
        reward, terminated, truncated, _ = env.advance(actions[-1])
        rewards.append(reward)
    return obs, actions, rewards, terminated, truncated


def test_episodes_that_have_ended_are_not_kept_twice() -> None:
    """While it is recorded an episode is a list of steps; that list goes when the episode has ended."""
    growing: list[int] = []

    def count(_n_ended: int) -> None:
        lists = [each for each in gc.get_objects() if type(each) is list and each and type(each[0]) is tuple]
        growing.append(sum(len(each[0]) == 4 and isinstance(each[0][0], np.ndarray) for each in lists))

    vector = VectorSplit([noisy() for _ in range(2)], "disabled")
    starts = random_starts(range(8), 3, np.random.default_rng(0))
    assert len(collect_experience(LinearTeacher(), vector, starts, on_episode=count).trajectories) == 8
    assert max(growing) <= 2


@pytest.mark.parametrize("n_envs", [1, 4, 40])
@pytest.mark.parametrize("horizon", [1, 3])
def test_experience_equals_episodes_played_one_by_one(n_envs: int, horizon: int) -> None:
    teacher = LinearTeacher(horizon=horizon)
    starts = random_starts(range(25), 3, np.random.default_rng(0), prefix=(0, 4))
    vector = VectorSplit([noisy() for _ in range(n_envs)], "disabled")
    experience = collect_experience(teacher, vector, starts)
    assert experience.env_id == "noisy"
    assert len(experience.trajectories) == len(starts)
    for trajectory, start in zip(experience.trajectories, starts, strict=True):
        obs, actions, rewards, terminated, truncated = one_by_one(teacher, start)
        np.testing.assert_array_equal(trajectory.obs, obs)
        assert trajectory.actions.tolist() == actions
        np.testing.assert_array_equal(trajectory.rewards, np.array(rewards, np.float32))
        assert (trajectory.terminated, trajectory.truncated) == (terminated, truncated)
        np.testing.assert_allclose(trajectory.teacher_logits, teacher.logits(np.array(obs))[:, 0], rtol=1e-6)


def test_the_terminal_observation_is_neither_source_nor_label() -> None:
    starts = [Start(0, (RIGHT,) * k) for k in range(4)]
    vector = VectorSplit([corridor() for _ in range(3)], "disabled")
    experience = collect_experience(always_right(), vector, starts)
    assert experience.lengths.tolist() == [4, 3, 2, 1]
    cells = experience.joined("obs").argmax(axis=1)
    assert 4 not in cells  # the goal's cell, where no action is taken
    steps, _ = cut_windows(experience.lengths, 6)
    assert set(cells[steps[:, 0]]) == set(cells[steps].ravel()) == {0, 1, 2, 3}
    assert experience.joined("actions")[steps].min() == RIGHT


def test_success_is_taken_from_the_last_info() -> None:
    vector = VectorSplit([noisy(says_success=True)], "disabled")
    experience = collect_experience(LinearTeacher(), vector, [Start(seed) for seed in range(20)])
    for trajectory in experience.trajectories:
        assert trajectory.is_success is bool(trajectory.rewards[-1] > 0)
    assert select_episodes(experience).reason.endswith("successes as the environment reports them")


class Overflowing(LinearTeacher):
    """Answers with a NaN or an infinity where the first number it sees is large."""

    name = "overflowing"

    def __init__(self, value: float) -> None:
        super().__init__()
        self._value = value

    def plan(self, obs: NDArray[Any]) -> CategoricalPlan:
        logits = super().plan(obs).logits.copy()
        logits[obs[:, 0] > 1.5, 0, 1] = self._value
        return CategoricalPlan(logits)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_teacher_whose_plan_is_not_finite_is_refused_at_that_step(value: float) -> None:
    starts = [Start(seed) for seed in range(20)]
    first = min(
        (step, episode)
        for episode, start in enumerate(starts[:4])
        for step, obs in enumerate(one_by_one(LinearTeacher(), start)[0])
        if obs[0] > 1.5
    )
    vector = VectorSplit([noisy() for _ in range(4)], "disabled")
    message = rf"plan of the teacher overflowing contains NaN or Inf at step {first[0]} of episode {first[1]} "
    with pytest.raises(NonFiniteError, match=message):
        collect_experience(Overflowing(value), vector, starts)


class RefusingEnv(CorridorEnv):
    """The corridor that raises for a step to the left, like a board for an illegal move."""

    def step(self, action: np.int64) -> Any:
        if action != RIGHT:
            raise ValueError(f"illegal move {action}")
        return super().step(action)


def test_prefixes_that_hold_an_illegal_action_are_left_out_and_counted() -> None:
    starts = [Start(0, prefix) for prefix in ((RIGHT,), (RIGHT, LEFT), (LEFT,), (), (RIGHT, RIGHT))]
    vector = VectorSplit([split_env(RefusingEnv(), "refusing") for _ in range(2)], "disabled")
    recorded = collect_experience(always_right(), vector, starts)
    assert recorded.lengths.tolist() == [3, 4, 4, 4, 2]
    assert len(vector.remarks.prefixes_left_out) == 2
    (line,) = vector.remarks.lines()
    assert line.startswith("2 episodes began without their random prefix, because the environment refused one of its ")
    assert "(the first: refusing: step() raised ValueError: illegal move 0)" in line


def test_an_illegal_action_of_the_teacher_names_environment_call_and_step() -> None:
    teacher = TablePlanner.of_actions([[RIGHT], [RIGHT], [LEFT], [LEFT], [LEFT]], 2)
    vector = VectorSplit([split_env(RefusingEnv(), "refusing")], "disabled")
    message = r"^refusing: step\(\) raised ValueError: illegal move 0 \(step 3 of an episode\)$"
    with pytest.raises(BrokenEnvironmentError, match=message):
        collect_experience(teacher, vector, [Start(0)])


def test_the_environments_word_on_success_counts() -> None:
    vector = VectorSplit([split_env(make_contrary(), "contrary")], "disabled")
    right = collect_experience(always_right(), vector, [Start(0)])
    left = collect_experience(TablePlanner.of_actions([[LEFT]] * 5, 2), vector, [Start(0)])
    assert select_episodes(left).keep.tolist() == [True]
    with pytest.raises(NoSuccessError, match="as the environment reports them"):
        select_episodes(right)


def test_a_sampling_teacher_follows_its_rng() -> None:
    even = TablePlanner(np.zeros((5, 1, 2)))

    def record(seed: int | None) -> list[Trajectory]:
        rng = None if seed is None else np.random.default_rng(seed)
        vector = VectorSplit([corridor() for _ in range(2)], "disabled")
        return list(collect_experience(even, vector, [Start(0)] * 4, sample_rng=rng).trajectories)

    first, again, other, greedy = ([trajectory.actions.tolist() for trajectory in record(seed)] for seed in (1, 1, 2, None))
    assert first == again
    assert first != other
    assert greedy == [[0] * 20] * 4


def test_ended_episodes_are_counted_as_they_end() -> None:
    told: list[int] = []
    vector = VectorSplit([corridor() for _ in range(2)], "disabled")
    collect_experience(always_right(), vector, [Start(0), Start(0, (RIGHT,)), Start(0), Start(0)], on_episode=told.append)
    assert told == [1, 2, 3, 4]
    told.clear()
    collect_experience(always_right(), vector, [Start(0)] * 4, on_episode=told.append)
    assert told == [2, 4]


def test_a_teacher_without_logits_is_refused() -> None:
    class Bare:
        batch_size, horizon = 1, 1

        def mode(self) -> IntArray:
            return np.zeros((1, 1), np.int64)

        def sample(self, rng: np.random.Generator) -> IntArray:
            return self.mode()

        def confidence(self) -> FloatArray:
            return np.ones((1, 1), np.float32)

    class Barely:
        horizon, n_actions = 1, 2

        def plan(self, obs: NDArray[Any]) -> Bare:
            return Bare()

    with pytest.raises(InvalidDataError, match="a teacher with logits over actions, got a Bare"):
        collect_experience(Barely(), VectorSplit([corridor()], "disabled"), [Start(0)])


def test_environments_that_reset_themselves_are_refused() -> None:
    with pytest.raises(SettingError, match="autoreset 'disabled'"):
        collect_experience(always_right(), VectorSplit([corridor()], "same_step"), [Start(0)])


def test_no_start_is_no_experience() -> None:
    with pytest.raises(InvalidDataError, match="at least one trajectory"):
        collect_experience(always_right(), VectorSplit([corridor()], "disabled"), [])


class Changing:
    """Right, but it overwrites what it was shown."""

    horizon, n_actions = 1, 2

    def plan(self, obs: NDArray[Any]) -> CategoricalPlan:
        obs[...] = -7
        return CategoricalPlan.from_actions(np.full((len(obs), 1), RIGHT), 2)


def test_a_teacher_that_changes_its_observations_does_not_change_what_is_recorded() -> None:
    starts = [Start(0), Start(1)]
    found, expected = (
        collect_experience(teacher, VectorSplit([corridor() for _ in range(2)], "disabled"), starts)
        for teacher in (Changing(), always_right())
    )
    np.testing.assert_array_equal(found.joined("obs"), expected.joined("obs"))


def test_a_teacher_plans_for_every_observation() -> None:
    class First(Changing):
        def plan(self, obs: NDArray[Any]) -> CategoricalPlan:
            return super().plan(obs[:1].copy())

    vector = VectorSplit([corridor() for _ in range(2)], "disabled")
    with pytest.raises(InvalidDataError, match="the teacher must plan for 2 observations, it planned for 1"):
        collect_experience(First(), vector, [Start(0), Start(1)])


def test_a_slow_simulator_gives_fewer_observations(monkeypatch: pytest.MonkeyPatch) -> None:
    met = [len(collect.meet_observations(always_right(), corridor(), 5, np.random.default_rng(0)))]
    monkeypatch.setattr(collect, "_SECONDS", 0.0)
    met.append(len(collect.meet_observations(always_right(), corridor(), 5, np.random.default_rng(0))))
    assert met[0] > met[1] == 1
