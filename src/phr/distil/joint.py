"""Joint training, an option outside Algorithm 1: A2C trains head 1 while the later heads are regressed.

Source: Wagner et al. 2021 (arXiv:2106.10075), Eq. 12. The printed equation adds an ascent direction to a descent gradient;
here both are descended.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from phr.distil.config import PHRConfig
from phr.distil.phr import PHR
from phr.envs.split import SplitEnv
from phr.experience.trajectory import Experience
from phr.networks.policy import PlanNetwork
from phr.progress import Progress
from phr.teacher.a2c import A2CConfig, RolloutCollector, rollout_loss


class JointTraining(PHR):
    """A distillation whose updates descend ∇J_PG + λ∇J_PHR, with the optimizer and the schedule of the student's config.

    `stage_1` has the settings of rollouts, discounts and losses; the entropy bonus has its weight at the end of stage 1.
    """

    def __init__(
        self,
        start: PlanNetwork,
        experience: Experience,
        config: PHRConfig,
        make: Callable[[], SplitEnv],
        stage_1: A2CConfig,
    ) -> None:
        super().__init__(start, experience, config)
        self._stage_1 = stage_1
        self._collector = RolloutCollector(make, stage_1)

    def close(self) -> None:
        """Close the environments."""
        self._collector.close()

    def progress(self) -> Progress:
        """Return the environment steps taken so far, and the recent returns."""
        done, total = (n * self._stage_1.rollout_size for n in (self.n_updates, self.config.n_updates))
        return Progress(f"joint training, horizon {self.config.horizon}", done, total, "timesteps", self._collector.note())

    def averages(self) -> dict[str, float]:
        """Return mean return and length of recent episodes."""
        return self._collector.averages()

    def update(self) -> dict[str, float]:
        """Collect one rollout, draw one batch of windows, and take one gradient step on both losses (`PHR.step`)."""
        act = torch.inference_mode()(self._policy_and_value)
        rollout = self._collector.collect(act)
        logits, values = self._policy_and_value(rollout.obs[:-1].flatten(0, 1))
        _, following = act(rollout.following_obs())
        ent_coef = self._stage_1.ent_coef * self._stage_1.ent_coef_end
        loss, parts = rollout_loss(rollout, logits, values, following, self._stage_1, ent_coef)
        return self.step(self.loss(), loss) | parts

    def _policy_and_value(self, obs: Tensor) -> tuple[Tensor, Tensor]:
        with self.computing():
            logits, values = self.network.policy_and_value(obs)
        return logits.float(), values.float()

    def checkpoint(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Return all that `restore` needs to continue bit for bit."""
        tensors, state = super().checkpoint()
        return tensors, {**state, "collector": self._collector.state()}

    def restore(self, tensors: dict[str, Tensor], state: dict[str, Any]) -> None:
        """Go back to where `checkpoint` was taken."""
        super().restore(tensors, state)
        self._collector.restore(state["collector"])
