"""The network of both stages: a trunk, `horizon` policy heads and a value head (the paper's Fig. 1)."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields, replace
from itertools import accumulate, pairwise
from typing import Any, NotRequired, TypedDict, get_type_hints

import numpy as np
import torch
from gymnasium import spaces
from jaxtyping import Float, Shaped
from numpy.typing import NDArray
from torch import Tensor, nn

from phr.actions import ActionSpace, Continuous, Discrete, MultiDiscrete, action_space_from_json
from phr.errors import CorruptFileError, HorizonError, IncompatibleModelError, InvalidDataError, NonFiniteError, SettingError
from phr.files import AtLeastOne, as_kind
from phr.networks.trunks import Observations, Trunk, TrunkConfig, is_channels_last, orthogonal, shape_of
from phr.observations import ObservationSpec, scale_of
from phr.plan import NetworkPlan, Smoothing, Temperature, smoothing_of_steps, temperature_of

LOG_SPREAD = (-5.0, 1.0)
"""Limits of the logarithm of the spread; the spread is in units of half the range (0.7 % to 270 % of it)."""


_MANY_WEIGHTS = 2**19
"""Of one layer: numpy multiplies larger ones with all cores, whatever number of threads torch may use."""


class ActionScale(nn.Module):
    """Map network outputs around 0 to continuous actions in their range, and clamp log-spreads to `LOG_SPREAD`.

    The bounds come from the configuration, so they are not part of the stored weights.
    """

    center: Tensor
    unit: Tensor

    def __init__(self, space: Continuous) -> None:
        super().__init__()
        self.register_buffer("center", torch.from_numpy(space.bounds.center), persistent=False)
        self.register_buffer("unit", torch.from_numpy(space.bounds.unit), persistent=False)

    def forward(self, numbers: Tensor) -> Tensor:
        """Return actions, `(*batch, d)`, followed by log-spreads, `(*batch, 2 d)`, where the input has them."""
        n = len(self.center)
        actions, log_spread = self.center + self.unit * numbers[..., :n], numbers[..., n:]
        if numbers.shape[-1] == n:
            return actions
        limit: Any = _Limited.apply if log_spread.requires_grad else lambda numbers: numbers.clamp(*LOG_SPREAD)
        return torch.cat([actions, limit(log_spread)], dim=-1)


class _Limited(torch.autograd.Function):
    """A clamp whose gradient, beyond a limit, still leads back; with a plain clamp's zeros a spread would stay there."""

    @staticmethod
    def forward(ctx: Any, log_spread: Tensor) -> Tensor:
        ctx.save_for_backward(log_spread)
        return log_spread.clamp(*LOG_SPREAD)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        (log_spread,), (gradient,), (low, high) = ctx.saved_tensors, gradients, LOG_SPREAD
        leads_out = ((log_spread < low) & (gradient > 0)) | ((log_spread > high) & (gradient < 0))
        return gradient.masked_fill(leads_out, 0.0)


