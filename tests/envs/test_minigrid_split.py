from __future__ import annotations

import functools
import re
from collections.abc import Callable
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium import wrappers
from hypothesis import given, settings
from hypothesis import strategies as st
from minigrid import wrappers as grid_wrappers
from minigrid.core.world_object import Ball, WorldObj
from minigrid.envs.crossing import CrossingEnv
from minigrid.envs.doorkey import DoorKeyEnv
from minigrid.envs.empty import EmptyEnv
from minigrid.minigrid_env import MiniGridEnv
from numpy.typing import NDArray

from phr.envs.four_rooms import FourRoomsEnv
from phr.envs.minigrid_split import FULL, WALKING, FullViewEnv, layout_of, plain_reason, plane_layout
from phr.envs.registry import make_env, split_env
from phr.envs.split import ObservingEnv, SplitEnv
from phr.errors import UnsupportedEnvironmentError
from tests.envs.grid_reference import n_plain, reference_planes, simulator
from tests.helpers import Proxy

IDS = [
    "PHR/FourRooms-v0",
    "MiniGrid-BlockedUnlockPickup-v0",
    "MiniGrid-DistShift2-v0",
    "MiniGrid-DoorKey-5x5-v0",
    "MiniGrid-Dynamic-Obstacles-8x8-v0",
    "MiniGrid-Dynamic-Obstacles-Random-5x5-v0",
    "MiniGrid-Empty-Random-6x6-v0",
    "MiniGrid-Fetch-6x6-N2-v0",
    "MiniGrid-FourRooms-v0",
    "MiniGrid-GoToDoor-6x6-v0",
    "MiniGrid-GoToObject-6x6-N2-v0",
    "MiniGrid-KeyCorridorS3R1-v0",
    "MiniGrid-LavaCrossingS9N2-v0",
    "MiniGrid-LavaGapS6-v0",
    "MiniGrid-LockedRoom-v0",
    "MiniGrid-MemoryS9-v0",
    "MiniGrid-MultiRoom-N2-S4-v0",
    "MiniGrid-ObstructedMaze-1Dlhb-v0",
    "MiniGrid-ObstructedMaze-Full-v1",
    "MiniGrid-Playground-v0",
    "MiniGrid-PutNear-8x8-N3-v0",
    "MiniGrid-RedBlueDoors-6x6-v0",
    "MiniGrid-SimpleCrossingS9N1-v0",
    "MiniGrid-Unlock-v0",
    "MiniGrid-UnlockPickup-v0",
]
VARYING_MISSIONS = [
    "MiniGrid-Fetch-6x6-N2-v0",
    "MiniGrid-GoToDoor-6x6-v0",
    "MiniGrid-GoToObject-6x6-N2-v0",
    "MiniGrid-LockedRoom-v0",
    "MiniGrid-PutNear-8x8-N3-v0",
    "MiniGrid-UnlockPickup-v0",
]

# left, right, forward, pick up, drop, toggle, done: more of what changes the grid than a uniform choice.
TASTE = np.array([1, 1, 3, 2, 1, 2, 0.3])


@functools.cache
def cached_env(env_id: str, view: Any = None) -> SplitEnv:
    return make_env(env_id, view)


def random_action(env: SplitEnv, rng: np.random.Generator) -> int:
    weights = TASTE[: env.n_actions]
    return int(rng.choice(env.n_actions, p=weights / weights.sum()))


@pytest.mark.parametrize("env_id", IDS)
def test_planes_kept_up_to_date_equal_a_fresh_encoding(env_id: str) -> None:
    env = cached_env(env_id)
    core, rng = simulator(env), np.random.default_rng(0)
    for seed in range(2):
        env.reset(seed)
        for _ in range(120):
            if rng.random() < 0.5:  # else several changes pile up before anybody looks
                obs = env.observe()
                assert obs.shape == env.observation_space.shape
                np.testing.assert_array_equal(obs[: n_plain(env_id)], reference_planes(core, env_id))
            _, terminated, truncated, _ = env.advance(random_action(env, rng))
            if terminated or truncated:
                np.testing.assert_array_equal(env.observe()[: n_plain(env_id)], reference_planes(core, env_id))
                env.reset()


