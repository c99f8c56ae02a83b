from __future__ import annotations

import itertools
import math
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from phr.acting.agent import HorizonAgent
from phr.actions import Continuous
from phr.envs.registry import make_env
from phr.envs.split import Advance, ObservingEnv, SplitEnv
from phr.errors import SettingError, UnsupportedEnvironmentError
from phr.evaluation import timed
from phr.evaluation.timed import Limit, RunOptions, RunRecord, timed_run
from tests.evaluation import clocked
from tests.helpers import TablePlanner, always_right, corridor, noisy

SECONDS = ("seconds_wall", "seconds_policy", "seconds_env")


def slippery() -> SplitEnv:
    return corridor(max_steps=15, slip=0.3)


def run(
    env: SplitEnv, planner: Any, limit: Limit, commitment: int | None = None, seed: int = 0, **options: Any
) -> RunRecord:
    rng = np.random.default_rng(seed)
    return timed_run(env, HorizonAgent(planner, commitment), limit, seed=seed, rng=rng, options=RunOptions(**options))


def timeless(record: RunRecord) -> dict[str, Any]:
    return {name: value for name, value in vars(record).items() if name not in SECONDS}


@given(st.integers(0, 10_000), st.integers(1, 4), st.integers(1, 60))
@settings(max_examples=40)
def test_a_run_equals_a_slow_loop(seed: int, commitment: int, n_steps: int) -> None:
    planner = TablePlanner.random(np.random.default_rng(seed), 5, 4, 2)
    record = run(slippery(), planner, Limit(steps=n_steps), commitment, seed)

    env, agent = slippery(), HorizonAgent(planner, commitment)
    env.reset(seed)
    returns, lengths, looks, ends = [], [], [], []
    total = length = n_looks = 0.0
    for _ in range(n_steps):
        n_looks += agent.needs_observation
        reward, terminated, truncated, _ = env.advance(agent.act(env.observe()))
        total, length = total + reward, length + 1
        if terminated or truncated:
            returns.append(total)
            lengths.append(int(length))
            looks.append(int(n_looks))
            ends.append((terminated, reward))
            total = length = n_looks = 0.0
            agent.reset()
            env.reset()
    assert record.steps == n_steps
    assert record.episodes == len(returns)
    assert (record.returns, record.lengths, record.looks) == (returns, lengths, looks)
    assert list(zip(record.terminated, record.last_rewards, strict=True)) == ends
    assert record.reported == [None] * len(ends)
    assert record.score == sum(returns) + total
    assert record.evaluations == agent.evaluations == sum(looks) + n_looks
    assert record.looks == [math.ceil(length / commitment) for length in record.lengths]


@given(st.integers(0, 10_000), st.integers(1, 4), st.integers(1, 5))
@settings(max_examples=20)
def test_whole_episodes_are_played_to_their_end(seed: int, commitment: int, n_episodes: int) -> None:
    planner = TablePlanner.random(np.random.default_rng(seed), 5, 4, 2)
    record = run(slippery(), planner, Limit(episodes=n_episodes), commitment, seed)
    assert record.episodes == len(record.returns) == len(record.lengths) == len(record.looks) == n_episodes
    assert record.steps == sum(record.lengths)
    assert record.score == sum(record.returns)
    assert record.evaluations == sum(record.looks)


@pytest.mark.parametrize("commitment", [1, 2, 3, 4, 7])
def test_the_optimal_corridor(commitment: int) -> None:
    record = run(corridor(), always_right(horizon=7), Limit(episodes=3), commitment)
    assert record.returns == [1, 1, 1]
    assert record.lengths == [4, 4, 4]
    assert record.looks == [math.ceil(4 / commitment)] * 3
    assert (record.terminated, record.last_rewards) == ([True] * 3, [1.0] * 3)
    assert (record.reward_low, record.reward_high, any(record.terminated)) == (0, 1, True)


@pytest.mark.parametrize("env_id", ["tests.helpers:make_noisy", "MiniGrid-Dynamic-Obstacles-5x5-v0", "CartPole-v1"])
def test_observing_always_changes_nothing_but_the_time(env_id: str) -> None:
    env = make_env(env_id)
    n_features = int(np.prod(env.observation_space.shape))
    weights = np.random.default_rng(0).normal(size=(n_features, 4, env.n_actions))

    class Linear(TablePlanner):
        def plan(self, obs: Any) -> Any:
            return super().plan(np.eye(8)[np.abs(obs.reshape(len(obs), -1) @ weights[:, 0, 0]).astype(int) % 8])

    planner = Linear.random(np.random.default_rng(1), 8, 4, env.n_actions)
    plain, always = (run(make_env(env_id), planner, Limit(steps=200), observe_always=o) for o in (False, True))
    assert timeless(plain) == timeless(always)
    assert plain.episodes > 2


