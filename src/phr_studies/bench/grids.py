"""A step and a look on a grid: phr's split step against MiniGrid's `FullyObsWrapper`."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import gymnasium
import numpy as np
from minigrid.wrappers import FullyObsWrapper

from phr.envs import make_env
from phr_studies.bench.rounds import Contestant, Measured, alternate, ends, median, ratio, spread
from phr_studies.report.tables import Column, Table, env_name, times
from phr_studies.reproduce.profiles import CROSSING

HEADING = "A step and a look on a grid"
OURS = "phr, step and look"


@dataclass(frozen=True, kw_only=True)
class GridSettings:
    """What is run: in which grid, how often, how many random steps a round, from which first seed."""

    env_id: str = CROSSING
    rounds: int = 7
    steps: int = 5000
    seed: int = 0


Stepper = tuple[Callable[[int], Any], Callable[[int], bool]]
"""`reset` starts the episode of a seed; `step` takes an action and returns whether the episode has ended."""


def measure(settings: GridSettings) -> dict[str, Any]:
    """The same random actions in the same episodes, in alternation."""
    n_actions = make_env(settings.env_id).n_actions
    contestants = [_contestant(name, make(settings.env_id), settings, n_actions) for name, make in WAYS.items()]
    rounds = alternate(contestants, settings.rounds)
    step_us = {name: spread([1e6 * each["seconds_wall"] / each["steps"] for each in rounds[name]]) for name in rounds}
    rows = [{"name": name, "step_us": each, "ratio": ratio(each, step_us[OURS])} for name, each in step_us.items()]
    return {"env_id": settings.env_id, "steppers": rows}


def _contestant(name: str, stepper: Stepper, settings: GridSettings, n_actions: int) -> Contestant:
    def one_round(index: int) -> Measured:
        rng = np.random.default_rng(settings.seed + index)
        actions = rng.integers(n_actions, size=settings.steps).tolist()
        return time_steps(stepper, actions, settings.seed + index)

    return Contestant(name, one_round)


def time_steps(stepper: Stepper, actions: list[int], seed: int) -> dict[str, float]:
    """Take all actions, beginning a new episode whenever one ends; the resets are not timed."""
    (reset, step), clock = stepper, time.perf_counter
    seconds, taken, episode = 0.0, 0, 0
    while taken < len(actions):
        reset(seed + episode)
        episode += 1
        begin = clock()
        for action in actions[taken:]:
            taken += 1
            if step(action):
                break
        seconds += clock() - begin
    return {"seconds_wall": seconds, "steps": taken, "episodes": episode}


def _split(env_id: str, *, looking: bool) -> Stepper:
    env = make_env(env_id)
    advance, observe, out = env.advance, env.observe, np.empty(env.observation_space.shape, env.observation_space.dtype)

    def step_and_look(action: int) -> bool:
        _, terminated, truncated, _ = advance(action)
        observe(out)
        return terminated or truncated

    def step(action: int) -> bool:
        _, terminated, truncated, _ = advance(action)
        return terminated or truncated

    def reset(seed: int) -> None:
        env.reset(seed)
        observe(out)

    return reset, step_and_look if looking else step


def _wrapped(env_id: str, *, full: bool, checked: bool) -> Stepper:
    env: gymnasium.Env[Any, Any] = gymnasium.make(env_id, disable_env_checker=not checked)
    if full:
        env = FullyObsWrapper(env)
    take = env.step

    def step(action: int) -> bool:
        _, _, terminated, truncated, _ = take(action)
        return terminated or truncated

    return lambda seed: env.reset(seed=seed), step


WAYS: dict[str, Callable[[str], Stepper]] = {
    OURS: partial(_split, looking=True),
    "phr, step alone": partial(_split, looking=False),
    "FullyObsWrapper": partial(_wrapped, full=True, checked=True),
    "FullyObsWrapper, without Gymnasium's checker": partial(_wrapped, full=True, checked=False),
    "MiniGrid as it comes (7×7 view)": partial(_wrapped, full=False, checked=True),
}
"""Name → what makes an environment to be stepped this way."""


def tables(values: Mapping[str, Any]) -> list[Table]:
    """One row per way to step."""
    columns = (
        Column("way", cell=lambda each: each["name"]),
        Column("a step, µs", "number", median("step_us")),
        Column("lowest … highest", "interval", ends("step_us")),
        Column("against phr", "number", median("ratio", times)),
    )
    note = f"The same random actions in the same episodes of {env_name(values['env_id'])}; resets are not counted."
    return [Table.of("A step and a look", values["steppers"], columns, note)]
