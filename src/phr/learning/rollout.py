"""Acting for stage 1: fixed-size slices of experience from many environments."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from phr.envs.lanes import random_prefix
from phr.envs.split import SplitEnv
from phr.envs.vector import Autoreset, VectorSplit
from phr.networks.policy import PlanNetwork
from phr.seeding import Streams, rng_from_state, rng_state

RECENT_EPISODES = 200
"""Finished episodes that the running averages cover."""


@dataclass(frozen=True)
class Rollout:
    """A slice of n_steps × n_envs.

    Attributes:
        obs: What was seen, and what came after the last step; shape `(n_steps + 1, n_envs, *observation_shape)`.
        actions: int64, shape `(n_steps, n_envs)`.
        rewards: float32, scaled, shape `(n_steps, n_envs)`.
        terminated: Shape `(n_steps, n_envs)`.
        truncated: Shape `(n_steps, n_envs)`.
        final_obs: (step, environment) → last observation of an episode that was truncated there.
    """

    obs: Tensor
    actions: Tensor
    rewards: Tensor
    terminated: Tensor
    truncated: Tensor
    final_obs: dict[tuple[int, int], NDArray[Any]]

    def all_obs(self) -> Tensor:
        """Every observation once, in one batch: the slice step by step, then the final ones."""
        batch = self.obs.flatten(0, 1)
        if not self.final_obs:
            return batch
        return torch.cat([batch, torch.from_numpy(np.stack(list(self.final_obs.values())))])

    def next_values(self, values: Tensor) -> Tensor:
        """The value of the state that each step reached, from the values of `all_obs()`; shape `(n_steps, n_envs)`."""
        n_steps, n_envs = self.rewards.shape
        n_regular = (n_steps + 1) * n_envs
        following = values[n_envs:n_regular].view(n_steps, n_envs).clone()
        for value, (step, env) in zip(values[n_regular:], self.final_obs, strict=True):
            following[step, env] = value
        return following


class RolloutCollector:
    """Environments, and where they stand.

    Args:
        make: Makes one environment.
        n_envs: Environments stepped side by side.
        n_steps: Steps of each per slice.
        reward_scale: Rewards are multiplied by this.
        prefix: Fewest and most random, uncounted actions before each episode.
        streams: Where seeds and sampling come from.
    """

    def __init__(
        self,
        make: Callable[[], SplitEnv],
        *,
        n_envs: int,
        n_steps: int,
        reward_scale: float,
        prefix: tuple[int, int],
        streams: Streams,
    ) -> None:
        def prefix_of(env: int, episode: int) -> Sequence[int]:
            return random_prefix(self.vector.n_actions, streams.rng("train-prefix", env, episode), prefix)

        self.vector = VectorSplit(
            [make() for _ in range(n_envs)],
            Autoreset.SAME_STEP,
            seeds=lambda env, episode: streams.integer("train-env", env, episode),
            prefixes=prefix_of if prefix[1] else lambda _env, _episode: (),
        )
        self.recent: deque[tuple[float, int]] = deque(maxlen=RECENT_EPISODES)
        self._n_steps, self._reward_scale = n_steps, reward_scale
        self._rng = streams.rng("train-actions")
        self._begun = False
        self._returns, self._lengths = np.zeros(n_envs), np.zeros(n_envs, np.int64)
        space = self.vector.observation_space
        self._obs = np.zeros((n_steps + 1, n_envs, *space.shape), space.dtype)

    def collect(self, network: PlanNetwork) -> Rollout:
        """Sample the next slice with head 1 of the network."""
        if not self._begun:
            self.vector.reset()
            self._begun = True
        shape = self._obs.shape[:2]
        actions, rewards = np.zeros(shape, np.int64)[:-1], np.zeros(shape, np.float32)[:-1]
        terminated, truncated = np.zeros_like(actions, bool), np.zeros_like(actions, bool)
        final_obs: dict[tuple[int, int], NDArray[Any]] = {}
        self.vector.observe(out=self._obs[0])
        for t in range(self._n_steps):
            with torch.inference_mode():
                logits, _ = network.policy_and_value(torch.from_numpy(self._obs[t]))
            noise = self._rng.gumbel(size=logits.shape).astype(np.float32)
            actions[t] = (logits.numpy() + noise).argmax(-1)
            step = self.vector.advance(actions[t])
            rewards[t], terminated[t], truncated[t] = step.rewards, step.terminated, step.truncated
            final_obs |= {(t, env): last for env, last in step.final_obs.items()}
            self._count_episodes(step.rewards, step.done)
            self.vector.observe(out=self._obs[t + 1])
        return Rollout(
            obs=torch.from_numpy(self._obs),
            actions=torch.from_numpy(actions),
            rewards=torch.from_numpy(rewards * self._reward_scale),
            terminated=torch.from_numpy(terminated),
            truncated=torch.from_numpy(truncated),
            final_obs=final_obs,
        )

    def _count_episodes(self, rewards: NDArray[Any], done: NDArray[Any]) -> None:
        self._returns += rewards
        self._lengths += 1
        for env in np.flatnonzero(done):
            self.recent.append((float(self._returns[env]), int(self._lengths[env])))
        self._returns[done] = 0
        self._lengths[done] = 0

    def averages(self) -> dict[str, float]:
        """Mean return and length of the recently finished episodes; empty before the first has ended."""
        if not self.recent:
            return {}
        returns, lengths = zip(*self.recent, strict=True)
        return {"episode_return": float(np.mean(returns)), "episode_length": float(np.mean(lengths))}

    def state(self) -> dict[str, Any]:
        """Where environments and sampling stand, as JSON values; running episodes are kept as their actions."""
        return {
            "vector": self.vector.state() if self._begun else None,
            "rng": rng_state(self._rng),
            "recent": list(self.recent),
            "returns": self._returns.tolist(),
            "lengths": self._lengths.tolist(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go back to where `state` was taken.

        Raises:
            InvalidDataError: If an environment does not repeat its episode from its seed and actions.
        """
        self._rng = rng_from_state(state["rng"])
        self.recent.clear()
        self.recent.extend((float(r), int(length)) for r, length in state["recent"])
        self._returns, self._lengths = np.array(state["returns"]), np.array(state["lengths"], np.int64)
        self._begun = state["vector"] is not None
        if self._begun:
            self.vector.restore(state["vector"])
