"""The oracles are sb3-contrib's RecurrentPPO in its own loop, and a planner that counts what it has seen."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from sb3_contrib import RecurrentPPO
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

import phr
from phr.acting.agent import HorizonAgent, VectorHorizonAgent
from phr.actions import Discrete
from phr.distil.config import PHRConfig
from phr.distil.refine import StudentStates
from phr.envs.registry import make_env
from phr.envs.vector import Start
from phr.errors import IncompatibleModelError
from phr.evaluation.baselines import GreedyRepeat
from phr.evaluation.episodes import make_vector, play_episodes
from phr.experience.collect import collect_experience
from phr.observations import ObservationSpec
from phr.plan import Memory, memory_of
from phr.teachers.foreign import Reading
from phr.teachers.policy import RecurrentTeacher
from phr.teachers.references import resolve
from phr.teachers.sb3 import read_sb3
from tests.teachers.sb3_models import RANGE, VECTOR, StillEnv

HERE = "tests.teachers.test_recurrent"


class Counted(gymnasium.Env[Any, Any]):
    """Shows how many steps of the episode are over; episodes last 5 to 11 steps, by their seed."""

    observation_space = spaces.Box(0, 100, (1,), np.float32)
    action_space = spaces.Discrete(3)

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        self._step, self._length = 0, int(self.np_random.integers(5, 12))
        return np.zeros(1, np.float32), {}

    def step(self, action: Any) -> Any:
        self._step += 1
        return np.full(1, self._step, np.float32), 1.0, self._step == self._length, False, {}


def make_counted() -> Counted:
    return Counted()


class Counter:
    """Its action is the number of observations of the episode so far, modulo 3: right only if it saw each once, in order."""

    horizon, n_actions, action_space, remembers = 1, 3, Discrete(3), True
    obs_spec = ObservationSpec.of(Counted.observation_space)

    def plan(self, obs: NDArray[Any]) -> Any:
        return self.memory(len(obs)).plan(obs, np.arange(len(obs)))

    def memory(self, n: int) -> Memory:
        return _Count(self, n)


class _Count(Memory):
    remembers = True

    def __init__(self, planner: Counter, n: int) -> None:
        super().__init__(planner)
        self.seen, self._space = np.zeros(n, np.int64), planner.action_space

    def plan(self, obs: NDArray[Any], lanes: NDArray[Any]) -> Any:
        assert (obs[:, 0] == self.seen[lanes]).all(), "an observation was left out, or shown twice"
        self.seen[lanes] += 1
        return self._space.certain(self.seen[lanes, None] % 3)

    def forget(self, lanes: NDArray[Any]) -> None:
        self.seen[lanes] = 0


@pytest.mark.parametrize("n_envs", [1, 4])
def test_every_observation_is_remembered_once(n_envs: int) -> None:
    where = f"{HERE}:make_counted"
    starts = [Start(seed) for seed in range(9)]
    with make_vector(where, n_envs) as vector:
        experience = collect_experience(Counter(), vector, starts)
    for trajectory in experience.trajectories:
        np.testing.assert_array_equal(trajectory.actions, (trajectory.obs[:, 0].astype(int) + 1) % 3)
    with make_vector(where, n_envs) as vector:
        played = play_episodes(Counter(), vector, starts)
        repeated = play_episodes(GreedyRepeat(Counter(), 1), vector, starts)
    for actions, again, trajectory in zip(played.actions, repeated.actions, experience.trajectories, strict=True):
        np.testing.assert_array_equal(actions, trajectory.actions)
        np.testing.assert_array_equal(again, trajectory.actions)


def test_an_agent_remembers_until_its_reset() -> None:
    agent = HorizonAgent(Counter())
    for _ in range(3):
        agent.reset()
        assert [int(agent.act(np.full(1, step, np.float32))) for step in range(5)] == [1, 2, 0, 1, 2]
    vector = VectorHorizonAgent(Counter(), n_envs=3)
    assert vector.act(np.zeros((3, 1), np.float32)).tolist() == [1, 1, 1]
    vector.reset(np.array([False, True, False]))
    rows = np.array([[1], [0]], np.float32)
    assert vector.act(rows, np.array([True, True, False])).tolist()[:2] == [2, 1]
    assert vector.act(np.array([[1], [1]], np.float32), np.array([False, True, True])).tolist()[1:] == [2, 2]


def test_an_attribute_of_that_name_is_no_memory() -> None:
    class Own:
        horizon, n_actions, action_space, memory = 1, 3, Discrete(3), [1]

        def plan(self, obs: NDArray[Any]) -> Any:
            return self.action_space.certain(np.zeros((len(obs), 1), np.int64))

    assert int(HorizonAgent(Own()).act(np.zeros(1, np.float32))) == 0


@pytest.mark.parametrize("noise", [0.0, 0.5])
def test_windows_of_the_students_states_are_labelled_by_a_teacher_that_saw_all(noise: float) -> None:
    with make_env(f"{HERE}:make_counted") as env:
        student = GreedyRepeat(resolve(lambda obs: np.zeros(len(obs), int), env_id=env.env_id).planner, 4)
    config = PHRConfig(horizon=4, refine=1, refine_plans=3, refine_noise=noise)
    rng = np.random.default_rng(0)
    with make_vector(f"{HERE}:make_counted", 6, lambda env, episode: 100 * env + episode) as vector:
        states = StudentStates(student, Counter(), vector, rng, config)
        n = 0
        for _ in range(30):
            windows = states.turn()
            for obs, actions, valid in zip(windows.obs, windows.actions, windows.valid, strict=True):
                expected = (int(obs[0]) + 1 + np.arange(4)) % 3
                np.testing.assert_array_equal(actions[valid], expected[valid])
                n += 1
    assert n > 50


def make_vector_env() -> StillEnv:
    return StillEnv(VECTOR, spaces.Discrete(4))


def make_continuous() -> StillEnv:
    return StillEnv(VECTOR, RANGE)


def make_image() -> StillEnv:
    return StillEnv(spaces.Box(0, 255, (40, 40, 3), np.uint8), spaces.Discrete(4))


def saved(folder: Path, name: str = "vector_env", policy: str = "MlpLstmPolicy", **settings: Any) -> tuple[Path, Any]:
    """A policy whose actions depend on what it remembers."""
    kwargs = {"lstm_hidden_size": 8, "net_arch": [12], **settings}
    model = RecurrentPPO(policy, globals()[f"make_{name}"](), n_steps=8, device="cpu", seed=0, policy_kwargs=kwargs)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.policy.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * (0.05 if parameter.ndim == 4 else 0.7))
    model.save(folder / "policy.zip")
    return folder / "policy.zip", model


@pytest.mark.parametrize(
    ("name", "policy", "settings"),
    [
        ("vector_env", "MlpLstmPolicy", {}),
        ("vector_env", "MlpLstmPolicy", {"n_lstm_layers": 2, "shared_lstm": True, "enable_critic_lstm": False}),
        ("vector_env", "MlpLstmPolicy", {"enable_critic_lstm": False, "lstm_kwargs": {"bias": False}}),
        ("continuous", "MlpLstmPolicy", {}),
        ("image", "CnnLstmPolicy", {}),
    ],
)
def test_it_acts_as_sb3_contrib_in_its_own_loop(tmp_path: Path, name: str, policy: str, settings: dict[str, Any]) -> None:
    path, model = saved(tmp_path, name, policy, **settings)
    teacher = read_sb3(path, f"{HERE}:make_{name}")
    memory, rng = memory_of(teacher, 3), np.random.default_rng(0)
    assert memory.remembers
    state, starts, differs = None, np.ones(3, bool), 0
    for _ in range(40):
        if name == "image":
            obs: Any = rng.integers(0, 256, (3, 40, 40, 3), np.uint8)
        else:
            obs = rng.normal(size=(3, 5)).astype(np.float32)
        expected, state = model.predict(obs, state=state, episode_start=starts, deterministic=True)
        found = memory.plan(obs, np.arange(3)).mode()[:, 0]
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)
        differs += int((np.abs(teacher.plan(obs).mode()[:, 0] - expected) > 1e-3).any())
        starts = rng.random(3) < 0.2
        memory.forget(np.flatnonzero(starts))
    assert differs or name == "image", "else the memory would not matter"


def test_the_student_sees_a_stack_and_the_teacher_its_last_observation(tmp_path: Path) -> None:
    path, model = saved(tmp_path)
    found = resolve(path, env_id=f"{HERE}:make_vector_env")
    assert found.env_id == f"{HERE}:make_vector_env?frame-stack=4"
    assert any(
        "the policy remembers its episode; its student sees the last 4 observations" in line for line in found.notices
    )
    assert isinstance(found.planner, RecurrentTeacher)
    assert found.planner.n_frames == 4
    other = resolve(path, env_id=f"{HERE}:make_vector_env?frame-stack=2").planner
    assert isinstance(other, RecurrentTeacher)
    assert other.n_frames == 2
    with make_vector(found.env_id, 2) as vector:
        experience = collect_experience(found.planner, vector, [Start(seed) for seed in range(4)])
    for trajectory in experience.trajectories:
        state = None
        for step, (obs, action) in enumerate(zip(trajectory.obs, trajectory.actions, strict=True)):
            expected, state = model.predict(obs[-5:], state=state, episode_start=np.array([step == 0]), deterministic=True)
            assert action == expected


def test_statistics_are_those_of_one_observation(tmp_path: Path) -> None:
    path, model = saved(tmp_path)
    wrapper: Any = VecNormalize(DummyVecEnv([make_vector_env]), clip_obs=0.5)
    wrapper.obs_rms.mean, wrapper.obs_rms.var = np.arange(5.0), np.full(5, 4.0)
    wrapper.save(str(tmp_path / "vecnormalize.pkl"))
    wrapper.training = False
    found = resolve(path, env_id=f"{HERE}:make_vector_env", reading=Reading(normalize=tmp_path / "vecnormalize.pkl"))
    memory, rng, state = memory_of(found.planner, 1), np.random.default_rng(0), None
    for step in range(20):
        obs = rng.normal(size=(1, 20)).astype(np.float32)
        start = np.array([step == 0])
        expected, state = model.predict(
            wrapper.normalize_obs(obs[:, -5:]), state=state, episode_start=start, deterministic=True
        )
        assert memory.plan(obs, np.zeros(1, np.int64)).mode()[0, 0] == expected[0]


def test_a_student_is_distilled_refined_and_compared(tmp_path: Path) -> None:
    path, _ = saved(tmp_path)
    words: dict[str, Any] = {"n_episodes": 8, "n_updates": 6, "refine": 1, "refine_windows": 12, "refine_updates": 4}
    student = phr.distill(path, env_id=f"{HERE}:make_vector_env", horizon=2, curve_episodes=4, **words)
    assert student.env_id.endswith("?frame-stack=4")
    result = phr.evaluate(student, env_id=student.env_id, episodes=2, runs=1, bound=False)
    assert result.horizon == 2


def test_observations_that_are_no_stack_are_refused(tmp_path: Path) -> None:
    path, _ = saved(tmp_path)
    with pytest.raises(IncompatibleModelError, match=r"reads Box\(.*\(5,\), float32\), .* gives float32 of shape \(16,\)"):
        read_sb3(path, "tests.teachers.sb3_models:make_cells")
