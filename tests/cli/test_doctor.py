"""`phr doctor`, as typed."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.conftest import Outcome

Phr = Callable[..., Outcome]
ROOM = "tests.phr_studies.doctor.small_worlds"
COINS = ("doctor", f"{ROOM}:Coins")
ODD = f"{ROOM}:OddCoins"


def test_the_page_is_short_and_the_json_is_written(phr: Phr, tmp_path: Path) -> None:
    words = ("--teacher", f"{ROOM}:make_follower", "--episodes", 2, "--json", tmp_path / "told.json")
    outcome = phr(*COINS, *words)
    assert (outcome.code, outcome.err) == (0, "")
    lines = outcome.out.splitlines()
    assert lines[0] == f"{ROOM}:Coins"
    assert len(lines) < 40
    assert lines[-1] == f"written to {tmp_path / 'told.json'}"
    found = json.loads((tmp_path / "told.json").read_text())
    assert lines[-2] == found["advice"]
    assert lines[-2].startswith(f"a horizon worth asking for: about {found['horizon']}; with errors of 1 % such plans keep")
    rows = {line[2:20].strip(): line[20:].split(" %") for line in lines}
    assert [float(each) for each in rows["ε after k steps"][:4]] == pytest.approx(
        [100 * found["teacher"]["epsilon"][k - 1] for k in (1, 2, 4, 8)], abs=0.06
    )
    assert len(rows["plans of n keep"]) == len(found["curve"]["horizons"]) + 1


def test_without_a_teacher_it_says_what_one_would_tell(phr: Phr) -> None:
    outcome = phr(*COINS, "--episodes", 1)
    assert outcome.code == 0
    assert outcome.out.splitlines()[-1].startswith("with --teacher T: ")


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("doctor",), "missing: ENV_ID; see phr doctor --help"),
        (("doctor", "CartPol-v1"), "there is no environment 'CartPol-v1'; did you mean CartPole-v1"),
        (("doctor", "FrozenLake-v1", "--teacher", "zoo:crossing-teacher"), "the model has 7 actions, FrozenLake-v1 has 4"),
        (("doctor", "CartPole-v1", "--teacher", "nowhere"), "nowhere is not a run directory"),
        (("doctor", ODD, "--teacher", "zoo:crossing-teacher"), "zoo:crossing-teacher cannot act here"),
        (("doctor", "CartPole-v1", "--episodes", 0), "needs at least one episode of one step, got 0 of 300"),
    ],
)
def test_wrong_words(phr: Phr, words: tuple[object, ...], expected: str) -> None:
    outcome = phr(*words)
    assert (outcome.code, outcome.out, outcome.err.count("\n")) == (2, "", 1)
    assert expected in outcome.err