@pytest.mark.parametrize(("observe_always", "n_observed"), [(False, 1), (True, 3)])
def test_observations_are_built_once_a_plan_unless_wanted_at_every_step(
    observe_always: bool, n_observed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = clocked.install(monkeypatch)
    env, planner = clocked.ClockedEnv(clock), clocked.ClockedPlanner(clock)
    run(env, planner, Limit(steps=3), observe_always=observe_always)
    assert clock.counts["observe"] == n_observed


def test_runs_with_the_same_seed_meet_the_same_episodes_whatever_the_agent_does() -> None:
    env = make_env("MiniGrid-FourRooms-v0", max_steps=5)

    class Seeing(TablePlanner):
        def plan(self, obs: Any) -> Any:
            starts.append(obs.tobytes())
            return super().plan(np.ones((len(obs), 1)))

    met = []
    for action, seed in itertools.product((0, 1), (1, 2)):
        starts: list[bytes] = []
        run(env, Seeing.of_actions([[action] * 5], 7), Limit(episodes=4), seed=seed)
        met.append(starts)
    assert met[0] == met[2]
    assert met[1] == met[3]
    assert met[0] != met[1]
    assert len(set(met[0])) == 4


@pytest.mark.parametrize("n_episodes", [1, 4])
def test_every_second_is_told_apart(monkeypatch: pytest.MonkeyPatch, n_episodes: int) -> None:
    clock = clocked.install(monkeypatch)
    record = run(clocked.ClockedEnv(clock), clocked.ClockedPlanner(clock), Limit(episodes=n_episodes))
    assert clock.counts == {
        "reset": n_episodes,
        "step": record.steps,
        "observe": record.evaluations,
        "plan": record.evaluations,
    }
    assert record.seconds_wall == clock.now
    assert record.seconds_policy == clocked.PLAN * record.evaluations
    assert record.seconds_env == clock.now - record.seconds_policy


def test_random_prefixes_cost_no_counted_time(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = clocked.install(monkeypatch)
    record = run(clocked.ClockedEnv(clock), clocked.ClockedPlanner(clock), Limit(episodes=5), prefix=(2, 3))
    assert clock.counts["step"] > record.steps
    played = clocked.STEP * record.steps + (clocked.OBSERVE + clocked.PLAN) * record.evaluations
    assert record.seconds_wall == played + clocked.RESET * 5


def test_prefixes_move_the_start_and_are_not_counted() -> None:
    env = corridor(n_cells=40, max_steps=200)
    far = always_right(horizon=1, n_cells=40)
    record = run(env, far, Limit(episodes=30), prefix=(10, 10))
    assert set(record.lengths) <= set(range(29, 40))  # never farther than the prefix can lead
    assert len(set(record.lengths)) > 3
    assert record.steps == sum(record.lengths)
    assert run(env, far, Limit(episodes=30), prefix=(10, 10)).lengths == record.lengths
    assert run(env, far, Limit(episodes=30), seed=1, prefix=(10, 10)).lengths != record.lengths


def test_prefixes_take_nothing_from_the_step_limit() -> None:
    left = TablePlanner.of_actions([[0]] * 5, 2)
    assert run(corridor(max_steps=6), left, Limit(episodes=10), prefix=(1, 5)).lengths == [6] * 10


def test_a_prefix_that_ends_the_episode_is_left_out() -> None:
    record = run(corridor(max_steps=6), always_right(), Limit(episodes=20), prefix=(6, 6))
    assert record.lengths == [4] * 20  # each of them reaches the step limit, if not the goal
    record = run(corridor(), always_right(), Limit(episodes=60), prefix=(5, 5), keep_trace=True)
    farthest = []
    for start in record.starts:
        cells = [0]
        for action in start.prefix:
            cells.append(cells[-1] + 1 if action else max(cells[-1] - 1, 0))
        farthest.append(max(cells))
    assert min(farthest) < 4 <= max(farthest)  # some would end their episode, some not
    assert {length for length, cell in zip(record.lengths, farthest, strict=True) if cell >= 4} == {4}


def test_a_start_with_a_prefix_decides_its_episode() -> None:
    planner = TablePlanner.of_actions([[1, 1, 0, 1]] * 5, 2)
    record = run(slippery(), planner, Limit(episodes=30), prefix=(2, 9), keep_trace=True)
    assert len(record.starts) == len(record.lengths) == 30
    alone = []
    for start in record.starts:
        env, agent, length, over = slippery(), HorizonAgent(planner), 0, False
        start.enter(env)
        while not over:
            _, terminated, truncated, _ = env.advance(agent.act(env.observe()))
            length, over = length + 1, terminated or truncated
        alone.append(length)
    assert record.lengths == alone
    plain = run(slippery(), planner, Limit(episodes=3), keep_trace=True)
    assert [start.seed for start in plain.starts] == [0, None, None]  # one generator goes on through all episodes


def test_the_trace_tells_every_action_and_every_end() -> None:
    record = run(corridor(), always_right(horizon=3), Limit(steps=10), keep_trace=True)
    assert record.trace == [[1, 1, 1], [1, -1], [1, 1, 1], [1, -1], [1, 1]]
    assert run(corridor(), always_right(horizon=3), Limit(steps=10)).trace == []


def test_the_environments_word_on_success_counts() -> None:
    record = run(noisy(says_success=True), TablePlanner.of_actions([[1]] * 3, 3), Limit(episodes=30))
    assert record.reported == [reward > 0 for reward in record.last_rewards]
    assert len(set(record.reported)) == 2
    assert run(corridor(), always_right(), Limit(episodes=2)).reported == [None, None]


def test_the_environments_word_counts_against_the_reward() -> None:
    env = make_env("tests.helpers:make_contrary")
    record = run(env, always_right(horizon=3), Limit(episodes=3))
    assert (record.returns, record.reported) == ([1] * 3, [False] * 3)
    record = run(env, TablePlanner.of_actions([[0]] * 5, 2), Limit(episodes=3))
    assert (record.returns, record.reported) == ([0] * 3, [True] * 3)


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        ({}, "give the number of steps or of episodes"),
        ({"steps": 1, "episodes": 1}, "give steps or episodes, not both; got steps=1, episodes=1"),
        ({"steps": 0}, "steps must be >= 1, got 0"),
        ({"episodes": 0}, "episodes must be >= 1, got 0"),
        ({"steps": -5}, "steps must be >= 1, got -5"),
    ],
)
def test_a_run_needs_one_limit(limits: dict[str, int], message: str) -> None:
    with pytest.raises(SettingError, match=message):
        Limit(**limits)


