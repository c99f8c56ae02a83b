"""The page and the JSON."""

from __future__ import annotations

import json
from typing import Any

import pytest

import phr
from phr.errors import SettingError
from tests.helpers import always_right

ROOM = "tests.studies.doctor.small_worlds"
KEYS = {
    "resolves_to": {
        "made_by", "wrappers", "step_limit", "frame_skip", "sticky", "idle_starts", "observation_space", "action_space",
        "action_names", "way", "shown", "shown_shape", "shown_dtype", "network", "refusal",
    },
    "checker": {"passed", "error", "warnings"},
    "replay": {
        "repeats", "episodes", "steps", "difference", "starts", "different_starts", "different_episodes", "forks",
        "forks_changed", "fork_steps",
    },
    "teacher": {
        "teacher", "episodes", "return_mean", "length_median", "cut", "run_median", "run_p90", "moments", "repeat_right",
        "plan_right", "blind_median", "blind_p90", "diverged", "tolerance", "horizon", "reason", "horizons", "longest",
    },
}  # fmt: skip


def test_the_json_holds_what_the_page_says() -> None:
    told: list[str] = []
    found = phr.doctor("tests.helpers:make_corridor", always_right(), episodes=2, on_progress=lambda p: told.append(p.stage))
    plain = json.loads(json.dumps(found.to_json(), allow_nan=False))
    assert set(plain) == {"env_id", "seed", "failure", *KEYS}
    for part, keys in KEYS.items():
        assert set(plain[part]) == keys
    assert plain["teacher"]["horizon"] == 4
    assert found.advice is not None
    assert str(found).endswith(found.advice)
    assert found.advice.startswith("a horizon worth asking for: about 4; in none of 64 twins")
    assert len(told) == 3


def test_without_a_teacher() -> None:
    found = phr.doctor(f"{ROOM}:Coins", episodes=2)
    assert (found.advice, found.to_json()["teacher"]) == (None, None)
    assert "plays on after the start" in str(found)
    assert "16 seeds give 2 different first looks and " in str(found)


@pytest.mark.parametrize(
    ("name", "failure"),
    [
        ("Raising", "ValueError: no such cell"),
        ("Ancient", "TypeError: Ancient.reset() got an unexpected keyword argument 'seed'"),
        ("Paying", "the reward is a NaN or an infinity"),
    ],
)
def test_an_environment_that_fails_is_examined_as_far_as_that_goes(name: str, failure: str) -> None:
    """What it resolves to and what the checker says are just what its maker needs then."""
    found = phr.doctor(f"{ROOM}:{name}", episodes=2)
    assert found.replay is None
    assert found.failure is not None
    assert failure in found.failure
    plain = json.loads(json.dumps(found.to_json(), allow_nan=False))
    assert (plain["replay"], plain["failure"]) == (None, found.failure)
    assert f"made by          {ROOM}:{name}" in str(found)
    assert f"random actions stopped at an error: {found.failure}" in str(found)


def test_faults_are_told() -> None:
    page = str(phr.doctor(f"{ROOM}:Unseeded", episodes=1))
    assert "does not repeat: episode 1 differs at the start (observation)" in page
    assert "stopped at an error" in page
    page = str(phr.doctor(f"{ROOM}:OddCoins", episodes=1))
    assert "phr cannot act here" in page


def test_impossible_numbers_are_refused() -> None:
    impossible: tuple[dict[str, Any], ...] = ({"episodes": 0}, {"steps": 0}, {"seed": -1})
    for wrong in impossible:
        with pytest.raises(SettingError):
            phr.doctor(f"{ROOM}:Coins", **wrong)
