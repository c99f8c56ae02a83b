from __future__ import annotations

import functools
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces
from numpy.typing import NDArray

import phr
from phr import api
from phr.distil.config import PHRConfig
from phr.distil.runs import Distillation
from phr.errors import (
    CorruptFileError,
    HorizonError,
    IncompatibleModelError,
    OutputDirectoryError,
    SettingError,
    UnknownModelError,
    UnsupportedEnvironmentError,
)
from phr.evaluation.episodes import distinct_starts
from phr.evaluation.timed import RunRecord
from phr.experience.archive import save_experience
from phr.files import read_json
from phr.manifest import Manifest
from phr.networks.policy import build_network
from phr.networks.trunks import TrunkConfig
from phr.progress import Progress
from phr.storage.model import Model
from tests.trained import CORRIDOR, corridor_experience, corridor_student, corridor_teacher, saved

QUICK: dict[str, Any] = {"n_updates": 10, "n_episodes": 16}


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    yield
    torch.set_num_threads(1)


def test_the_five_lines(tmp_path: Path) -> None:
    teacher = phr.train_teacher(CORRIDOR, seed=0, total_timesteps=6000, out=tmp_path / "teacher")
    student = phr.distill(teacher, horizon=8, loss="cross_entropy", n_updates=200, n_episodes=64)
    evaluation = phr.evaluate(student, episodes=5, runs=2)
    assert (evaluation.return_mean, evaluation.length_mean, evaluation.evaluations_per_episode) == (1, 4, 1)
    assert (evaluation.model, evaluation.horizon, evaluation.commitment) == ("student in memory", 8, 8)
    assert "return         1.0000  [1.0000, 1.0000]" in str(evaluation)
    loaded = phr.load(tmp_path / "teacher")
    np.testing.assert_array_equal(loaded.planner.plan(np.eye(5, dtype=np.float32)).mode(), [[1], [1], [1], [1], [1]])


def test_a_reference_may_be_a_model_a_folder_or_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = saved(corridor_teacher(), tmp_path / "teacher")
    monkeypatch.setenv("PHR_ZOO", str(tmp_path))
    students = [
        phr.distill(reference, horizon=2, **QUICK) for reference in (corridor_teacher(), folder, str(folder), "zoo:teacher")
    ]
    first, *others = (student.network.state_dict() for student in students)
    assert all(torch.equal(first[name], other[name]) for other in others for name in first)
    assert [student.manifest.notes["teacher"] for student in students] == ["", str(folder), str(folder), "zoo:teacher"]


def test_a_teacher_is_trained_further_from_where_it_stands(tmp_path: Path) -> None:
    teacher = corridor_teacher()
    folder = saved(teacher, tmp_path / "teacher")
    before = {name: value.clone() for name, value in teacher.network.state_dict().items()}
    few: dict[str, Any] = {"total_timesteps": 512, "learning_rate": 1e-9}
    same = phr.train_teacher(CORRIDOR, start=folder, **few).network.state_dict()
    assert all(torch.allclose(same[name], before[name], atol=1e-5) for name in before), "it begins with these weights"
    further = phr.train_teacher(CORRIDOR, start=teacher, out=tmp_path / "further", total_timesteps=512)
    assert further.manifest.notes["greedy_return"] == 1
    assert not torch.equal(further.network.state_dict()["plan_head.weight"], before["plan_head.weight"])
    assert all(torch.equal(value, before[name]) for name, value in teacher.network.state_dict().items()), "it is as it was"
    settings = read_json(tmp_path / "further" / "config.json")
    assert settings["start"] == teacher.sha256
    assert 0 < settings["settings"]["warmup"] < 1
    with pytest.raises(OutputDirectoryError, match="holds another run"):
        phr.train_teacher(CORRIDOR, out=tmp_path / "further", resume=True, total_timesteps=512)
    again = phr.train_teacher(CORRIDOR, start=folder, out=tmp_path / "further", resume=True, total_timesteps=512)
    assert again.sha256 == further.sha256
    assert phr.train_teacher(CORRIDOR, start=folder, total_timesteps=64).manifest.notes["started_from"] == "teacher"


