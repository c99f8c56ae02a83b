from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from phr.errors import CorruptFileError, IncompatibleModelError, PhrError
from phr.files import sha256_of
from phr.manifest import COMPLETE, MANIFEST
from phr.networks.policy import build_network
from phr.networks.trunks import TrunkConfig
from phr.storage.model import CHECKPOINT, MODEL, load_model, save_model
from phr.storage.tensors import network_tensors, save_tensors
from tests.trained import corridor_student, corridor_teacher, saved

OBS = np.eye(5, dtype=np.float32)


def edit_manifest(folder: Path, **changes: Any) -> None:
    path = folder / MANIFEST
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def rehash(folder: Path) -> None:
    """Make the manifest agree with the files, as somebody who edits both would."""
    edit_manifest(folder, files={MODEL: sha256_of(folder / MODEL)})


@pytest.mark.parametrize("make", [corridor_teacher, corridor_student])
def test_a_model_comes_back_as_it_was(tmp_path: Path, make: Callable[[], Any]) -> None:
    model = make()
    found = load_model(saved(model, tmp_path / "model"))
    np.testing.assert_array_equal(found.planner.plan(OBS).outputs, model.planner.plan(OBS).outputs)
    assert (found.horizon, found.env_id, found.directory) == (model.horizon, model.env_id, tmp_path / "model")
    assert found.manifest.network == model.manifest.network
    assert not found.network.training


def test_the_same_weights_give_the_same_bytes_whatever_the_manifest_says(tmp_path: Path) -> None:
    model = corridor_student()
    save_model(tmp_path / "a", model.network, model.manifest)
    other = type(model.manifest)(**{**vars(model.manifest), "notes": {"when": "later"}})
    save_model(tmp_path / "b", model.network, other)
    assert (tmp_path / "a" / MODEL).read_bytes() == (tmp_path / "b" / MODEL).read_bytes()
    assert str(tmp_path).encode() not in (tmp_path / "a" / MODEL).read_bytes()


def test_the_identity_of_a_model_is_the_hash_of_its_file(tmp_path: Path) -> None:
    model = corridor_student()
    saved(model, tmp_path)
    assert model.sha256 == load_model(tmp_path).sha256 == sha256_of(tmp_path / MODEL)
    assert model.sha256 != corridor_teacher().sha256


def test_the_marker_of_completion_is_written_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wherever writing stops, the folder is not taken for a finished model."""
    written: list[str] = []
    replace = Path.replace

    def watch(self: Path, target: Path) -> Path:
        written.append(target.name)
        with pytest.raises(CorruptFileError, match="holds no finished model"):
            load_model(tmp_path)
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", watch)
    saved(corridor_teacher(), tmp_path)
    assert written == [MODEL, MANIFEST, COMPLETE]


def test_a_write_that_fails_leaves_no_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_descriptor: int) -> None:
        raise OSError("no space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fail)
        with pytest.raises(OSError, match="no space left"):
            saved(corridor_teacher(), tmp_path)
    assert list(tmp_path.iterdir()) == []


def truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def flipped(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-5] ^= 1
    path.write_bytes(content)


def removed(path: Path) -> None:
    path.unlink()


def grown(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"\0")


@pytest.mark.parametrize("spoil", [truncated, flipped, removed, grown])
def test_a_spoilt_model_file_is_refused(tmp_path: Path, spoil: Callable[[Path], None]) -> None:
    spoil(saved(corridor_student(), tmp_path) / MODEL)
    with pytest.raises(CorruptFileError, match="model.safetensors (is missing|was truncated or edited)"):
        load_model(tmp_path)


@pytest.mark.parametrize("spoil", [truncated, removed, grown])
def test_a_spoilt_manifest_is_refused(tmp_path: Path, spoil: Callable[[Path], None]) -> None:
    spoil(saved(corridor_student(), tmp_path) / MANIFEST)
    with pytest.raises(CorruptFileError, match="manifest.json (is missing|is not readable JSON)"):
        load_model(tmp_path)


@pytest.mark.parametrize("changes", [{"horizon": 5}, {"n_actions": 3}, {"obs_shape": [6]}])
def test_a_manifest_that_contradicts_its_network_is_refused(tmp_path: Path, changes: dict[str, Any]) -> None:
    saved(corridor_student(), tmp_path)
    edit_manifest(tmp_path, **changes)
    with pytest.raises(IncompatibleModelError, match=r"the manifest lists .*, its network \(\(5,\), 2, 4\)"):
        load_model(tmp_path)


def test_a_manifest_without_the_model_is_refused(tmp_path: Path) -> None:
    saved(corridor_student(), tmp_path)
    edit_manifest(tmp_path, files={})
    with pytest.raises(CorruptFileError, match="the manifest does not list model.safetensors"):
        load_model(tmp_path)


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    saved(corridor_student(), tmp_path)
    other = build_network((5,), 2, 4, TrunkConfig(kind="mlp", width=16), seed=0)
    save_tensors(tmp_path / MODEL, network_tensors(other, prefix=""))
    rehash(tmp_path)
    with pytest.raises(IncompatibleModelError, match="the stored weights do not fit"):
        load_model(tmp_path)


def test_a_rehashed_file_that_is_no_model_is_still_refused(tmp_path: Path) -> None:
    saved(corridor_student(), tmp_path)
    (tmp_path / MODEL).write_bytes(b"weights")
    rehash(tmp_path)
    with pytest.raises(CorruptFileError, match="not a readable safetensors file"):
        load_model(tmp_path)


@pytest.mark.parametrize(
    "network",
    [
        {},
        {"trunk": None},
        {"trunk": {"kind": "grid", "channels": 3}},
        {"trunk": {"kind": "mlp", "channels": [8], "width": "wide", "depth": 2}},
        {"trunk": {"kind": "mlp", "channels": [8], "width": -1, "depth": 2}},
        {"trunk": {"kind": "cube", "channels": [8], "width": 4, "depth": 2}},
        {"obs_shape": 5},
        {"horizon": None},
    ],
)
def test_an_edited_network_is_refused_with_an_error_of_ours(tmp_path: Path, network: dict[str, Any]) -> None:
    saved(corridor_student(), tmp_path)
    before = corridor_student().manifest.network
    edit_manifest(tmp_path, network={**before, **network} if network else {})
    with pytest.raises(PhrError):
        load_model(tmp_path)


def test_an_unfinished_run_is_told_apart_from_something_else(tmp_path: Path) -> None:
    with pytest.raises(CorruptFileError, match="holds no finished model$"):
        load_model(tmp_path)
    (tmp_path / CHECKPOINT).mkdir()
    with pytest.raises(CorruptFileError, match="its run can be resumed with --resume"):
        load_model(tmp_path)
