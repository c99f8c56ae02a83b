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
    assert (found.way, found.shown, found.shown_shape) == ("generic", "the observation as it is", (4,))
    assert (found.network, found.action_space) == ("mlp, 2 layers of 64", "Discrete(2)")


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
    assert (found.way, found.shown_shape) == ("minigrid", shape)
    assert shown in (found.shown or "")
    assert found.action_names[:3] == ("left", "right", "forward")
    assert len(found.action_names) == (3 if "Rooms" in env_id else 7)
    assert " at 0x" not in found.observation_space  # would differ from run to run


def test_atari() -> None:
    pytest.importorskip("ale_py")
    found = describe(World("PongDeterministic-v4?sticky=0.25&noop_max=5"))
    assert (found.way, found.frame_skip, found.sticky, found.idle_starts) == ("atari", 4, 0.25, 5)
    assert (found.step_limit, found.shown_shape, found.action_names[0]) == (27_000, (4, 84, 84), "NOOP")


@pytest.mark.parametrize(
    ("env_id", "shown"), [("FrozenLake-v1", "the number, one-hot"), ("tests.helpers:make_corridor", "the number, one-hot")]
)
def test_what_becomes_of_the_observation(env_id: str, shown: str) -> None:
    assert describe(World(env_id)).shown == shown


def test_wrappers_are_seen() -> None:
    found = describe(World("tests.phr_studies.doctor.test_describe:make_sticky"))
    assert found.sticky == 0.3
    assert found.wrappers[0] == "StickyAction"


def test_where_phr_cannot_act() -> None:
    found = describe(World("tests.phr_studies.doctor.small_worlds:OddCoins"))
    assert (found.way, found.shown, found.network) == (None, None, None)
    assert (found.step_limit, "Box(0, 9" in found.action_space) == (None, True)
    assert "action space Box" in (found.refusal or "")
