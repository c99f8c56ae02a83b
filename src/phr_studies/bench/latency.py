"""How long a control loop waits for `act`: on a wall-clock schedule, and in a loop without pauses."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from phr.acting import HorizonAgent
from phr.envs import SplitEnv, make_env
from phr.errors import SettingError
from phr.plan import Planner
from phr.storage import onnx_planner
from phr_studies.bench.rounds import Contestant, Measured, ModelSettings, alternate, median, spread
from phr_studies.report.tables import NOTHING, Column, Table, env_name, number, percent

HEADING = "Latency of an action"
_WARM_UPS = 64


@dataclass(frozen=True, kw_only=True)
class LatencySettings(ModelSettings):
    """What is run."""

    hz: tuple[float, ...] = (50.0, 200.0, 1000.0)
    """Rates of the control loop; a loop without pauses is run as well."""
    commitments: tuple[int, ...] = (1, 4, 16)
    rounds: int = 3
    seconds_per_run: float = 2.0
    seed: int = 0

    def __post_init__(self) -> None:
        if any(not 0 < rate < float("inf") for rate in self.hz):
            raise SettingError(f"a rate must be positive, got {', '.join(f'{rate:g}' for rate in self.hz)}")


def measure(settings: LatencySettings) -> dict[str, Any]:
    """Every rate and commitment in alternation."""
    model, commitments = settings.load()
    env, planner = make_env(model.env_id), onnx_planner(model)
    rates: list[float | None] = [None, *settings.hz]
    pairs = [(rate, n) for rate in rates for n in commitments]
    contestants = [_contestant(env, planner, n, rate, settings) for rate, n in pairs]
    rounds = alternate(contestants, settings.rounds)
    env.close()
    rows = [{"hz": rate, "commitment": n, **summary(rounds[f"{rate} {n}"])} for rate, n in pairs]
    return {"model": settings.model, "env_id": model.env_id, "rows": rows}


def _contestant(
    env: SplitEnv, planner: Planner, commitment: int, rate: float | None, settings: LatencySettings
) -> Contestant:
    def one_round(index: int) -> Measured:
        loop = _Loop(env, HorizonAgent(planner, commitment), settings.seed + index)
        for _ in range(_WARM_UPS):
            loop.act()
            loop.move()
        if rate is None:
            return latencies(*_without_pauses(loop, settings.seconds_per_run), None)
        n_ticks = max(1, round(settings.seconds_per_run * rate))
        return latencies(*on_schedule(loop.act, loop.move, rate, n_ticks), 1 / rate)

    return Contestant(f"{rate} {commitment}", one_round)


class _Loop:
    """A control loop around the simulator: look if the plan has run out, act, let the world move."""

    def __init__(self, env: SplitEnv, agent: HorizonAgent, seed: int) -> None:
        self._env, self._agent = env, agent
        self._action = 0
        env.reset(seed)

    def act(self) -> None:
        """What a robot waits for."""
        agent = self._agent
        self._action = agent.act(self._env.observe() if agent.needs_observation else None)

    def move(self) -> None:
        """What the world does by itself."""
        _, terminated, truncated, _ = self._env.advance(self._action)
        if terminated or truncated:
            self._env.reset()
            self._agent.reset()


def _without_pauses(loop: _Loop, seconds: float) -> tuple[list[float], list[float]]:
    clock = time.perf_counter
    took, end = list[float](), clock() + seconds
    while not took or clock() < end:
        begin = clock()
        loop.act()
        took.append(clock() - begin)
        loop.move()
    return took, took


def on_schedule(
    act: Callable[[], None],
    move: Callable[[], None],
    rate: float,
    n_ticks: int,
    *,
    clock: Callable[[], float] = time.perf_counter,
    sleep: Callable[[float], None] = time.sleep,
) -> tuple[list[float], list[float]]:
    """Act, and then `move`, at ticks that are fixed beforehand; an action that is late for its tick is made at once.

    Returns seconds for each action: what `act` took, and from its tick until it was there (waking up and being late too).
    """
    took, answered = list[float](), list[float]()
    first = clock() + 1 / rate
    for index in range(n_ticks):
        tick = first + index / rate
        wait = tick - clock()
        if wait > 0:
            sleep(wait)
        begin = clock()
        act()
        done = clock()
        took.append(done - begin)
        answered.append(done - tick)
        move()
    return took, answered


def latencies(took: Sequence[float], answered: Sequence[float], period: float | None) -> dict[str, float]:
    """Percentiles of one round, from what `on_schedule` returned; `period` is that between two ticks, if any."""
    us = 1e6 * np.array(took)
    return {
        "p50_us": float(np.percentile(us, 50)),
        "p99_us": float(np.percentile(us, 99)),
        "worst_us": float(us.max()),
        "amortised_us": float(us.mean()),
        "actions": len(took),
        "misses": 0 if period is None else int(sum(each > period for each in answered)),
    }


def summary(rounds: Sequence[Measured]) -> dict[str, Any]:
    """Spreads over the rounds; actions and misses are summed, and the worst is the worst of all."""
    names = ("p50_us", "p99_us", "amortised_us")
    return {
        **{name: spread([each[name] for each in rounds]) for name in names},
        "worst_us": max(each["worst_us"] for each in rounds),
        "actions": int(sum(each["actions"] for each in rounds)),
        "misses": int(sum(each["misses"] for each in rounds)),
    }


def tables(values: Mapping[str, Any]) -> list[Table]:
    """One row per rate and commitment."""

    def missed(show: Callable[[Mapping[str, Any]], str]) -> Callable[[Mapping[str, Any]], str]:
        return lambda row: NOTHING if row["hz"] is None else show(row)

    columns = (
        Column("rate", cell=lambda row: "no pauses" if row["hz"] is None else f"{row['hz']:g} Hz"),
        Column("n", "number", lambda row: str(row["commitment"])),
        Column("p50, µs", "number", median("p50_us")),
        Column("p99, µs", "number", median("p99_us")),
        Column("worst, µs", "number", lambda row: number(row["worst_us"])),
        Column("per action, µs", "number", median("amortised_us")),
        Column("actions", "number", lambda row: f"{row['actions']:,}"),
        Column("deadlines missed", "number", missed(lambda row: f"{row['misses']:,}")),
        Column("of all", "number", missed(lambda row: percent(row["misses"] / row["actions"]))),
    )
    note = (
        f"`act` with its look, in {env_name(values['env_id'])}. A deadline is missed where the action is not ready before "
        "the next tick. All causes count: the network, the simulator, an operating system that woke the loop late."
    )
    return [Table.of("Latency", values["rows"], columns, note, grouped=True)]
