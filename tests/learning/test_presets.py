from __future__ import annotations

from typing import Any

import pytest

from phr.actions import Continuous
from phr.envs.registry import make_env
from phr.errors import HorizonError, SettingError
from phr.learning.a2c import A2CConfig
from phr.learning.losses import PLAN_LOSSES, PlanLoss
from phr.learning.phr_config import PHRConfig
from phr.learning.student_presets import student_config
from phr.learning.teacher_presets import default_trunk_of, teacher_config
from phr.networks.trunks import Trunk, TrunkConfig
from tests.helpers import corridor

GRIDS = ("MiniGrid-SimpleCrossingS9N1-v0", "PHR/FourRooms-v0")


@pytest.mark.parametrize("env_id", [*GRIDS, "MiniGrid-Empty-5x5-v0", "CartPole-v1"])
def test_the_network_fits_the_environment(env_id: str) -> None:
    env = make_env(env_id)
    for trunk in (teacher_config(env).trunk, default_trunk_of(env)):
        assert Trunk(env.observation_space.shape, trunk).n_features == trunk.width
        assert trunk.kind == ("mlp" if env_id == "CartPole-v1" else "grid")


def test_where_nothing_is_known_the_defaults_of_the_fields_serve() -> None:
    env = corridor()
    assert teacher_config(env) == A2CConfig(trunk=default_trunk_of(env))
    assert student_config("corridor", 4) == PHRConfig(horizon=4)


@pytest.mark.parametrize("env_id", [*GRIDS, "CartPole-v1"])
def test_overrides_win_and_none_means_as_measured_best(env_id: str) -> None:
    env = make_env(env_id)
    known = teacher_config(env)
    assert teacher_config(env, gamma=None, seed=None) == known
    changed = teacher_config(env, gamma=0.5, total_timesteps=7, seed=3)
    assert (changed.gamma, changed.total_timesteps, changed.seed) == (0.5, 7, 3)
    assert (changed.trunk, changed.ent_coef) == (known.trunk, known.ent_coef)
    assert student_config(env_id, 4, loss=None) == student_config(env_id, 4)
    assert student_config(env_id, 4, loss="kl", seed=2).loss == "kl"


def test_images_are_recorded_sparingly_whatever_the_actions_are() -> None:
    steering, trunk = Continuous((-1.0,), (1.0,), (1,)), TrunkConfig(kind="atari")
    config = student_config("CarRacing-v3", 4, action_space=steering, fresh=trunk)
    images, numbers = student_config("Some-v0", 4, fresh=trunk), student_config("Some-v0", 4, action_space=steering)
    assert (config.n_episodes, config.prefix) == (images.n_episodes, images.prefix) != (numbers.n_episodes, numbers.prefix)
    assert (config.loss, config.n_updates, config.weight_decay) == (numbers.loss, numbers.n_updates, numbers.weight_decay)
    over_numbers = student_config("Pendulum-v1", 4, action_space=steering, fresh=TrunkConfig(kind="mlp"))
    assert over_numbers == numbers
    choosing = student_config("CartPole-v1", 4, fresh=TrunkConfig(kind="mlp"))
    assert (numbers.refine, choosing.refine, config.refine, images.refine) == (4, 4, 0, 0)  # of images each step costs much


def test_games_take_more_updates_for_longer_plans() -> None:
    updates = [student_config("PongDeterministic-v4", horizon).n_updates for horizon in (1, 4, 8, 16)]
    assert updates == sorted(updates)
    assert updates[0] == updates[1] < updates[3]
    assert student_config("PongDeterministic-v4", 16, n_updates=7).n_updates == 7


@pytest.mark.parametrize("loss", PLAN_LOSSES)
def test_teachers_are_smoothed_unless_told_otherwise(loss: PlanLoss) -> None:
    assert student_config("corridor", 4, loss=loss).teacher_smoothing == 0.1
    assert student_config("corridor", 4, loss=loss, teacher_smoothing=0.0).teacher_smoothing == 0


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("learning_rat", "there is no setting 'learning_rat'; did you mean 'learning_rate'?"),
        ("gama", "there is no setting 'gama'; did you mean 'gamma'?"),
        ("zzz", "there is no setting 'zzz'$"),
    ],
)
def test_an_unknown_setting_of_the_teacher_names_a_near_miss(name: str, message: str) -> None:
    with pytest.raises(SettingError, match=message):
        teacher_config(corridor(), **{name: 1})


def test_losses_go_by_both_ways_of_writing_them() -> None:
    assert student_config("Any-v0", 4, loss="forward-kl") == student_config("Any-v0", 4, loss="forward_kl")


def test_an_unknown_setting_of_the_student_names_a_near_miss() -> None:
    with pytest.raises(SettingError, match="there is no setting 'window_strid'; did you mean 'window_stride'?"):
        student_config("corridor", 4, window_strid=2)


@pytest.mark.parametrize(("setting", "error"), [({"horizon": 0}, HorizonError), ({"n_updates": 0}, SettingError)])
def test_an_impossible_value_is_refused(setting: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error, match=">= 1, got 0"):
        student_config("corridor", **{"horizon": 4, **setting})