@pytest.mark.parametrize(
    ("env_id", "first", "last", "what"),
    [
        ("MiniGrid-DoorKey-5x5-v0", 14, 17, "doors open"),
        ("MiniGrid-DoorKey-5x5-v0", 21, 24, "keys are carried"),
        ("MiniGrid-ObstructedMaze-1Dlhb-v0", 5, 6, "boxes are opened"),
        ("MiniGrid-Dynamic-Obstacles-8x8-v0", 4, 5, "obstacles move"),
    ],
)
def test_random_play_meets_what_changes_a_grid(env_id: str, first: int, last: int, what: str) -> None:
    """The comparison above would be worth little if nothing ever changed."""
    env, rng = cached_env(env_id), np.random.default_rng(0)
    env.reset(0)
    start = env.observe()[first:last]
    for _ in range(2000):
        _, terminated, truncated, _ = env.advance(random_action(env, rng))
        if (env.observe()[first:last] != start).any():
            return
        if terminated or truncated:
            env.reset(0)
    pytest.fail(f"{env_id}: it never happened that {what}")


@pytest.mark.parametrize("env_id", IDS)
def test_the_partial_view_is_minigrids_own(env_id: str) -> None:
    env, plain = cached_env(env_id, "partial"), gymnasium.make(env_id)
    rng = np.random.default_rng(1)
    env.reset(1)
    seen, _ = plain.reset(seed=1)
    for _ in range(40):
        obs = env.observe()
        image = seen["image"].transpose(1, 0, 2)
        for channel, group in enumerate((obs[:11], obs[11:17], obs[17:20])):
            np.testing.assert_array_equal(group.sum(axis=0), 1)
            np.testing.assert_array_equal(group.argmax(axis=0), image[..., channel])
        compass = obs[20:24]
        assert compass[seen["direction"]].all()
        assert compass.sum() == compass[0].size
        action = random_action(env, rng)
        seen, *expected = plain.step(action)
        outcome = env.advance(action)
        assert list(outcome) == expected
        if outcome[1] or outcome[2]:
            break


@pytest.mark.parametrize("env_id", VARYING_MISSIONS)
@pytest.mark.parametrize("view", ["full", "partial"])
def test_the_mission_can_be_read_back_from_its_planes(env_id: str, view: Any) -> None:
    env = cached_env(env_id, view)
    core = simulator(env)
    space = core.observation_space["mission"]
    first = {"full": n_plain(env_id), "partial": 24}[view]
    missions = set()
    for seed in range(15):
        env.reset(seed)
        planes = env.observe()[first:]
        assert (planes == planes[:, :1, :1]).all()
        code, words = planes[:, 0, 0], []
        for options in space.ordered_placeholders:
            assert code[: len(options)].sum() == 1
            words.append(options[int(code[: len(options)].argmax())])
            code = code[len(options) :]
        assert len(code) == 0
        assert space.mission_func(*words) == core.mission
        missions.add(core.mission)
    assert len(missions) > 3


@pytest.mark.parametrize("view", ["full", "partial"])
def test_a_mission_outside_its_space_is_refused(view: Any) -> None:
    env = make_env("MiniGrid-Fetch-5x5-N2-v0", view)
    env.reset(0)
    simulator(env).mission = "sing"
    with pytest.raises(UnsupportedEnvironmentError, match="mission 'sing' is outside its MissionSpace"):
        env.observe()


def test_a_mission_that_never_changes_takes_no_planes() -> None:
    assert cached_env("MiniGrid-SimpleCrossingS9N1-v0").observation_space.shape == (7, 9, 9)


def test_missions_that_cannot_be_enumerated_are_refused() -> None:
    with pytest.raises(UnsupportedEnvironmentError, match="BabyAI-GoToRedBall-v0: its missions follow a grammar"):
        make_env("BabyAI-GoToRedBall-v0")


