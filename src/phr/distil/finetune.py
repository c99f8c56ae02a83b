"""Training on return: a plan is one action of a semi-Markov process, and PPO makes the plans that collect more likelier.

Imitation is not always the best plan: the teacher looks at every step and may rely on it. Here the student samples a plan,
executes all of it and collects its return. The plan's log-probability is the sum over its executed heads, the next state
counts γ^k for k executed steps, and the plan loss on the teacher's windows keeps the student near its teacher.

Sources:
    plans as actions: options over a semi-Markov process, Sutton, Precup & Singh 1999 (Artificial Intelligence 112);
    the clipped objective: PPO, Schulman et al. 2017 (arXiv:1707.06347), Eq. 7.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from typing import Annotated, Any, TypedDict

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, Shaped
from msgspec import Meta
from numpy.typing import NDArray
from torch import Tensor, nn

from phr.actions import ActionSpace, Continuous, MultiDiscrete
from phr.distil.config import SIDE_BY_SIDE
from phr.distil.phr import PHR
from phr.envs.vector import Remarks, Start, VectorSplit
from phr.errors import InvalidDataError, NonFiniteError
from phr.evaluation.episodes import make_vector, play_episodes
from phr.files import AtLeastZero, as_kind
from phr.networks.policy import Links, PlanNetwork, TorchPlanner, blank_network
from phr.progress import Progress
from phr.seeding import Streams, rng_from_state, rng_state
from phr.storage.tensors import network_tensors, optimizer_tensors, restore_network, restore_optimizer
from phr.teacher.a2c import gae_advantages

TEMPERATURE = 0.5
"""Logits are divided by it before plans are sampled. The smoothed labels of distillation leave 5 % and more to other
actions, so few plans of sixteen steps would be the student's own; where it is unsure, the plans still differ."""
SPREAD = 0.03
"""Standard deviation of sampled continuous actions in half ranges, where the student outputs none: under more of it policies
that balance fall, and nothing else is learnt."""
GAE_LAMBDA = 0.95
CLIP = 0.2
"""A plan's probability ratio counts from 1 − CLIP to 1 + CLIP."""
N_EPOCHS, BATCH_SIZE = 10, 64
LEARNING_RATE, CRITIC_LEARNING_RATE = 3e-4, 1e-3
"""At the start; both fall linearly to zero."""
NUMBERS_RATE = 5e-5
"""Instead of `LEARNING_RATE` where actions are numbers sampled with `SPREAD`: the same step moves narrow plans further."""
N_TURNS = 8
"""Plans of each environment between two updates."""
N_TESTS, TEST_EPISODES = 10, 64
"""Greedy tests after the first, and episodes of each."""
FRESH_EPISODES, CLEARLY = 128, 2.0
"""Episodes that compare the best weights with the distilled ones at the end; their mean difference counts as positive from
so many standard errors."""


def step_log_probs(
    outputs: Float[Tensor, "batch horizon n"], actions: Shaped[Tensor, "batch horizon *action"], space: ActionSpace
) -> Float[Tensor, "batch horizon"]:
    """Return the log-probability of each step's sampled action; of flat continuous ones the density per half range."""
    if isinstance(space, Continuous):
        means, spread = _gaussian(outputs, space)
        distance = (actions - means) / torch.from_numpy(space.bounds.unit)
        normal = -0.5 * (distance / spread).square() - spread.log() - 0.5 * math.log(2 * math.pi)
        return normal.sum(-1)
    if isinstance(space, MultiDiscrete):
        parts = zip(outputs.split(space.nvec, -1), actions.unbind(-1), strict=True)
        return torch.stack([_log_prob(logits, chosen) for logits, chosen in parts]).sum(0)
    return _log_prob(outputs, actions)


def _log_prob(logits: Tensor, chosen: Tensor) -> Tensor:
    return (logits / TEMPERATURE).log_softmax(-1).gather(-1, chosen.unsqueeze(-1)).squeeze(-1)


def _gaussian(outputs: Tensor, space: Continuous) -> tuple[Tensor, Tensor]:
    """Return means and, in half ranges, standard deviations."""
    means, log_spread = outputs[..., : space.n_outputs], outputs[..., space.n_outputs :]
    return means, log_spread.exp() if log_spread.shape[-1] else torch.full_like(means, SPREAD)


