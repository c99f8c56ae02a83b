"""The description of an environment id (class, wrappers, spaces, how phr steps it), and Gymnasium's checker."""

from __future__ import annotations

import math
import re
import warnings
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from gymnasium.utils.env_checker import check_env
from gymnasium.wrappers import TimeLimit

from phr.distil import PHRConfig, fresh_trunk
from phr.envs import Family, SplitEnv, make_gym_env, watch_calls
from phr.errors import FOREIGN_ERRORS, error_text
from phr.networks import TrunkConfig
from phr_studies.doctor.world import World


@dataclass(frozen=True, kw_only=True)
class EnvDescription:
    """An environment's card."""

    made_by: str
    """Class of the environment itself, `module:Class`."""
    wrappers: tuple[str, ...]
    """The outermost first; phr leaves Gymnasium's passive checker and order enforcer out."""
    step_limit: int | None
    frame_skip: int | tuple[int, int] | None
    """Frames of the simulator that an action lasts; a pair is drawn from, its upper end excluded. None where it has none."""
    sticky: float
    """Probability that an action is overridden by the one before it."""
    idle_starts: int
    """Atari: an episode begins with 1 .. so many idle frames."""
    observation_space: str
    action_space: str
    action_names: tuple[str, ...]
    family: Family | None
    """The kind of environment, by which presets are chosen; this and all below it None where phr cannot act."""
    stepping: str | None
    """How phr steps it, 'fast path: ...' or 'plain path: ...'."""
    shown: str | None
    """What the network sees, in words."""
    shown_shape: tuple[int, ...] | None
    shown_dtype: str | None
    network: str | None
    """The trunk of a fresh student of the default horizon."""
    refusal: str | None
    """Why phr cannot act here; None where it can."""


def describe(world: World) -> EnvDescription:
    """Look at an environment from outside; no episode is played."""
    layers, core = _layers(world.gym_env)
    split = world.env
    space = None if split is None else split.observation_space
    kind = type(core)
    frame_skip, sticky, idle = _timing(layers, split)
    return EnvDescription(
        made_by=f"{kind.__module__}:{kind.__qualname__}",
        wrappers=tuple(type(layer).__name__ for layer in layers[:-1]),
        step_limit=_step_limit(layers, split),
        frame_skip=frame_skip,
        sticky=sticky,
        idle_starts=idle,
        observation_space=_text(world.gym_env.observation_space),
        action_space=_text(world.action_space),
        action_names=_action_names(core, world.action_space),
        family=None if split is None else split.family,
        stepping=None if split is None else split.stepping,
        shown=None if split is None else _shown(split),
        shown_shape=None if space is None else space.shape,
        shown_dtype=None if space is None else str(space.dtype),
        network=None if split is None else _trunk(fresh_trunk(split, PHRConfig.horizon)),
        refusal=world.refusal,
    )


def _layers(env: gymnasium.Env[Any, Any]) -> tuple[list[Any], Any]:
    layers: list[Any] = [env]
    while isinstance(layers[-1], gymnasium.Wrapper):
        layers.append(layers[-1].env)
    return layers, layers[-1]


def _step_limit(layers: list[Any], split: SplitEnv | None) -> int | None:
    """The least of what a TimeLimit, the environment's own `max_steps` and an emulator's frames allow."""
    limits = [layer._max_episode_steps for layer in layers if isinstance(layer, TimeLimit)]
    own = getattr(layers[-1], "max_steps", None)
    if isinstance(own, int):
        limits.append(own)
    if split is not None and split.timing is not None:
        limits.append(split.timing.step_limit)
    return min(limits, default=None)


