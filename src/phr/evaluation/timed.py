"""One timed run in one environment: how fast the policy acts, and what it collects."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from phr.acting.agent import HorizonAgent
from phr.envs.lanes import random_prefix
from phr.envs.split import SplitEnv
from phr.envs.vector import Start
from phr.errors import SettingError
from phr.experience.success import episode_success, said_success


@dataclass(frozen=True)
class Limit:
    """When a run is over: after a number of steps, or after a number of whole episodes.

    Raises:
        SettingError: If not exactly one of them is given, or it is below 1.
    """

    steps: int | None = None
    episodes: int | None = None

    def __post_init__(self) -> None:
        given = [value for value in (self.steps, self.episodes) if value is not None]
        if len(given) != 1 or given[0] < 1:
            raise SettingError(
                f"a run needs either steps or episodes, at least 1; got steps={self.steps}, episodes={self.episodes}"
            )


@dataclass
class RunRecord:
    """What one run yielded; lists hold one entry per whole episode.

    Attributes:
        seed: Seed of the run's first reset.
        steps: Steps taken, those of a last, unfinished episode included.
        episodes: Whole episodes.
        returns: Their sums of rewards.
        lengths: Their steps.
        looks: Their evaluations.
        said: What the environment itself said of success; None where it said nothing.
        successes: Whether they were (see `episode_success`).
        score: Sum of all rewards.
        evaluations: Network calls.
        seconds_wall: Acting, stepping and resetting, without the random prefixes.
        seconds_policy: The part spent in the policy.
        seconds_env: The rest.
    """

    seed: int
    steps: int = 0
    episodes: int = 0
    returns: list[float] = field(default_factory=list)
    lengths: list[int] = field(default_factory=list)
    looks: list[int] = field(default_factory=list)
    said: list[bool | None] = field(default_factory=list)
    successes: list[bool] = field(default_factory=list)
    score: float = 0.0
    evaluations: int = 0
    seconds_wall: float = 0.0
    seconds_policy: float = 0.0
    seconds_env: float = 0.0
    reward_low: float = float("inf")
    reward_high: float = float("-inf")
    any_terminated: bool = False
    trace: list[list[int]] = field(default_factory=list, repr=False)
    """Executed actions, one list per look; −1 after the last action of an episode. Kept only on request."""
    starts: list[Start] = field(default_factory=list, repr=False)
    """How each episode of the trace began."""


@dataclass(frozen=True)
class RunOptions:
    """How a run is played.

    Attributes:
        prefix: Fewest and most random, uncounted actions before each episode.
        observe_always: Build every observation, also those nobody looks at (what the paper's agents do).
        keep_trace: Keep the executed actions.

    Raises:
        SettingError: If the range of the prefix is empty or negative.
    """

    prefix: tuple[int, int] = (0, 0)
    observe_always: bool = False
    keep_trace: bool = False

    def __post_init__(self) -> None:
        low, high = self.prefix
        if not 0 <= low <= high:
            raise SettingError(f"a prefix range needs 0 <= low <= high, got {low}:{high}")


def timed_run(
    env: SplitEnv,
    agent: HorizonAgent,
    limit: Limit,
    *,
    seed: int,
    rng: np.random.Generator,
    options: RunOptions = RunOptions(),
) -> RunRecord:
    """Act until the limit is reached.

    The environment is seeded once, at the start; later resets go on with its own generator, so runs with the same seed meet
    the same episodes whatever the agent does, as long as the environment draws random numbers only when it resets. With
    random prefixes every episode gets a seed of its own, so that seed and prefix decide it (see `Start`).

    Args:
        env: Where to act.
        agent: Who acts; its plan is dropped at every episode's end.
        limit: When to stop.
        seed: Of the first reset.
        rng: For random prefixes, and the seeds of the episodes that they begin.
        options: How the run is played.
    """
    record = RunRecord(seed)
    clock = time.perf_counter
    before = agent.evaluations
    policy = 0.0
    begin = clock()
    uncounted = _enter(env, rng, options, seed, record)
    episode_return, episode_steps, episode_looks = 0.0, 0, 0
    advance, observe_always = env.advance, options.observe_always
    steps_left = limit.steps if limit.steps is not None else -1  # −1 never reaches 0
    episodes_left = limit.episodes if limit.episodes is not None else -1
    while steps_left != 0 and episodes_left != 0:
        obs = env.observe()
        looked = clock()
        actions = agent.decide(obs)
        policy += clock() - looked
        episode_looks += 1
        if 0 <= steps_left < len(actions):
            actions = actions[:steps_left]
        executed, planned = 0, len(actions)
        reward, terminated, truncated = 0.0, False, False
        info: dict[str, Any] = {}
        for action in actions:
            executed += 1
            reward, terminated, truncated, info = advance(action, 0 if observe_always else planned - executed)
            episode_return += reward
            if reward < record.reward_low:
                record.reward_low = reward
            if reward > record.reward_high:
                record.reward_high = reward
            if terminated or truncated:
                break
            if observe_always and executed < planned:
                env.observe()
        steps_left -= executed
        episode_steps += executed
        if options.keep_trace:
            record.trace.append(actions[:executed] + ([-1] if terminated or truncated else []))
        if terminated or truncated:
            agent.reset()
            _close_episode(record, episode_return, episode_steps, episode_looks, (reward, terminated, info))
            episode_return, episode_steps, episode_looks = 0.0, 0, 0
            episodes_left -= 1
            if steps_left != 0 and episodes_left != 0:
                uncounted += _enter(env, rng, options, None, record)
    record.seconds_wall = clock() - begin - uncounted
    record.seconds_policy = policy
    record.seconds_env = record.seconds_wall - policy
    record.steps = sum(record.lengths) + episode_steps
    record.score = sum(record.returns) + episode_return
    record.evaluations = agent.evaluations - before
    return record


def _enter(env: SplitEnv, rng: np.random.Generator, options: RunOptions, seed: int | None, record: RunRecord) -> float:
    """Start an episode; returns the seconds that took what is not its reset."""
    clock = time.perf_counter
    begin = clock()
    start = Start(seed)
    if options.prefix[1]:
        own = int(rng.integers(2**31)) if seed is None else seed
        start = Start(own, random_prefix(env.n_actions, rng, options.prefix))
    if options.keep_trace:
        record.starts.append(start)
    drawn = clock()
    env.reset(start.seed)
    entered = clock()
    start.play_prefix(env)
    return drawn - begin + clock() - entered


def _close_episode(
    record: RunRecord, episode_return: float, steps: int, looks: int, last: tuple[float, bool, dict[str, Any]]
) -> None:
    reward, terminated, info = last
    record.episodes += 1
    record.returns.append(episode_return)
    record.lengths.append(steps)
    record.looks.append(looks)
    record.any_terminated |= terminated
    record.said.append(said_success(info))
    record.successes.append(episode_success(record.said[-1], terminated=terminated, last_reward=reward))
