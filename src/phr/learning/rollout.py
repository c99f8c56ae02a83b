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
from phr.envs.training_vector import TrainingVector, make_training_vector
from phr.seeding import Streams, rng_from_state, rng_state

RECENT_EPISODES = 200
"""Finished episodes that the running averages cover."""


@dataclass(frozen=True)
class Rollout:
    """A slice of n_steps × n_envs.

    Attributes:
        obs: What was seen, and what came after the last step; shape `(n_steps + 1, n_envs, *observation_shape)`.
        logits: What head 1 answered, shape `(n_steps · n_envs, n_actions)`, step by step.
        values: What the value head answered, shape `(n_steps · n_envs,)`.
        actions: int64, shape `(n_steps, n_envs)`.
        rewards: float32, scaled, shape `(n_steps, n_envs)`.
        terminated: Shape `(n_steps, n_envs)`.
        truncated: Shape `(n_steps, n_envs)`.
        final_obs: (step, environment) → last observation of an episode that was truncated there.
    """

    obs: Tensor
    logits: Tensor
    values: Tensor
    actions: Tensor
    rewards: Tensor
    terminated: Tensor
    truncated: Tensor
    final_obs: dict[tuple[int, int], NDArray[Any]]

    def following_obs(self) -> Tensor:
        """What the slice ran into: the observations after its last step, then the final ones of truncated episodes."""
        if not self.final_obs:
            return self.obs[-1]
        return torch.cat([self.obs[-1], torch.from_numpy(np.stack(list(self.final_obs.values())))])

    def next_values(self, following: Tensor) -> Tensor:
        """The value of the state that each step reached, given those of `following_obs()`; shape `(n_steps, n_envs)`."""
        n_steps, n_envs = self.rewards.shape
        reached = torch.cat([self.values.detach()[n_envs:], following[:n_envs]]).view(n_steps, n_envs)
        for value, (step, env) in zip(following[n_envs:], self.final_obs, strict=True):
            reached[step, env] = value
        return reached


Act = Callable[[Tensor], tuple[Tensor, Tensor]]
"""Observations of all environments → logits of head 1 and state values."""


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

        self.vector: TrainingVector = make_training_vector(
            make,
            n_envs,
            seeds=lambda env, episode: streams.integer("train-env", env, episode),
            prefixes=prefix_of if prefix[1] else None,
        )
        self.recent: deque[tuple[float, int]] = deque(maxlen=RECENT_EPISODES)
        self._n_steps, self._reward_scale = n_steps, reward_scale
        self._rng = streams.rng("train-actions")
        self._begun = False
        self._returns, self._lengths = np.zeros(n_envs), np.zeros(n_envs, np.int64)
        space = self.vector.observation_space
        self._obs = np.zeros((n_steps + 1, n_envs, *space.shape), space.dtype)

    def collect(self, act: Act) -> Rollout:
        """Sample the next slice.

        Args:
            act: Called once a step.
        """
        if not self._begun:
            self.vector.reset()
            self._begun = True
        shape = (self._n_steps, self.vector.n_envs)
        actions, rewards = np.zeros(shape, np.int64), np.zeros(shape, np.float32)
        terminated, truncated = np.zeros(shape, bool), np.zeros(shape, bool)
        final_obs: dict[tuple[int, int], NDArray[Any]] = {}
        answers: list[tuple[Tensor, Tensor]] = []
        noise = self._rng.gumbel(size=(*shape, self.vector.n_actions)).astype(np.float32)
        for t in range(self._n_steps):
            answers.append(act(torch.from_numpy(self.vector.observe(out=self._obs[t]))))
            actions[t] = (answers[t][0].numpy() + noise[t]).argmax(-1)  # the Gumbel-max trick: a sample of the softmax
            step = self.vector.advance(actions[t])
            rewards[t], terminated[t], truncated[t] = step.rewards, step.terminated, step.truncated
            final_obs |= {(t, env): last for env, last in step.final_obs.items()}
            self._count_episodes(step.rewards, step.done)
        logits, values = (torch.cat(parts) for parts in zip(*answers, strict=True))
        self.vector.observe(out=self._obs[-1])
        return Rollout(
            obs=torch.from_numpy(self._obs),
            logits=logits,
            values=values,
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
        """Where environments and sampling stand, as JSON values."""
        return {
            "vector": self.vector.state() if self._begun else None,
            "rng": rng_state(self._rng),
            "recent": list(self.recent),
            "returns": self._returns.tolist(),
            "lengths": self._lengths.tolist(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go back to where `state` was taken; where the environments cannot be saved, to new episodes in all of them.

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
            if not self.vector.exact_resume:
                self._returns[:] = self._lengths[:] = 0
