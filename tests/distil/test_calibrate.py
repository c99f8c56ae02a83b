from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch

from phr.actions import ActionSpace, Continuous, Discrete, MultiDiscrete
from phr.distil.calibrate import Calibration, calibrated, fit
from phr.networks.policy import NetworkConfig, PlanNetwork, TorchPlanner
from phr.networks.trunks import TrunkConfig
from phr.plan import CategoricalPlan

N, HORIZON = 4000, 3


def fitted(space: ActionSpace, outputs: Any, actions: Any, valid: Any = None) -> Calibration:
    return fit(space, outputs, actions, np.ones(outputs.shape[:2], bool) if valid is None else valid)


def drawn(temperature: float, n_actions: int = 3, seed: int = 0) -> tuple[Any, Any]:
    """Logits, and actions drawn from what they mean at a temperature."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 2, (N, HORIZON, n_actions)).astype(np.float32)
    actions = (logits / temperature + rng.gumbel(size=logits.shape)).argmax(-1)
    return logits, actions


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_the_temperature_that_made_the_actions_is_found(temperature: float) -> None:
    found = fitted(Discrete(3), *drawn(temperature))
    np.testing.assert_allclose(found.temperature, temperature, rtol=0.25)
    assert found.error < 0.03


def test_each_head_has_its_own() -> None:
    logits, actions = drawn(1.0)
    logits[:, 1] *= 4  # the second head is four times as sure as it may be
    first, second, third = fitted(Discrete(3), logits, actions).temperature
    assert second / first == pytest.approx(4, rel=0.3)
    assert third / first == pytest.approx(1, rel=0.3)


def test_a_head_that_never_erred_is_sure_but_not_certain() -> None:
    logits = np.zeros((200, HORIZON, 2), np.float32)
    logits[..., 0] = np.random.default_rng(0).uniform(0.5, 2, (200, HORIZON))
    found = fitted(Discrete(2), logits, np.zeros((200, HORIZON), np.int64))
    sure = CategoricalPlan(logits, temperature=found.temperature).confidence()
    assert 0.95 < sure.mean() < 0.9999


def test_heads_without_windows_take_the_temperature_of_all() -> None:
    logits, actions = drawn(2.0)
    valid = np.ones((N, HORIZON), bool)
    valid[:, 2] = False
    found = fitted(Discrete(3), logits, actions, valid)
    assert found.temperature[2] == pytest.approx(2.0, rel=0.25)


def test_a_joint_confidence_is_judged_by_plans_that_are_right_so_far() -> None:
    found = fitted(Discrete(3), *drawn(1.0))
    assert sum(count for *_, count in found.reliability) == N // 2 * HORIZON
    for sure, right, count in found.reliability:
        assert right == pytest.approx(sure, abs=4 * math.sqrt(0.25 / count) + 0.03)


def test_a_causal_head_is_judged_where_the_plan_before_it_is_right() -> None:
    logits, actions = drawn(1.0)
    wrong = np.logical_or.accumulate(logits.argmax(-1) != actions, axis=1)
    after = np.concatenate([np.zeros((N, 1), bool), wrong[:, :-1]], axis=1)
    logits[after] *= -5  # after a mistake, such a head speaks of another future
    found = fit(Discrete(3), logits, actions, np.ones((N, HORIZON), bool), causal=True)
    np.testing.assert_allclose(found.temperature, 1.0, rtol=0.3)
    assert max(fitted(Discrete(3), logits, actions).temperature[1:]) > 2


def test_several_choices_at_once_are_fitted_together() -> None:
    (one, action), (two, other) = drawn(2.0, 3), drawn(2.0, 3, seed=1)
    found = fitted(MultiDiscrete((3, 3)), np.concatenate([one, two], -1), np.stack([action, other], -1))
    np.testing.assert_allclose(found.temperature, 2.0, rtol=0.25)


@pytest.mark.parametrize("with_spread", [False, True])
def test_distances_tell_how_sure_numbers_may_be(with_spread: bool) -> None:
    space = Continuous((-1.0,), (1.0,), (1,))
    rng = np.random.default_rng(0)
    spreads = np.array([0.05, 0.2, 0.4], np.float32)
    planned = rng.uniform(-0.2, 0.2, (N, HORIZON, 1)).astype(np.float32)
    actions = planned + rng.normal(size=planned.shape).astype(np.float32) * spreads[:, None]
    outputs = np.concatenate([planned, np.zeros_like(planned)], -1) if with_spread else planned
    found = fitted(space, outputs, actions)
    sure = space.plan(outputs, 0.0, found.temperature).confidence().mean(axis=0)
    expected = (np.abs(actions - planned) <= 0.25).mean(axis=(0, 2))
    np.testing.assert_allclose(sure, expected, atol=0.025)
    np.testing.assert_allclose(found.temperature[1:], spreads[1:], rtol=0.25)


def test_a_calibrated_network_plans_the_same_actions_and_says_how_sure_it_is() -> None:
    config = NetworkConfig(obs_shape=(2,), n_actions=3, horizon=HORIZON, trunk=TrunkConfig(kind="mlp", width=4))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = PlanNetwork(config)
    obs = np.random.default_rng(0).normal(size=(5, 2)).astype(np.float32)
    before = TorchPlanner(network, "float32").plan(obs)
    after = TorchPlanner(calibrated(network, Calibration((0.1, 1.0, 10.0), ())), "float32").plan(obs)
    np.testing.assert_array_equal(after.mode(), before.mode())
    first, second, third = (after.confidence() - before.confidence()).T
    assert (first > 0).all()
    np.testing.assert_allclose(second, 0, atol=1e-6)
    assert (third < 0).all()
    assert NetworkConfig.from_json(network.config.to_json()) == network.config


@pytest.mark.parametrize("wrong", [[1.0], [1.0, 0.0, 1.0], [1.0, math.inf, 1.0], ["1", 1, 1], 1.0, [True, 1.0, 1.0]])
def test_temperatures_of_an_edited_file_are_refused(wrong: Any) -> None:
    from phr.errors import IncompatibleModelError

    config = NetworkConfig(obs_shape=(2,), n_actions=3, horizon=HORIZON, trunk=TrunkConfig(kind="mlp", width=4))
    with pytest.raises(IncompatibleModelError, match="temperature"):
        NetworkConfig.from_json({**config.to_json(), "temperature": wrong})
