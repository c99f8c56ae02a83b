from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces
from hypothesis import given, settings
from hypothesis import strategies as st

from phr.distil.refine import StudentStates
from phr.distil.windows import StudentWindows
from phr.envs.registry import split_env
from phr.envs.vector import VectorSplit
from phr.errors import BrokenEnvironmentError, NonFiniteError
from phr.plan import CategoricalPlan, Planner
from tests.helpers import LEFT, RIGHT, TablePlanner, always_right, corridor, make_noisy, noisy
from tests.trained import phr_config


def states_of(
    student: Planner,
    teacher: Planner,
    vector: VectorSplit,
    rng: np.random.Generator,
    most_plans: int = 1,
    noise: float = 0.0,
) -> StudentStates:
    return StudentStates(student, teacher, vector, rng, phr_config(refine_plans=most_plans, refine_noise=noise))


class Linear:
    """Logits that are a fixed linear function of the three numbers that a noisy environment shows."""

    def __init__(self, horizon: int, seed: int) -> None:
        self.n_actions, self.horizon = 3, horizon
        self._weights = np.random.default_rng(seed).normal(size=(3, horizon, 3))
        self.n_looks = 0

    def plan(self, obs: Any) -> CategoricalPlan:
        self.n_looks += len(obs)
        return CategoricalPlan(np.tensordot(obs, self._weights, axes=1).astype(np.float32))


@dataclass
class Window:
    obs: Any
    actions: list[int]
    logits: list[Any]


def seed_of(env: int, episode: int) -> int:
    return 1000 * env + episode


class OneByOne:
    """The slow way: one Gymnasium environment that is looked at in every step, two loops."""

    def __init__(self, number: int, student: Planner, teacher: Planner) -> None:
        self._number, self._student, self._teacher, self._episode = number, student, teacher, 0
        self._env = make_noisy()
        self._obs, _ = self._env.reset(seed=seed_of(number, 0))

    def _step(self, action: int) -> bool:
        self._obs, _, terminated, truncated, _ = self._env.step(np.int64(action))
        return terminated or truncated

    def turn(self, commitment: int, n_plans: int) -> Window | None:
        window = self._play(commitment, n_plans)
        if self._ended:
            self._episode += 1
            self._obs, _ = self._env.reset(seed=seed_of(self._number, self._episode))
        return window

    def _play(self, commitment: int, n_plans: int) -> Window | None:
        self._ended = False
        for _ in range(n_plans):
            plan = self._student.plan(self._obs[None]).mode()[0]
            for action in plan[:commitment].tolist():
                self._ended = self._step(action)
                if self._ended:
                    return None
        window = Window(self._obs, [], [])
        while not self._ended and len(window.actions) < self._student.horizon:
            plan = self._teacher.plan(self._obs[None])
            assert isinstance(plan, CategoricalPlan)
            window.logits.append(plan.logits[0, 0])
            window.actions.append(int(plan.mode()[0, 0]))
            self._ended = self._step(window.actions[-1])
        return window


def vector(n_envs: int) -> VectorSplit:
    return VectorSplit([noisy() for _ in range(n_envs)], "disabled", seed_of)


def by_hand(n_envs: int, horizon: int, most: int, seed: int, n_turns: int) -> Iterator[list[tuple[int, Window]]]:
    rng = np.random.default_rng(seed)
    lanes = [OneByOne(number, Linear(horizon, 1), Linear(1, 2)) for number in range(n_envs)]
    for _ in range(n_turns):
        commitments = rng.integers(1, horizon + 1, size=n_envs).tolist()
        n_plans = rng.integers(1, most + 1, size=n_envs).tolist()
        turns = [lane.turn(*how) for lane, *how in zip(lanes, commitments, n_plans, strict=True)]
        yield [(number, window) for number, window in enumerate(turns) if window is not None]


@given(seed=st.integers(0, 2**32), n_envs=st.integers(1, 5), horizon=st.integers(1, 5), most=st.integers(1, 3))
@settings(max_examples=15)
def test_turns_equal_the_same_alternation_by_hand(seed: int, n_envs: int, horizon: int, most: int) -> None:
    rng = np.random.default_rng(seed)
    states = states_of(Linear(horizon, 1), Linear(1, 2), vector(n_envs), rng, most_plans=most)
    for expected in by_hand(n_envs, horizon, most, seed, 12):
        windows = states.turn()
        assert windows.envs.tolist() == [number for number, _ in expected]
        for row, (_, window) in enumerate(expected):
            n = len(window.actions)
            np.testing.assert_array_equal(windows.obs[row], window.obs)
            assert windows.valid[row].tolist() == [step < n for step in range(horizon)]
            assert windows.actions[row].tolist() == window.actions + [0] * (horizon - n)
            np.testing.assert_allclose(windows.teacher_logits[row, :n], window.logits, rtol=1e-5, atol=1e-6)
            assert not windows.teacher_logits[row, n:].any()


