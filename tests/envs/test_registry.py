from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.wrappers import FlattenObservation, TimeLimit
from minigrid.wrappers import FullyObsWrapper, ImgObsWrapper

from phr.actions import Continuous
from phr.envs.minigrid_split import FullViewEnv, PartialViewEnv
from phr.envs.registry import imports_code, make_env, make_gym_env, split_env
from phr.envs.split import ObservingEnv
from phr.envs.vector import make_training_vectors
from phr.errors import MissingExtraError, SettingError, UnknownEnvironmentError, UnsupportedEnvironmentError
from tests.helpers import CorridorEnv


@pytest.mark.parametrize(
    ("env_id", "near"),
    [
        ("PHR/FourRoom-v0", "PHR/FourRooms-v0"),
        ("MiniGrid-SimpleCrossingS9N1-v9", "MiniGrid-SimpleCrossingS9N1-v0"),
        ("CartPoll-v1", "CartPole-v1"),
        ("CartPole-v77", "CartPole-v1"),
    ],
)
def test_near_misses_are_named(env_id: str, near: str) -> None:
    with pytest.raises(UnknownEnvironmentError, match=f"there is no environment '{env_id}'; did you mean .*{near}"):
        make_env(env_id)


@pytest.mark.parametrize("env_id", ["Qqqqqqqq", "", "no/such thing!", "tests.helpers:", "tests.helpers:no such thing"])
def test_what_resembles_nothing_is_refused_without_a_hint(env_id: str) -> None:
    with pytest.raises(UnknownEnvironmentError, match="there is no environment") as caught:
        make_env(env_id)
    assert "did you mean" not in str(caught.value)


def test_a_factory_is_called_with_what_it_is_given() -> None:
    env = make_env("tests.helpers:make_corridor", max_steps=3, first=4)
    assert env.env_id == "tests.helpers:make_corridor"
    env.reset(0)
    assert [env.advance(0)[2] for _ in range(3)] == [False, False, True]


OTHER_PACKAGE = """
import gymnasium
cart = "gymnasium.envs.classic_control:CartPoleEnv"
gymnasium.register("Own/Pole-v3", entry_point=cart, max_episode_steps=30)
gymnasium.register("OwnPole-v0", entry_point=cart, max_episode_steps=20)
gymnasium.register("OwnPole-v1", entry_point=cart, max_episode_steps=25)
gymnasium.register("OwnPole_unversioned", entry_point=cart, max_episode_steps=40)
gymnasium.register("made_twice", entry_point=cart, max_episode_steps=50)

def made_twice():
    return gymnasium.make("Own/Pole-v3", max_episode_steps=60)
"""


