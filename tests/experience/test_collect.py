from __future__ import annotations

import gc
from typing import Any

import numpy as np
import pytest
from gymnasium import spaces
from numpy.typing import NDArray

from phr.distil.windows import cut_windows
from phr.envs.registry import split_env
from phr.envs.vector import Start, VectorSplit, random_starts
from phr.errors import BrokenEnvironmentError, InvalidDataError, NonFiniteError, NoSuccessError, SettingError
from phr.experience import collect
from phr.experience.collect import collect_experience, meet_observations, random_observations
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
    assert "(the first: refusing: step() raised ValueError: illegal move 0 (step 2 of an episode, seed 0))" in line


def test_an_illegal_action_of_the_teacher_names_environment_call_and_step() -> None:
    teacher = TablePlanner.of_actions([[RIGHT], [RIGHT], [LEFT], [LEFT], [LEFT]], 2)
    vector = VectorSplit([split_env(RefusingEnv(), "refusing")], "disabled")
    message = r"^refusing: step\(\) raised ValueError: illegal move 0 \(step 3 of an episode, seed 0\), environment 0 of 1$"
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


BOOL: Any = np.bool_  # Gymnasium's annotations know floats alone


class Still:
    """Plans action 0 for ever, and counts how often it was asked."""

    horizon, n_actions = 1, 3

    def __init__(self) -> None:
        self.asked = 0

    def plan(self, obs: NDArray[Any]) -> CategoricalPlan:
        self.asked += 1
        return TablePlanner.of_actions([[0]] * 3, 3).plan(obs)


def test_a_small_world_is_met_whole_and_once() -> None:
    obs = meet_observations(always_right(), corridor(), 100, np.random.default_rng(0))
    assert obs.dtype == np.float32
    assert sorted(row.argmax() for row in obs) == [0, 1, 2, 3]  # the last cell ends the episode: nobody looks there


def test_a_large_world_gives_what_was_asked_for_from_many_episodes() -> None:
    planner = Still()
    obs = meet_observations(planner, noisy(max_steps=1000, end_probability=0.0), 64, np.random.default_rng(0))
    assert obs.shape == (64, 3)
    assert len(np.unique(obs, axis=0)) == 64
    assert planner.asked == 32  # every second of the 16 episodes is played at random


class Picky(CorridorEnv):
    """The corridor that raises for steps to the left, and for any step from the given cell."""

    def __init__(self, closed: int = -1) -> None:
        super().__init__()
        self._closed, self.n_refused = closed, 0

    def step(self, action: Any) -> Any:
        if action != RIGHT or self.cell == self._closed:
            self.n_refused += 1
            raise ValueError("illegal")
        return super().step(action)


def test_an_environment_that_refuses_random_actions_is_played_by_the_planner_alone() -> None:
    env = Picky()
    obs = meet_observations(always_right(), split_env(env, "picky"), 100, np.random.default_rng(0))
    assert sorted(row.argmax() for row in obs) == [0, 1, 2, 3]
    assert env.n_refused == 1


def test_an_environment_that_refuses_the_planner_too_gives_what_comes_before() -> None:
    obs = meet_observations(always_right(), split_env(Picky(2), "picky"), 100, np.random.default_rng(0))
    assert sorted(row.argmax() for row in obs) == [0, 1, 2]
    alone = meet_observations(always_right(), split_env(Picky(0), "picky"), 100, np.random.default_rng(0))
    assert alone.argmax(1).tolist() == [0]


def test_the_rng_bites() -> None:
    first, same, other = (meet_observations(Still(), noisy(), 8, np.random.default_rng(seed)) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, same)
    assert (first != other).all()


@pytest.mark.parametrize(
    "space",
    [
        spaces.Box(0, 1, (3, 4, 4), np.uint8),
        spaces.Box(0, 255, (4, 4), np.uint8),
        spaces.Box(-3, 4, (6,), np.int64),
        spaces.Box(-2.0, 5.0, (6,), np.float32),
        spaces.Box(0, 1, (4,), BOOL),
    ],
)
def test_narrow_bounds_are_filled_to_their_ends(space: spaces.Box) -> None:
    obs = random_observations(space, 3000, np.random.default_rng(0))
    assert obs.shape == (3000, *space.shape)
    assert all(space.contains(row) for row in obs)
    if space.dtype.kind in "biu":
        assert (obs.min(), obs.max()) == (space.low.min(), space.high.max())
    else:
        np.testing.assert_allclose([obs.min(), obs.max()], [-2, 5], atol=0.01)


@pytest.mark.parametrize(
    ("low", "high", "dtype"),
    [
        (0, 60_000, np.uint16),
        (-(2**63), 2**63 - 1, np.int64),
        (0, 2**64 - 1, np.uint64),
        (5e6, 6e6, np.float64),
        (-1e-9, 1e-9, np.float32),
        (-1e30, 1e30, np.float32),
    ],
)
def test_bounds_are_filled_in_any_unit(low: Any, high: Any, dtype: Any) -> None:
    space = spaces.Box(low, high, (4,), dtype)
    obs = random_observations(space, 1000, np.random.default_rng(0))
    assert obs.dtype == dtype
    assert all(space.contains(row) for row in obs)
    parts = (obs.astype(np.float64) - low) / (float(high) - float(low))
    np.testing.assert_allclose(np.quantile(parts, [0.01, 0.25, 0.5, 0.75, 0.99]), [0.01, 0.25, 0.5, 0.75, 0.99], atol=0.03)


def test_wide_bounds_stand_for_anything() -> None:
    limits = np.array([4.8, np.inf, 3.4e38, 0.4], np.float32)
    space = spaces.Box(-limits, limits, dtype=np.float32)
    obs = random_observations(space, 4000, np.random.default_rng(0))
    assert obs.dtype == np.float32
    assert all(space.contains(row) for row in obs)
    np.testing.assert_allclose(obs.std(axis=0), [9.6 / np.sqrt(12), 1, 1, 0.8 / np.sqrt(12)], rtol=0.05)
