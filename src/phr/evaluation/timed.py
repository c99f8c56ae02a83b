"""One timed run in one environment: how fast the policy acts, and what it collects."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import reduce
from operator import add
from typing import Any

import numpy as np
from numpy.random import Generator

from phr.acting.agent import HorizonAgent
from phr.envs.split import Advance, SplitEnv, run_plan
from phr.envs.vector import PATIENCE, Remarks, Start, endless, endless_starts
from phr.errors import SettingError
from phr.experience.success import reported_success
from phr.settings import check_whole, is_whole, shown


@dataclass(frozen=True)
class Limit:
    """When a run is over: after a number of steps, or of whole episodes; SettingError for both, none, or below 1."""

    steps: int | None = None
    episodes: int | None = None

    def __post_init__(self) -> None:
        given = {name: value for name in ("steps", "episodes") if (value := getattr(self, name)) is not None}
        if len(given) != 1:
            what = "give steps or episodes, not both" if given else "give the number of steps or of episodes"
            raise SettingError(f"{what}; got steps={self.steps}, episodes={self.episodes}")
        for name, value in given.items():
            check_whole(name, value, 1)


@dataclass
class RunRecord:
    """Results of one run; lists contain one entry per whole episode.

    Attributes:
        steps: Those of a last, unfinished episode included, as in `score` (the sum of all rewards) and `evaluations`.
        terminated: Whether they ended by themselves rather than by a limit.
        reported: What the environment reports about their success (`reported_success`).
        seconds_wall: Acting, stepping and resetting, without the random prefixes and without keeping this record.
        seconds_env: Its part that was not spent in the policy.
    """

    seed: int
    steps: int = 0
    episodes: int = 0
    returns: list[float] = field(default_factory=list)
    lengths: list[int] = field(default_factory=list)
    looks: list[int] = field(default_factory=list)
    terminated: list[bool] = field(default_factory=list)
    last_rewards: list[float] = field(default_factory=list)
    reported: list[bool | None] = field(default_factory=list)
    score: float = 0.0
    evaluations: int = 0
    seconds_wall: float = 0.0
    seconds_policy: float = 0.0
    seconds_env: float = 0.0
    reward_low: float = float("inf")
    reward_high: float = float("-inf")
    trace: list[list[Any]] = field(default_factory=list, repr=False)
    """Executed actions, one list per look; −1 after the last action of an episode. Copies, kept only on request."""
    starts: list[Start] = field(default_factory=list, repr=False)
    """How each episode of the trace began; its actions are copies too."""
    remarks: Remarks = field(default_factory=Remarks, repr=False)
    """What did not go as asked."""

    def collect(self, rewards: list[float]) -> float:
        """Note the range of an episode's rewards; returns their sum."""
        self.reward_low, self.reward_high = min([self.reward_low, *rewards]), max([self.reward_high, *rewards])
        return reduce(add, rewards, 0.0)  # in order, unlike `sum`, which compensates since Python 3.12

    def close_episode(self, rewards: list[float], looks: int, terminated: bool, reported: bool | None) -> None:
        """Enter a whole episode."""
        self.episodes += 1
        self.returns.append(self.collect(rewards))
        self.lengths.append(len(rewards))
        self.looks.append(looks)
        self.terminated.append(terminated)
        self.last_rewards.append(rewards[-1])
        self.reported.append(reported)

    def close_run(self, rewards: list[float], evaluations: int, wall: float, policy: float) -> None:
        """Enter the sums, a last, unfinished episode's rewards among them, and the seconds."""
        self.score = sum(self.returns) + self.collect(rewards)
        self.steps = sum(self.lengths) + len(rewards)
        self.evaluations = evaluations
        self.seconds_wall, self.seconds_policy, self.seconds_env = wall, policy, wall - policy


