"""A file may name code as its environment; only a user who names it too has it run."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import phr
from phr.acting.onnx_file import seal
from phr.api import evaluate_all_starts
from phr.distil import runs
from phr.envs.registry import env_id_of_file, imports_code
from phr.errors import UsageError
from phr.experience.archive import save_experience
from phr.storage import onnx_export
from phr.storage.model import load_model
from phr.storage.onnx_export import export_manifest
from phr_studies.reproduce.study import redraw
from phr_studies.workbench import SETTINGS
from tests.exported import corridor_graph
from tests.trained import CORRIDOR, a2c_config, corridor_experience, corridor_student, saved

MARK = "executed"
EVIL = "stranger_module:make"
MODULE = f"open({MARK!r}, 'w').close()\nfrom tests.helpers import make_corridor as make\n"


@pytest.fixture(autouse=True)
def nothing_is_executed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The module lies in the current folder, which Python looks into first."""
    (tmp_path / "stranger_module.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield
    assert not (tmp_path / MARK).exists()
    sys.modules.pop("stranger_module", None)


@pytest.fixture(params=[EVIL, "stranger_module:Corridor-v0", "stranger_module:make?sticky=0"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A stranger's run directory."""
    return _folder(tmp_path / "stranger", request.param)


def _folder(path: Path, env_id: str) -> Path:
    model = corridor_student()
    return saved(replace(model, manifest=replace(model.manifest, env_id=env_id)), path)


COMMANDS: dict[str, Callable[[Any], object]] = {
    "evaluate": lambda path: phr.evaluate(path, steps=10, runs=1),
    "evaluate on onnx": lambda path: phr.evaluate(path, steps=10, runs=1, backend="onnx"),
    "evaluate what was loaded": lambda path: phr.evaluate(phr.load(path), steps=10, runs=1),
    "every start": lambda path: evaluate_all_starts(path),
    "distill": lambda path: phr.distill(path, horizon=2, refine=1),
    "teacher": lambda path: phr.load_teacher(path),
    "report": lambda path: phr.make_report(path),
    "int8": lambda path: phr.export_onnx(path, "student.onnx", int8=True),
}


@pytest.mark.parametrize("command", COMMANDS)
def test_a_folder_runs_no_code_of_its_own(folder: Path, command: str) -> None:
    found = load_model(folder).env_id
    with pytest.raises(UsageError, match="which is code; if you trust it, add --env-id ") as caught:
        COMMANDS[command](folder)
    assert str(caught.value).endswith(f"--env-id {shlex.quote(found)}")
    assert "\n" not in str(caught.value)


def test_a_model_of_the_zoo_runs_no_code_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _folder(tmp_path / "zoo" / "kind", EVIL)
    monkeypatch.setenv("PHR_ZOO", str(tmp_path / "zoo"))
    with pytest.raises(UsageError, match="^zoo:kind asks for the environment stranger_module:make, which is code"):
        phr.evaluate("zoo:kind", steps=10, runs=1)


def test_an_exported_file_runs_no_code_of_its_own(tmp_path: Path) -> None:
    manifest = replace(export_manifest(corridor_student()), env_id=EVIL)
    (tmp_path / "s.onnx").write_bytes(seal(corridor_graph(), manifest))
    for command in ("evaluate", "distill", "teacher"):
        with pytest.raises(UsageError, match=r"^s.onnx asks for .*add --env-id stranger_module:make$"):
            COMMANDS[command]("s.onnx")
    assert phr.evaluate("s.onnx", steps=8, runs=1, env_id=CORRIDOR).return_mean == 1


def test_an_export_compares_without_it_and_says_what_to_type(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnx_export, "onnx_bytes", lambda _model: corridor_graph())
    export = phr.export_onnx(_folder(tmp_path / "stranger", EVIL), tmp_path / "s.onnx")
    assert f"add --env-id {EVIL}" in str(export)


def test_a_study_runs_no_code_of_its_own(tmp_path: Path) -> None:
    from phr_studies.reproduce.profiles import QUICK

    profile = {**QUICK.to_json(), "env_ids": [EVIL]}
    (tmp_path / SETTINGS).write_text(json.dumps({"study": "reproduce", "profile": profile}))
    for env_id in (None, CORRIDOR):
        with pytest.raises(UsageError, match="which is code"):
            redraw(tmp_path, env_id=env_id)


def test_a_log_does_not_hand_its_code_on(tmp_path: Path) -> None:
    """The student of logged episodes lies in memory, but nobody has named its environment."""
    save_experience(replace(corridor_experience(), env_id=EVIL), tmp_path / "log.npz")
    words: dict[str, Any] = {"experience": tmp_path / "log.npz", "horizon": 2, "n_updates": 1, "out": tmp_path / "run"}
    for resume in (False, True):
        with pytest.raises(UsageError, match="which is code"):
            phr.evaluate(phr.distill(**words, resume=resume), steps=10, runs=1)


def test_a_run_that_is_resumed_is_the_users_own_only_if_its_environment_is(tmp_path: Path) -> None:
    factory, config = "tests.helpers:make_corridor", a2c_config(total_timesteps=64, n_evaluations=1)
    runs.train_teacher(factory, config, tmp_path / "run")
    again = runs.train_teacher(factory, config, tmp_path / "run", resume=True)
    assert (again.where(), again.env_id_from_file) == (factory, False)
    manifest = json.loads((tmp_path / "run" / "manifest.json").read_text())
    (tmp_path / "run" / "manifest.json").write_text(json.dumps({**manifest, "env_id": EVIL}))
    with pytest.raises(UsageError, match="which is code"):
        runs.train_teacher(factory, config, tmp_path / "run", resume=True).where()


def test_what_the_user_names_is_run(tmp_path: Path) -> None:
    factory = "tests.helpers:make_corridor"
    folder = _folder(tmp_path / "mine", factory)
    assert phr.evaluate(folder, steps=8, runs=1, env_id=factory).return_mean == 1
    model = load_model(folder)
    assert phr.evaluate(replace(model, env_id_from_file=False), steps=8, runs=1).return_mean == 1, "made in this process"


@pytest.mark.parametrize(
    ("env_id", "code"),
    [
        ("CartPole-v1", False),
        ("ALE/Pong-v5?sticky=0.25", False),
        ("PHR/FourRooms-v0", False),
        (EVIL, True),
        ("m:A-v0", True),
    ],
)
def test_what_is_code(env_id: str, code: bool) -> None:
    assert imports_code(env_id) is code
    if not code:
        assert env_id_of_file(env_id, None, "a file") == env_id
    assert env_id_of_file(env_id, CORRIDOR, "a file") == CORRIDOR
