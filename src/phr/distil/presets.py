"""Settings of both stages that measured best: by the family of the environment, then by its id, exactly as written.

Environments of the family "other" are images or numbers, by the observation's shape. Other settings are field defaults.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from math import prod
from typing import Any

from phr.actions import Continuous, Discrete
from phr.distil.config import PHRConfig
from phr.distil.losses import check_loss
from phr.envs import FOUR_ROOMS_ID
from phr.envs.registry import make_env
from phr.envs.split import Family, SplitEnv
from phr.errors import SettingError, UnsupportedEnvironmentError
from phr.experience.logged import Logged
from phr.networks.trunks import TrunkConfig, default_trunk, image_shape
from phr.settings import given_settings
from phr.teacher.a2c import A2CConfig

World = SplitEnv | Logged

RECORDED_BYTES = 2 * 2**30
"""Most memory of recorded observations by default; `record_steps` is lowered accordingly."""

GRID_TRUNK = TrunkConfig(kind="grid", channels=(16, 32, 32), width=256)
"""Half the reference network in every width; learns the grids as well, at a third of the inference time."""
_LARGE_GRID = 14
"""Cells on a side."""
_SMALL_TRUNK = TrunkConfig(kind="grid", channels=(16, 16, 32), width=256)

ATARI_TRUNK = TrunkConfig(kind="atari", channels=(16, 32, 32), width=512)
"""The Nature network with half its channels; learns Pong as well."""

_MOST_LINKED = 2048
"""Outputs of a whole plan; links have the square of them, 17 MB."""

_Values = dict[str, Any]


@dataclass(frozen=True)
class Preset:
    """Settings of one kind of environment."""

    teacher: Mapping[str, Any] = field(default_factory=dict)
    """Fields of `A2CConfig`."""
    recording: Mapping[str, Any] = field(default_factory=dict)
    """Fields of `PHRConfig` that define what is recorded, whatever the actions are."""
    student: Callable[[int], Mapping[str, Any]] = lambda _horizon: {}
    """Horizon → further fields of `PHRConfig`."""
    fresh: Mapping[str, Any] = field(default_factory=dict)
    """Fields of a student that does not start from a teacher's network; they replace those of `student`,
    and those of an id replace both."""


_BATCHES_OF_32: _Values = {"trunk": _SMALL_TRUNK, "n_envs": 32, "learning_rate": 2e-3, "ent_coef_end": 0.2}
"""Batches of 32 and a smaller network learn a grid as well, in less time."""

_FEW_IMAGES: _Values = {
    "n_episodes": 60,  # a game of Pong is 2,000 observations of 28 kB
    "prefix": (0, 60),
    "prefix_share": 0.7,  # the other games begin as they do when the agent plays
}


def _image_student(horizon: int) -> _Values:
    return {
        "n_updates": max(2000, 500 * horizon),  # 2,000 suffice at commitment 4, and keep half of the return at 16
        "refine_windows": 10_000,  # each is a few dozen steps of the emulator
        "refine_noise": 0.05,  # without, every other window is one that was there before
        "refine_updates": 3000,
    }


def _grid_student(_horizon: int) -> _Values:
    """Rounds until plans are right in layouts never seen: forty-two layouts need none, thousands several."""
    return {"refine": 4, "refine_until": 0.995, "refine_windows": 20_000, "refine_updates": 3000, "batch_size": 128}


_FAMILIES: dict[Family, Preset] = {
    "grid": Preset(
        teacher={"trunk": GRID_TRUNK, "reward_scale": 10.0, "gamma": 0.97},
        student=_grid_student,
        fresh={
            "priority": 2 / 3,  # most plans are right soon, and the others take as many updates again (LOG.md)
            "refine": 3,
            "n_episodes": 8000,  # how many layouts a student solves depends on how many it has seen
            "refine_windows": 40_000,
            "refine_updates": 2000,
            "n_updates": 8000,  # where these are not enough
        },
    ),
    "atari": Preset(
        teacher={
            "trunk": ATARI_TRUNK,
            "total_timesteps": 10_000_000,
            "n_envs": 32,  # with 4, Pong never leaves -20
            "optimizer_eps": 1e-5,
            "ent_coef_end": 0.3,
            "eval_episodes": 10,  # a game has thousands of steps
        },
        recording=_FEW_IMAGES,
        student=_image_student,
    ),
}

_FOUR_ROUNDS: _Values = {"refine": 4, "refine_windows": 10_000, "refine_updates": 5000}
"""For cheap steps and mistakes that lead away from the teacher's states: a pole balances or falls."""

_FRESH_NUMBERS: _Values = _FOUR_ROUNDS | {
    "record_steps": 60_000,
    "prefix_share": 0.5,  # a long episode has one beginning, and a random one is not what an agent meets
    "learning_rate": 1e-2,
    "weight_decay": 0.0,
    "n_updates": 12_000,
}
"""Fresh students over numbers: inference and steps cost little, and plans hang on small differences, so many updates at a
high rate, and the student's own states (LOG.md)."""

