from __future__ import annotations

import pytest
import torch

from phr.errors import SettingError
from phr.networks.trunks import Trunk, TrunkConfig, TrunkKind, default_trunk


def layer_shapes(trunk: Trunk) -> list[tuple[int, ...]]:
    return [tuple(parameter.shape) for name, parameter in trunk.named_parameters() if name.endswith("weight")]


@pytest.mark.parametrize(
    ("kind", "obs_shape"),
    [("grid", (21, 9, 9)), ("grid", (3, 1, 1)), ("atari", (4, 84, 84)), ("mlp", (5,)), ("mlp", (3, 4, 2))],
)
@pytest.mark.parametrize("batch", [1, 3])
def test_a_trunk_gives_one_feature_vector_for_each_observation(
    kind: TrunkKind, obs_shape: tuple[int, ...], batch: int
) -> None:
    trunk = Trunk(obs_shape, TrunkConfig(kind=kind, channels=(4, 6, 8), width=10))
    assert trunk(torch.zeros(batch, *obs_shape)).shape == (batch, trunk.n_features) == (batch, 10)


def test_the_reference_grid_network() -> None:
    shapes = layer_shapes(Trunk((21, 9, 9), TrunkConfig(kind="grid")))
    assert shapes == [(32, 21, 3, 3), (64, 32, 3, 3), (64, 64, 3, 3), (512, 64 * 5 * 5)]


def test_the_nature_network() -> None:
    shapes = layer_shapes(Trunk((4, 84, 84), TrunkConfig(kind="atari")))
    assert shapes == [(32, 4, 8, 8), (64, 32, 4, 4), (64, 64, 3, 3), (512, 64 * 7 * 7)]


def test_an_mlp_has_as_many_layers_as_asked_for() -> None:
    shapes = layer_shapes(Trunk((2, 3), TrunkConfig(kind="mlp", width=7, depth=3)))
    assert shapes == [(7, 6), (7, 7), (7, 7)]


def test_frames_are_scaled_to_one_and_grids_are_not() -> None:
    frames = torch.randint(0, 256, (2, 1, 40, 40), dtype=torch.uint8)
    atari = Trunk((1, 40, 40), TrunkConfig(kind="atari", channels=(2, 2, 2), width=4))
    torch.testing.assert_close(atari(frames), atari.layers(frames / 255))
    grid = Trunk((1, 40, 40), TrunkConfig(kind="grid", channels=(2,), width=4))
    torch.testing.assert_close(grid(frames), grid.layers(frames.float()))


def test_biases_start_at_zero_and_rows_are_orthogonal() -> None:
    trunk = Trunk((8,), TrunkConfig(kind="mlp", width=4, depth=1))
    parameters = dict(trunk.named_parameters())
    weight = next(value for name, value in parameters.items() if name.endswith("weight"))
    torch.testing.assert_close(weight @ weight.T, 2 * torch.eye(4))
    assert all((value == 0).all() for name, value in parameters.items() if name.endswith("bias"))


@pytest.mark.parametrize(
    ("obs_shape", "kind"),
    [((4, 84, 84), "atari"), ((4, 36, 36), "atari"), ((3, 35, 84), "mlp"), ((4,), "mlp"), ((64, 64), "mlp")],
)
def test_image_stacks_get_the_nature_network_and_anything_else_an_mlp(obs_shape: tuple[int, ...], kind: TrunkKind) -> None:
    config = default_trunk(obs_shape)
    assert config.kind == kind
    assert Trunk(obs_shape, config)(torch.zeros(1, *obs_shape)).shape == (1, config.width)


@pytest.mark.parametrize("widths", [{"width": 0}, {"depth": 0}, {"channels": (8, 0)}])
def test_a_layer_without_units_is_refused(widths: dict[str, int]) -> None:
    with pytest.raises(SettingError, match="positive widths"):
        TrunkConfig(kind="mlp", **widths)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("obs_shape", "config", "message"),
    [
        ((5,), TrunkConfig(kind="grid"), r"a 'grid' trunk reads \(channels, height, width\), got shape \(5,\)"),
        ((4, 84, 84), TrunkConfig(kind="atari", channels=(8, 8)), r"three convolutions, got channels \(8, 8\)"),
        ((4, 20, 20), TrunkConfig(kind="atari"), r"the 'atari' trunk needs a larger observation than \(4, 20, 20\)"),
    ],
)
def test_an_observation_that_does_not_fit_is_refused(obs_shape: tuple[int, ...], config: TrunkConfig, message: str) -> None:
    with pytest.raises(SettingError, match=message):
        Trunk(obs_shape, config)
