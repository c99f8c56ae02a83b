"""Observations of any supported space as one array: checked against the space, in the form of `gymnasium.spaces.flatten`."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from phr.envs.contract import as_array, described
from phr.errors import UnsupportedEnvironmentError


def mission_codes(space: Any, env_id: str) -> dict[str, NDArray[np.uint8]]:
    """Return the one-hot code of every mission of a MissionSpace, shape `(number of words,)`; none if it never changes.

    MiniGrid is not imported, because it may not be installed.
    """
    kind = type(space)
    if (kind.__module__, kind.__qualname__) != ("minigrid.core.mission", "MissionSpace"):
        why = "its missions follow a grammar that phr cannot enumerate; only MiniGrid's own MissionSpace is read"
        raise UnsupportedEnvironmentError(f"{env_id}: {why}")
    if not space.ordered_placeholders:
        return {}
    coded = [list(zip(words, np.eye(len(words), dtype=np.uint8), strict=True)) for words in space.ordered_placeholders]
    chosen = (zip(*choice, strict=True) for choice in itertools.product(*coded))
    return {space.mission_func(*words): np.concatenate(codes) for words, codes in chosen}


class OutsideError(Exception):
    """A value is not an element of its space; the message contains what was expected and what came."""


_Write = Callable[[Any, NDArray[Any]], None]
"""Checks a value of a space and writes it into an array of as many numbers; raises `OutsideError`."""


class Reader(NamedTuple):
    """Writes the observations of an environment into arrays of `space`."""

    space: spaces.Box
    write: _Write
    holds_floats: bool
    """Whether the environment's own floats are written, which must be checked for NaN and infinity."""
    shown: str | None = None
    """What the array contains and how to read it; None where it is the environment's own."""


def reader_of(space: spaces.Space[Any] | None, env_id: str) -> Reader:
    """Return the reader of an observation space.

    A Box keeps its shape and dtype, but a single number becomes a vector of one; a Discrete becomes one-hot float32.
    A Dict, Tuple, MultiDiscrete or MultiBinary becomes what `gymnasium.spaces.flatten(space, obs)` returns, in the dtype of
    `flatten_space(space)`: entries in the space's own order, Discrete and MultiDiscrete ones one-hot. MiniGrid's missions,
    which Gymnasium cannot flatten, become one-hot codes of their words in the same place, unless they never change.

    A value must have the exact shape of its space, and integers and booleans must survive the cast to its dtype; only floats
    may be rounded. The bounds of a Box are not checked: many environments exceed those that they declare.
    """
    leaf = _leaf(space, "")
    if leaf is not None and isinstance(space, spaces.Box) and space.low.size:
        low, high = (side if space.shape else side[None] for side in (space.low, space.high))
        dtype = _readable(space.dtype, env_id)
        box = space if space.shape and dtype == space.dtype else spaces.Box(low, high, dtype=dtype.type)
        return Reader(box, leaf[0], dtype.kind == "f")
    if leaf is not None and isinstance(space, spaces.Discrete):
        shift = f" + {space.start}" if space.start else ""
        shown = f"one-hot rows of Discrete({space.n}); obs.argmax(-1){shift} returns the numbers"
        return Reader(spaces.Box(0.0, 1.0, (int(space.n),), np.float32), leaf[0], False, shown)
    if not isinstance(space, spaces.Dict | spaces.Tuple | spaces.MultiDiscrete | spaces.MultiBinary):
        fix = "a Dict or Tuple of these. Wrap it, e.g. in gymnasium.wrappers.TransformObservation."
        expected = f"expected Box, Discrete, MultiDiscrete, MultiBinary, or {fix}"
        raise UnsupportedEnvironmentError(f"{env_id}: observation space {space} is not supported: {expected}")
    part = _part(space, env_id, ())
    if part is None or not part.box.low.size:
        raise UnsupportedEnvironmentError(f"{env_id}: observation space {space} is not supported: it holds no number")
    _readable(part.box.dtype, env_id)
    return Reader(part.box, part.write, part.box.dtype.kind == "f", _layout(space, part))


