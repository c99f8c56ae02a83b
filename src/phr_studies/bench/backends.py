"""What computes the plan: torch, torch.compile, ONNX Runtime, int8."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch

from phr.acting import OnnxPlanner
from phr.envs import make_env
from phr.errors import PhrError, UsageError, first_line
from phr.experience import meet_observations
from phr.networks import TorchPlanner
from phr.plan import Planner
from phr.seeding import Streams
from phr.storage import export_manifest, onnx_bytes, onnx_planner, quantize
from phr_studies.bench.rounds import (
    Arena,
    Measured,
    ModelSettings,
    alternate,
    ends,
    loop_contestant,
    median,
    ratio,
    spread,
    summed_up,
)
from phr_studies.report.tables import NOTHING, Column, Table, env_name, percent, times

HEADING = "What computes the plan"
ONNX, INT8, COMPILED = "ONNX Runtime", "ONNX Runtime, int8", "torch.compile"


@dataclass(frozen=True, kw_only=True)
class BackendSettings(ModelSettings):
    """What is run."""

    calibration: int = 1024
    """Observations that int8 chooses its ranges on and is compared on."""
    compiled: bool = True
    """Whether torch.compile takes part; compiling takes a while."""
    seed: int = 0


def measure(settings: BackendSettings) -> dict[str, Any]:
    """All backends in alternation, at every commitment."""
    model, commitments = settings.load()
    env = make_env(model.env_id)
    arena = Arena(model.env_id, env, model, settings.seconds_per_run, settings.seed)
    obs = meet_observations(model.planner, env, settings.calibration, Streams(settings.seed).rng("bench-int8"))
    manifest = export_manifest(model)
    rounded, cost = quantize(onnx_bytes(model), manifest, obs)
    int8 = OnnxPlanner(rounded, manifest)
    planners: dict[str, Planner] = {ONNX: onnx_planner(model), INT8: int8, "torch, eager": model.planner}
    missing = {}
    if settings.compiled:
        try:
            planners[COMPILED] = compiled_planner(arena)
        except CompilerError as error:
            missing[COMPILED] = str(error)
    contestants = [
        loop_contestant(f"{name} {n}", arena, planner, n) for n in commitments for name, planner in planners.items()
    ]
    rounds = alternate(contestants, settings.rounds)
    env.close()
    backends = [_summary(name, rounds, commitments) for name in planners]
    found = {"model": settings.model, "env_id": model.env_id, "int8": cost.to_json()}
    return {**found, "backends": backends, "missing": missing}


def find_compiler() -> str | None:
    """The C++ compiler that torch.compile would call, None where there is none."""
    names = [name for name in (os.environ.get("CXX"), "g++", "clang++", "c++") if name]
    return next((path for path in map(shutil.which, names) if path), None)


class CompilerError(UsageError):
    """torch.compile cannot work here."""


def compiled_planner(arena: Arena) -> TorchPlanner:
    """The network through torch.compile, compiled for one observation."""
    if find_compiler() is None:
        raise CompilerError("no compiler")
    network: Any = torch.compile(arena.model.network, dynamic=False)
    planner = TorchPlanner(network, arena.model.manifest.obs_dtype)
    arena.env.reset(arena.seed)
    obs = arena.env.observe()[None]
    try:
        for _ in range(3):
            planner.plan(obs)
    except PhrError:
        raise
    except Exception as error:  # torch's compiler raises errors of many kinds
        raise CompilerError(f"compiling failed: {first_line(error)}") from error
    return planner


def _summary(name: str, rounds: Mapping[str, list[Measured]], commitments: list[int]) -> dict[str, Any]:
    entries = []
    for n in commitments:
        ours, onnx = rounds[f"{name} {n}"], summed_up(rounds[f"{ONNX} {n}"])
        rates = summed_up(ours)
        policy_us = spread([1e6 * each["seconds_policy"] / each["evaluations"] for each in ours])
        against = ratio(rates["seconds_per_100k_steps"], onnx["seconds_per_100k_steps"])
        entries.append({"commitment": n, **rates, "policy_us": policy_us, "time_ratio": against})
    return {"name": name, "commitments": entries}


def tables(values: Mapping[str, Any]) -> list[Table]:
    """One row per backend and commitment."""
    columns = (
        Column("backend", cell=lambda row: row["name"]),
        Column("n", "number", lambda row: str(row["commitment"])),
        Column("look to plan, µs", "number", median("policy_us")),
        Column("s / 100k steps", "number", median("seconds_per_100k_steps")),
        Column("lowest … highest", "interval", ends("seconds_per_100k_steps")),
        Column("time against ONNX Runtime", "number", median("time_ratio", times)),
        Column("score / s", "number", median("score_per_second")),
    )
    rows = [{"name": backend["name"], **entry} for backend in values["backends"] for entry in backend["commitments"]]
    note = (
        f"In {env_name(values['env_id'])}, one thread, batch 1, the same weights. int8 plans "
        f"{percent(values['int8']['agreement'])} of the float network's actions."
    )
    table = Table.of("Backends", rows, columns, note, grouped=True)
    missing = [(f"{name}: {why}", *(NOTHING,) * (len(columns) - 1)) for name, why in values["missing"].items()]
    return [replace(table, rows=(*table.rows, *missing))]
