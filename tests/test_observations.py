"""One check of what a model reads, at every door."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from gymnasium import spaces
from hypothesis import given
from hypothesis import strategies as st

from phr.errors import IncompatibleModelError, InvalidDataError, NonFiniteError
from phr.observations import ObservationSpec, as_array, scale_of

DTYPES = ["bool", "uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64", "float16", "float32", "float64"]
shapes = st.lists(st.integers(1, 3), max_size=3).map(tuple)


def spec(shape: tuple[int, ...], dtype: str, scale: float = 1.0) -> ObservationSpec:
    return ObservationSpec(shape, np.dtype(dtype), scale)


@given(shapes, shapes, st.sampled_from(DTYPES), st.sampled_from(DTYPES), st.sampled_from("<>"))
def test_shapes_are_equal_and_types_too_but_for_the_width_of_floats(
    shape: tuple[int, ...], given_shape: tuple[int, ...], dtype: str, given_dtype: str, order: str
) -> None:
    obs = np.ones((2, *given_shape), np.dtype(given_dtype).newbyteorder(order))  # type: ignore[arg-type]
    both_floats = dtype.startswith("float") and given_dtype.startswith("float")
    if shape == given_shape and (dtype == given_dtype or both_floats):
        checked = spec(shape, dtype).check(obs)
        assert (checked.dtype, checked.shape) == (np.dtype(dtype), obs.shape)
        assert (checked == 1).all()
    else:
        with pytest.raises(InvalidDataError, match=f"^an observation must be {dtype} of shape .*; got "):
            spec(shape, dtype).check(obs)


def test_an_array_that_fits_is_not_copied() -> None:
    obs = np.ones((2, 3), np.float32)
    assert spec((3,), "float32").check(obs) is obs
    same_type = obs.astype(np.dtype("float32").newbyteorder("="))
    assert same_type.dtype is not obs.dtype  # numpy's own object is compared first, and this one is as good
    assert spec((3,), "float32").check(same_type) is same_type


@pytest.mark.parametrize("dtype", DTYPES)
def test_every_order_of_bytes_gives_the_same_type(dtype: str) -> None:
    for order in "<>=":
        assert spec((3,), np.dtype(dtype).newbyteorder(order).str).dtype is np.dtype(dtype)  # type: ignore[arg-type]


@pytest.mark.parametrize("shape", [(), (0,), (0, 2), (2, 0)])
def test_an_observation_alone_and_an_empty_batch_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(InvalidDataError, match="^an observation must be uint8 of shape .*; got "):
        spec((), "uint8").check(np.zeros(shape, np.uint8))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e39, -1e39])
def test_what_float32_does_not_hold_is_refused(value: float) -> None:
    obs = np.zeros((3, 2))
    obs[2, 1] = value
    with pytest.raises(NonFiniteError, match=r"^an observation contains NaN or Inf \(as float32\)$"):
        spec((2,), "float32").check(obs)
    if np.isfinite(value):
        assert spec((2,), "float64").check(obs)[2, 1] == value


@pytest.mark.parametrize(
    ("rows", "dtype", "fits"),
    [
        ([[0, 1]], "float32", True),
        ([[0, 0.5]], "float32", True),
        (((0, 1),), "uint8", True),
        ([[0, 255]], "uint8", True),
        ([[0, 256]], "uint8", False),
        ([[0, -1]], "uint16", False),
        ([[0.0, 1.0]], "uint8", False),
        ([[2**24, 2**24 + 1]], "float32", False),
        ([[False, True]], "bool", True),
        ([[False, True]], "uint8", False),
        ([np.array([1, 2], np.float32)], "float32", True),
    ],
)
def test_whole_numbers_in_lists_have_no_type_of_their_own(rows: Any, dtype: str, fits: bool) -> None:
    if fits:
        np.testing.assert_array_equal(spec((2,), dtype).check(rows), np.array(rows, dtype))
    else:
        with pytest.raises(InvalidDataError, match="an observation must be"):
            spec((2,), dtype).check(rows)


def test_what_is_no_array_is_refused() -> None:
    with pytest.raises(InvalidDataError, match=r"^an observation must be an array of numbers; got list \(.*\)$"):
        as_array([[1.0], [1.0, 2.0]])
    with pytest.raises(InvalidDataError, match="got object of shape"):
        spec((1,), "float32").check([[None]])


def box(low: Any, high: Any, dtype: Any, shape: tuple[int, ...] = (2,)) -> spaces.Box:
    return spaces.Box(low, high, shape, dtype)


BYTES, PLANES = box(0, 255, np.uint8), box(0, 1, np.uint8)


@pytest.mark.parametrize("dtype", ["uint16", "uint32", "int16", "float32"])
def test_only_bytes_are_scaled(dtype: str) -> None:
    assert scale_of(BYTES) == 1 / 255
    assert scale_of(PLANES) == scale_of(box(0, 255, dtype)) == scale_of(box(1, 255, np.uint8)) == 1.0


@pytest.mark.parametrize(
    ("made_for", "given_space", "message"),
    [
        (BYTES, BYTES, ""),
        (PLANES, PLANES, ""),
        (box(0, 1, np.float32), box(-5, 5, np.float64), ""),
        (BYTES, PLANES, r"uint8 of shape \(2,\), values 0 .. 255; X-v0 gives uint8 of shape \(2,\), values as they are\."),
        (PLANES, BYTES, r"uint8 of shape \(2,\), values as they are; X-v0 gives uint8 of shape \(2,\), values 0 .. 255\."),
        (BYTES, box(0, 1, np.float32), r"X-v0 gives float32 of shape \(2,\)\."),
        (box(0, 1, np.float32), BYTES, r"float32 of shape \(2,\); X-v0 gives uint8 of shape \(2,\), values 0 .. 255\."),
        (box(0, 9, np.int32), box(0, 9, np.int64), "int32 of .* gives int64 of"),
        (BYTES, box(0, 255, np.uint8, (2, 1)), r"of shape \(2,\), .* of shape \(2, 1\), "),
    ],
)
def test_a_space_fits_where_shape_type_and_scale_do(made_for: spaces.Box, given_space: spaces.Box, message: str) -> None:
    reads = ObservationSpec.of(made_for)
    if not message:
        reads.check_space(given_space, "X-v0")
        return
    with pytest.raises(IncompatibleModelError, match=f"^the model reads observations .*{message}"):
        reads.check_space(given_space, "X-v0")


def whole_range(shape: tuple[int, ...], high: Any = 255, dtype: Any = np.uint8, low: Any = 0) -> spaces.Box:
    return spaces.Box(low, high, shape, dtype)


@pytest.mark.parametrize(
    ("space", "scale"),
    [
        (whole_range((4, 84, 84)), 1 / 255),
        (whole_range((128,)), 1 / 255),
        (whole_range((30, 9, 9), high=1), 1.0),
        (whole_range((4, 84, 84), low=1), 1.0),
        (whole_range((3,), high=255.0, dtype=np.float32), 1.0),
        (whole_range((4, 84, 84), dtype=np.int16), 1.0),
    ],
)
def test_bytes_are_scaled_and_nothing_else(space: spaces.Box, scale: float) -> None:
    assert scale_of(space) == scale


def test_a_space_with_one_smaller_bound_is_not_scaled() -> None:
    high = np.full((2, 3), 255, np.uint8)
    high[1, 2] = 254
    assert scale_of(spaces.Box(np.zeros_like(high), high, dtype=np.uint8)) == 1.0
