from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from phr import files
from phr.errors import CorruptFileError, IncompatibleModelError, OutputDirectoryError, PhrError
from phr.files import read_json, sha256_of
from phr.manifest import COMPLETE, MANIFEST
from phr.networks.policy import build_network
from phr.networks.trunks import TrunkConfig
from phr.storage.model import CHECKPOINT, METRICS, MODEL, RunDirectory, load_model, save_model
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
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fail)
        with pytest.raises(OutputDirectoryError, match=r"model\.safetensors cannot be written: No space left on device"):
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


SETTINGS: dict[str, Any] = {"command": "train", "settings": {"seed": 0, "prefix": (0, 4), "trunk": {"channels": (16, 32)}}}


def names_in(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def begun(path: Path, **settings: Any) -> RunDirectory:
    run = RunDirectory(path, {**SETTINGS, **settings}, resume=False)
    run.begin()
    return run


def with_checkpoint(path: Path, value: float = 1.0) -> RunDirectory:
    run = begun(path)
    run.save_checkpoint({"x": torch.tensor(value)}, {"n_updates": 3})
    return run


def test_a_new_folder_is_made_when_the_run_begins(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path / "a" / "b", SETTINGS, resume=False)
    assert names_in(tmp_path) == []
    run.begin()
    assert names_in(run.path) == ["config.json"]
    assert read_json(run.path / "config.json")["settings"]["prefix"] == [0, 4]
    assert not run.is_complete
    assert not run.has_checkpoint
    assert run.load_checkpoint() is None


@pytest.mark.parametrize("resume", [False, True])
def test_a_folder_that_holds_something_else_is_refused_and_left_alone(tmp_path: Path, resume: bool) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(OutputDirectoryError, match="is not empty and is not the folder of a phr run; choose another folder"):
        RunDirectory(tmp_path, SETTINGS, resume=resume)
    assert names_in(tmp_path) == ["thesis.tex"]
    assert (tmp_path / "thesis.tex").read_text() == "years of work"


def test_a_file_in_the_way_is_refused(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("a file")
    with pytest.raises(OutputDirectoryError, match="cannot make the folder"):
        RunDirectory(tmp_path / "run", SETTINGS, resume=True)


@pytest.mark.parametrize("resume", [False, True])
@pytest.mark.parametrize(
    ("changes", "difference"),
    [
        ({"command": "distill"}, "command is 'train' there and 'distill' here"),
        ({"settings": {**SETTINGS["settings"], "seed": 1}}, "settings.seed is 0 there and 1 here"),
        ({"settings": {**SETTINGS["settings"], "prefix": (0, 5)}}, r"settings.prefix is \[0, 4\] there and \[0, 5\] here"),
        (
            {"settings": {**SETTINGS["settings"], "trunk": {"channels": (8,)}}},
            r"settings.trunk.channels is \[16, 32\] there and \[8\] here",
        ),
        ({"colour": "red"}, "colour is None there and 'red' here"),
        (
            {"settings": {**SETTINGS["settings"], "total_timesteps": 9}},
            r"settings.total_timesteps is None there and 9 here \(rates fall .*, so none is made longer\)",
        ),
    ],
)
def test_another_run_is_refused_and_the_difference_named(
    tmp_path: Path, resume: bool, changes: dict[str, Any], difference: str
) -> None:
    with_checkpoint(tmp_path)
    before = (tmp_path / "config.json").read_bytes()
    with pytest.raises(OutputDirectoryError, match=rf"holds another run: {difference}; choose another"):
        RunDirectory(tmp_path, {**SETTINGS, **changes}, resume=resume)
    assert (tmp_path / "config.json").read_bytes() == before
    assert names_in(tmp_path) == ["checkpoint", "checkpoint/latest.safetensors", "config.json"]


def test_a_part_is_gone_on_with_only_when_asked_for(tmp_path: Path) -> None:
    with_checkpoint(tmp_path, 7.0)
    with pytest.raises(OutputDirectoryError, match="holds a part of this run; add --resume"):
        RunDirectory(tmp_path, SETTINGS, resume=False)
    found = RunDirectory(tmp_path, SETTINGS, resume=True).load_checkpoint()
    assert found is not None
    assert found[0]["x"] == 7
    assert found[1] == {"n_updates": 3}


def test_a_run_without_a_checkpoint_may_begin_again(tmp_path: Path) -> None:
    begun(tmp_path)
    for resume in (False, True):
        assert RunDirectory(tmp_path, SETTINGS, resume=resume).load_checkpoint() is None


def test_a_finished_run_has_its_model_and_no_checkpoint(tmp_path: Path) -> None:
    run, teacher = with_checkpoint(tmp_path), corridor_teacher()
    files.append_jsonl(tmp_path / METRICS, [{"update": 1}])
    model = run.finish(teacher.network, teacher.manifest)
    assert run.is_complete
    assert names_in(tmp_path) == sorted(["COMPLETE", "config.json", "manifest.json", METRICS, "model.safetensors"])
    assert load_model(tmp_path).manifest == model.manifest
    with pytest.raises(OutputDirectoryError, match="holds a finished run; add --resume"):
        RunDirectory(tmp_path, SETTINGS, resume=False)
    assert RunDirectory(tmp_path, SETTINGS, resume=True).is_complete


def test_an_edited_config_of_a_finished_run_is_found(tmp_path: Path) -> None:
    run, teacher = begun(tmp_path), corridor_teacher()
    run.finish(teacher.network, teacher.manifest)
    config = tmp_path / "config.json"
    config.write_text(config.read_text().replace('"seed": 0', '"seed": 1'))
    with pytest.raises(CorruptFileError, match="config.json was truncated or edited"):
        load_model(tmp_path)


@pytest.mark.parametrize("content", ["", "{", "[]", "3"])
def test_a_broken_config_is_named(tmp_path: Path, content: str) -> None:
    with_checkpoint(tmp_path)
    (tmp_path / "config.json").write_text(content)
    with pytest.raises(CorruptFileError, match="config.json (is not readable JSON|was edited)"):
        RunDirectory(tmp_path, SETTINGS, resume=True)


def test_the_old_checkpoint_stays_until_the_new_one_is_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = with_checkpoint(tmp_path, 1.0)

    def die(_descriptor: int) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", die)
        with pytest.raises(KeyboardInterrupt):
            run.save_checkpoint({"x": torch.tensor(2.0)}, {"n_updates": 4})
    found = run.load_checkpoint()
    assert found is not None
    assert found[0]["x"] == 1
    assert names_in(tmp_path / "checkpoint") == ["latest.safetensors"]


def test_a_checkpoint_without_a_state_is_refused(tmp_path: Path) -> None:
    run = with_checkpoint(tmp_path)
    save_tensors(tmp_path / "checkpoint" / "latest.safetensors", {"x": torch.ones(1)})
    with pytest.raises(CorruptFileError, match="latest.safetensors contains no training state"):
        run.load_checkpoint()


def test_metrics_are_rewound_to_an_update(tmp_path: Path) -> None:
    run = begun(tmp_path)
    files.append_jsonl(tmp_path / METRICS, [{"update": n} for n in (50, 100, 150)])
    run.rewind_metrics(100)
    files.append_jsonl(tmp_path / METRICS, [{"update": 101}])
    assert [row["update"] for row in files.read_jsonl(tmp_path / METRICS)] == [50, 100, 101]


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        (("network", "trunk", "width"), 20_000, "the stored weights do not fit the network: plan_head.weight has the shape"),
        (("network", "trunk", "width"), 64 * 10**12, "the network claims sizes that no file holds"),
        (("network", "trunk", "depth"), 10**9, "the network claims 1,000,000,000 layers, its file holds"),
        (("network", "trunk", "residual"), 10**9, "the network claims 1,000,000,002 layers, its file holds"),
        (("network", "obs_shape"), [10**9], "do not fit the network"),
        (("network", "horizon"), 10**9, "the network claims 1,000,000,000 × 2 outputs"),
        (("network", "n_actions"), 10**9, "the network claims 4 × 1,000,000,000 outputs"),
    ],
)
def test_what_a_manifest_claims_is_compared_before_it_takes_memory(
    tmp_path: Path, place: tuple[str, ...], value: Any, message: str
) -> None:
    saved(corridor_student(), tmp_path)
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    *folders, last = place
    values = manifest
    for name in folders:
        values = values[name]
    values[last] = value
    if last in manifest:
        manifest[last] = value
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises((IncompatibleModelError, CorruptFileError), match=re.escape(message)):
        load_model(tmp_path)


@pytest.mark.parametrize("name", [METRICS, "tensorboard", "checkpoint", "attempts"])
def test_a_run_is_not_written_through_a_link(tmp_path: Path, name: str) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    RunDirectory(tmp_path / "run", {}, resume=False).begin()
    (tmp_path / "run" / name).symlink_to(outside / "kept")
    with pytest.raises(OutputDirectoryError, match=f"{name} is a link to a place outside"):
        RunDirectory(tmp_path / "run", {}, resume=True)
