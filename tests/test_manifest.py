from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from phr.errors import CorruptFileError
from phr.files import sha256_of
from phr.manifest import MANIFEST, Manifest, library_versions


def example(folder: Path) -> Manifest:
    (folder / "model.safetensors").write_bytes(b"weights")
    return Manifest(
        kind="student",
        env_id="corridor",
        obs_shape=(5,),
        obs_dtype="float32",
        n_actions=2,
        horizon=4,
        network={"hidden": 8},
        commitment=2,
        files={"model.safetensors": sha256_of(folder / "model.safetensors")},
        versions={"python": "3"},
        notes={"loss": "kl"},
    )


def edit(folder: Path, **changes: Any) -> None:
    path = folder / MANIFEST
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def test_a_manifest_comes_back_as_it_was(tmp_path: Path) -> None:
    manifest = example(tmp_path)
    manifest.write(tmp_path)
    assert Manifest.read(tmp_path) == manifest


def test_a_changed_bit_in_a_file_is_found(tmp_path: Path) -> None:
    example(tmp_path).write(tmp_path)
    content = bytearray((tmp_path / "model.safetensors").read_bytes())
    content[3] ^= 1
    (tmp_path / "model.safetensors").write_bytes(content)
    with pytest.raises(CorruptFileError, match="model.safetensors was truncated or edited"):
        Manifest.read(tmp_path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    example(tmp_path).write(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(CorruptFileError, match="model.safetensors is missing"):
        Manifest.read(tmp_path)


def test_a_missing_manifest_is_named(tmp_path: Path) -> None:
    with pytest.raises(CorruptFileError, match="manifest.json is missing"):
        Manifest.read(tmp_path)


@pytest.mark.parametrize("content", ["[]", "{}", '{"format": "phr-model-0"}', '"text"'])
def test_what_phr_did_not_write_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / MANIFEST).write_text(content)
    with pytest.raises(CorruptFileError, match="was not written by phr"):
        Manifest.read(tmp_path)


@pytest.mark.parametrize("name", ["kind", "env_id", "obs_shape", "obs_dtype", "n_actions", "horizon", "network"])
def test_a_manifest_without_one_of_its_entries_is_refused(tmp_path: Path, name: str) -> None:
    example(tmp_path).write(tmp_path)
    values = json.loads((tmp_path / MANIFEST).read_text())
    del values[name]
    (tmp_path / MANIFEST).write_text(json.dumps(values))
    with pytest.raises(CorruptFileError, match=f"was edited: .*{name}"):
        Manifest.read(tmp_path)


@pytest.mark.parametrize("changes", [{"unknown": 1}, {"obs_shape": 5}, {"files": None}, {"files": ["model.safetensors"]}])
def test_an_edited_manifest_is_refused(tmp_path: Path, changes: dict[str, Any]) -> None:
    example(tmp_path).write(tmp_path)
    edit(tmp_path, **changes)
    with pytest.raises(CorruptFileError, match="was edited"):
        Manifest.read(tmp_path)


def test_versions_leave_out_what_is_not_installed() -> None:
    versions = library_versions("numpy", "no-such-distribution")
    assert set(versions) == {"python", "phr", "numpy"}
