from __future__ import annotations

import numpy as np
import pytest
import torch
from gymnasium import spaces

from phr.errors import NonFiniteError
from phr.networks.policy import TorchPlanner, build_network
from phr.networks.trunks import TrunkConfig
from phr.observations import ObservationSpec
from phr.plan import Planner

NETWORK = build_network((5,), 3, 4, TrunkConfig(kind="mlp", width=8), seed=0)


def test_it_is_a_planner_whose_logits_are_the_networks() -> None:
    planner = TorchPlanner(NETWORK, "float32")
    assert isinstance(planner, Planner)
    assert (planner.horizon, planner.n_actions) == (4, 3)
    obs = np.random.default_rng(0).normal(size=(6, 5)).astype(np.float32)
    plan = planner.plan(obs)
    assert plan.outputs.dtype == np.float32
    np.testing.assert_array_equal(plan.outputs, NETWORK(torch.from_numpy(obs)).detach().numpy())


def test_whole_numbers_are_read_too() -> None:
    obs = np.arange(10).reshape(2, 5)
    as_floats = TorchPlanner(NETWORK, "float32").plan(obs.astype(np.float32))
    as_bytes = TorchPlanner(NETWORK, np.dtype(np.uint8)).plan(obs.astype(np.uint8))
    np.testing.assert_array_equal(as_bytes.outputs, as_floats.outputs)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_an_observation_that_is_not_finite_is_refused(value: float) -> None:
    obs = np.zeros((2, 5), np.float32)
    obs[1, 3] = value
    with pytest.raises(NonFiniteError, match=r"^an observation contains NaN or Inf \(as float32\)$"):
        TorchPlanner(NETWORK, "float32").plan(obs)


def test_a_broken_network_is_refused() -> None:
    broken = build_network((5,), 3, 1, TrunkConfig(kind="mlp", width=8), seed=0)
    with torch.no_grad():
        broken.plan_head.bias[0] = float("nan")
    with pytest.raises(NonFiniteError, match="^the network's output contains NaN or Inf$"):
        TorchPlanner(broken, "float32").plan(np.zeros((1, 5), np.float32))


def test_what_a_model_reads_includes_its_scale() -> None:
    frames = spaces.Box(0, 255, (4, 36, 36), np.uint8)
    network = build_network(frames, 2, 1, TrunkConfig(kind="atari", channels=(2, 2, 2), width=4), seed=0)
    assert TorchPlanner(network, "uint8").obs_spec == ObservationSpec.of(frames)


@pytest.mark.filterwarnings("error")
def test_any_memory_layout_is_read_and_nothing_is_written() -> None:
    table = np.random.default_rng(0).normal(size=(4, 10)).astype(np.float32)
    planner = TorchPlanner(NETWORK, "float32")
    rows = np.ascontiguousarray(table[:, 1::2])
    expected = planner.plan(rows).outputs
    rows.setflags(write=False)
    for obs in (rows, table[:, 1::2], rows[:, ::-1].copy()[:, ::-1], np.asfortranarray(rows), rows.astype(">f4")):
        np.testing.assert_array_equal(planner.plan(obs).outputs, expected)
