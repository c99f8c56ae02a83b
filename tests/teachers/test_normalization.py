"""The oracle is Stable-Baselines3's own VecNormalize."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gymnasium import spaces
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

import phr
from phr.errors import CorruptFileError, IncompatibleModelError, InvalidDataError, UnknownModelError, UsageError
from phr.teachers.normalization import Normalization, load_normalization, read_vecnormalize
from phr.teachers.policy import PolicyTeacher
from tests.teachers.sb3_models import VECTOR, StillEnv, env_id, made, make_vector, observations


def trained(**settings: Any) -> Any:
    """A wrapper that has seen a few hundred observations."""
    wrapper = VecNormalize(DummyVecEnv([make_vector]), **settings)
    wrapper.seed(0)
    wrapper.reset()
    for _ in range(300):
        wrapper.step(np.zeros(1, np.int64))
    return wrapper


def converted(wrapper: Any, folder: Path) -> Path:
    wrapper.save(str(folder / "vecnormalize.pkl"))
    phr.convert_vecnormalize(folder / "vecnormalize.pkl", folder / "stats.npz", trust=True)
    return folder / "stats.npz"


@pytest.mark.parametrize("settings", [{}, {"clip_obs": 0.7, "epsilon": 0.3}])
def test_a_normalised_policy_acts_as_stable_baselines3(tmp_path: Path, settings: dict[str, float]) -> None:
    wrapper = trained(**settings)
    wrapper.training = False
    model = made("PPO", "vector")
    model.save(tmp_path / "policy.zip")
    teacher = phr.load_teacher(tmp_path / "policy.zip", env_id=env_id("vector"), normalize=converted(wrapper, tmp_path))
    assert isinstance(teacher, PolicyTeacher)
    obs = observations(VECTOR, 10_000)
    expected, _ = model.predict(wrapper.normalize_obs(obs), deterministic=True)
    np.testing.assert_array_equal(teacher.plan(obs).mode()[:, 0], expected)
    plain, _ = model.predict(obs, deterministic=True)
    assert (plain != expected).any(), "else the statistics would not matter"


def test_the_statistics_are_those_of_the_pickle(tmp_path: Path) -> None:
    wrapper = trained(clip_obs=3.0, epsilon=1e-5)
    found = load_normalization(converted(wrapper, tmp_path))
    np.testing.assert_array_equal(found.mean, wrapper.obs_rms.mean)
    np.testing.assert_array_equal(found.var, wrapper.obs_rms.var)
    assert (found.clip_obs, found.epsilon) == (3.0, 1e-5)


def test_equal_statistics_have_equal_bytes(tmp_path: Path) -> None:
    first = converted(trained(), tmp_path).read_bytes()
    assert converted(trained(), tmp_path).read_bytes() == first


def test_what_normalises_no_plain_observations_is_refused(tmp_path: Path) -> None:
    with pytest.raises(IncompatibleModelError, match="normalises no observations"):
        converted(trained(norm_obs=False), tmp_path)
    table = VecNormalize(DummyVecEnv([lambda: StillEnv(spaces.Dict({"a": VECTOR}), spaces.Discrete(2))]))
    with pytest.raises(IncompatibleModelError, match="normalises Dict observations"):
        converted(table, tmp_path)


def test_other_pickles_and_missing_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "list.pkl").write_bytes(pickle.dumps([1, 2]))
    with pytest.raises(CorruptFileError, match="holds no VecNormalize"):
        read_vecnormalize(tmp_path / "list.pkl", trust=True)
    with pytest.raises(UnknownModelError, match="there is no file"):
        read_vecnormalize(tmp_path / "none.pkl", trust=True)
    with pytest.raises(UnknownModelError, match="there is no file"):
        read_vecnormalize(tmp_path / "none.pkl", trust=False)
    with pytest.raises(UsageError, match="add --trust"):
        phr.convert_vecnormalize(tmp_path / "list.pkl", tmp_path / "stats.npz")
    assert not (tmp_path / "stats.npz").exists()
    with pytest.raises(UnknownModelError, match="there is no file"):
        load_normalization(tmp_path / "none.npz")
    np.savez(tmp_path / "other.npz", mean=np.zeros(2))
    with pytest.raises(CorruptFileError, match="was not written by phr convert"):
        load_normalization(tmp_path / "other.npz")


def test_statistics_of_other_observations_are_refused(tmp_path: Path) -> None:
    made("PPO", "cells").save(tmp_path / "policy.zip")
    with pytest.raises(IncompatibleModelError, match=r"the statistics are of observations \(5,\), .* gives \(16,\)"):
        phr.load_teacher(tmp_path / "policy.zip", env_id=env_id("cells"), normalize=converted(trained(), tmp_path))


@pytest.mark.parametrize(
    "changes", [{"var": np.full(2, -1.0)}, {"mean": np.zeros(3)}, {"mean": np.full(2, np.nan)}, {"clip_obs": 0.0}]
)
def test_statistics_that_make_no_sense_are_refused(changes: dict[str, Any]) -> None:
    known: dict[str, Any] = {"mean": np.zeros(2), "var": np.ones(2), "clip_obs": 10.0, "epsilon": 1e-8}
    with pytest.raises(InvalidDataError):
        Normalization(**{**known, **changes})
