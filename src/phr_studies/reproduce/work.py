"""The pieces of work of the study, each resumable by itself. Functions that other processes run stand at module level."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

import phr
from phr.envs import make_env
from phr.errors import NoWindowError, SettingError, UnknownModelError
from phr.evaluation import EvaluationSettings, Limit, describe_machine, evaluate_planner
from phr.experience import save_experience
from phr.files import read_json, sha256_of, write_json
from phr.learning import A2CConfig, PHRConfig, named, record_teacher, said_settings, student_config, teacher_config
from phr.manifest import COMPLETE
from phr.protocols import Planner
from phr.storage import CONFIG, MODEL, Model, load_model, save_model
from phr.teachers import resolve, zoo_directory
from phr_studies.relay import Relay
from phr_studies.reproduce.layout import StudyLayout


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
        """Train it, or find it done."""
        phr.train_teacher(
            self.env_id,
            out=self.directory,
            seed=self.seed,
            total_timesteps=self.total_timesteps,
            resume=True,
            on_progress=relay.named(self.name),
        )


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

    def find(self) -> Model:
        """The zoo's model.

        Raises:
            UnknownModelError: If there is none.
        """
        try:
            model = resolve(self.reference).model
        except UnknownModelError:
            model = None
        if model is None or model.directory is None:
            raise UnknownModelError(
                f"the zoo ({zoo_directory()}) has no {self.reference}, the teacher of {self.env_id}; add --from-scratch to "
                "train one for each seed, more than an hour each"
            )
        return model

    def __call__(self, relay: Relay) -> None:
        """Copy it, or find it copied."""
        if self.is_done:
            return
        model = self.find()
        assert model.directory is not None  # `find` refuses a model that lies nowhere
        self.directory.mkdir(parents=True, exist_ok=True)
        for name in model.manifest.files.keys() - {MODEL}:
            shutil.copyfile(model.directory / name, self.directory / name)
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
        origin = read_json(card).get("origin") or {}
        return bool(origin.get("teacher_id") == sha256_of(model))

    def __call__(self, relay: Relay) -> None:
        """Record them, or find them recorded."""
        if self.is_done:
            return
        torch.set_num_threads(1)
        teacher = load_model(self.teacher)
        experience, _ = record_teacher(teacher.planner, self.env_id, self.config, on_progress=relay.named(self.name))
        whose = named(experience, self.config, teacher=self.teacher.name, teacher_id=teacher.sha256)
        save_experience(whose, self.file)


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
    """What a `RecordJob` recorded of this teacher with these settings; None records anew."""

    @property
    def name(self) -> str:
        """For a person."""
        words = ", ".join(f"{key} {value}" for key, value in self.settings if value is not None)
        return f"student, {self.env_id}, horizon {self.horizon}, {words}"

    def recording(self) -> RecordJob:
        """Records what this student learns from, to be shared with others of the same teacher.

        Raises:
            SettingError: If the student records for itself.
        """
        if self.experience is None:
            raise SettingError(f"{self.name} shares no recording; give it a file for one")
        return RecordJob(env_id=self.env_id, teacher=self.teacher, file=self.experience, config=self.config)

    @property
    def config(self) -> PHRConfig:
        """Settings of stage 2."""
        return student_config(self.env_id, self.horizon, **dict(self.settings))

    @property
    def is_done(self) -> bool:
        """Whether the student with these settings is there, or there was nothing to teach it."""
        return self._no_window.exists() or _is_finished(self.directory, self.config)

    @property
    def _no_window(self) -> Path:
        return StudyLayout.no_window(self.directory)

    def __call__(self, relay: Relay) -> None:
        """Distil it, or find it done."""
        if self._no_window.exists():
            return
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
            write_json(self._no_window, {"no_window": str(error)})


def _is_finished(directory: Path, config: A2CConfig | PHRConfig) -> bool:
    """Whether a folder holds a finished model with these settings; another one is left for its job to refuse."""
    if not ((directory / COMPLETE).exists() and (directory / CONFIG).exists()):
        return False
    wanted: dict[str, Any] = json.loads(json.dumps(said_settings(config)))  # tuples are read back as lists
    found = read_json(directory / CONFIG)
    return isinstance(found, dict) and found.get("settings") == wanted


def timed_evaluation(planner: Planner, env_id: str, name: str, n: int, *, steps: int, round_seed: int) -> dict[str, Any]:
    """One timed run at commitment n, as the JSON of `phr evaluate`."""
    settings = EvaluationSettings(commitment=n, limit=Limit(steps=steps), runs=1, seed=round_seed)
    machine = describe_machine(torch.get_num_threads())
    return evaluate_planner(planner, make_env(env_id), settings, model=name, backend="torch", machine=machine).to_json()
