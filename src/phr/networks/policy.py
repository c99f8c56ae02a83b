"""The network of both stages: a trunk, `horizon` policy heads and a value head (the paper's Fig. 1)."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn

from phr.actions import ActionSpace, Continuous, Discrete, action_space_from_json, whole_numbers
from phr.errors import HorizonError, IncompatibleModelError, InvalidDataError, SettingError
from phr.networks.trunks import Observations, Trunk, TrunkConfig, is_channels_last, orthogonal, scale_of, shape_of
from phr.plan import Smoothing, smoothing_of_steps

LOG_SPREAD = (-5.0, 1.0)
"""Limits of a logarithm of the spread, in units of half the range: 0.7 % of it, and more than all of it."""


class ActionScale(nn.Module):
    """Numbers around 0 → continuous actions around the middle of their range; logarithms of a spread are kept in limits.

    The bounds are constants of the configuration, so they are no part of the weights.
    """

    center: Tensor
    unit: Tensor

    def __init__(self, space: Continuous) -> None:
        super().__init__()
        self.register_buffer("center", torch.from_numpy(space.bounds.center), persistent=False)
        self.register_buffer("unit", torch.from_numpy(space.bounds.unit), persistent=False)

    def forward(self, numbers: Tensor) -> Tensor:
        """Shape `(*batch, d)` or `(*batch, 2 d)`, as it came."""
        n = len(self.center)
        actions = self.center + self.unit * numbers[..., :n]
        if numbers.shape[-1] == n:
            return actions
        return torch.cat([actions, _limited(numbers[..., n:])], dim=-1)


def _limited(log_spread: Tensor) -> Tensor:
    """Within `LOG_SPREAD`; training also hears what leads back from beyond."""
    if not log_spread.requires_grad:
        return log_spread.clamp(*LOG_SPREAD)
    limited: Tensor = _Limited.apply(log_spread)  # type: ignore[no-untyped-call]
    return limited


class _Limited(torch.autograd.Function):
    """A clamp that lets through, beyond a limit, the gradients that descend towards it.

    Those of a plain clamp are all 0 there, so a spread that has once come to a limit would stay.
    """

    @staticmethod
    def forward(ctx: Any, log_spread: Tensor) -> Tensor:
        ctx.save_for_backward(log_spread)
        return log_spread.clamp(*LOG_SPREAD)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        (log_spread,), (gradient,), (low, high) = ctx.saved_tensors, gradients, LOG_SPREAD
        leads_out = ((log_spread < low) & (gradient > 0)) | ((log_spread > high) & (gradient < 0))
        return gradient.masked_fill(leads_out, 0.0)


@dataclass(frozen=True, kw_only=True)
class NetworkConfig:
    """All that is needed to build the network again."""

    obs_shape: tuple[int, ...]
    """Shape of one observation."""
    n_actions: int
    """Numbers that a head answers: the size of a discrete action space, see `phr.actions` for others."""
    horizon: int
    """Number of policy heads; 1 for a teacher."""
    trunk: TrunkConfig
    """The layers that the heads share."""
    obs_scale: float = 1.0
    """Observations are multiplied by this: 1/255 for bytes of 0 .. 255."""
    channels_last: bool = False
    """Images are `(height, width, channels)`; the network turns them round."""
    separate_first: bool = False
    """Head 1 reads a trunk of its own (the teacher's, frozen); looking costs two trunks then."""
    action_space: ActionSpace | None = None
    """What the actions are; None for Discrete."""
    normalize: bool = False
    """The trunk normalises observations with statistics that it keeps beside its weights."""
    label_smoothing: float = 0.0
    """ε of the labels that it was trained on; plans take it out of their confidence."""
    first_smoothing: float | None = None
    """ε of the labels that head 1 was trained on, where it is another: head 1 may be the teacher's."""

    def __post_init__(self) -> None:
        if self.horizon < 1:
            raise HorizonError(f"the horizon must be >= 1, got {self.horizon}")
        if self.n_actions < 1:
            raise SettingError(f"a policy needs at least one action, got {self.n_actions}")
        if not 0 < self.obs_scale < math.inf:
            raise SettingError(f"obs_scale must be positive and finite, got {self.obs_scale}")
        for smoothing in (self.label_smoothing, self.smoothing_of_first):
            if not 0 <= smoothing < 1:
                raise SettingError(f"label_smoothing must lie in 0 .. 1, 1 excluded, got {smoothing}")
        if not self.actions.accepts(self.n_actions):
            raise SettingError(f"a head of {self.n_actions} numbers does not go with {self.actions}")

    @property
    def actions(self) -> ActionSpace:
        """What the actions are."""
        return Discrete(self.n_actions) if self.action_space is None else self.action_space

    @property
    def smoothing(self) -> Smoothing:
        """ε of each step's labels."""
        return smoothing_of_steps(self.label_smoothing, self.first_smoothing, self.horizon)

    @property
    def smoothing_of_first(self) -> float:
        """ε of head 1's labels."""
        return self.label_smoothing if self.first_smoothing is None else self.first_smoothing

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values; what is as it always was before it could be said is left out."""
        actions = self.actions.to_json()
        values: dict[str, Any] = json.loads(json.dumps(asdict(replace(self, action_space=None))))
        if actions is None:
            del values["action_space"]
        else:
            values["action_space"] = actions
        if not self.normalize:
            del values["normalize"]
        if not self.label_smoothing:
            del values["label_smoothing"]
        if self.first_smoothing is None:
            del values["first_smoothing"]
        return values

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> NetworkConfig:
        """The configuration that `to_json` wrote.

        Raises:
            IncompatibleModelError: If keys are missing or unknown.
        """
        try:
            trunk = TrunkConfig(**{**values["trunk"], "channels": tuple(values["trunk"]["channels"])})
            said = values.get("action_space")
            actions = None if said is None else action_space_from_json(said, values["n_actions"])
            shape = whole_numbers(values["obs_shape"])
            whole_numbers([values["n_actions"], values["horizon"]])
            return cls(**{**values, "obs_shape": shape, "trunk": trunk, "action_space": actions})
        except (KeyError, TypeError, ValueError, AttributeError, InvalidDataError) as error:
            raise IncompatibleModelError(f"this network description was not written by phr: {error}") from error


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
