from __future__ import annotations

import numpy as np
import pytest
import torch

from phr.errors import NonFiniteError
from phr.networks.policy import build_network
from phr.networks.torch_planner import TorchPlanner
from phr.networks.trunks import TrunkConfig
from phr.protocols import Planner

NETWORK = build_network((5,), 3, 4, TrunkConfig(kind="mlp", width=8), seed=0)


def test_it_is_a_planner_whose_logits_are_the_networks() -> None:
    planner = TorchPlanner(NETWORK)
    assert isinstance(planner, Planner)
    assert (planner.horizon, planner.n_actions) == (4, 3)
    obs = np.random.default_rng(0).normal(size=(6, 5)).astype(np.float32)
    plan = planner.plan(obs)
    assert plan.outputs.dtype == np.float32
    np.testing.assert_array_equal(plan.outputs, NETWORK(torch.from_numpy(obs)).detach().numpy())


def test_whole_numbers_are_read_too() -> None:
    obs = np.arange(10).reshape(2, 5)
    as_floats = TorchPlanner(NETWORK).plan(obs.astype(np.float32))
    np.testing.assert_array_equal(TorchPlanner(NETWORK).plan(obs.astype(np.uint8)).outputs, as_floats.outputs)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_an_observation_that_is_not_finite_is_refused(value: float) -> None:
    obs = np.zeros((2, 5), np.float32)
    obs[1, 3] = value
    with pytest.raises(NonFiniteError, match="NaN or an infinity"):
        TorchPlanner(NETWORK).plan(obs)


def test_a_broken_network_is_refused() -> None:
    broken = build_network((5,), 3, 1, TrunkConfig(kind="mlp", width=8), seed=0)
    with torch.no_grad():
        broken.plan_head.bias[0] = float("nan")
    with pytest.raises(NonFiniteError, match="NaN or an infinity"):
        TorchPlanner(broken).plan(np.zeros((1, 5), np.float32))
