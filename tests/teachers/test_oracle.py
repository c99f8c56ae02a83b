from __future__ import annotations

import functools
from collections import deque
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from phr.acting.agent import HorizonAgent
from phr.envs import CLIFF_IDS
from phr.envs.cliffs import AGENT, CLIFF, GOAL, CliffEnv
from phr.envs.registry import make_env
from phr.envs.split import SplitEnv, run_plan
from phr.envs.vector import Start
from phr.errors import HorizonError, PhrError, UnsolvableError
from phr.teachers.oracle import (
    SOLVABLE_IDS,
    CliffOracle,
    OraclePlanner,
    distances_to_goal,
    optimal_lengths,
    oracle_of,
    read_grid,
)
from tests.envs.grid_reference import simulator

CROSSING = "MiniGrid-SimpleCrossingS9N1-v0"


@functools.cache
def cached_env(env_id: str) -> SplitEnv:
    return make_env(env_id)


def forward_search(env: SplitEnv) -> int:
    """Fewest actions to a reward, by trying every action of the real simulator from every state it can reach.

    Where there is nothing to carry or to open, a state is a cell and a direction.
    """
    core = simulator(env)
    start = (*map(int, core.agent_pos), int(core.agent_dir))
    depth, queue = {start: 0}, deque([start])
    while queue:
        state = queue.popleft()
        for action in range(env.n_actions):
            core.agent_pos, core.agent_dir, core.step_count = state[:2], state[2], 0
            reward, terminated, _, _ = env.advance(action)
            if reward > 0:
                return depth[state] + 1
            place = (*map(int, core.agent_pos), int(core.agent_dir))
            if not terminated and place not in depth:
                depth[place] = depth[state] + 1
                queue.append(place)
    raise AssertionError("the goal cannot be reached")


@pytest.mark.parametrize("env_id", [env_id for env_id in SOLVABLE_IDS if env_id not in CLIFF_IDS])
def test_every_listed_id_is_solved_and_no_shorter_way_exists(env_id: str) -> None:
    env = cached_env(env_id)
    agent = HorizonAgent(OraclePlanner(env.n_actions))
    for seed in range(3):
        env.reset(seed)
        length = OraclePlanner(env.n_actions).optimal_length(env.observe())
        agent.reset()
        for step in range(1, length + 1):
            reward, terminated, truncated, _ = env.advance(agent.act(env.observe()))
            assert terminated == (step == length)
            assert not truncated
        assert reward == 1 - 0.9 * (length / simulator(env).max_steps)
        env.reset(seed)
        assert forward_search(env) == length


def test_one_look_is_enough() -> None:
    for env_id in (CROSSING, "MiniGrid-LavaCrossingS9N3-v0", "MiniGrid-FourRooms-v0"):
        env = cached_env(env_id)
        for seed in range(5):
            env.reset(seed)
            obs = env.observe()
            length = OraclePlanner(env.n_actions).optimal_length(obs)
            plan = OraclePlanner(env.n_actions, horizon=length + 3).plan(obs[None])
            rewards: list[float] = []
            _, terminated, _, _ = run_plan(env, plan.mode()[0].tolist(), rewards)
            assert terminated
            assert len(rewards) == length
            assert plan.confidence().min() > 0.99


def test_four_rooms_takes_23_actions() -> None:
    env = cached_env("PHR/FourRooms-v0")
    env.reset(0)
    grid = read_grid(env.observe())
    assert OraclePlanner(3).optimal_length(env.observe()) == 23
    assert grid.free.sum() == 104
    assert (grid.x, grid.y, grid.direction) == (1, 1, 0)
    assert np.argwhere(grid.goal).tolist() == [[11, 11]]
    assert (distances_to_goal(grid.free, grid.goal)[:, grid.free] >= 0).all()


def test_crossing_has_42_layouts_and_the_best_mean_return_is_known() -> None:
    env, oracle = cached_env(CROSSING), OraclePlanner(7)
    lengths: dict[bytes, int] = {}
    for seed in range(600):  # 42 layouts, equally likely: one is left out once in 50,000 times
        env.reset(seed)
        obs = env.observe()
        if obs.tobytes() not in lengths:
            lengths[obs.tobytes()] = oracle.optimal_length(obs)
    optima = np.array(list(lengths.values()))
    assert len(optima) == 42
    assert (optima.min(), optima.max()) == (13, 15)
    assert optima.mean() == pytest.approx(14.214, abs=5e-4)
    max_steps = simulator(env).max_steps
    assert (1 - 0.9 * optima / max_steps).mean() == pytest.approx(0.96052, abs=5e-6)


