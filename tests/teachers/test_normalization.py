"""The oracle is Stable-Baselines3's own VecNormalize."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces
from stable_baselines3 import A2C
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

import phr
from phr.errors import CorruptFileError, IncompatibleModelError, InvalidDataError, UnknownModelError
from phr.teachers.foreign import Reading
from phr.teachers.normalization import Normalization, read_vecnormalize
from phr.teachers.policy import PolicyTeacher
from phr.teachers.references import resolve
from tests.teachers.sb3_models import SCENE, TABLE, VECTOR, StillEnv, env_id, made, make_vector, observations


def trained(make: Any = make_vector, **settings: Any) -> Any:
    """A wrapper that has seen a few hundred observations."""
    wrapper = VecNormalize(DummyVecEnv([make]), **settings)
    wrapper.seed(0)
    wrapper.reset()
    for _ in range(300):
        wrapper.step(np.array([wrapper.action_space.sample()]))
    wrapper.training = False
    return wrapper


def flat_rows(space: spaces.Dict, obs: Any) -> Any:
    """Observations of a Dict as phr shows them."""
    n = len(next(iter(obs.values())))
    rows: list[Any] = [spaces.flatten(space, {key: part[index] for key, part in obs.items()}) for index in range(n)]
    return np.stack(rows)


def saved(wrapper: Any, folder: Path) -> Path:
    wrapper.save(str(folder / "vecnormalize.pkl"))
    return folder / "vecnormalize.pkl"


@pytest.mark.parametrize("settings", [{}, {"clip_obs": 0.7, "epsilon": 0.3}])
def test_a_normalised_policy_acts_as_stable_baselines3(tmp_path: Path, settings: dict[str, float]) -> None:
    wrapper = trained(**settings)
    model = made("PPO", "vector")
    model.save(tmp_path / "policy.zip")
    teacher = phr.load_teacher(tmp_path / "policy.zip", env_id=env_id("vector"), normalize=saved(wrapper, tmp_path))
    assert isinstance(teacher, PolicyTeacher)
    obs = observations(VECTOR, 10_000)
    expected, _ = model.predict(wrapper.normalize_obs(obs), deterministic=True)
    np.testing.assert_array_equal(teacher.plan(obs).mode()[:, 0], expected)
    plain, _ = model.predict(obs, deterministic=True)
    assert (plain != expected).any(), "else the statistics would not matter"


@pytest.mark.parametrize("keys", [None, ["speed"]])
def test_entries_of_a_dict_are_normalised_each_by_its_own(tmp_path: Path, keys: list[str] | None) -> None:
    """A normalised picture is no image any more, so Stable-Baselines3 reads it as numbers."""
    space = spaces.Dict({"camera": spaces.Box(0, 255, (4, 3), np.uint8), "speed": VECTOR})
    wrapper = trained(lambda: StillEnv(space, spaces.Discrete(3)), norm_obs_keys=keys, clip_obs=1.5)
    found = read_vecnormalize(saved(wrapper, tmp_path))
    assert found is not None
    flat = spaces.flatten_space(space)
    assert isinstance(flat, spaces.Box)
    obs = observations(space, 200)
    rows = flat_rows(space, obs)
    expected = wrapper.normalize_obs({key: part.copy() for key, part in obs.items()})
    joined = np.concatenate([np.float32(expected[key]).reshape(200, -1) for key in space.spaces], axis=1)
    np.testing.assert_array_equal(found.over(space, flat).apply(torch.from_numpy(rows)).numpy(), joined)


def test_a_policy_on_a_normalised_dict_acts_as_stable_baselines3(tmp_path: Path) -> None:
    wrapper = trained(lambda: StillEnv(TABLE, spaces.Discrete(4)), norm_obs_keys=["a", "place"])
    model = made("A2C", "table", "MultiInputPolicy")
    model.save(tmp_path / "policy.zip")
    path = saved(wrapper, tmp_path)
    teacher = phr.load_teacher(tmp_path / "policy.zip", env_id=env_id("table"), normalize=path)
    obs = observations(TABLE, 300)
    rows = flat_rows(TABLE, obs)
    expected, _ = model.predict(wrapper.normalize_obs(obs), deterministic=True)
    np.testing.assert_array_equal(teacher.plan(rows).mode()[:, 0], expected)
    with pytest.raises(IncompatibleModelError, match="make_scene: the statistics are of 'a', it gives camera, speed"):
        read_sb3_in_scene(tmp_path, path)


def read_sb3_in_scene(folder: Path, statistics: Path) -> None:
    A2C("MultiInputPolicy", StillEnv(SCENE, spaces.Box(-1, 1, (2,))), device="cpu").save(folder / "scene.zip")
    phr.load_teacher(folder / "scene.zip", env_id=env_id("scene"), normalize=statistics)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_the_statistics_are_those_of_the_pickle(tmp_path: Path, dtype: Any) -> None:
    wrapper = trained(clip_obs=3.0, epsilon=1e-5)
    wrapper.obs_rms.mean = wrapper.obs_rms.mean.astype(dtype)
    read = read_vecnormalize(saved(wrapper, tmp_path))
    assert read is not None
    found = read.entries[None]
    np.testing.assert_array_equal(found.mean, wrapper.obs_rms.mean)
    np.testing.assert_array_equal(found.deviation, np.sqrt(wrapper.obs_rms.var + 1e-5))
    assert set(found.limit.tolist()) == {3.0}


@pytest.mark.parametrize("name", ["mean", "var"])
@pytest.mark.parametrize("dtype", [bool, np.int64, np.complex128, "U3", object])
def test_statistics_of_other_kinds_of_numbers_are_refused(tmp_path: Path, name: str, dtype: Any) -> None:
    wrapper = trained()
    setattr(wrapper.obs_rms, name, getattr(wrapper.obs_rms, name).astype(dtype))
    with pytest.raises(CorruptFileError, match="holds no statistics"):
        read_vecnormalize(saved(wrapper, tmp_path))


@pytest.mark.parametrize(
    "change", [{"clip_obs": True}, {"epsilon": None}, {"clip_obs": "10"}, {"norm_obs": "no"}, {"norm_obs": 1}]
)
def test_settings_of_other_types_are_refused(tmp_path: Path, change: dict[str, Any]) -> None:
    wrapper = trained()
    vars(wrapper).update(change)
    with pytest.raises(CorruptFileError, match="holds no statistics|norm_obs is"):
        read_vecnormalize(saved(wrapper, tmp_path))


@pytest.mark.parametrize("protocol", range(6))
def test_every_protocol_of_pickles_is_read(tmp_path: Path, protocol: int) -> None:
    wrapper = trained()
    (tmp_path / "vecnormalize.pkl").write_bytes(pickle.dumps(wrapper, protocol))
    read = read_vecnormalize(tmp_path / "vecnormalize.pkl")
    assert read is not None
    np.testing.assert_array_equal(read.entries[None].mean, wrapper.obs_rms.mean)


def test_statistics_of_rewards_alone_are_none(tmp_path: Path) -> None:
    path = saved(trained(norm_obs=False), tmp_path)
    assert read_vecnormalize(path) is None
    made("PPO", "vector").save(tmp_path / "policy.zip")
    teacher = phr.load_teacher(tmp_path / "policy.zip", env_id=env_id("vector"), normalize=path)
    obs = observations(VECTOR, 100)
    plain = phr.load_teacher(tmp_path / "policy.zip", env_id=env_id("vector"))
    np.testing.assert_array_equal(teacher.plan(obs).mode(), plain.plan(obs).mode())


def test_other_pickles_and_missing_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "list.pkl").write_bytes(pickle.dumps([1, 2]))
    with pytest.raises(CorruptFileError, match="holds no VecNormalize"):
        read_vecnormalize(tmp_path / "list.pkl")
    with pytest.raises(UnknownModelError, match="there is no file"):
        read_vecnormalize(tmp_path / "none.pkl")
    (tmp_path / "empty.pkl").write_bytes(b"")
    with pytest.raises(CorruptFileError, match="is not a readable pickle"):
        read_vecnormalize(tmp_path / "empty.pkl")


def test_statistics_of_other_observations_are_refused(tmp_path: Path) -> None:
    made("PPO", "cells").save(tmp_path / "policy.zip")
    with pytest.raises(IncompatibleModelError, match=r"the statistics are of observations \(5,\), it gives \(16,\)"):
        phr.load_teacher(tmp_path / "policy.zip", env_id=env_id("cells"), normalize=saved(trained(), tmp_path))


@pytest.mark.parametrize(
    "changes",
    [{"deviation": np.full(2, 0.0)}, {"mean": np.zeros(3)}, {"mean": np.full(2, np.nan)}, {"limit": np.array([1.0, 0.0])}],
)
def test_statistics_that_make_no_sense_are_refused(changes: dict[str, Any]) -> None:
    known: dict[str, Any] = {"mean": np.zeros(2), "deviation": np.ones(2), "limit": np.full(2, np.inf)}
    with pytest.raises(InvalidDataError):
        Normalization(**{**known, **changes})


@pytest.mark.parametrize("changes", [{"var": np.full(2, -1e-9)}, {"clip_obs": np.inf}, {"epsilon": np.nan}])
def test_pickled_numbers_that_make_no_sense_are_refused(changes: dict[str, Any]) -> None:
    known: dict[str, Any] = {"mean": np.zeros(2), "var": np.ones(2), "clip_obs": 10.0, "epsilon": 1e-8}
    with pytest.raises(InvalidDataError):
        Normalization.of(**{**known, **changes})


def learnt(normalise: bool, folder: Path, **settings: Any) -> Path:
    """A policy trained for a few steps, with or without VecNormalize."""
    env: Any = DummyVecEnv([make_vector])
    env = VecNormalize(env, **settings) if normalise else env
    A2C("MlpPolicy", env, n_steps=4, device="cpu").learn(16).save(folder / "policy.zip")
    return folder / "policy.zip"


@pytest.mark.parametrize(
    ("normalise", "settings", "given", "message"),
    [
        (True, {}, False, "was trained with VecNormalize, and no statistics are given"),
        (True, {}, True, None),
        (True, {"norm_obs": False}, False, "unless it normalised rewards alone"),
        (True, {"norm_obs": False}, True, None),
        (False, {}, False, None),
        (False, {}, True, "was trained on observations as they are"),
    ],
)
def test_a_file_shows_whether_its_observations_were_normalised(
    tmp_path: Path, normalise: bool, settings: dict[str, Any], given: bool, message: str | None
) -> None:
    path = learnt(normalise, tmp_path, **settings)
    statistics = saved(trained(**settings), tmp_path) if given else None
    warnings = resolve(path, env_id=env_id("vector"), reading=Reading(normalize=statistics)).warnings
    assert ([message in line for line in warnings] == [True]) if message else warnings == ()
