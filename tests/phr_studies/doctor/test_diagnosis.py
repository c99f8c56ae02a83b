"""The page and the JSON."""

from __future__ import annotations

import json
from typing import Any

import pytest

import phr
from phr.errors import SettingError
from tests.helpers import always_right
from tests.phr_studies.doctor import small_worlds
from tests.phr_studies.doctor.small_worlds import follow

ROOM = "tests.phr_studies.doctor.small_worlds"
KEYS = {
    "resolves_to": {
        "made_by", "wrappers", "step_limit", "frame_skip", "sticky", "idle_starts", "observation_space", "action_space",
        "action_names", "family", "stepping", "shown", "shown_shape", "shown_dtype", "network", "refusal",
    },
    "checker": {"passed", "error", "warnings"},
    "replay": {
        "repeats", "episodes", "steps", "difference", "starts", "different_starts", "different_episodes", "forks",
        "forks_changed", "fork_steps", "dice_refused",
    },
    "teacher": {
        "teacher", "episodes", "return_mean", "length_median", "cut", "run_median", "run_p90", "moments", "epsilon",
        "tolerance",
    },
    "curve": {
        "horizons", "errors", "larger_errors", "episodes", "steps", "continuous", "zero", "returns", "shares", "tolerance",
    },
}  # fmt: skip


def test_the_json_holds_what_the_page_says() -> None:
    told: list[str] = []
    found = phr.doctor("tests.helpers:make_corridor", always_right(), episodes=2, on_progress=lambda p: told.append(p.stage))
    plain = json.loads(json.dumps(found.to_json(), allow_nan=False))
    assert set(plain) == {"env_id", "seed", "horizon", "advice", "failures", *KEYS}
    for part, keys in KEYS.items():
        assert set(plain[part]) == keys
    assert plain["horizon"] == 4
    assert found.advice is not None
    assert plain["advice"] == found.advice
    assert str(found).endswith(found.advice)
    assert found.advice.startswith("a horizon worth asking for: about 4; with errors of 1 % such plans keep ")
    assert len(told) == 4


def test_without_a_teacher() -> None:
    found = phr.doctor(f"{ROOM}:Coins", episodes=2)
    assert (found.advice, found.horizon, found.to_json()["teacher"], found.to_json()["curve"]) == (None,) * 4
    assert "plays on after the start" in str(found)
    assert "16 seeds give 2 different first looks and " in str(found)


def test_faults_are_told() -> None:
    page = str(phr.doctor(f"{ROOM}:Unseeded", episodes=1))
    assert "does not repeat: episode 1 differs at the start (observation)" in page
    assert "stopped at an error" in page
    page = str(phr.doctor(f"{ROOM}:OddCoins", episodes=1))
    assert "phr cannot act here" in page


def test_an_environment_that_breaks_keeps_what_was_found_before() -> None:
    found = phr.doctor(f"{ROOM}:Breaking", lambda obs: (obs[:, 0] > 0).astype(int), episodes=1)
    page, plain = str(found), json.loads(json.dumps(found.to_json(), allow_nan=False))
    assert "stopped at an error" in page
    assert found.check.error is not None
    assert found.check.error == "RuntimeError: boom"
    stopped = f"{ROOM}:Breaking: step() raised RuntimeError: boom"
    assert page.count(f"stopped  at an error: {stopped}") == 2  # random actions, and the teacher's
    assert (plain["replay"], plain["teacher"], found.advice) == (None, None, None)
    assert plain["failures"].keys() == {"the same actions again", "the teacher's episodes"}
    assert all(why.startswith(f"{stopped} (step 1 of an episode, seed ") for why in plain["failures"].values())
    assert phr.doctor(f"{ROOM}:Coins", episodes=1).to_json()["failures"] == {}


def test_chance_that_cannot_be_seeded_anew_is_unknown() -> None:
    found = phr.doctor(f"{ROOM}:Outdated", lambda obs: (obs[:, 0] > 0).astype(int), episodes=2)
    assert found.replay is not None
    assert (found.replay.repeats, found.replay.forks) == (True, None)
    assert "unknown: an environment draws its random numbers from a RandomState" in str(found)
    assert found.looking_away is not None
    assert set(found.looking_away.epsilon) == {None}
    assert found.curve is not None
    assert set(found.curve.returns[0][1:]) == {None}
    assert found.advice is not None
    assert "what longer plans keep is unknown" in found.advice


def test_state_that_is_not_seen_is_reported() -> None:
    assert "a seed decides more than is seen" in str(phr.doctor(f"{ROOM}:Hiding", follow, episodes=2))
    assert "a seed decides more than is seen" not in str(phr.doctor(f"{ROOM}:Coins", follow, episodes=2))  # chance does


def test_impossible_numbers_are_refused() -> None:
    impossible: tuple[dict[str, Any], ...] = ({"episodes": 0}, {"steps": 0}, {"seed": -1})
    for wrong in impossible:
        with pytest.raises(SettingError):
            phr.doctor(f"{ROOM}:Coins", **wrong)


def test_a_simulator_that_can_be_open_once_is_examined_and_closed() -> None:
    found = phr.doctor(f"{ROOM}:OnlyOne", lambda obs: (obs[:, 0] > 0).astype(int), episodes=2)
    assert found.failures == {}
    assert found.replay is not None
    assert found.replay.repeats
    assert small_worlds.OnlyOne.n_open == 0
