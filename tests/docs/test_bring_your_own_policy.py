"""The page's blocks, run one after another in one folder, as a reader would."""

from __future__ import annotations

import re
import shlex
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from stable_baselines3 import PPO
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

from phr.cli import main
from tests.hub_server import hub
from tests.teachers.test_training_run import zoo_run

PAGE = Path(__file__).parents[2] / "docs" / "bring-your-own-policy.md"

SMALLER = {
    'RecurrentPPO("MlpLstmPolicy", "CartPole-v1").learn(50_000)': (
        'RecurrentPPO("MlpLstmPolicy", "CartPole-v1", n_steps=32, batch_size=32).learn(32)'
    ),
    'PPO("MultiInputPolicy", make_cart()).learn(50_000)': (
        'PPO("MultiInputPolicy", make_cart(), n_steps=32, batch_size=32).learn(32)'
    ),
    'PPO("MlpPolicy", "CartPole-v1").learn(50_000)': 'PPO("MlpPolicy", "CartPole-v1", n_steps=32, batch_size=32).learn(32)',
    "learning_starts=100).learn(10_000)": "buffer_size=40).learn(8)",
    "horizon=8": "horizon=8, n_episodes=4, n_updates=5, refine=0",
    "steps=10_000": "steps=60, runs=1, observe_always=True",
}
"""What a reader has minutes for and a test has not: the settings that make it short."""


def blocks() -> Iterator[tuple[str, str]]:
    """The language line and the text of every block."""
    for found in re.finditer(r"^```(.+?)\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL):
        yield found[1], found[2]


def run_python(text: str) -> None:
    for shown, short in SMALLER.items():
        text = text.replace(shown, short)
    exec(compile(text, "page", "exec"), {"__name__": "page"})


def run_shell(text: str) -> None:
    for line in text.splitlines():
        words = [word for word in shlex.split(line) if word != "PYTHONPATH=."]
        assert words[0] == "phr"
        short = {"distill": ["--n-updates", "5"], "evaluate": ["--runs", "1", "--observe-always"]}.get(words[1], [])
        if words[1] == "distill" and not words[2].startswith("--"):
            short += ["--n-episodes", "4", "--refine", "0"]
        assert main([*("60" if word == "10000" else word for word in words[1:]), *short]) == 0, line


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with what the page takes for granted: a policy trained under VecNormalize."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    wrapper = VecNormalize(DummyVecEnv([make_cartpole]))
    PPO("MlpPolicy", wrapper, n_steps=32, batch_size=32, device="cpu").learn(32).save("normalized.zip")
    wrapper.save("vecnormalize.pkl")
    return tmp_path


def make_cartpole() -> Any:
    import gymnasium

    return gymnasium.make("CartPole-v1")


def write_dataset(folder: Path, monkeypatch: pytest.MonkeyPatch) -> bool:
    """A dataset as Minari keeps it; False where Minari is not installed."""
    try:
        import minari
        from minari.data_collector import EpisodeBuffer
    except ModuleNotFoundError:
        return False
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(folder / "datasets"))
    env = make_cartpole()
    seen = np.stack([env.reset(seed=seed)[0] for seed in range(5)])
    episode = EpisodeBuffer(
        id=0,
        observations=seen,
        actions=np.array([0, 1, 0, 1]),
        rewards=[1.0] * 4,
        terminations=[False] * 3 + [True],
        truncations=[False] * 4,
        infos={},
    )
    spaces = {"observation_space": env.observation_space, "action_space": env.action_space}
    minari.create_dataset_from_buffers("cartpole/expert-v0", [episode], **spaces)
    return True


def serve_run(folder: Path, monkeypatch: pytest.MonkeyPatch, read: Callable[[], None]) -> None:
    """Let a reader run a block beside a hub that holds the zoo's run; without huggingface_hub there is nothing to read."""
    try:
        from huggingface_hub import constants
    except ModuleNotFoundError:
        return
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(folder / "cache"))
    monkeypatch.setenv("HF_TOKEN", "hf_test")
    repository = folder / "hub" / "sb3" / "ppo-Pendulum-v1"
    shutil.copytree(folder / "ppo" / "Pendulum-v1_1", repository)
    with hub(folder / "hub") as (address, _):
        monkeypatch.setenv("HF_ENDPOINT", address)
        read()
    assert (folder / "hub" / "me" / "pendulum-student" / "README.md").exists()


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_every_block_of_the_page_runs(desk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ran = []
    for kind, text in blocks():
        if kind.startswith("python file="):
            (desk / kind.partition("=")[2]).write_text(text)
        elif kind == "python":
            run_python(text)
        elif kind == "sh zoo":
            zoo_run(desk / "ppo", "Pendulum-v1")
            run_shell(text)
        elif kind == "sh hub":
            serve_run(desk, monkeypatch, lambda: run_shell(text))  # noqa: B023  # called at once
        elif kind == "sh" or (kind == "sh minari" and write_dataset(desk, monkeypatch)):
            run_shell(text)
        ran.append(kind)
    assert ran.count("python") == 7
    assert ran.count("sh") == 8
    students = {path.parent.name for path in desk.glob("runs/*/COMPLETE")}
    assert {
        "zoo-student",
        "cleanrl-student",
        "dict-student",
        "recurrent-student",
        "ppo-student",
        "student",
        "normalized",
        "actor-student",
        "rule-student",
        "recorded",
        "from-log",
    } <= students
