"""From nothing to numbers, through the words that users type."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import phr as package
from phr.cli import main
from phr.cli.commands import registered
from phr.distil.phr import PHR
from phr.distil.runs import named
from phr.errors import BoundError
from phr.experience.archive import load_experience, save_experience
from phr.storage.model import load_model
from tests.cli.conftest import Outcome
from tests.evaluation.test_evaluate import BOUND_KEYS, KEYS, RUN_KEYS
from tests.trained import CORRIDOR, corridor_experience, phr_config

Phr = Callable[..., Outcome]
TRAIN = ("train", "--env-id", CORRIDOR, "--total-timesteps", 5000, "--n-envs", 8, "--learning-rate", 2e-3)
DISTILL = ("--horizon", 4, "--n-updates", 150, "--n-episodes", 64)


@pytest.fixture(scope="session")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `phr train` leaves behind."""
    folder = tmp_path_factory.mktemp("cli") / "teacher"
    assert main([str(word) for word in (*TRAIN, "--out", folder)]) == 0
    return folder


@pytest.fixture(scope="session")
def student(teacher: Path) -> Path:
    """What `phr distill` leaves behind."""
    folder = teacher.with_name("student")
    assert main([str(word) for word in ("distill", teacher, *DISTILL, "--out", folder)]) == 0
    return folder


def snapshot(directory: Path) -> dict[str, tuple[int, bytes]]:
    files = [path for path in directory.rglob("*") if path.is_file()]
    return {str(path): (path.stat().st_mtime_ns, path.read_bytes()) for path in files}


def evaluated(phr: Phr, tmp_path: Path, model: Path | str, *words: object) -> dict[str, Any]:
    outcome = phr("evaluate", model, "--runs", 2, "--json", tmp_path / "result.json", *words)
    assert (outcome.code, outcome.err) == (0, "")
    assert f"written to {tmp_path / 'result.json'}" in outcome.out
    told: dict[str, Any] = json.loads((tmp_path / "result.json").read_text())
    return told


def test_train_says_what_it_reached(phr: Phr, tmp_path: Path) -> None:
    outcome = phr(*TRAIN[:3], "--total-timesteps", 640, "--out", tmp_path / "[new] run")
    assert (outcome.code, outcome.err) == (0, "")
    greedy = load_model(tmp_path / "[new] run").manifest.notes["greedy_return"]
    assert outcome.out.splitlines() == [
        f"teacher: greedy return {greedy:.4f} in {CORRIDOR}",
        f"written to {tmp_path / '[new] run'}",
    ]


def test_distill_says_what_it_learnt_from(phr: Phr, teacher: Path, tmp_path: Path) -> None:
    outcome = phr("distill", teacher, *DISTILL, "--out", tmp_path)
    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.out.splitlines() == [
        "kept 64 of 64 episodes: terminated with a positive last reward",
        "agreement with the teacher on its own states: head 1 100.0%, last head 100.0%",
        # Two layers of 64 behind five cells, and a head of two actions for each step.
        "parameters of one look: student 5,064, teacher 4,674",
        f"written to {tmp_path}",
        "kept of the teacher's return (1) in 100 episodes: n = 1: 100 %, n = 2: 100 %, n = 4: 100 %",
    ]


@pytest.mark.parametrize(("commitment", "looks"), [(None, 1), (1, 4), (2, 2), (3, 2), (4, 1)])
def test_evaluate_writes_the_promised_json(
    phr: Phr, student: Path, tmp_path: Path, commitment: int | None, looks: int
) -> None:
    words = () if commitment is None else ("--commitment", commitment)
    told = evaluated(phr, tmp_path, student, "--episodes", 3, *words)
    assert set(told) >= KEYS
    assert all(set(run) >= RUN_KEYS for run in told["runs"])
    assert set(told["bound"]) >= BOUND_KEYS
    assert set(told["machine"]) >= {"cpu", "threads", "versions"}
    assert (told["model"], told["env_id"], told["backend"]) == (str(student), CORRIDOR, "torch")
    assert (told["horizon"], told["commitment"]) == (4, commitment or 4)
    assert (told["return_mean"], told["length_mean"], told["success_rate"]) == (1, 4, 1)
    assert told["evaluations_per_episode"] == looks
    assert [run["lengths"] for run in told["runs"]] == [[4, 4, 4]] * 2


