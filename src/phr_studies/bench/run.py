"""One bench from beginning to end: sections in order, results on the disk after each of them."""

from __future__ import annotations

import json as json_module
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from functools import partial
from pathlib import Path
from typing import Any

from phr.errors import BoundError, SettingError, UsageError
from phr.evaluation import describe_machine
from phr.files import check_links, write_json, write_text
from phr.networks import torch_threads
from phr.progress import OnProgress, available_cores, silent
from phr.storage import owned
from phr_studies.bench import backends, from_nothing, grids, latency, loops, training, vectors
from phr_studies.bench.models import UNTRAINED_PREFIX, bench_model, find_references
from phr_studies.report.tables import Table, to_markdown
from phr_studies.reproduce.profiles import PONG
from phr_studies.workbench import warn_if_busy

JSON, MARKDOWN, MODELS = "bench.json", "bench.md", "models"

Say = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class Request:
    """What the user asked for; the first of the models is benched where one is enough."""

    models: tuple[str, ...]
    hz: tuple[float, ...] = (50.0, 200.0, 1000.0)
    quick: bool = False
    on_progress: OnProgress = silent


@dataclass(frozen=True)
class Section:
    """A part of the bench that stands alone; its settings and what it measures are plain JSON values."""

    name: str
    heading: str
    settings: dict[str, Any]
    measure: Callable[[], dict[str, Any]]
    tables: Callable[[Mapping[str, Any]], list[Table]]
    warnings: Callable[[Mapping[str, Any]], list[str]]


def plain(settings: Any) -> dict[str, Any]:
    """The fields of a settings dataclass as JSON knows them; functions and paths become their names."""
    text = json_module.dumps(asdict(settings), default=lambda value: getattr(value, "__name__", None) or str(value))
    found: dict[str, Any] = json_module.loads(text)
    return found


def _section(module: Any, settings: type[Any], **quick: Any) -> Callable[[Request], Section]:
    """What makes a module's section; its settings take what they know of a request, and `quick` for a quick bench."""

    def make(request: Request) -> Section:
        models = (*request.models, f"{UNTRAINED_PREFIX}{PONG}")
        given = {"models": models, "model": request.models[0], "hz": request.hz}
        own = {each.name: given[each.name] for each in fields(settings) if each.name in given}
        chosen = settings(**own, **(quick if request.quick else {}))
        more = {"on_progress": request.on_progress} if module is from_nothing else {}
        name, measure = module.__name__.rpartition(".")[2], partial(module.measure, chosen, **more)
        find_warnings: Callable[[Mapping[str, Any]], list[str]] = getattr(module, "warnings", lambda _values: [])
        return Section(name, module.HEADING, plain(chosen), measure, module.tables, find_warnings)

    return make


SECTIONS: dict[str, Callable[[Request], Section]] = {
    "loops": _section(
        loops, loops.LoopSettings, rounds=3, seconds_per_run=0.15, seconds_per_bound=0.05, seconds_per_peer=0.1
    ),
    "grids": _section(grids, grids.GridSettings, rounds=3, steps=1000),
    "backends": _section(
        backends, backends.BackendSettings, rounds=3, seconds_per_run=0.15, calibration=256, compiled=False
    ),
    "latency": _section(latency, latency.LatencySettings, rounds=2, seconds_per_run=0.5),
    "vectors": _section(vectors, vectors.VectorSettings, n_envs=(1, 4, 16, 64, 256), rounds=2, seconds_per_run=0.2),
    "training": _section(training, training.TrainingSettings, cases=training.CASES[:1], rounds=2, seconds_per_run=0.3),
    "from_nothing": _section(from_nothing, from_nothing.FromNothingSettings),
}
"""Name → what makes the section from a request, in the order in which they run."""

TAKES_MINUTES = frozenset({"from_nothing"})
"""Left out of a quick bench, unless the user names them."""


@dataclass
class BenchResult:
    """What was measured: `values` as in `bench.json`, tables by heading, and warnings of runs faster than possible."""

    values: dict[str, Any]
    tables: dict[str, list[Table]] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)


