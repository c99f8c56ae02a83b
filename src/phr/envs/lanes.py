"""Playing a fixed list of episodes side by side, each to its end; stopping at the n-th that ends would favour short ones."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from phr.actions import ActionSpace, as_space
from phr.envs.vector import Start, VectorSplit
from phr.errors import SettingError, UnsupportedEnvironmentError

PATIENCE = 200_000
"""Steps after which an episode is taken to be endless; Atari's longest have 108,000 frames."""


def endless(env_id: str) -> UnsupportedEnvironmentError:
    """Return the error for an environment whose episodes do not end."""
    return UnsupportedEnvironmentError(
        f"{env_id}: no episode ended within {PATIENCE:,} steps; give it a step limit, as gymnasium.wrappers.TimeLimit does, "
        "in a module:factory of your own"
    )


class Lanes:
    """Assigns the episodes of a fixed list to environments, which it alone resets; one that finishes takes the next."""

    def __init__(self, vector: VectorSplit, starts: Sequence[Start]) -> None:
        if vector.autoreset != "disabled":
            raise SettingError(f"a list of episodes needs autoreset 'disabled', got {vector.autoreset!r}")
        self._vector, self._starts = vector, starts
        self._n_begun = self._n_waited = 0
        self.episode = np.full(vector.n_envs, -1)
        """The episode that each environment plays, −1 where the list has run out."""
        self.begin_next(np.ones(vector.n_envs, bool))

    @property
    def running(self) -> NDArray[np.bool_]:
        """Which environments have a running episode."""
        return self.episode >= 0

    def begin_next(self, ended: NDArray[np.bool_]) -> None:
        """Give every environment of the mask the next episode of the list; call this after every step."""
        self._n_waited = 0 if ended.any() else self._n_waited + 1
        if self._n_waited > PATIENCE:
            raise endless(self._vector.env_id)
        for lane in np.flatnonzero(ended):
            if self._n_begun < len(self._starts):
                self.episode[lane] = self._n_begun
                self._vector.begin(int(lane), self._starts[self._n_begun])
                self._n_begun += 1
            else:
                self.episode[lane] = -1


def random_prefix(
    actions: int | ActionSpace, rng: np.random.Generator, between: tuple[int, int], share: float = 1.0
) -> tuple[Any, ...]:
    """Draw random actions, their number uniform in `between`, both ends included; with probability 1 − `share` none."""
    if share < 1.0 and rng.random() >= share:
        return ()
    low, high = between
    return tuple(as_space(actions).samples(rng, int(rng.integers(low, high + 1))))


def random_starts(
    seeds: Sequence[int],
    actions: int | ActionSpace,
    rng: np.random.Generator,
    *,
    prefix: tuple[int, int] = (0, 0),
    share: float = 1.0,
) -> list[Start]:
    """Return one start per seed, about a `share` of them with a `random_prefix` of a length in `prefix`."""
    low, high = prefix
    if not 0 <= low <= high:
        raise SettingError(f"a prefix range needs 0 <= low <= high, got {low}:{high}")
    return [Start(seed, random_prefix(actions, rng, prefix, share)) for seed in seeds]


def endless_starts(
    actions: int | ActionSpace, seed: int, rng: np.random.Generator, prefix: tuple[int, int]
) -> Iterator[Start]:
    """Yield the starts of one run without end; the first has the seed.

    With prefixes every later one draws its own seed, so that seed and prefix decide the episode; without them the
    environment's own generator goes on.
    """
    own: int | None = seed
    while True:
        yield Start(own, random_prefix(actions, rng, prefix) if prefix[1] else ())
        own = int(rng.integers(2**31)) if prefix[1] else None
