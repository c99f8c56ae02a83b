"""Settings that measured best, by environment. Where nothing is known, the fields' own defaults serve."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from dataclasses import dataclass, field, fields, replace
from typing import Any

from gymnasium import spaces

from phr.actions import ActionSpace, Continuous, Discrete
from phr.envs import FOUR_ROOMS_ID
from phr.envs.minigrid_split import FullViewEnv, PartialViewEnv
from phr.envs.split import SplitEnv, is_atari
from phr.errors import SettingError, UnsupportedEnvironmentError
from phr.learning.a2c import A2CConfig
from phr.learning.losses import check_loss
from phr.learning.phr_config import PHRConfig
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


_FEW_IMAGES: dict[str, Any] = {
    "n_episodes": 60,  # a game of Pong is 2,000 observations of 28 kB
    "prefix": (0, 60),
    "prefix_share": 0.5,  # half of the games begin as they do when the agent plays
}
"""What a recording of images takes, whatever the actions are."""


def _atari_student(horizon: int) -> dict[str, Any]:
    return {
        **_FEW_IMAGES,
        "n_updates": max(2000, 500 * horizon),  # 2,000 suffice at commitment 4, and keep half of the return at 16
        "refine_windows": 10_000,  # each is a few dozen steps of the emulator
        "refine_noise": 0.05,  # without, every other window is one that was there before
        "refine_updates": 3000,
    }


def _two_rooms_student(_horizon: int) -> dict[str, Any]:
    # 2,000 episodes see each place of 25×25 a few times, and a narrow trunk cannot spare what decays.
    return {"n_episodes": 6000, "n_updates": 4000, "batch_size": 128, "weight_decay": 0.03}


def _any_student(_horizon: int) -> dict[str, Any]:
    """The defaults of `PHRConfig`."""
    return {}


def _mlp_student(_horizon: int) -> dict[str, Any]:
    # Over a few numbers looks and steps cost little, plans hang on small differences, and what a plan did wrong leads away
    # from the teacher's states: many updates at a high rate, and the student's own states (LOG.md).
    return {
        "record_steps": 60_000,
        "prefix_share": 0.5,  # a long episode has one beginning, and a random one is not what an agent meets
        "learning_rate": 1e-2,
        "weight_decay": 0.0,
        "n_updates": 12_000,
        "refine": 4,
        "refine_windows": 10_000,
        "refine_updates": 5000,
    }


StudentSettings = Callable[[int], dict[str, Any]]
"""Horizon → settings of stage 2."""


@dataclass(frozen=True)
class _Preset:
    teacher: dict[str, Any] = field(default_factory=dict)
    student: StudentSettings = _any_student


_PRESETS = {
    # Half a dozen decisions in a row may be a turn too early before a detour shows. A needless step has to cost a tenth,
    # some entropy has to keep the better action known, and the critic has to know the cells beside the shortest way.
    "MiniGrid-SimpleCrossingS9N1-v0": _Preset(
        {**_GRID, **_BATCHES_OF_32, "total_timesteps": 1_600_000, "gamma": 0.9, "ent_coef": 0.05, "prefix": (0, 30)}
    ),
    # Two ways lead to the goal, of 23 and 24 steps. Varied starts keep both known, and a steep discount tells them apart.
    FOUR_ROOMS_ID: _Preset(
        {
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
        }
    ),
    # A world of doors and keys is found out quickly; entropy keeps it from settling on half of the way.
    "MiniGrid-DoorKey-5x5-v0": _Preset(
        {**_GRID, "total_timesteps": 800_000, **_BATCHES_OF_32, "gamma": 0.95, "ent_coef": 0.05}
    ),
    # Random play crosses the lava once in 130 episodes: rewards have to be heard beside the entropy bonus, and a random
    # beginning would end in the lava.
    "MiniGrid-LavaCrossingS9N1-v0": _Preset(
        {
            **_GRID,
            **_BATCHES_OF_32,
            "total_timesteps": 2_400_000,
            "learning_rate": 1e-3,
            "reward_scale": 20.0,
        }
    ),
    # Two small rooms lie anywhere in 25×25 cells. What to do there is found by convolutions that see both rooms, alike
    # everywhere, and only where they found it by the layer that reads every cell.
    "MiniGrid-MultiRoom-N2-S4-v0": _Preset(
        {
            **_GRID,
            "trunk": TrunkConfig(kind="grid", channels=(16, 16, 16, 16, 32), width=128),
            "total_timesteps": 3_000_000,
            "n_envs": 32,
            "gamma": 0.95,
            "ent_coef": 0.03,
            "ent_coef_end": 0.3,
        },
        _two_rooms_student,
    ),
    "PongDeterministic-v4": _Preset(
        # Every game is won in the end; who wins faster scores more in the same time.
        {**_ATARI, "total_timesteps": 8_000_000, "eval_episodes": 30, "best_by": "return_per_step"},
        _atari_student,
    ),
}


_FRESH: dict[str, StudentSettings] = {"mlp": _mlp_student, "atari": _atari_student}
"""Stage-2 settings of students that start from no network, by the kind of their trunk."""

_CONTINUOUS: dict[str, Any] = {
    "loss": "squared",
    "n_episodes": 1000,
    "n_updates": 20_000,
    "learning_rate": 3e-3,
    "weight_decay": 0.0,
}
"""Continuous actions are regressed to the second digit, which takes more steps. From some states (Pendulum's pole at full
strength) the slightest error is a fall, and only many beginnings show these."""

FRESH_WIDTH = 256
"""Units of each layer of such a student over numbers; a plan is a finer function than the next action."""


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
    preset = _PRESETS.get(env.env_id)
    known = preset.teacher if preset is not None else _family(env) or {"trunk": default_trunk(env.observation_space)}
    return A2CConfig(**{**known, **_checked(A2CConfig, overrides)})


def further_config(env: SplitEnv, trunk: TrunkConfig, **overrides: Any) -> A2CConfig:
    """The same for a teacher that is trained further, on its own trunk; its rate rises first, and its entropy stays low."""
    known = teacher_config(env)
    config = {
        "warmup": 0.05,
        "learning_rate": known.learning_rate * _FURTHER,
        "ent_coef": known.ent_coef * known.ent_coef_end,
    }
    return teacher_config(env, trunk=trunk, **{**config, **_checked(A2CConfig, overrides)})


def student_config(
    env_id: str,
    horizon: int,
    *,
    action_space: ActionSpace | None = None,
    fresh: TrunkConfig | None = None,
    **overrides: Any,
) -> PHRConfig:
    """Stage-2 settings for an environment; `overrides` win, None means 'as measured best'.

    Args:
        env_id: Where.
        horizon: Actions predicted from one look.
        action_space: What the actions are; None for Discrete.
        fresh: The layers of a student that starts from no network of a teacher, or has a width of its own.
        **overrides: Fields of `PHRConfig`.

    Raises:
        SettingError: If an override is no setting, or has a value that makes no sense, here or anywhere.
    """
    given = _checked(PHRConfig, overrides)
    if isinstance(given.get("loss"), str):
        given["loss"] = given["loss"].replace("-", "_")  # as the command line writes it
    if given.get("joint"):
        given = {"trunk_mode": "shared", **given}  # the one way in which A2C may move trunk and head 1
    settings = _FRESH.get(fresh.kind, _any_student) if fresh is not None else _any_student
    known = (_PRESETS[env_id].student if env_id in _PRESETS else settings)(horizon)
    if isinstance(action_space, Continuous):
        known = {**_CONTINUOUS, **(_FEW_IMAGES if fresh is not None and fresh.kind == "atari" else {})}
    if given.get("sample_labels"):
        known = {**known, "refine": 0}  # only a greedy teacher can be asked again
    config = PHRConfig(**{**known, **given, "horizon": horizon})
    if action_space is not None:
        check_loss(config.loss, action_space)
    return config


def default_trunk_of(env: SplitEnv) -> TrunkConfig:
    """The layers of a fresh network for an environment."""
    trunk: TrunkConfig | None = _family(env).get("trunk")
    return trunk or default_trunk(env.observation_space)


def fresh_trunk(obs: spaces.Box) -> TrunkConfig:
    """The layers of a student that starts from no network of a teacher, for these observations."""
    trunk = default_trunk(obs)
    return replace(trunk, width=FRESH_WIDTH) if trunk.kind == "mlp" else trunk


def fresh_trunk_of(env: SplitEnv) -> TrunkConfig:
    """The same for an environment."""
    trunk: TrunkConfig | None = _family(env).get("trunk")
    return trunk or fresh_trunk(env.observation_space)


def _family(env: SplitEnv) -> dict[str, Any]:
    """What serves environments of this kind; empty for those that nothing is known of."""
    if isinstance(env, FullViewEnv | PartialViewEnv):
        return _GRID
    return _ATARI if is_atari(env) else {}


def _checked(kind: type[A2CConfig] | type[PHRConfig], overrides: dict[str, Any]) -> dict[str, Any]:
    names = {entry.name for entry in fields(kind)}
    for name in overrides:
        if name not in names:
            near = difflib.get_close_matches(name, names, n=1)
            raise SettingError(f"there is no setting {name!r}" + (f"; did you mean {near[0]!r}?" if near else ""))
    return {name: value for name, value in overrides.items() if value is not None}
