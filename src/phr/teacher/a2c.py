"""Algorithm 1, stage 1: advantage actor-critic (A2C) trains the teacher, head 1 and the value head.

Stage 2 follows in `phr.distil.windows`, `phr.distil.losses` and `phr.distil.phr`.

Source: Mnih et al. 2016 (arXiv:1602.01783), synchronous; as in Wagner et al. 2021, Algorithm 1.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from hashlib import sha256
from typing import Any, Literal, NotRequired, TypedDict

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from numpy.typing import NDArray
from torch import Tensor

from phr.envs.split import SplitEnv, TrainingVector
from phr.envs.vector import Remarks, Start, VectorSplit, make_training_vectors, random_prefix
from phr.errors import FOREIGN_ERRORS, InvalidDataError, NonFiniteError, UnsupportedEnvironmentError, first_line
from phr.evaluation.episodes import play_episodes
from phr.files import AtLeastOne, AtLeastZero, as_kind
from phr.networks.policy import PlanNetwork, TorchPlanner, blank_network, build_network
from phr.networks.trunks import Precision, TrunkConfig, compute_dtype
from phr.progress import Progress
from phr.seeding import Streams, rng_from_state, rng_state
from phr.settings import Count, Fraction, FractionBelowOne, NotNegative, Positive, check_settings, no_type_check
from phr.storage.tensors import network_tensors, optimizer_tensors, restore_network, restore_optimizer
from phr.teacher.tape import FlatParameters, Tape

BestBy = Literal["return", "return_per_step"]


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


def gae_advantages(
    rewards: Float[Tensor, "n_steps n_envs"],
    values: Float[Tensor, "n_steps n_envs"],
    next_values: Float[Tensor, "n_steps n_envs"],
    terminated: Bool[Tensor, "n_steps n_envs"],
    truncated: Bool[Tensor, "n_steps n_envs"],
    *,
    gamma: float | Float[Tensor, "n_steps n_envs"],
    gae_lambda: float,
) -> Float[Tensor, "n_steps n_envs"]:
    """Return A_t = Σ_k (γλ)^k δ_{t+k}, with δ_t = r_t + γ V(s_{t+1}) − V(s_t); `next_values` are from before any reset.

    A terminated step has no future; a truncated one was cut off, so it bootstraps from the value of the state it reached.
    No advantage flows across the end of an episode. Where a step is a plan of k actions, `gamma` is its γ^k.
    Source: Schulman et al. 2016 (arXiv:1506.02438), Eq. 16.
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
    """Return −E[log π(a_t|s_t) A_t], E[(V(s_t) − R_t)²] and the mean entropy in nats; A and R are constants.

    Source: Mnih et al. 2016, as in Wagner et al. 2021, Eq. 4-5 and Algorithm 1 (stage 1).
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

    `logits` and `values` are those of the rollout, with a gradient; `following` the values of `rollout.following_obs()`.
    """
    baseline = rollout.values.detach()
    seen = rollout.rewards, baseline.view_as(rollout.rewards), rollout.next_values(following)
    ends = rollout.terminated, rollout.truncated
    advantages = gae_advantages(*seen, *ends, gamma=config.gamma, gae_lambda=config.gae_lambda).flatten()
    returns = advantages + baseline
    policy_loss, value_loss, entropy = a2c_losses(logits, values, rollout.actions.flatten(), advantages, returns)
    loss = policy_loss + config.vf_coef * value_loss - ent_coef * entropy
    return loss, {"loss/policy": policy_loss.item(), "loss/value": value_loss.item(), "entropy": entropy.item()}


def _check_one_more(make: Callable[[], SplitEnv], n_envs: int, env_id: str) -> None:
    """Open and close the first environment of the greedy tests, so that no training is lost where it cannot be opened."""
    try:
        make().close()
    except FOREIGN_ERRORS as error:  # whatever the simulator raises
        raise UnsupportedEnvironmentError(
            f"{env_id}: training needs n_envs={n_envs} environments and one for tests open side by side, and the last could "
            f"not be opened ({first_line(error)}); lower n_envs"
        ) from error