@dataclass(frozen=True)
class RunOptions:
    """How a run is played.

    Attributes:
        prefix: Fewest and most random, uncounted actions before each episode; SettingError unless 0 <= low <= high.
        observe_always: Build every observation, also those that no look uses (what the paper's agents do).
        keep_trace: Keep the executed actions.
    """

    prefix: Sequence[int] = (0, 0)
    observe_always: bool = False
    keep_trace: bool = False

    def __post_init__(self) -> None:
        pair: Any = self.prefix
        if not isinstance(pair, tuple | list) or len(pair) != 2 or not all(map(is_whole, pair)):
            raise SettingError(f"random_prefix must be two whole numbers (low, high), got {shown(pair)}")
        low, high = pair
        if not 0 <= low <= high:
            raise SettingError(f"random_prefix needs 0 <= low <= high, got {shown(int(low))}:{shown(int(high))}")
        object.__setattr__(self, "prefix", (int(low), int(high)))


def timed_run(
    env: SplitEnv, agent: HorizonAgent, limit: Limit, *, seed: int, rng: Generator, options: RunOptions = RunOptions()
) -> RunRecord:
    """Act until the limit is reached.

    The environment is seeded once, at the start; later resets go on with its own generator, so runs with the same seed meet
    the same episodes whatever the agent does, as long as the environment draws random numbers only when it resets. With
    random prefixes every episode gets a seed of its own, drawn from `rng` as they are, so that seed and prefix decide it.
    UnsupportedEnvironmentError if whole episodes are asked for and one does not end.
    """
    record = RunRecord(seed)
    clock, execute = time.perf_counter, _run_plan_looking if options.observe_always else run_plan
    observe, decide, keep_trace = env.observe, agent.decide, options.keep_trace
    before, policy, looks, rewards = agent.evaluations, 0.0, 0, list[float]()
    steps_left = limit.steps if limit.steps is not None else -1  # −1 never reaches 0
    episodes_left = limit.episodes if limit.episodes is not None else -1
    starts = endless_starts(env.action_space, seed, rng, options.prefix)
    begin = clock()
    uncounted = _enter(env, starts, options, record)
    while steps_left != 0 and episodes_left != 0:
        obs = observe()
        looked = clock()
        actions = decide(obs)
        policy += clock() - looked
        looks += 1
        if 0 <= steps_left < len(actions):
            actions = actions[:steps_left]
        if keep_trace:  # before the environment has them: it may change an array in place
            copying = clock()
            kept = copied(actions)
            uncounted += clock() - copying
        already = len(rewards)
        _, terminated, truncated, info = execute(env, actions, rewards)
        executed = len(rewards) - already
        if already > PATIENCE and steps_left < 0:
            raise endless(env.env_id)
        steps_left -= executed
        ended = terminated or truncated
        if keep_trace:
            record.trace.append(kept[:executed] + [-1] * ended)
        if ended:
            agent.reset()
            closed = clock()
            reported = reported_success(env, info, terminated=terminated, last_reward=rewards[-1])
            record.close_episode(rewards, looks, terminated, reported)
            uncounted += clock() - closed
            looks, rewards = 0, []
            episodes_left -= 1
            if steps_left != 0 and episodes_left != 0:
                uncounted += _enter(env, starts, options, record)
    record.close_run(rewards, agent.evaluations - before, clock() - begin - uncounted, policy)
    return record


def copied(actions: Sequence[Any]) -> list[Any]:
    """The same actions, arrays among them copied."""
    return [action.copy() if isinstance(action, np.ndarray) else action for action in actions]


def _run_plan_looking(env: SplitEnv, actions: Sequence[Any], rewards: list[float]) -> Advance:
    """`run_plan` that builds every observation but the last, which the next look builds."""
    for left, action in zip(reversed(range(len(actions))), actions, strict=True):
        step = env.advance(action)
        rewards.append(step[0])
        if step[1] or step[2]:
            break
        if left:
            env.observe()
    return step


def _enter(env: SplitEnv, starts: Iterator[Start], options: RunOptions, record: RunRecord) -> float:
    """Start an episode; return the seconds spent on anything but its reset."""
    clock = time.perf_counter
    begin = clock()
    start = next(starts)
    if options.keep_trace:
        record.starts.append(Start(start.seed, tuple(copied(start.prefix))))
    drawn = clock()
    env.reset(start.seed)
    entered = clock()
    if start.prefix and (refusal := start.play_prefix(env)) is not None:
        record.remarks.prefixes_left_out.append(str(refusal))
    return drawn - begin + clock() - entered
