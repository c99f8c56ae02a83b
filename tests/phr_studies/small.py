"""Studies of the alley, small enough for tests."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from phr_studies.reproduce.profiles import Profile, StudyLayout
from phr_studies.reproduce.results import Results
from phr_studies.reproduce.study import reproduce
from phr_studies.workbench import Job, Relay
from tests.phr_studies.alley import ALLEY

TINY = Profile(
    name="quick",
    env_ids=(ALLEY,),
    losses=("cross_entropy", "squared"),
    horizons=(1, 4),
    steps=60,
    runs=1,
    teacher_timesteps=2500,
    student_updates=40,
)
PAPER_LIKE = replace(
    TINY,
    name="paper",
    losses=("cross_entropy",),
    horizons=(1, 2, 4),
    seeds=(0, 1),
    one_student=False,
    ablations=True,
    student_updates=20,
)


@dataclass(frozen=True)
class Study:
    """A finished study."""

    root: Path
    said: str

    @property
    def layout(self) -> StudyLayout:
        return StudyLayout(self.root)


def run_here(jobs: Sequence[Job], **_: Any) -> None:
    """Do the jobs in this process; `test_workbench` does some in others."""
    for job in jobs:
        if not job.is_done:
            job(Relay())


def times(root: Path, *but: str) -> dict[str, int]:
    """When every file was written, save those that a report draws anew."""
    drawn = {"report.html", "tables.md", "settings.json", "COMPLETE", "figures", *but}
    files = [path for path in root.rglob("*") if path.is_file() and not drawn & set(path.relative_to(root).parts[:1])]
    return {str(path.relative_to(root)): path.stat().st_mtime_ns for path in files}


def again(root: Path, profile: Profile = TINY, say: Callable[[str], None] = lambda _line: None) -> Results:
    return reproduce(profile, out=root, say=say)
