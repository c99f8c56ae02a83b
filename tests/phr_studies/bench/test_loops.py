from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from phr.errors import MissingExtraError
from phr_studies.bench import loops
from phr_studies.bench.loops import LoopSettings, measure, peer_summary, repeat_action, summary, tables, warnings
from phr_studies.bench.rounds import Arena, Contestant, spread
from phr_studies.report.tables import to_markdown
from tests.phr_studies.bench.exported import corridor_reference, torch_for_onnx

TERMS = {"sim_us": 1.0, "reset_us": 0.0, "obs_us": 0.0, "policy_us": 0.0, "evaluations_per_step": 1.0}


def a_round(seconds: float, score: float = 1.0, fraction: float = 0.9) -> dict[str, float]:
    return {
        "seconds_wall": seconds, "steps": 1000, "score": score, "fraction": fraction,
        **TERMS, "steps_per_episode": 10.0, "bound_us": 1.0,
    }  # fmt: skip


def absent_peer(arena: Arena) -> Contestant:
    raise MissingExtraError("not here; pip install it")


def test_the_section_runs_from_references_to_tables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch_for_onnx(monkeypatch)
    settings = LoopSettings(
        models=(corridor_reference(tmp_path), "untrained:Nowhere-v0"),
        commitments=(1, 4, 16),
        rounds=2,
        seconds_per_run=0.005,
        seconds_per_bound=0.002,
        seconds_per_peer=0.003,
        peers=(repeat_action, absent_peer),
    )
    values = measure(settings)

    corridor, nowhere = values["models"]
    assert [entry["commitment"] for entry in corridor["commitments"]] == [1, 4]  # 16 is beyond its horizon
    assert corridor["starts_solved"] == (1, 1)
    assert [peer["name"] for peer in corridor["peers"]] == ["RepeatAction, n = 4", "absent peer"]
    assert "no environment 'Nowhere-v0'" in nowhere["missing"]
    text = "\n".join(map(to_markdown, tables(values)))
    assert "1 of 1 starts solved at every n" in text
    assert "absent peer: not here; pip install it" in text
    assert "Nowhere-v0" in text


def test_speedups_and_peers_are_compared_within_the_rounds() -> None:
    rounds = {
        "looking 1": [a_round(4.0), a_round(8.0)],
        "observing_always 1": [a_round(5.0), a_round(9.0)],
        "looking 16": [a_round(1.0, score=10.0), a_round(2.0, score=10.0)],
        "observing_always 16": [a_round(3.0), a_round(5.0)],
        "peer": [a_round(30.0, score=5.0), a_round(60.0, score=5.0)],
    }
    first, last = summary(rounds, (1, 16))
    assert first["speedup"]["rounds"] == [1.0, 1.0]
    assert last["speedup"]["rounds"] == [4.0, 4.0]
    assert last["observing_always"]["seconds_per_100k_steps"]["rounds"] == [300.0, 500.0]
    peer = peer_summary("peer", rounds, 16)
    assert peer["score_ratio"]["rounds"] == [60.0, 60.0]  # 10 points a second against 1/6, 5 against 1/12
    assert peer["time_ratio"]["rounds"] == [30.0, 30.0]


def test_only_long_enough_runs_can_be_too_fast() -> None:
    def values(fraction: float, is_judged: bool) -> dict[str, Any]:
        entry = {"commitment": 4, "bound": {"fraction": spread([0.5, fraction, 2.0])}, "is_judged": is_judged}
        return {"models": [{"env_id": "Some-v0", "commitments": [entry]}, {"model": "gone", "missing": "why"}]}

    assert warnings(values(1.06, is_judged=True)) == ["Some-v0 at commitment 4: 1.06 of the bound"]
    assert warnings(values(1.06, is_judged=False)) == []
    assert warnings(values(1.05, is_judged=True)) == []


def test_pong_acts_at_random_and_its_score_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    torch_for_onnx(monkeypatch)
    monkeypatch.setattr("phr_studies.bench.rounds._PILOT_STEPS", 4)
    settings = LoopSettings(
        commitments=(1, 16), rounds=1, seconds_per_run=0.001, seconds_per_bound=0.001, seconds_per_peer=0.001, peers=()
    )
    values = measure(settings)
    (pong,) = values["models"]
    assert (pong["env_id"], pong["untrained"], pong["horizon"]) == ("PongDeterministic-v4", True, 16)
    rates = loops.tables(values)[0]
    score = [column.heading for column in rates.columns].index("score / s")
    assert [row[score] for row in rates.rows] == ["–", "–"]
    assert "a random policy" in rates.note
