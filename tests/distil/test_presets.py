from __future__ import annotations

from dataclasses import replace
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces

from phr.actions import ActionSpace, Continuous, Discrete
from phr.distil.config import PHRConfig
from phr.distil.losses import ROW_LOSSES, PlanLoss
from phr.distil.presets import (
    ATARI_TRUNK,
    GRID_TRUNK,
    RECORDED_BYTES,
    default_trunk_of,
    fresh_trunk,
    further_config,
    student_config,
    teacher_config,
)
from phr.envs import FOUR_ROOMS_ID
from phr.envs.minigrid_split import FULL, WALKING
from phr.envs.registry import make_env
from phr.errors import HorizonError, SettingError, UnknownEnvironmentError
from phr.experience.logged import Logged
from phr.experience.trajectory import Experience, Trajectory
from phr.networks.trunks import Trunk, TrunkConfig
from phr.teacher.a2c import A2CConfig
from tests.helpers import corridor

GRIDS = ("MiniGrid-SimpleCrossingS9N1-v0", "PHR/FourRooms-v0")
OTHER_GRIDS = (
    "MiniGrid-SimpleCrossingS11N5-v0",
    "MiniGrid-LavaCrossingS9N2-v0",
    "MiniGrid-Empty-Random-6x6-v0",
    "MiniGrid-SimpleCrossingS9N1-v0?view=partial",
)
GAMES = (
    "ALE/Pong-v5",
    "ALE/Breakout-v5",
    "PongDeterministic-v4?sticky=0.25",
    "BreakoutNoFrameskip-v4",
    "SpaceInvaders-v0?noop_max=0",
    "tests.distil.test_presets:make_breakout",
)


def make_breakout(**options: Any) -> gymnasium.Env[Any, Any]:
    """A factory whose name says nothing of Atari."""
    make_env("ALE/Breakout-v5").close()  # registers the ids
    return gymnasium.make("ALE/Breakout-v5", **options)


CHOICES = Discrete(4)
STEERING = Continuous((-1.0,), (1.0,), (1,))
IMAGES = spaces.Box(0, 255, (96, 96, 3), np.uint8)
NUMBERS = spaces.Box(-1, 1, (4,), np.float32)


def place(space: spaces.Box, actions: ActionSpace = CHOICES) -> Logged:
    """An environment of no family, by one logged step of it."""
    step = Trajectory(
        obs=np.zeros((1, *space.shape), space.dtype),
        actions=np.zeros((1, *actions.shape), actions.dtype),
        teacher_logits=np.zeros((1, actions.n_outputs), np.float32),
        rewards=np.ones(1, np.float32),
        terminated=True,
        truncated=False,
    )
    return Logged("", "", Experience("Some-v0", (step,), actions_in=actions), space)


@pytest.mark.parametrize("env_id", [*GRIDS, "MiniGrid-Empty-5x5-v0", "CartPole-v1"])
def test_the_network_fits_the_environment(env_id: str) -> None:
    env = make_env(env_id)
    for trunk in (teacher_config(env).trunk, default_trunk_of(env)):
        obs = torch.zeros(1, *env.observation_space.shape)
        assert Trunk(obs.shape[1:], trunk)(obs).shape == (1, trunk.width)
        assert trunk.kind == ("mlp" if env_id == "CartPole-v1" else "grid")


def test_where_nothing_is_known_the_defaults_of_the_fields_serve() -> None:
    env = corridor()
    assert teacher_config(env) == A2CConfig(trunk=default_trunk_of(env))
    assert student_config(env, 4) == PHRConfig(horizon=4)


@pytest.mark.parametrize("env_id", OTHER_GRIDS)
def test_any_grid_has_the_settings_of_grids(env_id: str) -> None:
    config = teacher_config(make_env(env_id))
    assert (config.trunk, config.reward_scale, config.gamma) == (GRID_TRUNK, 10.0, 0.97)
    rounds = {"refine": 4, "refine_until": 0.995, "refine_windows": 20_000, "refine_updates": 3000, "batch_size": 128}
    assert student_config(env_id, 4) == PHRConfig(horizon=4, **rounds)  # type: ignore[arg-type]


