from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from phr.errors import SettingError
from phr.learning.phr import PHR
from phr.learning.presets import student_config
from phr.learning.standardize import Standardizer
from phr.networks.policy import PlanNetwork, build_network
from phr.networks.trunks import TrunkConfig
from tests.trained import TRUNK, corridor_experience, corridor_teacher, phr_config

SMALL = TrunkConfig(kind="mlp", width=8)


def features(seed: int = 0, n: int = 40) -> Tensor:
    """A place, a speed, a switch that is seldom on and one that is never."""
    rng = np.random.default_rng(seed)
    columns = [rng.normal(1000, 300, n), rng.normal(0, 0.01, n), np.eye(n)[0], np.full(n, 7.0)]
    return torch.from_numpy(np.stack(columns, 1).astype(np.float32))


def test_every_feature_that_changes_has_mean_0_and_spread_1_or_lies_within_ten() -> None:
    obs = features()
    found = Standardizer.of(obs)(obs)
    assert found.mean(0).abs().max() < 1e-3
    assert found[:, :2].std(0, correction=0).allclose(torch.ones(2), atol=1e-3)
    assert found.abs().max() <= 10
    assert (found[:, 3] == 0).all()


@given(st.integers(0, 2**20))
def test_a_folded_network_answers_plain_observations_as_the_other_answers_standardised_ones(seed: int) -> None:
    obs, standardize = features(seed), Standardizer.of(features(seed + 1))
    network = build_network(spaces.Box(-1e6, 1e6, (4,), np.float32), 3, 2, SMALL, seed=seed)
    expected = network(standardize(obs))
    standardize.fold(network)
    assert network(obs).allclose(expected, atol=1e-4)
    standardize.unfold(network)
    assert network(standardize(obs)).allclose(expected, atol=1e-4)


def test_bytes_are_told_apart_from_their_scale() -> None:
    network = build_network(spaces.Box(0, 255, (6,), np.uint8), 3, 2, SMALL, seed=0)
    assert network.config.obs_scale < 1
    obs = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (9, 6)).astype(np.uint8))
    standardize = Standardizer.of(obs)
    shown = standardize(obs, network.config.obs_scale)
    assert (shown * network.config.obs_scale).std(0, correction=0).allclose(torch.ones(6))
    expected = network(shown)
    standardize.fold(network)
    assert network(obs).allclose(expected, atol=1e-4)


def test_convolutions_are_refused() -> None:
    network = build_network((3, 8, 8), 2, 1, TrunkConfig(kind="grid", channels=(4,), width=8), seed=0)
    with pytest.raises(SettingError, match="standardize is for trunks of kind 'mlp', got 'grid'"):
        Standardizer(torch.zeros(3, 8, 8), torch.ones(3, 8, 8)).fold(network)


def distillation(**settings: Any) -> PHR:
    return PHR(corridor_teacher().network, corridor_experience(), phr_config(**settings))


def same(first: PlanNetwork, second: PlanNetwork) -> bool:
    return all(torch.equal(first.state_dict()[name], value) for name, value in second.state_dict().items())


def test_a_distillation_starts_from_what_it_was_given_and_ends_with_plain_observations() -> None:
    plain, standardised = distillation(), distillation(standardize=True)
    cells = torch.eye(5)
    assert same(plain.student(), plain.network)
    assert not same(standardised.network, plain.network)
    assert standardised.student()(cells).allclose(plain.network(cells), atol=1e-5)
    for _ in range(150):
        standardised.update()
    assert standardised.agreement() == [1, 1, 1, 1]
    assert standardised.student()(cells)[:4].argmax(-1).tolist() == [[1, 1, 1, 1]] * 4


def test_a_student_of_a_foreign_policy_over_numbers_is_standardised_and_refined() -> None:
    fresh = student_config("CartPole-v1", 8, fresh=TRUNK)
    assert fresh.standardize
    assert fresh.refine > 0
    assert student_config("CartPole-v1", 8, fresh=TRUNK, refine=0).refine == 0
    assert student_config("CartPole-v1", 8, fresh=TRUNK, sample_labels=True).refine == 0
    assert student_config("CartPole-v1", 8) == student_config("corridor", 8)
    pong, grid = TrunkConfig(kind="atari"), TrunkConfig(kind="grid")
    assert student_config("PongDeterministic-v4", 8, fresh=pong) == student_config("PongDeterministic-v4", 8)
    assert student_config("PHR/FourRooms-v0", 8, fresh=grid) == student_config("PHR/FourRooms-v0", 8)