@given(st.sampled_from(IDS), st.integers(0, 2**31 - 1), st.lists(st.integers(0, 6), max_size=30))
@settings(max_examples=60)
def test_looking_changes_nothing(env_id: str, seed: int, actions: list[int]) -> None:
    """The state after a walk is the same whether somebody looked at every step or only at the end."""
    env = cached_env(env_id)
    ends: list[NDArray[np.uint8]] = []
    for looking in (True, False):
        env.reset(seed)
        for action in actions:
            if looking:
                env.observe()
            if any(env.advance(action % env.n_actions)[1:3]):
                break
        ends.append(env.observe())
    np.testing.assert_array_equal(ends[0], ends[1])


def test_stepping_never_builds_minigrids_view(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_args: Any, **_kwargs: Any) -> None:
        pytest.fail("somebody looked")

    env = make_env("MiniGrid-DoorKey-5x5-v0")
    monkeypatch.setattr(MiniGridEnv, "gen_obs", fail)
    monkeypatch.setattr(MiniGridEnv, "gen_obs_grid", fail)
    env.reset(0)
    for action in range(env.n_actions):
        env.advance(action)
    env.observe()


def test_an_observation_belongs_to_the_caller() -> None:
    env = cached_env("MiniGrid-SimpleCrossingS9N1-v0")
    env.reset(0)
    first = env.observe()
    kept = first.copy()
    env.advance(0)
    env.observe()[:] = 7
    np.testing.assert_array_equal(first, kept)
    assert env.observe().max() == 1


@pytest.mark.parametrize("view", ["full", "partial"])
def test_an_observation_can_be_written_in_place(view: str) -> None:
    env = cached_env("MiniGrid-DoorKey-5x5-v0", view)
    env.reset(0)
    out = np.full(env.observation_space.shape, 9, np.uint8)
    assert env.observe(out) is out
    np.testing.assert_array_equal(out, env.observe())


def test_the_agent_does_not_hide_its_cell() -> None:
    env = cached_env("PHR/FourRooms-v0")
    env.reset()
    for action in [2, 1, *[2] * 9, 0, *[2] * 9, 1, 2]:
        env.advance(action)
    goal, agent = env.observe()[1], env.observe()[3:7]
    assert goal[11, 11] == agent[:, 11, 11].sum() == 1


def test_only_the_very_classes_go_without_colours_and_doors() -> None:
    class Extended(CrossingEnv):
        pass

    assert plane_layout(CrossingEnv()) is WALKING
    assert plane_layout(gymnasium.make("MiniGrid-LavaCrossingS9N1-v0")) is WALKING
    assert plane_layout(Extended()) is FULL
    assert plane_layout(CrossingEnv(obstacle_type=Ball)) is FULL
    assert plane_layout(gymnasium.Wrapper(CrossingEnv())) is WALKING
    assert (layout_of(7), layout_of(30), layout_of(41), layout_of(29)) == (WALKING, FULL, FULL, None)


def test_an_object_that_nobody_knows_is_named() -> None:
    class Statue(WorldObj):
        def __init__(self) -> None:
            super().__init__("ball", "red")
            self.type = "statue"

    env = FullViewEnv(DoorKeyEnv(), "mine")
    env.reset(0)
    simulator(env).grid.set(3, 3, Statue())
    with pytest.raises(UnsupportedEnvironmentError, match="mine: its grid holds .*statue.*; phr knows wall, floor, door"):
        env.observe()
    env.reset(0)
    env.observe()
    simulator(env).grid.set(3, 3, Statue())
    with pytest.raises(UnsupportedEnvironmentError, match="mine: its grid holds 'statue'"):
        env.observe()


def test_only_minigrid_is_taken() -> None:
    assert plain_reason(gymnasium.make("CartPole-v1")) == "it is not a MiniGrid environment"