_CONTINUOUS: _Values = {"loss": "squared", "n_episodes": 1000, "n_updates": 20_000, "weight_decay": 0.0}
"""Continuous actions are regressed to the second digit, which takes more steps. From some states (Pendulum's pole at full
strength) the slightest error is a fall, and only many beginnings show these."""
_EIGHT_ROUNDS: _Values = {"refine": 8, "refine_windows": 10_000, "refine_updates": 2500, "n_updates": 25_000}
"""For continuous actions the number of windows and a long training on all of them count (LOG.md)."""

_KNOWN: dict[str, Preset] = {
    # Half a dozen decisions in a row may be a turn too early before a detour shows. A needless step has to cost a tenth,
    # some entropy has to keep the better action known, and the critic has to know the cells beside the shortest way.
    "MiniGrid-SimpleCrossingS9N1-v0": Preset(
        teacher={**_BATCHES_OF_32, "total_timesteps": 1_600_000, "gamma": 0.9, "ent_coef": 0.05, "prefix": (0, 30)}
    ),
    # Two ways lead to the goal, of 23 and 24 steps. Varied starts keep both known, and a steep discount tells them apart.
    FOUR_ROOMS_ID: Preset(
        teacher={
            "trunk": TrunkConfig(kind="grid", channels=(16, 16, 16), width=128),
            "total_timesteps": 1_200_000,
            "n_steps": 16,
            "learning_rate": 1.5e-3,
            "gamma": 0.9,
            "ent_coef": 0.1,
            "ent_coef_end": 0.6,
            "prefix": (0, 300),
            "n_evaluations": 40,
            "eval_episodes": 1,
        }
    ),
    # A world of doors and keys is found out quickly; entropy keeps it from settling on half of the way.
    "MiniGrid-DoorKey-5x5-v0": Preset({**_BATCHES_OF_32, "total_timesteps": 800_000, "gamma": 0.95, "ent_coef": 0.05}),
    # Random play crosses the lava once in 130 episodes: rewards have to outweigh the entropy bonus, and a random
    # beginning would end in the lava.
    "MiniGrid-LavaCrossingS9N1-v0": Preset(
        teacher={**_BATCHES_OF_32, "total_timesteps": 2_400_000, "learning_rate": 1e-3, "reward_scale": 20.0}
    ),
    # Two small rooms lie anywhere in 25×25 cells. What to do there is found by convolutions that see both rooms, alike
    # everywhere, and only where they found it by the layer that reads every cell.
    "MiniGrid-MultiRoom-N2-S4-v0": Preset(
        teacher={
            "trunk": TrunkConfig(kind="grid", channels=(16, 16, 16, 16, 32), width=128),
            "total_timesteps": 3_000_000,
            "n_envs": 32,
            "gamma": 0.95,
            "ent_coef": 0.03,
            "ent_coef_end": 0.3,
        },
        # 2,000 episodes see each place of 25×25 a few times, and a narrow trunk cannot spare what decays.
        student=lambda _horizon: {"n_episodes": 6000, "n_updates": 4000, "batch_size": 128, "weight_decay": 0.03},
    ),
    # Every game is won in the end; who wins faster scores more in the same time. 60 games are 2.7 GiB.
    "PongDeterministic-v4": Preset(
        teacher={"total_timesteps": 8_000_000, "eval_episodes": 30, "best_by": "return_per_step"},
        student=lambda _horizon: {"record_steps": 250_000},
    ),
}
"""By id, exactly as written: an id with options is another environment of the same family."""


def teacher_config(env: SplitEnv, /, **overrides: Any) -> A2CConfig:
    """Return stage-1 settings for an environment; `overrides` win, those that are None are ignored.

    Raises:
        SettingError: If an override is not a field of `A2CConfig`, or has a wrong type or value.
        UnsupportedEnvironmentError: If the actions are not Discrete.
    """
    given = given_settings(A2CConfig, overrides)
    if not isinstance(env.action_space, Discrete):
        raise UnsupportedEnvironmentError(
            f"{env.env_id} has {env.action_space}, and phr trains teachers over Discrete(n) alone; train it with "
            f"Stable-Baselines3 and distil that: phr distill FILE.zip --env-id {env.env_id} --horizon N --out DIR"
        )
    known = _KNOWN.get(env.env_id, Preset()).teacher
    return A2CConfig(**{"trunk": default_trunk_of(env), **_kind(env).teacher, **known, **given})


def further_config(env: SplitEnv, trunk: TrunkConfig, /, **overrides: Any) -> A2CConfig:
    """Return `teacher_config` for training a teacher of these layers further: the rate rises first, entropy stays low."""
    if overrides.get("trunk") is not None:
        raise SettingError("trunk must be left out where start is given: the layers are those of start")
    preset = teacher_config(env)
    rate, ent_coef = 0.3 * preset.learning_rate, preset.ent_coef * preset.ent_coef_end
    further = {"trunk": trunk, "warmup": 0.05, "learning_rate": rate, "ent_coef": ent_coef}
    return teacher_config(env, **{**further, **given_settings(A2CConfig, overrides)})


