from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from phr.teacher.tape import FlatParameters


def network() -> nn.Sequential:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(nn.Conv2d(2, 3, 2), nn.Flatten(), nn.Linear(12, 4))


OBS = torch.arange(36, dtype=torch.float32).view(2, 2, 3, 3) / 36


def descend(module: nn.Module, optimizer: torch.optim.Optimizer, n: int = 5) -> None:
    for _ in range(n):
        optimizer.zero_grad(set_to_none=False)
        module(OBS).square().sum().backward()
        optimizer.step()


@pytest.mark.parametrize("kind", [torch.optim.RMSprop, torch.optim.Adam])
def test_an_optimizer_on_the_vector_does_what_it_does_on_the_tensors(kind: type[torch.optim.Optimizer]) -> None:
    plain, flat = network(), network()
    vector = FlatParameters(flat)
    descend(plain, kind(plain.parameters(), lr=0.01))  # type: ignore[call-arg]
    descend(flat, kind([vector.vector], lr=0.01))  # type: ignore[call-arg]
    for mine, expected in zip(flat.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(mine, expected)


@pytest.mark.parametrize("max_norm", [0.1, 1e6])
def test_clipping_is_torchs(max_norm: float) -> None:
    plain, flat = network(), network()
    vector = FlatParameters(flat)
    for module in (plain, flat):
        module(OBS).square().sum().backward()
    norm = vector.clip_gradient(max_norm)
    assert norm == pytest.approx(float(nn.utils.clip_grad_norm_(plain.parameters(), max_norm)))
    for mine, expected in zip(flat.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(mine.grad, expected.grad)


def test_loading_and_copying_go_on_as_before() -> None:
    flat, other = network(), network()
    vector = FlatParameters(flat)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.fill_(2.0)
    flat.load_state_dict(other.state_dict())
    assert (vector.vector == 2).all()
    twin = copy.deepcopy(flat)
    with torch.no_grad():
        vector.vector.zero_()
    assert all((parameter == 2).all() for parameter in twin.parameters())
    assert not any(parameter.any() for parameter in flat.parameters())
