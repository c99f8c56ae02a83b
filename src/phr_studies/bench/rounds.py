"""Contestants that take turns, the loop that most of them run, and what their rounds add up to.

A machine is faster in one minute than in the next. So contestants alternate in one process, a ratio is taken within a round,
and the median over the rounds is what counts; lowest and highest stand beside it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from phr import HorizonAgent, Model, Planner
from phr.envs import SplitEnv
from phr.errors import InvalidDataError, SettingError
from phr.evaluation import Limit, RunOptions, RunRecord, TimeBound, least_terms, measure_bound, timed_run
from phr_studies.bench.models import bench_model
from phr_studies.report.tables import interval, number

Measured = Mapping[str, float]
"""What one round of one contestant yields; of loops at least `seconds_wall`, `steps` and `score`."""

Spread = dict[str, Any]
"""`median`, `low`, `high` and the values of all `rounds`, in order."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What a section runs: rounds of every contestant, and how long one round of one takes."""

    rounds: int = 5
    seconds_per_run: float = 0.5


@dataclass(frozen=True, kw_only=True)
class ModelSettings(Settings):
    """What a section runs with the student of reference `model`."""

    model: str
    commitments: tuple[int, ...] = (1, 16)
    """Those above the student's horizon are left out."""

    def load(self) -> tuple[Model, list[int]]:
        """The student, and the commitments that it can do."""
        model = bench_model(self.model)
        return model, [n for n in self.commitments if n <= model.horizon]


@dataclass(frozen=True)
class Contestant:
    """One who takes part; everything is set up before the first round."""

    name: str
    play: Callable[[int], Measured]
    """Measures the round of this number, from 0."""


@dataclass(frozen=True)
class Arena:
    """Where the loops of one table are run; round k begins with `seed + k`."""

    env_id: str
    env: SplitEnv
    model: Model
    seconds_per_run: float
    seed: int


Peer = Callable[[Arena], Contestant]
"""Prepares a contestant; raises a `UsageError` where it cannot take part, which becomes the text of its row."""


def alternate(contestants: Sequence[Contestant], rounds: int) -> dict[str, list[Measured]]:
    """Let all contestants play every round before the next begins; by name, one entry per round.

    Odd rounds go backwards, so what one leaves behind (heat, caches) does not always fall to the same neighbour.
    """
    if rounds < 1:
        raise SettingError(f"a bench needs at least one round, got {rounds}")
    measured: dict[str, list[Measured]] = {each.name: [] for each in contestants}
    if len(measured) < len(contestants):
        raise InvalidDataError(f"contestants need different names, got {[each.name for each in contestants]}")
    for index in range(rounds):
        for each in reversed(contestants) if index % 2 else contestants:
            measured[each.name].append(each.play(index))
    return measured


def spread(values: Sequence[float]) -> Spread:
    """Median, lowest and highest over the rounds."""
    if not values:
        raise InvalidDataError("a spread needs at least one round")
    rounds = [float(value) for value in values]
    return {"median": float(np.median(rounds)), "low": min(rounds), "high": max(rounds), "rounds": rounds}


def ratio(above: Spread, below: Spread) -> Spread | None:
    """Spread of the ratios within each round; None where a denominator is not positive."""
    over, under = above["rounds"], below["rounds"]
    if len(over) != len(under):
        raise InvalidDataError(f"a ratio needs the same rounds on both sides, got {len(over)} and {len(under)}")
    if min(under) <= 0:
        return None
    return spread([a / b for a, b in zip(over, under, strict=True)])


def summed_up(rounds: Sequence[Measured]) -> dict[str, Spread]:
    """The rates of a loop over its rounds: `seconds_per_100k_steps` and `score_per_second`."""
    return {
        "seconds_per_100k_steps": spread([1e5 * each["seconds_wall"] / each["steps"] for each in rounds]),
        "score_per_second": spread([each["score"] / each["seconds_wall"] for each in rounds]),
    }


def _at(entry: Any, path: str) -> Any:
    for key in path.split("."):
        entry = None if entry is None else entry[key]
    return entry


def median(path: str, show: Callable[[float | None], str] = number) -> Callable[[Any], str]:
    """A table's cell: the median of the spread at a path of keys, joined by dots."""
    return lambda entry: show(_at(entry, f"{path}.median"))


def ends(path: str) -> Callable[[Any], str]:
    """A table's cell: the lowest and the highest of the spread at a path."""
    return lambda entry: interval((_at(entry, f"{path}.low"), _at(entry, f"{path}.high")))


def units_that_take(seconds: float, run: Callable[[int], float], pilot: int) -> int:
    """How many units of work fill so many seconds; `run` takes units and returns seconds. Two pilots warm everything up."""
    for _ in range(2):
        took = run(pilot)
    return max(1, round(pilot * seconds / took))


PILOT_UPDATES = 4
"""Updates of a training that are tried to learn how long one takes."""
_PILOT_STEPS = 200
_MOST_STEPS = 1_000_000
_PLAIN = RunOptions()


def play(arena: Arena, planner: Planner, commitment: int, steps: int, seed: int, options: RunOptions = _PLAIN) -> RunRecord:
    """One run with a new agent."""
    agent = HorizonAgent(planner, commitment)
    return timed_run(arena.env, agent, Limit(steps=steps), seed=seed, rng=np.random.default_rng(seed), options=options)


def steps_that_take(arena: Arena, planner: Planner, commitment: int, options: RunOptions = _PLAIN) -> int:
    """How many steps fill `arena.seconds_per_run`.

    Never fewer than the pilot's: however slow the machine, a run is long enough to end episodes and score.
    """

    def run(steps: int) -> float:
        return play(arena, planner, commitment, steps, arena.seed, options).seconds_wall

    return max(_PILOT_STEPS, min(_MOST_STEPS, units_that_take(arena.seconds_per_run, run, _PILOT_STEPS)))


def measured(record: RunRecord) -> dict[str, float]:
    """What a round keeps of a run."""
    names = ("seconds_wall", "seconds_policy", "steps", "episodes", "score", "evaluations")
    return {name: getattr(record, name) for name in names}


def loop_contestant(
    name: str, arena: Arena, planner: Planner, commitment: int, *, observe_always: bool = False
) -> Contestant:
    """Plays the environment in the same loop as `phr evaluate`."""
    options = RunOptions(observe_always=observe_always)
    steps = steps_that_take(arena, planner, commitment, options)

    def one_round(index: int) -> Measured:
        return measured(play(arena, planner, commitment, steps, arena.seed + index, options))

    return Contestant(name, one_round)


def bounded_contestant(
    name: str, arena: Arena, planner: Planner, commitment: int, *, seconds_per_bound: float
) -> Contestant:
    """The same, with the time bound measured right before and right after every run.

    Before a run, the previous round's is replayed: the terms are per call, and those two runs look alike.
    """
    options = RunOptions(keep_trace=True)
    steps = steps_that_take(arena, planner, commitment, options)
    latest = play(arena, planner, commitment, min(steps, _PILOT_STEPS), arena.seed, options)

    def bound_of(record: RunRecord) -> TimeBound:
        return measure_bound(arena.env, planner, record, max_seconds=seconds_per_bound)

    def one_round(index: int) -> Measured:
        nonlocal latest
        before = bound_of(latest)
        latest = play(arena, planner, commitment, steps, arena.seed + index, options)
        bound = least_terms(bound_of(latest), before)
        return {**measured(latest), **bound.to_json(1e5 * latest.seconds_wall / latest.steps), "bound_us": bound.us_per_step}

    return Contestant(name, one_round)
