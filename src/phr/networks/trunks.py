"""Trunks: from an observation to a feature vector. Leaky ReLUs throughout, as in the paper's Fig. 1."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, Literal

import numpy as np
import torch
from gymnasium import spaces
from jaxtyping import Float, Shaped
from numpy.typing import NDArray
from torch import Tensor, nn

from phr.errors import SettingError
from phr.settings import check_whole

Observations = spaces.Box | Sequence[int]
"""A space, or the bare shape of one observation: channels first, numbers as they are."""


def shape_of(obs: Observations) -> tuple[int, ...]:
    """Return the shape of one observation."""
    return tuple(obs.shape if isinstance(obs, spaces.Box) else obs)


def is_channels_last(obs: Observations) -> bool:
    """Return whether an image is `(height, width, channels)`, judged by its shape.

    Two equal neighbouring sides are height and width; where no two are equal, up to four channels behind two larger sides
    are colours. In doubt the channels come first.
    """
    shape = shape_of(obs)
    if not isinstance(obs, spaces.Box) or len(shape) != 3:
        return False
    first, second, last = shape
    return second != last and (first == second or last <= min(4, first - 1, second - 1))


def image_shape(obs: Observations) -> tuple[int, int, int] | None:
    """Return `(channels, height, width)` of an image, None for anything else."""
    if len(shape := shape_of(obs)) != 3:
        return None
    return (shape[2], shape[0], shape[1]) if is_channels_last(obs) else (shape[0], shape[1], shape[2])


Precision = Literal["auto", "float32", "bfloat16"]


def compute_dtype(precision: Precision, *, convolutions: bool) -> torch.dtype:
    """Return the number type of a precision.

    `auto` is bfloat16 for convolutions where the CPU multiplies it natively, since that takes half the time. Without
    convolutions there is little to gain, and vectors of measurements lose digits that images do not have.
    """
    if precision == "auto":
        has = torch.cpu.get_capabilities() if convolutions else {}
        return torch.bfloat16 if has.get("avx512_bf16") or has.get("amx_bf16") else torch.float32
    return torch.bfloat16 if precision == "bfloat16" else torch.float32


def computing_in(dtype: torch.dtype) -> torch.autocast:
    """Return a context in which layers compute in this type; weights, gradients and losses stay float32."""
    return torch.autocast("cpu", dtype, enabled=dtype != torch.float32)


@contextmanager
def torch_threads(threads: int) -> Iterator[None]:
    """Compute with this many threads of torch, 1 .. 1024, and restore their number afterwards, also on errors."""
    check_whole("threads", threads, 1)
    if threads > 1024:  # OpenMP fails to start many more, and takes the process with it
        raise SettingError(f"threads must be <= 1024, got {threads}")
    before = torch.get_num_threads()
    torch.set_num_threads(int(threads))
    try:
        yield
    finally:
        torch.set_num_threads(before)


def channels_last(x: Tensor) -> Tensor:
    """Return images with their channels last in memory, the layout that convolutions are fastest in; else `x` itself."""
    return x.contiguous(memory_format=torch.channels_last) if x.dim() == 4 else x


TrunkKind = Literal["grid", "atari", "mlp"]

_FAR = 10.0
"""Normalised observations are clipped there, as in Stable-Baselines3: a number that rarely changes has a tiny deviation,
so one unusual state would drown all others."""
_NATURE_SIDE = 36
"""The Nature network's convolutions, without padding, leave nothing of a smaller image."""
_JITTER = 1024.0
"""The unit of a number that never varied, in its smallest steps, so that rounding errors stay small."""
_GRID_SIDE, _GRID_LARGEST_SIDE = 4, 84
"""The grid trunk halves an image once, so its fully connected layer grows with the image."""


