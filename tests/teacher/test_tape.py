from __future__ import annotations

import numpy as np
import pytest
import torch
from gymnasium import spaces
from torch import Tensor, nn

from phr.actions import Continuous
from phr.errors import IncompatibleModelError
from phr.networks.policy import NetworkConfig, PlanNetwork, build_network
from phr.networks.trunks import TrunkConfig
from phr.teacher.tape import FlatParameters, Tape


def planes(shape: tuple[int, ...], high: int) -> spaces.Box:
    return spaces.Box(0, high, shape, np.uint8)


KINDS = {
    "grid": (planes((5, 9, 7), high=1), TrunkConfig(kind="grid", channels=(4, 6, 8), width=16)),
    "seen from the agent": (planes((7, 9, 6), high=1), TrunkConfig(kind="grid", channels=(4, 6), width=16, agent=2)),
    "atari": (planes((4, 84, 84), high=255), TrunkConfig(kind="atari", channels=(4, 6, 8), width=16)),
    "mlp": (planes((7,), high=1), TrunkConfig(kind="mlp", width=16, depth=3)),
    # Bytes that the first layer reads as 0 .. 1, flat and as colours.
    "bytes": (planes((7,), high=255), TrunkConfig(kind="mlp", width=16)),
    "picture": (planes((9, 9, 3), high=255), TrunkConfig(kind="grid", channels=(4, 6, 8), width=16)),
}


def filled(network: PlanNetwork) -> PlanNetwork:
    """The network with a value in every part that a fresh one leaves at zero or at one, and room for gradients."""
    FlatParameters(network)
    rng = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if name.endswith("bias"):
                parameter.uniform_(-0.1, 0.1, generator=rng)
        for trunk in (network.trunk, network.first_trunk):
            if trunk is not None and trunk.normalize:
                trunk.obs_mean.normal_(generator=rng)
                trunk.obs_deviation.uniform_(0.02, 2.0, generator=rng)
    return network


def made(kind: str, horizon: int = 1) -> tuple[PlanNetwork, Tensor]:
    space, trunk = KINDS[kind]
    network = filled(build_network(space, 3, horizon, trunk, seed=0))
    rng = torch.Generator().manual_seed(1)
    return network, torch.randint(0, int(space.high.max()) + 1, (12, *space.shape), generator=rng, dtype=torch.uint8)


def oracle(network: PlanNetwork, obs: Tensor, d_logits: Tensor, d_values: Tensor) -> dict[str, Tensor]:
    """The gradients that autograd finds."""
    logits, values = network.policy_and_value(obs)
    torch.autograd.backward((logits, values), (d_logits, d_values))
    return gradients(network)


def gradients(network: PlanNetwork) -> dict[str, Tensor]:
    """Copies of what lies in the parameters' `.grad`."""
    return {name: torch.zeros_like(p) if p.grad is None else p.grad.clone() for name, p in network.named_parameters()}


@pytest.mark.parametrize("horizon", [1, 4])
@pytest.mark.parametrize("kind", KINDS)
def test_slices_give_what_autograd_gives_on_the_whole(kind: str, horizon: int) -> None:
    network, obs = made(kind, horizon)
    twin, _ = made(kind, horizon)
    rng = torch.Generator().manual_seed(2)
    d_logits, d_values = torch.randn(12, 3, generator=rng), torch.randn(12, generator=rng)
    tape = Tape(network)
    answers = [tape.forward(part) for part in obs.split(4)]
    tape.backward(d_logits, d_values)
    logits, values = twin.policy_and_value(obs)
    torch.testing.assert_close(torch.cat([a[0] for a in answers]), logits.detach())
    torch.testing.assert_close(torch.cat([a[1] for a in answers]), values.detach())
    expected = oracle(twin, obs, d_logits, d_values)
    for name, found in gradients(network).items():
        if name.startswith("plan_head"):
            assert not found[3:].any(), "heads 2..n take no part"
        torch.testing.assert_close(found, expected[name], rtol=1e-4, atol=1e-5, msg=name)


TRUNKS = {
    "grid": ((5, 9, 7), TrunkConfig(kind="grid", channels=(4, 6, 8), width=16)),
    "atari": ((2, 40, 44), TrunkConfig(kind="atari", channels=(4, 6, 8), width=16)),
    "mlp": ((3, 5, 4), TrunkConfig(kind="mlp", width=16, depth=3)),
}