def test_only_a_teacher_for_such_an_environment_is_trained_further() -> None:
    with pytest.raises(IncompatibleModelError, match="plans 4 actions from one look"):
        phr.train_teacher(CORRIDOR, start=corridor_student())
    with pytest.raises(IncompatibleModelError, match="2 actions, PHR/FourRooms-v0 has 3"):
        phr.train_teacher("PHR/FourRooms-v0", start=corridor_teacher())


def test_only_models_can_be_loaded(tmp_path: Path) -> None:
    with pytest.raises(UnknownModelError, match="oracle has no network to load; give a run directory or zoo:NAME"):
        phr.load("oracle")
    with pytest.raises(UnknownModelError, match="nowhere is not a run directory"):
        phr.load("nowhere")
    with pytest.raises(CorruptFileError, match="holds no finished model"):
        phr.load(tmp_path)


def test_the_commitment_of_the_manifest_serves_where_none_is_given() -> None:
    model = corridor_student()
    tuned = phr.Model(model.network, type(model.manifest)(**{**vars(model.manifest), "commitment": 2}))
    assert phr.evaluate(tuned, episodes=1, runs=1).evaluations_per_episode == 2
    assert phr.evaluate(tuned, episodes=1, runs=1, commitment=1).evaluations_per_episode == 4
    assert phr.evaluate(model, episodes=1, runs=1).evaluations_per_episode == 1
    assert api.evaluate_all_starts(tuned).evaluations_per_episode == 2
    assert api.evaluate_all_starts(tuned, commitment=4).evaluations_per_episode == 1


def test_every_start_of_a_grid_is_compared_with_the_optimum() -> None:
    result = api.evaluate_all_starts("oracle", env_id="PHR/FourRooms-v0", horizon=8)
    assert (result.n_starts, result.length_mean, result.optimal_length_mean, result.evaluations_per_episode) == (
        1,
        23,
        23,
        3,
    )
    assert api.evaluate_all_starts(corridor_student()).optimal_length_mean is None


def test_every_start_is_told_beside_the_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    told = phr.evaluate("oracle", env_id="PHR/FourRooms-v0", horizon=8, episodes=1, runs=1, all_starts=True)
    assert told.all_starts == api.evaluate_all_starts("oracle", env_id="PHR/FourRooms-v0", horizon=8)
    assert "the only start: 1 solved, length 23.000 (optimum 23.000)" in str(told)
    monkeypatch.setattr("phr.api.evaluate_planner", lambda *_words, **_settings: pytest.fail("too late"))
    monkeypatch.setattr("phr.api.distinct_starts", functools.partial(distinct_starts, limit=0))
    with pytest.raises(UnsupportedEnvironmentError, match="more than 0 different starts"):  # before any run
        phr.evaluate(corridor_student(), all_starts=True)


def test_a_random_prefix_has_a_bound_too() -> None:
    assert phr.evaluate(corridor_student(), episodes=3, runs=2, random_prefix=(0, 3)).bound is not None
    assert phr.evaluate(corridor_student(), episodes=3, runs=2, observe_always=True).bound is None


def test_runs_and_progress_are_reported() -> None:
    told: list[tuple[int, RunRecord]] = []
    phr.evaluate(corridor_student(), steps=20, runs=3, on_run=lambda index, record: told.append((index, record)))
    assert [(index, record.steps) for index, record in told] == [(0, 20), (1, 20), (2, 20)]
    reports: list[Progress] = []
    said: list[str] = []
    phr.distill(corridor_teacher(), horizon=2, on_progress=reports.append, say=said.append, **QUICK)
    assert {report.unit for report in reports} == {"episodes", "updates"}
    assert said == ["kept 16 of 16 episodes: terminated with a positive last reward"]


