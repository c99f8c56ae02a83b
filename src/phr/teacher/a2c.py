"""Algorithm 1, stage 1: advantage actor-critic (A2C) trains the teacher, head 1 and the value head.

Stage 2 follows in `phr.distil.windows`, `phr.distil.losses` and `phr.distil.phr`.

Source: Mnih et al. 2016 (arXiv:1602.01783), synchronous; as in Wagner et al. 2021, Algorithm 1.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from phr.envs.split import SplitEnv
from phr.errors import NonFiniteError, UnsupportedEnvironmentError
from phr.networks.policy import PlanNetwork, build_network
from phr.networks.trunks import Precision, TrunkConfig, compute_dtype
from phr.progress import Progress
from phr.seeding import Streams
from phr.settings import Count, Fraction, FractionBelowOne, NotNegative, Positive, check_settings, no_type_check
from phr.storage.tensors import network_tensors, optimizer_tensors, restore_network, restore_optimizer
from phr.teacher.rollout import BestBy, GreedyTest, Rollout, RolloutCollector
from phr.teacher.tape import FlatParameters, Tape


@no_type_check
@dataclass(frozen=True, kw_only=True)
class A2CConfig:
    """Settings of stage 1, by Stable-Baselines3's names."""

    total_timesteps: Count = 1_000_000
    """Environment steps to train for."""
    n_envs: Count = 16
    """Environments stepped side by side."""
    n_steps: Count = 8
    """Steps of each environment between two updates."""
    learning_rate: Positive = 1e-3
    """At the start of training; falls linearly."""
    learning_rate_end: NotNegative = 0.1
    """Fraction of the learning rate that is left at the end."""
    warmup: FractionBelowOne = 0.0
    """Fraction of the updates over which the rate first rises. RMSprop's first steps are ten times as long as later ones,
    because its averages begin at zero; trained weights do not survive that."""
    gamma: Fraction = 0.99
    """Discount per step."""
    gae_lambda: Fraction = 0.95
    """0: one-step errors; 1: Monte-Carlo returns."""
    ent_coef: NotNegative = 0.01
    """Weight of the entropy bonus at the start of training; falls linearly."""
    ent_coef_end: NotNegative = 0.1
    """Fraction of the entropy bonus that is left at the end."""
    vf_coef: NotNegative = 0.5
    """Weight of the value loss."""
    max_grad_norm: Positive = 0.5
    """Gradients are scaled down to this norm."""
    optimizer: Literal["rmsprop", "adam"] = "rmsprop"
    """RMSprop (α = 0.99) as in the paper's time, or Adam."""
    optimizer_eps: Positive = 1e-8
    """Added to the optimizer's denominator. Sparse rewards make tiny gradients; a large value would drown them."""
    reward_scale: Positive = 1.0
    """Rewards are multiplied by this before the losses see them; sparse rewards need it to outweigh the entropy bonus."""
    prefix: tuple[int, int] = (0, 0)
    """Fewest and most random, uncounted actions before each training episode. They keep every part of the world visited, so
    that the first way found is not the only one ever tried."""
    n_evaluations: Count = 10
    """Greedy evaluations over the second half of training; the weights of the best one are the teacher."""
    eval_episodes: Count = 200
    """Episodes of each."""
    best_by: BestBy = "return"
    """Score of the best evaluation: `return`, or `return_per_step` for games that are always won, sooner or later."""
    trunk: TrunkConfig = field(default_factory=lambda: TrunkConfig(kind="grid"))
    """Layers of the network."""
    precision: Precision = "auto"
    """What layers compute in; `auto` is bfloat16 for convolutions where the CPU multiplies it natively, else float32.
    Weights and losses stay float32."""
    seed: int = 0
    """Fixes weights, environments and sampling."""

    def __post_init__(self) -> None:
        check_settings(self)

    @property
    def rollout_size(self) -> int:
        """Environment steps of one update."""
        return self.n_envs * self.n_steps

    @property
    def n_updates(self) -> int:
        """Updates of the whole training."""
        return -(-self.total_timesteps // self.rollout_size)

    @property
    def evaluation_updates(self) -> frozenset[int]:
        """The updates after which the greedy policy is evaluated; the last is always one of them."""
        return frozenset(int(u) for u in np.linspace(self.n_updates / 2, self.n_updates, self.n_evaluations + 1)[1:])


def make_collector(make: Callable[[], SplitEnv], config: A2CConfig) -> RolloutCollector:
    """Return the environments that rollouts come from."""
    return RolloutCollector(
        make,
        n_envs=config.n_envs,
        n_steps=config.n_steps,
        reward_scale=config.reward_scale,
        prefix=config.prefix,
        streams=Streams(config.seed),
    )


def recent_episodes(averages: dict[str, float]) -> str:
    """Return `RolloutCollector.averages` as text; empty before the first episode has ended."""
    return f"return {averages['episode_return']:.3f}, length {averages['episode_length']:.1f}" if averages else ""


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
    """Return A_t = Σ_k (γλ)^k δ_{t+k}, the weighted sums of temporal-difference errors, in units of reward.

    A terminated step has no future; a truncated one was cut off, so it bootstraps from the value of the state it reached.
    No advantage flows across the end of an episode.

    Args:
        rewards: r_t.
        values: V(s_t).
        next_values: V of the state that step t reached, before any automatic reset.
        terminated: The step ended its episode for good.
        truncated: The step's episode was cut off by a limit.
        gamma: Discount per step, in [0, 1].
        gae_lambda: 0 gives one-step errors, 1 gives Monte-Carlo returns minus the baseline.

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
    """Return policy loss, value loss and entropy of one rollout, each a mean over its steps.

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


def rollout_loss(
    rollout: Rollout, logits: Tensor, values: Tensor, following: Tensor, config: A2CConfig, ent_coef: float
) -> tuple[Tensor, dict[str, float]]:
    """Return the loss of one rollout, L = L_policy + vf_coef · L_value − ent_coef · entropy, and its parts.

    Args:
        rollout: Steps of the present weights.
        logits: Output of head 1 at the rollout's observations, with a gradient; shape `(n_steps · n_envs, n_actions)`.
        values: Output of the value head, with a gradient; shape `(n_steps · n_envs,)`.
        following: The values of `rollout.following_obs()`.
        config: Settings.
        ent_coef: The present weight of the entropy bonus.
    """
    baseline = rollout.values.detach()
    advantages = gae_advantages(
        rollout.rewards,
        baseline.view_as(rollout.rewards),
        rollout.next_values(following),
        rollout.terminated,
        rollout.truncated,
        gamma=config.gamma,
        gae_lambda=config.gae_lambda,
    ).flatten()
    policy_loss, value_loss, entropy = a2c_losses(
        logits, values, rollout.actions.flatten(), advantages, advantages + baseline
    )
    loss = policy_loss + config.vf_coef * value_loss - ent_coef * entropy
    return loss, {"loss/policy": policy_loss.item(), "loss/value": value_loss.item(), "entropy": entropy.item()}


def _check_one_more(make: Callable[[], SplitEnv], n_envs: int, env_id: str) -> None:
    """Open and close the first environment of the greedy tests, so that no training is lost where it cannot be opened."""
    try:
        make().close()
    except Exception as error:  # whatever the simulator raises
        raise UnsupportedEnvironmentError(
            f"{env_id}: training needs n_envs={n_envs} environments and one for tests open side by side, and the last could "
            f"not be opened ({error}); lower n_envs"
        ) from error


class A2C:
    """A training in progress; `update` advances it by one rollout.

    Args:
        make: Makes one environment.
        config: Settings.
        network: Trained further instead of a fresh one; its heads beyond the first are left as they are.

    Raises:
        IncompatibleModelError: If the network has layers or actions that stage 1 cannot train.
        UnsupportedEnvironmentError: If not enough environments can be open side by side.
    """

    def __init__(self, make: Callable[[], SplitEnv], config: A2CConfig, *, network: PlanNetwork | None = None) -> None:
        self.config = config
        self.n_updates = 0
        self._evaluation_updates = config.evaluation_updates
        streams = Streams(config.seed)
        self.collector = make_collector(make, config)
        with ExitStack() as opened:
            opened.callback(self.collector.close)
            _check_one_more(make, config.n_envs, self.collector.env_id)
            weights_seed = streams.integer("teacher-weights")
            space, n_actions = self.collector.observation_space, self.collector.n_actions
            self.network = network or build_network(space, n_actions, 1, config.trunk, seed=weights_seed)
            self.greedy = GreedyTest(make, self.network, config.eval_episodes, streams, best_by=config.best_by)
            opened.callback(self.greedy.close)
            self._flat = FlatParameters(self.network)
            self._tape = Tape(
                self.network, compute_dtype(config.precision, convolutions=self.network.config.trunk.kind != "mlp")
            )
            self.optimizer = self._make_optimizer()
            self._opened = opened.pop_all()

    def close(self) -> None:
        """Close all environments, those of the greedy tests included."""
        self._opened.close()

    def _make_optimizer(self) -> torch.optim.Optimizer:
        rate, eps = self.config.learning_rate, self.config.optimizer_eps
        if self.config.optimizer == "adam":
            return torch.optim.Adam([self._flat.vector], rate, eps=eps)
        return torch.optim.RMSprop([self._flat.vector], rate, alpha=0.99, eps=eps)

    @property
    def timesteps(self) -> int:
        """Environment steps taken so far."""
        return self.n_updates * self.config.rollout_size

    @property
    def done(self) -> bool:
        """Whether the training has reached its end."""
        return self.n_updates >= self.config.n_updates

    def progress(self) -> Progress:
        """Return the timesteps taken so far, and the recent returns."""
        total = self.config.n_updates * self.config.rollout_size
        return Progress("training the teacher", self.timesteps, total, "timesteps", recent_episodes(self.averages()))

    def _annealed(self, start: float, end_fraction: float) -> float:
        return start * (1.0 - (1.0 - end_fraction) * self.n_updates / self.config.n_updates)

    @property
    def learning_rate(self) -> float:
        """The rate of the next step."""
        rising = self.config.warmup * self.config.n_updates
        rate = self._annealed(self.config.learning_rate, self.config.learning_rate_end)
        return rate if self.n_updates + 1 >= rising else rate * (self.n_updates + 1) / rising

    def update(self) -> dict[str, float]:
        """Collect one rollout, take one gradient step, and evaluate the greedy policy where it is due.

        Returns:
            The losses and the gradient norm; the greedy return where it was measured.

        Raises:
            NonFiniteError: If the loss or the gradient is not finite; the parameters are left as they were.
        """
        metrics = self.learn(self.collector.collect(self.act))
        if self.n_updates in self._evaluation_updates:
            metrics["greedy_return"] = self.greedy.run()
        return metrics

    def act(self, obs: Tensor) -> tuple[Tensor, Tensor]:
        """Return logits of head 1 and state values, and keep what `learn` needs."""
        return self._tape.forward(obs)

    def averages(self) -> dict[str, float]:
        """Return mean return and length of recent training episodes."""
        return self.collector.averages()

    def learn(self, rollout: Rollout) -> dict[str, float]:
        """Take one gradient step from a rollout of the present weights; return and raise as `update` does."""
        logits, values = rollout.logits.requires_grad_(), rollout.values.requires_grad_()
        _, following = self._tape.forward(rollout.following_obs(), record=False)
        ent_coef = self._annealed(self.config.ent_coef, self.config.ent_coef_end)
        loss, parts = rollout_loss(rollout, logits, values, following, self.config, ent_coef)
        self._flat.gradient.zero_()
        self._tape.backward(*torch.autograd.grad(loss, (logits, values)))
        return parts | {"grad_norm": self._step(loss.item())}

    def _step(self, loss: float) -> float:
        norm = self._flat.clip_gradient(self.config.max_grad_norm)
        if not np.isfinite(norm) or not np.isfinite(loss):
            raise NonFiniteError(f"loss {loss:.3g}, gradient norm {norm:.3g} at step {self.timesteps}; lower learning_rate")
        for group in self.optimizer.param_groups:
            group["lr"] = self.learning_rate
        self.optimizer.step()
        self._tape.refresh()
        self.n_updates += 1
        return norm

    def checkpoint(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Return all that `restore` needs to continue, bit for bit where the environments can be replayed."""
        tensors = network_tensors(self.network) | optimizer_tensors(self.optimizer)
        best, greedy = self.greedy.checkpoint()
        return tensors | best, {"n_updates": self.n_updates, "collector": self.collector.state(), **greedy}

    def restore(self, tensors: dict[str, Tensor], state: dict[str, Any]) -> None:
        """Go back to where `checkpoint` was taken; `IncompatibleModelError` for another network's checkpoint."""
        restore_network(self.network, tensors)
        self._tape.refresh()
        restore_optimizer(self.optimizer, tensors)
        self.greedy.restore(tensors, state)
        self.n_updates = state["n_updates"]
        self.collector.restore(state["collector"])
