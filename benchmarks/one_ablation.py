"""Run single ablations of `phr reproduce --profile paper` in a study's folder, without the rest of the study.

    .venv/bin/python benchmarks/one_ablation.py --only "joint training" --out runs/paper

Trains the teachers and the students of these ablations on the grids, plays every start, and prints one Markdown table for
each grid. What the folder has already is kept, so an unpacked study (`docs/results/paper/study.tar.gz`) can have one row
measured again: remove the row's files below `starts/ENV/ablations`, run this, then `phr report`.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import tyro

from phr.cli.display import say
from phr.errors import UsageError
from phr_studies.report.points import OPTIMUM
from phr_studies.report.tables import to_markdown
from phr_studies.reproduce.content import ablation_table
from phr_studies.reproduce.jobs import StudyJobs, every_start_jobs
from phr_studies.reproduce.profiles import ABLATIONS, PAPER, Profile, StudyLayout
from phr_studies.reproduce.results import Results
from phr_studies.workbench import once, run_jobs
from phr_studies.worlds import is_grid, optimum


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """Run single ablations of the paper profile."""

    only: tuple[str, ...]
    """Names of ablations, as the tables print them."""
    out: Path
    """Folder of the study."""
    seeds: tuple[int, ...] = PAPER.seeds
    """Training seeds."""


def main(arguments: Arguments, profile: Profile = PAPER) -> int:
    """Do what is missing and print the tables."""
    chosen = tuple(ablation for ablation in ABLATIONS if ablation.name in arguments.only)
    if unknown := set(arguments.only) - {ablation.name for ablation in chosen}:
        names = ", ".join(repr(ablation.name) for ablation in ABLATIONS)
        raise UsageError(f"--only must be among {names}; got {sorted(unknown)[0]!r}")
    grids = tuple(env_id for env_id in profile.env_ids if is_grid(env_id))
    profile = replace(profile, env_ids=grids, seeds=arguments.seeds, ablations=True)
    layout = StudyLayout(arguments.out)
    jobs = StudyJobs(profile, layout)
    plays = {
        env_id: [
            (folder, n, layout.ablation_starts(env_id, name, label, n, seed))
            for seed in profile.seeds
            for (name, label), folder in jobs.ablation_students(env_id, seed).items()
            if name in arguments.only
            for n in profile.horizons
        ]
        for env_id in grids
    }
    folders = {folder for played in plays.values() for folder, _, _ in played}
    students = [job for job in jobs.students() if job.directory in folders]
    do = partial(run_jobs, say=say)
    do(jobs.teachers(), what="teachers (A2C)")
    do(jobs.recordings(students), what="recording teachers")
    do(students, what="distilling students (PHR)")
    for env_id, played in plays.items():
        best = layout.starts(env_id, OPTIMUM)
        once(best, partial(optimum, env_id))
        do(every_start_jobs(env_id, best, played), what="playing every start once")
        print(to_markdown(ablation_table(Results(profile, layout).ablations(env_id, chosen), env_id)))
    return 0


if __name__ == "__main__":
    sys.exit(main(tyro.cli(Arguments)))
