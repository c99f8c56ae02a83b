from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from phr import api
from phr.errors import NoWindowError, SettingError
from phr.storage.model import load_model
from phr.storage.tensors import digest, network_tensors
from phr_studies.reproduce.jobs import StudentJob, StudyJobs
from phr_studies.reproduce.profiles import ABLATIONS, StudyLayout
from phr_studies.workbench import Relay
from tests.phr_studies.alley import ALLEY
from tests.phr_studies.small import PAPER_LIKE, TINY, Study


def test_elsewhere_a_missing_window_is_an_error(study: Study, tmp_path: Path) -> None:
    job = StudentJob(
        env_id=ALLEY,
        teacher=study.layout.teacher(ALLEY, 0),
        directory=tmp_path / "student",
        horizon=16,
        settings=(("pad", False),),
    )
    with pytest.raises(NoWindowError, match="no episode is as long as the horizon 16"):
        job(Relay())


def test_a_shared_recording_gives_the_weights_that_distilling_alone_gives(study: Study) -> None:
    layout = study.layout
    recordings = list((study.root / "experience").rglob("*.npz"))
    assert len(recordings) == 1, "both losses learn from one recording"
    for loss in TINY.losses:
        settings: dict[str, Any] = {"n_updates": TINY.student_updates, "refine": 0, "batch_size": 256}
        alone = api.distill(layout.teacher(ALLEY, 0), env_id=ALLEY, horizon=4, seed=0, loss=loss, **settings)
        shared = load_model(layout.student(ALLEY, loss, 4, 0))
        assert digest(network_tensors(alone.network)) == digest(network_tensors(shared.network))


def test_recordings_are_made_once_for_all_that_share_them(tmp_path: Path) -> None:
    study = StudyJobs(PAPER_LIKE, StudyLayout(tmp_path))
    students = study.students()
    recordings = study.recordings(students)
    assert len(recordings) == len({job.file for job in recordings}) == 4, "greedy and sampled, for two seeds"
    for job in recordings:
        sharing = [student.config for student in students if student.experience == job.file]
        assert sharing
        for config in sharing:
            for name in ("seed", "n_episodes", "prefix", "sample_labels", "keep"):
                assert getattr(config, name) == getattr(job.config, name)
    assert not study.recordings([replace(students[0], experience=None)])


def test_settings_that_come_to_the_same_student_share_it(tmp_path: Path) -> None:
    study = StudyJobs(PAPER_LIKE, StudyLayout(tmp_path))
    for seed in PAPER_LIKE.seeds:
        folders = study.ablation_students(ALLEY, seed)
        default = study.layout.student(ALLEY, "cross_entropy", 4, seed)
        same = {pair for pair, folder in folders.items() if folder == default}
        assert {label for _, label in same} == {"α = 1", "padded", "greedy", "anchored"}
        assert folders["joint training", "joint"] == folders["loss weight λ, joint training", "joint, λ = 1"]
        assert len(folders) == sum(len(ablation.settings) for ablation in ABLATIONS)
    jobs = study.students()
    trained = {job.directory for job in jobs}
    assert len(jobs) == len(trained)
    assert trained >= {folder for seed in PAPER_LIKE.seeds for folder in study.ablation_students(ALLEY, seed).values()}


def test_impossible_settings_fail_before_anything_is_trained(tmp_path: Path) -> None:
    study = StudyJobs(replace(TINY, student_updates=0), StudyLayout(tmp_path))
    with pytest.raises(SettingError, match="n_updates must be >= 1, got 0"):
        study.students()