@pytest.fixture
def other_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A package that registers environments when it is imported, and was not imported yet."""
    (tmp_path / "own_room").mkdir()
    (tmp_path / "own_room" / "__init__.py").touch()
    (tmp_path / "own_room" / "other_package.py").write_text(OTHER_PACKAGE)
    monkeypatch.syspath_prepend(tmp_path)
    before = dict(gymnasium.registry)
    yield "own_room.other_package"
    gymnasium.registry.clear()
    gymnasium.registry.update(before)
    for name in ("own_room", "own_room.other_package"):
        sys.modules.pop(name, None)


@pytest.mark.parametrize(
    ("name", "max_steps"),
    [
        ("Own/Pole-v3", 30),
        ("OwnPole-v0", 20),
        ("OwnPole", 25),  # the latest version
        ("OwnPole_unversioned", 40),  # looks like a factory
        ("made_twice", 60),  # is one
    ],
)
def test_a_name_with_its_module_is_what_gymnasium_makes_of_it(name: str, max_steps: int, other_package: str) -> None:
    env_id = f"{other_package}:{name}"
    env = make_env(env_id)
    assert env.env_id == env_id
    assert imports_code(env_id)
    limit: Any = env.gym_env
    assert (limit._max_episode_steps, env.observation_space.shape) == (max_steps, (4,))
    if name != "made_twice":
        again: Any = gymnasium.make(env_id)
        while not isinstance(again, TimeLimit):
            again = again.env
        assert again._max_episode_steps == max_steps
    made: Any = make_gym_env(env_id)
    assert made._max_episode_steps == max_steps


def test_a_near_miss_in_another_module_is_named_with_the_module(other_package: str) -> None:
    with pytest.raises(UnknownEnvironmentError, match=f"'{other_package}:Own/Pole-v4'; did you mean {other_package}:Own/P"):
        make_env(f"{other_package}:Own/Pole-v4")


@pytest.mark.parametrize(
    ("env_id", "kind"),
    [
        ("minigrid:MiniGrid-Empty-5x5-v0?view=partial", PartialViewEnv),
        ("phr:PHR/FourRooms-v0", FullViewEnv),
        ("CartPole", ObservingEnv),
    ],
)
def test_families_are_known_by_every_name(env_id: str, kind: type) -> None:
    env = make_env(env_id)
    assert (type(env), env.env_id) == (kind, env_id)


@pytest.mark.parametrize("env_id", ["ale_py:ALE/Pong-v5?sticky=0", "ale_py:PongDeterministic-v4", "ALE/Pong?sticky=0"])
def test_games_are_known_by_every_name(env_id: str) -> None:
    env = make_env(env_id)
    assert (env.family, env.env_id) == ("atari", env_id)
    vector = make_training_vectors(lambda: make_env(env_id), 1, lambda _env, _episode: 0)[0]
    assert (vector.env_id, vector.exact_resume) == (env_id, False)


@pytest.mark.parametrize(
    ("env_id", "message"),
    [
        ("no_such_module:Env-v0", "cannot import 'no_such_module'; is its folder on PYTHONPATH"),
        ("no_such_module:Own/Env-v0?view=full", "cannot import 'no_such_module'; is its folder on PYTHONPATH"),
        (":Env-v0", ":Env-v0: importing '' failed with ValueError"),
        ("a:b:Env-v0", "cannot import 'a'"),
        ("no_such_module:make", "cannot import 'no_such_module'; is its folder on PYTHONPATH"),
        ("tests.no_such_module:make", "cannot import 'tests.no_such_module'"),
        ("tests.helpers:no_such_name", "module 'tests.helpers' has no 'no_such_name'"),
    ],
)
def test_a_factory_that_is_not_there_is_named(env_id: str, message: str) -> None:
    with pytest.raises(UnknownEnvironmentError, match=message):
        make_env(env_id)


def test_a_module_that_fails_on_import_is_told_from_a_missing_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "failing_module.py").write_text("import sys\nsys.no_such_thing\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(UnknownEnvironmentError, match="importing .failing_module. failed with AttributeError: .*such_thing"):
        make_env("failing_module:make")


def test_a_factory_that_fails_is_named() -> None:
    with pytest.raises(
        UnsupportedEnvironmentError, match=r"^tests.helpers:make_corridor made no environment: TypeError: .*'nothing'"
    ):
        make_env("tests.helpers:make_corridor", nothing=1)


def test_a_factory_must_return_an_environment() -> None:
    with pytest.raises(UnsupportedEnvironmentError, match="returned a TablePlanner, not a gymnasium.Env"):
        make_env("tests.helpers:always_right")


@pytest.mark.parametrize("env_id", ["Pendulum-v1", "MountainCarContinuous-v0"])
def test_continuous_actions_are_known(env_id: str) -> None:
    box = gymnasium.make(env_id).action_space
    assert isinstance(box, gymnasium.spaces.Box)
    assert make_env(env_id).action_space == Continuous.between(box.low, box.high)


class Talking(CorridorEnv):
    """Shows texts."""

    def __init__(self) -> None:
        super().__init__()
        self.observation_space: Any = gymnasium.spaces.Text(9)


def test_other_observations_are_refused() -> None:
    with pytest.raises(UnsupportedEnvironmentError, match="Talking: observation space Text.* is not supported"):
        make_env("tests.envs.test_registry:Talking")


def test_a_tuple_of_numbers_is_known() -> None:
    env = make_env("Blackjack-v1")
    plain = gymnasium.make("Blackjack-v1")
    env.reset(3)
    obs, _ = plain.reset(seed=3)
    np.testing.assert_array_equal(env.observe(), gymnasium.spaces.flatten(plain.observation_space, obs), strict=True)


def test_unknown_settings_are_refused() -> None:
    with pytest.raises(UnsupportedEnvironmentError, match="CartPole-v1 cannot be made with {'colour': 'red'}"):
        make_env("CartPole-v1", colour="red")


def test_a_file_that_an_environment_lacks_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def lacking(**_kwargs: Any) -> gymnasium.Env[Any, Any]:
        raise FileNotFoundError("no such file: map.png")

    monkeypatch.setitem(gymnasium.registry, "Lacking-v0", gymnasium.envs.registration.EnvSpec("Lacking-v0", lacking))
    with pytest.raises(UnsupportedEnvironmentError, match="Lacking-v0 cannot be made .*map.png"):
        make_env("Lacking-v0")


@pytest.mark.parametrize(
    ("env_id", "package", "extra"),
    [
        ("LunarLander-v3", "Box2D", "box2d"),
        ("ALE/Pong-v5", "ale_py", "atari"),
        ("NoSuchGameDeterministic-v4", "ale_py", "atari"),
        ("ALE/Pong-v5", "cv2", "atari"),
        ("MiniGrid-Empty-5x5-v0", "minigrid", "train"),
    ],
)
def test_a_missing_extra_comes_with_its_pip_line(
    monkeypatch: pytest.MonkeyPatch, env_id: str, package: str, extra: str
) -> None:
    for name in [name for name in sys.modules if name.startswith("gymnasium.envs.box2d")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingExtraError, match=rf"pip install 'phr\[{extra}\]'"):
        make_env(env_id)


def test_an_unknown_name_that_need_not_be_ataris_is_just_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ale_py", None)
    with pytest.raises(UnknownEnvironmentError, match="there is no environment 'NoSuchGame-v4'"):
        make_env("NoSuchGame-v4")


def test_minigrid_gets_the_fast_way_in_either_view() -> None:
    assert isinstance(make_env("MiniGrid-Empty-5x5-v0"), FullViewEnv)
    assert isinstance(make_env("MiniGrid-Empty-5x5-v0", "partial"), PartialViewEnv)
    assert isinstance(make_env("PHR/FourRooms-v0", max_steps=7), FullViewEnv)


def test_the_fast_way_sees_through_wrappers_that_leave_the_observation_alone() -> None:
    env = split_env(TimeLimit(gymnasium.make("MiniGrid-Empty-5x5-v0"), 3), "mine")
    assert isinstance(env, FullViewEnv)
    env.reset(0)
    assert [env.advance(0)[2] for _ in range(3)] == [False, False, True]


def test_an_observation_wrapper_is_respected() -> None:
    plain = ImgObsWrapper(FullyObsWrapper(gymnasium.make("MiniGrid-Empty-5x5-v0")))
    env = split_env(ImgObsWrapper(FullyObsWrapper(gymnasium.make("MiniGrid-Empty-5x5-v0"))), "wrapped")
    assert isinstance(env, ObservingEnv)
    env.reset(0)
    np.testing.assert_array_equal(env.observe(), plain.reset(seed=0)[0])


@pytest.mark.parametrize("view", ["full", "partial"])
@pytest.mark.parametrize("env_id", ["CartPole-v1", "tests.helpers:make_corridor"])
def test_only_minigrid_has_views(env_id: str, view: Any) -> None:
    message = f"{env_id}.*: it has no option .view.; it has action-noise"
    with pytest.raises(UnsupportedEnvironmentError, match=message):
        make_env(env_id, view)
    with pytest.raises(UnsupportedEnvironmentError, match=message):
        make_env(f"{env_id}?view={view}")
    with pytest.raises(UnknownEnvironmentError, match="there is no view 'half'; choose one of full, partial"):
        make_env(f"{env_id}?view=half")


def test_atari_has_no_views() -> None:
    with pytest.raises(SettingError, match="Atari has no option 'view'"):
        make_env("ALE/Pong-v5?view=full")


def test_an_environment_says_which_path_its_steps_take() -> None:
    assert make_env("PHR/FourRooms-v0").stepping.startswith("fast path: MiniGrid's simulator alone")
    assert make_env("PHR/FourRooms-v0?view=partial").stepping.startswith("fast path: MiniGrid's simulator alone")
    assert make_env("CartPole-v1").stepping.startswith("plain path: Gymnasium's own step")


def test_any_other_environment_observes_at_every_step() -> None:
    assert isinstance(make_env("CartPole-v1"), ObservingEnv)
    assert isinstance(split_env(FlattenObservation(gymnasium.make("FrozenLake-v1")), "x"), ObservingEnv)
    assert isinstance(split_env(CorridorEnv(), "x"), ObservingEnv)


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("no\ndisplay"), ValueError("size"), AssertionError("size > 3"), KeyError("map"), ImportError("libGL"),
        NotImplementedError(), gymnasium.error.Error("odd"), MemoryError("much"), OSError("no file"), TypeError("kind"),
    ],
    ids=lambda error: type(error).__name__,
)  # fmt: skip
def test_whatever_making_a_registered_environment_raises_is_one_line(
    error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    def make(**_kwargs: Any) -> Any:
        raise error

    monkeypatch.setitem(gymnasium.registry, "Broken-v0", gymnasium.envs.registration.EnvSpec("Broken-v0", entry_point=make))
    with pytest.raises(
        UnsupportedEnvironmentError, match=f"^Broken-v0 cannot be made with {{}}: {type(error).__name__}:"
    ) as e:
        make_env("Broken-v0")
    assert "\n" not in str(e.value)


@pytest.mark.parametrize("kind", ["space", "option", "actions"])
def test_what_cannot_be_acted_in_is_closed_again(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    closed = []

    class Odd(CorridorEnv):
        def __init__(self, **kwargs: Any) -> None:
            super().__init__(**kwargs)
            if kind == "space":
                self.observation_space = gymnasium.spaces.Text(3)  # type: ignore[assignment]
            if kind == "actions":
                self.action_space = gymnasium.spaces.Discrete(2, start=1)

        def close(self) -> None:
            closed.append(self)
            raise RuntimeError("an error while closing does not hide the first one")

    monkeypatch.setitem(gymnasium.registry, "Odd-v0", gymnasium.envs.registration.EnvSpec("Odd-v0", entry_point=Odd))
    with pytest.raises(UnsupportedEnvironmentError, match="Odd-v0"):
        make_env("Odd-v0?x=1" if kind == "option" else "Odd-v0")
    assert len(closed) == 1


def test_mujoco_says_each_warning_once(capfd: pytest.CaptureFixture[str]) -> None:
    mujoco = pytest.importorskip("mujoco")
    if not hasattr(mujoco, "set_mju_user_warning"):
        pytest.skip("this version of MuJoCo warns as it likes")
    for _ in range(3):
        make_env("HalfCheetah-v5").close()
    for time in ("0.0300", "-1e-3"):
        mujoco.get_mju_user_warning()(f"one of several, Time = {time}")
    said = "".join(capfd.readouterr())
    assert said.count("one of several") == 1
    assert said.count("settotalmass") <= 1
    assert "WARNING" not in said
