"""One bench from beginning to end: sections in order, results on the disk after each of them."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from phr.cores import available_cores
from phr.errors import BoundError, SettingError, UsageError
from phr.evaluation.machine import describe_machine
from phr.files import ensure_directory, write_json, write_text
from phr.progress import OnProgress, silent
from phr_studies.bench.models import bench_model, find_references
from phr_studies.bench.sections import SECTIONS, TAKES_MINUTES, Request, Section
from phr_studies.report.tables import Table, to_markdown

JSON, MARKDOWN, MODELS = "bench.json", "bench.md", "models"
_BUSY = 0.7
"""Load averages above this mean that something else is running."""

Say = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class BenchSettings:
    """What is benched, and where the results go.

    Attributes:
        out: Folder of `bench.json`, `bench.md` and models that had to be distilled.
        json: A second place for the JSON.
        models: References of the students; the reference networks by default.
        sections: Names of those to run; all by default, but for those that take minutes where it is to be quick.
        hz: Rates of the control loop whose latency is measured.
        quick: Few and short rounds: a look at everything, not figures to publish.

    Raises:
        SettingError: If there is no such section.
    """

    out: Path
    json: Path | None = None
    models: tuple[str, ...] = ()
    sections: tuple[str, ...] = ()
    hz: tuple[float, ...] = (50.0, 200.0, 1000.0)
    quick: bool = False

    def __post_init__(self) -> None:
        for name in self.sections:
            if name not in SECTIONS:
                raise SettingError(f"there is no section {name!r}; choose from {', '.join(SECTIONS)}")


@dataclass
class BenchResult:
    """What was measured.

    Attributes:
        values: All of it, as written to `bench.json`.
        tables: Heading → its tables, in order.
        warnings: What cannot be right.
    """

    values: dict[str, Any]
    tables: dict[str, list[Table]] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)

    def check(self) -> None:
        """Refuse to believe in runs that were faster than possible; a caller prints the results first.

        Raises:
            BoundError: If there were any.
        """
        if self.warnings:
            raise BoundError(f"faster than possible: {'; '.join(self.warnings)}; the bound is mistaken, please report it")


def run_bench(
    settings: BenchSettings,
    *,
    say: Say = lambda _line: None,
    on_progress: OnProgress = silent,
    on_section: Callable[[str, Sequence[Table]], None] = lambda _heading, _tables: None,
) -> BenchResult:
    """Run the sections one after another, with one thread.

    Args:
        settings: Which, and where the results go.
        say: Told what happens, one line at a time.
        on_progress: Told while something long goes on.
        on_section: Told each finished section's heading and tables.

    Returns:
        What was measured; `check` it.

    Raises:
        UsageError: If a model or an environment cannot be had, or the folder cannot be written.
    """
    torch.set_num_threads(1)
    ensure_directory(settings.out)
    models = settings.models or find_references(settings.out / MODELS, say, on_progress)
    for reference in models:
        bench_model(reference)  # a wrong name is told before anything is measured
    request = Request(models=models, hz=settings.hz, quick=settings.quick, on_progress=on_progress)
    sections = [SECTIONS[name](request) for name in _chosen(settings)]
    load = _load_average()
    if load is not None and load > _BUSY:
        say(f"warning: the load average is {load:.1f}; whatever runs beside the bench is part of its figures")
    machine = {**describe_machine(1), "cores": available_cores()}
    result = BenchResult({"machine": machine, "load_average": load, "quick": settings.quick, "sections": {}})
    for section in sections:
        _run_section(section, result, say)
        _write(result, settings)
        if section.heading in result.tables:
            on_section(section.heading, result.tables[section.heading])
    return result


def _chosen(settings: BenchSettings) -> list[str]:
    """Names of the sections to run, in their order."""
    left_out = TAKES_MINUTES if settings.quick else frozenset()
    chosen = settings.sections or [name for name in SECTIONS if name not in left_out]
    return [name for name in SECTIONS if name in chosen]


def _run_section(section: Section, result: BenchResult, say: Say) -> None:
    """Measure one section; what it lacks is noted in its place, and the next goes on."""
    say(f"{section.heading} ...")
    begin = time.perf_counter()
    entry: dict[str, Any] = {"heading": section.heading, "settings": section.settings}
    try:
        entry["values"] = section.measure()
    except UsageError as error:
        entry["missing"] = str(error)
        say(f"{section.heading}: left out, {error}")
    else:
        result.tables[section.heading] = section.tables(entry["values"])
        result.warnings += section.warnings(entry["values"])
    entry["seconds_wall"] = time.perf_counter() - begin
    result.values["sections"][section.name] = entry


def _write(result: BenchResult, settings: BenchSettings) -> None:
    write_json(settings.out / JSON, result.values)
    if settings.json is not None:
        write_json(settings.json, result.values)
    write_text(settings.out / MARKDOWN, to_page(result))


def to_page(result: BenchResult) -> str:
    """All tables so far in Markdown, with the machine above them."""
    machine = result.values["machine"]
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    quick = " A quick look: few and short rounds." if result.values["quick"] else ""
    lines = [
        "# phr bench",
        "",
        f"{machine['cpu']}, {machine['cores']} cores, {machine['threads']} thread; {versions}.{quick}",
        "",
    ]
    for heading, tables in result.tables.items():
        lines += [f"## {heading}", ""]
        for table in tables:
            lines += [to_markdown(table)]
    return "\n".join(lines)


def _load_average() -> float | None:
    """Of the last minute, None where the system keeps none."""
    return os.getloadavg()[0] if hasattr(os, "getloadavg") else None
