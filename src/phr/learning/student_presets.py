"""Stage-2 settings that measured best, by environment and kind of student. Where nothing is known, the defaults serve."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from gymnasium import spaces

from phr.actions import ActionSpace, Continuous
from phr.envs.split import SplitEnv
from phr.learning.losses import check_loss
from phr.learning.phr_config import PHRConfig
from phr.learning.settings import given_settings
from phr.learning.teacher_presets import family_trunk
from phr.networks.trunks import TrunkConfig, default_trunk

StudentSettings = Callable[[int], dict[str, Any]]
"""Horizon → settings of stage 2."""

_FEW_IMAGES: dict[str, Any] = {
    "n_episodes": 60,  # a game of Pong is 2,000 observations of 28 kB
    "prefix": (0, 60),
    "prefix_share": 0.7,  # the other games begin as they do when the agent plays
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


_FOUR_ROUNDS: dict[str, Any] = {"refine": 4, "refine_windows": 10_000, "refine_updates": 5000}
"""Where steps cost little and what a plan did wrong leads away from the teacher's states: a pole balances or falls."""


def _mlp_student(_horizon: int) -> dict[str, Any]:
    # Over a few numbers looks and steps cost little, and plans hang on small differences: many updates at a high rate, and
    # the student's own states (LOG.md).
    return {
        "record_steps": 60_000,
        "prefix_share": 0.5,  # a long episode has one beginning, and a random one is not what an agent meets
        "learning_rate": 1e-2,
        "weight_decay": 0.0,
        "n_updates": 12_000,
        **_FOUR_ROUNDS,
    }


_BY_ENVIRONMENT: dict[str, StudentSettings] = {
    "MiniGrid-MultiRoom-N2-S4-v0": _two_rooms_student,
    "PongDeterministic-v4": _atari_student,
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
    given = given_settings(PHRConfig, overrides)
    if isinstance(given.get("loss"), str):
        given["loss"] = given["loss"].replace("-", "_")  # as the command line writes it
    if given.get("joint"):
        given = {"trunk_mode": "shared", **given}  # the one way in which A2C may move trunk and head 1
    settings = _FRESH.get(fresh.kind, _any_student) if fresh is not None else _any_student
    known = _BY_ENVIRONMENT.get(env_id, settings)(horizon)
    if isinstance(action_space, Continuous):
        images = fresh is not None and fresh.kind == "atari"
        known = {**_CONTINUOUS, **(_FEW_IMAGES if images else _FOUR_ROUNDS)}
    if given.get("sample_labels"):
        known = {**known, "refine": 0}  # only a greedy teacher can be asked again
    config = PHRConfig(**{**known, **given, "horizon": horizon})
    if action_space is not None:
        check_loss(config.loss, action_space)
    return config


def fresh_trunk(obs: spaces.Box) -> TrunkConfig:
    """The layers of a student that starts from no network of a teacher, for these observations."""
    trunk = default_trunk(obs)
    return replace(trunk, width=FRESH_WIDTH) if trunk.kind == "mlp" else trunk


def fresh_trunk_of(env: SplitEnv) -> TrunkConfig:
    """The same for an environment."""
    return family_trunk(env) or fresh_trunk(env.observation_space)