@dataclass(frozen=True, kw_only=True)
class TrunkConfig:
    """Which trunk, and how wide."""

    kind: TrunkKind
    """`grid`: 3×3 convolutions, padding 1. `atari`: the Nature network. `mlp`: layers on the flat
    input."""
    channels: tuple[int, ...] = (32, 64, 64)
    """Channels of each convolution; unused by `mlp`."""
    width: int = 512
    """Units of the fully connected layer that every head reads (of each layer, for `mlp`)."""
    depth: int = 2
    """Fully connected layers of an `mlp`."""
    halvings: int = 1
    """The last so many convolutions of a `grid` have stride 2."""
    residual: int = 0
    """Fully connected layers after these, each of which adds its output to its input (He et al. 2016, arXiv:1512.03385)."""
    agent: int | None = None
    """For a `grid`, the first of the four planes of `AgentView`; None reads the picture as it is."""

    def __post_init__(self) -> None:
        if min((self.width, self.depth, *self.channels)) < 1:
            raise SettingError(f"width, depth and channels of a trunk must be >= 1, got {self}")
        check_whole("residual", self.residual, 0)
        check_whole("halvings", self.halvings, 0)
        if self.halvings > len(self.channels):
            raise SettingError(f"halvings must be <= the number of convolutions, {len(self.channels)}, got {self.halvings}")
        if self.agent is not None:
            check_whole("agent", self.agent, 0)
            if self.kind != "grid":
                raise SettingError(f"agent must be left out for a trunk of kind {self.kind!r}")

    def for_plans(self, horizon: int) -> TrunkConfig:
        """Return these layers and up to four residual ones: a long plan is a finer function than the next action."""
        return replace(self, residual=max(min(2, horizon - 1), min(4, horizon // 4)))

    def scaled_to(self, width: int) -> TrunkConfig:
        """Return layers of another width, channels in proportion (MobileNet's width multiplier, arXiv:1704.04861, 3.3)."""
        channels = tuple(max(1, round(n * width / self.width)) for n in self.channels)
        return replace(self, width=width, channels=self.channels if self.kind == "mlp" else channels)


def orthogonal(layer: nn.Linear | nn.Conv2d, gain: float) -> nn.Linear | nn.Conv2d:
    """Initialise a layer with an orthogonal weight of this gain and a zero bias (Andrychowicz et al. 2021)."""
    nn.init.orthogonal_(layer.weight, gain)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer


def _hidden(layer: nn.Linear | nn.Conv2d) -> list[nn.Module]:
    return [orthogonal(layer, math.sqrt(2)), nn.LeakyReLU()]


_Layers = Sequence[tuple[Any, Any]]


def _forward(features: Tensor, plain: _Layers, residual: _Layers) -> Tensor:
    """Fully connected layers, by weight and bias: calling modules would take half the time of a small network."""
    linear, leaky = nn.functional.linear, nn.functional.leaky_relu
    for weight, bias in plain:
        features = leaky(linear(features, weight, bias))
    for weight, bias in residual:
        features = features + leaky(linear(features, weight, bias))
    return features


def _leaky(numbers: NDArray[np.float32]) -> NDArray[np.float32]:
    """As `nn.functional.leaky_relu`."""
    larger: NDArray[np.float32] = np.maximum(numbers, numbers * np.float32(0.01))
    return larger


def _convolutions(n_in: int, config: TrunkConfig) -> list[nn.Module]:
    kernels = [(8, 4, 0), (4, 2, 0), (3, 1, 0)]  # size, stride, padding
    if config.kind == "grid":
        kernels = [*[(3, 1, 1)] * (len(config.channels) - config.halvings), *[(3, 2, 1)] * config.halvings]
    elif len(config.channels) != 3:
        raise SettingError(f"channels of an 'atari' trunk must be three numbers, got {config.channels}")
    sizes = pairwise([n_in, *config.channels])
    return [each for size, kernel in zip(sizes, kernels, strict=True) for each in _hidden(nn.Conv2d(*size, *kernel))]


def default_trunk(obs: Observations) -> TrunkConfig:
    """Return the Nature network for images from 36×36, small convolutions for those from 4×4, else an MLP."""
    image = image_shape(obs)
    if image is not None and min(image[1:]) >= _NATURE_SIDE:
        return TrunkConfig(kind="atari", channels=(32, 64, 64), width=512)
    if image is not None and min(image[1:]) >= _GRID_SIDE and max(image[1:]) <= _GRID_LARGEST_SIDE:
        return TrunkConfig(kind="grid", channels=(16, 32, 32), width=256)
    return TrunkConfig(kind="mlp", width=64)


class AgentView(nn.Module):
    """Planes of a grid, shifted and turned until the agent looks up from the middle, and without those that mark it.

    What to do depends on where things lie seen from the agent; layers that read every cell would have to learn that for
    each of its places and directions (Ye et al. 2020, arXiv:2001.09908). Nothing is cut off: what leaves the picture on one
    side comes in on the other, beside it one row further. A grid that is not square is first filled up with zeros.

    Four planes from `agent` on mark the agent's cell, one for each direction: right, down, left, up. Where several cells are
    marked the first counts; where none is, the first cell, looking right.
    """

    turns: Tensor

    def __init__(self, shape: Sequence[int], agent: int) -> None:
        super().__init__()
        planes, height, width = shape
        if planes < 5 or not 0 <= agent <= planes - 4:
            raise SettingError(f"agent must be the first of four among {planes} planes and leave one more, got {agent}")
        self.agent, self.side = agent, max(height, width)
        self.missing = 0, self.side - width, 0, self.side - height
        right = torch.arange(self.side) - self.side // 2
        ahead = -right.unsqueeze(1)
        ways = ((0, 1), (1, 0), (0, -1), (-1, 0))  # each direction in the picture: down, right
        turns = [self.side * (ahead * down + right * along) + ahead * along - right * down for down, along in ways]
        self.register_buffer("turns", torch.stack(turns).flatten(1), persistent=False)
        """By direction and cell of the view, how many cells of the picture it is behind the agent's."""

    def forward(self, planes: Shaped[Tensor, "batch planes height width"]) -> Shaped[Tensor, "batch others side side"]:
        """Return the four planes fewer, square, of the same number type."""
        if any(self.missing):
            planes = nn.functional.pad(planes, self.missing)
        first, last, n_cells = self.agent, self.agent + 4, self.side**2
        marked = planes[:, first:last].flatten(1).argmax(dim=1, keepdim=True)
        others = planes[:, :first]
        if last < planes.shape[1]:
            others = torch.cat([others, planes[:, last:]], dim=1)
        cells = (self.turns[marked // n_cells] + marked.unsqueeze(2)) % n_cells
        view: Tensor = (
            others.flatten(2).gather(2, cells.expand(-1, others.shape[1], -1)).unflatten(2, (self.side, self.side))
        )
        return view


class Trunk(nn.Module):
    """Observation → features, with the scaling of the observation inside (see `phr.networks.NetworkConfig`).

    `normalize` subtracts a mean and divides by a deviation, which `set_statistics` computes. This is done in float64 and
    makes the features independent of the units of the observation; `obs_scale` has no effect then. `SettingError` if the
    observation does not fit the kind of trunk: `grid` and `atari` read images.
    """

    obs_mean: Tensor
    obs_deviation: Tensor
    obs_limit: Tensor

    def __init__(
        self,
        obs_shape: Sequence[int],
        config: TrunkConfig,
        obs_scale: float = 1.0,
        channels_last: bool = False,
        normalize: bool = False,
    ) -> None:
        super().__init__()
        self.obs_shape = tuple(obs_shape)
        self.scale, self.channels_last, self.normalize = obs_scale, channels_last, normalize
        self.view: AgentView | None = None
        if normalize:
            for name, value in (("obs_mean", 0.0), ("obs_deviation", 1.0), ("obs_limit", _FAR)):
                self.register_buffer(name, torch.full(self.obs_shape, value, dtype=torch.float64))
        if config.kind == "mlp":
            sizes = [math.prod(obs_shape), *[config.width] * config.depth]
            layers: list[nn.Module] = [nn.Flatten()]
            for n_in, n_out in pairwise(sizes):
                layers += _hidden(nn.Linear(n_in, n_out))
        else:
            if len(obs_shape) != 3:
                raise SettingError(f"a {config.kind!r} trunk reads (channels, height, width), got shape {tuple(obs_shape)}")
            image = (obs_shape[2], *obs_shape[:2]) if channels_last else tuple(obs_shape)
            if config.agent is not None:
                if normalize:
                    raise SettingError("agent must be left out where observations are normalised: its planes are marks")
                self.view = AgentView(image, config.agent)
                image = (image[0] - 4, self.view.side, self.view.side)
            convolutions = _convolutions(image[0], config)
            try:
                with torch.no_grad():
                    n_flat = nn.Sequential(*convolutions, nn.Flatten())(torch.zeros(1, *image)).shape[1]
            except RuntimeError as error:
                raise SettingError(f"the {config.kind!r} trunk needs a larger observation than {self.obs_shape}") from error
            layers = [*convolutions, nn.Flatten(), *_hidden(nn.Linear(n_flat, config.width))]
        self.layers = nn.Sequential(*layers)
        self._linear = tuple(layer for layer in layers if isinstance(layer, nn.Linear))
        self._is_mlp = config.kind == "mlp"
        square = config.width, config.width
        self.residual = nn.ModuleList(orthogonal(nn.Linear(*square), math.sqrt(2)) for _ in range(config.residual))
        self._residual = tuple(self.residual)

    def set_statistics(self, obs: NDArray[Any]) -> None:
        """Set mean and deviation of every number from observations of shape `(n, *obs_shape)`.

        A number that differs by no more than the resolution of its type does not vary; its unit is unknown, so the first
        layer reads only whether it later changed: 0, or up to ±1.
        """
        step = np.zeros(obs.shape[1:])  # the unit in the last place of each number's largest value; whole numbers are exact
        if obs.dtype.kind == "f":  # a subnormal divisor may be flushed to 0
            step = np.maximum(np.spacing(np.abs(obs).max(axis=0)).astype(np.float64), np.finfo(np.float64).tiny)
        low, high = (side.astype(np.float64) for side in (obs.min(axis=0), obs.max(axis=0)))
        # From the middle of the range, in units of half of it: exact for any offset, and no square under- or overflows.
        middle, half = low / 2 + high / 2, high / 2 - low / 2
        varies = half > step / 2
        numbers = (obs - middle) / np.where(varies, half, 1.0)
        still = np.where(step > 0, _JITTER * step, 1.0)
        self.obs_mean.copy_(torch.from_numpy(middle + np.where(varies, half * numbers.mean(axis=0), 0.0)))
        self.obs_deviation.copy_(torch.from_numpy(np.where(varies, half * numbers.std(axis=0), still)))
        self.obs_limit.copy_(torch.from_numpy(np.where(varies, _FAR, 1.0)))

    def prepare(
        self, obs: Shaped[Tensor, "batch *shape"], dtype: torch.dtype, *, scaled: bool = True
    ) -> Shaped[Tensor, "batch *prepared"]:
        """Return observations as the first layer reads them: of this number type, scaled, channels first.

        The mean is subtracted in float64, before anything is rounded to `dtype`. `scaled=False` casts without scaling.
        """
        if self.normalize:
            normal = (obs.double() - self.obs_mean) / self.obs_deviation
            numbers = normal.clamp(-self.obs_limit, self.obs_limit).to(dtype)
        else:
            numbers = obs.to(dtype) * self.scale if scaled and self.scale != 1.0 else obs.to(dtype)
        numbers = numbers.movedim(-1, 1) if self.channels_last else numbers
        return numbers if self.view is None else self.view(numbers)

    def quick(self) -> Callable[[NDArray[Any]], NDArray[np.float32]]:
        """Return the features `(width,)` of one observation `(1, *shape)`, in numpy, in less than half of `forward`'s time.

        Of an `mlp` that normalises. The numbers are those of torch but for rounding. It holds the memory of weights and
        statistics: it follows them where they change in place, and not where they are moved or get another type.
        """
        mean, deviation, limit = (numbers.numpy() for numbers in (self.obs_mean, self.obs_deviation, self.obs_limit))
        plain, residual = (
            [(weight.detach().numpy(), bias.detach().numpy()) for weight, bias in part] for part in self._weights()
        )

        def features_of(obs: NDArray[Any]) -> NDArray[np.float32]:
            normal = np.minimum(np.maximum((obs - mean) / deviation, -limit), limit)
            features: NDArray[np.float32] = normal.astype(np.float32)
            features = (np.moveaxis(features, -1, 1) if self.channels_last else features).ravel()
            for weight, bias in plain:
                features = _leaky(weight.dot(features) + bias)
            for weight, bias in residual:
                features = features + _leaky(weight.dot(features) + bias)
            return features

        return features_of

    def _weights(self) -> tuple[_Layers, _Layers]:
        plain, residual = ([(layer.weight, layer.bias) for layer in part] for part in (self._linear, self._residual))
        return plain, residual

    def forward(self, obs: Shaped[Tensor, "batch *shape"]) -> Float[Tensor, "batch features"]:
        """Return features of a batch of observations of any number type."""
        # The type that autocast would cast to anyway; bytes are exact in bfloat16.
        autocast = torch.is_autocast_enabled("cpu") and not self.normalize
        dtype = torch.get_autocast_dtype("cpu") if autocast else self._linear[-1].weight.dtype
        features: Tensor
        if self._is_mlp:
            return _forward(self.prepare(obs, dtype).flatten(1), *self._weights())
        first, *others = self.layers
        if self.scale == 1.0 or self.normalize or not isinstance(first, nn.Conv2d):
            return _forward(self.layers(self.prepare(obs, dtype)), (), self._weights()[1])
        # The scale goes into the weights that read the image: a few thousand products instead of one for every pixel.
        pixels = self.prepare(obs, dtype, scaled=False)
        features = nn.functional.conv2d(pixels, first.weight * self.scale, first.bias, first.stride, first.padding)
        for layer in others:
            features = layer(features)
        return _forward(features, (), self._weights()[1])
