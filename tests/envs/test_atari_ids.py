from __future__ import annotations

from collections.abc import Callable
from typing import Any

import ale_py
import gymnasium
import numpy as np
import pytest
from gymnasium.wrappers import PassiveEnvChecker, TimeLimit

from phr.envs.atari import AtariSettings, AtariSplitEnv, grey_table, register_old_names
from phr.envs.registry import make_env, split_env, with_option
from phr.envs.split import ObservingEnv
from phr.errors import SettingError, UnknownEnvironmentError, UnsupportedEnvironmentError
from tests.envs.atari_reference import atari
from tests.helpers import Proxy


@pytest.mark.parametrize(
    ("env_id", "frame_skip", "sticky"),
    [
        ("PongDeterministic-v4", 4, 0.0),
        ("PongDeterministic-v0", 4, 0.25),
        ("PongNoFrameskip-v4", 4, 0.0),  # preprocessing skips by itself
        ("Pong-v0", (2, 5), 0.25),
        ("Pong-v4", (2, 5), 0.0),
        ("ALE/Pong-v5", 4, 0.25),
        ("SpaceInvadersDeterministic-v4", 3, 0.0),
        ("ALE/Pong-v5?sticky=0&frame_skip=2", 2, 0.0),
    ],
)
def test_a_name_means_what_it_meant(env_id: str, frame_skip: Any, sticky: float) -> None:
    env = atari(env_id)
    assert env.settings == AtariSettings(frame_skip=frame_skip, sticky=sticky, noop_max=30, max_frames=108_000)
    assert env.n_actions == 6
    assert env.observation_space == gymnasium.spaces.Box(0, 255, (4, 84, 84), np.uint8)


def test_the_old_deterministic_ids_are_registered_once_and_nothing_else_changes() -> None:
    register_old_names()
    before = dict(gymnasium.registry)
    register_old_names()
    assert gymnasium.registry == before
    kwargs = gymnasium.spec("MsPacmanDeterministic-v0").kwargs
    assert kwargs == {**gymnasium.spec("MsPacmanNoFrameskip-v0").kwargs, "frameskip": 4}
    assert "WarlordsDeterministic-v4" not in gymnasium.registry  # no game for one


def test_a_near_miss_of_an_old_name_is_named() -> None:
    with pytest.raises(UnknownEnvironmentError, match="did you mean .*PongDeterministic-v4"):
        make_env("PongDeterministic-v5")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("sticky=1.5", "sticky must be a probability from 0 to 1, got 1.5"),
        ("sticky=often", "sticky must be a number, got 'often'"),
        ("noop_max=-1", "noop_max must be >= 0"),
        ("frame_skip=0", "frame_skip must be >= 1, got 0"),
        ("fire=yes", "fire must be one of 'no', 'reset', 'life'; got 'yes'"),
        (
            "fire_reset=yes",
            "Atari has no option 'fire_reset'; choose one of frame_skip, sticky, noop_max, fire, max_frames, action-noise",
        ),
        ("colour=1", "Atari has no option 'colour'; choose one of frame_skip, sticky"),
    ],
)
def test_options_that_make_no_sense_are_refused(options: str, message: str) -> None:
    with pytest.raises(SettingError, match=message):
        make_env(f"ALE/Pong-v5?{options}")


@pytest.mark.parametrize(
    ("options", "fire"), [("", "no"), ("?fire=life", "life"), ("?fire_reset=1", "reset"), ("?fire_reset=0", "no")]
)
def test_who_presses_fire(options: str, fire: str) -> None:
    assert atari(f"BreakoutDeterministic-v4{options}").settings.fire == fire


def test_only_atari_has_sticky_actions() -> None:
    with pytest.raises(UnsupportedEnvironmentError, match="CartPole-v1.sticky=0.5: it has no option 'sticky'"):
        make_env(with_option("CartPole-v1", "sticky", 0.5))


def test_an_option_replaces_what_the_id_said() -> None:
    once = with_option("ALE/Pong-v5?noop_max=0", "sticky", 0.5)
    assert once == "ALE/Pong-v5?noop_max=0&sticky=0.5"
    assert with_option(once, "noop_max", 3) == "ALE/Pong-v5?noop_max=3&sticky=0.5"


def test_what_someone_else_prepared_is_respected() -> None:
    core = gymnasium.make("ALE/Pong-v5", disable_env_checker=True)
    assert isinstance(split_env(core, "plain"), AtariSplitEnv)
    seen = make_env("ALE/Pong-v5", obs_type="ram")
    assert isinstance(seen, ObservingEnv)
    assert seen.stepping == "plain path: it does not show pictures alone, or its actions are continuous"
    assert seen.observation_space.shape == (128,)


class Mirror(PassiveEnvChecker):
    """Turns the picture round."""

    def step(self, action: Any) -> Any:
        obs, *rest = super().step(action)
        return obs[:, ::-1], *rest


def patched_core() -> gymnasium.Env[Any, Any]:
    env = gymnasium.make("ALE/Pong-v5")
    core: Any = env.unwrapped
    plain = core.step
    core.step = lambda action: (plain(action)[0], 1.0, False, False, {})
    return env


def patched_wrapper() -> gymnasium.Env[Any, Any]:
    env: Any = gymnasium.make("ALE/Pong-v5")
    plain = env.step
    env.step = lambda action: (plain(action)[0], 1.0, False, False, {})
    return env  # type: ignore[no-any-return]


def fewer_actions() -> gymnasium.Env[Any, Any]:
    env = gymnasium.make("ALE/Pong-v5")
    env.unwrapped.action_space = gymnasium.spaces.Discrete(3)
    return env


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda: Proxy(gymnasium.make("ALE/Pong-v5")), "tests.helpers.Proxy is not a gymnasium.Wrapper"),
        (fewer_actions, "its action space was replaced"),
        (lambda: TimeLimit(gymnasium.make("ALE/Pong-v5"), 10), "wrapper gymnasium.wrappers.common.TimeLimit is not on the"),
        (lambda: Mirror(gymnasium.make("ALE/Pong-v5")), "wrapper tests.envs.test_atari_ids.Mirror is not on the list"),
        (patched_core, "a method of AtariEnv was replaced"),
        (patched_wrapper, "a method of gymnasium.wrappers.common.OrderEnforcing was replaced"),
    ],
)
def test_a_changed_game_is_played_as_it_was_changed(make: Callable[[], gymnasium.Env[Any, Any]], reason: str) -> None:
    env, plain = split_env(make(), "changed"), make()
    assert isinstance(env, ObservingEnv)
    assert env.stepping.startswith(f"plain path: {reason}")
    env.reset(0)
    plain.reset(seed=0)
    for action in (2, 3, 1):
        obs, reward, *_ = plain.step(action)
        assert env.advance(action)[0] == reward
        np.testing.assert_array_equal(env.observe(), obs)


@pytest.mark.parametrize("game", ["Pong", "KungFuMaster", "Seaquest"])
def test_greys_are_the_emulators(game: str) -> None:
    env: Any = gymnasium.make(f"ALE/{game}-v5").unwrapped
    env.reset(seed=0)
    table = grey_table(env.ale)
    assert table is not None
    rng = np.random.default_rng(0)
    for _ in range(40):
        for action in rng.integers(env.action_space.n, size=5):
            env.step(action)
        np.testing.assert_array_equal(table[env.ale.getScreen()], env.ale.getScreenGrayscale())


def test_a_pal_game_has_other_colours() -> None:
    ale = ale_py.ALEInterface()
    path: Any = ale_py.roms.get_rom_path("pacman")
    ale.loadROM(path)
    assert grey_table(ale) is None
