from __future__ import annotations

import gc
import os
import signal
import weakref
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.wrappers import TimeLimit

import phr
from phr.distil import runs
from phr.distil.phr import PHR, JointTraining
from phr.distil.refine import Refinement
from phr.distil.runs import Distillation, named, record_teacher
from phr.errors import (
    CorruptFileError,
    HorizonError,
    IncompatibleModelError,
    InvalidDataError,
    NonFiniteError,
    NoSuccessError,
    OutputDirectoryError,
    SettingError,
    UnsupportedEnvironmentError,
)
from phr.experience.archive import save_experience
from phr.experience.logged import Logged, space_of
from phr.experience.trajectory import Trajectory
from phr.files import read_json, read_jsonl
from phr.manifest import Manifest
from phr.networks.trunks import TrunkConfig
from phr.storage import driver
from phr.storage.driver import run_training
from phr.storage.model import Model, load_model
from phr.teacher.a2c import A2C
from tests.helpers import LEFT, RIGHT, CorridorEnv, TablePlanner, always_right, make_corridor
from tests.trained import CORRIDOR, TRUNK, a2c_config, corridor_experience, corridor_student, corridor_teacher, phr_config

CONTRARY = "tests.helpers:make_contrary"
"""Reports the goal as a failure."""


def train(directory: Path | None = None, *, resume: bool = False, **settings: Any) -> Model:
    return runs.train_teacher(CORRIDOR, a2c_config(**{"total_timesteps": 640, **settings}), directory, resume=resume)


def distill(
    directory: Path | None = None,
    *,
    resume: bool = False,
    teacher_id: str = "",
    save_to: Path | None = None,
    **settings: Any,
) -> Model:
    teacher = corridor_teacher()
    config = phr_config(**{"n_updates": 12, **settings})
    joint = a2c_config() if config.joint else None
    return Distillation(
        teacher.planner,
        CORRIDOR,
        config,
        start=teacher.network,
        teacher_id=teacher_id,
        joint_config=joint,
        save_episodes_to=save_to,
    ).run(directory, resume=resume)


def model_bytes(directory: Path) -> bytes:
    return (directory / "model.safetensors").read_bytes()


def snapshot(directory: Path) -> dict[str, tuple[int, bytes]]:
    """When every file was written, and what is in it."""
    files = [path for path in directory.rglob("*") if path.is_file()]
    return {str(path): (path.stat().st_mtime_ns, path.read_bytes()) for path in files}


def interrupted(
    monkeypatch: pytest.MonkeyPatch, kind: type[A2C | PHR | JointTraining], at: int, work: Callable[[], Model]
) -> None:
    """Do the work, and press Ctrl-C in the middle of one update."""
    update = kind.update

    def pressed(self: Any) -> dict[str, float]:
        if self.n_updates == at:
            os.kill(os.getpid(), signal.SIGINT)
        return update(self)

    with monkeypatch.context() as patch:
        patch.setattr(kind, "update", pressed)
        with pytest.raises(KeyboardInterrupt):
            work()


both_stages = pytest.mark.parametrize(("stage", "kind"), [(train, A2C), (distill, PHR)], ids=["train", "distill"])
Stage = Callable[..., Model]


@both_stages
def test_a_run_leaves_what_its_folder_promises(tmp_path: Path, stage: Stage, kind: type) -> None:
    model = stage(tmp_path)
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"config.json", "metrics.jsonl", "tensorboard", "model.safetensors", "manifest.json", "COMPLETE"}
    assert model.directory == tmp_path
    again = load_model(tmp_path)
    assert again.manifest == model.manifest
    obs = np.eye(5, dtype=np.float32)
    np.testing.assert_array_equal(again.planner.plan(obs).outputs, model.planner.plan(obs).outputs)
    assert read_jsonl(tmp_path / "metrics.jsonl")[-1]["update"] == (10 if kind is A2C else 12)


