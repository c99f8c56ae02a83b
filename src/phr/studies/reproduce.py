"""`phr reproduce`: from nothing to the paper's figures 4 and 5, in one folder that can be taken up again."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import Any

from phr.envs.registry import make_env
from phr.evaluation.paths import trace_path
from phr.files import read_json
from phr.learning.driver import OnProgress, silent
from phr.learning.phr import PHRConfig
from phr.learning.presets import student_config
from phr.protocols import Planner
from phr.report.points import ACTION_REPEAT, OPTIMUM, TEACHER
from phr.storage.model import load_model
from phr.studies.ablations import ABLATIONS
from phr.studies.content import write_report
from phr.studies.layout import StudyLayout
from phr.studies.profiles import Profile
from phr.studies.results import Results
from phr.studies.work import StudentJob, TeacherJob, all_starts, optimum, random_return, timed_evaluation
from phr.studies.workbench import Workbench, once, run_jobs
from phr.teachers.baselines import RepeatPlanner

_FIGURE_5_SEED = 0


def reproduce(
    profile: Profile,
    directory: Path,
    *,
    command: str,
    say: Callable[[str], None] = lambda _line: None,
    on_progress: OnProgress = silent,
) -> Results:
    """Train, evaluate and report; every piece that is done already is skipped.

    Args:
        profile: How much.
        directory: The study's folder; `report.html` in it shows everything.
        command: What the user typed, for the report.
        say: Told what happens, one line at a time.
        on_progress: Told how trainings go on.

    Raises:
        OutputDirectoryError: If the folder holds something else, or another study.
    """
    _planner.cache_clear()  # the folder may have been removed and begun anew since
    bench = Workbench(directory, {"study": "reproduce", "profile": profile.to_json()}, say)
    study = Reproduction(profile, StudyLayout(directory), say)
    run_jobs(study.teachers(), what="training teachers (A2C)", say=say, on_progress=on_progress)
    run_jobs(study.students(), what="distilling students (PHR)", say=say, on_progress=on_progress)
    study.play_all_starts()
    study.trace_paths()
    study.time_all()
    results = Results(profile, study.layout)
    write_report(results, directory, command=command)
    bench.finish()
    return results


class Reproduction:
    """The study's pieces of work.

    Args:
        profile: How much.
        layout: Where each file lies.
        say: Told what happens.
    """

    def __init__(self, profile: Profile, layout: StudyLayout, say: Callable[[str], None]) -> None:
        self.profile = profile
        self.layout = layout
        self._say = say

    def teachers(self) -> list[TeacherJob]:
        """Stage 1 of every environment and seed."""
        return [
            TeacherJob(
                env_id=env_id,
                seed=seed,
                directory=self.layout.teacher(env_id, seed),
                total_timesteps=self.profile.teacher_timesteps,
            )
            for seed in self.profile.seeds
            for env_id in self.profile.env_ids
        ]

    def students(self) -> list[StudentJob]:
        """Stage 2 of every environment, seed, loss and horizon; then the ablations' students."""
        profile, layout = self.profile, self.layout
        places = [(env_id, seed) for seed in profile.seeds for env_id in profile.env_ids]
        jobs = [
            self._student(env_id, seed, horizon, layout.student(env_id, loss, horizon, seed), {"loss": loss})
            for env_id, seed in places
            for loss in profile.losses
            for horizon in profile.student_horizons
        ]
        if profile.ablations:
            for env_id, seed in places:
                folders = self.ablation_students(env_id, seed)
                jobs += [
                    self._student(env_id, seed, profile.max_horizon, folders[ablation.name, label], settings)
                    for ablation in ABLATIONS
                    for label, settings in ablation.settings
                    if folders[ablation.name, label] == layout.ablation(env_id, ablation.name, label, seed)
                ]
        return jobs

    def ablation_students(self, env_id: str, seed: int) -> dict[tuple[str, str], Path]:
        """Ablation and label → the student's folder; settings that come to the same student share one."""
        largest, layout = self.profile.max_horizon, self.layout
        folders = {
            self._config(env_id, seed, largest, {"loss": loss}): layout.student(env_id, loss, largest, seed)
            for loss in self.profile.losses
        }
        return {
            (ablation.name, label): folders.setdefault(
                self._config(env_id, seed, largest, settings), layout.ablation(env_id, ablation.name, label, seed)
            )
            for ablation in ABLATIONS
            for label, settings in ablation.settings
        }

    def _given(self, seed: int, settings: dict[str, Any]) -> dict[str, Any]:
        return {"seed": seed, "n_updates": self.profile.student_updates, **settings}

    def _config(self, env_id: str, seed: int, horizon: int, settings: dict[str, Any]) -> PHRConfig:
        """What a student is trained with; an impossible setting fails here, not hours later."""
        return student_config(env_id, horizon, **self._given(seed, settings))

    def _student(self, env_id: str, seed: int, horizon: int, directory: Path, settings: dict[str, Any]) -> StudentJob:
        config = self._config(env_id, seed, horizon, settings)
        return StudentJob(
            env_id=env_id,
            teacher=self.layout.teacher(env_id, seed),
            directory=directory,
            horizon=horizon,
            settings=tuple(self._given(seed, settings).items()),
            may_lack_windows=not config.pad,
        )

    def student_path(self, env_id: str, loss: str, n: int, seed: int) -> Path:
        """The student that is evaluated at n; at n = 1 the one of the largest horizon shows its own head 1."""
        horizon = self.profile.student_horizon(n) if n > 1 else self.profile.max_horizon
        return self.layout.student(env_id, loss, horizon, seed)

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
            (self.student_path(env_id, loss, n, s), n, layout.starts(env_id, f"{loss}-s{s}", n))
            for s in profile.seeds
            for loss in profile.losses
            for n in profile.horizons
        ]
        if profile.ablations:
            work += [
                (folder, n, layout.ablation_starts(env_id, name, label, n, s))
                for s in profile.seeds
                for (name, label), folder in self.ablation_students(env_id, s).items()
                for n in profile.horizons
            ]
        return work

    def trace_paths(self) -> None:
        """Figure 5: the learned path of the first loss's student, at every n."""
        loss, seed = self.profile.losses[0], self.profile.seeds[0]
        for env_id in self.profile.env_ids:
            for n in self.profile.horizons:
                model = self.student_path(env_id, loss, n, seed)
                once(self.layout.walked(env_id, n), partial(_walk, model, env_id, n))

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
        teacher = self.layout.teacher(env_id, seed)
        series: dict[str, Callable[[], Planner]] = {}
        if n == 1:
            series[TEACHER] = partial(_planner, teacher)
        else:
            series[ACTION_REPEAT] = lambda: RepeatPlanner(_planner(teacher), n)
            for loss in self.profile.losses:
                series[loss] = partial(_planner, self.student_path(env_id, loss, n, seed))
        steps, round_seed = self.profile.steps, 1000 * seed + number
        for name, planner in series.items():
            file = self.layout.timed(env_id, name, n, seed, number)
            once(file, partial(_timed, planner, env_id, name, n, steps, round_seed))


def _all_starts(model: Path, env_id: str, best: dict[str, Any], n: int) -> dict[str, Any]:
    no_window = StudyLayout.no_window(model)
    found: dict[str, Any] = read_json(no_window) if no_window.exists() else all_starts(_planner(model), env_id, best, n)
    return found


def _walk(model: Path, env_id: str, n: int) -> dict[str, Any]:
    return trace_path(_planner(model), make_env(env_id), _FIGURE_5_SEED, n).to_json()


def _timed(planner: Callable[[], Planner], env_id: str, name: str, n: int, steps: int, round_seed: int) -> dict[str, Any]:
    return timed_evaluation(planner(), env_id, name, n, steps=steps, round_seed=round_seed)


@cache
def _planner(directory: Path) -> Planner:
    """A model from its run directory, read once."""
    return load_model(directory).planner
