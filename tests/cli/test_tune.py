"""`phr tune`, as typed, and who obeys what it writes."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch

import phr as api
from phr import api as phr_api
from phr.acting.agent import HorizonAgent
from phr.acting.onnx_file import read_onnx, reseal_onnx
from phr.acting.runtime import OnnxPlanner, load_runtime
from phr.errors import SettingError
from phr.evaluation.tune import tune_planner
from phr.storage.model import Model, annotated, load_model, save_model
from phr.teachers.references import resolve
from tests.cli.conftest import Outcome
from tests.exported import corridor_file
from tests.helpers import TablePlanner
from tests.trained import CORRIDOR, CORRIDOR_FACTORY, corridor_student, corridor_teacher, saved

Phr = Callable[..., Outcome]
FEW = ("--retain", 0.9, "--calibration", 30, "--max-episodes", 100, "--n-envs", 8)


@pytest.fixture
def student(tmp_path: Path) -> Path:
    return saved(corridor_student(), tmp_path / "student")


@pytest.fixture
def teacher(tmp_path: Path) -> Path:
    return saved(corridor_teacher(), tmp_path / "teacher")


def test_the_rule_is_written_with_its_evidence_and_obeyed(phr: Phr, tmp_path: Path, student: Path, teacher: Path) -> None:
    outcome = phr("tune", student, "--teacher", teacher, *FEW, "--json", tmp_path / "t.json", "--figure", tmp_path / "t.png")
    assert (outcome.code, outcome.err) == (0, "")
    verdict, beside, data, figure, written = outcome.out.splitlines()[-5:]
    assert beside.startswith("warning: without any student, the teacher's action repeated 4 times kept 100 % as observed")
    assert data == f"written to {tmp_path / 't.json'}"
    assert figure == f"drawn in {tmp_path / 't.png'}, with t-dark.png and .svg beside it"
    assert verdict.startswith("certified: ≥ 90 % of the teacher's return with 95 % confidence, n = 4, 4.0 × fewer looks")
    assert written == f"written into {student}: n = 4 is what it does by default"
    assert (tmp_path / "t.png").stat().st_size > 10_000
    told = json.loads((tmp_path / "t.json").read_text())
    assert told["verdict"] == verdict
    assert told["candidates"][told["chosen"]]["commitment"] == 4
    assert [each["n"] for each in told["baselines"]] == [1, 2, 3, 4]
    assert (told["best_repeat"], told["fas"], told["fas_lengths"]) == (4, 1.0, [1, 4])
    assert told["budgets"][0]["rule"] == "n = 4"
    manifest = load_model(student).manifest
    assert manifest.commitment == 4
    assert manifest.notes["tuned"]["verdict"] == verdict
    assert manifest.notes["tuned"]["teacher"] == str(teacher)
    assert manifest.notes["loss"] == corridor_student().manifest.notes["loss"], "the other notes stay"


def test_a_small_network_stands_beside_it_and_repeats_may_be_left_out(
    phr: Phr, tmp_path: Path, student: Path, teacher: Path
) -> None:
    figure, file = tmp_path / "t.png", tmp_path / "t.json"
    words = ("--baseline", student, "--no-repeat", "--no-write", "--figure", figure, "--json", file)
    outcome = phr("tune", student, "--teacher", teacher, *FEW, *words)
    assert (outcome.code, outcome.err) == (0, "")
    told = json.loads(file.read_text())
    assert [(each["name"], each["n"], each["share"]) for each in told["baselines"]] == [(str(student), 1, 1.0)]
    assert (told["best_repeat"], told["repeat_fas"]) == (None, None)
    assert figure.stat().st_size > 10_000


def test_an_exported_file_takes_the_rule_too(phr: Phr, tmp_path: Path, teacher: Path) -> None:
    file = corridor_file(tmp_path)
    graph, before = read_onnx(file)
    outcome = phr("tune", file, "--teacher", teacher, *FEW)
    assert (outcome.code, outcome.err) == (0, "")
    planner = load_runtime(file)
    assert planner.commitment == 4
    assert planner.manifest == replace(
        before, commitment=4, notes={**before.notes, "tuned": planner.manifest.notes["tuned"]}
    )
    assert len(file.read_bytes()) > len(graph)
    obs = np.zeros(planner.obs_shape, planner.obs_dtype)
    np.testing.assert_array_equal(
        planner.plan(obs[None]).outputs, load_runtime(corridor_file(tmp_path)).plan(obs[None]).outputs
    )


def test_a_student_of_recorded_episodes_names_no_teacher(phr: Phr, tmp_path: Path, teacher: Path) -> None:
    few: dict[str, Any] = {"horizon": 2, "n_updates": 2, "curve_episodes": 0}
    api.distill(teacher, env_id=CORRIDOR, n_episodes=8, save_experience=tmp_path / "e.npz", **few)
    api.distill(None, env_id=CORRIDOR, experience=tmp_path / "e.npz", out=tmp_path / "student", **few)
    outcome = phr("tune", tmp_path / "student", *FEW)
    assert outcome.code == 2
    assert outcome.err == f"phr: {tmp_path / 'student'} learnt from recorded episodes; add --teacher TEACHER\n"


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="/proc is a folder in which nobody can make a file")
@pytest.mark.parametrize("words", [("--json", "/proc/t.json"), ("--figure", "/proc/x/t.png"), ()])
def test_what_cannot_be_written_is_refused_before_anything_is_played(
    phr: Phr, monkeypatch: pytest.MonkeyPatch, student: Path, teacher: Path, words: tuple[str, ...]
) -> None:
    monkeypatch.setattr(phr_api, "tune_planner", None)
    if not words:
        found = resolve(student)
        elsewhere = replace(found, model=replace(load_model(student), directory=Path("/proc")))
        monkeypatch.setattr(phr_api, "resolve", lambda *_arguments, **_words: elsewhere)
    outcome = phr("tune", student, "--teacher", teacher, *FEW, *words)
    assert (outcome.code, outcome.out) == (2, "")
    assert "cannot be written: no file can be made in /proc" in outcome.err


def test_a_comparison_that_fails_is_reported_in_the_last_line(
    phr: Phr, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, teacher: Path
) -> None:
    def refused(*_arguments: Any, **_words: Any) -> Any:
        raise SettingError("the lab is closed")

    monkeypatch.setattr(phr_api, "measure_curve", refused)
    words = ("--env-id", CORRIDOR, "--horizon", 2, "--n-episodes", 8, "--n-updates", 2, "--out", tmp_path / "student")
    outcome = phr("distill", teacher, *words)
    assert outcome.code == 0
    assert outcome.out.splitlines()[-1] == "warning: student and teacher could not be compared: the lab is closed"
    assert "not_compared" not in load_model(tmp_path / "student", CORRIDOR).manifest.notes


def test_nothing_is_written_if_asked(phr: Phr, student: Path, teacher: Path) -> None:
    before = (student / "manifest.json").read_bytes()
    outcome = phr("tune", student, "--teacher", teacher, *FEW, "--no-write")
    assert outcome.out.splitlines()[-2].startswith("certified: ")
    assert (student / "manifest.json").read_bytes() == before


def test_a_failed_tune_leaves_one_action_per_look(phr: Phr, tmp_path: Path, student: Path, teacher: Path) -> None:
    annotated(load_model(student), {}, commitment=4)
    outcome = phr("tune", student, "--teacher", teacher, *FEW[:4], "--max-episodes", 1)
    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.out.splitlines()[-1] == (
        f"written into {student}: n = 1 is what it does by default, as no rule was certified"
    )
    manifest = load_model(student).manifest
    assert manifest.commitment == 1
    assert manifest.notes["tuned"]["chosen"] is None
    file = api.export_onnx(student, tmp_path / "s.onnx", env_id=CORRIDOR).path
    reseal_onnx(file, commitment=4, notes={})
    assert phr("tune", file, "--teacher", teacher, *FEW[:4], "--max-episodes", 1).code == 0
    assert load_runtime(file).commitment == 1


def test_a_baseline_runs_on_the_students_backend(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, student: Path) -> None:
    asked: list[dict[str, Any]] = []

    def noted(*arguments: Any, **words: Any) -> Any:
        asked.append(words)
        return tune_planner(*arguments, **words)

    monkeypatch.setattr(phr_api, "tune_planner", noted)
    few: dict[str, Any] = {"retain": 0.9, "calibration": 30, "max_episodes": 50, "n_envs": 8, "repeat": False}
    found = api.tune(corridor_file(tmp_path), corridor_teacher(), baseline=student, **few)
    assert isinstance(asked[0]["baseline"][1], OnnxPlanner)
    assert found.baselines[0].time_saved is not None
    repeated = TablePlanner.of_actions([[1]] * 5, 2)
    found = api.tune(corridor_student(), corridor_teacher(), baseline=repeated, **few)
    assert found.baselines[0].time_saved is None, "a function's time is not comparable with torch's"
    assert found.look_seconds is not None


def test_the_evidence_states_where_and_against_whom(phr: Phr, tmp_path: Path, student: Path, teacher: Path) -> None:
    assert phr("tune", student, "--teacher", teacher, *FEW, "--seed", 3, "--backend", "onnx").code == 0
    found = load_model(student).manifest.notes["tuned"]
    assert {name: found[name] for name in ("env_id", "seed", "teacher_id", "backend", "horizon")} == {
        "env_id": CORRIDOR, "seed": 3, "teacher_id": corridor_teacher().sha256, "backend": "onnx", "horizon": 4,
    }  # fmt: skip
    assert found["fresh_episodes"] > 0


OTHER = "OtherCorridor-v0"
gymnasium.register(OTHER, CORRIDOR_FACTORY)


def test_a_rule_of_another_environment_is_not_written(phr: Phr, student: Path, teacher: Path) -> None:
    before = (student / "manifest.json").read_bytes()
    elsewhere = ("tune", student, "--teacher", teacher, "--env-id", OTHER, *FEW)
    outcome = phr(*elsewhere)
    assert (outcome.code, outcome.out) == (2, "")
    assert f"was made for {CORRIDOR}; a rule of {OTHER} would become its default; add --no-write" in outcome.err
    assert phr(*elsewhere, "--no-write").code == 0
    assert (student / "manifest.json").read_bytes() == before


def test_a_policy_that_phr_did_not_write_is_refused_before_anything_is_played(teacher: Path) -> None:
    planner = TablePlanner.of_actions([[1]] * 5, 2)
    with pytest.raises(SettingError, match=r"no rule can be written into .*; add --no-write \(write=False\)"):
        api.tune(planner, teacher, env_id=CORRIDOR)
    found = api.tune(planner, teacher, env_id=CORRIDOR, retain=0.9, calibration=30, max_episodes=50, n_envs=8, write=False)
    assert found.choice is not None


def test_another_teacher_is_refused_where_its_name_was_followed_and_noticed_where_it_was_given(
    phr: Phr, tmp_path: Path, teacher: Path
) -> None:
    student = api.distill(teacher, env_id=CORRIDOR, horizon=4, out=tmp_path / "student", n_episodes=8, n_updates=2)
    assert student.manifest.notes["teacher_id"] == corridor_teacher().sha256
    assert phr("tune", student.directory, *FEW, "--no-write").code == 0
    with torch.no_grad():
        other = copy.deepcopy(load_model(teacher).network)
        next(other.parameters()).mul_(1.001)
    save_model(teacher, other, load_model(teacher).manifest)
    outcome = phr("tune", student.directory, *FEW, "--no-write")
    assert (outcome.code, outcome.out) == (2, "")
    assert "was distilled from another teacher" in outcome.err
    outcome = phr("tune", student.directory, "--teacher", teacher, *FEW, "--no-write")
    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.out.splitlines()[-1].startswith(f"warning: {student.directory} was distilled from another teacher")


@pytest.mark.parametrize("rule", [2, {"threshold": 0.6}])
def test_agents_the_runtime_and_evaluate_obey_the_rule(phr: Phr, tmp_path: Path, rule: int | dict[str, float]) -> None:
    model = annotated(load_model(saved(corridor_student(), tmp_path / "tuned")), {}, commitment=rule)
    exported = api.export_onnx(model, tmp_path / "tuned.onnx").path
    expected = HorizonAgent(corridor_student().planner, rule).commitment
    for planner in (model.planner, load_runtime(exported)):
        assert HorizonAgent(planner).commitment == expected
        assert HorizonAgent(planner, 4).commitment.n == 4  # type: ignore[attr-defined]  # the whole horizon, when asked
        assert api.VectorHorizonAgent(planner, n_envs=2).commitment == expected
    for reference in (tmp_path / "tuned", exported):
        outcome = phr("evaluate", reference, "--runs", 1, "--episodes", 2, "--no-bound", "--json", tmp_path / "e.json")
        assert (outcome.code, outcome.err) == (0, "")
        told = json.loads((tmp_path / "e.json").read_text())
        assert told["commitment"] == (rule if isinstance(rule, int) else "confidence 0.6")
        if rule == 2:
            assert told["evaluations_per_episode"] == 2.0


def test_a_model_in_memory_comes_back_tuned() -> None:
    found = api.tune(corridor_student(), corridor_teacher(), retain=0.9, calibration=30, max_episodes=100, n_envs=8)
    assert isinstance(found.student, Model)
    assert found.student.manifest.commitment == 4
    assert corridor_student().manifest.commitment is None


def test_the_teacher_that_the_model_names_is_found(phr: Phr, tmp_path: Path, teacher: Path) -> None:
    named = replace(corridor_student(), manifest=replace(corridor_student().manifest, notes={"teacher": str(teacher)}))
    outcome = phr("tune", saved(named, tmp_path / "named"), *FEW, "--no-write")
    assert (outcome.code, outcome.err) == (0, "")
    assert f"teacher {teacher}" in outcome.out


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("tune",), "missing: MODEL; see phr tune --help"),
        (("tune", "{student}"), "has to be compared with its teacher, and it names none; add --teacher TEACHER"),
        (("tune", "{gone}"), "it names 'gone', which is not here; add --teacher TEACHER"),
        (("tune", "{code}"), "it names 'tests.helpers:make', which is not here; add --teacher TEACHER"),
        (("tune", "{student}", "--teacher", "nowhere"), "nowhere is not a run directory"),
        (("tune", "{student}", "--teacher", "{student}", "--retain", 0), "retain must be a number above 0 and at most 1"),
        (("tune", "{student}", "--teacher", "{student}", "--retain", "99%"), "--retain must be a number; got '99%'"),
        (
            ("tune", "{student}", "--teacher", "zoo:crossing-teacher"),
            "zoo:crossing-teacher has 7 actions, Corridor-v0 has 2 actions",
        ),
        (
            ("tune", "{student}", "--teacher", "{student}", "--return-range", "1"),
            "--return-range must be LO:HI, two numbers",
        ),
        (("tune", "{student}", "--teacher", "{student}", "--return-range", "2:1"), "low < high, got (2.0, 1.0)"),
        (("tune", "{student}", "--teacher", "{student}", "--confidence", 0.5), "confidence must be a number above 0.5"),
        (("tune", "{student}", "--teacher", "{student}", "--json", "{folder}"), "is a folder; name a file in it"),
        (("tune", "{student}", "--teacher", "{student}", "--figure", "t.svg"), "--figure must be a file .png; got 't.svg'"),
        (("tune", "CartPole-v1", "--teacher", "{student}"), "CartPole-v1 is not a run directory"),
    ],
)
def test_wrong_words(phr: Phr, tmp_path: Path, student: Path, words: tuple[object, ...], expected: str) -> None:
    places = {"{student}": student, "{folder}": tmp_path}
    for name, teacher in (("{gone}", "gone"), ("{code}", "tests.helpers:make")):
        model = replace(corridor_student(), manifest=replace(corridor_student().manifest, notes={"teacher": teacher}))
        places[name] = saved(model, tmp_path / name[1:-1])
    outcome = phr(*(places.get(str(word), word) for word in words))
    assert (outcome.code, outcome.out, outcome.err.count("\n")) == (2, "", 1)
    assert expected in outcome.err
