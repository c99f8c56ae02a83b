"""Bad input: one line that says what is wrong, the right exit code, and nothing written or lost."""

from __future__ import annotations

import copy
import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.wrappers import TransformObservation

from phr import api
from phr.cli import main
from phr.experience.archive import save_experience
from phr.storage.model import RunDirectory, save_model
from phr.storage.tensors import network_tensors
from tests.cli.conftest import Outcome
from tests.experience.builders import experience, trajectory
from tests.helpers import make_corridor, make_noisy
from tests.trained import CORRIDOR, corridor_experience, corridor_student, corridor_teacher, saved

Phr = Callable[..., Outcome]


def make_four_cells() -> gymnasium.Env[Any, Any]:
    """Other observations than the corridor's."""
    return make_corridor(n_cells=4)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the commands run: with a teacher, a student, and nothing else."""
    saved(corridor_teacher(), tmp_path / "teacher")
    saved(corridor_student(), tmp_path / "student")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PHR_ZOO", str(tmp_path))
    return tmp_path


def contents(folder: Path) -> dict[str, bytes]:
    """Every file; a study's empty folder counts as nothing."""
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def refused(phr: Phr, folder: Path, code: int, *words: object, but: str = "") -> str:
    """What the command says; it must say it in one line, and leave no trace, `but` this file."""
    before, folders = contents(folder), set(folder.rglob("*/"))
    outcome = phr(*words)
    assert words[0] not in ("train", "distill") or set(folder.rglob("*/")) == folders
    assert outcome.code == code
    assert outcome.err.startswith("phr: ")
    assert outcome.err.endswith("\n")
    assert outcome.err.count("\n") == 1
    assert "Traceback" not in outcome.err
    assert _without(contents(folder), but) == _without(before, but)
    return outcome.err.removeprefix("phr: ").rstrip("\n")


def _without(found: dict[str, bytes], name: str) -> dict[str, bytes]:
    return {path: data for path, data in found.items() if Path(path).name != name}


CROSSING_MISS = ("train", "--env-id", "MiniGrid-SimpleCrossingS9N1-v1", "--out", "new")
NEW_TRAIN = ("train", "--env-id", CORRIDOR, "--out", "new")
NEW_STUDENT = ("distill", "teacher", "--horizon", 4, "--out", "new")
FOUR_CELLS = ("--env-id", "tests.cli.test_wrong_words:make_four_cells")

