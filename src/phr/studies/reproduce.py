"""`phr reproduce`: from nothing to the paper's figures 4 and 5, in one folder that can be taken up again."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any

from phr.envs.factories import env_id_of_file
from phr.envs.registry import make_env
from phr.errors import OutputDirectoryError
from phr.evaluation.paths import trace_path
from phr.files import read_json
from phr.progress import OnProgress, silent
from phr.protocols import Planner
from phr.report.points import ACTION_REPEAT, OPTIMUM, TEACHER
from phr.storage.model import load_model
from phr.studies.content import PAGE, TABLES, write_report
from phr.studies.films import SHOWN_SEED, film_card, film_once
from phr.studies.jobs import StudyJobs
from phr.studies.layout import StudyLayout
from phr.studies.profiles import PROFILES, Profile
from phr.studies.results import Results
from phr.studies.work import timed_evaluation
from phr.studies.workbench import SETTINGS, Job, Workbench, once, run_jobs
from phr.studies.worlds import all_starts, is_grid, optimum, random_return
from phr.teachers.baselines import RepeatPlanner

STUDY = "reproduce"
"""What the settings of a study of this kind say it is."""


def reproduce(
    profile: Profile,
    directory: Path,
    *,
    command: str,
    say: Callable[[str], None] = lambda _line: None,
    on_progress: OnProgress = silent,
) -> Results:
    """Train, evaluate and report; every piece that is done already is skipped, and a whole study is left as it is.

    Args:
        profile: How much.
        directory: The study's folder; `report.html` in it shows everything.
        command: What the user typed, for the report.
        say: Told what happens, one line at a time.
        on_progress: Told how trainings go on.

    Raises:
        OutputDirectoryError: If the folder holds something else, or another study.
        UnknownModelError: If a teacher is to be the zoo's, and the zoo has none.
    """
    _planner.cache_clear()  # the folder may have been removed and begun anew since
    study = Reproduction(profile, StudyLayout(directory), say)
    study.jobs.check_zoo()
    bench = Workbench(directory, {"study": STUDY, "profile": profile.to_json()}, say)
    results = Results(profile, study.layout)
    students, teachers = study.jobs.students(), study.jobs.teachers()
    if bench.is_complete and study.is_whole([*teachers, *students]):
        say("all of it is done; remove report.html to have it drawn again")
        return results
    bench.reopen()
    recordings = study.jobs.recordings([job for job in students if not job.is_done])
    run_jobs(teachers, what="teachers (A2C)", say=say, on_progress=on_progress)
    run_jobs(recordings, what="recording teachers", say=say, on_progress=on_progress)
    run_jobs(students, what="distilling students (PHR)", say=say, on_progress=on_progress)
    study.play_all_starts()
    study.trace_paths()
    study.film_all()
    study.time_all()
    write_report(results, directory, command=command)
    bench.finish()
    return results


def redraw(directory: Path, *, env_id: str | None = None, say: Callable[[str], None] = lambda _line: None) -> Results:
    """Draw the page of a finished study anew, from what it measured.

    Args:
        directory: The study's folder (see `is_study`).
        env_id: An environment of it that the user names, because it is code.
        say: Told what happens, one line at a time.

    Raises:
        CorruptFileError: If the settings were edited, or are another phr's.
        OutputDirectoryError: If the study is not finished.
        UsageError: If the folder alone names code to run.
    """
    profile = Profile.from_json(read_json(directory / SETTINGS).get("profile"))
    for found in profile.env_ids:
        env_id_of_file(found, env_id if env_id == found else None, str(directory))
    study, command = Reproduction(profile, StudyLayout(directory), say), command_of(profile, directory)
    missing = [file for file in study.files() if not file.exists() and file.name not in (PAGE, TABLES)]
    if missing:
        raise OutputDirectoryError(f"{directory} is not finished: {missing[0].name} is missing; {command} goes on with it")
    results = Results(profile, study.layout)
    write_report(results, directory, command=command)
    return results


def is_study(directory: Path) -> bool:
    """Whether a folder holds a study of `phr reproduce`."""
    settings = read_json(directory / SETTINGS) if (directory / SETTINGS).exists() else None
    return isinstance(settings, dict) and settings.get("study") == STUDY


def command_of(profile: Profile, directory: Path) -> str:
    """What a user types to run a study."""
    usual = PROFILES.get(profile.name, profile)
    more = " --from-scratch" if usual.from_zoo and not profile.from_zoo else ""
    return f"phr reproduce --profile {profile.name} --out {directory}{more}"


class Reproduction:
    """What a study does with its models: plays, traces and times them.

    Args:
        profile: How much.
        layout: Where each file lies.
        say: Told what happens.
    """

    def __init__(self, profile: Profile, layout: StudyLayout, say: Callable[[str], None]) -> None:
        self.profile = profile
        self.layout = layout
        self.jobs = StudyJobs(profile, layout)
        self._say = say

    def is_whole(self, jobs: Sequence[Job]) -> bool:
        """Whether the models, every result and the report are there; looks at files only."""
        return all(file.exists() for file in self.files()) and all(job.is_done for job in jobs)

    def files(self) -> Iterator[Path]:
        """Everything that the study writes beside its models."""
        profile, layout = self.profile, self.layout
        yield from (layout.root / name for name in (PAGE, TABLES))
        for env_id in profile.env_ids:
            yield from (layout.starts(env_id, name) for name in (OPTIMUM, "random"))
            yield from (file for _, _, file in self._starts_to_play(env_id))
            for n in profile.horizons:
                yield from (layout.film(env_id, n), film_card(layout.film(env_id, n)))
                if is_grid(env_id):
                    yield layout.walked(env_id, n)
                for series in self._series(n):
                    for seed in profile.seeds:
                        yield from (layout.timed(env_id, series, n, seed, number) for number in range(profile.runs))

    def _series(self, n: int) -> tuple[str, ...]:
        """What is timed at n."""
        return (TEACHER,) if n == 1 else (ACTION_REPEAT, *self.profile.losses)

    def play_all_starts(self) -> None:
        """Every start once, for every model and commitment; untimed."""
        self._say("playing every start once")
        for env_id in self.profile.env_ids:
            best = once(self.layout.starts(env_id, OPTIMUM), partial(optimum, env_id))
            once(self.layout.starts(env_id, "random"), partial(random_return, env_id))
            for model, n, file in self._starts_to_play(env_id):
                once(file, partial(_all_starts, model, env_id, best, n))

    def _starts_to_play(self, env_id: str) -> list[tuple[Path, int, Path]]:
        """Model, commitment, result's file."""
        profile, layout = self.profile, self.layout
        work = [(layout.teacher(env_id, s), 1, layout.starts(env_id, f"{TEACHER}-s{s}", 1)) for s in profile.seeds]
        work += [
            (self.jobs.student_path(env_id, loss, n, s), n, layout.starts(env_id, f"{loss}-s{s}", n))
            for s in profile.seeds
            for loss in profile.losses
            for n in profile.horizons
        ]
        if env_id in self.jobs.ablated:
            work += [
                (folder, n, layout.ablation_starts(env_id, name, label, n, s))
                for s in profile.seeds
                for (name, label), folder in self.jobs.ablation_students(env_id, s).items()
                for n in profile.horizons
            ]
        return work

    def trace_paths(self) -> None:
        """Figure 5: the learned path of the first loss's student, at every n."""
        loss, seed = self.profile.losses[0], self.profile.seeds[0]
        for env_id in filter(is_grid, self.profile.env_ids):
            for n in self.profile.horizons:
                model = self.jobs.student_path(env_id, loss, n, seed)
                once(self.layout.walked(env_id, n), partial(_walk, model, env_id, n))

    def film_all(self) -> None:
        """Films of the teacher (n = 1) and of the first loss's student at every other n."""
        loss, seed = self.profile.losses[0], self.profile.seeds[0]
        for env_id in self.profile.env_ids:
            for n in self.profile.horizons:
                planner = partial(self._planner_of, TEACHER if n == 1 else loss, env_id, n, seed)
                film_once(planner, env_id, n, self.layout.film(env_id, n))

    def time_all(self) -> None:
        """Timed runs, one after another with nothing beside them; models and n alternate within every round."""
        self._say("timing; nothing else should run on this machine now")
        for number in range(self.profile.runs):
            for seed in self.profile.seeds:
                for env_id in self.profile.env_ids:
                    for n in self.profile.horizons:
                        self._time(env_id, seed, number, n)
                    self._say(f"  {env_id}, seed {seed}, round {number + 1} of {self.profile.runs}")

    def _time(self, env_id: str, seed: int, number: int, n: int) -> None:
        steps, round_seed = self.profile.steps, 1000 * seed + number
        for name in self._series(n):
            planner = partial(self._planner_of, name, env_id, n, seed)
            file = self.layout.timed(env_id, name, n, seed, number)
            once(file, partial(_timed, planner, env_id, name, n, steps, round_seed))

    def _planner_of(self, series: str, env_id: str, n: int, seed: int) -> Planner:
        if series in (TEACHER, ACTION_REPEAT):
            teacher = _planner(self.layout.teacher(env_id, seed))
            return teacher if series == TEACHER else RepeatPlanner(teacher, n)
        return _planner(self.jobs.student_path(env_id, series, n, seed))


def _all_starts(model: Path, env_id: str, best: dict[str, Any], n: int) -> dict[str, Any]:
    no_window = StudyLayout.no_window(model)
    found: dict[str, Any] = read_json(no_window) if no_window.exists() else all_starts(_planner(model), env_id, best, n)
    return found


def _walk(model: Path, env_id: str, n: int) -> dict[str, Any]:
    return trace_path(_planner(model), make_env(env_id), SHOWN_SEED, n).to_json()


def _timed(planner: Callable[[], Planner], env_id: str, name: str, n: int, steps: int, round_seed: int) -> dict[str, Any]:
    return timed_evaluation(planner(), env_id, name, n, steps=steps, round_seed=round_seed)


@cache
def _planner(directory: Path) -> Planner:
    """A model from its run directory, read once."""
    return load_model(directory).planner
