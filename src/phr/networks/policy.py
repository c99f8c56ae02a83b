"""The network of both stages: a trunk, `horizon` policy heads and a value head (the paper's Fig. 1)."""

from __future__ import annotations

from dataclasses import replace

import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn

from phr.actions import ActionSpace, Continuous, Discrete
from phr.networks.action_scale import ActionScale
from phr.networks.config import NetworkConfig
from phr.networks.observations import Observations, is_channels_last, scale_of, shape_of
from phr.networks.trunks import Trunk, TrunkConfig, orthogonal


class PlanNetwork(nn.Module):
    """Observation → logits of the next `horizon` actions, or continuous actions.

    Args:
        config: Shapes and layers.
    """

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.config = config
        self.trunk = self._make_trunk()
        self.first_trunk = self._make_trunk() if config.separate_first else None
        self.plan_head = nn.Linear(config.trunk.width, config.horizon * config.n_actions)
        self.value_head = nn.Linear(config.trunk.width, 1)
        self.scale = ActionScale(config.action_space) if isinstance(config.action_space, Continuous) else None
        orthogonal(self.plan_head, 0.01)
        orthogonal(self.value_head, 1.0)

    def _make_trunk(self) -> Trunk:
        config = self.config
        return Trunk(
            config.obs_shape,
            config.trunk,
            obs_scale=config.obs_scale,
            channels_last=config.channels_last,
            normalize=config.normalize,
        )

    def forward(self, obs: Shaped[Tensor, "batch *shape"]) -> Float[Tensor, "batch horizon n_actions"]:
        """Plan logits, or actions and what else `Continuous` says of outputs."""
        features = self.trunk(obs)
        logits: Tensor = self.plan_head(features).unflatten(-1, (self.config.horizon, self.config.n_actions))
        if self.first_trunk is not None:
            logits = torch.cat([self._first(obs).unsqueeze(1), logits[:, 1:]], dim=1)
        return logits if self.scale is None else self.scale(logits)

    def _first(self, obs: Tensor) -> Tensor:
        """What head 1 answers to a trunk of its own."""
        assert self.first_trunk is not None
        return nn.functional.linear(
            self.first_trunk(obs),
            self.plan_head.weight[: self.config.n_actions],
            self.plan_head.bias[: self.config.n_actions],
        )

    def policy_and_value(
        self, obs: Shaped[Tensor, "batch *shape"]
    ) -> tuple[Float[Tensor, "batch n_actions"], Float[Tensor, " batch"]]:
        """Logits of head 1 and the state value, from one pass through the trunk (stage 1)."""
        features = self.trunk_of_first(obs)
        head = self.plan_head
        n_actions = self.config.n_actions
        logits = nn.functional.linear(features, head.weight[:n_actions], head.bias[:n_actions])
        values: Tensor = self.value_head(features).squeeze(-1)
        return logits, values

    @property
    def n_parameters(self) -> int:
        """Numbers that a look multiplies with; the value head, which only training reads, is not counted."""
        return sum(p.numel() for name, p in self.named_parameters() if not name.startswith("value_head."))

    @property
    def trunk_of_first(self) -> Trunk:
        """The trunk that head 1 and the value head read."""
        return self.trunk if self.first_trunk is None else self.first_trunk


def blank_network(config: NetworkConfig) -> PlanNetwork:
    """A network whose weights are about to be replaced; torch's global generator is left alone."""
    with torch.random.fork_rng(devices=[]):
        return PlanNetwork(config)


def build_network(
    obs: Observations,
    n_actions: int,
    horizon: int,
    trunk: TrunkConfig,
    *,
    seed: int,
    action_space: ActionSpace | None = None,
    normalize: bool = False,
) -> PlanNetwork:
    """A freshly initialised network; the same seed gives the same weights and leaves torch's global generator alone.

    Args:
        obs: The observation space; a bare shape means channels first and numbers as they are.
        n_actions: Size of the discrete action space, or numbers that a head answers.
        horizon: Number of policy heads.
        trunk: The layers that the heads share.
        seed: Fixes the weights.
        action_space: What the actions are; None for Discrete.
        normalize: Observations are normalised; `trunk.set_statistics` says how.
    """
    config = NetworkConfig(
        obs_shape=shape_of(obs),
        n_actions=n_actions,
        horizon=horizon,
        trunk=trunk,
        obs_scale=scale_of(obs),
        channels_last=is_channels_last(obs),
        action_space=None if isinstance(action_space, Discrete) else action_space,
        normalize=normalize,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return PlanNetwork(config)


def extend_teacher(
    teacher: PlanNetwork,
    horizon: int,
    *,
    separate_first: bool = False,
    copy_scale: float = 1.0,
    label_smoothing: float = 0.0,
    keeps_first: bool = False,
) -> PlanNetwork:
    """The student at the start of stage 2: the teacher's trunk and value head, and `horizon` copies of its head 1.

    Args:
        teacher: A network of any horizon; its head 1 is copied.
        horizon: Heads of the student, >= 1.
        separate_first: Keep a second copy of the trunk that head 1 alone reads.
        copy_scale: Factor on the logits of the later copies; 1 copies them as they are.
        label_smoothing: ε of the labels that it will be trained on.
        keeps_first: Head 1 will not be trained on them.

    Raises:
        HorizonError: If the horizon is below 1.
    """
    old = teacher.config
    kept = old.smoothing_of_first if keeps_first else label_smoothing
    student = blank_network(
        replace(
            old,
            horizon=horizon,
            separate_first=separate_first,
            label_smoothing=label_smoothing,
            first_smoothing=None if kept == label_smoothing else kept,
        )
    )
    student.trunk.load_state_dict(teacher.trunk_of_first.state_dict())
    student.value_head.load_state_dict(teacher.value_head.state_dict())
    if student.first_trunk is not None:
        student.first_trunk.load_state_dict(teacher.trunk_of_first.state_dict())
    with torch.no_grad():
        student.plan_head.weight.copy_(teacher.plan_head.weight[: old.n_actions].repeat(horizon, 1))
        student.plan_head.bias.copy_(teacher.plan_head.bias[: old.n_actions].repeat(horizon))
        student.plan_head.weight[old.n_actions :] *= copy_scale
        student.plan_head.bias[old.n_actions :] *= copy_scale
    return student