def _timing(layers: list[Any], split: SplitEnv | None) -> tuple[int | tuple[int, int] | None, float, int]:
    """Frame skip, stickiness and idle frames: as phr drives the simulator, else as the layers say."""
    if split is not None and split.timing is not None:
        return split.timing.frame_skip, split.timing.sticky, split.timing.idle_starts
    sticky = [float(getattr(layer, "repeat_action_probability", 0.0)) for layer in layers]
    skips = [skip for layer in layers if isinstance(skip := getattr(layer, "frame_skip", None), int)]
    if type(layers[-1]).__module__ == "ale_py.env":  # wrapped, so phr leaves the emulator as it is
        core = layers[-1]
        sticky.append(round(core.ale.getFloat("repeat_action_probability"), 6))
        if not isinstance(core._frameskip, int):
            return core._frameskip, max(sticky), 0
        skips.append(core._frameskip)
    idle = [int(getattr(layer, "noop_max", 0)) for layer in layers]
    return (math.prod(skips) if skips else None), max(sticky), max(idle)


def _action_names(core: Any, space: spaces.Space[Any]) -> tuple[str, ...]:
    """What Atari and MiniGrid call their actions; a grid may allow only the first few of them."""
    if hasattr(core, "get_action_meanings"):
        return tuple(core.get_action_meanings())
    names = getattr(core, "actions", None)
    if isinstance(names, type) and issubclass(names, IntEnum) and isinstance(space, spaces.Discrete):
        return tuple(action.name for action in list(names)[: int(space.n)])
    return ()


def _shown(split: SplitEnv) -> str:
    """What becomes of the environment's observation before a network sees it."""
    if split.shown is not None:
        return split.shown
    scaled = split.observation_space.dtype == np.uint8
    return "the observation as it is, scaled by the network" if scaled else "the observation as it is"


def _trunk(trunk: TrunkConfig) -> str:
    if trunk.kind == "mlp":
        words = f"mlp, {trunk.depth} layers of {trunk.width}"
    else:
        seen = "" if trunk.agent is None else " seen from the agent"
        words = f"{trunk.kind}{seen}, convolutions {'-'.join(map(str, trunk.channels))}, then {trunk.width}"
    return f"{words}, and {trunk.residual} residual layers" if trunk.residual else words


def _text(space: spaces.Space[Any]) -> str:
    """A space in one line. MiniGrid's missions are named only: their text differs from run to run."""
    if isinstance(space, spaces.Dict):
        return f"Dict({', '.join(f'{key}: {_text(entry)}' for key, entry in space.items())})"
    name = type(space).__name__
    return name if name.endswith("MissionSpace") else " ".join(str(space).split())


_BESIDE_THE_POINT = "is different from the unwrapped version"
"""The checker warns about wrappers; a user's own belong to the environment."""

_COLOUR = re.compile(r"\x1b\[[0-9;]*m")


@dataclass(frozen=True)
class Check:
    """What the checker found: the error that stopped it, None if it finished, and its warnings, each once."""

    error: str | None
    warnings: tuple[str, ...]


def check(env_id: str) -> Check:
    """Run Gymnasium's `check_env` on a new environment with the user's wrappers; nothing is rendered."""
    error = None
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        env: gymnasium.Env[Any, Any] = make_gym_env(env_id)
        level, gymnasium.logger.min_level = gymnasium.logger.min_level, gymnasium.logger.WARN
        try:
            watch_calls(env, env_id)
            check_env(env, skip_render_check=True, skip_close_check=True)
        except FOREIGN_ERRORS as raised:  # the environment's own code, or an assertion about it
            error = _said(error_text(raised))
        finally:
            gymnasium.logger.min_level = level
            try:
                env.close()
            except FOREIGN_ERRORS as raised:  # the environment's own code
                error = error or _said(f"close() raised {error_text(raised)}")
    return Check(error, tuple(dict.fromkeys(_said(str(each.message)) for each in caught if _counts(each))))


def _said(text: str) -> str:
    return " ".join(_COLOUR.sub("", text).removeprefix("WARN: ").removeprefix("AssertionError: ").split())


def _counts(warning: warnings.WarningMessage) -> bool:
    """Whether a warning is about the environment itself, not about the packages that it is made of."""
    return not issubclass(warning.category, DeprecationWarning) and _BESIDE_THE_POINT not in str(warning.message)
