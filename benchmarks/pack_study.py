"""Pack a study's directory into one small file: results and descriptions, without weights, recordings and figures.

    .venv/bin/python benchmarks/pack_study.py --study runs/paper --out docs/results/paper/study.tar.gz

Only finished training seeds are packed. After unpacking, `phr report` redraws the page, and the command that created the
study continues with the other seeds. The same results give the same bytes.
"""

from __future__ import annotations

import gzip
import io
import sys
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import tyro

from phr.cli.display import say
from phr.errors import UsageError
from phr.files import write_bytes
from phr.manifest import COMPLETE, MANIFEST
from phr.storage.model import CONFIG
from phr_studies.reproduce.profiles import Profile, StudyLayout
from phr_studies.reproduce.study import Reproduction, finished_seeds, is_study
from phr_studies.workbench import SETTINGS

DESCRIPTIONS = (COMPLETE, CONFIG, MANIFEST, "metrics.jsonl")
"""Files kept from a model's directory."""


@dataclass(frozen=True)
class Arguments:
    """Pack a study of `phr reproduce`."""

    study: Path
    """Directory of the study."""
    out: Path
    """Output file, `.tar.gz`."""


def main(arguments: Arguments) -> int:
    """Collect, pack, print the size."""
    if not is_study(arguments.study):
        raise UsageError(f"{arguments.study} must be a study of phr reproduce")
    profile = Profile.of_study(arguments.study)
    done = finished_seeds(profile, StudyLayout(arguments.study))
    if not done:
        raise UsageError(f"{arguments.study} has no finished training seed")
    files = sorted(set(files_of(Reproduction(replace(profile, seeds=done), StudyLayout(arguments.study)))))
    packed = pack(arguments.study, files)
    write_bytes(arguments.out, packed)
    seeds = f"{len(done)} of {len(profile.seeds)} seeds"
    say(f"{len(files):,} files of {seeds}: {len(packed) / 1e6:.1f} MB, written to {arguments.out}")
    return 0


def files_of(study: Reproduction) -> Iterator[Path]:
    """Yield the settings, every result, and the kept files of each model."""
    yield study.layout.root / SETTINGS
    yield from study.files()
    for job in [*study.teachers(), *study.students()]:
        kept = [job.directory / name for name in DESCRIPTIONS] + [StudyLayout.no_window(job.directory)]
        yield from (file for file in kept if file.exists())


def pack(root: Path, files: list[Path]) -> bytes:
    """Return a compressed archive of these files, with paths relative to the root and without user names or times."""
    packed = io.BytesIO()
    with gzip.GzipFile(fileobj=packed, mode="wb", mtime=0) as zipped, tarfile.open(fileobj=zipped, mode="w") as archive:
        for file in files:
            entry = tarfile.TarInfo(str(file.relative_to(root)))
            entry.size = file.stat().st_size
            with file.open("rb") as content:
                archive.addfile(entry, content)
    return packed.getvalue()


if __name__ == "__main__":
    sys.exit(main(tyro.cli(Arguments)))
