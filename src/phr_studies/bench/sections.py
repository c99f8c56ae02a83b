"""The sections of the bench, in the order in which they run, and how much each of them measures."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from typing import Any

from phr.progress import OnProgress, silent
from phr_studies.bench import backends, footprint, from_nothing, grids, latency, loops, training, vectors
from phr_studies.bench.models import UNTRAINED_PREFIX
from phr_studies.report.tables import Table
from phr_studies.reproduce.profiles import PONG


@dataclass(frozen=True, kw_only=True)
class Request:
    """What the user asked for.

    Attributes:
        models: References of the benched students; the first stands for all where one is enough.
        hz: Rates of the latency section.
        quick: Few and short rounds.
        on_progress: Told while something long goes on.
    """

    models: tuple[str, ...]
    hz: tuple[float, ...] = (50.0, 200.0, 1000.0)
    quick: bool = False
    on_progress: OnProgress = silent


@dataclass(frozen=True)
class Section:
    """A part of the bench that stands alone.

    Attributes:
        name: As the user types it.
        heading: Above its tables.
        settings: What it runs, as plain JSON values.
        measure: Runs it; returns plain JSON values.
        tables: What those values say.
        warnings: What in them cannot be right; one sentence each.
    """

    name: str
    heading: str
    settings: dict[str, Any]
    measure: Callable[[], dict[str, Any]]
    tables: Callable[[Mapping[str, Any]], list[Table]]
    warnings: Callable[[Mapping[str, Any]], list[str]] = field(default=lambda _values: [])


def _section(name: str, module: Any, settings: Any, **more: Any) -> Section:
    """The section of a module: `HEADING`, `measure(settings)` and `tables(values)`."""
    return Section(name, module.HEADING, plain(settings), partial(module.measure, settings), module.tables, **more)


def plain(settings: Any) -> dict[str, Any]:
    """The fields of a settings dataclass as JSON knows them; functions and paths become their names."""
    found: dict[str, Any] = json.loads(json.dumps(asdict(settings), default=_named))
    return found


def _named(value: Any) -> str:
    return getattr(value, "__name__", None) or str(value)


def _loops(request: Request) -> Section:
    short: dict[str, Any] = {}
    if request.quick:
        short = {"rounds": 3, "seconds_per_run": 0.15, "seconds_per_bound": 0.05, "seconds_per_peer": 0.1}
    settings = loops.LoopSettings(models=(*request.models, f"{UNTRAINED_PREFIX}{PONG}"), **short)
    return _section("loops", loops, settings, warnings=loops.too_fast)


def _grids(request: Request) -> Section:
    return _section("grids", grids, grids.GridSettings(rounds=3, steps=1000) if request.quick else grids.GridSettings())


def _backends(request: Request) -> Section:
    short: dict[str, Any] = {}
    if request.quick:
        short = {"rounds": 3, "seconds_per_run": 0.15, "calibration": 256, "compiled": False}
    return _section("backends", backends, backends.BackendSettings(model=request.models[0], **short))


def _latency(request: Request) -> Section:
    short: dict[str, Any] = {"rounds": 2, "seconds_per_run": 0.5} if request.quick else {}
    return _section("latency", latency, latency.LatencySettings(model=request.models[0], hz=request.hz, **short))


def _vectors(request: Request) -> Section:
    short: dict[str, Any] = {}
    if request.quick:
        short = {"n_envs": (1, 4, 16, 64, 256), "rounds": 2, "seconds_per_run": 0.2}
    return _section("vectors", vectors, vectors.VectorSettings(model=request.models[0], **short))


def _footprint(request: Request) -> Section:
    settings = footprint.FootprintSettings(model=request.models[0], rounds=2 if request.quick else 5)
    return _section("footprint", footprint, settings)


def _training(request: Request) -> Section:
    short: dict[str, Any] = {}
    if request.quick:
        short = {"cases": (training.CASES[0],), "rounds": 2, "seconds_per_run": 0.3}
    return _section("training", training, training.TrainingSettings(**short))


def _from_nothing(request: Request) -> Section:
    settings = from_nothing.FromNothingSettings()
    section = _section("from_nothing", from_nothing, settings)
    return replace(section, measure=partial(from_nothing.measure, settings, request.on_progress))


SECTIONS: dict[str, Callable[[Request], Section]] = {
    "loops": _loops,
    "grids": _grids,
    "backends": _backends,
    "latency": _latency,
    "vectors": _vectors,
    "footprint": _footprint,
    "training": _training,
    "from_nothing": _from_nothing,
}
"""Name → what makes the section from a request, in the order in which they run."""

TAKES_MINUTES = frozenset({"from_nothing"})
"""Left out of a quick bench, unless the user names them."""