@pytest.mark.parametrize("env_id", OTHER_GRIDS)
def test_fresh_students_of_grids_see_more_and_repeat_what_they_do_not_know(env_id: str) -> None:
    config = student_config(env_id, 4, GRID_TRUNK)
    found = config.priority, config.n_episodes, config.refine_windows, config.refine_updates, config.n_updates
    assert found == (2 / 3, 8000, 40_000, 2000, 8000)
    assert (config.refine, config.refine_until, config.batch_size, config.causal) == (3, 0.995, 128, True)
    assert student_config(env_id, 4, GRID_TRUNK, priority=0.0, n_updates=7).n_updates == 7


def test_elsewhere_all_windows_are_alike() -> None:
    assert student_config(corridor(), 4, TrunkConfig(kind="mlp", width=8)).priority == 0.0
    with pytest.raises(
        SettingError, match="priority is for discrete actions, Pendulum-v1 has continuous actions.*; leave priority out"
    ):
        student_config("Pendulum-v1", 4, priority=0.5)


@pytest.mark.parametrize(
    "settings", [{"sample_labels": True}, {"joint": True}, {"horizon": 1, "trunk_mode": "shared"}, {"refine": 0}]
)
def test_a_grids_rounds_give_way_to_what_they_do_not_go_with(settings: dict[str, Any]) -> None:
    words = {"horizon": 4, **settings}
    assert student_config("MiniGrid-SimpleCrossingS9N1-v0", words.pop("horizon"), **words).refine == 0


@pytest.mark.parametrize(("env_id", "halvings"), [("MiniGrid-SimpleCrossingS11N5-v0", 1), ("MiniGrid-FourRooms-v0", 2)])
def test_a_fresh_student_of_a_large_grid_halves_it_twice(env_id: str, halvings: int) -> None:
    env = make_env(env_id)
    large = replace(default_trunk_of(env), halvings=halvings, agent=3)
    assert fresh_trunk(env, 1) == large
    assert fresh_trunk(env, 8) == replace(large, residual=2)
    own = TrunkConfig(kind="grid", channels=(4,), width=8)
    assert fresh_trunk(env, 8, own) == replace(own, agent=3, residual=2)


@pytest.mark.parametrize(
    ("env_id", "agent"),
    [
        ("MiniGrid-DoorKey-5x5-v0", FULL.agent),
        ("MiniGrid-SimpleCrossingS9N1-v0?action-noise=0.1", WALKING.agent),
        (FOUR_ROOMS_ID, WALKING.agent),
        ("MiniGrid-Empty-5x5-v0?view=partial", None),  # it is the agent's view already
        ("PHR/Cliff-v0", None),
        ("CartPole-v1", None),
    ],
)
def test_a_fresh_student_sees_a_whole_grid_from_the_agent(env_id: str, agent: int | None) -> None:
    with make_env(env_id) as env:
        assert fresh_trunk(env, 8).agent == agent
        assert default_trunk_of(env).agent is None  # teachers read the picture as the paper's do
        if agent is not None:
            env.reset(seed=0)
            assert env.observe()[agent : agent + 4].sum() == 1


@pytest.mark.parametrize("env_id", GAMES)
def test_any_game_has_the_settings_of_games(env_id: str) -> None:
    env = make_env(env_id)
    config = teacher_config(env)
    assert (config.trunk, config.total_timesteps, config.n_envs) == (ATARI_TRUNK, 10_000_000, 32)
    assert (config.optimizer_eps, config.eval_episodes) == (1e-5, 10)
    assert fresh_trunk(env, 1) == default_trunk_of(env) == ATARI_TRUNK
    students = [student_config(place, 16, fresh, causal=False) for place in (env, env_id) for fresh in (None, ATARI_TRUNK)]
    assert len(set(students)) == 1
    [student] = set(students)
    assert (student.n_episodes, student.prefix, student.prefix_share) == (60, (0, 60), 0.7)
    assert (student.n_updates, student.refine_noise) == (8000, 0.05)
    env.close()


@pytest.mark.parametrize("env_id", ["ALE/Pong-v5", "MiniGrid-FourRooms-v0", "CartPole-v1"])
def test_fresh_students_of_discrete_actions_are_causal(env_id: str) -> None:
    with make_env(env_id) as env:
        trunk = fresh_trunk(env, 4)
        assert student_config(env, 4, trunk).causal
        assert not student_config(env, 4).causal  # from a teacher's network, as the paper's
        assert not student_config(env, 1, trunk).causal
        assert not student_config(env, 4, trunk, causal=False).causal


