"""Success of episodes, in three values: yes, no, unknown (None). Which episodes are worth learning from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from phr.envs.split import SplitEnv
from phr.errors import BrokenEnvironmentError, NoSuccessError, SettingError
from phr.experience.trajectory import Experience
from phr.settings import shown

KeepWord = Literal["auto", "all", "successes"]
Keep = KeepWord | float
"""Which recorded episodes are kept. `auto`: the successes, or all of them where success is unknown. `all`. `successes`: an
error where success is unknown. A number q from 0 to 1: those whose return is not below the quantile q of all returns."""


def success_word(value: object, where: str) -> bool | None:
    """Read one value of `info["is_success"]`: True, False, 0 or 1 of any number type, or an array of one of these.

    Anything else means unknown: None, NaN, other numbers, text, masked values, what numpy cannot read. The message about
    several elements begins with `where`.
    """
    if isinstance(value, list | tuple) or hasattr(value, "__array__"):
        try:
            elements: NDArray[Any] = np.ma.filled(np.ma.asarray(value, object), None)
        except Exception:  # whatever an `__array__` raises: tensors with a gradient or on another device
            return None
        if elements.size > 1:
            found = f"{elements.size} elements; return a bool"
            raise BrokenEnvironmentError(f"{where}: info['is_success'] must be one value for the episode, got {found}")
        value = elements.item() if elements.size else None
    is_word = isinstance(value, Real | np.bool_) and value in (0, 1)
    return bool(value) if is_word else None


def reported_success(env: SplitEnv, info: Mapping[str, Any], *, terminated: bool, last_reward: float) -> bool | None:
    """Return what an environment reports about an episode that has ended; None where it reports nothing.

    The report is `info["is_success"]` of the last step, as in Stable-Baselines3; BrokenEnvironmentError if it contains more
    than one element. MiniGrid reports through its reward, which is positive at the goal and 0 for every other end.
    """
    word = success_word(info.get("is_success"), f"{env.env_id}: step()")
    if word is None and env.family == "grid" and last_reward >= 0:
        return terminated and last_reward > 0
    return word


@dataclass(frozen=True, eq=False)
class Judgement:
    """Which episodes of a set were successes, None where it is unknown; and how it is known, or why not."""

    success: tuple[bool | None, ...]
    reason: str

    @property
    def n_successes(self) -> int | None:
        """The number of successes; None if any is unknown."""
        return count_successes(self.success)


def count_successes(success: Sequence[bool | None]) -> int | None:
    """Return the number of successes; None if any is unknown."""
    return None if None in success else sum(map(bool, success))


def judge_episodes(
    reported: Sequence[bool | None],
    *,
    terminated: Sequence[bool],
    last_rewards: Sequence[float],
    returns: Sequence[float] | NDArray[Any],
    reward_range: tuple[float, float],
) -> Judgement:
    """Decide which episodes of a set were successes; `reward_range` is the least and the greatest reward of any step.

    The environment's report counts (`reported_success`). Without one, an episode was a success if it terminated with a
    positive last reward, the rule of Wagner et al. 2021 (arXiv:2106.10075), provided that this separates good episodes from
    bad ones. It does not where every reward is 0 or every reward is positive (CartPole), where rewards are costs (Acrobot),
    where no episode ends by itself (HalfCheetah), and where episodes end because something failed (`_against_the_rule`).
    """
    if None not in reported:
        return Judgement(tuple(reported), "successes as the environment reports them")
    each = zip(reported, terminated, last_rewards, strict=True)
    by_rule = tuple(ended and last > 0 if word is None else word for word, ended, last in each)
    against = _against_the_rule(np.array(by_rule, bool), np.array(terminated, bool), np.array(returns), reward_range)
    if against is None:
        return Judgement(by_rule, "terminated with a positive last reward")
    n, n_reported = len(reported), sum(word is not None for word in reported)
    words = f"for {n_reported:,} of {n:,} episodes only" if n_reported else "for none of its episodes"
    return Judgement(tuple(reported), f"the environment reports info['is_success'] {words}, and {against}")


def _against_the_rule(
    by_rule: NDArray[np.bool_], terminated: NDArray[np.bool_], returns: NDArray[Any], reward_range: tuple[float, float]
) -> str | None:
    """Return why a positive last reward at termination does not mean success in a set of episodes; None where it does.

    A walker that falls ends on a positive reward (Hopper, Walker2d); one that keeps going is truncated with a larger return.
    If none ended on a positive reward, a fall may have cost something (Ant): then all terminated episodes are compared with
    the truncated ones. Games that are played until they are lost (Breakout, Flappy Bird) have a positive mean return and no
    success.
    """
    low, high = reward_range
    if low == high == 0:
        return "every reward is 0"
    if high <= 0:
        return "no reward is positive"
    if low > 0:
        return "every reward is positive"
    if not terminated.any():
        return "no episode terminated, only limits ended them"
    ended = by_rule if by_rule.any() else terminated
    fails = not by_rule.any() and returns.mean() > 0
    if fails or (not ended.all() and returns[ended].mean() < returns[~ended].mean()):
        return "episodes seem to end by failing"
    return None


_FEW = 0.25
"""Part of the recorded episodes below which successes are few."""


@dataclass(frozen=True, eq=False)
class Selection:
    """A choice among trajectories, with one sentence for the user; `is_success`: the kept episodes are the successes."""

    keep: NDArray[np.bool_]
    is_success: bool
    reason: str

    def warning(self, keep: Keep) -> str | None:
        """The sentence where a student has learnt from other episodes than `keep` suggests: of failures, or of few."""
        if self.is_success and self.keep.mean() < _FEW:
            return f"{self.reason}; the teacher fails more often, so its student has little to learn from"
        return self.reason if keep == "auto" and not self.is_success else None


def check_keep(keep: object) -> None:
    """Raise SettingError unless `keep` is a word of `KeepWord` or a number from 0 to 1."""
    if isinstance(keep, str) and keep in get_args(KeepWord):
        return
    number: Any = keep  # compared as it is: a large one is no float
    if isinstance(keep, bool) or not isinstance(keep, Real) or not 0 <= number <= 1:
        words = ", ".join(map(repr, get_args(KeepWord)))
        raise SettingError(f"keep must be one of {words}, or a quantile of returns from 0 to 1; got {shown(keep)}")


def select_episodes(experience: Experience, keep: Keep = "auto") -> Selection:
    """Choose the episodes to learn from; NoSuccessError if successes are to be kept and no episode was one.

    SettingError if `keep` is not one of its values, or is `successes` and success is unknown.
    """
    check_keep(keep)
    trajectories, rewards = experience.trajectories, experience.joined("rewards")
    n, returns = len(trajectories), np.array([each.episode_return for each in trajectories])
    if keep == "all":
        return Selection(np.ones(n, bool), False, f"kept all {n:,} episodes, as asked (keep='all')")
    if not isinstance(keep, str):
        least = float(np.quantile(returns, keep))
        best, bound = returns >= least, f"returns of at least {least:.6g}, their quantile {keep:g}"
        return Selection(best, False, f"kept {best.sum():,} of {n:,} episodes: {bound}")
    judged = judge_episodes(
        [each.is_success for each in trajectories],
        terminated=[each.terminated for each in trajectories],
        last_rewards=[float(each.rewards[-1]) for each in trajectories],
        returns=returns,
        reward_range=(float(rewards.min()), float(rewards.max())),
    )
    if judged.n_successes is None:
        if keep == "successes":
            ways = "use keep='all' or a quantile of returns, or let the last step report info['is_success']"
            raise SettingError(f"keep='successes' needs to know which episodes were successes, and {judged.reason}; {ways}")
        return Selection(np.ones(n, bool), False, f"kept all {n:,} episodes, because success is unknown: {judged.reason}")
    if not judged.n_successes:
        ways = "train the teacher longer or choose another, or keep episodes whatever their outcome with keep='all'"
        raise NoSuccessError(f"none of {n:,} episodes was a success ({judged.reason}); {ways}")
    kept = np.array(judged.success, bool)
    return Selection(kept, True, f"kept {judged.n_successes:,} of {n:,} episodes: {judged.reason}")