class Links(nn.Module):
    """What a planned action adds to the logits of the steps after it, so that every head knows the plan so far.

    Heads that do not know each other's choices plan the most likely action of each step, and where several plans are as
    likely, that mixes them: of left, right, left, right and right, left, right, left it may make four times left. With links
    head k states P(a_k | observation, a_1 … a_{k−1}), and the plan is decoded from its first step on, after one look: a
    fully visible belief network over the plan (Frey et al. 1996), given the observation. In training the heads read the
    teacher's actions (teacher forcing, Williams and Zipser 1989). Links are zero at first.
    """

    later: Tensor

    def __init__(self, space: ActionSpace, horizon: int) -> None:
        super().__init__()
        self.sizes = space.nvec if isinstance(space, MultiDiscrete) else (space.n_outputs,)
        self.horizon, n = horizon, space.n_outputs
        self.weight = nn.Parameter(torch.zeros(horizon * n, horizon * n))
        """`[j n + a, k n + b]`: what output a, chosen in step j, adds to output b of step k; 0 for k <= j."""
        later = torch.ones(horizon, horizon).triu(1).repeat_interleave(n, 0).repeat_interleave(n, 1)
        self.register_buffer("later", later, persistent=False)

    def following(
        self, logits: Float[Tensor, "batch horizon n"], actions: Shaped[Tensor, "batch horizon *action"]
    ) -> Float[Tensor, "batch horizon n"]:
        """Return the logits of heads that read these actions as the plan so far."""
        chosen = actions.long().flatten(2).unbind(-1) if actions.ndim > 2 else (actions.long(),)
        marks = [nn.functional.one_hot(each, size) for each, size in zip(chosen, self.sizes, strict=True)]
        added = torch.cat(marks, -1).flatten(1).to(logits.dtype) @ (self.weight * self.later)
        return logits + added.view_as(logits)

    def greedy(self, logits: Float[Tensor, "batch horizon n"]) -> Float[Tensor, "batch horizon n"]:
        """Return the logits of heads that read the most likely action of every step before."""
        flat = logits.flatten(1)
        for parts in self._steps():
            chosen = [(self.weight[first:last], flat[:, first:last].argmax(1)) for first, last in parts]
            for rows, index in chosen:
                flat = flat + nn.functional.embedding(index, rows)
        return flat.view_as(logits)

    def quick(self) -> Callable[[NDArray[np.float32]], NDArray[np.float32]]:
        """Return `greedy` for arrays. It holds the weights, and so follows them where they change in place."""
        weight, steps = self.weight.detach().cpu().numpy(), self._steps()

        def greedy(logits: NDArray[np.float32]) -> NDArray[np.float32]:
            # By output and row; one row in one dimension, which takes half of the time.
            flat = logits.reshape(-1) if len(logits) == 1 else logits.reshape(len(logits), -1).T
            for parts in steps:
                for rows in [first + flat[first:last].argmax(0) for first, last in parts]:
                    flat = flat + weight[rows].T
            return flat.T.reshape(logits.shape)

        return greedy

    def _steps(self) -> list[list[tuple[int, int]]]:
        """First and last output of each choice, step by step; those of the last step lead to nothing."""
        n = sum(self.sizes)
        return [[*pairwise(accumulate(self.sizes, initial=step * n))] for step in range(self.horizon - 1)]


