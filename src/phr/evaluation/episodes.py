"""Whole episodes, many environments at once: the untimed way to learn what a policy achieves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from phr.acting.agent import VectorHorizonAgent
from phr.acting.commitment import Commitment, CommitmentLike
from phr.actions import one_by_one
from phr.envs.lanes import Lanes
from phr.envs.registry import make_env
from phr.envs.split import SeedSchedule
from phr.envs.vector import Autoreset, PrefixSchedule, Remarks, Start, VectorSplit
from phr.experience.success import count_successes, judge_episodes, reported_success
from phr.protocols import Planner


@dataclass(frozen=True, eq=False)
class Episodes:
    """Outcomes of whole episodes, one entry each, in the order of their seeds.

    Attributes:
        returns: Sums of rewards, float64.
        lengths: Steps.
        evaluations: Looks.
        success: Whether each was a success; None where that is unknown (see `judge_episodes`).
        actions: What was executed, one array of the episode's length each.
    """

    returns: NDArray[np.float64]
    lengths: NDArray[np.int64]
    evaluations: NDArray[np.int64]
    success: tuple[bool | None, ...]
    actions: tuple[NDArray[Any], ...]

    @property
    def n_successes(self) -> int | None:
        """How many were successes; None where it is unknown of any of them."""
        return count_successes(self.success)


def play_episodes(
    planner: Planner,
    vector: VectorSplit,
    starts: Sequence[Start],
    *,
    commitment: CommitmentLike | Commitment | None = None,
) -> Episodes:
    """Play one greedy episode from each start.

    Args:
        planner: Who acts.
        vector: Environments to play in; their autoreset must be `DISABLED`.
        starts: One episode each; every one is played to its end and counted.
        commitment: Actions executed per look.

    Returns:
        Outcomes in the order of `starts`.
    """
    n = len(starts)
    agent = VectorHorizonAgent(planner, commitment, n_envs=vector.n_envs)
    returns, lengths, looks = np.zeros(n), np.zeros(n, np.int64), np.zeros(n, np.int64)
    last_rewards, terminated = np.zeros(n), np.zeros(n, bool)
    reported: list[bool | None] = [None] * n
    low, high = float("inf"), float("-inf")
    actions: list[list[Any]] = [[] for _ in starts]
    lanes = Lanes(vector, starts)
    while (running := lanes.running).any():
        looking = agent.needs_observation & running
        obs = vector.observe(looking) if looking.any() else None
        looks[lanes.episode[looking]] += 1
        chosen = agent.act(obs, running)
        step = vector.advance(chosen, running)
        playing, ended = lanes.episode[running], step.done
        for episode, action in zip(playing.tolist(), one_by_one(chosen[running]), strict=True):
            actions[episode].append(action)
        rewards = step.rewards[running]
        low, high = min(low, float(rewards.min())), max(high, float(rewards.max()))
        returns[playing] += rewards
        lengths[playing] += 1
        for lane in np.flatnonzero(ended).tolist():
            episode, ends, last = lanes.episode[lane], bool(step.terminated[lane]), float(step.rewards[lane])
            terminated[episode], last_rewards[episode] = ends, last
            reported[episode] = reported_success(vector.envs[lane], step.infos[lane], terminated=ends, last_reward=last)
        agent.reset(ended)
        lanes.begin_next(ended)
    judged = judge_episodes(
        reported,
        terminated=terminated.tolist(),
        last_rewards=last_rewards.tolist(),
        returns=returns,
        reward_range=(low, high),
    )
    executed = tuple(np.array(taken, vector.action_space.dtype) for taken in actions)
    return Episodes(returns, lengths, looks, judged.success, executed)


def make_vector(
    env_id: str,
    n_envs: int,
    seeds: SeedSchedule = lambda _i, _k: None,
    prefixes: PrefixSchedule = lambda _i, _k: (),
    remarks: Remarks | None = None,
) -> VectorSplit:
    """Open environments for playing episodes side by side, `n_envs` or as many as can be open at once (`VectorSplit.open`).

    Args:
        env_id: Where.
        n_envs: How many are wanted.
        seeds: As for `VectorSplit`, like what follows.
        prefixes: As for `VectorSplit`.
        remarks: As for `VectorSplit`.
    """
    return VectorSplit.open(lambda: make_env(env_id), n_envs, Autoreset.DISABLED, seeds, prefixes, remarks)
