"""Whole episodes, many environments at once: the untimed way to learn what a policy achieves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from phr.acting.agent import VectorHorizonAgent
from phr.acting.commitment import Commitment, CommitmentLike
from phr.envs.lanes import Lanes
from phr.envs.registry import make_env
from phr.envs.vector import Autoreset, Start, VectorSplit
from phr.protocols import Planner


@dataclass(frozen=True)
class Episodes:
    """Outcomes of whole episodes, one entry each, in the order of their seeds.

    Attributes:
        returns: Sums of rewards, float64.
        lengths: Steps.
        evaluations: Looks.
        terminated: The episode ended by itself rather than by a limit.
        last_rewards: Reward of the last step.
    """

    returns: NDArray[np.float64]
    lengths: NDArray[np.int64]
    evaluations: NDArray[np.int64]
    terminated: NDArray[np.bool_]
    last_rewards: NDArray[np.float32]

    @property
    def success(self) -> NDArray[np.bool_]:
        """Ended by itself with a positive last reward (the paper's criterion)."""
        return self.terminated & (self.last_rewards > 0)


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
    terminated, last = np.zeros(n, bool), np.zeros(n, np.float32)
    lanes = Lanes(vector, starts)
    while (running := lanes.running).any():
        looking = agent.needs_observation & running
        obs = vector.observe(looking) if looking.any() else None
        looks[lanes.episode[looking]] += 1
        step = vector.advance(agent.act(obs, running), running)
        playing, ended = lanes.episode[running], step.done
        returns[playing] += step.rewards[running]
        lengths[playing] += 1
        terminated[lanes.episode[ended]] = step.terminated[ended]
        last[lanes.episode[ended]] = step.rewards[ended]
        agent.reset(ended)
        lanes.begin_next(ended)
    return Episodes(returns, lengths, looks, terminated, last)


def make_vector(env_id: str, n_envs: int) -> VectorSplit:
    """New environments for playing lists of episodes."""
    return VectorSplit([make_env(env_id) for _ in range(n_envs)], Autoreset.DISABLED)
