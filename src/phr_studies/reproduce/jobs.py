"""The pieces of work of a study, each resumable by itself: teachers, recordings of them, students, every start once."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

import phr
from phr.distil import PHRConfig, named, record_teacher, student_config, teacher_config
from phr.envs import make_env
from phr.errors import NoWindowError, UnknownModelError
from phr.experience import read_card, save_experience
from phr.files import read_json, sha256_of, write_json
from phr.manifest import COMPLETE
from phr.settings import said_settings
from phr.storage import CONFIG, MODEL, Model, load_model, save_model
from phr.teacher import A2CConfig
from phr.teachers import resolve, zoo_directory
from phr_studies.reproduce.profiles import ABLATIONS, ZOO_TEACHERS, NoWindow, Profile, StudyLayout
from phr_studies.workbench import Relay
from phr_studies.worlds import Optimum, all_starts, is_grid


@dataclass(frozen=True, kw_only=True)
class TeacherJob:
    """Stage 1 of one environment and seed."""

    env_id: str
    seed: int
    directory: Path
    total_timesteps: int | None

    @property
    def name(self) -> str:
        """For a person."""
        return f"teacher, {self.env_id}, seed {self.seed}"

    @property
    def config(self) -> A2CConfig:
        """Settings of stage 1."""
        return teacher_config(make_env(self.env_id), seed=self.seed, total_timesteps=self.total_timesteps)

    @property
    def is_done(self) -> bool:
        """Whether the teacher with these settings is there."""
        return _is_finished(self.directory, self.config)

    def __call__(self, relay: Relay) -> None:
        """Train it, or go on with it."""
        how: dict[str, Any] = {"resume": True, "on_progress": relay.named(self.name)}
        phr.train_teacher(self.env_id, out=self.directory, seed=self.seed, total_timesteps=self.total_timesteps, **how)


@dataclass(frozen=True, kw_only=True)
class ZooTeacherJob:
    """A teacher of the zoo, copied into the study: the study stays what it is when the zoo changes."""

    env_id: str
    reference: str
    directory: Path

    @property
    def name(self) -> str:
        """For a person."""
        return f"teacher, {self.env_id}, {self.reference}"

    @property
    def is_done(self) -> bool:
        """Whether it was copied."""
        return (self.directory / COMPLETE).exists()

    def find(self) -> tuple[Model, Path]:
        """The zoo's model, and its folder."""
        try:
            model = resolve(self.reference).model
        except UnknownModelError:
            model = None
        if model is None or model.directory is None:
            raise UnknownModelError(
                f"the zoo ({zoo_directory()}) has no {self.reference}, the teacher of {self.env_id}; add --from-scratch to "
                "train one for each seed, more than an hour each"
            )
        return model, model.directory

    def __call__(self, relay: Relay) -> None:
        """Copy it."""
        model, folder = self.find()
        self.directory.mkdir(parents=True, exist_ok=True)
        for name in model.manifest.files.keys() - {MODEL}:
            shutil.copyfile(folder / name, self.directory / name)
        save_model(self.directory, model.network, model.manifest)


@dataclass(frozen=True, kw_only=True)
class RecordJob:
    """The episodes of a teacher that several students learn from, the same that each would record for itself."""

    env_id: str
    teacher: Path
    file: Path
    config: PHRConfig
    """Of one of the students; what varies among them plays no part here."""

    @property
    def name(self) -> str:
        """For a person."""
        return f"recording, {self.env_id}, {self.file.stem}"

    @property
    def is_done(self) -> bool:
        """Whether this very teacher's episodes are there; their description is written last."""
        card, model = self.file.with_suffix(".json"), self.teacher / MODEL
        if not (card.exists() and model.exists()):
            return False
        origin = read_card(card)["origin"]
        return origin is not None and origin.teacher_id == sha256_of(model)

    def __call__(self, relay: Relay) -> None:
        """Record them."""
        torch.set_num_threads(1)
        teacher = load_model(self.teacher)
        experience, _ = record_teacher(teacher.planner, self.env_id, self.config, on_progress=relay.named(self.name))
        save_experience(named(experience, self.config, teacher=self.teacher.name, teacher_id=teacher.sha256), self.file)


@dataclass(frozen=True, kw_only=True)
class StudentJob:
    """Stage 2 of one teacher."""

    env_id: str
    teacher: Path
    directory: Path
    horizon: int
    settings: tuple[tuple[str, Any], ...]
    """Names and values of `PHRConfig`."""
    may_lack_windows: bool = False
    """Where the strict cut leaves no window, that is a result of the study, not its end."""
    experience: Path | None = None
    """What a `RecordJob` recorded of this teacher with these settings; None records again."""

    @property
    def name(self) -> str:
        """For a person."""
        words = ", ".join(f"{key} {value}" for key, value in self.settings if value is not None)
        return f"student, {self.env_id}, horizon {self.horizon}, {words}"

    @property
    def config(self) -> PHRConfig:
        """Settings of stage 2."""
        return student_config(self.env_id, self.horizon, **dict(self.settings))

    @property
    def is_done(self) -> bool:
        """Whether the student with these settings is there, or there was nothing to teach it."""
        return StudyLayout.no_window(self.directory).exists() or _is_finished(self.directory, self.config)

    def __call__(self, relay: Relay) -> None:
        """Distil it, or go on with it."""
        try:
            phr.distill(
                load_model(self.teacher),
                horizon=self.horizon,
                out=self.directory,
                env_id=self.env_id,
                experience=self.experience,
                resume=True,
                on_progress=relay.named(self.name),
                **dict(self.settings),
            )
        except NoWindowError as error:
            if not self.may_lack_windows:
                raise
            write_json(StudyLayout.no_window(self.directory), {"no_window": str(error)})