GRIDS = [env_id for env_id in gymnasium.registry if env_id.startswith(("MiniGrid-", "PHR/FourRooms"))]


def test_all_of_minigrids_own_environments_take_the_fast_path() -> None:
    assert len(GRIDS) > 80
    for env_id in GRIDS:
        assert plain_reason(gymnasium.make(env_id)) is None


def crossing(**kwargs: Any) -> gymnasium.Env[Any, Any]:
    return gymnasium.make("MiniGrid-LavaCrossingS9N1-v0", **kwargs)


LISTED: list[Callable[[], gymnasium.Env[Any, Any]]] = [
    lambda: gymnasium.Wrapper(crossing()),
    lambda: wrappers.TimeLimit(crossing(), 7),
    lambda: wrappers.RecordEpisodeStatistics(crossing()),
    lambda: wrappers.ClipReward(crossing(), 0, 0.5),
    lambda: wrappers.NormalizeReward(crossing()),
    lambda: wrappers.RenderCollection(crossing(render_mode="rgb_array")),
    lambda: grid_wrappers.ActionBonus(crossing()),
    lambda: grid_wrappers.PositionBonus(crossing(), 0.5),
    lambda: grid_wrappers.NoDeath(crossing(), ("lava",), -0.25),
    lambda: grid_wrappers.ReseedWrapper(crossing(), (3, 4)),
    lambda: grid_wrappers.NoDeath(gymnasium.make("MiniGrid-Dynamic-Obstacles-6x6-v0"), ("ball",)),
    lambda: grid_wrappers.ActionBonus(wrappers.TimeLimit(gymnasium.make("MiniGrid-DoorKey-5x5-v0"), 30)),
]


@pytest.mark.parametrize("make", LISTED)
def test_wrappers_on_the_list_work_and_the_grid_is_seen_whole(
    make: Callable[[], gymnasium.Env[Any, Any]],
) -> None:
    env, plain, rng = split_env(make(), "listed"), make(), np.random.default_rng(0)
    assert isinstance(env, FullViewEnv)
    layout = plane_layout(plain)
    env.reset(5)
    plain.reset(seed=5)
    for _ in range(150):
        action = random_action(env, rng)
        _, reward, *expected = plain.step(action)
        gained, *outcome = env.advance(action)
        assert (gained, outcome[:2]) == (float(reward), expected[:2])
        fresh = np.zeros_like(env.observe())
        layout.encode_grid(simulator(env).grid.grid, fresh)
        np.testing.assert_array_equal(env.observe()[: layout.agent], fresh[: layout.agent])
        if any(expected[:2]):
            env.reset()
            plain.reset()


class Bonus(gymnasium.Wrapper[Any, Any, Any, Any]):
    """Pays for a goal in view."""

    def step(self, action: Any) -> Any:
        obs, reward, *rest = self.env.step(action)
        return obs, float(reward) + float((obs["image"][..., 0] == 8).any()), *rest


class Blindfold(gymnasium.Wrapper[Any, Any, Any, Any]):
    """Hides the goal."""

    def reset(self, **kwargs: Any) -> Any:
        obs, info = self.env.reset(**kwargs)
        return self._hidden(obs), info

    def step(self, action: Any) -> Any:
        obs, *rest = self.env.step(action)
        return self._hidden(obs), *rest

    def _hidden(self, obs: Any) -> Any:
        return {**obs, "image": np.where(obs["image"] == 8, 1, obs["image"]).astype(np.uint8)}


class Judge(gymnasium.Wrapper[Any, Any, Any, Any]):
    """Asks MiniGrid for the view itself."""

    def step(self, action: Any) -> Any:
        obs, _, *rest = self.env.step(action)
        core: Any = self.unwrapped
        return obs, float(core.gen_obs()["image"].sum()), *rest


class OwnLimit(wrappers.TimeLimit):
    """A subclass of one on the list, which reads the view."""

    def step(self, action: Any) -> Any:
        obs, _, *rest = super().step(action)
        return obs, float(obs["image"].sum()), *rest


