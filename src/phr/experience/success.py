"""Which episodes are worth learning from, and why."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from phr.errors import NoSuccessError, SettingError
from phr.experience.trajectory import Experience


@dataclass(frozen=True)
class Selection:
    """A choice among trajectories.

    Attributes:
        keep: One entry per trajectory.
        is_success: Whether `keep` means success; False where it is a mere ranking by return, or no filter at all.
        reason: One sentence for the user.
    """

    keep: NDArray[np.bool_]
    is_success: bool
    reason: str


def select_successful(experience: Experience, *, quantile: float = 0.0) -> Selection:
    """Choose the episodes to learn from.

    In this order: `info["is_success"]` where the environment gives it; a positive last reward at termination, the paper's
    criterion, where some rewards are not positive; else the best episodes by return, or all of them.

    Args:
        experience: What the teacher did.
        quantile: Where success means nothing, episodes below this quantile of returns are dropped; 0 keeps all.

    Raises:
        NoSuccessError: If success can be told and no episode was one.
        SettingError: If the quantile is outside [0, 1).
    """
    if not 0.0 <= quantile < 1.0:
        raise SettingError(f"a quantile lies in [0, 1), got {quantile}")
    trajectories = experience.trajectories
    if all(t.is_success is not None for t in trajectories):
        keep = np.array([bool(t.is_success) for t in trajectories])
        return _checked(keep, "the environment's is_success")
    rewards = experience.joined("rewards")
    terminated = np.array([t.terminated for t in trajectories])
    if last_reward_tells_success(float(rewards.min()), float(rewards.max()), any_terminated=bool(terminated.any())):
        last = np.array([t.rewards[-1] for t in trajectories])
        return _checked(terminated & (last > 0), "terminated with a positive last reward")
    returns = np.array([t.episode_return for t in trajectories])
    keep = returns >= np.quantile(returns, quantile)
    what = f"the best {1 - quantile:.0%} by return" if quantile > 0 else "all"
    return Selection(
        keep, False, f"kept {keep.sum()} of {len(keep)} episodes: {what}; the last reward does not tell success here"
    )


def last_reward_tells_success(lowest: float, highest: float, *, any_terminated: bool) -> bool:
    """Whether "terminated with a positive last reward" separates good episodes from bad ones.

    It does not where every reward is positive (CartPole), where rewards are costs (Acrobot), and where positive rewards come
    along without any episode ever ending by itself (HalfCheetah).

    Args:
        lowest: Smallest reward of any step.
        highest: Largest reward of any step.
        any_terminated: Whether some episode ended by itself.
    """
    if lowest > 0 or (highest <= 0 and lowest < 0):
        return False
    return any_terminated or highest <= 0


def _checked(keep: NDArray[np.bool_], criterion: str) -> Selection:
    if not keep.any():
        raise NoSuccessError(
            f"none of {len(keep)} episodes was a success ({criterion}); train the teacher longer, or choose another"
        )
    return Selection(keep, True, f"kept {keep.sum()} of {len(keep)} episodes: {criterion}")