def test_evaluate_takes_its_other_words(phr: Phr, student: Path, tmp_path: Path) -> None:
    told = evaluated(phr, tmp_path, student, "--steps", 60, "--sample", "--seed", 3, "--commitment", "auto")
    assert told["deterministic"] is False
    assert [run["steps"] for run in told["runs"]] == [60, 60]
    told = evaluated(phr, tmp_path, student, "--episodes", 4, "--random-prefix", "1:3")
    assert told["bound"]["sim_us"] > 0
    told = evaluated(phr, tmp_path, student, "--episodes", 4, "--random-prefix", "1:3", "--observe-always")
    assert told["bound"] is None
    assert told["all_starts"] is None
    assert {length for run in told["runs"] for length in run["lengths"]} <= {1, 2, 3, 4}


def test_a_bound_that_cannot_be_measured_is_a_warning_beside_full_results(
    phr: Phr, student: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(*_words: Any, **_settings: Any) -> None:
        raise BoundError("an episode ended elsewhere")

    monkeypatch.setattr("phr.evaluation.evaluate.measure_bound", failing)
    outcome = phr("evaluate", student, "--episodes", 3, "--runs", 2, "--json", tmp_path / "result.json")
    assert (outcome.code, outcome.err) == (0, "")
    lines = outcome.out.splitlines()
    assert lines[-2:] == [
        "  warning        the time bound is unknown: an episode ended elsewhere",
        f"written to {tmp_path / 'result.json'}",
    ]
    told = json.loads((tmp_path / "result.json").read_text())
    assert (told["bound"], told["return_mean"], len(told["runs"])) == (None, 1, 2)
    assert told["bound_warning"] == "the time bound is unknown: an episode ended elsewhere"


def test_no_bound_is_measured_where_none_is_wanted(phr: Phr, student: Path, tmp_path: Path) -> None:
    told = evaluated(phr, tmp_path, student, "--episodes", 3, "--no-bound")
    assert (told["bound"], told["bound_warning"], told["return_mean"]) == (None, None, 1)


def test_evaluate_plays_every_start(phr: Phr, student: Path, tmp_path: Path) -> None:
    outcome = phr("evaluate", student, "--episodes", 1, "--runs", 1, "--all-starts", "--json", tmp_path / "result.json")
    assert "the only start: 1 solved, length 4.000, return 1.00000, 1.000 evaluations an episode" in outcome.out
    assert json.loads((tmp_path / "result.json").read_text())["all_starts"] == {
        "n_starts": 1,
        "n_solved": 1,
        "return_mean": 1,
        "length_mean": 4,
        "evaluations_per_episode": 1,
        "optimal_length_mean": None,
        "jitter": None,
    }


def test_heads_beyond_every_episode_have_an_unknown_agreement(phr: Phr, teacher: Path, tmp_path: Path) -> None:
    outcome = phr("distill", teacher, "--horizon", 6, "--n-episodes", 8, "--n-updates", 20, "--out", tmp_path)
    assert "last head unknown" in outcome.out
    known = load_model(tmp_path).manifest.notes["agreement_per_head"]
    assert [part is None for part in known] == [False] * 4 + [True] * 2


def test_the_oracle_is_evaluated_and_distilled(phr: Phr, tmp_path: Path) -> None:
    told = evaluated(phr, tmp_path, "oracle", "--env-id", "PHR/FourRooms-v0", "--horizon", 8, "--episodes", 2)
    assert (told["length_mean"], told["evaluations_per_episode"], told["backend"]) == (23, 3, "search")
    words = ("--env-id", "PHR/FourRooms-v0", "--horizon", 2, "--n-episodes", 4, "--n-updates", 1, "--refine", 0)
    assert phr("distill", "oracle", *words, "--out", tmp_path / "run").code == 0
    assert load_model(tmp_path / "run").manifest.notes["teacher"] == "oracle"


def test_recorded_episodes_are_kept_for_another_student(phr: Phr, teacher: Path, student: Path, tmp_path: Path) -> None:
    words = ("distill", teacher, *DISTILL)
    assert phr(*words, "--out", tmp_path / "first", "--save-experience", tmp_path / "episodes.npz").code == 0
    assert load_experience(tmp_path / "episodes.npz").env_id == CORRIDOR
    assert phr(*words, "--out", tmp_path / "second", "--experience", tmp_path / "episodes.npz").code == 0
    for name in ("first", "second"):
        assert (tmp_path / name / "model.safetensors").read_bytes() == (student / "model.safetensors").read_bytes()


def test_recorded_episodes_may_be_given(phr: Phr, teacher: Path, tmp_path: Path) -> None:
    recorded = named(corridor_experience(), phr_config(), teacher="mine", teacher_id=load_model(teacher).sha256)
    save_experience(recorded, tmp_path / "episodes.npz")
    words = ("distill", teacher, *DISTILL, "--out", tmp_path / "run", "--resume")
    assert phr(*words, "--experience", tmp_path / "episodes.npz").code == 0
    outcome = phr(*words)
    assert outcome.code == 2
    assert "another run: its experience is another (" in outcome.err


@pytest.mark.parametrize("loss", ["squared", "squared_logits", "kl", "forward-kl", "cross-entropy"])
def test_every_loss_has_its_word(phr: Phr, teacher: Path, tmp_path: Path, loss: str) -> None:
    words = ("--horizon", 2, "--n-updates", 1, "--n-episodes", 4, "--out", tmp_path, "--loss", loss)
    assert phr("distill", teacher, *words).code == 0
    assert load_model(tmp_path).manifest.notes["loss"] == loss.replace("-", "_")


def test_the_words_of_distill_reach_the_settings(phr: Phr, teacher: Path, tmp_path: Path) -> None:
    words = ("--horizon", 3, "--n-updates", 2, "--n-episodes", 5, "--window-stride", 2, "--loss-weight", 0.5, "--seed", 4)
    choices = ("--trunk-mode", "shared", "--pad", "no", "--sample-labels", "--joint")
    assert phr("distill", teacher, *words, *choices, "--out", tmp_path).code == 0
    settings = json.loads((tmp_path / "config.json").read_text())["settings"]
    wanted = {
        "horizon": 3, "n_updates": 2, "n_episodes": 5, "window_stride": 2, "loss_weight": 0.5, "seed": 4,
        "trunk_mode": "shared", "pad": False, "sample_labels": True, "joint": True,
    }  # fmt: skip
    assert {name: settings[name] for name in wanted} == wanted


def test_a_smaller_student_says_so_and_is_exported(phr: Phr, teacher: Path, tmp_path: Path) -> None:
    words = ("distill", teacher, *DISTILL, "--refine", 0, "--width", 8, "--out", tmp_path / "run")
    outcome = phr(*words)
    assert (outcome.code, outcome.err) == (0, "")
    assert "parameters of one look: student 360, teacher 4,674\n" in outcome.out
    assert json.loads((tmp_path / "run" / "config.json").read_text())["settings"]["width"] == 8
    assert "another run: settings.width is 8 there and 9 here" in phr(*(9 if word == 8 else word for word in words)).err
    assert phr(*words, "--resume").code == 0
    assert phr("export", tmp_path / "run", "--out", tmp_path / "small.onnx").code == 0
    told = evaluated(phr, tmp_path, tmp_path / "small.onnx", "--episodes", 2)
    assert (told["return_mean"], told["evaluations_per_episode"]) == (1, 1)


def test_refine_says_what_each_round_changed(phr: Phr, teacher: Path, tmp_path: Path) -> None:
    words = ("--horizon", 4, "--n-updates", 5, "--n-episodes", 16, "--out", tmp_path)
    rounds = ("--refine", 2, "--refine-windows", 80, "--refine-updates", 10)
    outcome = phr("distill", teacher, *words, *rounds)
    assert (outcome.code, outcome.err) == (0, "")
    for number in (1, 2):
        assert re.search(
            rf"refinement, round {number} of 2: \d+ new windows .* head by head: [\d. –]+ %; whole plans", outcome.out
        )
        assert re.search(rf"refinement, round {number} of 2, trained: [\d. –]+ %\n", outcome.out)
    settings = json.loads((tmp_path / "config.json").read_text())["settings"]
    assert [settings[name] for name in ("refine", "refine_windows", "refine_updates")] == [2, 80, 10]


def test_resume_on_a_finished_run_changes_nothing(phr: Phr, teacher: Path, student: Path) -> None:
    for words in ((*TRAIN, "--out", teacher), ("distill", teacher, *DISTILL, "--out", student)):
        folder = Path(str(words[-1]))
        before = snapshot(folder)
        outcome = phr(*words, "--resume")
        assert (outcome.code, outcome.err) == (0, "")
        assert f"written to {folder}" in outcome.out
        assert snapshot(folder) == before


def test_ctrl_c_leaves_a_run_that_resume_ends(
    phr: Phr, teacher: Path, student: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    update = PHR.update

    def pressed(self: PHR) -> dict[str, float]:
        if self.n_updates == 30:
            os.kill(os.getpid(), signal.SIGINT)
        return update(self)

    words = ("distill", teacher, *DISTILL, "--out", tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(PHR, "update", pressed)
        outcome = phr(*words)
    assert (outcome.code, outcome.err) == (
        130,
        f"phr: interrupted; phr resume {tmp_path} continues from the last checkpoint, or starts where there was none yet; "
        "episodes are recorded again\n",
    )
    assert (tmp_path / "checkpoint").exists()
    assert phr("resume", tmp_path).code == 0
    assert (tmp_path / "model.safetensors").read_bytes() == (student / "model.safetensors").read_bytes()


@pytest.mark.parametrize(
    ("words", "more"),
    [
        (("evaluate", "oracle"), ""),
        (("reproduce", "--out", "new"), "; phr reproduce --out new continues with what is missing"),
    ],
)
def test_ctrl_c_promises_only_what_is_true(
    phr: Phr, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], more: str
) -> None:
    def press(*_words: object, **_settings: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(package, words[0], press, raising=False)
    outcome = phr(*words)
    assert (outcome.code, outcome.out, outcome.err) == (130, "", f"phr: interrupted{more}\n")


def test_help_and_version(capsys: pytest.CaptureFixture[str]) -> None:
    for words, code, expected in (
        ([], 0, "usage: phr COMMAND"),
        (["--help"], 0, "reproduce"),
        (["--version"], 0, "phr 0."),
        (["train", "--help"], 0, "--total-timesteps"),
        (["distill", "--help"], 0, "--window-stride"),
        (["evaluate", "--help"], 0, "--commitment"),
        (["report", "--help"], 0, "--out"),
        (["reproduce", "--help"], 0, "--from-scratch"),
    ):
        with pytest.raises(SystemExit) as stop:
            main(words)
        assert stop.value.code == code
        captured = capsys.readouterr()
        assert expected in captured.out
        assert captured.err == ""


@pytest.mark.parametrize("columns", [80, 120])
@pytest.mark.parametrize("command", list(registered()))
def test_help_speaks_to_people(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, command: str, columns: int
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    with pytest.raises(SystemExit):
        main([command, "--help"])
    told = capsys.readouterr().out
    for term in ("None", "INT", "FLOAT", "STR", "PATH", "False", "{", "Literal"):
        assert term not in told
    assert max(len(line) for line in told.splitlines()) <= columns
    with pytest.raises(SystemExit):
        main([])
    overview = capsys.readouterr().out
    row = next(line for line in overview.splitlines() if line.startswith(f"  {command} "))
    assert row.split(maxsplit=1)[1] in told
    assert max(len(line) for line in overview.splitlines()) <= 80


def test_python_m_phr_is_phr() -> None:
    ran = subprocess.run([sys.executable, "-m", "phr", "trian"], capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stdout) == (2, "")
    assert ran.stderr == "phr: unknown command 'trian'; did you mean train?\n"