class OwnStep(EmptyEnv):
    """Reads its own view."""

    def step(self, action: Any) -> Any:
        obs, _, *rest = super().step(action)
        return obs, float(obs["image"].sum()), *rest


class OwnView(EmptyEnv):
    """Shows nothing."""

    def gen_obs(self) -> Any:
        seen: Any = super().gen_obs()  # type: ignore[no-untyped-call]
        return {**seen, "image": np.zeros((7, 7, 3), np.uint8)}


class OwnReward(EmptyEnv):
    """Pays for what is in view."""

    def _reward(self) -> float:
        core: Any = self
        return float(core.gen_obs()["image"].sum())


def empty(**kwargs: Any) -> Any:
    return gymnasium.make("MiniGrid-Empty-5x5-v0", disable_env_checker=True, **kwargs)


def patched_view() -> gymnasium.Env[Any, Any]:
    env: gymnasium.Env[Any, Any] = empty()
    core: Any = env.unwrapped
    plain = core.gen_obs
    core.gen_obs = lambda: {**plain(), "direction": 3}
    return env


def patched_step() -> gymnasium.Env[Any, Any]:
    env = wrappers.TimeLimit(empty(), 9)
    plain = env.step

    def step(action: Any) -> Any:
        obs, _, *rest = plain(action)
        return obs, float(obs["image"].sum()), *rest

    env.step = step  # type: ignore[method-assign]
    return env


def spoofed() -> gymnasium.Env[Any, Any]:
    kind: Any = type("EmptyEnv", (OwnView,), {"__module__": "minigrid.envs.empty"})
    env: gymnasium.Env[Any, Any] = kind(size=5)
    return env


def paid_by_view() -> gymnasium.Env[Any, Any]:
    env = empty()
    core = env.unwrapped
    return wrappers.TransformReward(env, lambda _reward: float(core.gen_obs()["image"].sum()))


UNLISTED: list[tuple[Callable[[], gymnasium.Env[Any, Any]], str]] = [
    (lambda: Proxy(empty()), "tests.helpers.Proxy is not a gymnasium.Wrapper"),
    (lambda: Bonus(empty()), "wrapper tests.envs.test_minigrid_split.Bonus is not on the list"),
    (lambda: Blindfold(empty()), "wrapper .*Blindfold is not on the list"),
    (lambda: wrappers.TimeLimit(Judge(empty()), 50), "wrapper .*Judge is not on the list"),
    (lambda: OwnLimit(empty(), 50), "wrapper .*OwnLimit is not on the list"),
    (lambda: OwnStep(size=5), "class .*OwnStep is not one of MiniGrid's own"),
    (lambda: OwnView(size=5), "class .*OwnView is not one of MiniGrid's own"),
    (lambda: OwnReward(size=5), "class .*OwnReward is not one of MiniGrid's own"),
    (spoofed, "class minigrid.envs.empty.EmptyEnv is not one of MiniGrid's own"),
    (patched_view, "a method of minigrid.envs.empty.EmptyEnv was replaced"),
    (patched_step, "a method of .*TimeLimit was replaced"),
    (paid_by_view, "wrapper .*TransformReward is not on the list"),
    (lambda: grid_wrappers.ImgObsWrapper(empty()), "wrapper minigrid.wrappers.ImgObsWrapper is not on the list"),
    (lambda: wrappers.StickyAction(empty(), 0.5), "wrapper .*StickyAction is not on the list"),  # hides a toggle
    (lambda: grid_wrappers.StochasticActionWrapper(empty()), "wrapper .*StochasticActionWrapper is not on the list"),
]