def student_config(world: World | str, horizon: int, fresh: TrunkConfig | None = None, /, **overrides: Any) -> PHRConfig:
    """Return stage-2 settings for an environment; `overrides` win, those that are None are ignored.

    `world` is the environment, its id, or logged episodes; `horizon` the actions predicted from one observation; `fresh` has
    the layers of a student that does not start from a teacher's network, or has a width of its own.

    Raises:
        SettingError: If an override is not a field of `PHRConfig`, or has a wrong type or value, alone or beside another.
        HorizonError: If the horizon is below 1, or too small for another setting.
        UsageError: If there is no environment of this id.
    """
    given = given_settings(PHRConfig, overrides)
    horizon = PHRConfig(horizon=horizon).horizon  # checked before anything is derived from it
    if isinstance(given.get("loss"), str):
        given["loss"] = given["loss"].replace("-", "_")  # as the command line writes it
    if given.get("joint") is True:
        given = {"trunk_mode": "shared", **given}  # the one way in which A2C may move trunk and head 1
    if isinstance(world, str):
        world = _closed_env(world)
    kind = _kind(world)
    if isinstance(world.action_space, Continuous):
        settings = {**_CONTINUOUS, **(kind.recording or _EIGHT_ROUNDS)}
    elif fresh is not None and fresh.kind == "mlp":
        settings = _FRESH_NUMBERS
    else:
        settings = {**kind.recording, **kind.student(horizon), **(kind.fresh if fresh is not None else {})}
    affordable = affordable_steps(world)
    record_steps = min(settings.get("record_steps", PHRConfig.record_steps), affordable)
    if "refine_windows" in settings:  # those of all rounds are kept
        n_windows = min(settings["refine_windows"], max(1, affordable // settings.get("refine", 1)))
        settings = {**settings, "refine_windows": n_windows}
    preset = {**settings, "record_steps": record_steps, **_KNOWN.get(world.env_id, Preset()).student(horizon)}
    n_outputs = horizon * world.action_space.n_outputs
    if fresh is not None and horizon > 1 and not isinstance(world.action_space, Continuous) and n_outputs <= _MOST_LINKED:
        preset["causal"] = True
    kept_first = horizon == 1 and given.get("trunk_mode", "anchored") != "anchored"
    if given.get("sample_labels") is True or given.get("joint") is True or kept_first:
        preset["refine"] = 0  # only a greedy teacher that stands still can be asked again, about something
    config = PHRConfig(**{**preset, **given, "horizon": horizon})
    for whole in ("refine", "finetune"):
        if not getattr(config, whole) and (idle := [name for name in given if name.startswith(f"{whole}_")]):
            raise SettingError(f"{' and '.join(idle)} would have no effect, as {whole} is 0 here")
    check_loss(config.loss, world.action_space)
    if config.causal and isinstance(world.action_space, Continuous):
        raise SettingError(f"a causal plan has discrete actions, {world.env_id} has {world.action_space}; leave causal out")
    if config.priority and isinstance(world.action_space, Continuous):
        raise SettingError(f"priority is for discrete actions, {world.env_id} has {world.action_space}; leave priority out")
    return config


def affordable_steps(world: World) -> int:
    """Return the most steps whose observations fit into `RECORDED_BYTES`."""
    space = world.observation_space
    return max(1, RECORDED_BYTES // (prod(space.shape) * space.dtype.itemsize))


def _kind(world: World) -> Preset:
    """Return the settings of an environment's family; of images, where it has none."""
    family = world.family if isinstance(world, SplitEnv) else "other"
    if family in _FAMILIES:
        return _FAMILIES[family]
    images = default_trunk(world.observation_space).kind == "atari"
    return Preset(recording=_FEW_IMAGES, student=_image_student) if images else Preset()


@cache
def _closed_env(env_id: str) -> SplitEnv:
    """Return a closed environment, whose family and spaces can still be read."""
    with make_env(env_id) as env:
        return env


def default_trunk_of(world: World) -> TrunkConfig:
    """Return the layers of a fresh network for an environment."""
    trunk: TrunkConfig | None = _kind(world).teacher.get("trunk")
    return trunk or default_trunk(world.observation_space)


def fresh_trunk(world: World, horizon: int, trunk: TrunkConfig | None = None) -> TrunkConfig:
    """Return the layers of a student that does not start from a teacher's network; HorizonError for a horizon below 1.

    They are those of `trunk`, or the environment's default, with what helps plans.
    """
    trunk, horizon = trunk or default_trunk_of(world), PHRConfig(horizon=horizon).horizon
    if trunk.kind == "grid":
        image = image_shape(world.observation_space)
        if image is not None and max(image[1:]) >= _LARGE_GRID:
            trunk = replace(trunk, halvings=min(2, len(trunk.channels)))  # every update takes a third of the time
        trunk = replace(trunk, agent=world.agent_planes if isinstance(world, SplitEnv) else None)
    return (replace(trunk, width=256) if trunk.kind == "mlp" else trunk).for_plans(horizon)