def _readable(dtype: np.dtype[Any], env_id: str) -> np.dtype[Any]:
    """Return the number type in this machine's byte order; refuse those that networks do not read, as longdouble."""
    if dtype.itemsize > 8:
        raise UnsupportedEnvironmentError(
            f"{env_id}: observations of {dtype} are not supported: expected numbers of at most 64 bits. Wrap it, "
            "e.g. in gymnasium.wrappers.DtypeObservation."
        )
    return dtype.newbyteorder("=")


class _Part(NamedTuple):
    """One entry of an observation: its flat space, its writer, and its leaves (name, numbers, kind) in order."""

    box: spaces.Box
    write: _Write
    leaves: tuple[tuple[str, int, str], ...]


def _part(space: spaces.Space[Any], env_id: str, path: tuple[Any, ...]) -> _Part | None:
    """Return the entry at `path`; None for a mission that never changes."""
    name = ".".join(map(str, path))
    where = f"entry {name!r}: " if path else ""
    if isinstance(space, spaces.Dict | spaces.Tuple):
        entries = space.spaces if isinstance(space, spaces.Dict) else dict(enumerate(space.spaces))
        found = {key: _part(entry, env_id, (*path, key)) for key, entry in entries.items()}
        parts = {key: part for key, part in found.items() if part is not None}
        return _joined(space, parts, where) if parts else None
    if type(space).__name__.endswith("MissionSpace"):
        codes = mission_codes(space, env_id)
        if not codes:
            return None
        size = len(next(iter(codes.values())))
        return _Part(spaces.Box(0, 1, (size,), np.uint8), partial(_mission, codes, where), ((name, size, "one-hot words"),))
    if (leaf := _leaf(space, where)) is not None:
        box: Any = spaces.flatten_space(space)
        return _Part(box, leaf[0], ((name, box.shape[0], leaf[1]),))
    expected = "expected Box, Discrete, MultiDiscrete or MultiBinary entries, or MiniGrid's missions"
    why = f"which is not supported: {expected}. Drop it, e.g. with gymnasium.wrappers.FilterObservation."
    raise UnsupportedEnvironmentError(f"{env_id}: entry {name!r} of its observation is {space}, {why}")


def _joined(space: Any, parts: dict[Any, _Part], where: str) -> _Part:
    """Return the entries one after another, as `flatten_space` and `flatten` join them."""
    boxes = [part.box for part in parts.values()]
    low, high = np.concatenate([box.low for box in boxes]), np.concatenate([box.high for box in boxes])
    writes, first = dict[Any, tuple[_Write, slice]](), 0
    for key, part in parts.items():
        end = first + part.box.shape[0]
        writes[key], first = (part.write, slice(first, end)), end
    is_dict, leaves = isinstance(space, spaces.Dict), tuple(leaf for part in parts.values() for leaf in part.leaves)
    write = partial(_entries, writes, where) if is_dict else partial(_items, writes, len(space.spaces), where)
    dtype = np.result_type(*(box.dtype for box in boxes)).type
    return _Part(spaces.Box(low, high, dtype=dtype), write, leaves)


def _layout(space: spaces.Space[Any], part: _Part) -> str:
    if not isinstance(space, spaces.Dict | spaces.Tuple):
        hot = " (one-hot, component after component)" if part.leaves[0][2] else ""
        return f"rows of gymnasium.spaces.flatten({' '.join(str(space).split())}){hot}"
    named, first = list[str](), 0
    for name, size, kind in part.leaves:
        named.append(f"{name} [{first}:{first + size}]{f' {kind}' if kind else ''}")
        first += size
    return f"rows of gymnasium.spaces.flatten, entries in the space's order: {', '.join(named)}"


def _entries(writes: dict[Any, tuple[_Write, slice]], where: str, value: Any, out: NDArray[Any]) -> None:
    """Dict observations; keys beside those of the space are ignored, as Gymnasium's `flatten` does."""
    if not isinstance(value, Mapping):
        raise OutsideError(f"{where}expected a dict, got {described(value)}")
    for key, (write_entry, place) in writes.items():
        if key not in value:
            raise OutsideError(f"{where}expected the key {key!r}, got {', '.join(map(repr, value)) or 'no key'}")
        write_entry(value[key], out[place])