@pytest.mark.parametrize(("make", "reason"), UNLISTED)
@pytest.mark.parametrize("options", [None, {"view": "partial"}])
def test_whatever_may_read_the_view_is_left_as_it_is(
    make: Callable[[], gymnasium.Env[Any, Any]], reason: str, options: Any
) -> None:
    env, plain = split_env(make(), "own", options), make()
    assert isinstance(env, ObservingEnv)
    assert re.fullmatch(f"plain path: {reason}.*", env.stepping)
    env.reset(2)
    shown, _ = plain.reset(seed=2)
    seen = []
    for action in (2, 2, 1, 2):
        image = shown["image"] if isinstance(shown, dict) else shown
        seen.append(env.observe())
        assert image.astype(seen[-1].dtype).tobytes() in seen[-1].tobytes()
        shown, reward, *expected = plain.step(action)
        assert env.advance(action) == (float(reward), *expected)
    assert (8 in np.array(seen)) == ("Blindfold" not in reason and "OwnView" not in reason and make is not spoofed)


@pytest.mark.parametrize(("make", "reason"), UNLISTED)
def test_a_whole_grid_cannot_be_asked_of_them(make: Callable[[], gymnasium.Env[Any, Any]], reason: str) -> None:
    with pytest.raises(UnsupportedEnvironmentError, match=f"^own: view 'full' needs the fast path of grids, but {reason}"):
        split_env(make(), "own", {"view": "full"})


@pytest.mark.parametrize("name", ["step", "reset", "gen_obs", "_reward"])
@pytest.mark.parametrize("kind", [MiniGridEnv, EmptyEnv])
def test_a_class_that_was_patched_takes_the_plain_path(name: str, kind: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = getattr(kind, name)

    @functools.wraps(plain)
    def own(*args: Any, **kwargs: Any) -> Any:
        return plain(*args, **kwargs)

    monkeypatch.setattr(kind, name, own)
    assert plain_reason(empty()) == "a method of minigrid.envs.empty.EmptyEnv was replaced"
    monkeypatch.setattr(kind, name, functools.partialmethod(own))
    if name != "_reward":
        assert plain_reason(empty()) == "a method of minigrid.envs.empty.EmptyEnv was replaced"


def test_the_four_rooms_may_not_be_patched_either(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FourRoomsEnv, "gen_obs", lambda _env: {}, raising=False)
    assert "FourRoomsEnv was replaced" in (plain_reason(FourRoomsEnv()) or "")


def test_another_observation_space_takes_the_plain_path() -> None:
    env: Any = wrappers.TimeLimit(empty(), 5)
    env.observation_space = gymnasium.spaces.Dict({"image": env.observation_space["image"]})
    assert plain_reason(env) == "a wrapper replaced its observation space"


@pytest.mark.parametrize("space", [gymnasium.spaces.Box(-1, 1, (2,), np.float32), gymnasium.spaces.Discrete(3, start=1)])
def test_another_action_space_takes_the_plain_path(space: gymnasium.spaces.Space[Any]) -> None:
    env: Any = gymnasium.Wrapper(empty())
    env.action_space = space
    assert plain_reason(env) == "a wrapper replaced its action space"
    env.action_space = gymnasium.spaces.MultiBinary(2)
    with pytest.raises(UnsupportedEnvironmentError, match=r"^own: action space MultiBinary\(2\) is not supported"):
        split_env(env, "own")


def test_fewer_actions_keep_the_fast_path() -> None:
    env: Any = gymnasium.Wrapper(empty())
    env.action_space = gymnasium.spaces.Discrete(3)
    assert split_env(env, "own").n_actions == 3


def test_an_environment_may_be_split_twice() -> None:
    core = empty()
    views = [split_env(core, "one", {"view": view}) for view in ("full", "partial", "partial")]
    views[2].reset(0)
    np.testing.assert_array_equal(views[1].observe(), views[2].observe())
    assert views[1].observe()[:11].sum() == 49


def test_rendering_still_works() -> None:
    env = split_env(gymnasium.make("MiniGrid-Empty-5x5-v0", render_mode="rgb_array"), "MiniGrid-Empty-5x5-v0")
    env.reset(0)
    env.advance(2)
    assert np.asarray(env.gym_env.render()).shape == (160, 160, 3)
    env.close()