def test_sticky_actions_are_asked_for_by_their_probability() -> None:
    pong, trunk = "PongDeterministic-v4", TrunkConfig(kind="atari", channels=(2, 2, 2), width=8)
    network = build_network(spaces.Box(0, 255, (4, 84, 84), np.uint8), 6, 4, trunk, seed=0)
    manifest = Manifest(
        kind="student",
        env_id=pong,
        obs_shape=(4, 84, 84),
        obs_dtype="uint8",
        n_actions=6,
        horizon=4,
        network=network.config.to_json(),
    )
    evaluation = phr.evaluate(phr.Model(network, manifest), steps=30, runs=1, sticky=0.3)
    assert evaluation.env_id == "PongDeterministic-v4?sticky=0.3"
    assert (evaluation.horizon, evaluation.evaluations_per_step) == (4, 8 / 30)
    with pytest.raises(UnsupportedEnvironmentError, match="it has no option 'sticky'"):
        phr.evaluate(corridor_student(), sticky=0.3)


def test_recorded_episodes_may_be_given(tmp_path: Path) -> None:
    save_experience(corridor_experience(), tmp_path / "episodes.npz")
    student = phr.distill(corridor_teacher(), horizon=2, n_updates=10, experience=tmp_path / "episodes.npz")
    assert student.manifest.notes["selection"].startswith("kept 64 of 64 episodes")


def test_a_student_with_a_width_of_its_own_is_trained_as_a_fresh_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """It starts from no weights of the teacher, whoever trained that one."""
    configs: list[PHRConfig] = []

    def noted(self: Distillation, *_words: Any, **_more: Any) -> Model:
        configs.append(self.config)
        return corridor_teacher()

    monkeypatch.setattr(Distillation, "run", noted)

    def unsure(obs: NDArray[Any]) -> NDArray[np.float32]:
        return np.zeros((len(obs), 2), np.float32)

    for policy, width in ((corridor_teacher(), 8), (corridor_teacher(), None), (unsure, 8)):
        phr.distill(policy, env_id=CORRIDOR, horizon=2, width=width)
    narrow, plain, foreign = configs
    assert narrow == foreign
    assert (narrow.n_updates, narrow.refine) != (plain.n_updates, plain.refine) == (2000, 0)


def test_what_does_not_fit_is_refused(tmp_path: Path) -> None:
    with pytest.raises(IncompatibleModelError, match=r"float32 of shape \(5,\); CartPole-v1 gives float32 of shape \(4,\)"):
        phr.distill(corridor_teacher(), horizon=2, env_id="CartPole-v1", out=tmp_path)
    with pytest.raises(HorizonError, match="horizon must be >= 1, got 0"):
        phr.distill(corridor_teacher(), horizon=0, out=tmp_path)
    with pytest.raises(HorizonError, match=r"commitment must lie in 1..4 \(the model's horizon\), got 5"):
        phr.evaluate(corridor_student(), commitment=5)
    with pytest.raises(SettingError, match="there is no setting 'window_strid'; did you mean 'window_stride'?"):
        phr.distill(corridor_teacher(), horizon=2, window_strid=2, out=tmp_path)
    with pytest.raises(SettingError, match="there is no profile 'fast'; choose one of quick, paper"):
        phr.reproduce("fast", out=tmp_path)
    assert list(tmp_path.iterdir()) == []


WRONG_WORDS = """
import phr
for settings in ({"loss": "huber"}, {"trunk_mode": "melted"}):
    try:
        phr.distill("oracle", env_id="PHR/FourRooms-v0", horizon=2, **settings)
    except phr.PhrError as error:
        print(error)
try:
    phr.evaluate("zoo:any", backend="tensorrt")
except phr.PhrError as error:
    print(error)
try:
    phr.train_teacher("PHR/FourRooms-v0", optimizer="sgd")
except phr.PhrError as error:
    print(error)
"""


def test_unknown_words_are_refused() -> None:
    """In a fresh interpreter: under pytest the types are checked first."""
    ran = subprocess.run([sys.executable, "-c", WRONG_WORDS], capture_output=True, text=True, check=True)
    assert ran.stdout.splitlines() == [
        "loss must be one of 'squared', 'squared_logits', 'kl', 'forward_kl', 'cross_entropy', 'gaussian'; got 'huber'",
        "trunk_mode must be one of 'shared', 'anchored', 'frozen', 'own'; got 'melted'",
        "unknown backend 'tensorrt'; choose one of torch, onnx",
        "optimizer must be one of 'rmsprop', 'adam'; got 'sgd'",
    ]