@pytest.mark.parametrize("prefix", [(-1, 2), (3, 2)])
def test_an_empty_range_of_prefixes_is_refused(prefix: tuple[int, int]) -> None:
    with pytest.raises(SettingError, match=f"random_prefix needs 0 <= low <= high, got {prefix[0]}:{prefix[1]}"):
        RunOptions(prefix=prefix)


@pytest.mark.parametrize("prefix", [(1,), (1, 2, 3), (0.5, 2), "12", None, 3, (True, 2), (0, float("nan"))])
def test_a_prefix_is_a_pair_of_whole_numbers(prefix: Any) -> None:
    with pytest.raises(SettingError, match=r"random_prefix must be two whole numbers \(low, high\), got "):
        RunOptions.__post_init__(unchecked(RunOptions, prefix=prefix))


@pytest.mark.parametrize("value", [2.0, "2", True, float("nan"), np.float64(3), [4]])
@pytest.mark.parametrize("name", ["steps", "episodes"])
def test_a_limit_is_a_whole_number(name: str, value: Any) -> None:
    with pytest.raises(SettingError, match=f"{name} must be a whole number >= 1, got ") as caught:
        Limit.__post_init__(unchecked(Limit, **{name: value}))
    assert repr(value) in str(caught.value)


def unchecked(kind: Any, **values: Any) -> Any:
    """What a user without a type checker passes: an object whose birth was not checked."""
    made = object.__new__(kind)
    for name, value in values.items():
        object.__setattr__(made, name, value)
    return made


class Meddling(gymnasium.Env[NDArray[np.float32], NDArray[np.float32]]):
    """Changes the action that it is given, and remembers what it was."""

    observation_space = spaces.Box(-1, 1, (1,), np.float32)
    action_space = spaces.Box(-1, 1, (2,), np.float32)

    def __init__(self) -> None:
        self.given: list[list[float]] = []

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[NDArray[np.float32], dict[str, Any]]:
        super().reset(seed=seed)
        return np.zeros(1, np.float32), {}

    def step(self, action: Any) -> tuple[NDArray[np.float32], float, bool, bool, dict[str, Any]]:
        self.given.append(action.tolist())
        action[:] = 7
        return np.zeros(1, np.float32), 0.0, False, False, {}


class InPlace(ObservingEnv):
    """Hands the very array on, as an environment of another family may."""

    def advance(self, action: Any) -> Advance:
        return self.gym_env.step(action)[1:]  # type: ignore[return-value]


class Vectors:
    """Plans three vectors of two numbers."""

    horizon, n_actions = 3, 2
    action_space = Continuous((-1.0, -1.0), (1.0, 1.0), (2,))
    actions = np.array([[[0.1, 0.2], [0.3, 0.4], [0.5, 0.6]]], np.float32)

    def plan(self, obs: NDArray[Any]) -> Any:
        return self.action_space.certain(self.actions)


def test_trace_and_starts_hold_copies() -> None:
    gym_env = Meddling()
    record = run(InPlace(gym_env, "meddling"), Vectors(), Limit(steps=5), prefix=(2, 2), keep_trace=True)
    assert [len(actions) for actions in record.trace] == [3, 2]
    assert np.array_equal(np.concatenate(record.trace), np.concatenate([Vectors.actions[0], Vectors.actions[0, :2]]))
    assert [action.tolist() for action in record.starts[0].prefix] == gym_env.given[:2]
    assert gym_env.given[2:] == np.concatenate(record.trace).tolist()


def test_whole_episodes_without_an_end_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timed, "PATIENCE", 12)
    away = TablePlanner.of_actions([[0]] * 5, 2)
    with pytest.raises(UnsupportedEnvironmentError, match="no episode ended within"):
        run(corridor(max_steps=20), away, Limit(episodes=1))
    assert run(corridor(max_steps=20), away, Limit(steps=50)).episodes == 2
