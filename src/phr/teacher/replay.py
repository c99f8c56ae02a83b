"""Whether replaying running episodes brought every environment back to where it was.

Resuming plays the actions of a running episode again. An environment that its seed does not determine may play on without
an error and stand somewhere else; what it shows gives it away.
"""

from __future__ import annotations

import hashlib
from typing import Any

from phr.errors import InvalidDataError
from phr.teacher.rollout import RolloutCollector

_SEEN = "obs_sha256"


def collector_state(collector: RolloutCollector) -> dict[str, Any]:
    """The collector's state, with a hash of what its environments show if they can be brought back to it."""
    state = collector.state()
    if state["vector"] is None or not collector.exact_resume:
        return state
    return {**state, _SEEN: _obs_sha256(collector)}


def restore_collector(collector: RolloutCollector, state: dict[str, Any]) -> None:
    """Go back to where `collector_state` was taken.

    Raises:
        InvalidDataError: If the environments then show something else.
    """
    collector.restore(state)
    if _SEEN in state and state[_SEEN] != _obs_sha256(collector):
        raise InvalidDataError(
            f"{collector.env_id}: replaying the running episodes led to other observations: its seed does not "
            "determine it, and exact resuming is impossible"
        )


def _obs_sha256(collector: RolloutCollector) -> str:
    return hashlib.sha256(collector.observe().tobytes()).hexdigest()
