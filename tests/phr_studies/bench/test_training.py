from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
import torch

from phr.distil.presets import teacher_config
from phr.envs.registry import make_env
from phr.errors import IncompatibleModelError, UnknownModelError
from phr.networks.trunks import TrunkConfig
from phr.teacher.a2c import A2C, Rollout
from phr_studies.bench.rounds import spread
from phr_studies.bench.training import (
    BARE,
    BARE_FLOAT32,
    CASES,
    OURS,
    OURS_FLOAT32,
    PEER,
    TrainingCase,
    TrainingSettings,
    bare_updates,
    config_of,
    measure,
    network_of,
    ratios_of,
    tables,
)
from phr_studies.report.tables import to_markdown
from phr_studies.reproduce.profiles import CROSSING, PONG

TINY = TrunkConfig(kind="grid", channels=(2, 2, 2), width=4)


def test_one_case_from_beginning_to_end() -> None:
    case = TrainingCase(env_id=CROSSING, trunk=TINY, n_envs=2)
    values = measure(TrainingSettings(cases=(case,), rounds=2, seconds_per_run=0.01))
    assert json.loads(json.dumps(values)) == values
    [found] = values["cases"]
    assert (found["env_id"], found["channels"], found["width"], found["weights"]) == (CROSSING, [2, 2, 2], 4, None)
    assert (found["n_envs"], found["n_steps"]) == (2, teacher_config(make_env(CROSSING)).n_steps)
    assert set(found["peer_pilot_steps_per_second"]) == {"DummyVecEnv", "SubprocVecEnv"}
    assert found["peer_stepping"] in found["peer_pilot_steps_per_second"]
    both = found["precision"] == "bfloat16"
    assert set(found["steps_per_second"]) == {OURS, BARE, PEER} | ({OURS_FLOAT32, BARE_FLOAT32} if both else set())
    assert all(len(rate["rounds"]) == 2 and rate["low"] > 0 for rate in found["steps_per_second"].values())
    [table] = tables(values)
    assert "| SimpleCrossingS9N1 | 2-2-2 / 4 | fresh |" in to_markdown(table)


def test_ratios_are_taken_round_by_round() -> None:
    rates = {OURS: spread([600.0, 900.0, 800.0]), PEER: spread([100.0, 100.0, 200.0]), BARE: spread([1200.0, 1e3, 1e3])}
    ratios = ratios_of(rates)
    assert ratios["against_sb3"] == spread([6.0, 9.0, 4.0])
    assert ratios["of_bare_passes"] == spread([0.5, 0.9, 0.8])
    assert set(ratios) == {"against_sb3", "of_bare_passes"}
    in_float32 = ratios_of({**rates, OURS_FLOAT32: spread([300.0] * 3), BARE_FLOAT32: spread([600.0] * 3)})
    assert in_float32["float32_against_sb3"]["rounds"] == [3, 3, 1.5]
    assert in_float32["float32_of_bare_passes"]["median"] == 0.5


def case_of(rates: dict[str, Any]) -> dict[str, Any]:
    return {
        "env_id": PONG, "channels": [32, 64, 64], "width": 512, "weights": "zoo:pong-teacher", "threads": 1,
        "precision": "float32", "peer_stepping": "SubprocVecEnv", "steps_per_second": rates, "ratios": ratios_of(rates),
    }  # fmt: skip


def test_the_table_says_what_was_measured() -> None:
    rates = {OURS: spread([2000.0, 2100.0, 2200.0]), PEER: spread([700.0] * 3), BARE: spread([3000.0] * 3)}
    [table] = tables({"cases": [case_of(rates)], "left_out": []})
    row = dict(zip([column.heading for column in table.columns], table.rows[0], strict=True))
    assert row["environment"] == "PongDeterministic"
    assert (row["network"], row["weights"], row["stepped by"]) == ("32-64-64 / 512", "trained", "SubprocVecEnv")
    assert (row["phr, steps / s"], row["float32"], row["SB3"]) == ("2,100", "–", "700")
    assert (row["phr / SB3"], row["float32 / SB3"], row["of the bare passes"]) == ("3.00×", "–", "0.70")


def test_a_case_without_its_weights_is_left_out() -> None:
    case = TrainingCase(env_id=CROSSING, trunk=TINY, n_envs=2, weights="zoo:no-such-model")
    values = measure(TrainingSettings(cases=(case,)))
    assert values["cases"] == []
    assert "no-such-model" in values["left_out"][0]
    assert "no-such-model" in tables(values)[0].note


def test_nothing_is_learnt_while_training_is_timed() -> None:
    case = TrainingCase(env_id=CROSSING, trunk=TINY, n_envs=2)
    config = config_of(case)
    network = network_of(case, config)
    training = A2C(lambda: make_env(CROSSING), config, network=network)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    for _ in range(20):
        training.update()
    for name, value in network.state_dict().items():
        torch.testing.assert_close(value, before[name], rtol=0, atol=1e-9, msg=name)


def test_bare_updates_do_all_the_work_on_the_same_rollout(monkeypatch: pytest.MonkeyPatch) -> None:
    case = TrainingCase(env_id=CROSSING, trunk=TINY, n_envs=2)
    config = replace(config_of(case), precision="float32")  # 8 bits would let the last digit of a weight be heard
    training = A2C(lambda: make_env(CROSSING), config, network=network_of(case, config))
    training.update()  # takes the biases off 0, where a leaky ReLU has no derivative
    learnt: list[dict[str, float]] = []
    learn = training.learn

    def listening(rollout: Rollout) -> dict[str, float]:
        learnt.append(learn(rollout))
        return learnt[-1]

    monkeypatch.setattr(training, "learn", listening)
    run = bare_updates(training)
    stands = training.collector.state()
    run(3)
    assert training.collector.state() == stands  # no environment moved
    assert training.n_updates == 5
    assert learnt[1] == learnt[2] == learnt[3] == pytest.approx(learnt[0], rel=1e-5)
    assert learnt[0]["grad_norm"] > 0


def test_trained_weights_fill_a_wider_network() -> None:
    case = TrainingCase(env_id=CROSSING, weights="zoo:crossing-teacher", trunk=TrunkConfig(kind="grid"))
    network = network_of(case, config_of(case))
    assert (network.config.trunk.channels, network.config.trunk.width) == ((32, 64, 64), 512)
    with pytest.raises(IncompatibleModelError, match="has no place"):
        network_of(case, replace(config_of(case), trunk=TINY))
    with pytest.raises(UnknownModelError, match="oracle has no network to train on"):
        network_of(TrainingCase(env_id=CROSSING, weights="oracle", trunk=TINY), config_of(case))


def test_the_cases_cover_both_environments_networks_and_phases() -> None:
    crossing = {(case.trunk is None, case.weights is None) for case in CASES if case.env_id == CROSSING}
    assert crossing == {(True, True), (True, False), (False, True), (False, False)}
    assert {case.trunk is None for case in CASES if case.env_id == PONG} == {True, False}