WRONG = {
    "unknown command": (("trian",), "unknown command 'trian'; did you mean train?"),
    "unknown command, far": (
        ("fly",),
        "choose one of train, distill, resume, tune, evaluate, export, bench, doctor, push, report, reproduce",
    ),
    "unknown command, dashes": (("--hlep",), "unknown command '--hlep'; did you mean --help?"),
    "unknown option": ((*NEW_TRAIN, "--gama", 1), "unknown option --gama; did you mean --gamma?"),
    "unknown option, far": ((*NEW_TRAIN, "--quux", 1), "unknown option --quux; see phr train --help"),
    "a positional word is no option": ((*NEW_STUDENT, "--teachr", 1), "unknown option --teachr; see phr distill --help"),
    "unexpected argument": (("evaluate", "student", "5"), "unexpected argument '5'; see phr evaluate --help"),
    "missing option": (("train", "--env-id", CORRIDOR), "missing: --out DIR; see phr train --help"),
    "missing options": (("train",), "missing: --env-id ID, --out DIR; see"),
    "missing teacher": (("distill", "--horizon", 4, "--out", "new"), "there is nothing to learn from; give a TEACHER"),
    "missing value": (("train", "--env-id", CORRIDOR, "--out"), "--out needs a value; see phr train --help"),
    "not a number": ((*NEW_TRAIN, "--seed", "x"), "--seed must be a whole number; got 'x'; see"),
    "not whole, with an exponent": ((*NEW_TRAIN, "--n-envs", "1e-1"), "--n-envs must be a whole number; got '1e-1'; see"),
    "not a whole number": ((*NEW_TRAIN, "--n-envs", "1.5"), "--n-envs must be a whole number; got '1.5'; see"),
    "not a rate": ((*NEW_TRAIN, "--learning-rate", "fast"), "--learning-rate must be a number; got 'fast'; see"),
    "unknown loss": (
        (*NEW_STUDENT, "--loss", "huber"),
        "--loss must be one of squared, squared-logits, kl, forward-kl, cross-entropy, gaussian; got 'huber'; see",
    ),
    "almost a loss": ((*NEW_STUDENT, "--loss", "squard"), "gaussian; got 'squard'; see phr distill --help"),
    "unknown trunk mode": (
        (*NEW_STUDENT, "--trunk-mode", "melted"),
        "must be one of shared, anchored, frozen, own; got 'melted'",
    ),
    "unknown profile": (
        ("reproduce", "--profile", "fast", "--out", "new"),
        "must be one of quick, paper; got 'fast'",
    ),
    "no teacher in the zoo": (
        ("reproduce", "--profile", "paper", "--out", "new"),
        "has no zoo:pong-teacher, the teacher of PongDeterministic-v4; add --from-scratch to train one for each seed",
    ),
    "report of nothing": (("report", "nowhere"), "nowhere is not a run directory"),
    "report of the oracle": (("report", "oracle"), "oracle has no network to load"),
    "unknown environment": (CROSSING_MISS, "'MiniGrid-SimpleCrossingS9N1-v1'; did you mean MiniGrid-SimpleCrossingS9N1-v0"),
    "unknown module": (("train", "--env-id", "no_such:thing", "--out", "new"), "cannot import 'no_such'"),
    "unknown factory": (("train", "--env-id", "tests.helpers:make_it", "--out", "new"), "has no 'make_it'"),
    "continuous actions": (
        ("train", "--env-id", "Pendulum-v1", "--out", "new"),
        "Stable-Baselines3 and distil that: phr distill",
    ),
    "no steps": ((*NEW_TRAIN, "--total-timesteps", 0), "total_timesteps must be >= 1, got 0"),
    "negative seed": ((*NEW_TRAIN, "--seed", -1), "seed must be >= 0, got -1"),
    "endless rate": ((*NEW_TRAIN, "--learning-rate", "nan"), "learning_rate must be finite, got nan"),
    "no threads": ((*NEW_TRAIN, "--threads", 0), "threads must be >= 1, got 0"),
    "horizon 0": (("distill", "teacher", "--horizon", 0, "--out", "new"), "the horizon must be >= 1, got 0"),
    "horizon 0, oracle": (
        ("evaluate", "oracle", "--horizon", 0, "--env-id", "PHR/FourRooms-v0"),
        "horizon must be >= 1, got 0",
    ),
    "no stride": ((*NEW_STUDENT, "--window-stride", 0), "window_stride must be >= 1, got 0"),
    "no weight": ((*NEW_STUDENT, "--loss-weight", 0), "loss_weight must be positive, got 0.0"),
    "no width": ((*NEW_STUDENT, "--width", 0), "width must lie in [1, 8192], got 0"),
    "all too wide": ((*NEW_STUDENT, "--width", "1e9"), "width must lie in [1, 8192], got 1000000000"),
    "width, shared": ((*NEW_STUDENT, "--width", 8, "--trunk-mode", "shared"), "trunk_mode must be 'anchored', got 'shared'"),
    "width, joint": ((*NEW_STUDENT, "--width", 8, "--joint"), "trunk_mode must be 'anchored', got 'shared'"),
    "endless number": ((*NEW_TRAIN, "--total-timesteps", "1e999999999"), "must be a whole number; got '1e999999999'"),
    "joint oracle": (
        (
            "distill",
            "oracle",
            "--horizon",
            4,
            "--out",
            "new",
            "--joint",
            "--trunk-mode",
            "shared",
            "--env-id",
            "PHR/FourRooms-v0",
        ),
        "joint training continues A2C, so it requires a teacher that phr trained",
    ),
    "joint, frozen": ((*NEW_STUDENT, "--joint", "--trunk-mode", "frozen"), "trunk_mode must be 'shared', got 'frozen'"),
    "rounds below none": ((*NEW_STUDENT, "--refine", -1), "refine must be >= 0, got -1"),
    "rounds in words": ((*NEW_STUDENT, "--refine", "some"), "--refine must be a whole number; got 'some'; see"),
    "rounds without windows": ((*NEW_STUDENT, "--refine", 1, "--refine-windows", 0), "refine_windows must be >= 1, got 0"),
    "rounds without steps": ((*NEW_STUDENT, "--refine", 1, "--refine-updates", 0), "refine_updates must be >= 1, got 0"),
    "joint, refined": ((*NEW_STUDENT, "--joint", "--refine", 1), "refinement asks a teacher that stands still, joint"),
    "sampling, refined": ((*NEW_STUDENT, "--sample-labels", "--refine", 1), "refinement asks the greedy teacher"),
    "joint, on return": ((*NEW_STUDENT, "--joint", "--finetune", 1000), "leave out finetune or joint"),
    "frozen, on return": (
        (*NEW_STUDENT, "--trunk-mode", "frozen", "--finetune", 1000),
        "training on return moves every head: trunk_mode must be 'anchored', got 'frozen'",
    ),
    "steps below none": ((*NEW_STUDENT, "--finetune", -1), "finetune must be >= 0, got -1"),
    "oracle nowhere": (("distill", "oracle", "--horizon", 4, "--out", "new"), "the oracle needs --env-id"),
    "oracle off the grid": (("evaluate", "oracle", "--env-id", "CartPole-v1"), "the oracle reads grids"),
    "no such model": (("evaluate", "nowhere"), "nowhere is not a run directory"),
    "no such model in the zoo": (("evaluate", "zoo:studen"), "did you mean zoo:student?"),
    "zip": (("evaluate", "ppo.zip"), "there is no file ppo.zip"),
    "commitment too long": (
        ("evaluate", "student", "--commitment", 5),
        "commitment must lie in 1..4 (the model's horizon), got 5",
    ),
    "commitment 0": (("evaluate", "student", "--commitment", 0), "commitment must lie in 1..4"),
    "commitment in words": (
        ("evaluate", "student", "--commitment", "all"),
        "--commitment must be auto or a whole number; got 'all'",
    ),
    "negative seed, distill": ((*NEW_STUDENT, "--seed", -1), "seed must be >= 0, got -1"),
    "negative seed, evaluate": (("evaluate", "student", "--seed", -1), "seed must be >= 0, got -1"),
    "no threads, distill": ((*NEW_STUDENT, "--threads", 0), "threads must be >= 1, got 0"),
    "no threads, evaluate": (("evaluate", "student", "--threads", 0), "threads must be >= 1, got 0"),
    "horizon of a network": (
        ("evaluate", "student", "--horizon", 4),
        "only the oracle takes a horizon; student has its own",
    ),
    "sticky off Atari": (
        ("evaluate", "student", "--sticky", 0.5),
        "it has no option 'sticky'; it has action-noise",
    ),
    "no runs": (("evaluate", "student", "--runs", 0), "runs must be >= 1, got 0"),
    "no steps to play": (("evaluate", "student", "--steps", 0), "steps must be >= 1, got 0"),
    "steps and episodes": (("evaluate", "student", "--steps", 9, "--episodes", 9), "give steps or episodes, not both"),
    "prefix in words": (
        ("evaluate", "student", "--random-prefix", "some"),
        "must be LO:HI, two whole numbers; got 'some'",
    ),
    "keep in words": ((*NEW_STUDENT, "--keep", "best"), "--keep"),
    "keep beyond": ((*NEW_STUDENT, "--keep", "1.5"), "keep must be one of 'auto', 'all', 'successes', or a quantile"),
    "no copies": ((*NEW_STUDENT, "--n-envs", 0), "n_envs must be >= 1, got 0"),
    "prefix of a student in words": ((*NEW_STUDENT, "--random-prefix", "some"), "must be LO:HI, two whole numbers"),
    "prefix upside down": (
        ("evaluate", "student", "--random-prefix", "5:2"),
        "random_prefix needs 0 <= low <= high, got 5:2",
    ),
    "all starts, sampling": (
        ("evaluate", "student", "--all-starts", "--sample"),
        "all starts are played once each, greedily and without a random prefix; leave out either all starts, or",
    ),
    "all starts, prefix": (
        ("evaluate", "student", "--all-starts", "--random-prefix", "0:3"),
        "all starts are played once each, greedily and without a random prefix",
    ),
    "other observations": (("evaluate", "student", *FOUR_CELLS), "the model reads observations float32 of shape (5,); "),
    "other observations, teacher": ((*NEW_STUDENT, *FOUR_CELLS), "the model reads observations float32 of shape (5,); "),
    "other actions": (("evaluate", "student", "--env-id", "tests.helpers:make_noisy"), "the model has 2 actions, "),
    "other actions, teacher": ((*NEW_STUDENT, "--env-id", "tests.helpers:make_noisy"), "the model has 2 actions, "),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_words_exit_with_2(phr: Phr, folder: Path, case: str) -> None:
    words, expected = WRONG[case]
    assert expected in refused(phr, folder, 2, *words)


@pytest.mark.parametrize("words", [(*NEW_TRAIN[:-1], "full"), (*NEW_STUDENT[:-1], "full"), ("reproduce", "--out", "full")])
@pytest.mark.parametrize("resume", [False, True])
def test_a_folder_that_holds_something_else_is_left_alone(
    phr: Phr, folder: Path, words: tuple[object, ...], resume: bool
) -> None:
    (folder / "full").mkdir()
    (folder / "full" / "thesis.tex").write_text("years of work")
    more = ("--resume",) if resume and words[0] != "reproduce" else ()
    kind = "study" if words[0] == "reproduce" else "run"
    message = f"full is not empty and is not the folder of a phr {kind}; choose another folder"
    assert message in refused(phr, folder, 2, *words, *more)


def test_a_folder_that_holds_another_run_is_left_alone(phr: Phr, folder: Path) -> None:
    tiny = ("--total-timesteps", 128, "--out", "run")
    assert phr("train", "--env-id", CORRIDOR, *tiny).code == 0
    assert "run holds a finished run; add --resume" in refused(phr, folder, 2, "train", "--env-id", CORRIDOR, *tiny)
    for more in ((), ("--resume",)):
        message = refused(phr, folder, 2, "train", "--env-id", CORRIDOR, *tiny, "--seed", 1, *more)
        assert message == "run holds another run: settings.seed is 0 there and 1 here; choose another folder"
        message = refused(phr, folder, 2, "train", "--env-id", "CartPole-v1", *tiny, *more)
        assert f"env_id is '{CORRIDOR}' there and 'CartPole-v1' here" in message
        message = refused(phr, folder, 2, "distill", "teacher", "--horizon", 4, "--out", "run", *more)
        assert "command is 'train' there and 'distill' here" in message


def edit(path: Path, change: Callable[[bytes], bytes]) -> None:
    path.write_bytes(change(path.read_bytes()))


@pytest.mark.parametrize(
    ("name", "change", "expected"),
    [
        ("model.safetensors", lambda data: data[:-1], "model.safetensors was truncated or edited"),
        ("model.safetensors", lambda data: data[:-1] + b"?", "model.safetensors was truncated or edited"),
        ("manifest.json", lambda data: data[:-9], "manifest.json is not readable JSON"),
        ("manifest.json", lambda data: data.replace(b"phr-model-1", b"phr-model-9"), "was not written by phr"),
        ("manifest.json", lambda _data: b"\xff\n\xff", "manifest.json is not readable JSON"),
    ],
)
def test_a_spoilt_file_exits_with_1(
    phr: Phr, folder: Path, name: str, change: Callable[[bytes], bytes], expected: str
) -> None:
    edit(folder / "student" / name, change)
    assert expected in refused(phr, folder, 1, "evaluate", "student")


def test_a_manifest_that_contradicts_the_network_exits_with_2(phr: Phr, folder: Path) -> None:
    edit(folder / "student" / "manifest.json", lambda data: data.replace(b'"n_actions": 2', b'"n_actions": 3', 1))
    assert "the manifest lists (observation, actions, horizon)" in refused(phr, folder, 2, "evaluate", "student")


def test_a_folder_without_a_model_exits_with_1(phr: Phr, folder: Path) -> None:
    (folder / "student" / "COMPLETE").unlink()
    assert refused(phr, folder, 1, "evaluate", "student") == "student holds no finished model"
    (folder / "student" / "checkpoint").mkdir()
    assert refused(phr, folder, 1, "evaluate", "student").endswith("its run can be resumed with --resume")


def test_a_teacher_without_success_exits_with_1_and_leaves_the_folder_free(phr: Phr, folder: Path) -> None:
    lost = copy.deepcopy(corridor_teacher().network)
    with torch.no_grad():
        lost.plan_head.weight.zero_()
        lost.plan_head.bias.copy_(torch.tensor([1.0, 0.0]))  # to the left, always
    save_model(folder / "lost", lost, corridor_teacher().manifest)
    words = (*NEW_STUDENT[2:], "--n-episodes", 4, "--random-prefix", "0:0")
    reported = ("distill", "teacher", *words, "--env-id", "tests.helpers:make_contrary")
    message = refused(phr, folder, 1, *reported)
    assert message.startswith("none of 4 episodes was a success (")
    message = refused(phr, folder, 2, "distill", "lost", *words, "--keep", "successes")
    assert message.startswith("keep='successes' needs to know which episodes were successes, and the environment reports")
    assert phr(*reported, "--n-updates", 1, "--keep", "all").code == 0
    outcome = phr("distill", "lost", *words[:2], "--out", "other", *words[4:], "--n-updates", 1, "--n-envs", 2)
    assert outcome.code == 0
    reason = "kept all 4 episodes, because success is unknown: the environment reports info['is_success'] for none of its"
    assert outcome.out.count(reason) == 2, "before the training, and beside the result"
    assert outcome.out.rindex(reason) < outcome.out.index("agreement with the teacher")


def test_an_oracle_before_a_door_exits_with_1(phr: Phr, folder: Path) -> None:
    words = ("evaluate", "oracle", "--env-id", "MiniGrid-DoorKey-5x5-v0")
    assert "this grid has a door" in refused(phr, folder, 1, *words)


def test_experience_of_another_environment_exits_with_2(phr: Phr, folder: Path) -> None:
    save_experience(experience(trajectory([1.0, 1.0])), folder / "other.npz")
    message = refused(phr, folder, 2, *NEW_STUDENT, "--experience", "other.npz")
    assert message == f"the experience was recorded in made-up, not in {CORRIDOR}"


def test_experience_of_another_teacher_exits_with_2(phr: Phr, folder: Path) -> None:
    """Also where a finished run would be taken up again: the file may have been recorded anew in between."""
    episodes = ("--n-episodes", 8, "--n-updates", 1, "--save-experience", "episodes.npz", "--out", "run")
    assert phr("distill", "student", "--horizon", 4, *episodes).code == 0
    for more in ((), ("--resume",)):
        message = refused(phr, folder, 2, *NEW_STUDENT, "--experience", "episodes.npz", *more)
        assert message.startswith("the experience was recorded from another teacher: student (")
        assert ", not teacher (" in message


def test_experience_that_names_no_teacher_cannot_be_refined(phr: Phr, folder: Path) -> None:
    save_experience(replace(corridor_experience(), origin=None), folder / "nobody.npz")
    said = refused(phr, folder, 2, *NEW_STUDENT, "--experience", "nobody.npz", "--refine", 1)
    assert said == "the experience does not record its teacher; record it again"


def test_experience_that_is_not_there_exits_with_1(phr: Phr, folder: Path) -> None:
    assert "none.npz is missing" in refused(phr, folder, 1, *NEW_STUDENT, "--experience", "none.npz")


def test_the_strict_cut_without_a_window_exits_with_1(phr: Phr, folder: Path) -> None:
    words = ("distill", "teacher", "--horizon", 9, "--out", "new", "--n-episodes", 4, "--pad", "no")
    assert "no episode is as long as the horizon 9" in refused(phr, folder, 1, *words)


def test_a_checkpoint_of_another_network_exits_with_2(phr: Phr, folder: Path) -> None:
    """A folder whose settings were edited to fit, but not its checkpoint."""
    words = ("train", "--env-id", CORRIDOR, "--total-timesteps", 128, "--out", "run")
    assert phr(*words).code == 0
    config = json.loads((folder / "run" / "config.json").read_text())
    run = RunDirectory(folder / "part", config, resume=False)
    run.begin()
    run.save_checkpoint(network_tensors(corridor_student().network), {"n_updates": 1})
    (folder / "part" / "command.json").write_text(json.dumps({"words": ["phr"], "folder": "."}))
    message = refused(phr, folder, 2, *words[:-1], "part", "--resume", but="command.json")
    assert message.startswith("the stored weights do not fit the network: ")


def make_broken() -> gymnasium.Env[Any, Any]:
    """Its third observation is not finite."""
    seen: list[int] = []

    def spoil(obs: Any) -> Any:
        seen.append(1)
        return np.full_like(obs, np.nan) if len(seen) > 2 else obs

    env = make_noisy()
    return TransformObservation(env, spoil, env.observation_space)


def test_an_observation_that_is_not_finite_exits_with_1(phr: Phr, folder: Path) -> None:
    outcome = phr("train", "--env-id", "tests.cli.test_wrong_words:make_broken", "--out", "new")
    message = "tests.cli.test_wrong_words:make_broken: reset() returned an observation that contains NaN, infinity or "
    assert outcome.code == 1
    assert outcome.err.startswith(f"phr: {message}a number too large for its dtype (seed ")
    assert outcome.err.count("\n") == 1


def fail(*_args: Any, **_kwargs: Any) -> None:
    raise RuntimeError("first line\n  second line")


def test_a_mistake_of_ours_is_one_line_too(phr: Phr, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api, "evaluate", fail)
    message = refused(phr, folder, 1, "evaluate", "student")
    assert message == "RuntimeError: first line second line (run again with --debug for the traceback)"


def test_debug_shows_tracebacks(phr: Phr, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    outcome = phr("--debug", "evaluate", "nowhere")
    assert outcome.code == 2
    assert outcome.err.startswith("Traceback (most recent call last)")
    assert outcome.err.splitlines()[-1].startswith("phr: nowhere is not a run directory")
    monkeypatch.setattr(api, "evaluate", fail)
    with pytest.raises(RuntimeError):
        main(["evaluate", "student", "--debug"])


WITHOUT = """
import sys
for name in sys.argv[1].split(","):
    sys.modules[name] = None  # importing it raises ModuleNotFoundError
from phr.cli import main
sys.exit(main(["train", "--env-id", "CartPole-v1", "--out", "new"]))
"""


@pytest.mark.parametrize("missing", ["torch", "tyro,gymnasium"])
def test_a_missing_extra_gives_the_pip_line(tmp_path: Path, missing: str) -> None:
    words = [sys.executable, "-c", WITHOUT, missing]
    ran = subprocess.run(words, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert (ran.returncode, ran.stdout) == (2, "")
    assert ran.stderr == f"phr: the command line needs {missing.replace(',', ', ')}; pip install 'phr[train]'\n"
    assert list(tmp_path.iterdir()) == []
