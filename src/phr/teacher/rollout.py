"""Acting for stage 1: slices of experience from many environments, and the greedy tests that choose the best weights."""

from __future__ import annotations

import hashlib
import itertools
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from phr.envs.split import SplitEnv, TrainingVector
from phr.envs.vector import Remarks, Start, VectorSplit, make_training_vectors, random_prefix
from phr.errors import InvalidDataError
from phr.evaluation.episodes import play_episodes
from phr.networks.policy import PlanNetwork, blank_network
from phr.networks.torch_planner import TorchPlanner
from phr.seeding import Streams, rng_from_state, rng_state

RECENT_EPISODES = 200
"""Finished episodes that the running averages cover."""


@dataclass(frozen=True, eq=False)
class Rollout:
    """A slice of experience.

    Attributes:
        obs: Observations, also the one after the last step; shape `(n_steps + 1, n_envs, *observation_shape)`.
        logits: Output of head 1, shape `(n_steps · n_envs, n_actions)`, step by step.
        values: Output of the value head, shape `(n_steps · n_envs,)`.
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


class _Taken:
    """A rollout of shape `(n_steps, n_envs)` in the making."""

    def __init__(self, shape: tuple[int, int]) -> None:
        self.actions, self.rewards = np.zeros(shape, np.int64), np.zeros(shape, np.float32)
        self.terminated, self.truncated = np.zeros(shape, bool), np.zeros(shape, bool)
        self.final_obs: dict[tuple[int, int], NDArray[Any]] = {}


class RolloutCollector:
    """The training environments and their present state.

    Args:
        make: Makes one environment.
        n_envs: As in `A2CConfig`; so are `n_steps`, `reward_scale` and `prefix`.
        streams: Source of seeds and sampling.
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
            return random_prefix(self.n_actions, streams.rng("train-prefix", env, episode), prefix)

        self.vectors: list[TrainingVector] = make_training_vectors(
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
        self.env_id, self.n_actions = self.vectors[0].env_id, self.vectors[0].n_actions
        self.observation_space = space = self.vectors[0].observation_space
        self.exact_resume = self.vectors[0].exact_resume
        ends = np.cumsum([vector.n_envs for vector in self.vectors]).tolist()
        self._spans = [slice(end - vector.n_envs, end) for vector, end in zip(self.vectors, ends, strict=True)]
        self._obs = np.zeros((n_steps + 1, n_envs, *space.shape), space.dtype)

    def collect(self, act: Act) -> Rollout:
        """Sample and return the next slice.

        Args:
            act: Called once a step for each group of environments, in order.
        """
        if not self._begun:
            for vector in self.vectors:
                vector.reset()
            self._begun = True
        shape = (self._n_steps, self._obs.shape[1])
        taken = _Taken(shape)
        answers: list[tuple[Tensor, Tensor]] = []
        noise = self._rng.gumbel(size=(*shape, self.n_actions)).astype(np.float32)
        parts = list(zip(self.vectors, self._spans, strict=True))
        for t in range(self._n_steps):
            for vector, span in parts:
                if t:  # meanwhile the other groups are on their way
                    self._receive(vector, span, t - 1, taken)
                logits, values = act(torch.from_numpy(vector.observe(out=self._obs[t, span])))
                answers.append((logits, values))
                # The Gumbel-max trick: a sample of the softmax.
                actions = taken.actions[t, span] = (logits.numpy() + noise[t, span]).argmax(-1)
                vector.send(actions)
        for vector, span in parts:
            self._receive(vector, span, self._n_steps - 1, taken)
            vector.observe(out=self._obs[-1, span])
        logits, values = (torch.cat(pieces) for pieces in zip(*answers, strict=True))
        return Rollout(
            obs=torch.from_numpy(self._obs),
            logits=logits,
            values=values,
            actions=torch.from_numpy(taken.actions),
            rewards=torch.from_numpy(taken.rewards * self._reward_scale),
            terminated=torch.from_numpy(taken.terminated),
            truncated=torch.from_numpy(taken.truncated),
            final_obs=dict(sorted(taken.final_obs.items())),
        )

    def _receive(self, vector: TrainingVector, span: slice, t: int, taken: _Taken) -> None:
        """Enter the results of step t of a group of environments."""
        step = vector.receive()
        taken.rewards[t, span], taken.terminated[t, span], taken.truncated[t, span] = (
            step.rewards, step.terminated, step.truncated,
        )  # fmt: skip
        taken.final_obs |= {(t, span.start + env): last for env, last in step.final_obs.items()}
        self._count_episodes(span, step.rewards, step.done)

    def _count_episodes(self, span: slice, rewards: NDArray[Any], done: NDArray[Any]) -> None:
        returns, lengths = self._returns[span], self._lengths[span]
        returns += rewards
        lengths += 1
        for env in np.flatnonzero(done):
            self.recent.append((float(returns[env]), int(lengths[env])))
        returns[done] = 0
        lengths[done] = 0

    def averages(self) -> dict[str, float]:
        """Return mean return and length of recent episodes; nothing before the first has ended."""
        if not self.recent:
            return {}
        returns, lengths = zip(*self.recent, strict=True)
        return {"episode_return": float(np.mean(returns)), "episode_length": float(np.mean(lengths))}

    def state(self) -> dict[str, Any]:
        """Return the state of environments and sampling as JSON values, with a hash of observations that can be replayed."""
        return {
            "vector": [entry for vector in self.vectors for entry in vector.state()] if self._begun else None,
            "rng": rng_state(self._rng),
            "recent": list(self.recent),
            "returns": self._returns.tolist(),
            "lengths": self._lengths.tolist(),
            **({"obs_sha256": self._obs_sha256()} if self._begun and self.exact_resume else {}),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go back to where `state` was taken; environments that cannot be saved begin new episodes.

        Raises:
            InvalidDataError: If an environment does not repeat its episode from its seed and actions.
        """
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
        if "obs_sha256" in state and state["obs_sha256"] != self._obs_sha256():
            raise InvalidDataError(
                f"{self.env_id}: replaying the running episodes led to other observations: its seed does not determine it, "
                "and exact resuming is impossible"
            )

    def _obs_sha256(self) -> str:
        return hashlib.sha256(self.observe().tobytes()).hexdigest()

    def observe(self) -> NDArray[Any]:
        """Return the present observations of all environments."""
        return np.concatenate([vector.observe() for vector in self.vectors])

    def close(self) -> None:
        """Close the environments."""
        for vector in self.vectors:
            vector.close()


BestBy = Literal["return", "return_per_step"]

_PREFIX = "best."


class GreedyTest:
    """Plays a network greedily in the same episodes each time, and keeps the best weights.

    Args:
        make: Makes one environment.
        network: The network; its weights at the start are the best until the first test.
        n_episodes: Episodes of a test.
        streams: Source of their seeds.
        best_by: The score that decides; returns per step are those of all episodes together.

    Attributes:
        best: The best weights so far.
        best_return: Their mean return; −∞ before the first test.
        best_score: Their score; −∞ before the first test.
        remarks: Counts of what did not go as asked.
    """

    def __init__(
        self,
        make: Callable[[], SplitEnv],
        network: PlanNetwork,
        n_episodes: int,
        streams: Streams,
        *,
        best_by: BestBy = "return",
    ) -> None:
        self._make, self._network, self._n_episodes, self._streams = make, network, n_episodes, streams
        self._best_by = best_by
        self._vector: VectorSplit | None = None
        self.remarks = Remarks()
        self.best: dict[str, Tensor] = {}
        self.best_return = self.best_score = -np.inf
        self._keep()

    def _keep(self) -> None:
        self.best = {name: value.clone() for name, value in self._network.state_dict().items()}

    def run(self) -> float:
        """Play a test, keep the present weights if none were better, and return their mean return."""
        if self._vector is None:
            n_envs = min(32, self._n_episodes)
            self._vector = VectorSplit.open(self._make, n_envs, remarks=self.remarks)
        starts = [Start(self._streams.integer("eval-env", index)) for index in range(self._n_episodes)]
        planner = TorchPlanner(self._network, self._vector.observation_space.dtype)
        episodes = play_episodes(planner, self._vector, starts, commitment=1)
        self._network.train()
        mean = float(episodes.returns.mean())
        score = mean if self._best_by == "return" else float(episodes.returns.sum() / episodes.lengths.sum())
        if score >= self.best_score:
            self.best_return, self.best_score = mean, score
            self._keep()
        return mean

    def close(self) -> None:
        """Close the environments of the tests."""
        if self._vector is not None:
            self._vector.close()
            self._vector = None

    def best_network(self) -> PlanNetwork:
        """Return a copy of the network with the best weights."""
        best = blank_network(self._network.config)
        best.load_state_dict(self.best)
        return best.eval()

    def checkpoint(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Return all that `restore` needs."""
        tested = np.isfinite(self.best_score)
        state = {"best_return": self.best_return, "best_score": self.best_score} if tested else {"best_return": None}
        return {f"{_PREFIX}{name}": value for name, value in self.best.items()}, state

    def restore(self, tensors: dict[str, Tensor], state: dict[str, Any]) -> None:
        """Go back to where `checkpoint` was taken; other entries are left alone."""
        self.best = {name.removeprefix(_PREFIX): value for name, value in tensors.items() if name.startswith(_PREFIX)}
        tested = state["best_return"] is not None
        self.best_return, self.best_score = (state["best_return"], state["best_score"]) if tested else (-np.inf, -np.inf)
