from __future__ import annotations

from typing import Any

import pytest
import torch

from phr.errors import IncompatibleModelError
from phr.networks.policy import build_network
from phr.networks.trunks import TrunkConfig
from phr_studies.bench.models import widened

SHAPES = {"grid": (5, 9, 7), "atari": (4, 84, 84)}
SMALL: dict[str, Any] = {"channels": (2, 3, 4), "width": 5}
WIDE: dict[str, Any] = {"channels": (4, 3, 6), "width": 9}


@pytest.mark.parametrize("horizon", [1, 3])
@pytest.mark.parametrize("kind", SHAPES)
def test_a_widened_network_is_the_same_function(kind: Any, horizon: int) -> None:
    network = build_network(SHAPES[kind], 3, horizon, TrunkConfig(kind=kind, **SMALL), seed=0)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.normal_(std=0.3)
    wide = widened(network, TrunkConfig(kind=kind, **WIDE))
    assert wide.config.trunk.width == 9
    obs = torch.rand(6, *SHAPES[kind])
    torch.testing.assert_close(wide(obs), network(obs))
    torch.testing.assert_close(wide.policy_and_value(obs), network.policy_and_value(obs))


def test_as_wide_is_a_copy() -> None:
    trunk = TrunkConfig(kind="grid", **SMALL)
    network = build_network(SHAPES["grid"], 3, 1, trunk, seed=0)
    copy = widened(network, trunk)
    assert copy is not network
    for name, value in network.state_dict().items():
        assert torch.equal(copy.state_dict()[name], value), name


@pytest.mark.parametrize(
    "trunk",
    [
        TrunkConfig(kind="grid", channels=(2, 3, 3), width=5),
        TrunkConfig(kind="grid", channels=(2, 3, 4), width=4),
        TrunkConfig(kind="grid", channels=(2, 3, 4, 4), width=5),
        TrunkConfig(kind="atari", channels=(2, 3, 4), width=5),
    ],
)
def test_what_does_not_fit_is_refused(trunk: TrunkConfig) -> None:
    network = build_network(SHAPES["grid"], 3, 1, TrunkConfig(kind="grid", **SMALL), seed=0)
    with pytest.raises(IncompatibleModelError, match="has no place in"):
        widened(network, trunk)