@torch_threads(1)
def bench(
    *,
    out: str | Path,
    json: str | Path | None = None,
    models: Sequence[str] = (),
    sections: Sequence[str] = (),
    hz: Sequence[float] = (50.0, 200.0, 1000.0),
    quick: bool = False,
    say: Say = lambda _line: None,
    on_progress: OnProgress = silent,
    on_section: Callable[[str, Sequence[Table]], None] = lambda _heading, _tables: None,
) -> BenchResult:
    """Measure phr on this machine, side by side with its peers; `docs/bench.md` explains each number.

    Args:
        out: Folder of `bench.json`, `bench.md` and models that have to be distilled first; written after each section.
        json: A second place for the JSON.
        models: References of the students to bench; the reference networks by default.
        sections: Names of those to run; all by default, but for those that take minutes where it is to be quick.
        hz: Rates of the control loop whose latency is measured.
        quick: Few and short rounds: a look at everything, not figures to publish.
        say: Called with what happens, one line at a time.
        on_progress: Called while something long goes on.
        on_section: Called with each finished section's heading and tables.

    Returns:
        What was measured, with warnings where a run was faster than possible.

    Raises:
        SettingError: If there is no such section, or a rate is not positive.
        UsageError: If a model or an environment cannot be had, or the folder cannot be written.
    """
    for name in sections:
        if name not in SECTIONS:
            raise SettingError(f"there is no section {name!r}; choose from {', '.join(SECTIONS)}")
    out = Path(out)
    with owned(out, say=say):
        check_links(out)
        copies = [out / JSON] if json is None else [out / JSON, Path(json)]
        references = tuple(models) or find_references(out / MODELS, say, on_progress)
        for reference in references:
            bench_model(reference)  # a wrong name is refused before anything is measured
        left_out = TAKES_MINUTES if quick else frozenset()
        chosen = sections or [name for name in SECTIONS if name not in left_out]
        request = Request(models=references, hz=tuple(hz), quick=quick, on_progress=on_progress)
        made = [SECTIONS[name](request) for name in SECTIONS if name in chosen]
        busy = warn_if_busy(say)
        machine = {**describe_machine(1), "cores": available_cores()}
        result = BenchResult({"machine": machine, "busy": busy, "quick": quick, "sections": {}})
        for section in made:
            _run_section(section, result, say)
            result.values["warnings"] = result.warnings
            for file in copies:
                write_json(file, result.values)
            write_text(out / MARKDOWN, to_page(result))
            if section.heading in result.tables:
                on_section(section.heading, result.tables[section.heading])
        return result


def _run_section(section: Section, result: BenchResult, say: Say) -> None:
    """Measure one section; what it lacks is noted in its place, and the next goes on."""
    say(f"{section.heading} ...")
    begin = time.perf_counter()
    entry: dict[str, Any] = {"heading": section.heading, "settings": section.settings}
    try:
        entry["values"] = section.measure()
    except (UsageError, BoundError) as error:
        entry["missing"] = str(error)
        say(f"{section.heading}: left out, {error}")
    else:
        result.tables[section.heading] = section.tables(entry["values"])
        result.warnings += section.warnings(entry["values"])
    entry["seconds_wall"] = time.perf_counter() - begin
    result.values["sections"][section.name] = entry


def to_page(result: BenchResult) -> str:
    """All tables so far in Markdown, with the machine above them."""
    machine = result.values["machine"]
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    quick = " A quick look: few and short rounds." if result.values["quick"] else ""
    where = f"{machine['cpu']}, {machine['cores']} cores, {machine['threads']} thread; {versions}.{quick}"
    lines = ["# phr bench", "", where, ""]
    for heading, tables in result.tables.items():
        lines += [f"## {heading}", "", *map(to_markdown, tables)]
    lines += [f"Warning: faster than possible: {warning}.\n" for warning in result.warnings]
    return "\n".join(lines)
