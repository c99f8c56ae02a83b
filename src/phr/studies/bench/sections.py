"""The sections of the bench, in the order in which they run, and how much each of them measures."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from phr.report.tables import Table
from phr.studies.bench import backends, footprint, grids, latency, loops, vectors
from phr.studies.bench.models import PONG, UNTRAINED_PREFIX


@dataclass(frozen=True, kw_only=True)
class Request:
    """What the user asked for.

    Attributes:
        models: References of the benched students; the first stands for all where one is enough.
        hz: Rates of the latency section.
        quick: Few and short rounds.
    """

    models: tuple[str, ...]
    hz: tuple[float, ...] = (50.0, 200.0, 1000.0)
    quick: bool = False


@dataclass(frozen=True)
class Section:
    """A part of the bench that stands alone.

    Attributes:
        name: As the user types it.
        heading: Above its tables.
        measure: Runs it; returns plain JSON values.
        tables: What those values say.
        warnings: What in them cannot be right; one sentence each.
    """

    name: str
    heading: str
    measure: Callable[[], dict[str, Any]]
    tables: Callable[[Mapping[str, Any]], list[Table]]
    warnings: Callable[[Mapping[str, Any]], list[str]] = field(default=lambda _values: [])


def _loops(request: Request) -> Section:
    models = (*request.models, f"{UNTRAINED_PREFIX}{PONG}")
    short: dict[str, Any] = {"rounds": 3, "seconds_per_run": 0.15, "seconds_per_bound": 0.05} if request.quick else {}
    settings = loops.LoopSettings(models=models, **short)
    return Section("loops", loops.HEADING, lambda: loops.measure(settings), loops.tables, loops.too_fast)


def _grids(request: Request) -> Section:
    settings = grids.GridSettings(rounds=3, steps=1000) if request.quick else grids.GridSettings()
    return Section("grids", grids.HEADING, lambda: grids.measure(settings), grids.tables)


def _backends(request: Request) -> Section:
    short: dict[str, Any] = (
        {"rounds": 3, "seconds_per_run": 0.15, "calibration": 256, "compiled": False} if request.quick else {}
    )
    settings = backends.BackendSettings(model=request.models[0], **short)
    return Section("backends", backends.HEADING, lambda: backends.measure(settings), backends.tables)


def _latency(request: Request) -> Section:
    short: dict[str, Any] = {"rounds": 2, "seconds_per_run": 0.5} if request.quick else {}
    settings = latency.LatencySettings(model=request.models[0], hz=request.hz, **short)
    return Section("latency", latency.HEADING, lambda: latency.measure(settings), latency.tables)


def _vectors(request: Request) -> Section:
    short: dict[str, Any] = {"n_envs": (1, 4, 16, 64, 256), "rounds": 2, "seconds_per_run": 0.2} if request.quick else {}
    settings = vectors.VectorSettings(model=request.models[0], **short)
    return Section("vectors", vectors.HEADING, lambda: vectors.measure(settings), vectors.tables)


def _footprint(request: Request) -> Section:
    settings = footprint.FootprintSettings(model=request.models[0], rounds=2 if request.quick else 5)
    return Section("footprint", footprint.HEADING, lambda: footprint.measure(settings), footprint.tables)


SECTIONS: dict[str, Callable[[Request], Section]] = {
    "loops": _loops,
    "grids": _grids,
    "backends": _backends,
    "latency": _latency,
    "vectors": _vectors,
    "footprint": _footprint,
}
"""Name → what makes the section from a request."""