@dataclass(frozen=True, kw_only=True)
class NetworkConfig:
    """All that is needed to build the network again."""

    obs_shape: tuple[int, ...]
    """Shape of one observation."""
    n_actions: int
    """Outputs of one head: the size of a discrete action space; see `phr.actions` for others."""
    horizon: int
    """Number of policy heads; 1 for a teacher."""
    trunk: TrunkConfig
    """The layers that the heads share."""
    obs_scale: float = 1.0
    """Observations are multiplied by this: 1/255 for bytes of 0 .. 255."""
    channels_last: bool = False
    """Images are `(height, width, channels)`; the network transposes them."""
    separate_first: bool = False
    """Head 1 reads a trunk of its own (the teacher's, frozen), so a look costs two trunks."""
    action_space: ActionSpace | None = None
    """What the actions are; None for Discrete."""
    normalize: bool = False
    """The trunk normalises observations with statistics stored beside its weights."""
    label_smoothing: float = 0.0
    """Label smoothing ε used in training; plan probabilities are corrected for it."""
    first_smoothing: float | None = None
    """ε of head 1 where it differs: head 1 may be the teacher's."""
    temperature: Temperature = None
    """How sure each head may be, measured after training; None where that was not measured."""
    causal: bool = False
    """Every head knows the actions planned before its own (`Links`)."""

    def __post_init__(self) -> None:
        if self.horizon < 1:
            raise HorizonError(f"horizon must be >= 1, got {self.horizon}")
        if self.n_actions < 1:
            raise SettingError(f"n_actions must be >= 1, got {self.n_actions}")
        if not 0 < self.obs_scale < math.inf:
            raise SettingError(f"obs_scale must be positive and finite, got {self.obs_scale}")
        for smoothing in (self.label_smoothing, self.smoothing_of_first):
            if not 0 <= smoothing < 1:
                raise SettingError(f"label_smoothing must be >= 0 and < 1, got {smoothing}")
        if self.causal and (self.horizon == 1 or isinstance(self.actions, Continuous)):
            raise SettingError(f"a causal plan has two or more discrete actions, got horizon {self.horizon}, {self.actions}")
        if not self.actions.accepts(self.n_actions):
            raise SettingError(f"{self.actions} does not fit a head with {self.n_actions} outputs")

    @property
    def actions(self) -> ActionSpace:
        """The action space."""
        return Discrete(self.n_actions) if self.action_space is None else self.action_space

    @property
    def smoothing(self) -> Smoothing:
        """Return ε of each step's labels."""
        return smoothing_of_steps(self.label_smoothing, self.first_smoothing, self.horizon)

    @property
    def smoothing_of_first(self) -> float:
        """Return ε of head 1's labels."""
        return self.label_smoothing if self.first_smoothing is None else self.first_smoothing

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values; optional fields at their default are omitted, so earlier hashes stay valid."""
        values: dict[str, Any] = json.loads(json.dumps(asdict(replace(self, action_space=None))))
        values["action_space"] = self.actions.to_json()
        for name, before in (("halvings", 1), ("residual", 0), ("agent", None)):
            if values["trunk"][name] == before:
                del values["trunk"][name]
        defaults = {"action_space": None, "normalize": False, "label_smoothing": 0.0, "first_smoothing": None}
        defaults |= {"temperature": None, "causal": False}
        return {key: value for key, value in values.items() if key not in defaults or value != defaults[key]}

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> NetworkConfig:
        """Read what `to_json` wrote; `IncompatibleModelError` if keys are missing or unknown."""
        try:
            known = as_kind(values, _Network, "it")
            given = {*values, *(f"trunk.{key}" for key in values["trunk"])}
            if unknown := given - {*get_type_hints(_Network), *(f"trunk.{entry.name}" for entry in fields(TrunkConfig))}:
                raise ValueError(f"it has the entry {min(unknown)!r}")
            space = known.get("action_space")
            actions = None if space is None else action_space_from_json(space, known["n_actions"])
            temperature = temperature_of(values, known["horizon"])
            found: dict[str, Any] = {**known}
            return cls(**{**found, "action_space": actions, "temperature": temperature})
        except (ValueError, SettingError, CorruptFileError, InvalidDataError) as error:
            raise IncompatibleModelError(f"this network description was not written by phr: {error}") from error


class _Network(TypedDict):
    """What `NetworkConfig.to_json` writes."""

    obs_shape: tuple[AtLeastOne, ...]
    n_actions: AtLeastOne
    horizon: AtLeastOne
    trunk: TrunkConfig
    obs_scale: NotRequired[float]
    channels_last: NotRequired[bool]
    separate_first: NotRequired[bool]
    action_space: NotRequired[dict[str, Any] | None]
    normalize: NotRequired[bool]
    label_smoothing: NotRequired[float]
    first_smoothing: NotRequired[float | None]
    temperature: NotRequired[list[float] | None]
    causal: NotRequired[bool]


class PlanNetwork(nn.Module):
    """Observation → logits of the next `horizon` actions, or continuous actions."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.config = config
        how = config.obs_shape, config.trunk, config.obs_scale, config.channels_last, config.normalize
        self.trunk = Trunk(*how)
        self.first_trunk = Trunk(*how) if config.separate_first else None
        self.plan_head = nn.Linear(config.trunk.width, config.horizon * config.n_actions)
        self.value_head = nn.Linear(config.trunk.width, 1)
        self.scale = ActionScale(config.action_space) if isinstance(config.action_space, Continuous) else None
        self.links = Links(config.actions, config.horizon) if config.causal else None
        orthogonal(self.plan_head, 0.01)
        orthogonal(self.value_head, 1.0)

    def forward(self, obs: Shaped[Tensor, "batch *shape"]) -> Float[Tensor, "batch horizon n_actions"]:
        """Return plan logits, or for `Continuous` its outputs (actions, log-spreads)."""
        outputs = self.heads(obs)
        return outputs if self.links is None else self.links.greedy(outputs)

    def heads(self, obs: Shaped[Tensor, "batch *shape"]) -> Float[Tensor, "batch horizon n_actions"]:
        """Return the outputs of `forward` without what `Links` add."""
        logits = self.plan_of(self.trunk(obs))
        if self.first_trunk is not None:
            logits = torch.cat([self._first_logits(self.first_trunk(obs)).unsqueeze(1), logits[:, 1:]], dim=1)
        return logits if self.scale is None else self.scale(logits)

    def following(
        self, outputs: Float[Tensor, "batch horizon n"], actions: Shaped[Tensor, "batch horizon *action"]
    ) -> Float[Tensor, "batch horizon n"]:
        """Return what `heads` returned, as if these actions had been planned; without `Links` they change nothing."""
        return outputs if self.links is None else self.links.following(outputs, actions)

    def plan_of(self, features: Float[Tensor, "batch features"]) -> Float[Tensor, "batch horizon n_actions"]:
        """Return what the heads make of the trunk's features, before continuous actions are scaled."""
        outputs = nn.functional.linear(features, self.plan_head.weight, self.plan_head.bias)
        plan: Tensor = outputs.unflatten(-1, (self.config.horizon, self.config.n_actions))
        return plan

    def quick(self) -> Callable[[NDArray[Any]], NDArray[np.float32]]:
        """Return `heads`, `(1, horizon, n_actions)`, in numpy for one observation; see `Trunk.quick`."""
        features_of, scale = self.trunk.quick(), self.scale
        weight, bias = self.plan_head.weight.detach().numpy(), self.plan_head.bias.detach().numpy()
        shape = 1, self.config.horizon, self.config.n_actions

        def outputs_of(obs: NDArray[Any]) -> NDArray[np.float32]:
            outputs: NDArray[np.float32] = (weight.dot(features_of(obs)) + bias).reshape(shape)
            return outputs if scale is None else scale(torch.from_numpy(outputs)).numpy()

        return outputs_of

    def _first_logits(self, features: Tensor) -> Tensor:
        n_actions = self.config.n_actions
        return nn.functional.linear(features, self.plan_head.weight[:n_actions], self.plan_head.bias[:n_actions])

    def policy_and_value(self, obs: Shaped[Tensor, "b *shape"]) -> tuple[Float[Tensor, "b n_actions"], Float[Tensor, " b"]]:
        """Return head 1's logits and the state value from one pass through the trunk (stage 1)."""
        features = self.trunk_of_first(obs)
        values: Tensor = self.value_head(features).squeeze(-1)
        return self._first_logits(features), values

    @property
    def n_parameters(self) -> int:
        """Return the number of parameters that a look uses; the value head, used in training only, is not counted."""
        used = (p.numel() for name, p in self.named_parameters() if not name.startswith(("value_head.", "links.")))
        return sum(used) + (0 if self.links is None else int(self.links.later.sum()))

    @property
    def trunk_of_first(self) -> Trunk:
        """Return the trunk that head 1 and the value head read."""
        return self.trunk if self.first_trunk is None else self.first_trunk


