from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces
from hypothesis import assume, given
from hypothesis import strategies as st
from numpy.typing import NDArray

from phr.actions import Continuous
from phr.errors import SettingError
from phr.networks.policy import TorchPlanner, build_network
from phr.networks.trunks import (
    AgentView,
    Trunk,
    TrunkConfig,
    TrunkKind,
    default_trunk,
    image_shape,
    is_channels_last,
    shape_of,
)


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
    assert trunk(torch.zeros(batch, *obs_shape)).shape == (batch, 10)


def test_the_reference_grid_network() -> None:
    shapes = layer_shapes(Trunk((21, 9, 9), TrunkConfig(kind="grid")))
    assert shapes == [(32, 21, 3, 3), (64, 32, 3, 3), (64, 64, 3, 3), (512, 64 * 5 * 5)]


def test_the_last_convolutions_of_a_grid_halve_the_image() -> None:
    widths = {"kind": "grid", "channels": (4, 6, 8), "width": 10}
    flat = [layer_shapes(Trunk((7, 19, 19), TrunkConfig(**widths, halvings=n)))[-1][1] for n in range(4)]  # type: ignore[arg-type]
    assert flat == [8 * side**2 for side in (19, 10, 5, 3)]
    with pytest.raises(SettingError, match=r"halvings must be <= the number of convolutions, 3, got 4"):
        TrunkConfig(**widths, halvings=4)  # type: ignore[arg-type]


AHEAD = ((0, 1), (1, 0), (0, -1), (-1, 0))
"""Right, down, left, up: (rows, columns) of a step ahead."""


@given(
    height=st.integers(1, 7),
    width=st.integers(1, 7),
    before=st.integers(0, 2),
    after=st.integers(0, 2),
    direction=st.integers(0, 3),
    data=st.data(),
)
def test_a_view_shows_what_lies_ahead_and_beside_the_agent(
    height: int, width: int, before: int, after: int, direction: int, data: st.DataObject
) -> None:
    assume(before + after)
    row, column = data.draw(st.integers(0, height - 1)), data.draw(st.integers(0, width - 1))
    planes = torch.zeros(1, before + 4 + after, height, width, dtype=torch.int64)
    others = 1 + torch.arange((before + after) * height * width).view(before + after, height, width)
    planes[0, :before], planes[0, before + 4 :] = others[:before], others[before:]
    planes[0, before + direction, row, column] = 1
    view = AgentView(planes.shape[1:], before)(planes)[0]
    side = max(height, width)
    assert view.shape == (before + after, side, side)
    ahead, right = AHEAD[direction], AHEAD[(direction + 1) % 4]
    for i in range(side):
        for j in range(side):
            steps, beside = side // 2 - i, j - side // 2
            y = row + steps * ahead[0] + beside * right[0]
            x = column + steps * ahead[1] + beside * right[1]
            if 0 <= y < height and 0 <= x < width:
                assert (view[:, i, j] == others[:, y, x]).all()
    zeros = torch.zeros((before + after) * (side**2 - height * width), dtype=torch.int64)
    assert (view.flatten().sort().values == torch.cat([zeros, others.flatten()])).all()  # nothing is lost


def test_a_trunk_with_an_agent_reads_its_view() -> None:
    config = TrunkConfig(kind="grid", channels=(2, 3), width=6)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        seeing = Trunk((7, 5, 5), replace(config, agent=3))
    assert layer_shapes(seeing)[0] == (2, 3, 3, 3)
    plain = Trunk((3, 5, 5), config)
    plain.load_state_dict(seeing.state_dict())
    planes = torch.from_numpy(np.random.default_rng(0).integers(0, 2, size=(9, 7, 5, 5)).astype(np.uint8))
    assert torch.equal(seeing(planes), plain(AgentView((7, 5, 5), 3)(planes)))
    last = Trunk((5, 5, 7), replace(config, agent=3), channels_last=True)
    last.load_state_dict(seeing.state_dict())
    assert torch.equal(seeing(planes), last(planes.movedim(1, -1)))
    by_scale = Trunk((7, 5, 5), replace(config, agent=3), 0.5)
    by_scale.load_state_dict(seeing.state_dict())
    torch.testing.assert_close(seeing(planes * 0.5), by_scale(planes))


