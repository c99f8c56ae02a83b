"""Downloads from a local server that answers as the hub does; no network."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import phr
from phr.errors import SettingError, UnknownModelError, UsageError
from phr.teachers.hub import HubReference, download
from phr.teachers.references import resolve
from tests.hub_server import commit_of, hub
from tests.teachers.test_training_run import OBS, expected_actions, zoo_run
from tests.trained import corridor_student, saved

pytest.importorskip("huggingface_hub")


@pytest.fixture
def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Path, list[str]]]:
    """The folder that is served, and the requests; the cache is fresh."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    root = tmp_path / "hub"
    root.mkdir()
    with hub(root) as (address, log):
        monkeypatch.setenv("HF_ENDPOINT", address)
        yield root, log


def hub_run(root: Path, folder: Path) -> tuple[Path, Path]:
    """A repository as the zoo's authors publish one, and the run that it was made of."""
    run, repository = zoo_run(folder / "zoo"), root / "sb3" / "a2c-Pendulum-v0"
    repository.mkdir(parents=True)
    shutil.copyfile(run / "Pendulum-v0.zip", repository / "a2c-Pendulum-v0.zip")
    for name in ("args.yml", "config.yml"):
        shutil.copyfile(run / "Pendulum-v0" / name, repository / name)
    shutil.copyfile(run / "Pendulum-v0" / "vecnormalize.pkl", repository / "vec_normalize.pkl")
    for name in ("replay.mp4", "train_eval_metrics.zip", "README.md"):
        (repository / name).write_bytes(b"not needed")
    unpacked = repository / "a2c-Pendulum-v0"
    unpacked.mkdir()
    (unpacked / "policy.pth").write_bytes(b"not needed")
    return run, repository


def test_a_repository_is_a_teacher(served: tuple[Path, list[str]], tmp_path: Path) -> None:
    root, log = served
    run, repository = hub_run(root, tmp_path)
    for reference in ("hf:sb3/a2c-Pendulum-v0", "hf:sb3/a2c-Pendulum-v0/a2c-Pendulum-v0.zip"):
        found = resolve(reference)
        assert found.env_id == "Pendulum-v1"
        np.testing.assert_array_equal(found.planner.plan(OBS).mode()[:, 0], expected_actions(run))
        pinned = reference.replace("Pendulum-v0", f"Pendulum-v0@{commit_of(repository)}", 1)
        assert found.reference == pinned
    assert not any(
        "replay.mp4" in each or "policy.pth" in each or "metrics.zip" in each for each in log if "/resolve/" in each
    )


def test_the_revision_is_pinned_in_the_student(served: tuple[Path, list[str]], tmp_path: Path) -> None:
    root, _ = served
    _, repository = hub_run(root, tmp_path)
    student = phr.distill(
        "hf:sb3/a2c-Pendulum-v0", horizon=2, n_episodes=4, n_updates=4, refine=0, curve_episodes=0, out=tmp_path / "s"
    )
    pinned = f"hf:sb3/a2c-Pendulum-v0@{commit_of(repository)}"
    assert student.manifest.notes["teacher"] == pinned
    assert resolve(pinned).identity == student.manifest.notes["teacher_id"]


def test_what_was_downloaded_is_read_without_network(
    served: tuple[Path, list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, log = served
    run, _ = hub_run(root, tmp_path)
    _, pinned = download("hf:sb3/a2c-Pendulum-v0")
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    for reference in ("hf:sb3/a2c-Pendulum-v0", pinned):
        assert resolve(reference).env_id == "Pendulum-v1"
    with pytest.raises(UnknownModelError, match="hf:sb3/never-seen cannot be downloaded: ") as caught:
        resolve("hf:sb3/never-seen")
    assert "\n" not in str(caught.value)
    assert run.exists()
    assert log


def test_a_model_of_phr(served: tuple[Path, list[str]], tmp_path: Path) -> None:
    root, _ = served
    shutil.copytree(_directory(tmp_path / "student"), root / "me" / "corridor")
    model = phr.load("hf:me/corridor")
    assert model.sha256 == corridor_student().sha256
    found = resolve("hf:me/corridor")
    assert found.model is not None
    with pytest.raises(SettingError, match="is a copy of what the hub holds; add --no-write"):
        phr.tune("hf:me/corridor", corridor_student())


def _directory(path: Path) -> Path:
    saved(corridor_student(), path)
    return path


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ("hf:sb3/nothing", "hf:sb3/nothing cannot be downloaded: RepositoryNotFoundError"),
        ("hf:sb3/a2c-Pendulum-v0@nowhere", "cannot be downloaded: RevisionNotFoundError"),
        ("hf:sb3/a2c-Pendulum-v0/none.zip", "sb3/a2c-Pendulum-v0 has no none.zip; it holds "),
    ],
)
def test_what_is_not_there_is_one_line(served: tuple[Path, list[str]], tmp_path: Path, reference: str, message: str) -> None:
    hub_run(served[0], tmp_path)
    with pytest.raises(UnknownModelError, match=message) as caught:
        resolve(reference)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "text", ["hf:", "hf:owner", "hf:owner/", "hf:o/n/../x", "hf:o/n//etc/passwd", "hf:o/n@", "hf:../n", "hf:o/.n"]
)
def test_references_that_are_none_are_refused(text: str) -> None:
    with pytest.raises(UsageError, match="must be hf:OWNER/NAME, hf:OWNER/NAME/FILE or"):
        HubReference.parse(text)


def test_references_are_read_and_written() -> None:
    for text in ("hf:o/n", "hf:o/n@main", "hf:o/n/a/b.zip", "hf:o/n-1.0@v1.2/x.onnx"):
        assert str(HubReference.parse(text)) == text