def test_plans_of_very_many_outputs_are_not_causal_by_default() -> None:
    with make_env("CartPole-v1") as env:
        assert student_config(env, 1024, fresh_trunk(env, 1024)).causal
        assert not student_config(env, 1025, fresh_trunk(env, 1025)).causal


def test_continuous_plans_are_not_causal() -> None:
    with make_env("Pendulum-v1") as env:
        assert not student_config(env, 4, fresh_trunk(env, 4)).causal
        with pytest.raises(SettingError, match="a causal plan has discrete actions, Pendulum-v1 has continuous actions"):
            student_config(env, 4, causal=True)
    with pytest.raises(HorizonError, match="needs a horizon >= 2, got 1"):
        PHRConfig(horizon=1, causal=True)


def test_a_known_environment_refines_the_settings_of_its_family() -> None:
    crossing, lava = (teacher_config(make_env(f"MiniGrid-{name}S9N1-v0")) for name in ("SimpleCrossing", "LavaCrossing"))
    assert (crossing.reward_scale, crossing.gamma, crossing.prefix) == (10.0, 0.9, (0, 30))
    assert (lava.reward_scale, lava.gamma, lava.prefix) == (20.0, 0.97, (0, 0))
    pong = teacher_config(make_env("PongDeterministic-v4"))
    assert (pong.total_timesteps, pong.best_by, pong.trunk) == (8_000_000, "return_per_step", ATARI_TRUNK)


def stored(config: PHRConfig, space: spaces.Box) -> int:
    """Bytes that the observations of a recording take."""
    one = np.zeros(space.shape, space.dtype).nbytes
    return config.record_steps * one


@pytest.mark.parametrize("side", [1, 36, 84, 210, 1000])
@pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.float64])
def test_no_recording_takes_more_memory_than_it_may(side: int, dtype: type[Any]) -> None:
    space = spaces.Box(np.zeros(1, dtype)[0], np.ones(1, dtype)[0], (side * side,), dtype)
    for actions in (Discrete(2), STEERING):
        for fresh in (None, TrunkConfig(kind="mlp")):
            config = student_config(place(space, actions), 4, fresh)
            assert stored(config, space) <= RECORDED_BYTES == 2 * 2**30
            windows = config.refine * config.refine_windows * np.zeros(space.shape, dtype).nbytes
            assert windows <= RECORDED_BYTES
            unbounded = student_config(place(NUMBERS, actions), 4, fresh).record_steps
            assert config.record_steps in (unbounded, RECORDED_BYTES // np.zeros(space.shape, dtype).nbytes)
            if side < 36:
                assert config.record_steps == unbounded
    assert student_config(place(space), 4, record_steps=10**6).record_steps == 10**6  # an override wins


def test_logged_episodes_have_no_family() -> None:
    assert student_config(place(NUMBERS), 4) == PHRConfig(horizon=4)


@pytest.mark.parametrize("env_id", [*GRIDS, "CartPole-v1"])
def test_overrides_win_and_none_means_as_measured_best(env_id: str) -> None:
    env = make_env(env_id)
    known = teacher_config(env)
    assert teacher_config(env, gamma=None, seed=None) == known
    changed = teacher_config(env, gamma=0.5, total_timesteps=7, seed=3)
    assert (changed.gamma, changed.total_timesteps, changed.seed) == (0.5, 7, 3)
    assert (changed.trunk, changed.ent_coef) == (known.trunk, known.ent_coef)
    assert student_config(env_id, 4, loss=None) == student_config(env, 4)
    assert student_config(env_id, 4, loss="kl", seed=2).loss == "kl"


def test_images_are_recorded_sparingly_whatever_the_actions_are() -> None:
    config, images = student_config(place(IMAGES, STEERING), 4), student_config(place(IMAGES), 4)
    numbers = student_config(place(NUMBERS, STEERING), 4)
    assert (config.n_episodes, config.prefix) == (images.n_episodes, images.prefix) != (numbers.n_episodes, numbers.prefix)
    assert (config.loss, config.weight_decay) == (numbers.loss, numbers.weight_decay)
    assert (config.n_updates, numbers.n_updates) == (20_000, 25_000)
    assert student_config(place(NUMBERS, STEERING), 4, TrunkConfig(kind="mlp")) == numbers
    choosing = student_config(place(NUMBERS), 4, TrunkConfig(kind="mlp"))
    assert (numbers.refine, choosing.refine, config.refine, images.refine) == (8, 4, 0, 0)  # of images each step costs much


def test_games_take_more_updates_for_longer_plans() -> None:
    updates = [student_config("PongDeterministic-v4", horizon).n_updates for horizon in (1, 4, 8, 16)]
    assert updates == sorted(updates)
    assert updates[0] == updates[1] < updates[3]
    assert student_config("PongDeterministic-v4", 16, n_updates=7).n_updates == 7


@pytest.mark.parametrize("loss", ROW_LOSSES)
def test_teachers_are_smoothed_unless_told_otherwise(loss: PlanLoss) -> None:
    assert student_config(corridor(), 4, loss=loss).teacher_smoothing == 0.1
    assert student_config(corridor(), 4, loss=loss, teacher_smoothing=0.0).teacher_smoothing == 0


def test_joint_training_shares_the_trunk() -> None:
    assert student_config(corridor(), 4, joint=True).trunk_mode == "shared"


def test_a_sampling_teacher_is_not_asked_again() -> None:
    numbers, fresh = place(NUMBERS), TrunkConfig(kind="mlp")
    assert student_config(numbers, 4, fresh).refine == 4
    assert student_config(numbers, 4, fresh, sample_labels=True).refine == 0


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("learning_rat", "there is no setting 'learning_rat'; did you mean 'learning_rate'?"),
        ("gama", "there is no setting 'gama'; did you mean 'gamma'?"),
        ("zzz", "there is no setting 'zzz'$"),
        ("env", "there is no setting 'env'"),
    ],
)
def test_an_unknown_setting_of_the_teacher_names_a_near_miss(name: str, message: str) -> None:
    with pytest.raises(SettingError, match=message):
        teacher_config(corridor(), **{name: 1})