@pytest.mark.parametrize(("shape", "agent"), [((7, 5, 5), 4), ((4, 5, 5), 0)])
def test_an_agent_needs_its_four_planes_and_something_to_see(shape: tuple[int, ...], agent: int) -> None:
    with pytest.raises(SettingError, match=f"the first of four among {shape[0]} planes and leave one more, got {agent}"):
        Trunk(shape, TrunkConfig(kind="grid", agent=agent))


def test_an_agent_goes_with_plain_planes_of_a_grid_alone() -> None:
    with pytest.raises(SettingError, match="agent must be left out for a trunk of kind 'mlp'"):
        TrunkConfig(kind="mlp", agent=0)
    with pytest.raises(SettingError, match="agent must be >= 0, got -1"):
        TrunkConfig(kind="grid", agent=-1)
    with pytest.raises(SettingError, match="agent must be left out where observations are normalised"):
        Trunk((7, 5, 5), TrunkConfig(kind="grid", agent=0), normalize=True)


def test_the_nature_network() -> None:
    shapes = layer_shapes(Trunk((4, 84, 84), TrunkConfig(kind="atari")))
    assert shapes == [(32, 4, 8, 8), (64, 32, 4, 4), (64, 64, 3, 3), (512, 64 * 7 * 7)]


def test_an_mlp_has_as_many_layers_as_asked_for() -> None:
    shapes = layer_shapes(Trunk((2, 3), TrunkConfig(kind="mlp", width=7, depth=3)))
    assert shapes == [(7, 6), (7, 7), (7, 7)]