def test_labels_are_the_greedy_teachers_actions() -> None:
    states = states_of(Linear(4, 1), Linear(1, 2), vector(6), np.random.default_rng(0))
    for _ in range(10):
        windows = states.turn()
        greedy = np.where(windows.valid, windows.teacher_logits.argmax(-1), 0)
        np.testing.assert_array_equal(windows.actions, greedy)
        np.testing.assert_array_equal(windows.actions[:, 0], Linear(1, 2).plan(windows.obs).mode()[:, 0])


def test_the_rng_decides_how_plans_are_cut() -> None:
    def actions(seed: int) -> list[Any]:
        states = states_of(Linear(4, 1), Linear(1, 2), vector(6), np.random.default_rng(seed), most_plans=2)
        return [states.turn().obs.tolist() for _ in range(3)]

    assert actions(3) == actions(3)
    assert actions(3) != actions(4)


def test_every_commitment_ends_as_many_plans() -> None:
    """From the left end of a long corridor a plan of RIGHTs ends in the cell whose number is its commitment."""
    student, teacher = always_right(horizon=4, n_cells=40), TablePlanner.of_actions([[LEFT]] * 40, 2)
    envs = [corridor(n_cells=40, max_steps=5) for _ in range(400)]
    states = states_of(student, teacher, VectorSplit(envs, "disabled"), np.random.default_rng(0))
    windows = states.turn()
    counts = np.bincount(windows.obs.argmax(axis=1), minlength=5)[1:5]
    assert counts.sum() == 400
    assert (abs(counts - 100) < 40).all()  # 4.6 standard deviations
    left = 5 - windows.obs.argmax(axis=1)  # steps of the limit that the student left to the teacher
    np.testing.assert_array_equal(windows.valid.sum(axis=1), np.minimum(left, 4))


def led_to(noise: float, student: int) -> list[Any]:
    rng = np.random.default_rng(0)
    states = states_of(Linear(4, student), Linear(1, 2), vector(40), rng, most_plans=2, noise=noise)
    return [states.turn().obs.tolist() for _ in range(3)]


def test_plans_of_nothing_but_noise_lead_everybody_to_the_same_states() -> None:
    assert led_to(1.0, student=1) == led_to(1.0, student=3)
    assert led_to(0.0, student=1) != led_to(0.0, student=3)


def test_noise_takes_its_share_of_the_steps() -> None:
    """From the left end of a long corridor each random step of a plan of RIGHTs is as likely to go back."""
    student, teacher = always_right(horizon=8, n_cells=40), TablePlanner.of_actions([[LEFT]] * 40, 2)
    envs = [corridor(n_cells=40, max_steps=20) for _ in range(400)]
    states = states_of(student, teacher, VectorSplit(envs, "disabled"), np.random.default_rng(0), noise=0.5)
    cells = states.turn().obs.argmax(axis=1)
    assert 0.45 < cells.mean() / 4.5 < 0.75, "4.5 steps on average, three of four to the right, the wall holds some back"


def test_a_plan_in_which_the_episode_ends_leaves_no_window() -> None:
    student, teacher = always_right(horizon=4, n_cells=2), TablePlanner.of_actions([[LEFT]] * 2, 2)
    states = states_of(student, teacher, VectorSplit([corridor(n_cells=2)], "disabled"), np.random.default_rng(0))
    for _ in range(3):
        windows = states.turn()
        assert (len(windows), windows.actions.shape, windows.obs.shape) == (0, (0, 4), (0, 2))


def test_nobody_looks_while_a_plan_runs() -> None:
    """One look of the student a plan, one of the teacher a step: as many as observations that were built."""
    student, teacher = Linear(6, 1), Linear(1, 2)
    env = noisy(end_probability=0.0, max_steps=10**6)
    n_observed, observe = 0, env.observe

    def counted(out: Any = None) -> Any:
        nonlocal n_observed
        n_observed += 1
        return observe(out)

    env.observe = counted  # type: ignore[method-assign]
    states = states_of(student, teacher, VectorSplit([env], "disabled"), np.random.default_rng(0), most_plans=3)
    for _ in range(5):
        states.turn()
    assert teacher.n_looks == 5 * 6
    assert n_observed == student.n_looks + teacher.n_looks
    assert 5 <= student.n_looks <= 15