def test_the_manifest_says_what_the_model_is() -> None:
    manifest = corridor_student().manifest
    assert (manifest.kind, manifest.env_id, manifest.horizon, manifest.n_actions) == ("student", CORRIDOR, 4, 2)
    assert (manifest.obs_shape, manifest.obs_dtype, manifest.commitment) == ((5,), "float32", None)
    assert set(manifest.versions) >= {"python", "phr", "torch", "numpy"}
    assert manifest.notes["loss"] == "cross_entropy"
    assert manifest.notes["selection"] == "kept 64 of 64 episodes: terminated with a positive last reward"
    assert manifest.notes["agreement_per_head"] == [1.0] * 4
    teacher = corridor_teacher().manifest
    assert (teacher.kind, teacher.horizon) == ("teacher", 1)
    assert teacher.notes == {"timesteps": 4032, "greedy_return": 1.0, "seed": 0}


@both_stages
def test_the_settings_are_all_written_down(tmp_path: Path, stage: Stage, kind: type) -> None:
    stage(tmp_path, seed=3)
    config = read_json(tmp_path / "config.json")
    assert config["command"] == ("train" if kind is A2C else "distill")
    assert config["env_id"] == CORRIDOR
    used = a2c_config(total_timesteps=640, seed=3) if kind is A2C else phr_config(n_updates=12, seed=3)
    assert set(config["settings"]) == {name for name, value in vars(used).items() if value is not None}
    assert config["settings"]["seed"] == 3


@both_stages
def test_the_same_seed_gives_the_same_file(tmp_path: Path, stage: Stage, kind: type) -> None:
    for name, seed in (("first", 1), ("again", 1), ("other", 2)):
        stage(tmp_path / name, seed=seed)
    assert model_bytes(tmp_path / "first") == model_bytes(tmp_path / "again")
    assert model_bytes(tmp_path / "first") != model_bytes(tmp_path / "other")


@both_stages
@pytest.mark.parametrize("at", [1, 6])
def test_ctrl_c_changes_nothing_that_is_learnt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stage: Stage, kind: type, at: int
) -> None:
    monkeypatch.setattr(driver, "LOG_EVERY", 1)
    stage(tmp_path / "straight")
    part = tmp_path / "part"
    interrupted(monkeypatch, kind, at, lambda: stage(part))
    with pytest.raises(CorruptFileError, match="holds no finished model; its run can be resumed with --resume"):
        load_model(part)
    with pytest.raises(OutputDirectoryError, match="holds a part of this run; add --resume"):
        stage(part)
    stage(part, resume=True)
    assert model_bytes(part) == model_bytes(tmp_path / "straight")
    assert read_jsonl(part / "metrics.jsonl") == read_jsonl(tmp_path / "straight" / "metrics.jsonl")
    assert not (part / "checkpoint").exists()


def test_an_interrupted_joint_training_is_resumed_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    distill(tmp_path / "straight", joint=True, trunk_mode="shared")
    part = tmp_path / "part"
    interrupted(monkeypatch, JointTraining, 5, lambda: distill(part, joint=True, trunk_mode="shared"))
    distill(part, joint=True, trunk_mode="shared", resume=True)
    assert model_bytes(part) == model_bytes(tmp_path / "straight")


REFINE: dict[str, Any] = {"refine": 2, "refine_windows": 60, "refine_updates": 6, "n_updates": 4, "prefix": (0, 0)}


