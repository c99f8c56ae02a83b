"""What a student has to beat: its teacher's action repeated, a small network; and one number over all n.

Nothing here is certified: baselines play the episodes that calibrate, after everything else.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from phr.actions import action_space_of
from phr.errors import InvalidDataError
from phr.evaluation.certify import Numbers
from phr.plan import Memory, NetworkPlan, Plan, Planner, ask, memory_of, remembers

FREQUENCIES = (1, 4, 8, 16)
"""The n over which a frequency-averaged score is taken, as far as a horizon allows."""


class GreedyRepeat:
    """Plans the most likely first action of another planner, `horizon` times: action repeat, frame skip."""

    def __init__(self, planner: Planner, horizon: int) -> None:
        self._planner, self.horizon = planner, horizon
        self.n_actions, self.action_space = planner.n_actions, action_space_of(planner)

    def plan(self, obs: NDArray[Any]) -> NetworkPlan:
        """That action for each observation, planned with certainty."""
        return self._repeated(ask(self._planner, obs))

    def _repeated(self, plan: Plan) -> NetworkPlan:
        return self.action_space.certain(np.repeat(plan.mode()[:, :1], self.horizon, axis=1))

    @property
    def remembers(self) -> bool:
        """Whether the other planner does."""
        return remembers(self._planner)

    def memory(self, n: int) -> Memory:
        """Return the other planner's memory, which sees the observations of the looks alone."""
        return _RepeatMemory(self, memory_of(self._planner, n))


class _RepeatMemory(Memory):
    def __init__(self, planner: GreedyRepeat, inner: Memory) -> None:
        super().__init__(planner)
        self._repeat, self._inner = planner, inner

    def plan(self, obs: NDArray[Any], lanes: NDArray[Any]) -> NetworkPlan:
        return self._repeat._repeated(self._inner.plan(obs, lanes))

    def forget(self, lanes: NDArray[Any]) -> None:
        self._inner.forget(lanes)


@dataclass(frozen=True, kw_only=True)
class Baseline:
    """What a simpler policy kept of the teacher's return in the calibration episodes; never tested, never certified.

    Attributes:
        name: What it is, in words.
        n: Actions for each look.
        is_repeat: Whether it repeats the teacher's action; otherwise it is another network.
        looks_per_step: Evaluations over steps.
        looks_per_episode: Mean number of evaluations in an episode.
        share: As a candidate's.
        time_saved: The teacher's policy time per step over this one's; None where not measured.
    """

    name: str
    n: int
    is_repeat: bool
    looks_per_step: float
    looks_per_episode: float
    return_mean: float
    share: float | None
    episodes: int
    time_saved: float | None


@dataclass(frozen=True, kw_only=True)
class Budget:
    """The best that was observed with at most `looks` looks an episode, on average; not certified.

    Attributes:
        rule: The candidate that kept the most, and the `share` that it kept.
        repeat: The action repeat that kept the most, and the `repeat_share` that it kept; None if none looks so seldom
            (a share is also None where it is unknown).
    """

    looks: int
    rule: str
    share: float | None
    return_mean: float
    repeat: str | None
    repeat_share: float | None


Play = Callable[[str, Planner, int, int], Numbers]
"""Name, planner, actions per look, episodes → return, length and evaluations of each, from the calibration's starts."""


def play_repeats(
    teacher: Planner,
    lengths: Sequence[int],
    play: Play,
    counts: tuple[int, int],
    has_hope: Callable[[Numbers], bool],
    *,
    until: float = math.inf,
) -> dict[int, Numbers]:
    """Repeat the teacher's action n times, for every n; return what the episodes gave, `(episodes, 3)`, by n.

    Every n plays `counts[0]` episodes, and `counts[1]` if these leave hope. After `until`, by `time.perf_counter`, no
    other n is begun.
    """
    played = dict[int, Numbers]()
    for n in lengths:
        if played and time.perf_counter() > until:
            break
        planner = teacher if n == 1 else GreedyRepeat(teacher, n)
        name = "teacher" if n == 1 else f"repeat {n}"
        played[n] = play(name, planner, n, counts[0])
        if has_hope(played[n][:, 0]):
            played[n] = play(name, planner, n, counts[1])
    return dict(sorted(played.items()))


def frequency_averaged_score(returns: Mapping[int, float], *, random_return: float, teacher_return: float) -> float:
    """Mean over n of the mean return at n, on a scale where random play is 0 and the teacher 1.

    Source: FAS, after SRL (ICLR 2025), over n instead of decision rates.
    """
    if not returns:
        raise InvalidDataError("a frequency-averaged score needs the return of at least one n")
    span = teacher_return - random_return
    if span <= 0:
        raise InvalidDataError(f"the teacher's return {teacher_return:.4g} is not above random play's {random_return:.4g}")
    return float(np.mean([(value - random_return) / span for value in returns.values()]))
