from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
import pytest
import torch

from phr.distil.presets import teacher_config
from phr.envs.registry import make_env
from phr.errors import UnsupportedEnvironmentError
from phr.networks.policy import PlanNetwork, build_network
from phr.networks.trunks import TrunkConfig
from phr.teacher.a2c import A2CConfig
from phr_studies.bench.sb3 import (
    copy_weights,
    make_a2c,
    make_env_for_sb3,
    make_vec_env_for_sb3,
    symbol_planes,
)

CROSSING, FOUR_ROOMS, PONG = "MiniGrid-SimpleCrossingS9N1-v0", "PHR/FourRooms-v0", "PongDeterministic-v4"


def fresh(env_id: str, **trunk: Any) -> PlanNetwork:
    env = make_env(env_id)
    return build_network(env.observation_space, env.n_actions, 1, TrunkConfig(**trunk), seed=3)


@pytest.mark.parametrize("env_id", [CROSSING, FOUR_ROOMS, "MiniGrid-DoorKey-6x6-v0", "MiniGrid-LavaGapS5-v0"])
def test_symbols_become_the_planes_that_phr_shows(env_id: str) -> None:
    table = symbol_planes(make_env(env_id).observation_space.shape[0]).numpy()
    ours, theirs = make_env(env_id), make_env_for_sb3(env_id)
    rng = np.random.default_rng(0)
    for seed in range(5):
        ours.reset(seed)
        symbols, _ = theirs.reset(seed=seed)
        for _ in range(20):
            planes = table[symbols.astype(int) @ [24, 4, 1]].transpose(2, 1, 0)
            np.testing.assert_array_equal(planes, ours.observe())
            action = int(rng.integers(3))  # left, right, forward: nothing is picked up, nobody stands on anything
            _, terminated, _, _ = ours.advance(action)
            symbols = theirs.step(action)[0]
            if terminated:
                break


@pytest.mark.parametrize(
    ("env_id", "trunk"),
    [
        (CROSSING, {"kind": "grid", "channels": (4, 6, 8), "width": 16}),
        (PONG, {"kind": "atari", "channels": (4, 6, 8), "width": 16}),
    ],
)
def test_the_policies_are_one_function(env_id: str, trunk: dict[str, Any]) -> None:
    network = fresh(env_id, **trunk)
    env = make_vec_env_for_sb3(env_id, 2, "DummyVecEnv", seed=0)
    config = A2CConfig(n_envs=2, n_steps=3, gae_lambda=0.9, ent_coef=0.02, trunk=network.config.trunk)
    model = make_a2c(config, network.config, env)
    copy_weights(network, model)
    assert model.get_env() is not None
    policy: Any = model.policy
    assert sum(p.numel() for p in policy.parameters()) == sum(p.numel() for p in network.parameters())
    obs: Any = model.get_env().reset()  # type: ignore[union-attr]
    rng = np.random.default_rng(0)
    for _ in range(3):
        obs, *_ = model.get_env().step(rng.integers(network.config.n_actions, size=2))  # type: ignore[union-attr]
        ours = network.policy_and_value(planes_of(obs) if env_id == CROSSING else torch.from_numpy(obs))
        tensor, _ = policy.obs_to_tensor(obs)
        torch.testing.assert_close(policy.get_distribution(tensor).distribution.logits, ours[0].log_softmax(-1))
        torch.testing.assert_close(policy.predict_values(tensor).squeeze(1), ours[1])
    env.close()


def planes_of(obs: Any) -> torch.Tensor:
    """phr's planes of symbols that `VecTransposeImage` has turned round."""
    rows = np.tensordot([24, 4, 1], obs.astype(int), (0, 1))
    return symbol_planes(7)[rows].permute(0, 3, 2, 1)


def test_hyperparameters_are_the_same() -> None:
    env = make_vec_env_for_sb3(CROSSING, 16, "DummyVecEnv", seed=0)
    config = teacher_config(make_env(CROSSING), ent_coef=0.03, gamma=0.97, gae_lambda=0.8, optimizer_eps=1e-6)
    model = make_a2c(config, fresh(CROSSING, kind="grid").config, env)
    assert (model.n_envs, model.n_steps, model.gamma, model.gae_lambda) == (16, 8, 0.97, 0.8)
    assert (model.ent_coef, model.vf_coef, model.max_grad_norm) == (0.03, 0.5, 0.5)
    [group] = model.policy.optimizer.param_groups
    assert type(model.policy.optimizer) is torch.optim.RMSprop
    assert (group["lr"], group["alpha"], group["eps"]) == (config.learning_rate, 0.99, 1e-6)
    adam = make_a2c(A2CConfig(optimizer="adam", optimizer_eps=1e-7), fresh(CROSSING, kind="grid").config, env)
    assert type(adam.policy.optimizer) is torch.optim.Adam
    assert adam.policy.optimizer.param_groups[0]["eps"] == 1e-7
    assert isinstance(model.action_space, gymnasium.spaces.Discrete)
    assert model.action_space.n == make_env(CROSSING).n_actions


def test_processes_step_the_same_environments() -> None:
    shown = []
    for stepping in ("DummyVecEnv", "SubprocVecEnv"):
        env = make_vec_env_for_sb3(CROSSING, 2, stepping, seed=7)
        env.reset()
        shown.append([env.step(np.full(2, action))[0] for action in (2, 1, 2)])
        env.close()
    np.testing.assert_array_equal(shown[0], shown[1])


@pytest.mark.parametrize("env_id", ["CartPole-v1", "ALE/Pong-v5", f"{CROSSING}?view=partial"])
def test_other_environments_are_refused(env_id: str) -> None:
    with pytest.raises(UnsupportedEnvironmentError, match="peer"):
        make_vec_env_for_sb3(env_id, 1, "DummyVecEnv", seed=0)
