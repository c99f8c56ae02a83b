from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gymnasium import spaces

import phr
from phr.errors import IncompatibleModelError, MissingExtraError, UnknownModelError, UsageError
from phr.experience.archive import save_experience
from phr.experience.logged import _held, load_logged, space_of
from phr.experience.trajectory import Experience
from tests.trained import CORRIDOR, corridor_experience


def saved(experience: Experience, folder: Path) -> Path:
    save_experience(experience, folder / "log.npz")
    return folder / "log.npz"


def test_an_archive_says_what_it_was_logged_in(tmp_path: Path) -> None:
    logged = load_logged(saved(corridor_experience(), tmp_path))
    assert (logged.env_id, logged.action_space.n_outputs, logged.observation_space.shape) == (CORRIDOR, 2, (5,))


def test_the_environment_may_be_one_that_is_not_installed(tmp_path: Path) -> None:
    path = saved(replace(corridor_experience(), env_id="Robot-v0"), tmp_path)
    student = phr.distill(experience=path, horizon=4, n_updates=150, batch_size=64)
    assert student.env_id == "Robot-v0"
    np.testing.assert_array_equal(student.planner.plan(np.eye(5, dtype=np.float32)[:1]).mode(), [[1, 1, 1, 1]])


def test_the_environment_may_be_named(tmp_path: Path) -> None:
    path = saved(replace(corridor_experience(), env_id="Robot-v0"), tmp_path)
    logged = load_logged(path, CORRIDOR)
    assert (logged.env_id, logged.observation_space.high.max()) == (CORRIDOR, 1.0)
    with pytest.raises(IncompatibleModelError, match=r"has observations \(5,\) of float32 and 2 actions, CartPole"):
        load_logged(path, "CartPole-v1")


def test_something_has_to_be_named() -> None:
    with pytest.raises(UsageError, match="there is nothing to learn from; give a TEACHER, or --experience"):
        phr.distill(horizon=4)


@pytest.mark.parametrize(
    ("obs", "low", "high"),
    [
        (np.zeros((3, 4), np.float32), -np.inf, np.inf),
        (np.ones((3, 4), np.uint8), 0, 1),
        (np.full((3, 4), 2, np.uint8), 0, 255),
        (np.zeros((3, 4), np.int16), -32768, 32767),
    ],
)
def test_a_space_holds_what_was_seen(obs: Any, low: float, high: float) -> None:
    whole = corridor_experience().trajectories[0]
    arrays = {name: getattr(whole, name)[:1].repeat(3, axis=0) for name in ("actions", "rewards", "teacher_logits")}
    part = replace(whole, obs=obs, **arrays)
    space = space_of(Experience("made-up", (part,)))
    assert (space.dtype, space.shape, space.low.min(), space.high.max()) == (obs.dtype, (4,), low, high)


def test_without_minari_the_pip_line_is_told() -> None:
    code = """
import sys
sys.modules["minari"] = None
from phr.experience.logged import load_logged
try:
    load_logged("minari:corridor/right-v0")
except Exception as error:
    print(f"{type(error).__name__}: {error}")
"""
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=dict(os.environ))
    line = "MissingExtraError: minari:corridor/right-v0 needs the package minari; pip install 'phr[minari]'\n"
    assert ran.stdout == line
    assert MissingExtraError.__name__ in line


def write_dataset(
    folder: Path, monkeypatch: pytest.MonkeyPatch, seen: spaces.Space[Any], acted: spaces.Space[Any], obs: Any, actions: Any
) -> None:
    """A dataset of two equal episodes, ended by the environment where it is whole."""
    minari = pytest.importorskip("minari")
    from minari.data_collector import EpisodeBuffer

    monkeypatch.setenv("MINARI_DATASETS_PATH", str(folder))
    n = len(actions)
    whole = n == 4
    buffers = [
        EpisodeBuffer(
            id=index,
            observations=np.asarray(obs, seen.dtype),
            actions=np.asarray(actions, acted.dtype),
            rewards=[0.0] * (n - 1) + [float(whole)],
            terminations=[False] * (n - 1) + [whole],
            truncations=[False] * n,
            infos={},
        )
        for index in range(2)
    ]
    minari.create_dataset_from_buffers("corridor/right-v0", buffers, observation_space=seen, action_space=acted)


def test_a_minari_dataset_of_discrete_observations(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_dataset(tmp_path, monkeypatch, spaces.Discrete(5), spaces.Discrete(2), [0, 1, 2, 3, 4], [1, 1, 1, 1])
    logged = load_logged("minari:corridor/right-v0")
    assert [t.length for t in logged.experience.trajectories] == [4] * 2
    np.testing.assert_array_equal(logged.experience.trajectories[0].obs, np.eye(5, dtype=np.float32)[:4])
    assert logged.experience.trajectories[0].terminated
    student = phr.distill(experience="minari:corridor/right-v0", horizon=4, n_updates=150, batch_size=16)
    assert student.env_id == "minari:corridor/right-v0"
    np.testing.assert_array_equal(student.planner.plan(np.eye(5, dtype=np.float32)[:1]).mode(), [[1, 1, 1, 1]])


def test_a_minari_dataset_of_boxes_that_breaks_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    space = spaces.Box(0, 9, (2,), np.uint8)
    write_dataset(tmp_path, monkeypatch, space, spaces.Discrete(2), [[0, 0], [1, 0], [0, 0], [1, 0]], [1, 0, 1])
    logged = load_logged("minari:corridor/right-v0")
    first = logged.experience.trajectories[0]
    assert (first.obs.tolist(), first.actions.tolist()) == ([[0, 0], [1, 0], [0, 0]], [1, 0, 1])
    assert (first.terminated, first.truncated, logged.observation_space.high.tolist()) == (False, True, [9, 9])


def test_minari_datasets_that_cannot_be_learnt_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    acted = spaces.MultiBinary(1)
    write_dataset(tmp_path, monkeypatch, spaces.Discrete(5), acted, [0, 1, 2], [[1], [0]])
    with pytest.raises(IncompatibleModelError, match="right-v0': action space MultiBinary.* is not supported"):
        load_logged("minari:corridor/right-v0")
    with pytest.raises(UnknownModelError, match="there is no dataset 'corridor/none-v0' here; minari download"):
        load_logged("minari:corridor/none-v0")


@pytest.mark.parametrize(
    ("seen", "space"),
    [
        (np.array([[300], [1]]), spaces.Box(0, 255, (1,), np.uint8)),
        (np.array([[-1], [1]]), spaces.Box(0, 255, (1,), np.uint8)),
        (np.array([[0.5], [1.0]]), spaces.Box(0, 9, (1,), np.int64)),
        (np.array([[np.nan], [1.0]]), spaces.Box(0, 9, (1,), np.int64)),
        (np.array([0.7, 1.0]), spaces.Discrete(3)),
    ],
)
def test_logged_observations_are_neither_wrapped_nor_truncated(seen: Any, space: spaces.Space[Any]) -> None:
    with pytest.raises(ValueError, match="an observation is .*, which .* cannot hold"):
        _held(seen, np.dtype(space.dtype))
