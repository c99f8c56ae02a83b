"""Value targets of stage 1: generalised advantage estimation."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor


def gae_advantages(
    rewards: Float[Tensor, "n_steps n_envs"],
    values: Float[Tensor, "n_steps n_envs"],
    next_values: Float[Tensor, "n_steps n_envs"],
    terminated: Bool[Tensor, "n_steps n_envs"],
    truncated: Bool[Tensor, "n_steps n_envs"],
    *,
    gamma: float,
    gae_lambda: float,
) -> Float[Tensor, "n_steps n_envs"]:
    """Exponentially weighted sums of temporal-difference errors.

    A terminated step has no future; a truncated one was merely cut off, so it still bootstraps from the value of the state
    it reached. Neither lets an advantage flow across the episode's end.

    Args:
        rewards: r_t.
        values: V(s_t).
        next_values: V of the state that step t reached, before any automatic reset.
        terminated: The step ended its episode for good.
        truncated: The step's episode was cut off by a limit.
        gamma: Discount per step, in [0, 1].
        gae_lambda: 0 gives one-step errors, 1 gives Monte-Carlo returns minus the baseline.

    Returns:
        A_t = Σ_k (γλ)^k δ_{t+k}, in units of reward.

    Source:
        Schulman et al. 2016 (arXiv:1506.02438), Eq. 16.
    """
    deltas = rewards + gamma * next_values * ~terminated - values
    carries = gamma * gae_lambda * ~(terminated | truncated)
    advantages = torch.empty_like(deltas)
    running = torch.zeros_like(deltas[0])
    for step in range(len(deltas) - 1, -1, -1):
        running = deltas[step] + carries[step] * running
        advantages[step] = running
    return advantages
