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
from phr.envs.vector import Autoreset, Start, VectorSplit
from phr.experience.success import episode_success, said_success
from phr.protocols import Planner


@dataclass(frozen=True)
class Episodes:
    """Outcomes of whole episodes, one entry each, in the order of their seeds.

    Attributes:
        returns: Sums of rewards, float64.
        lengths: Steps.
        evaluations: Looks.
        success: Whether it was one (see `episode_success`).
        actions: What was executed, one array of the episode's length each.
    """

    returns: NDArray[np.float64]
    lengths: NDArray[np.int64]
    evaluations: NDArray[np.int64]
    success: NDArray[np.bool_]
    actions: tuple[NDArray[Any], ...]


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
    success = np.zeros(n, bool)
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
        returns[playing] += step.rewards[running]
        lengths[playing] += 1
        for lane in np.flatnonzero(ended).tolist():
            said, last = said_success(step.infos[lane]), float(step.rewards[lane])
            success[lanes.episode[lane]] = episode_success(said, terminated=bool(step.terminated[lane]), last_reward=last)
        agent.reset(ended)
        lanes.begin_next(ended)
    return Episodes(returns, lengths, looks, success, tuple(np.array(taken, vector.action_space.dtype) for taken in actions))


def make_vector(env_id: str, n_envs: int) -> VectorSplit:
    """New environments for playing lists of episodes."""
    return VectorSplit([make_env(env_id) for _ in range(n_envs)], Autoreset.DISABLED)
