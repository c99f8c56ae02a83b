"""Train a Stable-Baselines3 teacher in minutes: python examples/train_sb3_teacher.py CartPole-v1 --out teachers/cartpole.zip.

Settings are those of rl-baselines3-zoo (https://github.com/DLR-RM/rl-baselines3-zoo, hyperparams/*.yml, MIT), shortened
where it says so, so that each stays below twenty minutes on two cores. Needs `pip install stable-baselines3`.
"""

import argparse
from pathlib import Path

import torch
from stable_baselines3 import DQN, PPO, SAC
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.vec_env import VecNormalize


def falling(start: float):
    """A rate that falls linearly to zero, `lin_…` in the zoo."""
    return lambda remaining: start * remaining


# algorithm, steps, environments side by side, normalised observations (VecNormalize), the algorithm's own settings
SETTINGS = {
    "CartPole-v1": (
        *(PPO, 100_000, 8, False),
        dict(n_steps=32, batch_size=256, gae_lambda=0.8, gamma=0.98, n_epochs=20),
        dict(learning_rate=falling(0.001), clip_range=falling(0.2)),
    ),
    "Acrobot-v1": (
        *(PPO, 300_000, 16, False),  # a third of the zoo's steps, and without its VecNormalize
        dict(n_steps=256, gae_lambda=0.94, gamma=0.99, n_epochs=4),
        {},
    ),
    "MountainCar-v0": (
        *(DQN, 120_000, 1, False),
        dict(batch_size=128, buffer_size=10_000, learning_starts=1000, gamma=0.98, target_update_interval=600),
        dict(
            learning_rate=4e-3,
            train_freq=16,
            gradient_steps=8,
            exploration_fraction=0.2,
            exploration_final_eps=0.07,
            policy_kwargs=dict(net_arch=[256, 256]),
        ),
    ),
    "LunarLander-v3": (
        *(PPO, 1_000_000, 16, False),
        dict(n_steps=1024, batch_size=64, gae_lambda=0.98, gamma=0.999, n_epochs=4, ent_coef=0.01),
        {},
    ),
    "Pendulum-v1": (
        *(SAC, 20_000, 1, False),
        dict(learning_rate=1e-3),
        {},
    ),
    "HalfCheetah-v5": (
        *(PPO, 1_000_000, 1, True),
        dict(n_steps=512, batch_size=64, gamma=0.98, gae_lambda=0.92, n_epochs=20, max_grad_norm=0.8, vf_coef=0.58),
        dict(
            learning_rate=2.0633e-05,
            ent_coef=0.000401762,
            clip_range=0.1,
            policy_kwargs=dict(
                log_std_init=-2, ortho_init=False, activation_fn=torch.nn.ReLU, net_arch=dict(pi=[256, 256], vf=[256, 256])
            ),
        ),
    ),
}


def train(env_id: str, out: Path, *, total_timesteps: int | None = None, seed: int = 0) -> BaseAlgorithm:
    """Train a teacher and save it; observation statistics go beside it, as FILE.pkl for `phr convert`."""
    algorithm, steps, n_envs, normalized, settings, more = SETTINGS[env_id]
    envs = make_vec_env(env_id, n_envs, seed=seed)
    if normalized:
        envs = VecNormalize(envs, gamma=settings["gamma"])
    model = algorithm("MlpPolicy", envs, seed=seed, device="cpu", **settings, **more)
    model.learn(steps if total_timesteps is None else total_timesteps)
    out.parent.mkdir(parents=True, exist_ok=True)
    model.save(out)
    if normalized:
        envs.save(out.with_suffix(".pkl"))
    return model


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("env_id", choices=SETTINGS)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--total-timesteps", type=int, help="shorter or longer than the settings say")
    parser.add_argument("--seed", type=int, default=0)
    said = parser.parse_args()
    train(said.env_id, said.out, total_timesteps=said.total_timesteps, seed=said.seed)
