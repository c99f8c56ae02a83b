"""Whole experiments."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from phr.api.threads import use_threads
from phr.learning.driver import OnProgress, silent

if TYPE_CHECKING:
    from phr.report.tables import Table
    from phr.studies.bench.run import BenchResult
    from phr.studies.results import Results


def reproduce(
    profile: str = "quick",
    *,
    out: str | Path,
    on_progress: OnProgress = silent,
    say: Callable[[str], None] = lambda _line: None,
) -> Results:
    """Run the paper's experiments from nothing and write `report.html`; an interrupted study goes on where it was.

    Args:
        profile: `quick`, or `paper` (every n, five seeds, 100,000 steps each, the ablations).
        out: The study's folder.
        on_progress: Told how trainings go on.
        say: Told what happens, one line at a time.

    Returns:
        What was found.

    Raises:
        SettingError: If there is no such profile.
        OutputDirectoryError: If the folder holds something else, or another study.
    """
    from phr.studies.profiles import find_profile  # figures and tables take a second to import
    from phr.studies.reproduce import reproduce as run_study

    use_threads(1)
    command = f"phr reproduce --profile {profile} --out {out}"
    return run_study(find_profile(profile), Path(out), command=command, say=say, on_progress=on_progress)


def bench(
    *,
    out: str | Path,
    json: str | Path | None = None,
    models: Sequence[str] = (),
    sections: Sequence[str] = (),
    hz: Sequence[float] = (50.0, 200.0, 1000.0),
    quick: bool = False,
    say: Callable[[str], None] = lambda _line: None,
    on_progress: OnProgress = silent,
    on_section: Callable[[str, Sequence[Table]], None] = lambda _heading, _tables: None,
) -> BenchResult:
    """Measure phr on this machine, side by side with its peers; `docs/bench.md` explains each number.

    Args:
        out: Folder of `bench.json`, `bench.md` and models that have to be distilled first; written after each section.
        json: A second place for the JSON.
        models: References of the students to bench; the reference networks by default.
        sections: Names of those to run; all by default.
        hz: Rates of the control loop whose latency is measured.
        quick: Few and short rounds.
        say: Told what happens, one line at a time.
        on_progress: Told while models are distilled.
        on_section: Told each finished section's heading and tables.

    Returns:
        What was measured; its `check` raises where a run was faster than possible.

    Raises:
        SettingError: If there is no such section, or a rate is not positive.
        UnknownModelError: If a reference leads nowhere.
    """
    from phr.studies.bench.run import BenchSettings, run_bench

    settings = BenchSettings(
        out=Path(out),
        json=None if json is None else Path(json),
        models=tuple(models),
        sections=tuple(sections),
        hz=tuple(hz),
        quick=quick,
    )
    return run_bench(settings, say=say, on_progress=on_progress, on_section=on_section)
