from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces
from numpy.typing import NDArray

from phr.errors import SettingError
from phr.networks.policy import build_network
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


def leaky(numbers: NDArray[Any]) -> NDArray[Any]:
    return np.where(numbers > 0, numbers, 0.01 * numbers)


def convolution(image: NDArray[Any], weight: NDArray[Any], stride: int, padding: int) -> NDArray[Any]:
    """`image` is (channels, height, width); one output at a time, in float64."""
    image = np.pad(image, ((0, 0), (padding, padding), (padding, padding)))
    size = weight.shape[-1]
    rows, columns = (range(0, side - size + 1, stride) for side in image.shape[1:])
    return np.array(
        [[[(image[:, y : y + size, x : x + size] * w).sum() for x in columns] for y in rows] for w in weight], np.float64
    )


STRIDES = {"grid": [(1, 1), (1, 1), (2, 1)], "atari": [(4, 0), (2, 0), (1, 0)]}


@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("scale", [1.0, 1 / 255])
@pytest.mark.parametrize(("kind", "height", "width"), [("grid", 5, 6), ("atari", 36, 37)])
def test_features_are_what_a_slow_loop_finds(
    kind: TrunkKind, height: int, width: int, scale: float, channels_last: bool
) -> None:
    shape = (height, width, 2) if channels_last else (2, height, width)
    config = TrunkConfig(kind=kind, channels=(2, 3, 2), width=4)
    trunk = Trunk(shape, config, obs_scale=scale, channels_last=channels_last)
    obs = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    weights = [value.detach().numpy().astype(np.float64) for value in trunk.parameters()][::2]  # biases are zero
    features = (obs.transpose(2, 0, 1) if channels_last else obs) * scale
    for weight, (stride, padding) in zip(weights[:-1], STRIDES[kind], strict=True):
        features = leaky(convolution(features, weight, stride, padding))
    expected = leaky(weights[-1] @ features.flatten())
    np.testing.assert_allclose(trunk(torch.from_numpy(obs[None]))[0].detach(), expected, rtol=1e-4, atol=1e-4)


def test_biases_start_at_zero_and_rows_are_orthogonal() -> None:
    trunk = Trunk((8,), TrunkConfig(kind="mlp", width=4, depth=1))
    parameters = dict(trunk.named_parameters())
    weight = next(value for name, value in parameters.items() if name.endswith("weight"))
    torch.testing.assert_close(weight @ weight.T, 2 * torch.eye(4))
    assert all((value == 0).all() for name, value in parameters.items() if name.endswith("bias"))


@pytest.mark.parametrize(
    ("obs_shape", "kind"),
    [
        ((4, 84, 84), "atari"),
        ((96, 96, 3), "atari"),  # Gymnasium's CarRacing
        ((4, 36, 36), "atari"),
        ((3, 35, 84), "grid"),
        ((7, 7, 3), "grid"),  # MiniGrid's image
        ((10, 10, 6), "grid"),  # MinAtar
        ((3, 35, 85), "mlp"),
        ((3, 3, 8), "mlp"),
        ((4,), "mlp"),
        ((64, 64), "mlp"),
    ],
)
def test_images_get_convolutions_that_fit_and_anything_else_an_mlp(obs_shape: tuple[int, ...], kind: TrunkKind) -> None:
    space = spaces.Box(0, 255, obs_shape, np.uint8)
    config = default_trunk(space)
    assert config.kind == kind
    network = build_network(space, 2, 1, config, seed=0)
    assert network(torch.zeros(3, *obs_shape, dtype=torch.uint8)).shape == (3, 1, 2)


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


def test_another_width_takes_the_channels_along() -> None:
    grid = TrunkConfig(kind="grid", channels=(16, 32, 32), width=256)
    assert grid.scaled_to(256) == grid
    assert grid.scaled_to(64) == TrunkConfig(kind="grid", channels=(4, 8, 8), width=64)
    assert grid.scaled_to(512).channels == (32, 64, 64)
    assert grid.scaled_to(1) == TrunkConfig(kind="grid", channels=(1, 1, 1), width=1)
    mlp = TrunkConfig(kind="mlp", width=64, depth=3)
    assert mlp.scaled_to(16) == TrunkConfig(kind="mlp", width=16, depth=3)
    with pytest.raises(SettingError, match="positive widths"):
        grid.scaled_to(0)


def test_observations_are_normalised_after_they_are_scaled() -> None:
    obs = np.random.default_rng(0).integers(0, 256, (500, 6), np.uint8)
    trunk = Trunk((6,), TrunkConfig(kind="mlp", width=4), obs_scale=1 / 255, normalize=True)
    trunk.set_statistics(obs)
    prepared = trunk.prepare(torch.from_numpy(obs), torch.float32)
    torch.testing.assert_close(prepared.mean(0), torch.zeros(6), atol=1e-5, rtol=0)
    torch.testing.assert_close(prepared.std(0, correction=0), torch.ones(6), atol=1e-5, rtol=0)
