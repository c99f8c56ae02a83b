from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import torch

from phr import files
from phr.errors import CorruptFileError, OutputDirectoryError
from phr.files import read_json
from phr.storage.model import METRICS, RunDirectory, load_model
from phr.storage.tensors import save_tensors
from tests.trained import corridor_teacher

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
