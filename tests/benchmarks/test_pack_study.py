from __future__ import annotations

import tarfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.pack_study import Arguments, main
from phr.errors import UsageError
from phr_studies.reproduce import study as reproduce_module
from tests.phr_studies.conftest import quick_alley
from tests.phr_studies.small import TINY, again, times

PROFILE = replace(TINY, losses=("cross_entropy",), seeds=(0, 1))


@pytest.fixture(scope="module", autouse=True)
def _quickly() -> Iterator[None]:
    with quick_alley() as patch:
        patch.setattr(reproduce_module, "write_report", lambda results, *_, **__: results.layout.root)
        yield


@pytest.fixture(scope="module")
def half(tmp_path_factory: pytest.TempPathFactory, _quickly: None) -> Path:
    """A study of two seeds that was left when the second began."""
    root = tmp_path_factory.mktemp("pack") / "study"

    def press(line: str) -> None:
        if line == "training seed 1, 2 of 2":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        again(root, PROFILE, press)
    return root


def test_what_was_unpacked_is_gone_on_with(half: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    packed = tmp_path / "study.tar.gz"
    assert main(Arguments(study=half, out=packed)) == 0
    assert "of 1 of 2 seeds" in capsys.readouterr().out
    with tarfile.open(packed) as archive:
        names = archive.getnames()
        archive.extractall(tmp_path / "study", filter="data")
    assert not any(name.endswith((".safetensors", ".npz")) for name in names)
    before = times(tmp_path / "study")
    results = again(tmp_path / "study", PROFILE)
    after = times(tmp_path / "study")
    assert {name: after[name] for name in before} == before
    assert len(results.starts(PROFILE.env_ids[0], "cross_entropy", 4)) == 2


def test_the_same_results_give_the_same_bytes(half: Path, tmp_path: Path) -> None:
    for name in ("first", "second"):
        main(Arguments(study=half, out=tmp_path / name))
    assert (tmp_path / "first").read_bytes() == (tmp_path / "second").read_bytes()


def test_what_cannot_be_packed_is_refused(half: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="must be a study"):
        main(Arguments(study=tmp_path, out=tmp_path / "study.tar.gz"))
    (tmp_path / "settings.json").write_bytes((half / "settings.json").read_bytes())
    with pytest.raises(UsageError, match="no finished training seed"):
        main(Arguments(study=tmp_path, out=tmp_path / "study.tar.gz"))
    assert not (tmp_path / "study.tar.gz").exists()