def slow_distances(free: NDArray[np.bool_], goal: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Relaxed until nothing changes: 1 + the best of turning left, turning right and stepping ahead."""
    height, width = free.shape
    best = np.full((4, height, width), np.inf)
    best[:, goal] = 0
    while True:
        before = best.copy()
        for direction, y, x in np.ndindex(4, height, width):
            if free[y, x]:
                dx, dy = [(1, 0), (0, 1), (-1, 0), (0, -1)][direction]
                nexts = [best[(direction - 1) % 4, y, x], best[(direction + 1) % 4, y, x]]
                if 0 <= y + dy < height and 0 <= x + dx < width and free[y + dy, x + dx]:
                    nexts.append(best[direction, y + dy, x + dx])
                best[direction, y, x] = min(best[direction, y, x], 1 + min(nexts))
        if np.array_equal(before, best):
            return best


@given(st.integers(0, 10_000), st.integers(1, 5), st.integers(1, 6), st.floats(0.3, 1.0))
@settings(max_examples=25)
def test_distances_equal_a_slow_relaxation(seed: int, height: int, width: int, openness: float) -> None:
    rng = np.random.default_rng(seed)
    free = rng.random((height, width)) < openness
    goal = free & (rng.random((height, width)) < 0.2)
    expected = slow_distances(free, goal)
    np.testing.assert_array_equal(distances_to_goal(free, goal), np.where(np.isinf(expected), -1, expected))


def drawn(rows: list[str], direction: int) -> NDArray[np.uint8]:
    """The observation of a drawing: `#` wall, `G` goal, `A` agent."""
    symbols = np.array([list(row) for row in rows])
    obs = np.zeros((30, *symbols.shape), np.uint8)
    obs[0], obs[6], obs[17 + direction] = symbols == "#", symbols == "G", symbols == "A"
    return obs


@pytest.mark.parametrize(
    ("rows", "direction", "action"),
    [
        (["#####", "# A G", "#####"], 2, 0),  # the goal lies behind: either turn is as good
        (["######", "#A  ##", "#   G#", "######"], 0, 1),  # down first or ahead first: 6 actions either way
        (["######", "#   G#", "#A  ##", "######"], 0, 0),  # the mirror image
    ],
)
def test_ties_go_to_left_then_right_then_forward(rows: list[str], direction: int, action: int) -> None:
    obs = drawn(rows, direction)
    state = read_grid(obs)
    distance = distances_to_goal(state.free, state.goal)
    dx, dy = [(1, 0), (0, 1), (-1, 0), (0, -1)][direction]
    ways = [
        distance[(direction - 1) % 4, state.y, state.x],
        distance[(direction + 1) % 4, state.y, state.x],
        distance[direction, state.y + dy, state.x + dx],
    ]
    assert ways.count(min(ways)) == 2
    assert OraclePlanner(3).plan(obs[None]).mode()[0, 0] == action


def test_a_batch_is_planned_as_each_alone() -> None:
    env, oracle = cached_env(CROSSING), OraclePlanner(7, horizon=5)
    looks = []
    for seed in range(6):
        env.reset(seed)
        looks.append(env.observe())
    batch = oracle.plan(np.stack(looks)).mode()
    assert batch.shape == (6, 5)
    for row, obs in zip(batch, looks, strict=True):
        np.testing.assert_array_equal(row, oracle.plan(obs[None]).mode()[0])


@pytest.mark.parametrize(
    ("env_id", "thing"),
    [
        ("MiniGrid-DoorKey-5x5-v0", "door"),
        ("MiniGrid-MultiRoom-N2-S4-v0", "door"),
        ("MiniGrid-Unlock-v0", "door"),
        ("MiniGrid-Fetch-5x5-N2-v0", "key|ball"),
        ("MiniGrid-Dynamic-Obstacles-5x5-v0", "ball"),
        ("MiniGrid-PutNear-6x6-N2-v0", "key|ball|box"),
    ],
)
def test_grids_that_take_more_than_walking_are_refused(env_id: str, thing: str) -> None:
    env = cached_env(env_id)
    env.reset(0)
    with pytest.raises(UnsolvableError, match=f"the oracle only walks; this grid has a ({thing})") as caught:
        OraclePlanner(env.n_actions).plan(env.observe()[None])
    message = str(caught.value)
    assert "\n" not in message
    assert all(listed in message for listed in SOLVABLE_IDS)
    assert isinstance(caught.value, PhrError)


def test_a_goal_behind_walls_is_told() -> None:
    env = cached_env("MiniGrid-Empty-5x5-v0")
    env.reset(0)
    obs = env.observe()
    obs[0, 2, :] = 1
    with pytest.raises(UnsolvableError, match=r"no way leads from \(1, 1\) to a goal"):
        OraclePlanner(7).plan(obs[None])


@pytest.mark.parametrize("shape", [(4,), (3, 9, 9), (29, 9, 9), (2, 30, 9, 9)])
def test_other_observations_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(UnsolvableError, match="the oracle reads full grid observations, .*got shape"):
        read_grid(np.zeros(shape, np.uint8))


@pytest.mark.parametrize("n_agents", [0, 2])
def test_there_must_be_one_agent(n_agents: int) -> None:
    obs: NDArray[Any] = np.zeros((30, 5, 5), np.uint8)
    obs[17, 2, :n_agents] = 1
    with pytest.raises(UnsolvableError, match=f"exactly one agent in the observation, found {n_agents}"):
        read_grid(obs)


def test_lengths_are_told_for_every_start() -> None:
    """Two steps along the way; and facing west, from where the way through the east is the shortest."""
    starts = [Start(0), Start(0, (2, 1)), Start(0, (0, 0))]
    assert optimal_lengths(cached_env("PHR/FourRooms-v0"), starts) == [23, 21, 24]


def test_a_horizon_below_one_is_refused() -> None:
    with pytest.raises(HorizonError, match="the horizon must be >= 1, got 0"):
        OraclePlanner(3, horizon=0)


def steps_to_the_goal(env: CliffEnv, cell: tuple[int, int]) -> int | None:
    """Fewest steps from a cell, by trying every action of the environment itself; None if the goal cannot be reached."""
    depth, queue = {cell: 0}, deque([cell])
    while queue:
        place = queue.popleft()
        for action in range(4):
            env._at = place
            _, reward, ended, _, _ = env.step(np.int64(action))
            if reward > 0:
                return depth[place] + 1
            if not ended and env._at not in depth:
                depth[env._at] = depth[place] + 1
                queue.append(env._at)
    return None


@pytest.mark.parametrize("env_id", CLIFF_IDS)
def test_the_cliffs_are_solved_from_every_cell_and_no_shorter_way_exists(env_id: str) -> None:
    env = CliffEnv(CLIFF_IDS[env_id])
    first, _ = env.reset()
    for y, x in np.argwhere(first[CLIFF] + first[GOAL] == 0).tolist():
        obs = first.copy()
        obs[AGENT] = 0
        obs[AGENT, y, x] = 1
        length = CliffOracle().optimal_length(obs)
        assert length == steps_to_the_goal(env, (y, x))
        env._at = (y, x)
        rewards = [env.step(action)[1] for action in CliffOracle(length).plan(obs[None]).mode()[0]]
        assert rewards == [0.0] * (length - 1) + [1.0]
        assert CliffOracle(length + 3).plan(obs[None]).horizon == length + 3


def test_the_lengths_of_the_cliffs() -> None:
    lengths = {CLIFF_IDS[env_id]: optimal_lengths(cached_env(env_id), [Start(0)]) for env_id in CLIFF_IDS}
    assert lengths == {"Cliff": [15], "Bridge": [13], "ZigZag": [20]}


def test_the_oracle_of_the_cliffs_refuses_what_it_cannot_read() -> None:
    with pytest.raises(UnsolvableError, match="got shape"):
        CliffOracle().plan(np.zeros((1, 4), np.uint8))
    obs, _ = CliffEnv("Bridge").reset()
    obs[CLIFF, :, 5] = 1
    with pytest.raises(UnsolvableError, match=r"no way leads from \(0, 0\) to a goal"):
        CliffOracle().plan(obs[None])
    with pytest.raises(HorizonError, match="the horizon must be >= 1, got 0"):
        CliffOracle(0)


def test_environments_have_their_own_oracle_or_none() -> None:
    assert isinstance(oracle_of(cached_env("PHR/Cliff-v0")), CliffOracle)
    assert isinstance(oracle_of(cached_env("PHR/FourRooms-v0"), 3), OraclePlanner)
    assert oracle_of(cached_env("CartPole-v1")) is None
    with pytest.raises(UnsolvableError, match="the oracle does not read CartPole-v1"):
        optimal_lengths(cached_env("CartPole-v1"), [Start(0)])
