"""Made-up experience."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from phr.experience.trajectory import Experience, Trajectory


def trajectory(
    rewards: Sequence[float],
    *,
    terminated: bool = True,
    truncated: bool = False,
    is_success: bool | None = None,
    first: int = 0,
    n_actions: int = 3,
) -> Trajectory:
    """One episode; its observations count upwards from `first`, so each tells where it came from."""
    length = len(rewards)
    numbers = np.arange(first, first + length)
    return Trajectory(
        obs=np.stack([numbers, -numbers], axis=1).astype(np.float32),
        actions=numbers % n_actions,
        teacher_logits=np.sin(numbers[:, None] + np.arange(n_actions)).astype(np.float32),
        rewards=np.array(rewards, np.float32),
        terminated=terminated,
        truncated=truncated,
        is_success=is_success,
    )


def experience(*trajectories: Trajectory) -> Experience:
    """Episodes of one made-up environment."""
    return Experience("made-up", trajectories)
