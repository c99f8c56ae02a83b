from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from gymnasium import spaces

from phr.networks.trunks import image_shape, is_channels_last, shape_of
from phr.observations import scale_of


def box(shape: tuple[int, ...], high: Any = 255, dtype: Any = np.uint8, low: Any = 0) -> spaces.Box:
    return spaces.Box(low, high, shape, dtype)


@pytest.mark.parametrize(
    ("space", "scale"),
    [
        (box((4, 84, 84)), 1 / 255),
        (box((128,)), 1 / 255),
        (box((30, 9, 9), high=1), 1.0),
        (box((4, 84, 84), low=1), 1.0),
        (box((3,), high=255.0, dtype=np.float32), 1.0),
        (box((4, 84, 84), dtype=np.int16), 1.0),
    ],
)
def test_bytes_are_scaled_and_nothing_else(space: spaces.Box, scale: float) -> None:
    assert scale_of(space) == scale


def test_a_space_with_one_smaller_bound_is_not_scaled() -> None:
    high = np.full((2, 3), 255, np.uint8)
    high[1, 2] = 254
    assert scale_of(spaces.Box(np.zeros_like(high), high, dtype=np.uint8)) == 1.0


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
