"""Joint training, an option outside Algorithm 1: A2C trains head 1 while the later heads are regressed.

Source: Wagner et al. 2021 (arXiv:2106.10075), Eq. 12. The printed equation adds an ascent direction to a descent gradient;
here both are descended.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from phr.distil.phr import PHR
from phr.envs.split import SplitEnv
from phr.progress import Progress
from phr.teacher.a2c import A2CConfig, make_collector, recent_episodes, rollout_loss


class JointTraining:
    """A distillation whose updates descend ∇J_PG + λ∇J_PHR, with the optimizer and the schedule of the student's config.

    Args:
        make: Makes one environment.
        student: The distillation; its `config.joint` is true.
        config: Stage-1 settings of rollouts, discounts and losses; the entropy bonus has its weight at the end of stage 1.
    """

    def __init__(self, make: Callable[[], SplitEnv], student: PHR, config: A2CConfig) -> None:
        self.student, self._config = student, config
        self._collector = make_collector(make, config)

    def close(self) -> None:
        """Close the environments."""
        self._collector.close()

    @property
    def n_updates(self) -> int:
        """Updates done."""
        return self.student.n_updates

    @property
    def done(self) -> bool:
        """Whether the training has reached its end."""
        return self.student.done

    def progress(self) -> Progress:
        """Return the environment steps taken so far, and the recent returns."""
        config, size = self.student.config, self._config.rollout_size
        stage = f"joint training, horizon {config.horizon}"
        done, total = self.n_updates * size, config.n_updates * size
        return Progress(stage, done, total, "timesteps", recent_episodes(self.averages()))

    def update(self) -> dict[str, float]:
        """Collect one rollout, draw one batch of windows, and take one gradient step on both losses.

        Returns:
            The losses and the gradient norm.

        Raises:
            NonFiniteError: If the loss or the gradient is not finite; the parameters are left as they were.
        """
        rollout = self._collector.collect(self._act)
        logits, values = self._policy_and_value(rollout.obs[:-1].flatten(0, 1))
        _, following = self._act(rollout.following_obs())
        ent_coef = self._config.ent_coef * self._config.ent_coef_end
        loss, parts = rollout_loss(rollout, logits, values, following, self._config, ent_coef)
        return self.student.step(self.student.loss(), loss) | parts

    @torch.inference_mode()
    def _act(self, obs: Tensor) -> tuple[Tensor, Tensor]:
        return self._policy_and_value(obs)

    def _policy_and_value(self, obs: Tensor) -> tuple[Tensor, Tensor]:
        with self.student.computing():
            logits, values = self.student.network.policy_and_value(obs)
        return logits.float(), values.float()

    def averages(self) -> dict[str, float]:
        """Return mean return and length of recent episodes."""
        return self._collector.averages()

    def checkpoint(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Return all that `restore` needs to continue bit for bit."""
        tensors, state = self.student.checkpoint()
        return tensors, {**state, "collector": self._collector.state()}

    def restore(self, tensors: dict[str, Tensor], state: dict[str, Any]) -> None:
        """Go back to where `checkpoint` was taken."""
        self.student.restore(tensors, state)
        self._collector.restore(state["collector"])
