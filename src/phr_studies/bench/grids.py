"""A step and a look on a grid: phr's split step against MiniGrid's `FullyObsWrapper`."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import gymnasium
import numpy as np
from minigrid.wrappers import FullyObsWrapper

from phr.envs import make_env
from phr_studies.bench.contestants import Contestant, Measured, alternate, ratio, spread
from phr_studies.report.names import env_name
from phr_studies.report.numbers import interval, number, times
from phr_studies.report.tables import Column, Table

HEADING = "A step and a look on a grid"
OURS = "phr, step and look"


@dataclass(frozen=True, kw_only=True)
class GridSettings:
    """What is run.

    Attributes:
        env_id: A MiniGrid id.
        rounds: Of every contestant.
        steps: Random steps of a round, the same for all.
        seed: Of the first round's first episode.
    """

    env_id: str = "MiniGrid-SimpleCrossingS9N1-v0"
    rounds: int = 7
    steps: int = 5000
    seed: int = 0


@dataclass(frozen=True)
class Stepper:
    """An environment whose steps are timed; its resets are not.

    Attributes:
        reset: Start the episode of a seed.
        step: Take an action; returns whether the episode has ended.
    """

    reset: Callable[[int], Any]
    step: Callable[[int], bool]


def measure(settings: GridSettings) -> dict[str, Any]:
    """The same random actions in the same episodes, in alternation."""
    steppers = {name: stepper_of(settings.env_id, way) for name, way in ways().items()}
    n_actions = make_env(settings.env_id).n_actions
    contestants = [_contestant(name, stepper, settings, n_actions) for name, stepper in steppers.items()]
    rounds = alternate(contestants, settings.rounds)
    step_us = {name: spread([1e6 * each["seconds_wall"] / each["steps"] for each in rounds[name]]) for name in rounds}
    rows = [{"name": name, "step_us": each, "ratio": ratio(each, step_us[OURS])} for name, each in step_us.items()]
    return {"env_id": settings.env_id, "steppers": rows}


@dataclass(frozen=True, kw_only=True)
class Way:
    """How to step.

    Attributes:
        ours: phr's split step; else Gymnasium's.
        full: Look at the whole grid at each step.
        checked: Leave Gymnasium's environment checker in its place.
    """

    ours: bool = False
    full: bool = True
    checked: bool = True


def ways() -> dict[str, Way]:
    """The ways that are compared, by name."""
    return {
        OURS: Way(ours=True),
        "phr, step alone": Way(ours=True, full=False),
        "FullyObsWrapper": Way(),
        "FullyObsWrapper, without Gymnasium's checker": Way(checked=False),
        "MiniGrid as it comes (7×7 view)": Way(full=False),
    }


def stepper_of(env_id: str, way: Way) -> Stepper:
    """A new environment, to be stepped this way."""
    return _split(env_id, looking=way.full) if way.ours else _wrapped(env_id, full=way.full, checked=way.checked)


def _contestant(name: str, stepper: Stepper, settings: GridSettings, n_actions: int) -> Contestant:
    def one_round(index: int) -> Measured:
        rng = np.random.default_rng(settings.seed + index)
        actions = rng.integers(n_actions, size=settings.steps).tolist()
        return time_steps(stepper.reset, stepper.step, actions, settings.seed + index)

    return Contestant(name, one_round)


def time_steps(reset: Callable[[int], Any], step: Callable[[int], bool], actions: list[int], seed: int) -> dict[str, float]:
    """Take all actions, beginning a new episode whenever one ends; the resets are not timed."""
    clock = time.perf_counter
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

    return Stepper(reset, step_and_look if looking else step)


def _wrapped(env_id: str, *, full: bool, checked: bool) -> Stepper:
    env: gymnasium.Env[Any, Any] = gymnasium.make(env_id, disable_env_checker=not checked)
    if full:
        env = FullyObsWrapper(env)
    take = env.step

    def step(action: int) -> bool:
        _, _, terminated, truncated, _ = take(action)
        return terminated or truncated

    return Stepper(lambda seed: env.reset(seed=seed), step)


def tables(values: Mapping[str, Any]) -> list[Table]:
    """One row per way to step."""
    columns = (
        Column("way"), Column("a step, µs", "number"), Column("lowest … highest", "interval"),
        Column("against phr", "number"),
    )  # fmt: skip
    rows = tuple(
        (
            each["name"],
            number(each["step_us"]["median"]),
            interval((each["step_us"]["low"], each["step_us"]["high"])),
            times(each["ratio"]["median"]),
        )
        for each in values["steppers"]
    )
    note = f"The same random actions in the same episodes of {env_name(values['env_id'])}; resets are not counted."
    return [Table("A step and a look", columns, rows, note=note)]
