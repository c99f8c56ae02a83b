"""Stage-1 settings that measured best, by environment. Where nothing is known, the fields' own defaults serve."""

from __future__ import annotations

from typing import Any

from phr.actions import Discrete
from phr.envs import FOUR_ROOMS_ID
from phr.envs.minigrid_split import FullViewEnv, PartialViewEnv
from phr.envs.split import SplitEnv
from phr.errors import UnsupportedEnvironmentError
from phr.learning.a2c import A2CConfig
from phr.learning.settings import given_settings
from phr.networks.trunks import TrunkConfig, default_trunk

GRID_TRUNK = TrunkConfig(kind="grid", channels=(16, 32, 32), width=256)
"""Half the reference network in every width; learns the grids as well, at a third of the time a look."""

ATARI_TRUNK = TrunkConfig(kind="atari", channels=(16, 32, 32), width=512)
"""The Nature network with half its channels; learns Pong as well."""

_GRID: dict[str, Any] = {"trunk": GRID_TRUNK, "reward_scale": 10.0, "gamma": 0.97}

_BATCHES_OF_32: dict[str, Any] = {
    "trunk": TrunkConfig(kind="grid", channels=(16, 16, 32), width=256),
    "n_envs": 32,
    "learning_rate": 2e-3,
    "ent_coef_end": 0.2,
}
"""Batches of 32 and a smaller network learn a grid as well, in less time."""

_ATARI: dict[str, Any] = {
    "trunk": ATARI_TRUNK,
    "total_timesteps": 10_000_000,
    "n_envs": 32,  # with 4, Pong never leaves -20
    "optimizer_eps": 1e-5,
    "ent_coef_end": 0.3,
    "eval_episodes": 10,  # a game has thousands of steps
}

_PRESETS: dict[str, dict[str, Any]] = {
    # Half a dozen decisions in a row may be a turn too early before a detour shows. A needless step has to cost a tenth,
    # some entropy has to keep the better action known, and the critic has to know the cells beside the shortest way.
    "MiniGrid-SimpleCrossingS9N1-v0": {
        **_GRID,
        **_BATCHES_OF_32,
        "total_timesteps": 1_600_000,
        "gamma": 0.9,
        "ent_coef": 0.05,
        "prefix": (0, 30),
    },
    # Two ways lead to the goal, of 23 and 24 steps. Varied starts keep both known, and a steep discount tells them apart.
    FOUR_ROOMS_ID: {
        "trunk": TrunkConfig(kind="grid", channels=(16, 16, 16), width=128),
        "total_timesteps": 1_200_000,
        "n_steps": 16,
        "learning_rate": 1.5e-3,
        "gamma": 0.9,
        "ent_coef": 0.1,
        "ent_coef_end": 0.6,
        "reward_scale": 10.0,
        "prefix": (0, 300),
        "n_evaluations": 40,
        "eval_episodes": 1,
    },
    # A world of doors and keys is found out quickly; entropy keeps it from settling on half of the way.
    "MiniGrid-DoorKey-5x5-v0": {**_GRID, "total_timesteps": 800_000, **_BATCHES_OF_32, "gamma": 0.95, "ent_coef": 0.05},
    # Random play crosses the lava once in 130 episodes: rewards have to be heard beside the entropy bonus, and a random
    # beginning would end in the lava.
    "MiniGrid-LavaCrossingS9N1-v0": {
        **_GRID,
        **_BATCHES_OF_32,
        "total_timesteps": 2_400_000,
        "learning_rate": 1e-3,
        "reward_scale": 20.0,
    },
    # Two small rooms lie anywhere in 25×25 cells. What to do there is found by convolutions that see both rooms, alike
    # everywhere, and only where they found it by the layer that reads every cell.
    "MiniGrid-MultiRoom-N2-S4-v0": {
        **_GRID,
        "trunk": TrunkConfig(kind="grid", channels=(16, 16, 16, 16, 32), width=128),
        "total_timesteps": 3_000_000,
        "n_envs": 32,
        "gamma": 0.95,
        "ent_coef": 0.03,
        "ent_coef_end": 0.3,
    },
    # Every game is won in the end; who wins faster scores more in the same time.
    "PongDeterministic-v4": {**_ATARI, "total_timesteps": 8_000_000, "eval_episodes": 30, "best_by": "return_per_step"},
}


_FURTHER = 0.3
"""Of the learning rate is what trained weights begin with when they are trained further."""


def teacher_config(env: SplitEnv, **overrides: Any) -> A2CConfig:
    """Stage-1 settings for an environment; `overrides` win, None means 'as measured best'.

    Raises:
        SettingError: If an override is no setting, or has a value that makes no sense.
        UnsupportedEnvironmentError: If the actions are not Discrete.
    """
    if not isinstance(env.action_space, Discrete):
        raise UnsupportedEnvironmentError(
            f"{env.env_id} has {env.action_space}, and phr trains teachers over Discrete(n) alone; train it with "
            f"Stable-Baselines3 and distil that: phr distill FILE.zip --env-id {env.env_id} --horizon N --out DIR"
        )
    known = _PRESETS.get(env.env_id) or _family(env) or {"trunk": default_trunk(env.observation_space)}
    return A2CConfig(**{**known, **given_settings(A2CConfig, overrides)})


def further_config(env: SplitEnv, trunk: TrunkConfig, **overrides: Any) -> A2CConfig:
    """The same for a teacher that is trained further, on its own trunk; its rate rises first, and its entropy stays low."""
    known = teacher_config(env)
    config = {
        "warmup": 0.05,
        "learning_rate": known.learning_rate * _FURTHER,
        "ent_coef": known.ent_coef * known.ent_coef_end,
    }
    return teacher_config(env, trunk=trunk, **{**config, **given_settings(A2CConfig, overrides)})


def default_trunk_of(env: SplitEnv) -> TrunkConfig:
    """The layers of a fresh network for an environment."""
    return family_trunk(env) or default_trunk(env.observation_space)


def family_trunk(env: SplitEnv) -> TrunkConfig | None:
    """The layers that serve environments of this kind; None where nothing is known of it."""
    trunk: TrunkConfig | None = _family(env).get("trunk")
    return trunk


def _family(env: SplitEnv) -> dict[str, Any]:
    """What serves environments of this kind; empty for those that nothing is known of."""
    if isinstance(env, FullViewEnv | PartialViewEnv):
        return _GRID
    return _ATARI if env.family == "atari" else {}