class A2C:
    """A training in progress in environments from `make`; `update` advances it by one rollout.

    A `network` is trained further, instead of a fresh one; its heads beyond the first are left as they are.
    `IncompatibleModelError` if it has layers or actions that stage 1 cannot train; `UnsupportedEnvironmentError` if not
    enough environments can be open side by side.
    """

    def __init__(self, make: Callable[[], SplitEnv], config: A2CConfig, *, network: PlanNetwork | None = None) -> None:
        self.config = config
        self.n_updates = 0
        self._evaluation_updates = config.evaluation_updates
        self.collector = RolloutCollector(make, config)
        with ExitStack() as opened:
            opened.callback(self.collector.close)
            _check_one_more(make, config.n_envs, self.collector.vectors[0].env_id)
            seed = Streams(config.seed).integer("teacher-weights")
            space, n_actions = self.collector.observation_space, self.collector.n_actions
            self.network = network or build_network(space, n_actions, 1, config.trunk, seed=seed)
            self.greedy = GreedyTest(make, self.network, config)
            opened.callback(self.greedy.close)
            self._flat = FlatParameters(self.network)
            convolutions = self.network.config.trunk.kind != "mlp"
            self._tape = Tape(self.network, compute_dtype(config.precision, convolutions=convolutions))
            optimizer = torch.optim.Adam if config.optimizer == "adam" else partial(torch.optim.RMSprop, alpha=0.99)
            self.optimizer = optimizer([self._flat.vector], config.learning_rate, eps=config.optimizer_eps)
            self._opened = opened.pop_all()

    def close(self) -> None:
        """Close all environments, those of the greedy tests included."""
        self._opened.close()

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
        return Progress("training the teacher", self.timesteps, total, "timesteps", self.collector.note())

    def averages(self) -> dict[str, float]:
        """Return mean return and length of recent training episodes."""
        return self.collector.averages()

    def _annealed(self, start: float, end_fraction: float) -> float:
        return start * (1.0 - (1.0 - end_fraction) * self.n_updates / self.config.n_updates)

    @property
    def learning_rate(self) -> float:
        """The rate of the next step."""
        rising = self.config.warmup * self.config.n_updates
        rate = self._annealed(self.config.learning_rate, self.config.learning_rate_end)
        return rate if self.n_updates + 1 >= rising else rate * (self.n_updates + 1) / rising

    def update(self) -> dict[str, float]:
        """Collect one rollout and `learn` from it; where a greedy evaluation is due, also return its `greedy_return`."""
        metrics = self.learn(self.collector.collect(self.act))
        if self.n_updates in self._evaluation_updates:
            metrics["greedy_return"] = self.greedy.run()
        return metrics

    def act(self, obs: Tensor) -> tuple[Tensor, Tensor]:
        """Return logits of head 1 and state values, and keep what `learn` needs."""
        return self._tape.forward(obs)

    def learn(self, rollout: Rollout) -> dict[str, float]:
        """Take one gradient step from a rollout of the present weights; return the losses and the gradient norm.

        `NonFiniteError` if the loss or the gradient is not finite; the parameters are left as they were.
        """
        logits, values = rollout.logits.requires_grad_(), rollout.values.requires_grad_()
        _, following = self._tape.forward(rollout.following_obs(), record=False)
        ent_coef = self._annealed(self.config.ent_coef, self.config.ent_coef_end)
        loss, parts = rollout_loss(rollout, logits, values, following, self.config, ent_coef)
        self._flat.gradient.zero_()
        self._tape.backward(*torch.autograd.grad(loss, (logits, values)))
        norm = self._flat.clip_gradient(self.config.max_grad_norm)
        if not np.isfinite(norm) or not np.isfinite(loss.item()):
            raise NonFiniteError(
                f"loss {loss.item():.3g}, gradient norm {norm:.3g} at step {self.timesteps}; lower learning_rate"
            )
        self.optimizer.param_groups[0]["lr"] = self.learning_rate
        self.optimizer.step()
        self._tape.refresh()
        self.n_updates += 1
        return parts | {"grad_norm": norm}

    def checkpoint(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Return all that `restore` needs to continue, bit for bit where the environments can be replayed."""
        tensors = network_tensors(self.network) | optimizer_tensors(self.optimizer)
        best, greedy = self.greedy.checkpoint()
        return tensors | best, {"n_updates": self.n_updates, "collector": self.collector.state(), **greedy}

    def restore(self, tensors: dict[str, Tensor], state: dict[str, Any]) -> None:
        """Go back to where `checkpoint` was taken; `IncompatibleModelError` for another network's checkpoint."""
        restore_network(self.network, tensors)
        as_kind(state, _Trained, "its state")
        self._tape.refresh()
        restore_optimizer(self.optimizer, tensors, has_begun=state["n_updates"] > 0)
        self.greedy.restore(tensors, state)
        self.n_updates = state["n_updates"]
        self.collector.restore(state["collector"])


class _Trained(TypedDict):
    """The state of a training in its checkpoint."""

    n_updates: AtLeastZero
    best_return: float | None
    best_score: NotRequired[float]


class _Collected(TypedDict):
    """The state of a collector."""

    vector: list[dict[str, Any]] | None
    rng: dict[str, Any]
    recent: list[tuple[float, AtLeastOne]]
    returns: list[float]
    lengths: list[AtLeastZero]
    obs_sha256: NotRequired[str]


@dataclass(frozen=True, eq=False)
class Rollout:
    """A slice of experience; `logits` are step by step, of shape `(n_steps · n_envs, n_actions)`, and so are `values`."""

    obs: Tensor
    """Also those after the last step; shape `(n_steps + 1, n_envs, *observation_shape)`."""
    logits: Tensor
    values: Tensor
    actions: Tensor
    """int64, shape `(n_steps, n_envs)`; rewards and ends have the same shape."""
    rewards: Tensor
    """float32, scaled."""
    terminated: Tensor
    truncated: Tensor
    final_obs: dict[tuple[int, int], NDArray[Any]]
    """(step, environment) → last observation of an episode that was truncated there."""

    def following_obs(self) -> Tensor:
        """Return the observations after the last step, then the final ones of truncated episodes."""
        if not self.final_obs:
            return self.obs[-1]
        return torch.cat([self.obs[-1], torch.from_numpy(np.stack(list(self.final_obs.values())))])

    def next_values(self, following: Tensor) -> Tensor:
        """Return the values of the states that the steps reached, `(n_steps, n_envs)`, given those of `following_obs()`."""
        n_steps, n_envs = self.rewards.shape
        reached = torch.cat([self.values.detach()[n_envs:], following[:n_envs]]).view(n_steps, n_envs)
        for value, (step, env) in zip(following[n_envs:], self.final_obs, strict=True):
            reached[step, env] = value
        return reached


Act = Callable[[Tensor], tuple[Tensor, Tensor]]
"""Observations of several environments → logits of head 1 and state values."""


class RolloutCollector:
    """The training environments and their present state."""

    def __init__(self, make: Callable[[], SplitEnv], config: A2CConfig) -> None:
        streams = Streams(config.seed)
        seeds = partial(streams.integer, "train-env")

        def prefix_of(env: int, episode: int) -> Sequence[int]:
            return random_prefix(self.n_actions, streams.rng("train-prefix", env, episode), config.prefix)

        prefixes = prefix_of if config.prefix[1] else None
        self.vectors: list[TrainingVector] = make_training_vectors(make, config.n_envs, seeds=seeds, prefixes=prefixes)
        self.recent: deque[tuple[float, int]] = deque(maxlen=200)
        self._config, self._rng, self._begun = config, streams.rng("train-actions"), False
        self._returns, self._lengths = np.zeros(config.n_envs), np.zeros(config.n_envs, np.int64)
        self.n_actions, self.exact_resume = self.vectors[0].n_actions, self.vectors[0].exact_resume
        self.observation_space = space = self.vectors[0].observation_space
        ends = np.cumsum([vector.n_envs for vector in self.vectors]).tolist()
        self._spans = [slice(end - vector.n_envs, end) for vector, end in zip(self.vectors, ends, strict=True)]
        self._obs = np.zeros((config.n_steps + 1, config.n_envs, *space.shape), space.dtype)

    def collect(self, act: Act) -> Rollout:
        """Sample and return the next slice; `act` is called once a step for each group of environments, in order."""
        if not self._begun:
            for vector in self.vectors:
                vector.reset()
            self._begun = True
        n_steps, n_envs = self._config.n_steps, self._config.n_envs
        actions, rewards = np.zeros((n_steps, n_envs), np.int64), np.zeros((n_steps, n_envs), np.float32)
        terminated, truncated = np.zeros((n_steps, n_envs), bool), np.zeros((n_steps, n_envs), bool)
        final_obs: dict[tuple[int, int], NDArray[Any]] = {}
        answers: list[tuple[Tensor, Tensor]] = []
        noise = self._rng.gumbel(size=(n_steps, n_envs, self.n_actions)).astype(np.float32)
        groups = list(zip(self.vectors, self._spans, strict=True))

        def receive(vector: TrainingVector, span: slice, t: int) -> None:
            step = vector.receive()
            rewards[t, span], terminated[t, span], truncated[t, span] = step.rewards, step.terminated, step.truncated
            final_obs.update({(t, span.start + env): last for env, last in step.final_obs.items()})
            returns, lengths, done = self._returns[span], self._lengths[span], step.done
            returns += step.rewards
            lengths += 1
            self.recent.extend((float(returns[env]), int(lengths[env])) for env in np.flatnonzero(done))
            returns[done] = lengths[done] = 0

        for t in range(n_steps):
            for vector, span in groups:
                if t:  # meanwhile the other groups are on their way
                    receive(vector, span, t - 1)
                logits, values = act(torch.from_numpy(vector.observe(out=self._obs[t, span])))
                answers.append((logits, values))
                # The Gumbel-max trick: a sample of the softmax.
                actions[t, span] = (logits.numpy() + noise[t, span]).argmax(-1)
                vector.send(actions[t, span])
        for vector, span in groups:
            receive(vector, span, n_steps - 1)
            vector.observe(out=self._obs[-1, span])
        logits, values = (torch.cat(pieces) for pieces in zip(*answers, strict=True))
        scaled = torch.from_numpy(rewards * self._config.reward_scale)
        obs, taken, over, cut = (torch.from_numpy(array) for array in (self._obs, actions, terminated, truncated))
        return Rollout(obs, logits, values, taken, scaled, over, cut, dict(sorted(final_obs.items())))

    def averages(self) -> dict[str, float]:
        """Return mean return and length of recent episodes; nothing before the first has ended."""
        if not self.recent:
            return {}
        returns, lengths = zip(*self.recent, strict=True)
        return {"episode_return": float(np.mean(returns)), "episode_length": float(np.mean(lengths))}

    def note(self) -> str:
        """Return the averages as text."""
        found = self.averages()
        return f"return {found['episode_return']:.3f}, length {found['episode_length']:.1f}" if found else ""

    def state(self) -> dict[str, Any]:
        """Return the state of environments and sampling as JSON values, with a hash of observations that can be replayed."""
        return {
            "vector": [entry for vector in self.vectors for entry in vector.state()] if self._begun else None,
            "rng": rng_state(self._rng),
            "recent": list(self.recent),
            "returns": self._returns.tolist(),
            "lengths": self._lengths.tolist(),
            **({"obs_sha256": sha256(self.observe().tobytes()).hexdigest()} if self._begun and self.exact_resume else {}),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go back to `state`; what cannot be saved begins a new episode. `InvalidDataError` if a replay differs."""
        as_kind(state, _Collected, "its state")
        if not len(state["returns"]) == len(state["lengths"]) == len(self._lengths):
            raise ValueError(f"its state has {len(state['returns'])} environments, not {len(self._lengths)}")
        self._rng = rng_from_state(state["rng"])
        self.recent.clear()
        self.recent.extend((float(r), int(length)) for r, length in state["recent"])
        self._returns, self._lengths = np.array(state["returns"]), np.array(state["lengths"], np.int64)
        self._begun = state["vector"] is not None
        if self._begun:
            entries = iter(state["vector"])
            for vector in self.vectors:
                vector.restore(list(itertools.islice(entries, len(vector.state()))))
            if not self.exact_resume:
                self._returns[:] = self._lengths[:] = 0
        if "obs_sha256" in state and state["obs_sha256"] != sha256(self.observe().tobytes()).hexdigest():
            raise InvalidDataError(
                f"{self.vectors[0].env_id}: replaying the running episodes led to other observations: its seed does not "
                "determine it, and exact resuming is impossible"
            )

    def observe(self) -> NDArray[Any]:
        """Return the present observations of all environments."""
        return np.concatenate([vector.observe() for vector in self.vectors])

    def close(self) -> None:
        """Close the environments."""
        for vector in self.vectors:
            vector.close()


class GreedyTest:
    """Plays a network greedily in the same episodes each time, and keeps the weights of the best test as `best`.

    `best_return` and `best_score` (by `A2CConfig.best_by`) are those of that test, −∞ before the first.
    """

    def __init__(self, make: Callable[[], SplitEnv], network: PlanNetwork, config: A2CConfig) -> None:
        self._make, self._network, self._config = make, network, config
        self._vector: VectorSplit | None = None
        self.remarks = Remarks()
        self.best = blank_network(network.config)
        self.best.load_state_dict(network.state_dict())
        self.best_return = self.best_score = -np.inf

    def run(self) -> float:
        """Play a test, keep the present weights if none were better, and return their mean return."""
        n_episodes, streams = self._config.eval_episodes, Streams(self._config.seed)
        if self._vector is None:
            self._vector = VectorSplit.open(self._make, min(32, n_episodes), remarks=self.remarks)
        starts = [Start(streams.integer("eval-env", index)) for index in range(n_episodes)]
        planner = TorchPlanner(self._network, self._vector.observation_space.dtype)
        episodes = play_episodes(planner, self._vector, starts, commitment=1)
        self._network.train()
        mean = float(episodes.returns.mean())
        score = mean if self._config.best_by == "return" else float(episodes.returns.sum() / episodes.lengths.sum())
        if score >= self.best_score:
            self.best_return, self.best_score = mean, score
            self.best.load_state_dict(self._network.state_dict())
        return mean

    def close(self) -> None:
        """Close the environments of the tests."""
        if self._vector is not None:
            self._vector.close()
            self._vector = None

    def checkpoint(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Return all that `restore` needs."""
        tested = np.isfinite(self.best_score)
        state = {"best_return": self.best_return, "best_score": self.best_score} if tested else {"best_return": None}
        return network_tensors(self.best, "best."), state

    def restore(self, tensors: dict[str, Tensor], state: dict[str, Any]) -> None:
        """Go back to where `checkpoint` was taken; other entries are left alone."""
        restore_network(self.best, tensors, "best.")
        tested = state["best_return"] is not None
        self.best_return, self.best_score = (state["best_return"], state["best_score"]) if tested else (-np.inf, -np.inf)
