"""MiniGrid's missions as one-hot codes of their words."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
from numpy.typing import NDArray

from phr.errors import UnsupportedEnvironmentError


def mission_codes(space: Any, env_id: str) -> dict[str, NDArray[np.uint8]]:
    """Return every mission of a MissionSpace with the one-hot codes of its placeholders, joined.

    MiniGrid is not imported: it may not be installed, and the space itself has all that is needed.

    Returns:
        Mission → code, shape `(number of words,)`; empty where the mission never changes, because it carries no
        information there.

    Raises:
        UnsupportedEnvironmentError: If the missions follow a grammar that cannot be enumerated (BabyAI).
    """
    kind = type(space)
    if (kind.__module__, kind.__qualname__) != ("minigrid.core.mission", "MissionSpace"):
        raise UnsupportedEnvironmentError(
            f"{env_id}: its missions follow a grammar that phr cannot enumerate; only MiniGrid's own MissionSpace is read"
        )
    if not space.ordered_placeholders:
        return {}
    codes = {}
    for choice in itertools.product(*(range(len(words)) for words in space.ordered_placeholders)):
        words = [options[index] for options, index in zip(space.ordered_placeholders, choice, strict=True)]
        parts = [
            np.eye(len(options), dtype=np.uint8)[i] for options, i in zip(space.ordered_placeholders, choice, strict=True)
        ]
        codes[space.mission_func(*words)] = np.concatenate(parts)
    return codes
