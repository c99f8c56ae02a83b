"""Stable-Baselines3 models to read: made, not trained, with weights large enough for actions to differ."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
import torch
from gymnasium import spaces
from sb3_contrib import ARS, QRDQN, TQC, TRPO
from stable_baselines3 import A2C, DDPG, DQN, PPO, SAC, TD3

ALGORITHMS: dict[str, Any] = {
    "A2C": A2C, "PPO": PPO, "TRPO": TRPO, "DQN": DQN, "QRDQN": QRDQN, "SAC": SAC, "TQC": TQC, "TD3": TD3, "DDPG": DDPG,
    "ARS": ARS,
}  # fmt: skip
_SMALL: dict[str, dict[str, Any]] = {name: {"buffer_size": 4} for name in ("DQN", "QRDQN", "SAC", "TQC", "TD3", "DDPG")}


class StillEnv(gymnasium.Env[Any, Any]):
    """Shows random observations and does nothing; episodes last eight steps."""

    def __init__(self, observation_space: spaces.Space[Any], action_space: spaces.Space[Any]) -> None:
        self.observation_space, self.action_space = observation_space, action_space
        self._n_steps = 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        if seed is not None:
            self.observation_space.seed(seed)
        self._n_steps = 0
        return self.observation_space.sample(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self._n_steps += 1
        return self.observation_space.sample(), 1.0, False, self._n_steps == 8, {}


IMAGE = spaces.Box(0, 255, (84, 84, 4), np.uint8)
VECTOR = spaces.Box(-3, 3, (5,), np.float32)
RANGE = spaces.Box(np.array([-2, 0, 1], np.float32), np.array([2, 5, 1.5], np.float32))


def make_vector() -> StillEnv:
    return StillEnv(VECTOR, spaces.Discrete(4))


def make_image() -> StillEnv:
    """Channels last, as Stable-Baselines3's users have them."""
    return StillEnv(IMAGE, spaces.Discrete(6))


def make_channels_first() -> StillEnv:
    return StillEnv(spaces.Box(0, 255, (4, 84, 84), np.uint8), spaces.Discrete(6))


def make_float_image() -> StillEnv:
    return StillEnv(spaces.Box(0.0, 1.0, (4, 84, 84), np.float32), spaces.Discrete(6))


def make_cells() -> StillEnv:
    return StillEnv(spaces.Discrete(16), spaces.Discrete(4))


def make_continuous() -> StillEnv:
    return StillEnv(VECTOR, RANGE)


TABLE = spaces.Dict(
    {"a": VECTOR, "cell": spaces.Discrete(3), "flags": spaces.MultiBinary(2), "place": spaces.Box(-9, 9, (2, 2), np.float64)}
)
SCENE = spaces.Dict({"camera": spaces.Box(0, 255, (40, 48, 3), np.uint8), "speed": VECTOR})


def make_table() -> StillEnv:
    return StillEnv(TABLE, spaces.Discrete(4))


def make_scene() -> StillEnv:
    """A picture, channels last, beside numbers."""
    return StillEnv(SCENE, RANGE)


def make_switches() -> StillEnv:
    return StillEnv(VECTOR, spaces.MultiDiscrete([2, 3]))


def make_turned_switches() -> StillEnv:
    return StillEnv(VECTOR, spaces.MultiDiscrete([3, 2]))


def make_narrow() -> StillEnv:
    return StillEnv(VECTOR, spaces.Box(-1, 1, (3,), np.float32))


def make_flags() -> StillEnv:
    return StillEnv(VECTOR, spaces.MultiBinary(3))


def env_id(name: str) -> str:
    """What phr calls the environment of `make_{name}`."""
    return f"tests.teachers.sb3_models:make_{name}"


def made(algorithm: str, name: str, policy: str = "MlpPolicy", seed: int = 0, **settings: Any) -> Any:
    """A model whose last layers are scaled up, so that its most likely action depends on what it sees."""
    env = globals()[f"make_{name}"]()
    known = {**_SMALL.get(algorithm, {}), "device": "cpu", "seed": seed}
    model = ALGORITHMS[algorithm](policy, env, **{**known, **settings})
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.policy.parameters():
            if parameter.ndim == 1 or algorithm == "ARS":  # which begins with zeros
                parameter.copy_((0.1 if parameter.ndim == 1 else 0.5) * torch.randn(parameter.shape, generator=generator))
        last = _last_layer(model.policy)
        last.weight.copy_(torch.randn(last.weight.shape, generator=generator))
        if last.bias is not None:
            last.bias.zero_()
        seen, _ = model.policy.obs_to_tensor(observations(env.observation_space, 32))
        if algorithm == "DQN":  # what all observations have in common would decide alone
            last.bias.copy_(-model.policy.q_net(seen).mean(0))
        if algorithm == "QRDQN":
            last.bias.copy_(-model.policy.quantile_net(seen).mean(0).flatten())
    return model


def _last_layer(policy: Any) -> torch.nn.Linear:
    """The layer that the actions come out of."""
    names = ("action_net", "q_net", "quantile_net")
    root = next((getattr(policy, name) for name in names if hasattr(policy, name)), None) or policy.actor.mu
    return [layer for layer in root.modules() if isinstance(layer, torch.nn.Linear)][-1]


def observations(space: spaces.Space[Any], n: int, seed: int = 0) -> Any:
    """Random observations as Stable-Baselines3 is shown them; of a Dict a batch for each entry."""
    rng = np.random.default_rng(seed)
    if isinstance(space, spaces.Dict):
        return {key: observations(part, n, seed + index) for index, (key, part) in enumerate(space.spaces.items())}
    if isinstance(space, spaces.MultiBinary):
        return rng.integers(0, 2, (n, *space.shape), np.int8)
    if isinstance(space, spaces.Discrete):
        return rng.integers(space.n, size=n)
    assert isinstance(space, spaces.Box)
    if space.dtype == np.uint8:
        corners = rng.integers(0, 256, (n, *(min(side, 4) for side in space.shape)), np.uint8)  # not grey all over
        for axis, side in enumerate(space.shape, start=1):
            corners = corners.repeat(-(-side // corners.shape[axis]), axis)
        return corners
    return (3 * rng.normal(size=(n, *space.shape))).astype(space.dtype)
