"""Whole experiments."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from phr.api.learn import load
from phr.api.threads import use_threads
from phr.errors import UsageError
from phr.progress import OnProgress, silent
from phr.teachers.foreign import Reading
from phr.teachers.zoo import ZOO_PREFIX

if TYPE_CHECKING:
    from phr_studies.bench.run import BenchResult
    from phr_studies.doctor.diagnosis import Diagnosis
    from phr_studies.report.tables import Table
    from phr_studies.reproduce.results import Results


def reproduce(
    profile: str = "quick",
    *,
    out: str | Path,
    from_scratch: bool = False,
    on_progress: OnProgress = silent,
    say: Callable[[str], None] = lambda _line: None,
) -> Results:
    """Run the paper's experiments from nothing and write `report.html`; an interrupted study goes on where it was.

    Args:
        profile: `quick`, or `paper` (Pong too, every n, five seeds, 100,000 steps each, the ablations).
        out: The study's folder.
        from_scratch: Train Pong's teacher too, one for each seed; by default it is the zoo's.
        on_progress: Told how trainings go on.
        say: Told what happens, one line at a time.

    Returns:
        What was found.

    Raises:
        SettingError: If there is no such profile.
        OutputDirectoryError: If the folder holds something else, or another study.
        UnknownModelError: If a teacher is to be the zoo's, and the zoo has none.
    """
    from phr_studies.reproduce.profiles import find_profile  # figures and tables take a second to import
    from phr_studies.reproduce.study import command_of
    from phr_studies.reproduce.study import reproduce as run_study

    use_threads(1)
    chosen = find_profile(profile, from_scratch=from_scratch)
    return run_study(chosen, Path(out), command=command_of(chosen, Path(out)), say=say, on_progress=on_progress)


def make_report(
    reference: str | Path,
    *,
    out: str | Path | None = None,
    env_id: str | None = None,
    say: Callable[[str], None] = lambda _line: None,
) -> Path:
    """Draw the page of a study anew, or make one for a model: its card, learned paths, films.

    Args:
        reference: The folder of a finished study of `phr reproduce`, a run directory, or `zoo:NAME`.
        out: Where a model's page goes: by default `report` in its run directory, `runs/report-NAME` for the zoo's. A study's
            page stays in its folder.
        env_id: Where to act; the model's own environment by default. Folders whose environment is a `module:factory` need
            it: no file runs code that the user did not name.
        say: Told what happens, one line at a time.

    Returns:
        The page.

    Raises:
        UnknownModelError: If the reference leads nowhere, or stands for no network.
        CorruptFileError: If a file is missing, truncated or edited.
        OutputDirectoryError: If the study is not finished.
        UsageError: If a study is to be written elsewhere; if a file alone names code to run.
    """
    from phr_studies.report.model_page import write_model_page
    from phr_studies.reproduce.content import PAGE  # figures and tables take a second to import
    from phr_studies.reproduce.study import is_study, redraw

    use_threads(1)
    name = str(reference)
    if is_study(Path(name)):
        if out is not None:
            raise UsageError(f"the page of a study belongs into its folder {name}; leave --out out")
        redraw(Path(name), env_id=env_id, say=say)
        return Path(name) / PAGE
    model = load(reference)
    model = replace(model, manifest=replace(model.manifest, env_id=model.where(env_id, name)))
    usual = (
        Path("runs") / f"report-{name.removeprefix(ZOO_PREFIX)}" if name.startswith(ZOO_PREFIX) else Path(name) / "report"
    )
    return write_model_page(model, name, usual if out is None else Path(out), say=say)


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
    from phr_studies.bench.run import BenchSettings, run_bench

    settings = BenchSettings(
        out=Path(out),
        json=None if json is None else Path(json),
        models=tuple(models),
        sections=tuple(sections),
        hz=tuple(hz),
        quick=quick,
    )
    return run_bench(settings, say=say, on_progress=on_progress, on_section=on_section)


def doctor(
    env_id: str,
    teacher: Any = None,
    *,
    episodes: int = 8,
    steps: int = 300,
    activation: str | None = None,
    normalize: str | Path | None = None,
    seed: int = 0,
    on_progress: OnProgress = silent,
) -> Diagnosis:
    """Examine an environment: what its id resolves to, whether it repeats, and how long a teacher could look away in it.

    Args:
        env_id: A Gymnasium id, or `module:factory`; also one that phr cannot act in.
        teacher: Anything that `evaluate` takes; where phr cannot act, a policy with continuous actions that it can read.
        episodes: Episodes of random play, and of the teacher.
        steps: Most steps of each that are looked at.
        activation: As for `distill`.
        normalize: As for `distill`.
        seed: Fixes all that is drawn.
        on_progress: Told what is being done.

    Raises:
        UsageError: If there is no such environment, or the teacher does not fit it.
        SettingError: If a number makes no sense.
    """
    from phr_studies.doctor.diagnosis import examine  # gymnasium's checker, which others need not wait for

    said = Reading(activation=activation, normalize=normalize)
    return examine(env_id, teacher, reading=said, seed=seed, n_episodes=episodes, max_steps=steps, on_progress=on_progress)
