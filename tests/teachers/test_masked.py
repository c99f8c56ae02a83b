"""The oracle is sb3-contrib's MaskablePPO: `predict(obs, action_masks=...)`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from sb3_contrib import MaskablePPO
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

import phr
from phr.envs.registry import make_env
from phr.errors import BrokenEnvironmentError, IncompatibleModelError, UnsupportedEnvironmentError
from phr.experience.archive import load_experience
from phr.teachers.foreign import Reading
from phr.teachers.references import resolve
from phr.teachers.sb3 import read_sb3
from tests.teachers.sb3_models import VECTOR, StillEnv, observations

HERE = "tests.teachers.test_masked"
N = 500
SPACES: dict[str, tuple[spaces.Space[Any], spaces.Space[Any]]] = {
    "vector": (VECTOR, spaces.Discrete(5)),
    "switches": (VECTOR, spaces.MultiDiscrete([2, 3])),
    "table": (spaces.Dict({"a": VECTOR, "b": spaces.MultiBinary(3)}), spaces.Discrete(4)),
    "image": (spaces.Box(0, 255, (40, 40, 3), np.uint8), spaces.Discrete(4)),
}


class Masked(StillEnv):
    """Which actions are legal depends on the observation alone; an illegal one is an error, as in many board games."""

    latest: Any = None

    def reset(self, **kwargs: Any) -> Any:
        self.latest, info = super().reset(**kwargs)
        return self.latest, info

    def step(self, action: Any) -> Any:
        flags = self.action_masks()
        if isinstance(self.action_space, spaces.Discrete):
            assert flags[int(action)], "an illegal action"
        self.latest, *others = super().step(action)
        return self.latest, *others

    def action_masks(self) -> Any:
        return masks_of(self.latest, self.action_space)


def masks_of(obs: Any, space: Any) -> NDArray[np.bool_]:
    parts = [space.n] if isinstance(space, spaces.Discrete) else space.nvec.tolist()
    first = obs["a"] if isinstance(obs, dict) else obs
    code = int(abs(float(np.asarray(first, np.float64).sum())) * 1000)
    flags = []
    for n in parts:
        mine = np.array([(code >> place) & 1 == 1 for place in range(n)])
        mine[code % n] = True
        flags.append(mine)
    return np.concatenate(flags)


def _make(name: str) -> Masked:
    return Masked(*SPACES[name])


def make_vector() -> Masked:
    return _make("vector")


def make_switches() -> Masked:
    return _make("switches")


def make_table() -> Masked:
    return _make("table")


def make_image() -> Masked:
    return _make("image")


def saved(name: str, folder: Path, policy: str) -> tuple[Path, Any]:
    model = MaskablePPO(policy, _make(name), n_steps=8, device="cpu", seed=0)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        last: Any = model.policy.action_net
        last.weight.copy_(torch.randn(last.weight.shape, generator=generator))
    model.save(folder / "policy.zip")
    return folder / "policy.zip", model


@pytest.mark.parametrize(
    ("name", "policy"),
    [("vector", "MlpPolicy"), ("switches", "MlpPolicy"), ("table", "MultiInputPolicy"), ("image", "CnnPolicy")],
)
def test_it_acts_as_sb3_contrib(tmp_path: Path, name: str, policy: str) -> None:
    path, model = saved(name, tmp_path, policy)
    where = f"{HERE}:make_{name}?action-masks"
    teacher = read_sb3(path, where)
    with make_env(where) as env:
        shown: Any = env.gym_env.observation_space
    space = SPACES[name][1]
    obs = observations(SPACES[name][0], N if name != "image" else 24)
    n = len(next(iter(obs.values())) if isinstance(obs, dict) else obs)
    each = [{key: part[index] for key, part in obs.items()} if isinstance(obs, dict) else obs[index] for index in range(n)]
    flags = np.stack([masks_of(one, space) for one in each])
    expected, _ = model.predict(obs, action_masks=flags, deterministic=True)
    free, _ = model.predict(obs, deterministic=True)
    rows: list[Any] = []
    for one, legal in zip(each, flags, strict=True):
        parts = one if isinstance(one, dict) else {"observation": one}
        rows.append(spaces.flatten(shown, {**parts, "action_masks": legal.astype(np.uint8)}))
    plan: Any = teacher.plan(np.stack(rows))
    np.testing.assert_array_equal(plan.mode()[:, 0], expected)
    assert (free != expected).any(), "else the masks would not matter"
    if isinstance(space, spaces.Discrete):
        assert plan.probs[:, 0][~flags].max() < 1e-6


def test_masks_are_shown_without_being_asked_for(tmp_path: Path) -> None:
    path, _ = saved("vector", tmp_path, "MlpPolicy")
    found = resolve(path, env_id=f"{HERE}:make_vector")
    assert found.env_id == f"{HERE}:make_vector?action-masks"
    assert any(
        "masks illegal actions, so observations show which are legal: the environment is made as" in line
        for line in found.notices
    )
    assert phr.evaluate(path, env_id=f"{HERE}:make_vector", episodes=3, runs=1, bound=False).env_id == found.env_id


def test_recorded_actions_are_legal_and_the_student_sees_the_masks(tmp_path: Path) -> None:
    path, _ = saved("vector", tmp_path, "MlpPolicy")
    file = tmp_path / "episodes.npz"
    words: dict[str, Any] = {"n_episodes": 6, "n_updates": 8, "refine": 0, "curve_episodes": 0, "prefix": (0, 0)}
    student = phr.distill(path, env_id=f"{HERE}:make_vector", horizon=2, save_experience=file, **words)
    assert student.env_id == f"{HERE}:make_vector?action-masks"
    for trajectory in load_experience(file).trajectories:
        legal = trajectory.obs[: len(trajectory.actions), -5:]
        assert legal[np.arange(len(legal)), trajectory.actions].all()


def test_a_normalised_policy(tmp_path: Path) -> None:
    path, model = saved("vector", tmp_path, "MlpPolicy")
    wrapper: Any = VecNormalize(DummyVecEnv([make_vector]), clip_obs=0.5)
    wrapper.obs_rms.mean, wrapper.obs_rms.var = np.arange(5.0), np.full(5, 4.0)
    wrapper.save(str(tmp_path / "vecnormalize.pkl"))
    wrapper.training = False
    found = resolve(path, env_id=f"{HERE}:make_vector", reading=Reading(normalize=tmp_path / "vecnormalize.pkl"))
    obs = observations(VECTOR, N)
    flags = np.stack([masks_of(one, SPACES["vector"][1]) for one in obs])
    expected, _ = model.predict(wrapper.normalize_obs(obs), action_masks=flags, deterministic=True)
    rows = np.concatenate([obs, flags.astype(np.float32)], axis=1)
    np.testing.assert_array_equal(found.planner.plan(rows).mode()[:, 0], expected)


def test_environments_without_masks_are_refused(tmp_path: Path) -> None:
    path, _ = saved("vector", tmp_path, "MlpPolicy")
    with pytest.raises(
        IncompatibleModelError, match=r"masks illegal actions, and .*make_vector shows no masks; add \?action-masks"
    ):
        read_sb3(path, f"{HERE}:make_vector")
    with pytest.raises(
        UnsupportedEnvironmentError, match=r"action-masks needs a method action_masks\(\) and discrete actions"
    ):
        resolve(path, env_id="tests.teachers.sb3_models:make_vector")
    with pytest.raises(UnsupportedEnvironmentError, match=r"action-masks needs a method"):
        make_env("Pendulum-v1?action-masks")


class WrongMasks(Masked):
    def action_masks(self) -> Any:
        return np.zeros(5)


def make_wrong() -> Masked:
    return WrongMasks(*SPACES["vector"])


def test_masks_that_leave_nothing_are_refused() -> None:
    with (
        make_env(f"{HERE}:make_wrong?action-masks") as env,
        pytest.raises(BrokenEnvironmentError, match="must return 5 flags, one"),
    ):
        env.reset(0)