class Board(gymnasium.Env[Any, Any]):
    """Shows which of its four actions is legal, and raises on any other."""

    observation_space, action_space = spaces.Box(0, 1, (4,), np.float32), spaces.Discrete(4)

    def _obs(self) -> Any:
        return np.eye(4, dtype=np.float32)[self._legal]

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        self._n, self._legal = 0, int(self.np_random.integers(4))
        return self._obs(), {}

    def step(self, action: Any) -> Any:
        if action != self._legal:
            raise ValueError(f"illegal move {action}")
        self._n, self._legal = self._n + 1, (self._legal + 1) % 4
        return self._obs(), 1.0, False, self._n == 12, {}


LEGAL = [[(state + step) % 4 for step in range(3)] for state in range(4)]
WRONG_FROM_1 = [plan if state != 1 else [plan[0], 0, 0] for state, plan in enumerate(LEGAL)]


def board_states(plans: list[list[int]], teacher: Planner) -> tuple[StudentStates, VectorSplit]:
    vector = VectorSplit([split_env(Board(), "board") for _ in range(8)], "disabled", seed_of)
    return states_of(TablePlanner.of_actions(plans, 4), teacher, vector, np.random.default_rng(0)), vector


def test_episodes_in_which_the_student_errs_are_abandoned_and_counted() -> None:
    teacher = TablePlanner.of_actions([plan[:1] for plan in LEGAL], 4)
    right, wrong = board_states(LEGAL, teacher), board_states(WRONG_FROM_1, teacher)
    n_windows, n_wrong = 0, 0
    for _ in range(20):
        n_windows += len(right[0].turn())
        windows = wrong[0].turn()
        n_wrong += len(windows)
        shown = windows.obs.argmax(1)
        steps = (shown[:, None] + np.arange(3)) % 4
        np.testing.assert_array_equal(windows.actions[windows.valid], steps[windows.valid])
    assert right[1].remarks.lines() == []
    assert 0 < len(wrong[1].remarks.abandoned) <= 20 * 8 - n_wrong
    assert n_wrong < n_windows
    (line,) = wrong[1].remarks.lines()
    assert line.startswith(f"{len(wrong[1].remarks.abandoned):,} episodes of the student were abandoned")
    assert "board: step() raised ValueError: illegal move 0" in line


def test_an_illegal_action_of_the_teacher_is_an_error() -> None:
    states, _ = board_states(LEGAL, TablePlanner.of_actions([[0]] * 4, 4))
    with pytest.raises(BrokenEnvironmentError, match=r"board: step\(\) raised ValueError: illegal .* \(step \d+ of an"):
        [states.turn() for _ in range(5)]


def test_a_teacher_that_is_not_finite_is_refused() -> None:
    logits = np.zeros((4, 1, 4))
    logits[2, 0, 3] = np.nan
    states, _ = board_states(LEGAL, TablePlanner(logits))
    with pytest.raises(NonFiniteError, match=r"teacher TablePlanner contains NaN or Inf at step \d .* after a plan of the"):
        [states.turn() for _ in range(5)]


def test_windows_say_which_episode_they_are_of() -> None:
    """Four steps a window, twelve an episode: the third turn begins another one at the latest."""
    states, _ = board_states(LEGAL, TablePlanner.of_actions([plan[:1] for plan in LEGAL], 4))
    seen: list[list[int]] = [[] for _ in range(8)]
    for _ in range(12):
        windows = states.turn()
        for env, episode in zip(windows.envs.tolist(), windows.episodes.tolist(), strict=True):
            seen[env].append(episode)
    for episodes in seen:
        assert episodes == sorted(episodes)
        assert 12 * 2 // 12 <= episodes[-1] < 12
        assert max(np.bincount(episodes)) <= 12 // 4 + 1


def windows_of(**change: Any) -> StudentWindows:
    arrays: dict[str, Any] = {
        "obs": np.zeros((2, 5), np.float32),
        "actions": np.full((2, 3), RIGHT, np.int64),
        "teacher_logits": np.zeros((2, 3, 2), np.float32),
        "valid": np.ones((2, 3), bool),
        "envs": np.arange(2),
        "episodes": np.zeros(2, np.int64),
    }
    return StudentWindows(**{**arrays, **change})


def test_observations_that_are_not_finite_are_refused() -> None:
    with pytest.raises(NonFiniteError, match="^an observation of a student state contains NaN or Inf$"):
        windows_of(obs=np.full((2, 5), np.nan, np.float32))


def test_keys_tell_windows_apart_by_what_they_show_and_ask_for() -> None:
    same = windows_of()
    assert same.keys()[0] == same.keys()[1] == windows_of(teacher_logits=np.ones((2, 3, 2), np.float32)).keys()[0]
    other_obs = windows_of(obs=np.eye(2, 5, dtype=np.float32)).keys()
    other_label = windows_of(actions=np.array([[1, 1, 0], [1, 1, 1]])).keys()
    cut = windows_of(valid=np.array([[True, True, False], [True, True, True]])).keys()
    assert len({*same.keys(), *other_obs, *other_label, *cut}) == 5