@pytest.mark.parametrize(
    "config", [TrunkConfig(kind="mlp", width=6, depth=1), TrunkConfig(kind="grid", channels=(2, 3), width=6)]
)
@pytest.mark.parametrize("scale", [1.0, 0.5])
def test_a_residual_layer_adds_its_output_to_its_input(config: TrunkConfig, scale: float) -> None:
    shape, rng = (2, 4, 4), np.random.default_rng(0)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        deep = Trunk(shape, replace(config, residual=2), scale)
    plain = Trunk(shape, config, scale)
    plain.load_state_dict({name: value for name, value in deep.state_dict().items() if not name.startswith("residual.")})
    obs = torch.from_numpy(rng.normal(size=(5, *shape)).astype(np.float32))
    features = plain(obs).detach().numpy().astype(np.float64)
    for number in range(2):
        weight, bias = (deep.state_dict()[f"residual.{number}.{name}"].numpy() for name in ("weight", "bias"))
        assert weight.shape == (6, 6)
        features = np.stack([row + leaky(weight @ row + bias) for row in features])
    np.testing.assert_allclose(deep(obs).detach().numpy(), features, atol=1e-5)


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
    with pytest.raises(SettingError, match="must be >= 1"):
        TrunkConfig(kind="mlp", **widths)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("obs_shape", "config", "message"),
    [
        ((5,), TrunkConfig(kind="grid"), r"a 'grid' trunk reads \(channels, height, width\), got shape \(5,\)"),
        ((4, 84, 84), TrunkConfig(kind="atari", channels=(8, 8)), r"must be three numbers, got \(8, 8\)"),
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
    mlp = TrunkConfig(kind="mlp", width=64, depth=3, residual=2)
    assert mlp.scaled_to(16) == TrunkConfig(kind="mlp", width=16, depth=3, residual=2)
    with pytest.raises(SettingError, match="must be >= 1"):
        grid.scaled_to(0)


def normalising(obs: NDArray[Any], **settings: Any) -> Trunk:
    """A small trunk with the statistics of these observations."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        trunk = Trunk(obs.shape[1:], TrunkConfig(kind="mlp", width=4), normalize=True, **settings)
    trunk.set_statistics(obs)
    return trunk


def prepared(trunk: Trunk, obs: NDArray[Any]) -> NDArray[Any]:
    return trunk.prepare(torch.from_numpy(obs), torch.float32).numpy()


@pytest.mark.parametrize("scale", [1.0, 1 / 255])
def test_observations_are_normalised_whatever_their_scale(scale: float) -> None:
    obs = np.random.default_rng(0).integers(0, 256, (500, 6), np.uint8)
    found = prepared(normalising(obs, obs_scale=scale), obs)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, (obs - obs.mean(axis=0)) / obs.std(axis=0), rtol=0, atol=1e-6)


OFFSETS = st.floats(-1e7, 1e7) | st.sampled_from([0.0, 5_572_094.0, -1e12])
FACTORS = st.floats(-9, 9).map(lambda exponent: 10.0**exponent) | st.sampled_from([1e-300, 2e-7, 1e300])


@given(st.integers(0, 1000), OFFSETS, FACTORS, st.sampled_from([1.0, -1.0]))
def test_features_do_not_depend_on_units(seed: int, offset: float, factor: float, sign: float) -> None:
    """Up to the digits that the offset itself leaves to the numbers."""
    numbers = np.random.default_rng(seed).normal(size=(64, 3))
    numbers[:, 2] = numbers[0, 2]
    moved = offset * np.array([1.0, 0.5, 2.0]) + sign * factor * numbers
    digits_left = np.spacing(np.abs(moved).max()) / factor
    assume(digits_left < 1e-4)
    one, other = normalising(numbers), normalising(moved)
    np.testing.assert_allclose(prepared(one, numbers), sign * prepared(other, moved), rtol=0, atol=1e-5 + 10 * digits_left)
    if sign > 0:
        features, same = one(torch.from_numpy(numbers)), other(torch.from_numpy(moved))
        torch.testing.assert_close(features, same, rtol=0, atol=1e-4 + 100 * digits_left)


@pytest.mark.parametrize("dtype", ["uint16", "uint32", "uint64", "int64", "float64"])
def test_digits_that_float32_does_not_hold_are_kept(dtype: str) -> None:
    first = 40_000 if dtype == "uint16" else 3_000_000_000
    obs = (first + np.arange(5)[:, None]).astype(dtype)
    np.testing.assert_allclose(prepared(normalising(obs), obs)[:, 0], np.arange(-2, 3) / np.sqrt(2), rtol=1e-6)


@pytest.mark.parametrize(
    ("obs", "shown"),
    [
        ([3.0, 3.0, 3.0], [3.0, 3.5, 2.0]),
        ([0.0, 0.0, 0.0], [0.0, 1e-9, -1e9]),
        ([1.0, np.nextafter(1.0, 2.0), 1.0], [1.0, 2.0, 0.0]),  # rounding is no change
        ([5e6, 5e6, 5e6], [5e6, 5e6 + 1, 5e6 - 1]),
    ],
)
def test_a_number_that_never_varied_says_whether_it_moved(obs: list[float], shown: list[float]) -> None:
    column, later = np.array(obs)[:, None], np.array(shown)[:, None]
    trunk = normalising(column)
    np.testing.assert_allclose(prepared(trunk, column), 0.0, rtol=0, atol=1e-3)
    np.testing.assert_allclose(prepared(trunk, later)[:, 0], [0, 1, -1], rtol=0, atol=1e-3)


def test_whole_numbers_and_single_bits_vary() -> None:
    bits = np.zeros((1000, 2), bool)
    bits[7, 0] = True
    found = prepared(normalising(bits), bits)
    assert found[7, 0] == 10
    assert found[0, 0] == pytest.approx(-0.0316, rel=1e-2)
    assert not found[:, 1].any()
    later = prepared(normalising(bits), np.ones((1, 2), bool))
    assert later.tolist() == [[10, 1]]


def test_statistics_are_kept_in_float64() -> None:
    obs = (5_572_094.0 + np.random.default_rng(0).normal(size=(50, 2))).astype(np.float64)
    trunk = normalising(obs)
    np.testing.assert_allclose(trunk.obs_mean, obs.mean(axis=0), rtol=1e-15)
    np.testing.assert_allclose(trunk.obs_deviation, obs.std(axis=0), rtol=1e-9)
    copy = normalising(np.zeros((2, 2)))
    copy.load_state_dict(trunk.state_dict())
    np.testing.assert_array_equal(prepared(copy, obs), prepared(trunk, obs))


def box(shape: tuple[int, ...]) -> spaces.Box:
    return spaces.Box(0, 255, shape, np.uint8)


@pytest.mark.parametrize(
    ("shape", "image"),
    [
        ((4, 84, 84), (4, 84, 84)),
        ((96, 96, 3), (3, 96, 96)),
        ((210, 160, 3), (3, 210, 160)),
        ((1, 210, 160), (1, 210, 160)),
        ((210, 160, 1), (1, 210, 160)),
        ((30, 9, 9), (30, 9, 9)),
        ((30, 7, 9), (30, 7, 9)),
        ((10, 10, 7), (7, 10, 10)),
        ((3, 3, 3), (3, 3, 3)),
        ((5,), None),
        ((84, 84), None),
        ((4, 84, 84, 3), None),
    ],
)
def test_the_shape_tells_which_axis_holds_the_channels(shape: tuple[int, ...], image: tuple[int, int, int] | None) -> None:
    assert image_shape(box(shape)) == image
    assert is_channels_last(box(shape)) == (image is not None and image != shape)


def test_a_bare_shape_is_taken_at_its_word() -> None:
    assert shape_of([96, 96, 3]) == image_shape((96, 96, 3)) == (96, 96, 3)
    assert not is_channels_last((96, 96, 3))


@given(
    st.sampled_from(["float32", "float64", "float16", "uint8", "int64", "bool"]),
    st.sampled_from([(3,), (2, 2), (3, 3, 2)]),
    st.integers(0, 999),
)
def test_numpy_computes_the_numbers_of_torch(dtype: str, shape: tuple[int, ...], seed: int) -> None:
    rng = np.random.default_rng(seed)
    wide = rng.normal(size=(64, *shape)) * 10.0 ** rng.integers(-3, 4)
    wide[..., 0] = wide.flat[0]  # a number that does not vary
    trunk = Trunk(shape, TrunkConfig(kind="mlp", width=4), normalize=True, channels_last=len(shape) == 3)
    trunk.set_statistics(wide.astype(dtype))
    with np.errstate(over="ignore"):
        far = (wide * rng.choice([1.0, 1e3], size=wide.shape)).astype(dtype)
    quick = trunk.quick()
    close = partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-5)
    with torch.inference_mode():
        for row in far:
            close(quick(row[None]), trunk(torch.from_numpy(row[None]))[0])
        trunk.load_state_dict({name: value + 1 for name, value in trunk.state_dict().items()})
        for row in far:
            close(quick(row[None]), trunk(torch.from_numpy(row[None]))[0])  # it follows


@pytest.mark.parametrize("space", [None, Continuous((-2.0, -2.0), (1.0, 3.0), (2,))])
def test_one_observation_is_planned_for_as_the_network_does(space: Continuous | None) -> None:
    observed = spaces.Box(-np.inf, np.inf, (5,), np.float32)
    trunk = TrunkConfig(kind="mlp", width=16, residual=2)
    network = build_network(observed, 2, 4, trunk, seed=0, action_space=space, normalize=True)
    rows = np.random.default_rng(0).normal(3.0, 2.0, (50, 5)).astype(np.float32)
    network.trunk.set_statistics(rows)
    planner = TorchPlanner(network, "float32")
    with torch.inference_mode():
        expected = [network(torch.from_numpy(row[None])).numpy() for row in rows]
    np.testing.assert_allclose([planner.plan(row[None]).outputs for row in rows], expected, rtol=1e-5, atol=1e-6)