def _items(writes: dict[Any, tuple[_Write, slice]], length: int, where: str, value: Any, out: NDArray[Any]) -> None:
    if isinstance(value, np.ndarray) and value.shape:  # as Gymnasium's Tuple takes it
        value = [*value]
    if not isinstance(value, tuple | list) or len(value) != length:
        raise OutsideError(f"{where}expected a tuple of length {length}, got {described(value)}")
    for index, (write_item, place) in writes.items():
        write_item(value[index], out[place])


def _exactly(shape: tuple[int, ...], dtype: np.dtype[Any], where: str, value: Any) -> NDArray[Any]:
    """Return the value as an array of exactly this shape and dtype; the caller checks floats for infinity."""
    if type(value) is np.ndarray and value.dtype == dtype and value.shape == shape:
        return value
    array = as_array(value)
    if array is None or array.shape != shape or array.dtype.kind not in "biuf":
        came = described(value if array is None or not array.shape else array)
        raise OutsideError(f"{where}expected {dtype} of shape {shape}, got {came}")
    with np.errstate(over="ignore", invalid="ignore"):
        cast = array.astype(dtype)
    if dtype.kind != "f" and (lost := cast != array).any():
        raise OutsideError(f"{where}expected numbers that {dtype} can hold, got {array[lost].flat[0].item()!r}")
    return cast


def _numbers(shape: tuple[int, ...], dtype: np.dtype[Any], where: str, value: Any, out: NDArray[Any]) -> None:
    out[...] = _exactly(shape, dtype, where, value).reshape(out.shape)


def _bits(shape: tuple[int, ...], dtype: np.dtype[Any], where: str, value: Any, out: NDArray[Any]) -> None:
    bits = _exactly(shape, dtype, where, value)
    if (bad := (bits != 0) & (bits != 1)).any():
        raise OutsideError(f"{where}expected 0 or 1, got {bits[bad].flat[0]}")
    out[...] = bits.reshape(out.shape)


def _one_hot(n: int, start: int, expected: str, value: Any, out: NDArray[Any]) -> None:
    """A whole number as one row; floats and booleans are refused, as `Discrete.contains` refuses them."""
    if type(value) is not int and not isinstance(value, np.integer):
        array = as_array(value)
        if array is None or array.shape or array.dtype.kind not in "iu":
            raise OutsideError(expected + described(value))
        value = array
    index = int(value) - start
    if not 0 <= index < n:
        raise OutsideError(f"{expected}{int(value)}")
    out[...] = 0
    out[index] = 1


def _one_hots(space: spaces.MultiDiscrete, where: str) -> _Write:
    shape, dtype, nvec, start = space.shape, space.dtype, space.nvec.astype(np.int64), space.start.astype(np.int64)
    first = np.concatenate([[0], np.cumsum(nvec.ravel())[:-1]])

    def write(value: Any, out: NDArray[Any]) -> None:
        index = _exactly(shape, dtype, where, value).astype(np.int64) - start
        if (bad := (index < 0) | (index >= nvec)).any():
            component = int(bad.ravel().argmax())
            low, high, came = (int(each.flat[component]) for each in (start, start + nvec - 1, start + index))
            raise OutsideError(f"{where}component {component}: expected a whole number from {low} to {high}, got {came}")
        out[...] = 0
        out[first + index.ravel()] = 1

    return write


def _mission(codes: Mapping[str, NDArray[np.uint8]], where: str, value: Any, out: NDArray[Any]) -> None:
    if not isinstance(value, str) or value not in codes:
        raise OutsideError(f"{where}expected a mission of its MissionSpace, got {described(value)}")
    out[...] = codes[value]


def _leaf(space: spaces.Space[Any] | None, where: str) -> tuple[_Write, str] | None:
    """Return the writer of a space without entries, and how its numbers are to be read; None for any other space."""
    if isinstance(space, spaces.Box | spaces.MultiBinary):
        return partial(_numbers if isinstance(space, spaces.Box) else _bits, space.shape, space.dtype, where), ""
    if isinstance(space, spaces.Discrete):
        n, start = int(space.n), int(space.start)
        expected = f"{where}expected a whole number from {start} to {start + n - 1}, got "
        return partial(_one_hot, n, start, expected), "one-hot"
    return (_one_hots(space, where), "one-hot") if isinstance(space, spaces.MultiDiscrete) else None
