"""What an id resolves to."""

from __future__ import annotations

from typing import Any

import gymnasium
import pytest
from gymnasium.wrappers import StickyAction

from phr_studies.doctor.describe import describe
from phr_studies.doctor.world import World


def make_sticky() -> gymnasium.Env[Any, Any]:
    return StickyAction(gymnasium.make("CartPole-v1", disable_env_checker=True), 0.3)


def test_any_environment() -> None:
    found = describe(World("CartPole-v1"))
    assert found.made_by == "gymnasium.envs.classic_control.cartpole:CartPoleEnv"
    assert (found.wrappers, found.step_limit, found.frame_skip, found.sticky) == (("TimeLimit",), 500, None, 0)
    assert (found.family, found.shown, found.shown_shape) == ("other", "the observation as it is", (4,))
    assert found.stepping == "plain path: Gymnasium's own step, which builds an observation every time"
    assert (found.network, found.action_space) == ("mlp, 2 layers of 256, and 2 residual layers", "Discrete(2)")


@pytest.mark.parametrize(
    ("env_id", "shape", "shown"),
    [
        ("PHR/FourRooms-v0", (7, 13, 13), "walls, goals, lava and the agent"),
        ("MiniGrid-DoorKey-5x5-v0", (30, 5, 5), "all that it may hold"),
        ("PHR/FourRooms-v0?view=partial", (24, 7, 7), "the agent's own view"),
    ],
)
def test_a_grid(env_id: str, shape: tuple[int, ...], shown: str) -> None:
    found = describe(World(env_id))
    assert (found.family, found.shown_shape) == ("grid", shape)
    assert (found.stepping or "").startswith("fast path: MiniGrid's simulator alone")
    assert shown in (found.shown or "")
    assert found.action_names[:3] == ("left", "right", "forward")
    assert len(found.action_names) == (3 if "Rooms" in env_id else 7)
    assert " at 0x" not in found.observation_space  # would differ from run to run


def test_atari() -> None:
    pytest.importorskip("ale_py")
    found = describe(World("PongDeterministic-v4?sticky=0.25&noop_max=5"))
    assert (found.family, found.frame_skip, found.sticky, found.idle_starts) == ("atari", 4, 0.25, 5)
    assert (found.stepping or "").startswith("fast path: the emulator alone")
    assert (found.step_limit, found.shown_shape, found.action_names[0]) == (27_000, (4, 84, 84), "NOOP")


@pytest.mark.parametrize(
    ("env_id", "shown"),
    [
        ("FrozenLake-v1", "one-hot rows of Discrete(16); obs.argmax(-1) returns the numbers"),
        (
            "tests.envs.test_flatten:make_rover",
            "rows of gymnasium.spaces.flatten, entries in the "
            "space's order: state.battery [0:1], state.cell [1:4] one-hot, picture [4:8]",
        ),
        ("CartPole-v1", "the observation as it is"),
    ],
)
def test_what_becomes_of_the_observation(env_id: str, shown: str) -> None:
    assert describe(World(env_id)).shown == shown


def test_wrappers_are_seen() -> None:
    found = describe(World("tests.phr_studies.doctor.test_describe:make_sticky"))
    assert found.sticky == 0.3
    assert found.wrappers[0] == "StickyAction"


def make_sticky_grid() -> gymnasium.Env[Any, Any]:
    return StickyAction(gymnasium.make("MiniGrid-Empty-5x5-v0", disable_env_checker=True), 0.3)


def test_a_grid_on_the_plain_path_says_why() -> None:
    found = describe(World("tests.phr_studies.doctor.test_describe:make_sticky_grid"))
    assert (found.family, found.shown_shape) == ("other", (151,))
    assert (found.stepping or "").startswith("plain path: wrapper gymnasium.wrappers.stateful_action.StickyAction is not on")


def test_where_phr_cannot_act() -> None:
    found = describe(World("tests.phr_studies.doctor.small_worlds:OddCoins"))
    assert (found.family, found.stepping, found.shown, found.network) == (None, None, None, None)
    assert (found.step_limit, "Box(0, 9" in found.action_space) == (None, True)
    assert "action space Box" in (found.refusal or "")