def any_network(kind: str, *, normalize: bool, obs_scale: float, channels_last: bool, separate: bool) -> PlanNetwork:
    """Two networks of the same arguments are equal; the trunk of head 1 is another than that of the later heads."""
    shape, trunk = TRUNKS[kind]
    config = NetworkConfig(
        obs_shape=(*shape[1:], shape[0]) if channels_last else shape, n_actions=3, horizon=2, trunk=trunk,
        obs_scale=obs_scale, channels_last=channels_last, normalize=normalize, separate_first=separate,
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = PlanNetwork(config)
    assert (network.first_trunk is None) is not separate
    return filled(network)


@pytest.mark.parametrize("separate", [False, True])
@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("obs_scale", [1.0, 1 / 255])
@pytest.mark.parametrize("normalize", [False, True])
@pytest.mark.parametrize("kind", TRUNKS)
def test_the_tape_computes_what_the_network_computes(
    kind: str, normalize: bool, obs_scale: float, channels_last: bool, separate: bool
) -> None:
    """Logits, values and gradients of every parameter, for observations of every number type."""
    rng = torch.Generator().manual_seed(2)
    d_logits, d_values = torch.randn(6, 3, generator=rng), torch.randn(6, generator=rng)
    for dtype in (torch.uint8, torch.int64, torch.float32, torch.float64):
        mine, twin = (
            any_network(kind, normalize=normalize, obs_scale=obs_scale, channels_last=channels_last, separate=separate)
            for _ in range(2)
        )
        shape = (6, *mine.config.obs_shape)
        obs = torch.randint(0, 256, shape, generator=rng).to(dtype)
        if dtype.is_floating_point:
            obs = obs / 17 - 5
        tape = Tape(mine)
        answers = [tape.forward(part) for part in obs.split(2)]
        tape.backward(d_logits, d_values)
        logits, values = twin.policy_and_value(obs)
        size = max(1.0, float(logits.detach().abs().max()))
        torch.testing.assert_close(torch.cat([a[0] for a in answers]), logits.detach(), rtol=1e-4, atol=1e-5 * size)
        torch.testing.assert_close(torch.cat([a[1] for a in answers]), values.detach(), rtol=1e-4, atol=1e-5 * size)
        expected = oracle(twin, obs, d_logits, d_values)
        for name, found in gradients(mine).items():
            scale = max(1e-3, float(expected[name].abs().max()))
            torch.testing.assert_close(found, expected[name], rtol=1e-3, atol=1e-4 * scale, msg=f"{name} of {dtype}")


def test_statistics_far_from_zero_reach_the_gradient() -> None:
    """Numbers around 100 that vary by 4: without the statistics the logits would be others by far."""
    network = build_network((4,), 2, 1, TrunkConfig(kind="mlp", width=16), seed=0, normalize=True)
    network.trunk.set_statistics(np.array([[10, 100, -5, 3], [12, 140, -7, 3.5], [8, 60, -3, 2.5]], np.float32))
    obs = torch.tensor([[10.0, 100.0, -5.0, 3.0], [12.0, 140.0, -7.0, 3.5], [1e6, 0.0, 0.0, 0.0]])
    logits, values = network.policy_and_value(obs)
    found = Tape(network).forward(obs, record=False)
    torch.testing.assert_close(found, (logits.detach(), values.detach()))


@pytest.mark.parametrize(
    "layers",
    [
        [nn.Flatten(), nn.Linear(7, 16), nn.ReLU()],
        [nn.Flatten(), nn.Linear(7, 16), nn.LeakyReLU(0.2)],
        [nn.Flatten(), nn.Linear(7, 16, bias=False), nn.LeakyReLU()],
        [nn.Flatten(), nn.Linear(7, 16)],
        [nn.Flatten(), nn.Linear(7, 16), nn.LayerNorm(16), nn.LeakyReLU()],
        [nn.Conv2d(2, 2, 3, dilation=2), nn.LeakyReLU(), nn.Flatten()],
        [nn.Conv2d(2, 2, 3, groups=2), nn.LeakyReLU(), nn.Flatten()],
        [nn.Conv2d(2, 2, 3, padding=1, padding_mode="circular"), nn.LeakyReLU()],
        [nn.Conv2d(2, 2, 3, padding="same"), nn.LeakyReLU()],
    ],
    ids=str,
)
def test_layers_that_it_has_no_gradient_for_are_refused(layers: list[nn.Module]) -> None:
    network, _ = made("mlp")
    network.trunk.layers = nn.Sequential(*layers)
    with pytest.raises(IncompatibleModelError, match=r"^stage 1 has no gradient for the layers .* and "):
        Tape(network)


def test_residual_layers_are_refused() -> None:
    with pytest.raises(IncompatibleModelError, match="stage 1 has no gradient for residual layers"):
        Tape(build_network((7,), 3, 1, TrunkConfig(kind="mlp", width=4, residual=1), seed=0))


def test_continuous_actions_are_refused() -> None:
    space = Continuous((-1.0,), (1.0,), (1,))
    network = build_network((7,), 1, 1, TrunkConfig(kind="mlp", width=4), seed=0, action_space=space)
    with pytest.raises(IncompatibleModelError, match="stage 1 trains networks over Discrete actions, got "):
        Tape(network)


def test_gradients_are_added_and_the_record_is_used_up() -> None:
    network, obs = made("mlp")
    tape = Tape(network)
    ones = torch.ones(12, 3), torch.ones(12)
    tape.forward(obs)
    tape.backward(*ones)
    once = gradients(network)
    tape.forward(obs)
    tape.backward(*ones)
    for name, found in gradients(network).items():
        torch.testing.assert_close(found, 2 * once[name])


def test_records_of_any_length_may_follow_each_other() -> None:
    """The record keeps its memory; nothing of an earlier, longer one is left in a later one."""
    network, obs = made("atari")
    tape = Tape(network)
    for part, n_slices in ((obs, 6), (obs[:5], 1), (obs[3:], 3), (obs, 1)):
        network.zero_grad(set_to_none=False)
        for piece in part.tensor_split(n_slices):
            tape.forward(piece)
        n = len(part)
        tape.backward(torch.ones(n, 3), torch.ones(n))
        expected = oracle(made("atari")[0], part, torch.ones(n, 3), torch.ones(n))
        for name, found in gradients(network).items():
            torch.testing.assert_close(found, expected[name], rtol=1e-4, atol=1e-4, msg=name)


def test_what_is_not_recorded_has_no_gradient() -> None:
    network, obs = made("mlp")
    tape = Tape(network)
    tape.forward(obs[:4])
    tape.forward(obs, record=False)
    tape.backward(torch.ones(4, 3), torch.ones(4))
    expected = oracle(made("mlp")[0], obs[:4], torch.ones(4, 3), torch.ones(4))
    for name, found in gradients(network).items():
        torch.testing.assert_close(found, expected[name])


def test_changed_weights_are_seen_after_a_refresh() -> None:
    network, obs = made("grid")
    tape = Tape(network)
    before, _ = tape.forward(obs, record=False)
    with torch.no_grad():
        network.plan_head.bias.add_(1)
    tape.refresh()
    after, _ = tape.forward(obs, record=False)
    torch.testing.assert_close(after, before + 1)


@pytest.mark.parametrize("kind", KINDS)
def test_bfloat16_answers_nearly_the_same(kind: str) -> None:
    """Eight bits of mantissa: relative errors of some 2^-8 in each of a few layers, forwards and backwards."""
    network, obs = made(kind)
    d_logits, d_values = torch.ones(12, 3), torch.ones(12)
    tape = Tape(network, torch.bfloat16)
    logits, values = tape.forward(obs)
    tape.backward(d_logits, d_values)
    exact_logits, exact_values = network.policy_and_value(obs)
    assert logits.dtype == values.dtype == torch.float32
    torch.testing.assert_close(logits, exact_logits.detach(), rtol=0.05, atol=0.05)
    torch.testing.assert_close(values, exact_values.detach(), rtol=0.05, atol=0.05)
    expected = oracle(made(kind)[0], obs, d_logits, d_values)
    for name, found in gradients(network).items():
        assert found.dtype == torch.float32
        off = (found - expected[name]).norm() / expected[name].norm()
        assert off < 0.1, name
