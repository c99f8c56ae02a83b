"""What success of an episode is, and which episodes are worth learning from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from phr.errors import NoSuccessError, SettingError
from phr.experience.trajectory import Experience


def said_success(info: Mapping[str, Any]) -> bool | None:
    """What the environment itself says of an episode in its last step's info; None where it says nothing."""
    return bool(info["is_success"]) if "is_success" in info else None


def episode_success(said: bool | None, *, terminated: bool, last_reward: float) -> bool:
    """Whether an episode was a success; recording, evaluation and drawn paths all ask here.

    Args:
        said: From `said_success`; where the environment gives its word, it counts, whatever the rewards were.
        terminated: The episode ended by itself rather than by a limit.
        last_reward: Reward of its last step.

    Returns:
        The environment's word, else whether it terminated with a positive last reward. Whether the latter means anything
        is another question, which takes many episodes: see `last_reward_tells_success`.

    Source:
        The rule without a word is that of Wagner et al. 2021 (arXiv:2106.10075).
    """
    return terminated and last_reward > 0 if said is None else said


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

    Successes (see `episode_success`), where the environment said so of every episode or the last reward tells; else the
    best episodes by return, or all of them.

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
    success = np.array(
        [episode_success(t.is_success, terminated=t.terminated, last_reward=float(t.rewards[-1])) for t in trajectories]
    )
    if all(t.is_success is not None for t in trajectories):
        return _checked(success, "the environment's is_success")
    returns = np.array([t.episode_return for t in trajectories])
    rewards, terminated = experience.joined("rewards"), np.array([t.terminated for t in trajectories])
    told = last_reward_tells_success(float(rewards.min()), float(rewards.max()), any_terminated=bool(terminated.any()))
    if told and not ending_is_failing(success, terminated, returns):
        return _checked(success, "terminated with a positive last reward")
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


def ending_is_failing(success: NDArray[np.bool_], terminated: NDArray[np.bool_], returns: NDArray[np.float64]) -> bool:
    """Whether episodes end by themselves because something failed, whatever they had collected before.

    A walker that falls ends so on a positive reward (Hopper, Walker2d), one that keeps going is cut off with more. Where
    none ended on a positive reward, a fall may have cost something (Ant), and all that ended by themselves are held against
    those that were cut off. Games that are played until they are lost (Breakout, Flappy Bird) know no other end: there the
    episodes pay more on the way than their end takes back.

    Args:
        success: What `episode_success` says without the environment's word.
        terminated: Whether the same episodes ended by themselves.
        returns: Of the same episodes.
    """
    if not success.any() and terminated.any() and returns.mean() > 0:
        return True
    ended = success if success.any() else terminated
    return bool(ended.any() and not ended.all() and returns[ended].mean() < returns[~ended].mean())


def _checked(keep: NDArray[np.bool_], criterion: str) -> Selection:
    if not keep.any():
        raise NoSuccessError(
            f"none of {len(keep)} episodes was a success ({criterion}); train the teacher longer, or choose another (or, "
            "where rewards tell nothing, let the environment say info['is_success'] in its last step)"
        )
    return Selection(keep, True, f"kept {keep.sum()} of {len(keep)} episodes: {criterion}")
