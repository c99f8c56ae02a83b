"""Decisions an episode in Cliff, Bridge and ZigZag: TempoRL's, the fewest that repeated actions can reach, and a student's.

    .venv/bin/python benchmarks/temporl.py [--students DIR ...]

TempoRL (Biedenkapp et al. 2021, arXiv:2106.05262) learns an action, and for how many steps to repeat it. This is our own
tabular form of its algorithm: one-step Q-learning of actions, and a table over (state, action, repetitions) that learns from
every part of every repetition, with the action values as its bootstrap (their Eq. 2 and Algorithm 1). Every agent is trained
from nothing with a seed of its own, and plays one greedy episode in the end; ties take the longest repetition. The fewest
decisions are found by search, over actions repeated at most `max_repeat` times. A student's decisions are its looks.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import tyro
from numpy.typing import NDArray

import phr
from phr.envs import CLIFF_IDS
from phr.envs.cliffs import AGENT, MOVES
from phr_studies.report.tables import Column, Table, to_markdown

GAMMA, RATE = 0.99, 0.5
"""The discount and the learning rate of the paper's tabular agents."""
Schedule = Callable[[float], float]
"""Fraction of the episodes played → probability of a random choice, for actions and for repetitions alike."""
SCHEDULES: dict[str, Schedule] = {
    "linear": lambda done: 1 - done,
    "log": lambda done: float(10 ** (-6 * done)),
    "constant": lambda _done: 0.1,
}


@dataclass(frozen=True, kw_only=True)
class Arguments:
    episodes: int = 10_000
    """Training episodes of each agent."""
    seeds: int = 3
    """Agents trained for each world, schedule and longest repetition."""
    max_repeat: tuple[int, ...] = (7, 10)
    """Longest repetitions; the paper's are 7, and 10 is the longest that a 6×10 grid can need."""
    students: tuple[Path, ...] = ()
    """Run directories of students, whose default commitment is played."""


class World:
    """A world as a table: state and action → next state, reward and whether the episode ends. It is deterministic."""

    def __init__(self, env_id: str) -> None:
        with phr.make_env(env_id) as env:
            core: Any = env.gym_env.unwrapped
            env.reset(0)
            grid = env.observe()
            _, self.height, self.width = grid.shape
            self.start = int(grid[AGENT].argmax())
            self.limit = int(gymnasium.spec(env_id).max_episode_steps or 0)
            n = self.height * self.width
            self.next, self.reward = np.zeros((n, len(MOVES)), np.int64), np.zeros((n, len(MOVES)))
            for state, action in np.ndindex(n, len(MOVES)):  # one step of the environment itself from every cell
                core._at = divmod(state, self.width)
                self.reward[state, action] = core.step(action)[1]
                self.next[state, action] = core._at[0] * self.width + core._at[1]

    def repeat(self, state: int, action: int, n: int) -> tuple[list[int], float, bool]:
        """Repeat an action up to n times; return the states, the last reward and whether the episode ended."""
        states, reward = [state], 0.0
        for _ in range(n):
            reward, state = float(self.reward[state, action]), int(self.next[state, action])
            states.append(state)
            if reward:
                return states, reward, True
        return states, reward, False


def fewest_decisions(world: World, max_repeat: int) -> int:
    """Breadth-first search over decisions: an action, and how often it is repeated."""
    distance, queue = {world.start: 0}, deque([world.start])
    while queue:
        state = queue.popleft()
        for action in range(len(MOVES)):
            for n in range(1, max_repeat + 1):
                states, reward, ended = world.repeat(state, action, n)
                if reward > 0:
                    return distance[state] + 1
                if not ended and states[-1] not in distance:
                    distance[states[-1]] = distance[state] + 1
                    queue.append(states[-1])
    raise ValueError("the goal cannot be reached")


