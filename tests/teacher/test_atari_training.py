from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from phr.distil.presets import ATARI_TRUNK, default_trunk_of, teacher_config
from phr.distil.runs import train_teacher
from phr.envs.atari import AtariVector
from phr.envs.registry import make_env
from phr.networks.trunks import TrunkConfig
from phr.teacher.a2c import A2C, A2CConfig, RolloutCollector

PONG = "PongDeterministic-v4"
SHORT = f"{PONG}?max_frames=80&noop_max=4"
NATURE = TrunkConfig(kind="atari")


def small(**settings: Any) -> A2CConfig:
    known = {"n_envs": 2, "n_steps": 4, "total_timesteps": 32, "n_evaluations": 1, "eval_episodes": 2, "trunk": NATURE}
    return A2CConfig(**{**known, **settings})


def at_random(obs: Tensor) -> tuple[Tensor, Tensor]:
    return torch.zeros(len(obs), 6), torch.zeros(len(obs))


def collector(env_id: str, n_steps: int) -> RolloutCollector:
    return RolloutCollector(lambda: make_env(env_id), A2CConfig(n_envs=2, n_steps=n_steps))


def test_a_few_updates_of_the_nature_network_in_pong() -> None:
    training = A2C(lambda: make_env(SHORT), small())
    assert all(isinstance(vector, AtariVector) for vector in training.collector.vectors)
    before = {name: value.clone() for name, value in training.network.state_dict().items()}
    metrics = [training.update() for _ in range(4)]
    assert training.done
    assert all(np.isfinite(list(row.values())).all() for row in metrics)
    assert "greedy_return" in metrics[-1]
    for name, value in training.network.state_dict().items():
        assert not torch.equal(value, before[name]), name


def test_rewards_and_ends_flow_as_the_games_give_them() -> None:
    breakout = "BreakoutDeterministic-v4?fire=reset"
    rollout = collector(breakout, 400).collect(lambda obs: (torch.zeros(len(obs), 4), torch.zeros(len(obs))))
    assert rollout.rewards.max() >= 1
    assert rollout.terminated.any()
    assert not rollout.truncated.any()
    assert not rollout.final_obs
    pong = collector(SHORT, 45)
    cut = pong.collect(at_random)
    assert cut.truncated.nonzero()[:, 0].unique().tolist() == [19, 39]  # 80 frames are 20 decisions
    assert sorted(cut.final_obs) == [(19, 0), (19, 1), (39, 0), (39, 1)]
    assert pong.averages()["episode_length"] == 20
    ends = cut.truncated.nonzero().tolist()
    for t, env in ends:
        assert not cut.obs[t + 1, env, :-1].any()  # a stack of one frame: the next game begins in the same step
        assert cut.final_obs[t, env][:-1].any(axis=(1, 2)).all()


def test_a_resumed_training_begins_new_episodes_and_keeps_the_rest() -> None:
    straight = A2C(lambda: make_env(PONG), small(total_timesteps=800))
    for _ in range(3):
        straight.update()
    tensors, state = straight.checkpoint()
    state = json.loads(json.dumps(state))
    tensors = {name: value.clone() for name, value in tensors.items()}
    resumed = [A2C(lambda: make_env(PONG), small(total_timesteps=800)) for _ in range(2)]
    for training in resumed:
        training.restore(tensors, state)
        assert training.n_updates == 3
        assert training.collector.state()["lengths"] == [0, 0]
    assert straight.collector.state()["lengths"] == [12, 12]
    assert resumed[0].update() == resumed[1].update()  # the seeds of the new episodes are fixed as well


def test_resuming_says_what_it_cannot_do(tmp_path: Path) -> None:
    config, path, said = small(total_timesteps=64, eval_episodes=1), tmp_path / "run", list[str]()

    def ctrl_c(_progress: object) -> None:
        signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        train_teacher(SHORT, config, path, on_progress=ctrl_c, say=said.append)
    assert said == []
    model = train_teacher(SHORT, config, path, resume=True, say=said.append)
    assert said == [f"{SHORT}: native games cannot be saved; resuming begins a new episode in each, not the one it was in"]
    assert (model.env_id, model.manifest.n_actions, model.manifest.obs_shape) == (SHORT, 6, (4, 84, 84))


def test_atari_presets() -> None:
    pong, other = teacher_config(make_env(PONG)), teacher_config(make_env("SpaceInvadersDeterministic-v4"))
    for config in (pong, other):
        assert (config.n_envs, config.n_steps, config.learning_rate, config.optimizer_eps) == (32, 8, 1e-3, 1e-5)
        assert (config.ent_coef, config.ent_coef * config.ent_coef_end) == pytest.approx((0.01, 0.003))
        assert config.trunk == ATARI_TRUNK
    assert pong.total_timesteps < other.total_timesteps
    assert default_trunk_of(make_env(PONG)) == ATARI_TRUNK
