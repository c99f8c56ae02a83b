"""Train a Stable-Baselines3 teacher: python examples/train_sb3_teacher.py CartPole-v1 --out teachers/cartpole.zip.

The settings are those of rl-baselines3-zoo (https://github.com/DLR-RM/rl-baselines3-zoo, hyperparams/*.yml, MIT); comments
mark changes. Requires `pip install stable-baselines3`.
"""

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stable_baselines3 import DQN, PPO, SAC
from stable_baselines3.common.env_util import make_vec_env


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Settings of rl-baselines3-zoo for one environment."""

    algorithm: type[PPO] | type[DQN] | type[SAC]
    steps: int
    n_envs: int = 1
    own: dict[str, Any]
    """Arguments of the algorithm."""


def falling(start: float) -> Callable[[float], float]:
    """Return a schedule that decreases linearly to zero, `lin_…` in rl-baselines3-zoo."""
    return lambda remaining: start * remaining


SETTINGS = {
    "CartPole-v1": Settings(
        algorithm=PPO,
        steps=100_000,
        n_envs=8,
        own={
            **{"n_steps": 32, "batch_size": 256, "gae_lambda": 0.8, "gamma": 0.98, "n_epochs": 20},
            **{"learning_rate": falling(0.001), "clip_range": falling(0.2)},
        },
    ),
    "Acrobot-v1": Settings(  # rl-baselines3-zoo uses 1,000,000 steps and VecNormalize
        algorithm=PPO,
        steps=300_000,
        n_envs=16,
        own={"n_steps": 256, "gae_lambda": 0.94, "gamma": 0.99, "n_epochs": 4},
    ),
    "MountainCar-v0": Settings(  # rl-baselines3-zoo updates the target network every 5000 steps
        algorithm=DQN,
        steps=120_000,
        own={
            **{"batch_size": 128, "buffer_size": 10_000, "learning_starts": 1000, "gamma": 0.98, "learning_rate": 4e-3},
            **{"target_update_interval": 600, "train_freq": 16, "gradient_steps": 8},
            **{"exploration_fraction": 0.2, "exploration_final_eps": 0.07, "policy_kwargs": {"net_arch": [256, 256]}},
        },
    ),
    "LunarLander-v3": Settings(  # settings of LunarLander-v2
        algorithm=PPO,
        steps=1_000_000,
        n_envs=16,
        own={"n_steps": 1024, "batch_size": 64, "gae_lambda": 0.98, "gamma": 0.999, "n_epochs": 4, "ent_coef": 0.01},
    ),
    "Pendulum-v1": Settings(algorithm=SAC, steps=20_000, own={"learning_rate": 1e-3}),
    # rl-baselines3-zoo uses 1,000,000 steps.
    "HalfCheetah-v5": Settings(algorithm=SAC, steps=60_000, own={"learning_starts": 10_000}),
}


def train(env_id: str, out: Path, *, steps: int | None = None, seed: int = 0) -> None:
    """Train a teacher and save it."""
    settings = SETTINGS[env_id]
    envs = make_vec_env(env_id, settings.n_envs, seed=seed)
    model = settings.algorithm("MlpPolicy", envs, seed=seed, device="cpu", **settings.own)
    model.learn(settings.steps if steps is None else steps)
    out.parent.mkdir(parents=True, exist_ok=True)
    model.save(out)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Train a Stable-Baselines3 teacher.")
    parser.add_argument("env_id", choices=SETTINGS)
    parser.add_argument("--out", type=Path, required=True, help="output file, .zip")
    parser.add_argument("--steps", type=int, help="environment steps (default: those of the settings)")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    train(arguments.env_id, arguments.out, steps=arguments.steps, seed=arguments.seed)
