"""Joint training, an option: head 1 goes on learning by A2C while the later heads are regressed.

Source: Wagner et al. 2021 (arXiv:2106.10075), Eq. 12. Printed, it adds an ascent direction to a descent gradient; here both
are descended. Algorithm 1 uses the regression alone.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from torch import Tensor

from phr.envs.split import SplitEnv
from phr.learning.a2c import A2C, A2CConfig
from phr.learning.phr import PHR
from phr.progress import Progress


class JointTraining:
    """Every update descends ∇J_PG + λ∇J_PHR on the student's network.

    Args:
        make: Makes one environment.
        student: Supplies the network and the plan loss; the teacher's frozen episodes are in it.
        config: Stage-1 settings; the length, the rate and the optimizer are replaced by the student's.
    """

    def __init__(self, make: Callable[[], SplitEnv], student: PHR, config: A2CConfig) -> None:
        self.student = student
        for parameter in student.network.parameters():
            parameter.requires_grad_(True)
        self._a2c = A2C(
            make,
            replace(
                config,
                total_timesteps=student.config.n_updates * config.rollout_size,
                learning_rate=student.config.learning_rate,
                optimizer="adam",
                ent_coef=config.ent_coef * config.ent_coef_end,
                ent_coef_end=1.0,
                n_evaluations=1,
                eval_episodes=1,
            ),
            network=student.network,
            extra_loss=student.loss,
        )

    def close(self) -> None:
        """Close all environments."""
        self._a2c.close()

    @property
    def n_updates(self) -> int:
        """Updates done."""
        return self._a2c.n_updates

    @property
    def done(self) -> bool:
        """Whether the training has reached its end."""
        return self._a2c.done

    def progress(self) -> Progress:
        """Where the training stands."""
        return replace(self._a2c.progress(), stage=f"joint training, horizon {self.student.config.horizon}")

    def update(self) -> dict[str, float]:
        """One rollout, one batch of windows, one gradient step."""
        return self._a2c.update()

    def averages(self) -> dict[str, float]:
        """Return and length of recent episodes."""
        return self._a2c.averages()

    def checkpoint(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """All that `restore` needs to go on bit for bit."""
        tensors, state = self._a2c.checkpoint()
        return tensors, {**state, "student": self.student.checkpoint()[1]}

    def restore(self, tensors: dict[str, Tensor], state: dict[str, Any]) -> None:
        """Go back to where `checkpoint` was taken."""
        self._a2c.restore(tensors, state)
        self.student.restore_rng(state["student"])
