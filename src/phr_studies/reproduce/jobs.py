"""Which models a study needs, as jobs: teachers, recordings of them, students."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from phr.learning import PHRConfig, student_config
from phr_studies.reproduce.ablations import ABLATIONS
from phr_studies.reproduce.layout import StudyLayout
from phr_studies.reproduce.profiles import ZOO_TEACHERS, Profile
from phr_studies.reproduce.work import RecordJob, StudentJob, TeacherJob, ZooTeacherJob
from phr_studies.worlds import is_grid


class StudyJobs:
    """Lists the jobs of a study.

    Args:
        profile: How much.
        layout: Where each file lies.
    """

    def __init__(self, profile: Profile, layout: StudyLayout) -> None:
        self.profile = profile
        self.layout = layout
        self._places = [(env_id, seed) for seed in profile.seeds for env_id in profile.env_ids]

    def teachers(self) -> list[TeacherJob | ZooTeacherJob]:
        """Stage 1 of every environment and seed, or the zoo's teacher instead."""
        return [self._teacher(env_id, seed) for env_id, seed in self._places]

    def check_zoo(self) -> None:
        """Refuse a study whose teachers are neither here nor in the zoo, before anything is done.

        Raises:
            UnknownModelError: If one is missing.
        """
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
            if env_id in self.ablated:
                folders = self.ablation_students(env_id, seed)
                jobs += [
                    self._student(env_id, seed, profile.max_horizon, folders[ablation.name, label], settings)
                    for ablation in ABLATIONS
                    for label, settings in ablation.settings
                    if folders[ablation.name, label] == layout.ablation(env_id, ablation.name, label, seed)
                ]
        return jobs

    @property
    def ablated(self) -> tuple[str, ...]:
        """Where ablations are made: on grids, whose students are trained in a minute."""
        return tuple(env_id for env_id in self.profile.env_ids if self.profile.ablations and is_grid(env_id))

    @staticmethod
    def recordings(students: Sequence[StudentJob]) -> list[RecordJob]:
        """What these students learn from, each recording once."""
        return list({job.experience: job.recording() for job in students if job.experience is not None}.values())

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

    def student_path(self, env_id: str, loss: str, n: int, seed: int) -> Path:
        """The student that is evaluated at n; at n = 1 the one of the largest horizon shows its own head 1."""
        horizon = self.profile.student_horizon(n) if n > 1 else self.profile.max_horizon
        return self.layout.student(env_id, loss, horizon, seed)

    def _teacher(self, env_id: str, seed: int) -> TeacherJob | ZooTeacherJob:
        directory, timesteps = self.layout.teacher(env_id, seed), self.profile.teacher_timesteps
        if env_id in self.profile.from_zoo:
            return ZooTeacherJob(env_id=env_id, reference=ZOO_TEACHERS[env_id], directory=directory)
        return TeacherJob(env_id=env_id, seed=seed, directory=directory, total_timesteps=timesteps)

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
            experience=self.layout.experience(env_id, seed, config),
        )
