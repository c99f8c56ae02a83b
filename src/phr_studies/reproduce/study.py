"""`phr reproduce`: from nothing to the paper's figures 4 and 5, in one folder; an interrupted study continues."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache, partial
from itertools import takewhile
from pathlib import Path
from typing import Any

import torch

from phr.envs import env_id_of_file, make_env
from phr.errors import OutputDirectoryError
from phr.evaluation import EvaluationSettings, Limit, describe_machine, evaluate_planner
from phr.files import read_json
from phr.networks import torch_threads
from phr.plan import Planner
from phr.progress import OnProgress, busy_share, silent
from phr.storage import load_model, owned
from phr_studies.films import SHOWN_SEED, film_card, film_once
from phr_studies.report.figure5 import trace_path
from phr_studies.report.points import ACTION_REPEAT, OPTIMUM, TEACHER
from phr_studies.reproduce.content import PAGE, TABLES, write_report
from phr_studies.reproduce.jobs import StudyJobs, every_start_jobs
from phr_studies.reproduce.profiles import PROFILES, Profile, StudyLayout, find_profile
from phr_studies.reproduce.results import Results
from phr_studies.workbench import SETTINGS, Workbench, once, run_jobs, warn_if_busy
from phr_studies.worlds import RepeatPlanner, is_grid, optimum, random_return

STUDY = "reproduce"
"""What the settings of a study of this kind say it is."""


@torch_threads(1)
def reproduce(
    profile: str | Profile = "quick",
    *,
    out: str | Path,
    from_scratch: bool = False,
    on_progress: OnProgress = silent,
    say: Callable[[str], None] = lambda _line: None,
) -> Results:
    """Run the paper's experiments from nothing and write `report.html`; an interrupted study goes on where it was.

    Every piece that is done already is skipped, and a whole study is left as it is.

    Args:
        profile: `quick`; `paper` (Pong too, every n, five seeds, the ablations); or a profile of your own.
        out: The study's folder; `report.html` in it shows everything.
        from_scratch: Train Pong's teacher too, one for each seed; by default it is the zoo's.
        on_progress: Called with the progress of the trainings.
        say: Called with what happens, one line at a time.

    Raises:
        SettingError: If there is no such profile.
        OutputDirectoryError: If the folder holds something else, or another study.
        UnknownModelError: If a teacher is to be the zoo's, and the zoo has none.
    """
    if isinstance(profile, str):
        profile = find_profile(profile, from_scratch=from_scratch)
    directory = Path(out)
    command = command_of(profile, directory)
    layout = StudyLayout(directory)
    StudyJobs(profile, layout).check_zoo()
    with owned(directory, say=say):
        bench = Workbench(directory, {"study": STUDY, "profile": profile.to_json()})
        turns = [Reproduction(replace(profile, seeds=(seed,)), layout, say) for seed in profile.seeds]
        drawn = all((directory / name).exists() for name in (PAGE, TABLES))
        if bench.is_complete and drawn and all(turn.is_whole() for turn in turns):
            say("all of it is done; remove report.html to have it drawn again")
            return Results(profile, layout)
        bench.reopen()
        for number, turn in enumerate(turns, start=1):
            if turn.is_whole() and number < len(turns):
                continue
            if len(turns) > 1:
                say(f"training seed {profile.seeds[number - 1]}, {number} of {len(turns)}")
            turn.run(on_progress)
            write_report(Results(replace(profile, seeds=profile.seeds[:number]), layout), profile, command=command)
        bench.finish()
        return Results(profile, layout)


def redraw(directory: Path, *, env_id: str | None = None) -> Path:
    """Draw the page of a study again, from what it measured; an unfinished one shows the seeds that are done.

    `env_id` is an environment of it that the user names, because it is code.
    """
    profile = Profile.of_study(directory)
    for found in profile.env_ids:
        env_id_of_file(found, env_id if env_id == found else None, str(directory))
    layout, command = StudyLayout(directory), command_of(profile, directory)
    done = finished_seeds(profile, layout)
    if not done:
        first = Reproduction(replace(profile, seeds=profile.seeds[:1]), layout).missing()[0]
        raise OutputDirectoryError(f"{directory} is not finished: {first.name} is missing; {command} goes on with it")
    return write_report(Results(replace(profile, seeds=done), layout), profile, command=command)


def finished_seeds(profile: Profile, layout: StudyLayout) -> tuple[int, ...]:
    """The first training seeds of a study, as many as have all of their results."""
    turns = (Reproduction(replace(profile, seeds=(seed,)), layout) for seed in profile.seeds)
    return tuple(turn.profile.seeds[0] for turn in takewhile(lambda turn: not turn.missing(), turns))


def is_study(directory: Path) -> bool:
    """Whether a folder holds a study of `phr reproduce`."""
    settings = read_json(directory / SETTINGS) if (directory / SETTINGS).exists() else None
    return isinstance(settings, dict) and settings.get("study") == STUDY


def command_of(profile: Profile, directory: Path) -> str:
    """What a user types to run a study."""
    usual = PROFILES.get(profile.name, profile)
    more = ["--from-scratch"] if usual.from_zoo and not profile.from_zoo else []
    return shlex.join(["phr", "reproduce", "--profile", profile.name, "--out", str(directory), *more])


class Reproduction(StudyJobs):
    """The work of a study: trains its models, then plays, traces, films and times them.

    A study gives its seeds a turn each, so that the first has its figures long before the last.
    """

    def __init__(self, profile: Profile, layout: StudyLayout, say: Callable[[str], None] = lambda _line: None) -> None:
        super().__init__(profile, layout)
        self._say = say

    def run(self, on_progress: OnProgress = silent) -> None:
        """Do what is missing; nothing where all results are there, whatever became of the models' weights since."""
        if self.is_whole():
            return
        _planner.cache_clear()  # the folder may have been removed and begun anew since
        do = partial(run_jobs, say=self._say, on_progress=on_progress)
        students = self.students()
        recordings = self.recordings([job for job in students if not job.is_done])
        do(self.teachers(), what="teachers (A2C)")
        do(recordings, what="recording teachers")
        do(students, what="distilling students (PHR)")
        every_start = []
        for env_id in self.profile.env_ids:
            best = self.layout.starts(env_id, OPTIMUM)
            once(best, partial(optimum, env_id))
            once(self.layout.starts(env_id, "random"), partial(random_return, env_id))
            every_start += every_start_jobs(env_id, best, self._starts_to_play(env_id))
        do(every_start, what="playing every start once")
        self._show()
        self._time_all()

    def is_whole(self) -> bool:
        """Whether every model was made and every result is there; looks at files only."""
        return not self.missing() and all(job.is_done for job in [*self.teachers(), *self.students()])

    def missing(self) -> list[Path]:
        """Results that are still to come."""
        return [file for file in self.files() if not file.exists()]

    def files(self) -> Iterator[Path]:
        """Everything that is written beside the models and the report."""
        profile, layout = self.profile, self.layout
        for env_id in profile.env_ids:
            yield from (layout.starts(env_id, name) for name in (OPTIMUM, "random"))
            yield from (file for _, _, file in self._starts_to_play(env_id))
            for n in profile.horizons:
                yield from (layout.film(env_id, n), film_card(layout.film(env_id, n)))
                if is_grid(env_id):
                    yield layout.walked(env_id, n)
        yield from (layout.timed(*run) for run in self._timed_runs())

    def _starts_to_play(self, env_id: str) -> list[tuple[Path, int, Path]]:
        """Model, commitment, result's file."""
        profile, layout = self.profile, self.layout
        work = [(layout.teacher(env_id, s), 1, layout.starts(env_id, f"{TEACHER}-s{s}", 1)) for s in profile.seeds]
        work += [
            (self.student_path(env_id, loss, n, s), n, layout.starts(env_id, f"{loss}-s{s}", n))
            for s in profile.seeds
            for loss in profile.losses
            for n in profile.horizons
        ]
        if env_id in self.ablated:
            work += [
                (folder, n, layout.ablation_starts(env_id, name, label, n, s))
                for s in profile.seeds
                for (name, label), folder in self.ablation_students(env_id, s).items()
                for n in profile.horizons
            ]
        return work

    def _timed_runs(self) -> list[tuple[str, str, int, int, int]]:
        """Environment, series, n, seed and round of every timed run, in their order: policies alternate within a round."""
        profile = self.profile
        return [
            (env_id, series, n, seed, number)
            for number in range(profile.runs)
            for seed in profile.seeds
            for env_id in profile.env_ids
            for n in profile.horizons
            for series in ((TEACHER,) if n == 1 else (ACTION_REPEAT, *profile.losses))
        ]

    def _show(self) -> None:
        """Figure 5, the learned path of the first loss's student at every n; films of it, at n = 1 of the teacher."""
        loss, seed = self.profile.losses[0], self.profile.seeds[0]
        for env_id in self.profile.env_ids:
            for n in self.profile.horizons:
                if is_grid(env_id):
                    student = partial(self._planner_of, loss, env_id, n, seed)
                    once(self.layout.walked(env_id, n), partial(_walk, student, env_id, n))
                planner = partial(self._planner_of, TEACHER if n == 1 else loss, env_id, n, seed)
                film_once(planner, env_id, n, self.layout.film(env_id, n))

    def _time_all(self) -> None:
        runs = self._timed_runs()
        if all(self.layout.timed(*run).exists() for run in runs):
            return
        self._say("timing; nothing else should run on this machine now")
        warn_if_busy(self._say)
        for env_id, series, n, seed, number in runs:
            planner = partial(self._planner_of, series, env_id, n, seed)
            file = self.layout.timed(env_id, series, n, seed, number)
            once(file, partial(_timed, planner, env_id, series, n, self.profile.steps, 1000 * seed + number))
            if (series, n) == (runs[-1][1], runs[-1][2]):
                self._say(f"  {env_id}, seed {seed}, round {number + 1} of {self.profile.runs}")

    def _planner_of(self, series: str, env_id: str, n: int, seed: int) -> Planner:
        if series in (TEACHER, ACTION_REPEAT):
            teacher = _planner(self.layout.teacher(env_id, seed))
            return teacher if series == TEACHER else RepeatPlanner(teacher, n)
        return _planner(self.student_path(env_id, series, n, seed))


def _walk(planner: Callable[[], Planner], env_id: str, n: int) -> dict[str, Any]:
    return trace_path(planner(), make_env(env_id), SHOWN_SEED, n).to_json()


def _timed(planner: Callable[[], Planner], env_id: str, name: str, n: int, steps: int, seed: int) -> dict[str, Any]:
    settings = EvaluationSettings(commitment=n, limit=Limit(steps=steps), runs=1, seed=seed)
    machine, player, share = describe_machine(torch.get_num_threads()), planner(), busy_share()
    found = evaluate_planner(player, make_env(env_id), settings, model=name, backend="torch", machine=machine).to_json()
    return {**found, "machine": {**machine, "busy": share()}}


@cache
def _planner(directory: Path) -> Planner:
    return load_model(directory).planner
