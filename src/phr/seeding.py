"""One seed, many named streams: nothing in phr draws from a global generator.

Every consumer of randomness asks for its own stream by name (and index), so adding a consumer never shifts the numbers of
another, and two consumers never share numbers by accident.
"""

from __future__ import annotations

import hashlib
import zlib
from dataclasses import dataclass
from typing import Any

import numpy as np

from phr.errors import UnsupportedEnvironmentError
from phr.settings import check_whole

__all__ = ["Streams", "reseed"]


@dataclass(frozen=True)
class Streams:
    """Independent random streams derived from one seed >= 0; SettingError for any other."""

    seed: int

    def __post_init__(self) -> None:
        check_whole("seed", self.seed, 0)

    def rng(self, name: str, *index: int) -> np.random.Generator:
        """A generator of its own for this name and index."""
        sequence = np.random.SeedSequence(self.seed, spawn_key=(zlib.crc32(name.encode()), *index))
        return np.random.Generator(np.random.PCG64(sequence))

    def integer(self, name: str, *index: int) -> int:
        """One integer in [0, 2**31), fit for `env.reset(seed=...)` or `torch.manual_seed`."""
        # A hash takes a microsecond where a SeedSequence takes twenty, and training asks once an episode.
        key = f"{self.seed} {name} {index}".encode()
        return int.from_bytes(hashlib.blake2b(key, digest_size=4).digest(), "little") >> 1


def reseed(rng: Any, seed: int) -> None:
    """Re-seed an environment's generator in place, so that all references to it draw the new numbers."""
    if not isinstance(rng, np.random.Generator):
        raise UnsupportedEnvironmentError(
            f"an environment draws its random numbers from a {type(rng).__name__}, which cannot be re-seeded in place; "
            "begin reset with super().reset(seed=seed) and draw from self.np_random, a numpy.random.Generator"
        )
    bits: Any = rng.bit_generator
    bits.state = type(bits)(seed).state


def rng_state(rng: np.random.Generator) -> dict[str, Any]:
    """The generator's state as plain JSON values."""
    return dict(rng.bit_generator.state)


def rng_from_state(state: dict[str, Any]) -> np.random.Generator:
    """The generator whose state `rng_state` returned."""
    bits: Any = np.random.PCG64()
    bits.state = state
    return np.random.Generator(bits)
