"""The mathematics of stage 1: advantages and the losses of A2C, as pure functions."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
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


def a2c_losses(
    action_logits: Float[Tensor, "batch n_actions"],
    values: Float[Tensor, " batch"],
    actions: Int[Tensor, " batch"],
    advantages: Float[Tensor, " batch"],
    returns: Float[Tensor, " batch"],
) -> tuple[Float[Tensor, ""], Float[Tensor, ""], Float[Tensor, ""]]:
    """Policy loss, value loss and entropy of one rollout, each a mean over its steps.

    Args:
        action_logits: Unnormalised log-probabilities of head 1.
        values: V(s_t).
        actions: The actions taken.
        advantages: Their advantages, treated as constants.
        returns: Value targets, treated as constants.

    Returns:
        −E[log π(a_t|s_t) A_t], E[(V(s_t) − R_t)²] and the mean entropy in nats.

    Source:
        Mnih et al. 2016 (arXiv:1602.01783), as in Wagner et al. 2021, Eq. 4-5 and Algorithm 1 (stage 1).
    """
    log_probs = action_logits.log_softmax(-1)
    chosen = log_probs.gather(-1, actions.unsqueeze(-1)).squeeze(-1)
    policy_loss = -(chosen * advantages).mean()
    value_loss = F.mse_loss(values, returns)
    entropy = -(log_probs.exp() * log_probs).sum(-1).mean()
    return policy_loss, value_loss, entropy