@pytest.fixture(scope="module")
def straight(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A refinement that nobody interrupted."""
    folder = tmp_path_factory.mktemp("straight")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(driver, "LOG_EVERY", 1)
        distill(folder / "run", **REFINE)
    return folder / "run"


@pytest.mark.parametrize("at", [2, 4, 6, 12])
def test_an_interrupted_refinement_is_resumed_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, straight: Path, at: int
) -> None:
    monkeypatch.setattr(driver, "LOG_EVERY", 1)
    part = tmp_path / "part"
    interrupted(monkeypatch, PHR, at, lambda: distill(part, **REFINE))
    distill(part, **REFINE, resume=True)
    assert model_bytes(part) == model_bytes(straight)
    assert read_jsonl(part / "metrics.jsonl") == read_jsonl(straight / "metrics.jsonl")
    assert load_model(part).manifest.notes == load_model(straight).manifest.notes


def test_ctrl_c_while_a_round_is_played_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, straight: Path
) -> None:
    monkeypatch.setattr(driver, "LOG_EVERY", 1)
    play, part = Refinement._play, tmp_path / "part"

    def pressed(self: Refinement) -> None:
        if len(self.reports) == 1:
            os.kill(os.getpid(), signal.SIGINT)
        play(self)

    with monkeypatch.context() as patch:
        patch.setattr(Refinement, "_play", pressed)
        with pytest.raises(KeyboardInterrupt):
            distill(part, **REFINE)
    distill(part, **REFINE, resume=True)
    assert model_bytes(part) == model_bytes(straight)
    assert read_jsonl(part / "metrics.jsonl") == read_jsonl(straight / "metrics.jsonl")


def test_agreement_of_every_round_is_written_down(tmp_path: Path) -> None:
    said: list[str] = []
    model = Distillation(always_right(), CORRIDOR, phr_config(**REFINE), start=TRUNK, teacher_name="mine").run(
        tmp_path, say=said.append
    )
    reports = model.manifest.notes["refinement"]
    assert [report["round"] for report in reports] == [1, 2]
    rows = [row for row in read_jsonl(tmp_path / "metrics.jsonl") if "refine/round" in row]
    assert [(row["update"], row["refine/round"]) for row in rows] == [(7, 1), (12, 1), (13, 2), (16, 2)]
    for row, report, when in zip(rows, np.repeat(reports, 2), ["before", "after"] * 2, strict=True):
        assert [row.get(f"refine/agreement_{when}/head_{k}") for k in (1, 2, 3, 4)] == report[when]
        assert report[when][0] is not None
    assert sum("where the student's plans led" in line for line in said) == 2
    assert "refinement" not in corridor_student().manifest.notes


@both_stages
def test_resuming_a_finished_run_changes_nothing(tmp_path: Path, stage: Stage, kind: type) -> None:
    first = stage(tmp_path)
    before = snapshot(tmp_path)
    again = stage(tmp_path, resume=True)
    assert snapshot(tmp_path) == before
    assert again.manifest == first.manifest


def test_a_finished_run_has_no_episodes_left_to_save(tmp_path: Path) -> None:
    distill(tmp_path / "run")
    with pytest.raises(OutputDirectoryError, match="holds a finished run, whose episodes were not kept in .*late.npz"):
        distill(tmp_path / "run", resume=True, save_to=tmp_path / "late.npz")
    assert not (tmp_path / "late.npz").exists()
    for resume in (False, True):
        distill(tmp_path / "other", resume=resume, save_to=tmp_path / "kept.npz")
    assert (tmp_path / "kept.npz").exists()


def test_nobody_holds_the_episodes_while_the_student_is_trained(monkeypatch: pytest.MonkeyPatch) -> None:
    recorded: list[weakref.ref[Trajectory]] = []

    def recording(*words: Any, **more: Any) -> Any:
        experience, selection = record_teacher(*words, **more)
        recorded.extend(weakref.ref(each) for each in experience.trajectories)
        return experience, selection

    def training(*words: Any, **more: Any) -> None:
        gc.collect()
        assert recorded
        assert all(each() is None for each in recorded)
        run_training(*words, **more)

    monkeypatch.setattr(runs, "record_teacher", recording)
    monkeypatch.setattr(runs, "run_training", training)
    distill()


@both_stages
def test_a_finished_run_is_not_overwritten(tmp_path: Path, stage: Stage, kind: type) -> None:
    stage(tmp_path)
    before = snapshot(tmp_path)
    with pytest.raises(OutputDirectoryError, match="holds a finished run; add --resume, or choose another folder"):
        stage(tmp_path)
    for resume in (False, True):
        with pytest.raises(OutputDirectoryError, match="another run: settings.seed is 0 there and 1 here; "):
            stage(tmp_path, seed=1, resume=resume)
    assert snapshot(tmp_path) == before


def test_the_other_stage_is_another_run(tmp_path: Path) -> None:
    train(tmp_path)
    with pytest.raises(OutputDirectoryError, match="command is 'train' there and 'distill' here"):
        distill(tmp_path, resume=True)


def test_another_teacher_is_another_run(tmp_path: Path) -> None:
    distill(tmp_path, teacher_id="aaa")
    with pytest.raises(OutputDirectoryError, match=r"its teacher is another \(aaa there, bbb here\)"):
        distill(tmp_path, teacher_id="bbb", resume=True)


@both_stages
def test_a_loss_that_is_not_finite_keeps_the_last_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stage: Stage, kind: type[A2C] | type[PHR]
) -> None:
    stage(tmp_path / "straight")
    part = tmp_path / "part"
    interrupted(monkeypatch, kind, 4, lambda: stage(part))
    update = kind.update

    def broken(self: Any) -> dict[str, float]:
        with torch.no_grad():
            self.network.plan_head.bias.fill_(float("nan"))
        return update(self)

    with monkeypatch.context() as patch:
        patch.setattr(kind, "update", broken)
        with pytest.raises(NonFiniteError, match=f"loss nan.*; the last good checkpoint stays in {part}"):
            stage(part, resume=True)
    stage(part, resume=True)
    assert model_bytes(part) == model_bytes(tmp_path / "straight")


@pytest.mark.parametrize("spoil", [lambda data: data[:-9], lambda data: data[:-9] + bytes([data[-9] ^ 1]) + data[-8:]])
@both_stages
def test_a_broken_checkpoint_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stage: Stage, kind: type, spoil: Callable[[bytes], bytes]
) -> None:
    interrupted(monkeypatch, kind, 2, lambda: stage(tmp_path))
    path = tmp_path / "checkpoint" / "latest.safetensors"
    path.write_bytes(spoil(path.read_bytes()))
    with pytest.raises(CorruptFileError, match="latest.safetensors.* edited"):
        stage(tmp_path, resume=True)


def test_no_global_generator_is_touched(tmp_path: Path) -> None:
    before = torch.get_rng_state(), str(np.random.get_state(legacy=False))  # noqa: NPY002
    train(tmp_path / "teacher")
    distill(trunk_mode="own")
    distill(joint=True, trunk_mode="shared")
    load_model(tmp_path / "teacher")
    assert torch.equal(torch.get_rng_state(), before[0])
    assert str(np.random.get_state(legacy=False)) == before[1]  # noqa: NPY002


def test_resume_starts_where_there_is_nothing(tmp_path: Path) -> None:
    assert train(tmp_path / "new", resume=True).directory == tmp_path / "new"


def test_nothing_is_written_without_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert train().directory is None
    assert distill().directory is None
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("planner", "env_id", "error", "message"),
    [
        (always_right(), CONTRARY, NoSuccessError, "none of 64 episodes was a success"),
        (TablePlanner.of_actions([[0]] * 5, 3), CORRIDOR, IncompatibleModelError, "the teacher has 3 actions, .* has 2"),
    ],
)
def test_a_teacher_that_is_no_use_leaves_the_folder_free(
    tmp_path: Path, planner: TablePlanner, env_id: str, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        Distillation(planner, env_id, phr_config(prefix=(0, 0)), start=TRUNK).run(tmp_path)
    assert list(tmp_path.iterdir()) == []
    assert distill(tmp_path, seed=1).directory == tmp_path


def test_a_teacher_without_a_network_is_distilled_into_a_fresh_one() -> None:
    model = Distillation(always_right(), CORRIDOR, phr_config(), start=TRUNK).run()
    plans = model.planner.plan(np.eye(5, dtype=np.float32)).mode()
    assert plans[0].tolist() == [RIGHT] * 4
    assert model.manifest.network["trunk"]["width"] == TRUNK.width


def test_recorded_episodes_serve_again(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_args: Any, **_kwargs: Any) -> None:
        raise AssertionError("nothing was to be recorded")

    teacher, recorded, again = corridor_teacher(), corridor_experience(), corridor_student().network.state_dict()
    logged = Logged("recorded", "", recorded, space_of(recorded))
    monkeypatch.setattr(runs, "record_teacher", never)
    model = Distillation(
        teacher.planner,
        CORRIDOR,
        phr_config(),
        start=teacher.network,
        teacher_id=teacher.sha256,
        read_episodes=lambda: logged,
    ).run()
    assert all(torch.equal(value, again[name]) for name, value in model.network.state_dict().items())


def test_joint_training_needs_settings_of_stage_1() -> None:
    with pytest.raises(IncompatibleModelError, match="requires a teacher that phr trained"):
        Distillation(always_right(), CORRIDOR, phr_config(joint=True, trunk_mode="shared"), start=TRUNK).run()


def test_the_reason_of_the_filter_is_said() -> None:
    said: list[str] = []
    Distillation(always_right(), CORRIDOR, phr_config(n_updates=1), start=TRUNK).run(say=said.append)
    assert said == ["kept 64 of 64 episodes: terminated with a positive last reward"]


def test_the_manifest_lists_a_hash_for_every_file_that_matters(tmp_path: Path) -> None:
    train(tmp_path)
    assert set(Manifest.read(tmp_path).files) == {"model.safetensors", "config.json"}


def learnt(model: Model) -> list[int]:
    """The plan made in the corridor's first cell."""
    actions: list[int] = model.planner.plan(np.eye(5, dtype=np.float32)[:1]).mode()[0].tolist()
    return actions


def test_a_narrow_student_learns_from_our_teacher(tmp_path: Path) -> None:
    student = distill(tmp_path / "run", width=8, n_updates=300, learning_rate=1e-2)
    assert student.network.config.trunk == replace(corridor_teacher().network.config.trunk, width=8, residual=2)
    assert learnt(student) == [RIGHT] * 4
    assert student.manifest.notes["teacher_parameters"] == corridor_teacher().network.n_parameters
    assert student.network.n_parameters < corridor_teacher().network.n_parameters
    assert read_json(tmp_path / "run" / "config.json")["settings"]["width"] == 8
    assert load_model(tmp_path / "run").network.config.trunk.width == 8


def test_a_narrow_student_learns_from_any_teacher() -> None:
    config = phr_config(width=8, n_updates=300, learning_rate=1e-2)
    student = Distillation(always_right(), CORRIDOR, config, start=TRUNK).run()
    assert (student.network.config.trunk.width, learnt(student)) == (8, [RIGHT] * 4)
    assert student.manifest.notes["teacher_parameters"] is None


def test_the_same_width_starts_fresh_and_no_width_starts_from_the_teacher(tmp_path: Path) -> None:
    plain, fresh = distill(tmp_path / "plain", n_updates=1), distill(width=TRUNK.width, n_updates=1)
    weights = [next(model.network.trunk.parameters()) for model in (corridor_teacher(), plain, fresh)]
    apart = [float((weight - weights[0]).abs().max()) for weight in weights[1:]]
    assert apart[0] < 0.01 < apart[1]
    # As it was before there was such a setting, so that older runs can be taken up again.
    assert "width" not in read_json(tmp_path / "plain" / "config.json")["settings"]


@pytest.mark.parametrize(("horizon", "layers"), [(1, 0), (2, 1), (4, 2), (11, 2), (12, 3), (40, 4)])
def test_a_narrow_student_has_residual_layers_for_its_horizon(horizon: int, layers: int) -> None:
    student = distill(horizon=horizon, width=8, n_updates=1)
    assert (len(student.network.trunk.residual), student.network.config.trunk.residual) == (layers, layers)


def test_a_narrow_student_is_resumed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = distill(tmp_path / "whole", width=8)
    interrupted(monkeypatch, PHR, 5, lambda: distill(tmp_path / "parts", width=8))
    with pytest.raises(OutputDirectoryError, match="settings.width is 8 there and 9 here"):
        distill(tmp_path / "parts", width=9, resume=True)
    distill(tmp_path / "parts", width=8, resume=True)
    assert model_bytes(tmp_path / "parts") == model_bytes(tmp_path / "whole")
    assert whole.network.config.trunk.width == 8


def test_a_failed_run_leaves_no_folder(tmp_path: Path) -> None:
    with pytest.raises(NoSuccessError):
        Distillation(always_right(), CONTRARY, phr_config(n_episodes=4, prefix=(0, 0)), start=TRUNK).run(
            tmp_path / "a" / "b"
        )
    assert not list(tmp_path.iterdir())


class Counted(gymnasium.Wrapper[Any, Any, Any, Any]):
    """Counts how many environments are open, and how many may be."""

    opened = closed = at_once = 0
    most = 10**6

    def __init__(self, env: gymnasium.Env[Any, Any]) -> None:
        if Counted.opened - Counted.closed >= Counted.most:
            raise OSError("the simulator is in use")
        Counted.opened += 1
        Counted.at_once = max(Counted.at_once, Counted.opened - Counted.closed)
        super().__init__(env)

    def close(self) -> None:
        Counted.closed += 1
        super().close()


def make_counted() -> Any:
    return Counted(make_corridor())


@pytest.fixture
def counted() -> Iterator[type[Counted]]:
    """The counts, from zero on."""
    Counted.opened = Counted.closed = Counted.at_once = 0
    yield Counted
    Counted.most = 10**6
    assert Counted.opened == Counted.closed > 0, "every environment is closed once"


COUNTED = "tests.distil.test_runs:make_counted"
REFINED = {"refine": 2, "refine_windows": 20, "refine_updates": 2, "n_updates": 4}


class Failing:
    """Acts as the corridor's optimal planner so many times, then fails."""

    horizon, n_actions = 1, 2

    def __init__(self, n: int) -> None:
        self._n, self._planner = n, always_right()

    def plan(self, obs: Any) -> Any:
        self._n -= 1
        if self._n < 0:
            raise InvalidDataError("failed")
        return self._planner.plan(obs)


def test_every_environment_of_a_distillation_is_closed(counted: type[Counted]) -> None:
    Distillation(always_right(), COUNTED, phr_config(**REFINED, prefix=(0, 0)), start=TRUNK).run()
    assert counted.at_once == 64


@pytest.mark.parametrize("n", [0, 2, 4, 6])
def test_every_environment_is_closed_where_the_teacher_fails(counted: type[Counted], n: int) -> None:
    """While it is recorded, for four steps, or afterwards in refinement."""
    config = phr_config(**REFINED, prefix=(0, 0), n_episodes=8)
    with pytest.raises(InvalidDataError, match="failed"):
        Distillation(Failing(n), COUNTED, config, start=TRUNK).run()


def test_every_environment_of_joint_training_is_closed(counted: type[Counted]) -> None:
    config = phr_config(joint=True, trunk_mode="shared", n_updates=2, n_episodes=4)
    Distillation(
        corridor_teacher().planner, COUNTED, config, start=corridor_teacher().network, joint_config=a2c_config(n_envs=2)
    ).run()


def test_every_environment_of_stage_one_is_closed(counted: type[Counted]) -> None:
    runs.train_teacher(COUNTED, a2c_config(total_timesteps=128, n_evaluations=1))
    with pytest.raises(SettingError, match="a 'grid' trunk"):
        runs.train_teacher(COUNTED, a2c_config(trunk=TrunkConfig(kind="grid")))


@pytest.mark.parametrize("most", [1, 3])
def test_as_many_copies_serve_as_can_be_open(counted: type[Counted], most: int) -> None:
    counted.most = most
    said: list[str] = []
    model = Distillation(always_right(), COUNTED, phr_config(**REFINED, prefix=(0, 0)), start=TRUNK).run(say=said.append)
    assert counted.at_once == most
    assert sum("could be opened side by side" in line for line in said) == 1
    assert said[-1].startswith(f"warning: {COUNTED}: only {most} of 64 copies could be opened side by side (")
    assert f"n_envs={most}" in said[-1]
    assert said[-1:] == [f"warning: {line}" for line in model.manifest.notes["warnings"]]
    assert all(report["held_out"] > 0 for report in model.manifest.notes["refinement"])


def test_the_number_of_copies_is_a_setting(counted: type[Counted]) -> None:
    said: list[str] = []
    config = phr_config(**REFINED, prefix=(0, 0), n_envs=5)
    model = Distillation(always_right(), COUNTED, config, start=TRUNK).run(say=said.append)
    assert counted.at_once == 5
    assert "warnings" not in model.manifest.notes


def test_a_copy_that_cannot_be_opened_closes_the_others_of_stage_one(counted: type[Counted]) -> None:
    counted.most = 3
    with pytest.raises(UnsupportedEnvironmentError, match="the simulator is in use"):
        runs.train_teacher(COUNTED, a2c_config(n_envs=4))


def test_unknown_success_is_said_at_the_end_too(tmp_path: Path) -> None:
    lost = TablePlanner.of_actions([[LEFT]] * 5, 2)
    for keep, warned in (("auto", True), ("all", False), (0.5, False)):
        said: list[str] = []
        model = Distillation(lost, CORRIDOR, phr_config(n_episodes=4, n_updates=2, keep=keep), start=TRUNK).run(
            say=said.append
        )
        assert model.manifest.notes.get("warnings", []) == said[:1] * warned
        assert said[1:] == [f"warning: {said[0]}"] * warned
        assert said[0].startswith("kept all 4 episodes" if keep != 0.5 else "kept 4 of 4 episodes: returns of at least 0")
    with pytest.raises(SettingError, match="keep='successes' needs to know .* every reward is 0"):
        Distillation(lost, CORRIDOR, phr_config(n_episodes=4, n_updates=2, keep="successes"), start=TRUNK).run(
            tmp_path / "a"
        )
    assert not (tmp_path / "a").exists()


def test_refused_prefixes_of_recording_and_refinement_are_counted_together() -> None:
    said: list[str] = []
    config = phr_config(**REFINED, prefix=(1, 1), n_envs=2, n_episodes=40)
    model = Distillation(always_right(), "tests.distil.test_runs:make_one_way", config, start=TRUNK).run(say=said.append)
    (line,) = model.manifest.notes["warnings"]
    assert said[-1] == f"warning: {line}"
    assert int(line.split()[0]) > 20
    assert "step() raised ValueError: one way" in line


class OneWay(CorridorEnv):
    """The corridor that raises for steps to the left."""

    def step(self, action: Any) -> Any:
        if action != RIGHT:
            raise ValueError("one way")
        return super().step(action)


def make_one_way() -> Any:
    return TimeLimit(OneWay(), 20)


@pytest.mark.parametrize("lengths", [[10] * 15 + [300], [300] + [10] * 15])
def test_a_horizon_is_compared_with_the_longest_of_all_probed_episodes(lengths: list[int]) -> None:
    episodes: list[Any] = [SimpleNamespace(actions=np.zeros(length)) for length in lengths]
    runs._check_horizon(600, episodes)
    with pytest.raises(HorizonError, match=r"the horizon 601 is more than twice the longest episode of 16, 300 steps; 300 "):
        runs._check_horizon(601, episodes)
    runs._check_horizon(64, [each for each in episodes if len(each.actions) == 10])


def test_no_episode_fills_a_horizon_that_is_far_longer(tmp_path: Path) -> None:
    with pytest.raises(HorizonError, match="the horizon 100 is more than twice the longest episode"):
        distill(tmp_path / "new", horizon=100)
    recorded = named(corridor_experience(), phr_config(), teacher="", teacher_id=corridor_teacher().sha256)
    save_experience(recorded, tmp_path / "episodes.npz")
    with pytest.raises(HorizonError, match="the horizon 100 is more than twice the longest episode"):
        phr.distill(corridor_teacher(), env_id=CORRIDOR, horizon=100, experience=tmp_path / "episodes.npz")
