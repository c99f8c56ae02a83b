"""How the observations of a space enter a network: their scale, and which axis holds the channels."""

from __future__ import annotations

from collections.abc import Sequence

from gymnasium import spaces

from phr import observations

Observations = spaces.Box | Sequence[int]
"""A space, or the bare shape of one observation: channels first, numbers as they are."""

_MOST_COLORS = 4


def shape_of(obs: Observations) -> tuple[int, ...]:
    """Shape of one observation."""
    return tuple(obs.shape if isinstance(obs, spaces.Box) else obs)


def scale_of(obs: Observations) -> float:
    """The factor that maps bytes 0 .. 255 to 0 .. 1; 1 for a bare shape, 0/1 planes, floats and everything else."""
    return observations.scale_of(obs) if isinstance(obs, spaces.Box) else 1.0


def is_channels_last(obs: Observations) -> bool:
    """Whether an image is `(height, width, channels)`.

    A space does not say it, so its shape decides: two equal neighbouring sides are height and width; where no two are, up
    to four channels behind two larger sides are colours. In doubt the channels come first.
    """
    shape = shape_of(obs)
    if not isinstance(obs, spaces.Box) or len(shape) != 3:
        return False
    first, second, last = shape
    if second == last:
        return False
    return first == second or last <= min(_MOST_COLORS, first - 1, second - 1)


def image_shape(obs: Observations) -> tuple[int, int, int] | None:
    """`(channels, height, width)` of an image, None for anything else."""
    shape = shape_of(obs)
    if len(shape) != 3:
        return None
    return (shape[2], shape[0], shape[1]) if is_channels_last(obs) else (shape[0], shape[1], shape[2])