def check_shapes(config: NetworkConfig, found: Mapping[str, tuple[int, ...]]) -> None:
    """Compare what a description claims with the tensors of a file, before it takes memory or time.

    IncompatibleModelError if a name or a shape differs.
    """
    trunk = config.trunk
    n_layers = trunk.depth + trunk.residual if trunk.kind == "mlp" else len(trunk.channels) + trunk.residual
    n_outputs = found.get("plan_head.bias", ())
    if n_layers > len(found):
        raise IncompatibleModelError(f"the network claims {n_layers:,} layers, its file holds {len(found)} tensors")
    if n_outputs != (config.horizon * config.n_actions,):
        claimed = f"{config.horizon:,} × {config.n_actions:,} outputs"
        raise IncompatibleModelError(f"the network claims {claimed}, its file's plan_head.bias has the shape {n_outputs}")
    try:
        with torch.random.fork_rng(devices=[]), torch.device("meta"):
            expected = {name: tuple(tensor.shape) for name, tensor in PlanNetwork(config).state_dict().items()}
    except (RuntimeError, OverflowError, TypeError) as error:  # more numbers than can be counted
        raise IncompatibleModelError(f"the network claims sizes that no file holds: {error}") from error
    for name in sorted(expected.keys() | found.keys()):
        if expected.get(name) != found.get(name):
            shapes = f"{name} has the shape {found.get(name)}, the network {expected.get(name)}"
            raise IncompatibleModelError(f"the stored weights do not fit the network: {shapes}")