class TempoRL:
    """A table of action values and one of repetitions, both learned."""

    def __init__(self, world: World, max_repeat: int, seed: int) -> None:
        n = world.height * world.width
        self.world, self.rng = world, np.random.default_rng(seed)
        self.actions = np.zeros((n, len(MOVES)))
        self.repeats = np.zeros((n, len(MOVES), max_repeat))

    def choose(self, values: NDArray[np.float64], epsilon: float) -> int:
        """An index at random with probability epsilon, else one of the best."""
        if self.rng.random() < epsilon:
            return int(self.rng.integers(len(values)))
        best = np.flatnonzero(values == values.max())
        return int(best[0] if len(best) == 1 else best[self.rng.integers(len(best))])

    def train_episode(self, epsilon: float) -> None:
        """Play one episode and learn from it, step by step."""
        state, steps, ended = self.world.start, 0, False
        while not ended and steps < self.world.limit:
            action = self.choose(self.actions[state], epsilon)
            n = 1 + self.choose(self.repeats[state, action], epsilon)
            path = [state]
            for _ in range(min(n, self.world.limit - steps)):
                before = path[-1]
                path.append(int(self.world.next[before, action]))
                reward = float(self.world.reward[before, action])
                ended, steps = reward != 0, steps + 1
                value = 0.0 if ended else float(self.actions[path[-1]].max())
                self.actions[before, action] += RATE * (reward + GAMMA * value - self.actions[before, action])
                for first, origin in enumerate(path[:-1]):  # every repetition that ends here; only its last step is rewarded
                    length = len(path) - 1 - first
                    target = GAMMA ** (length - 1) * reward + GAMMA**length * value
                    entry = self.repeats[origin, action]
                    entry[length - 1] += RATE * (target - entry[length - 1])
                if ended:
                    break
            state = path[-1]

    def greedy(self) -> tuple[int, int, float]:
        """Decisions, steps and return of one greedy episode."""
        state, decisions, steps, reward, ended = self.world.start, 0, 0, 0.0, False
        while not ended and steps < self.world.limit:
            action = self.choose(self.actions[state], 0.0)
            values = self.repeats[state, action]
            n = 1 + int(np.flatnonzero(values == values.max())[-1])
            states, reward, ended = self.world.repeat(state, action, min(n, self.world.limit - steps))
            decisions, steps, state = decisions + 1, steps + len(states) - 1, states[-1]
        return decisions, steps, reward


def main(arguments: Arguments) -> int:
    """Train, search, play, and print one table."""
    rows: list[tuple[str, ...]] = []
    for env_id, name in CLIFF_IDS.items():
        world = World(env_id)
        for most in arguments.max_repeat:
            rows.append((name, f"fewest, repeats ≤ {most}", str(fewest_decisions(world, most)), "", "1"))
            for schedule, epsilon in SCHEDULES.items():
                played = []
                for seed in range(arguments.seeds):
                    agent = TempoRL(world, most, seed)
                    for episode in range(arguments.episodes):
                        agent.train_episode(epsilon(episode / arguments.episodes))
                    played.append(agent.greedy())
                decisions, steps, returns = (f"{np.mean(each):.4g}" for each in zip(*played, strict=True))
                rows.append((name, f"TempoRL, {schedule} ε, repeats ≤ {most}", decisions, steps, returns))
        for student in arguments.students:
            model = phr.load(student)
            if model.manifest.env_id == env_id:
                found = phr.evaluate(model, episodes=1, runs=1, bound=False)
                looks, length = f"{found.evaluations_per_episode:.4g}", f"{found.length_mean:.4g}"
                rows.append((name, f"student, horizon {model.manifest.horizon}", looks, length, f"{found.return_mean:.4g}"))
    names = ("world", "agent", "decisions an episode", "steps", "return")
    print(to_markdown(Table("", tuple(Column(each) for each in names), tuple(rows))))
    return 0


if __name__ == "__main__":
    raise SystemExit(main(tyro.cli(Arguments, description=__doc__)))
