"""Values that only a file that was edited can hold: each is refused from the error tree."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import phr
from phr.actions import action_space_from_json
from phr.errors import CorruptFileError, InvalidDataError, NonFiniteError, PhrError, error_text, first_line
from phr.experience.archive import load_experience, save_experience
from phr.experience.trajectory import Experience, Trajectory
from phr.files import read_json, read_jsonl
from phr.manifest import Manifest
from phr.networks.policy import NetworkConfig
from tests.trained import corridor_student

SPACES: list[tuple[dict[str, Any], int]] = [
    ({"kind": "multi_discrete", "nvec": [float("inf")]}, 3),
    ({"kind": "multi_discrete", "nvec": "12"}, 3),
    ({"kind": "multi_discrete", "nvec": [True, 2]}, 3),
    ({"kind": "multi_discrete", "nvec": [1.5, 1.5]}, 3),
    ({"kind": "continuous", "low": [0, 0], "high": [1, 1], "shape": [-1, -2]}, 2),
    ({"kind": "continuous", "low": [0], "high": [1], "shape": [1.0]}, 1),
    ({"kind": "continuous", "low": "0", "high": [1], "shape": [1]}, 1),
    ({"kind": "continuous", "low": ["0"], "high": [1], "shape": [1]}, 1),
    ({"kind": "continuous", "low": [10**400], "high": [None], "shape": [1]}, 1),
    ({"kind": "continuous", "low": [1e300], "high": [None], "shape": [1]}, 1),
]


@pytest.mark.parametrize(("values", "n"), SPACES)
def test_no_action_space_is_made_of_forged_values(values: dict[str, Any], n: int) -> None:
    with pytest.raises(InvalidDataError):
        action_space_from_json(values, n)


FORGED: list[dict[str, Any]] = [
    {"network": []}, {"network": {"label_smoothing": "abc"}}, {"network": {"label_smoothing": 1.0}},
    {"network": {"label_smoothing": float("nan")}}, {"commitment": "abc"}, {"commitment": 0}, {"commitment": 5},
    {"horizon": 4.0}, {"horizon": True}, {"n_actions": "2"}, {"obs_shape": "5"}, {"obs_shape": [-5]},
    {"obs_dtype": "object"},
    {"obs_dtype": "no type"}, {"env_id": 3}, {"kind": "stranger"}, {"files": []},
    {"files": {"../model": "0"}},
    {"notes": "x"}, {"action_space": {"kind": "multi_discrete", "nvec": [float("inf")]}}, {"more": 1},
    {"versions": {"phr": 1}}, {"commitment": {"threshold": 2}}, {"commitment": {"threshold": 0.5, "more": 1}},
    {"notes": {"agreement_per_head": []}}, {"notes": {"agreement_per_head": ["a"]}}, {"notes": {"refinement": [1]}},
    {"notes": {"calibration": {"error": 0.1}}}, {"notes": {"calibration": {"error": 0.1, "reliability": [[1, 1, 0]]}}},
    {"notes": {"curve": {"shares": {}}}}, {"notes": {"tuned": "certified"}}, {"notes": {"tuned": {"verdict": 3}}},
    {"notes": {"doubts": "none"}}, {"notes": {"greedy_return": "high"}}, {"notes": {"lowered": {"n_episodes": 1.5}}},
]  # fmt: skip


@pytest.mark.parametrize("change", FORGED, ids=str)
def test_a_forged_manifest_is_refused(change: dict[str, Any]) -> None:
    values = corridor_student().manifest.to_json()
    assert Manifest.from_json(dict(values), "m").horizon == 4
    with pytest.raises(CorruptFileError, match=r"^manifest.json was edited: "):
        Manifest.from_json({**values, **change}, "manifest.json")


@pytest.mark.parametrize(
    "change",
    [{"label_smoothing": 1.0}, {"label_smoothing": "a"}, {"horizon": 4.0}, {"obs_shape": [-5]}, {"trunk": []}],
    ids=str,
)
def test_a_forged_network_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(PhrError):
        NetworkConfig.from_json({**corridor_student().network.config.to_json(), **change})


@pytest.mark.parametrize("text", ["[" * 200_000, "1" * 5000])
def test_json_that_python_chokes_on_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "deep.json").write_text(text)
    with pytest.raises(CorruptFileError, match="deep.json is not readable JSON"):
        read_json(tmp_path / "deep.json")
    (tmp_path / "deep.jsonl").write_text(text + "\n{}\n")
    with pytest.raises(CorruptFileError, match="line 1, is not readable JSON"):
        read_jsonl(tmp_path / "deep.jsonl")


def test_json_of_any_size_is_not_read(tmp_path: Path) -> None:
    with (tmp_path / "large.json").open("wb") as file:
        file.truncate(1 << 33)
    with pytest.raises(CorruptFileError, match="large.json has 8,589,934,592 bytes, more than --max-model-bytes"):
        read_json(tmp_path / "large.json")


def episode(**arrays: Any) -> Trajectory:
    plain: dict[str, Any] = {
        "obs": np.eye(6, 3, dtype=np.float32),
        "actions": np.zeros(6, np.int64),
        "teacher_logits": np.zeros((6, 2), np.float32),
        "rewards": np.ones(6, np.float32),
    }
    return Trajectory(**{**plain, **arrays}, terminated=True, truncated=False)


@pytest.mark.parametrize(
    "arrays",
    [
        {"obs": np.full((6, 3), "a")},
        {"obs": np.full((6, 3), 1j)},
        {"rewards": np.full(6, "a")},
        {"teacher_logits": np.full((6, 2), "a")},
        {"actions": np.full((6, 1), "a")},
    ],
)
def test_an_episode_holds_numbers(arrays: dict[str, Any]) -> None:
    with pytest.raises(InvalidDataError, match="must have a dtype of kind"):
        episode(**arrays)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_an_episode_sees_finite_numbers(value: float) -> None:
    obs = np.zeros((6, 3), np.float32)
    obs[4:, 1] = value
    with pytest.raises(NonFiniteError, match="obs contains NaN or Inf at step 4 of 6"):
        episode(obs=obs)


@pytest.mark.parametrize(
    "arrays",
    [
        {"actions": np.zeros(6, np.int32)},
        {"actions": np.zeros(6, np.uint8)},
        {"teacher_logits": np.zeros((6, 2)), "rewards": np.ones(6, np.int64)},
        {"obs": np.eye(6, 3, dtype=">f4")},
        {"obs": np.eye(6, 3, dtype=bool)},
    ],
)
def test_an_archive_of_other_number_types_is_learnt_from(tmp_path: Path, arrays: dict[str, Any]) -> None:
    save_experience(Experience("Robot-v0", (episode(**arrays),) * 2), tmp_path / "log.npz")
    found = load_experience(tmp_path / "log.npz").trajectories[0]
    assert (found.actions.dtype.name, found.rewards.dtype.name, found.obs.dtype.isnative) == ("int64", "float32", True)
    student = phr.distill(experience=tmp_path / "log.npz", horizon=2, n_updates=2)
    assert student.manifest.obs_dtype == found.obs.dtype.name


@pytest.mark.parametrize("kind", [PhrError, CorruptFileError, NonFiniteError])
def test_an_error_is_one_line_whatever_its_text_holds(kind: type[PhrError]) -> None:
    error = kind("first\nsecond\r\n  third\x1b[2J")
    assert str(error) == "first second   third\\x1b[2J"
    again = pickle.loads(pickle.dumps(error))
    assert (type(again), str(again)) == (kind, str(error))


class MuteError(Exception):
    def __str__(self) -> str:
        raise ValueError("no text")


@pytest.mark.parametrize(
    ("error", "text", "first"),
    [
        (ValueError("a\n b"), "ValueError: a b", "a"),
        (ValueError(), "ValueError:", "ValueError"),
        (ValueError("\n\n"), "ValueError:", "ValueError"),
        (MuteError(), "MuteError: its text cannot be read", "MuteError"),
    ],
)
def test_any_error_has_a_text(error: Exception, text: str, first: str) -> None:
    assert (error_text(error), first_line(error)) == (text, first)
