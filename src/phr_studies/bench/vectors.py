"""Many environments at once: one batch evaluates just those whose plan has run out."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from phr.acting import VectorHorizonAgent
from phr.envs import VectorSplit, make_env
from phr.errors import SettingError
from phr.plan import Planner
from phr.storage import onnx_planner
from phr_studies.bench.rounds import Contestant, ModelSettings, alternate, ends, median, ratio, spread, units_that_take
from phr_studies.report.tables import Column, Table, env_name, times, whole

HEADING = "Many environments at once"
_PILOT_TICKS = 16


@dataclass(frozen=True, kw_only=True)
class VectorSettings(ModelSettings):
    """What is run, with vectors of the sizes `n_envs`."""

    n_envs: tuple[int, ...] = (1, 2, 4, 8, 16, 32, 64, 128, 256)
    rounds: int = 3

    def __post_init__(self) -> None:
        if min(self.n_envs) < 1:
            raise SettingError(f"a vector needs at least one environment, got {min(self.n_envs)}")


def measure(settings: VectorSettings) -> dict[str, Any]:
    """Every size and commitment in alternation."""
    model, commitments = settings.load()
    planner = onnx_planner(model)
    envs = [make_env(model.env_id) for _ in range(max(settings.n_envs))]
    pairs = [(size, n) for n in commitments for size in settings.n_envs]
    vectors = {size: VectorSplit(envs[:size], "same_step", lambda i, k: i + 1000 * k) for size in settings.n_envs}
    contestants = [_contestant(vectors[size], planner, size, n, settings.seconds_per_run) for size, n in pairs]
    rounds = alternate(contestants, settings.rounds)
    for env in envs:
        env.close()
    rates = {pair: spread([each["steps"] / each["seconds_wall"] for each in rounds[f"{pair}"]]) for pair in pairs}
    rows = [
        {
            "n_envs": size,
            "commitment": n,
            "steps_per_second": rates[size, n],
            "speedup": ratio(rates[size, n], rates[settings.n_envs[0], n]),
            "environments_per_batch": spread([each["evaluations"] / each["batches"] for each in rounds[f"{(size, n)}"]]),
        }
        for size, n in pairs
    ]
    return {"model": settings.model, "env_id": model.env_id, "rows": rows}


def _contestant(vector: VectorSplit, planner: Planner, n_envs: int, commitment: int, seconds: float) -> Contestant:
    def run(n_ticks: int) -> dict[str, float]:
        return play_vector(vector, planner, commitment, n_ticks)

    n_ticks = units_that_take(seconds, lambda n: run(n)["seconds_wall"], _PILOT_TICKS)
    return Contestant(f"{(n_envs, commitment)}", lambda _index: run(n_ticks))


def play_vector(vector: VectorSplit, planner: Planner, commitment: int, n_ticks: int) -> dict[str, float]:
    """Move all environments by so many steps; evaluations are environments looked at, batches calls of the planner."""
    agent = VectorHorizonAgent(planner, commitment, n_envs=vector.n_envs)
    vector.reset()
    score, batches = 0.0, 0
    begin = time.perf_counter()
    for _ in range(n_ticks):
        looking = agent.needs_observation
        obs = None
        if looking.any():
            obs, batches = vector.observe(looking), batches + 1
        step = vector.advance(agent.act(obs))
        score += float(step.rewards.sum())
        if step.infos:
            agent.reset(step.done)
    seconds = time.perf_counter() - begin
    counts = {"steps": n_ticks * vector.n_envs, "evaluations": agent.evaluations, "batches": batches}
    return {"seconds_wall": seconds, "score": score, **counts}


def tables(values: Mapping[str, Any]) -> list[Table]:
    """One row per commitment and size."""
    columns = (
        Column("n", "number", lambda row: str(row["commitment"])),
        Column("environments", "number", lambda row: str(row["n_envs"])),
        Column("steps / s", "number", median("steps_per_second", whole)),
        Column("lowest … highest", "interval", ends("steps_per_second")),
        Column("against the first", "number", median("speedup", times)),
        Column("in a batch", "number", median("environments_per_batch")),
    )
    note = f"{env_name(values['env_id'])}, one process, one thread; a batch holds those whose plan has run out."
    return [Table.of("Many environments", values["rows"], columns, note, grouped=True)]