def plan_log_probs(
    outputs: Float[Tensor, "batch horizon n"],
    actions: Shaped[Tensor, "batch horizon *action"],
    lengths: Int[Tensor, " batch"],
    space: ActionSpace,
) -> Float[Tensor, " batch"]:
    """Return the log-probability of each plan: the sum over the `lengths` steps that were executed."""
    executed = torch.arange(outputs.shape[1]) < lengths.unsqueeze(-1)
    return torch.where(executed, step_log_probs(outputs, actions, space), 0.0).sum(-1)


def sample_plan(
    outputs: NDArray[np.float32], space: ActionSpace, rng: np.random.Generator, links: Links | None = None
) -> NDArray[Any]:
    """Draw an action for every step; continuous ones are flat and not yet cut off at the bounds.

    With `links`, a step is drawn after those before it.
    """
    if not isinstance(space, Continuous):  # by the Gumbel-max trick
        noisy = outputs + rng.gumbel(scale=TEMPERATURE, size=outputs.shape).astype(np.float32)
        return space.plan(noisy if links is None else links.quick()(noisy)).mode()
    means, spread = (part.numpy() for part in _gaussian(torch.from_numpy(outputs), space))
    sampled: NDArray[np.float32] = means + space.bounds.unit * spread * rng.normal(size=means.shape).astype(np.float32)
    return sampled


@dataclass(frozen=True, eq=False)
class Decisions:
    """Plans that were sampled and executed, until their end or the episode's; all fields are `(n_turns, n_envs, ...)`."""

    obs: Tensor
    actions: Tensor
    """As `sample_plan` drew them."""
    log_probs: Float[Tensor, "n_turns n_envs"]
    lengths: Int[Tensor, "n_turns n_envs"]
    """Steps executed, k."""
    rewards: Float[Tensor, "n_turns n_envs"]
    """Σ γ^i r_i over these steps."""
    terminated: Bool[Tensor, "n_turns n_envs"]
    truncated: Bool[Tensor, "n_turns n_envs"]
    reached: Tensor
    """Observations after the last step, before any reset; of a terminated episode that of the plan."""


def play_plans(
    act: Callable[[NDArray[Any]], Tensor],
    vector: VectorSplit,
    rng: np.random.Generator,
    *,
    n_turns: int,
    gamma: float,
    links: Links | None = None,
) -> Decisions:
    """Sample and execute `n_turns` whole plans in every environment; `act` returns what the student's heads do.

    Environments whose episode ends within a plan wait for the others, and begin a new one. At the end all are running.
    """
    space, turns = vector.action_space, []
    for _ in range(n_turns):
        obs = vector.observe()
        outputs = act(obs)
        actions = sample_plan(outputs.numpy(), space, rng, links)
        executed = space.certain(actions).mode() if isinstance(space, Continuous) else actions
        running, terminated, truncated = np.ones(vector.n_envs, bool), *np.zeros((2, vector.n_envs), bool)
        lengths, rewards = np.zeros(vector.n_envs, np.int64), np.zeros(vector.n_envs)
        for step in range(executed.shape[1]):
            result = vector.advance(executed[:, step], running, abandon_refused=True)
            lengths += running
            rewards += gamma**step * result.rewards
            terminated, truncated = terminated | result.terminated, truncated | result.truncated
            running &= ~result.done
            if not running.any():
                break
        reached = obs.copy()
        reached[~terminated] = vector.observe(~terminated)
        vector.reset(~running)
        arrays = (obs, actions, lengths, rewards.astype(np.float32), terminated, truncated, reached)
        seen, drawn, counted, *others = (torch.from_numpy(array) for array in arrays)
        outputs = outputs if links is None else links.following(outputs, drawn)
        turns.append((seen, drawn, plan_log_probs(outputs, drawn, counted, space), counted, *others))
    return Decisions(*(torch.stack(parts) for parts in zip(*turns, strict=True)))


