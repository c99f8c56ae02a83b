"""What training asks of many environments: `VectorSplit` gives it, and so does the native `AtariVector`."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from typing import Any, Protocol, runtime_checkable

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from phr.cores import available_cores
from phr.envs.split import SplitEnv, is_atari
from phr.envs.vector import Autoreset, PrefixSchedule, SeedSchedule, VectorSplit, VectorStep
from phr.errors import UsageError


@runtime_checkable
class TrainingVector(Protocol):
    """Environments that are stepped together.

    Attributes:
        env_id: The id they were made from.
        n_envs: How many there are.
        observation_space: Of one of them.
        n_actions: Actions are the integers 0 .. n_actions − 1.
        autoreset: What happens when an episode ends.
        exact_resume: Whether `restore` comes back to the very step at which `state` was taken.
    """

    env_id: str
    n_envs: int
    observation_space: spaces.Box
    n_actions: int
    autoreset: Autoreset
    exact_resume: bool

    def reset(self) -> None:
        """Start an episode in every environment."""
        ...

    def send(self, actions: NDArray[np.int64]) -> None:
        """Begin to move every environment by one action; `receive` before anything else is asked of them."""
        ...

    def receive(self) -> VectorStep:
        """What the actions sent last led to."""
        ...

    def observe(self, *, out: NDArray[Any] | None = None) -> NDArray[Any]:
        """Observations of all environments; written into `out` where given."""
        ...

    def state(self) -> list[dict[str, Any]]:
        """Where they stand, as JSON values."""
        ...

    def restore(self, state: list[dict[str, Any]]) -> None:
        """Go back to where `state` stood, as far as the environments can."""
        ...

    def close(self) -> None:
        """Release what they hold."""
        ...


def make_training_vectors(
    make: Callable[[], SplitEnv], n_envs: int, seeds: SeedSchedule, prefixes: PrefixSchedule | None = None
) -> list[TrainingVector]:
    """The fastest vectors for training in an environment; an ended episode starts again at once.

    Atari games are stepped by ale-py's own threads, and vary their starts by idle frames. Where there are two cores they
    come in two groups: while one is played the policy looks at the other. Any other environment, and a game that is asked
    for prefixes or for what the native emulators lack, is stepped one by one.

    Args:
        make: Makes one environment.
        n_envs: Environments stepped side by side.
        seeds: The seed of every episode.
        prefixes: Uncounted actions at the beginning of every episode.

    Returns:
        One or more; the environments are numbered through.

    Raises:
        InvalidDataError: If no environment is asked for.
        UnsupportedEnvironmentError: If one of them cannot be made; those before it are closed again.
    """
    with ExitStack() as opened:
        first = opened.enter_context(make())
        if prefixes is not None or not _is_native_atari(first):
            envs = [first, *(opened.enter_context(make()) for _ in range(n_envs - 1))]
            vector = VectorSplit(envs, Autoreset.SAME_STEP, seeds, prefixes or (lambda _env, _episode: ()))
            opened.pop_all()
            return [vector]
    from phr.envs.atari_vector import AtariVector

    cores = available_cores()
    n_groups = 2 if cores > 1 and n_envs > 1 else 1
    sizes = [n_envs // n_groups + (group < n_envs % n_groups) for group in range(n_groups)]
    return [
        AtariVector(
            first.env_id,
            size,
            Autoreset.SAME_STEP,
            _from(sum(sizes[:group]), seeds),
            n_threads=max(1, cores // n_groups),
        )
        for group, size in enumerate(sizes)
    ]


def _from(first: int, seeds: SeedSchedule) -> SeedSchedule:
    """The seeds of the environments from this one on."""
    return lambda env, episode: seeds(first + env, episode)


def _is_native_atari(env: SplitEnv) -> bool:
    """Whether the native vector plays this very game, as its id says it."""
    if not is_atari(env):
        return False
    from phr.envs.atari import AtariSplitEnv
    from phr.envs.registry import make_env

    if not isinstance(env, AtariSplitEnv) or not isinstance(env.settings.frame_skip, int):
        return False
    core: Any = env.gym_env.unwrapped
    if core._game_mode or core._game_difficulty:
        return False
    try:
        with make_env(env.env_id) as again:
            return isinstance(again, AtariSplitEnv) and (again.game, again.settings) == (env.game, env.settings)
    except UsageError:  # made by hand, and called by a name of its own
        return False
