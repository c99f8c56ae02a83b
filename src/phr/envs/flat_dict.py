"""Dict observations as one vector: every numeric entry, flattened, in the order of the keys."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from phr.envs.missions import mission_codes
from phr.errors import UnsupportedEnvironmentError

_Reader = Callable[[Any], NDArray[Any]]


class FlatDict:
    """Writes a Dict observation into one float32 vector.

    Box entries are flattened as they are, Discrete ones become one-hot, Dicts inside are walked through. MiniGrid's missions
    become one-hot codes of their words; one that never changes says nothing and is left out.

    Args:
        space: The observation space.
        env_id: For the messages.

    Attributes:
        space: The vector's.

    Raises:
        UnsupportedEnvironmentError: If an entry is text that varies, or of another kind; or if no entry is left.
    """

    def __init__(self, space: Mapping[str, spaces.Space[Any]], env_id: str) -> None:
        parts = list(_parts(space, env_id, ()))
        if not parts:
            raise UnsupportedEnvironmentError(f"{env_id}: observation space {space} is not supported: it shows no number")
        self._readers = [(path, read) for path, read, _, _ in parts]
        low, high = (np.concatenate([part[bound] for part in parts]) for bound in (2, 3))
        self.space = spaces.Box(low, high, dtype=np.float32)

    def write(self, obs: dict[str, Any], out: NDArray[Any]) -> None:
        """Fill `out`, of shape `space.shape`."""
        first = 0
        for path, read in self._readers:
            entry: Any = obs
            for key in path:
                entry = entry[key]
            values = read(entry)
            out[first : first + len(values)] = values
            first += len(values)


_Part = tuple[tuple[str, ...], _Reader, NDArray[np.float32], NDArray[np.float32]]
"""Where an entry stands, how it is read, and the lowest and highest of its numbers."""


def _parts(space: Mapping[str, spaces.Space[Any]], env_id: str, above: tuple[str, ...]) -> Iterator[_Part]:
    for key in sorted(space):
        path, entry = (*above, key), space[key]
        if isinstance(entry, spaces.Dict):
            yield from _parts(entry, env_id, path)
        elif isinstance(entry, spaces.Box):
            yield path, np.ravel, entry.low.ravel().astype(np.float32), entry.high.ravel().astype(np.float32)
        elif isinstance(entry, spaces.Discrete):
            yield (path, _one_hot(entry), *_unit(int(entry.n)))
        elif type(entry).__name__.endswith("MissionSpace"):
            codes = mission_codes(entry, env_id)
            if codes:
                yield (path, codes.__getitem__, *_unit(len(next(iter(codes.values())))))
        else:
            raise UnsupportedEnvironmentError(
                f"{env_id}: entry {'.'.join(path)!r} of its Dict observation is {entry}, which is not supported; phr reads "
                "Box and Discrete entries and MiniGrid's missions (drop it, e.g. with gymnasium.wrappers.FilterObservation)"
            )


def _unit(n: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    return np.zeros(n, np.float32), np.ones(n, np.float32)


def _one_hot(space: spaces.Discrete) -> _Reader:
    rows = np.eye(int(space.n), dtype=np.float32)
    start = int(space.start)
    return lambda value: rows[int(value) - start]