class Finetuning:
    """A distillation, and training on return after it; `update` advances whichever is due.

    `tests` has the greedy mean returns of whole plans in the same episodes, that of the distilled student first. The best of
    several tests is partly luck, so its weights play fresh episodes at the end, as the distilled ones do. They are kept if
    they are clearly better there. The critic is a network of its own, which begins as the student: its errors move no plan.
    """

    def __init__(self, student: PHR, env_id: str, obs_dtype: Any, say: Callable[[str], None], remarks: Remarks) -> None:
        self.student, self.config = student, student.config
        self._env_id, self._obs_dtype, self._say, self._remarks = env_id, obs_dtype, say, remarks
        self.network, self._best, self._critic = (blank_network(student.network.config) for _ in range(3))
        links = [] if self.network.links is None else [self.network.links.weight]
        self._policy = [*self.network.trunk.parameters(), *self.network.plan_head.parameters(), *links]
        critic = [*self._critic.trunk.parameters(), *self._critic.value_head.parameters()]
        is_narrow = isinstance(student.space, Continuous) and self.config.loss == "squared"
        self._rates = (NUMBERS_RATE if is_narrow else LEARNING_RATE, CRITIC_LEARNING_RATE)
        self._in_nats = 0.5 / SPREAD**2 if is_narrow else 1.0
        """A squared distance times this is the divergence of two normal distributions with `SPREAD`."""
        groups = [{"params": part, "lr": rate} for part, rate in zip((self._policy, critic), self._rates, strict=True)]
        self.optimizer = torch.optim.Adam(groups)
        self._rng = Streams(self.config.seed).rng("finetune")
        self._vector: VectorSplit | None = None
        self._waiting: dict[str, Any] | None = None
        self.tests: list[float] = []
        self.fresh: list[float] = []
        """Mean returns of the distilled and of the best weights in fresh episodes, once they are played."""
        self.is_better = False
        """Whether the best weights are clearly better there, and therefore kept."""
        self.n_steps, self._n_done, self._scale = 0, 0, 0.0

    def close(self) -> None:
        """Close all environments."""
        self.student.close()
        if self._vector is not None:
            self._vector.close()
            self._vector = None

    @property
    def n_updates(self) -> int:
        """Updates of both parts."""
        return self.student.n_updates + self._n_done

    @property
    def done(self) -> bool:
        """Whether all environment steps are taken."""
        return self.student.done and bool(self.fresh)

    def progress(self) -> Progress:
        """Return the environment steps taken so far, and the greedy returns."""
        if not self.student.done:
            return self.student.progress()
        note = f"greedy return {self.tests[0]:.4g} before, {max(self.tests):.4g} at best" if self.tests else ""
        total = self.config.finetune
        return Progress("training on return", min(self.n_steps, total), total, "timesteps", note)

    def averages(self) -> dict[str, float]:
        """Return nothing: every row has all metrics."""
        return {}

    def update(self) -> dict[str, float]:
        """Advance the distillation; after it test the student, then play and learn, and test again where that is due."""
        if not self.student.done:
            return self.student.update()
        vector = self._vector = self._vector or self._open()
        self._n_done += 1
        if not self.tests:
            for network in (self.network, self._best, self._critic):
                network.load_state_dict(self.student.network.state_dict())
            for parameter in self._critic.value_head.parameters():
                nn.init.zeros_(parameter)
            return self._test(vector)
        with torch.no_grad():
            how: dict[str, Any] = {"n_turns": N_TURNS, "gamma": self.config.finetune_gamma, "links": self.network.links}
            played = play_plans(lambda obs: self._heads(torch.from_numpy(obs)), vector, self._rng, **how)
        metrics = self._learn(played)
        self.n_steps += int(played.lengths.sum())
        if self.n_steps >= min(1.0, len(self.tests) / N_TESTS) * self.config.finetune:
            metrics |= self._test(vector)
        if self.n_steps >= self.config.finetune:
            self._compare(vector)
        return metrics

    def _open(self) -> VectorSplit:
        """Open the environments; their episodes begin as those of an agent, without random actions."""
        seeds = partial(Streams(self.config.seed).integer, "finetune-env")
        vector = make_vector(self._env_id, self.config.n_envs or SIDE_BY_SIDE, seeds, remarks=self._remarks)
        waiting, self._waiting = self._waiting, None
        if waiting is None:
            vector.reset()
            return vector
        _return_to(vector, waiting["episodes"])
        if _seen(vector) != waiting["sha256"]:
            self._say(
                f"training on return: playing the running episodes again led to other states; {self._env_id} is not "
                "determined by its seed, so this run does not continue exactly"
            )
        return vector

    def _heads(self, obs: Tensor) -> Tensor:
        with self.student.computing():
            outputs: Tensor = self.network.heads(obs)
        return outputs.float()

    def _values(self, obs: Tensor) -> Tensor:
        with self.student.computing():
            values: Tensor = self._critic.value_head(self._critic.trunk(obs))
        return values.float().squeeze(-1)

    def _learn(self, played: Decisions) -> dict[str, float]:
        """Take `N_EPOCHS` epochs of PPO steps on the plans; return the mean losses.

        Rewards are divided by the root mean square of the first returns, so that one rate fits every environment.
        """
        ends, gamma = (played.terminated, played.truncated), self.config.finetune_gamma**played.lengths
        if not self._scale:
            zeros = torch.zeros_like(played.rewards)
            first = gae_advantages(played.rewards, zeros, zeros, *ends, gamma=gamma, gae_lambda=1.0)
            self._scale = float(first.square().mean().sqrt()) or 1.0
        obs, reached, actions = (part.flatten(0, 1) for part in (played.obs, played.reached, played.actions))
        lengths, before = played.lengths.flatten(), played.log_probs.flatten()
        with torch.no_grad():
            values, following = (self._values(part).view_as(played.rewards) for part in (obs, reached))
        rewards = played.rewards / self._scale
        advantages = gae_advantages(rewards, values, following, *ends, gamma=gamma, gae_lambda=GAE_LAMBDA).flatten()
        returns = advantages + values.flatten()
        advantages = (advantages - advantages.mean()) / (advantages.std() + 1e-8)
        losses = []
        for _ in range(N_EPOCHS):
            for rows in torch.from_numpy(self._rng.permutation(len(obs))).split(BATCH_SIZE):
                outputs = self.network.following(self._heads(obs[rows]), actions[rows])
                log_probs = plan_log_probs(outputs, actions[rows], lengths[rows], self.student.space)
                policy_loss = clipped_loss(log_probs, before[rows], advantages[rows])
                value_loss = nn.functional.mse_loss(self._values(obs[rows]), returns[rows])
                plan_loss = self._in_nats * self.student.loss(self.network)
                self._step(policy_loss + self.config.finetune_weight * plan_loss + value_loss)
                losses.append((policy_loss.item(), value_loss.item(), plan_loss.item()))
        names = ("finetune/policy_loss", "finetune/value_loss", "finetune/plan_loss")
        return dict(zip(names, np.mean(losses, axis=0).tolist(), strict=True))

    def _step(self, loss: Tensor) -> None:
        """Take one gradient step; `NonFiniteError` if the loss or the gradient is not finite."""
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        norm = nn.utils.clip_grad_norm_(self._policy, self.config.max_grad_norm)
        if not (torch.isfinite(norm) and torch.isfinite(loss)):
            at = f"after {self.n_steps:,} steps of training on return"
            raise NonFiniteError(f"loss {loss.item():.3g}, gradient norm {norm:.3g} {at}; leave finetune out")
        left = 1 - self.n_steps / self.config.finetune
        for group, rate in zip(self.optimizer.param_groups, self._rates, strict=True):
            group["lr"] = rate * left
        self.optimizer.step()

    def _test(self, vector: VectorSplit) -> dict[str, float]:
        """Measure the greedy return, and keep the weights if none were as good."""
        mean = float(self._play(self.network, vector, "finetune-test", TEST_EPISODES).mean())
        if mean > max(self.tests, default=-np.inf):
            self._best.load_state_dict(self.network.state_dict())
        self.tests.append(mean)
        return {"greedy_return": mean}

    def _compare(self, vector: VectorSplit) -> None:
        """Play the distilled and the best weights from the same fresh starts; keep the best if they are clearly better."""
        networks = (self.student.network, self._best)
        before, after = (self._play(network, vector, "finetune-fresh", FRESH_EPISODES) for network in networks)
        self.fresh = [float(before.mean()), float(after.mean())]
        gain = after - before
        self.is_better = bool(gain.mean() > CLEARLY * gain.std(ddof=1) / math.sqrt(len(gain)))
        if not self.is_better:
            self._best.load_state_dict(self.student.network.state_dict())

    def _play(self, network: PlanNetwork, vector: VectorSplit, name: str, n: int) -> NDArray[np.float64]:
        """Return the returns of greedy whole plans from n starts of this name; the running episodes continue afterwards."""
        episodes, streams = vector.state(), Streams(self.config.seed)
        starts = [Start(streams.integer(name, index)) for index in range(n)]
        returns = play_episodes(TorchPlanner(network, self._obs_dtype), vector, starts).returns
        network.train()
        _return_to(vector, episodes)
        return returns

    def finish(self) -> PHR:
        """Return the distillation, its network with the weights that are kept."""
        self.student.network.load_state_dict(self._best.state_dict())
        before, after = self.fresh
        kept = "" if self.is_better else "; that is not clearly more, so the distilled student is kept"
        self._say(f"training on return: greedy return {before:.4g} before, {after:.4g} after, fresh episodes{kept}")
        return self.student

    def report(self) -> dict[str, Any]:
        """Return the greedy returns of the distilled and of the kept weights in fresh episodes, for a model's notes."""
        returns = {"return_before": self.fresh[0], "return_after": self.fresh[self.is_better]}
        return {"timesteps": self.n_steps, "test_episodes": FRESH_EPISODES, **returns}

    def checkpoint(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Return all that `restore` needs to continue, bit for bit where the environments can be replayed."""
        tensors, state = self.student.checkpoint()
        if not self.tests:
            return tensors, {**state, "finetune": None}
        for name, network in self._networks():
            tensors |= network_tensors(network, name)
        tensors |= {f"finetune.{name}": value for name, value in optimizer_tensors(self.optimizer).items()}
        mine = {name: getattr(self, name) for name in _KEPT} | {"rng": rng_state(self._rng)}
        if self._vector is not None:
            mine |= {"episodes": self._vector.state(), "sha256": _seen(self._vector)}
        elif self._waiting is not None:  # resumed, and the rounds of refinement are still played again
            mine |= {"episodes": self._waiting["episodes"], "sha256": self._waiting["sha256"]}
        return tensors, {**state, "finetune": mine}

    def _networks(self) -> list[tuple[str, PlanNetwork]]:
        return [("finetune.network.", self.network), ("finetune.best.", self._best), ("finetune.critic.", self._critic)]

    def restore(self, tensors: dict[str, Tensor], state: dict[str, Any]) -> None:
        """Go back to where `checkpoint` was taken; the environments follow with the next update."""
        self.student.restore(tensors, state)
        if (mine := state["finetune"]) is None:
            return
        as_kind(mine, _Finetuned, "its state")
        for name, network in self._networks():
            restore_network(network, tensors, name)
        prefix = "finetune."
        its = {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
        restore_optimizer(self.optimizer, its, has_begun=mine["n_steps"] > 0)
        for name in _KEPT:
            setattr(self, name, mine[name])
        self._rng, self._waiting = rng_from_state(mine["rng"]), mine


class _Finetuned(TypedDict):
    """What training on return adds to the state in a checkpoint."""

    n_steps: AtLeastZero
    _n_done: AtLeastZero
    _scale: Annotated[float, Meta(ge=0)]
    tests: Annotated[list[float], Meta(min_length=1)]
    fresh: list[float]
    is_better: bool
    rng: dict[str, Any]
    episodes: list[dict[str, Any]]
    sha256: str


_KEPT = ("n_steps", "_n_done", "_scale", "tests", "fresh", "is_better")


def clipped_loss(
    log_probs: Float[Tensor, " batch"], before: Float[Tensor, " batch"], advantages: Float[Tensor, " batch"]
) -> Float[Tensor, ""]:
    """Return −E[min(ρ A, clip(ρ) A)], where ρ is the ratio of each plan's probability to that when it was sampled."""
    ratio = (log_probs - before).exp()
    return -torch.minimum(ratio * advantages, ratio.clamp(1 - CLIP, 1 + CLIP) * advantages).mean()


def _seen(vector: VectorSplit) -> str:
    return sha256(vector.observe().tobytes()).hexdigest()


def _return_to(vector: VectorSplit, episodes: list[dict[str, Any]]) -> None:
    """Replay the running episodes; where an environment does not repeat them, begin new ones."""
    try:
        vector.restore(episodes)
    except InvalidDataError:
        vector.reset()