def blank_network(config: NetworkConfig) -> PlanNetwork:
    """Return a network whose weights will be replaced; torch's global generator is left alone."""
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
    """Return a new network; a seed fixes its weights, and torch's global generator is left alone.

    A bare shape instead of a space means channels first and numbers as they are. The rest is that of `NetworkConfig`; one
    that normalises has to be given its statistics (`Trunk.set_statistics`).
    """
    config = NetworkConfig(
        obs_shape=shape_of(obs),
        n_actions=n_actions,
        horizon=horizon,
        trunk=trunk,
        obs_scale=scale_of(obs) if isinstance(obs, spaces.Box) else 1.0,
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
    causal: bool = False,
) -> PlanNetwork:
    """Return the student at the start of stage 2: the teacher's trunk, value head, and `horizon` copies of its head 1.

    `separate_first` keeps a second copy of the trunk for head 1 alone. `copy_scale` is a factor on the logits of the later
    copies. `label_smoothing` is the ε of the labels that heads will be trained on, except head 1 if it `keeps_first`.
    A `causal` student has `Links`.
    """
    old = teacher.config
    kept = old.smoothing_of_first if keeps_first else label_smoothing
    first = None if kept == label_smoothing else kept
    smoothed: dict[str, Any] = {"label_smoothing": label_smoothing, "first_smoothing": first, "temperature": None}
    student = blank_network(replace(old, horizon=horizon, separate_first=separate_first, causal=causal, **smoothed))
    for trunk in {student.trunk, student.trunk_of_first}:
        trunk.load_state_dict(teacher.trunk_of_first.state_dict())
    student.value_head.load_state_dict(teacher.value_head.state_dict())
    with torch.no_grad():
        for mine, theirs in zip(student.plan_head.parameters(), teacher.plan_head.parameters(), strict=True):
            mine.unflatten(0, (horizon, old.n_actions)).copy_(theirs[: old.n_actions])
            mine[old.n_actions :] *= copy_scale
    return student


def tensor_of(array: NDArray[Any]) -> Tensor:
    """Return the array as a tensor; one that torch cannot share (negative strides) or should not (read-only) is copied."""
    return torch.from_numpy(array if array.flags.carray else array.copy())


class TorchPlanner:
    """Plans with a network, on its device and in inference mode; numpy in, numpy out."""

    checks_plans = True
    """What it plans is finite, and of the right shape; agents do not look again."""

    def __init__(self, network: PlanNetwork, obs_dtype: str | np.dtype[Any], commitment: Any = None) -> None:
        self.network, config, self.commitment = network.eval(), network.config, commitment
        self.horizon, self.n_actions = config.horizon, config.n_actions
        self.action_space, self._sure = config.actions, (config.smoothing, config.temperature)
        self.obs_spec = ObservationSpec(config.obs_shape, np.dtype(obs_dtype), config.obs_scale)
        self._device = next(network.parameters()).device
        is_plain = config.trunk.kind == "mlp" and network.first_trunk is None and self._device.type == "cpu"
        layers = [*network.trunk.parameters(), *network.plan_head.parameters()]
        is_plain &= max(weight.numel() for weight in layers) < _MANY_WEIGHTS
        self._quick = network.quick() if is_plain and config.normalize else None
        self.is_causal = network.links is not None
        self._greedy = None if network.links is None else network.links.quick()

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle and copy the network, and build the rest for it again: what looks quickly holds this network's weights."""
        return TorchPlanner, (self.network, self.obs_spec.dtype.str, self.commitment)

    def plan(self, obs: Any) -> NetworkPlan:
        """Evaluate the network once for observations `(batch, *obs_shape)`, checked by `ObservationSpec.check`.

        `InvalidDataError` if shape or number type differ, `NonFiniteError` if an observation or an output is not finite.
        """
        obs = self.obs_spec.check(obs)
        with torch.inference_mode():
            if self._quick is not None and len(obs) == 1:
                logits = self._quick(obs)
            else:
                logits = self.network.heads(tensor_of(obs).to(self._device)).cpu().numpy()
            if self._greedy is not None:
                logits = self._greedy(logits)
        if not np.isfinite(logits).all():
            raise NonFiniteError("the network's output contains NaN or Inf")
        return self.action_space.plan(logits, *self._sure)
