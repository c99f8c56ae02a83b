"""Action noise in any environment: with a probability the world executes a random action instead of the one it was given."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from phr.envs.split import Advance, BareSimulator, SeedSchedule, SplitEnv, TrainingVector
from phr.errors import SettingError, UnsupportedEnvironmentError

OPTION = "action-noise"
"""`ID?action-noise=0.1`."""


class _Disturbed(SplitEnv):
    """What `disturb` puts before an environment's class: its methods, with other actions now and then."""

    _chance: np.random.Generator
    _probability: float

    def _executed(self, action: Any) -> Any:
        # Two draws in every step: what is drawn does not depend on what happened before.
        instead, draw = self.action_space.sample(self._chance), self._chance.random()
        return instead if draw < self._probability else action

    def _seed(self, seed: int | None) -> None:
        if seed is not None:
            self._chance = np.random.default_rng([seed, 1])

    def reset(self, seed: int | None = None) -> None:
        """Start an episode; a seed fixes the noise too."""
        self._seed(seed)
        super().reset(seed)  # type: ignore[safe-super]  # the environment's own class follows

    def advance(self, action: Any) -> Advance:
        """Move the world by this action or by a random one."""
        return super().advance(self._executed(action))  # type: ignore[safe-super]

    def reseed(self, seed: int) -> None:
        """Reseed chance, the noise too."""
        self._seed(seed)
        super().reseed(seed)

    def start_seeds(self) -> list[int] | None:
        """Return the seeds of the environment without noise; an error if chance acts after the start."""
        if self._probability > 0:
            why = f"{OPTION} makes every episode differ; evaluate episodes instead"
            raise UnsupportedEnvironmentError(f"{self.env_id}: {why}")
        return super().start_seeds()

    def bare(self) -> BareSimulator:
        """Return the simulator with the noise, which belongs to the world."""
        step, reset, observe = super().bare()

        def bare_reset(seed: int | None) -> None:
            self._seed(seed)
            reset(seed)

        return BareSimulator(lambda action: step(self._executed(action)), bare_reset, observe)

    def native_vectors(self, n_envs: int, seeds: SeedSchedule) -> Sequence[TrainingVector] | None:
        """Return nothing: those vectors know no noise."""
        return None


def disturb(env: SplitEnv, probability: str) -> SplitEnv:
    """Let an environment execute a random action with this probability, as an id states it; SettingError outside 0 .. 1."""
    try:
        value = float(probability)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise SettingError(f"{env.env_id}: {OPTION} must be a number from 0 to 1, got {probability!r}")
    kind = type(env)
    noisy: Any = env
    noisy.__class__ = type(f"Disturbed{kind.__name__}", (_Disturbed, kind), {})
    noisy._probability, noisy._chance = value, np.random.default_rng()
    return env
