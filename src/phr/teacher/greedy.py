"""Which weights of a training are the best: those whose greedy play collects most, or collects it fastest."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import numpy as np
from torch import Tensor

from phr.envs.split import SplitEnv
from phr.envs.vector import Autoreset, Remarks, Start, VectorSplit
from phr.evaluation.episodes import play_episodes
from phr.networks.policy import PlanNetwork, blank_network
from phr.networks.torch_planner import TorchPlanner
from phr.seeding import Streams

BestBy = Literal["return", "return_per_step"]

_PREFIX = "best."


class GreedyTest:
    """Plays a network greedily in the same episodes each time, and keeps the weights that did best.

    Args:
        make: Makes one environment.
        network: Its present weights are the best until a first test.
        n_episodes: Episodes of a test.
        streams: Where their seeds come from.
        best_by: What the best has most of; returns per step are compared over all episodes together.

    Attributes:
        best: The best weights so far.
        best_return: Their mean return; −∞ before the first test.
        best_score: What they are the best by; −∞ before the first test.
        remarks: What did not go as asked.
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
        """Mean return of the present weights; they are kept if none did better before."""
        if self._vector is None:
            n_envs = min(32, self._n_episodes)
            self._vector = VectorSplit.open(self._make, n_envs, Autoreset.DISABLED, remarks=self.remarks)
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
        """A copy with the best weights."""
        best = blank_network(self._network.config)
        best.load_state_dict(self.best)
        return best.eval()

    def checkpoint(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """All that `restore` needs."""
        tested = np.isfinite(self.best_score)
        state = {"best_return": self.best_return, "best_score": self.best_score} if tested else {"best_return": None}
        return {f"{_PREFIX}{name}": value for name, value in self.best.items()}, state

    def restore(self, tensors: dict[str, Tensor], state: dict[str, Any]) -> None:
        """Go back to where `checkpoint` was taken; other entries are left alone."""
        self.best = {name.removeprefix(_PREFIX): value for name, value in tensors.items() if name.startswith(_PREFIX)}
        tested = state["best_return"] is not None
        self.best_return, self.best_score = (state["best_return"], state["best_score"]) if tested else (-np.inf, -np.inf)