@pytest.mark.parametrize("name", ["window_strid", "fresh", "world", "action_space", "env_id"])
def test_names_inside_the_program_are_no_settings(name: str) -> None:
    with pytest.raises(SettingError, match=f"there is no setting '{name}'"):
        student_config(corridor(), 4, None, **{name: None})


def test_further_training_keeps_the_layers_of_start() -> None:
    trunk = TrunkConfig(kind="mlp", width=7)
    config, fresh = further_config(corridor(), trunk), teacher_config(corridor())
    assert (config.trunk, config.warmup) == (trunk, 0.05)
    assert config.learning_rate == pytest.approx(0.3 * fresh.learning_rate)
    assert config.ent_coef == pytest.approx(fresh.ent_coef * fresh.ent_coef_end)
    assert further_config(corridor(), trunk, learning_rate=1.0, trunk=None).learning_rate == 1
    with pytest.raises(SettingError, match=r"^trunk must be left out where start is given: the layers are those of start$"):
        further_config(corridor(), trunk, trunk=TrunkConfig(kind="grid"))


def test_losses_go_by_both_ways_of_writing_them() -> None:
    assert student_config(corridor(), 4, loss="forward-kl") == student_config(corridor(), 4, loss="forward_kl")


def test_a_loss_has_to_fit_the_actions() -> None:
    with pytest.raises(SettingError, match="the loss gaussian does not fit 2"):
        student_config(corridor(), 4, loss="gaussian")
    with pytest.raises(SettingError, match="the loss kl does not fit continuous actions"):
        student_config("Pendulum-v1", 4, loss="kl")


def test_an_id_has_to_exist() -> None:
    with pytest.raises(UnknownEnvironmentError, match="there is no environment 'Any-v0'"):
        student_config("Any-v0", 4)


@pytest.mark.parametrize(("setting", "error"), [({"horizon": 0}, HorizonError), ({"n_updates": 0}, SettingError)])
def test_an_impossible_value_is_refused(setting: dict[str, Any], error: type[Exception]) -> None:
    horizon = setting.pop("horizon", 4)
    with pytest.raises(error, match=">= 1, got 0"):
        student_config(corridor(), horizon, **setting)