def _is_finished(directory: Path, config: A2CConfig | PHRConfig) -> bool:
    """Whether a folder holds a finished model with these settings; another one is left for its job to refuse."""
    if not ((directory / COMPLETE).exists() and (directory / CONFIG).exists()):
        return False
    wanted: dict[str, Any] = json.loads(json.dumps(said_settings(config)))  # tuples are read back as lists
    return bool(read_json(directory / CONFIG, dict[str, Any]).get("settings") == wanted)


@dataclass(frozen=True, kw_only=True)
class EveryStartJob:
    """One model, every start once at each of some commitments; as a job, for nothing is timed meanwhile."""

    env_id: str
    optimum: Path
    """What the best possible result and the starts are read from (see `phr_studies.worlds.optimum`)."""
    model: Path
    results: tuple[tuple[int, Path], ...]
    """Commitment and the file that its result goes to."""

    @property
    def name(self) -> str:
        """For a person."""
        return f"every start, {self.env_id}, {self.model.name}"

    @property
    def is_done(self) -> bool:
        """Whether every result is there."""
        return all(file.exists() for _, file in self.results)

    def __call__(self, relay: Relay) -> None:
        """Play what is missing."""
        torch.set_num_threads(1)
        missing = [(n, file) for n, file in self.results if not file.exists()]
        no_window = StudyLayout.no_window(self.model)
        if no_window.exists():  # there is no such model, and that is the result
            for _, file in missing:
                write_json(file, read_json(no_window, NoWindow))
        elif missing:
            planner, best = load_model(self.model).planner, read_json(self.optimum, Optimum)
            for n, file in missing:
                write_json(file, all_starts(planner, self.env_id, best, n))


def every_start_jobs(env_id: str, optimum: Path, plays: Iterable[tuple[Path, int, Path]]) -> list[EveryStartJob]:
    """One job for each model of `plays`: model, commitment, result's file."""
    by_model: dict[Path, list[tuple[int, Path]]] = {}
    for model, n, file in plays:
        by_model.setdefault(model, []).append((n, file))
    found = by_model.items()
    return [EveryStartJob(env_id=env_id, optimum=optimum, model=model, results=tuple(files)) for model, files in found]


class StudyJobs:
    """Lists the jobs of a study: `profile` decides how many, `layout` where each file lies."""

    def __init__(self, profile: Profile, layout: StudyLayout) -> None:
        self.profile = profile
        self.layout = layout
        self._places = [(env_id, seed) for seed in profile.seeds for env_id in profile.env_ids]

    def teachers(self) -> list[TeacherJob | ZooTeacherJob]:
        """Stage 1 of every environment and seed, or the zoo's teacher instead."""
        jobs: list[TeacherJob | ZooTeacherJob] = []
        for env_id, seed in self._places:
            directory, steps = self.layout.teacher(env_id, seed), self.profile.teacher_timesteps
            if env_id in self.profile.from_zoo:
                jobs.append(ZooTeacherJob(env_id=env_id, reference=ZOO_TEACHERS[env_id], directory=directory))
            else:
                jobs.append(TeacherJob(env_id=env_id, seed=seed, directory=directory, total_timesteps=steps))
        return jobs

    def check_zoo(self) -> None:
        """Refuse a study whose teachers are neither here nor in the zoo, before anything is done."""
        for job in self.teachers():
            if isinstance(job, ZooTeacherJob) and not job.is_done:
                job.find()

    def students(self) -> list[StudentJob]:
        """Stage 2 of every environment, seed, loss and horizon; then the ablations' students."""
        profile, layout = self.profile, self.layout
        jobs = [
            self._student(env_id, seed, horizon, layout.student(env_id, loss, horizon, seed), {"loss": loss})
            for env_id, seed in self._places
            for loss in profile.losses
            for horizon in profile.student_horizons
        ]
        for env_id, seed in self._places:
            folders = self.ablation_students(env_id, seed) if env_id in self.ablated else {}
            for ablation in ABLATIONS if folders else ():
                for label, settings in ablation.settings:
                    folder = folders[ablation.name, label]
                    if folder == layout.ablation(env_id, ablation.name, label, seed):
                        jobs.append(self._student(env_id, seed, profile.max_horizon, folder, settings))
        return jobs

    @property
    def ablated(self) -> tuple[str, ...]:
        """Where ablations are made: on grids, whose students are trained in a minute."""
        return tuple(env_id for env_id in self.profile.env_ids if self.profile.ablations and is_grid(env_id))

    @staticmethod
    def recordings(students: Sequence[StudentJob]) -> list[RecordJob]:
        """What these students learn from, each recording once."""
        shared = {job.experience: job for job in students if job.experience is not None}
        return [RecordJob(env_id=j.env_id, teacher=j.teacher, file=file, config=j.config) for file, j in shared.items()]

    def ablation_students(self, env_id: str, seed: int) -> dict[tuple[str, str], Path]:
        """Ablation and label → the student's folder; settings that give the same student share one."""
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

    def student_path(self, env_id: str, loss: str, n: int, seed: int) -> Path:
        """The student that is evaluated at n; at n = 1 the one of the largest horizon shows its own head 1."""
        horizon = self.profile.student_horizon(n) if n > 1 else self.profile.max_horizon
        return self.layout.student(env_id, loss, horizon, seed)

    def _given(self, seed: int, settings: dict[str, Any]) -> dict[str, Any]:
        plain = {"refine": 0, "batch_size": 256}  # as the paper has it: regression alone
        return {"seed": seed, "n_updates": self.profile.student_updates, **plain, **settings}

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
            experience=self.layout.experience(env_id, seed, config),
        )
