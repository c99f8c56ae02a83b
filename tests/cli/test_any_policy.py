"""`phr distill` and `phr evaluate` with policies that phr did not train."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

from phr.experience.archive import save_experience
from phr.storage.model import load_model
from tests.teachers.sb3_models import env_id, made, make_vector
from tests.trained import CORRIDOR, corridor_experience

Phr = Any
SMALL = ("--n-episodes", 4, "--n-updates", 5, "--refine", 0)
VECTOR = env_id("vector")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name, algorithm in (("ppo", "PPO"), ("dqn", "DQN")):
        made(algorithm, "vector").save(tmp_path / f"{name}.zip")
    made("SAC", "continuous").save(tmp_path / "sac.zip")
    made("PPO", "switches").save(tmp_path / "switches.zip")
    VecNormalize(DummyVecEnv([make_vector])).save("vecnormalize.pkl")
    return tmp_path


@pytest.mark.parametrize(
    ("name", "where", "loss"),
    [
        ("ppo", "vector", "cross-entropy"),
        ("dqn", "vector", "cross-entropy"),
        ("sac", "continuous", "squared"),
        ("sac", "continuous", "gaussian"),
        ("switches", "switches", "cross-entropy"),
        ("switches", "switches", "kl"),
    ],
)
def test_a_zip_is_distilled_and_evaluated(phr: Phr, folder: Path, name: str, where: str, loss: str) -> None:
    words = ("--horizon", 4, "--out", "student", "--loss", loss, *SMALL)
    outcome = phr("distill", f"{name}.zip", "--env-id", env_id(where), *words)
    assert (outcome.code, outcome.err) == (0, "")
    student = load_model(folder / "student")
    assert (student.env_id, student.horizon, student.manifest.notes["teacher"]) == (env_id(where), 4, f"{name}.zip")
    for model in (f"{name}.zip", "student"):
        short = ("--steps", 40, "--runs", 1, "--observe-always")
        assert phr("evaluate", model, "--env-id", env_id(where), *short).code == 0


def test_statistics_are_used(phr: Phr, folder: Path) -> None:
    words = ("distill", "ppo.zip", "--env-id", VECTOR, "--horizon", 2, *SMALL, "--normalize", "vecnormalize.pkl")
    assert phr(*words, "--out", "student").code == 0
    again = phr("distill", "ppo.zip", "--env-id", VECTOR, "--horizon", 2, *SMALL, "--out", "student", "--resume")
    assert again.code == 2, "without the statistics it is another teacher"
    assert "student holds another run: its teacher is another" in again.err


@pytest.mark.parametrize(
    ("code", "words", "message"),
    [
        (2, ("distill", "ppo.zip"), "ppo.zip does not record its environment; add --env-id ID"),
        (2, ("distill", "none.zip"), "there is no file none.zip"),
        (
            2,
            ("distill", "sac.zip", "--env-id", env_id("continuous"), "--loss", "kl"),
            "the loss kl does not fit continuous actions of shape (3,) in -2 .. 5; choose one of squared, gaussian",
        ),
        (
            2,
            ("distill", "sac.zip", "--env-id", env_id("continuous"), "--sample-labels"),
            "sac.zip is an action-only teacher, which allows only squared or gaussian: it has no probabilities for sampled",
        ),
        (2, ("distill", "ppo.zip", "--env-id", VECTOR, "--loss", "gaussian"), "the loss gaussian does not fit 4 actions"),
        (
            2,
            ("distill", "dqn.zip", "--env-id", VECTOR, "--loss", "kl"),
            "dqn.zip is an action-only teacher, which allows only cross-entropy: it has no probabilities for the loss kl",
        ),
        (2, ("distill", "ppo.zip", "--env-id", VECTOR, "--normalize", "stats.pkl"), "there is no file stats.pkl"),
        (1, ("distill", "ppo.zip", "--env-id", VECTOR, "--normalize", "ppo.zip"), "ppo.zip is not a readable pickle"),
        (
            2,
            ("distill", "ppo.zip", "--frame-stack", 3),
            "--env-kwargs, --wrapper and --frame-stack change the environment of",
        ),
        (2, ("distill", "ppo.zip", "--env-id", VECTOR, "--trunk-mode", "own"), "ppo.zip has no network that a student"),
        (1, ("distill", "vecnormalize.pkl", "--env-id", VECTOR), "vecnormalize.pkl is a pickle, which can run any code"),
        (
            2,
            ("distill", "ppo.zip", "--env-id", VECTOR, "--experience", "minari:a/b-v0"),
            "minari:a/b-v0 was not recorded from this teacher; leave TEACHER out",
        ),
        (2, ("distill", "--normalize", "stats.npz"), "save_experience and normalize belong to a teacher"),
        (
            2,
            ("distill", "minari:cartpole/expert-v0"),
            "minari:cartpole/expert-v0 is a dataset, not a teacher; leave TEACHER out and use --experience minari:cartpole",
        ),
        (2, ("distill",), "there is nothing to learn from; give a TEACHER, or --experience FILE.npz or minari:NAME"),
    ],
)
def test_wrong_words_are_one_line(phr: Phr, folder: Path, code: int, words: tuple[Any, ...], message: str) -> None:
    outcome = phr(*words, "--horizon", 4, "--out", "student")
    assert (outcome.code, outcome.out) == (code, "")
    assert outcome.err.startswith(f"phr: {message}")
    assert outcome.err.count("\n") == 1
    assert not (folder / "student").exists()


def test_what_goes_around_an_environment_becomes_part_of_its_id(phr: Phr, folder: Path) -> None:
    around = ("--env-kwargs", "g=9.5", "--wrapper", "tests.envs.test_layers:halved", "--frame-stack", 2)
    where = "Pendulum-v1?kwargs.g=9.5&wrapper=tests.envs.test_layers:halved&frame-stack=2"
    outcome = phr(
        "evaluate", "tests.cli.test_any_policy:make_still", "--env-id", "Pendulum-v1", *around, "--steps", 20, "--runs", 1
    )
    assert (outcome.code, outcome.err) == (0, "")
    assert f" in {where}: " in outcome.out


def make_still() -> Any:
    return lambda obs: np.zeros((len(obs), 1), np.float32)


def test_logged_episodes_need_no_teacher(phr: Phr, folder: Path) -> None:
    save_experience(corridor_experience(), folder / "log.npz")
    words = ("distill", "--experience", "log.npz", "--horizon", 4, "--out", "student", "--n-updates", 150)
    outcome = phr(*words)
    assert (outcome.code, outcome.err) == (0, "")
    assert phr("evaluate", "student", "--steps", 40, "--runs", 1, "--observe-always").code == 0
    assert load_model(folder / "student").env_id == CORRIDOR
    assert phr(*words, "--resume").code == 0
    refused = phr(*words[:-3], "other", "--loss", "kl")
    assert (refused.code, refused.err.startswith("phr: logged actions allow only cross-entropy")) == (2, True)
