"""Stable-Baselines3's `.zip` files as teachers: A2C, PPO, DQN, SAC and TD3 (and DDPG, which is a TD3)."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from torch import Tensor, nn

from phr.actions import MultiDiscrete
from phr.envs.registry import make_env
from phr.errors import IncompatibleModelError, NonFiniteError
from phr.networks.torch_planner import tensor_of
from phr.observations import ObservationSpec, scale_of
from phr.teachers.normalization import Normalization, NormalizeLayer
from phr.teachers.policy import ContinuousTeacher, PolicyTeacher
from phr.teachers.sb3_file import ACTIVATIONS, Description, Family, Sb3File, SpaceText, describe, read_sb3_file

Weights = Mapping[str, Tensor]


@dataclass(frozen=True)
class _Names:
    """Where a family keeps its parameters.

    Attributes:
        extractors: Prefixes of the convolutions; the first that is there acts.
        hidden: Prefix of the fully connected layers.
        head: Prefix of the last layer; None where it is the last of `hidden`.
        parts: Every name that such a policy may hold begins like one of these.
    """

    extractors: tuple[str, ...]
    hidden: str
    head: str | None
    parts: tuple[str, ...]


_NAMES: dict[Family, _Names] = {
    "actor_critic": _Names(
        ("pi_features_extractor.", "features_extractor."),
        "mlp_extractor.policy_net.",
        "action_net.",
        (
            "features_extractor.", "pi_features_extractor.", "vf_features_extractor.", "mlp_extractor.policy_net.",
            "mlp_extractor.value_net.", "action_net.", "value_net.", "log_std",
        ),
    ),
    "q": _Names(
        ("q_net.features_extractor.",),
        "q_net.q_net.",
        None,
        ("q_net.features_extractor.", "q_net.q_net.", "q_net_target."),
    ),
    "sac": _Names(
        ("actor.features_extractor.",),
        "actor.latent_pi.",
        "actor.mu.",
        ("actor.features_extractor.", "actor.latent_pi.", "actor.mu.", "actor.log_std", "critic.", "critic_target."),
    ),
    "td3": _Names(
        ("actor.features_extractor.",),
        "actor.mu.",
        None,
        ("actor.features_extractor.", "actor.mu.", "actor_target.", "critic.", "critic_target."),
    ),
}  # fmt: skip

_NATURE = {"cnn.0": (8, 4), "cnn.2": (4, 2), "cnn.4": (3, 1)}
"""Kernel and stride of Stable-Baselines3's `NatureCNN`."""


class Sb3Network(nn.Module):
    """Observations as the environment gives them → logits, Q-values, or continuous actions before their scaling.

    Args:
        weights: The policy's parameters.
        description: From `describe`.
        obs_shape: Shape of one observation of the environment.
        transpose: Whether images come channels last.
        normalization: Statistics used in its training.
        name: For messages.

    Attributes:
        n_outputs: Outputs for one observation.

    Raises:
        IncompatibleModelError: If parameters are missing, unknown or of other shapes.
    """

    def __init__(
        self,
        weights: Weights,
        description: Description,
        obs_shape: tuple[int, ...],
        *,
        transpose: bool = False,
        normalization: Normalization | None = None,
        name: str = "this policy",
    ) -> None:
        super().__init__()
        names = _NAMES[description.family]
        unknown = [key for key in weights if not key.startswith(names.parts)]
        if unknown:
            raise IncompatibleModelError(f"{name}: {description.algorithm} has no parameter {unknown[0]!r} that phr knows")
        self.normalize = None if normalization is None else NormalizeLayer(normalization)
        self.transpose = transpose
        self.divisor = (
            255.0 if description.normalize_images and description.observations.is_bytes and len(obs_shape) == 3 else 1.0
        )
        try:
            self.layers = nn.Sequential(*_features(weights, names), *_layers(weights, names, description))
            with torch.inference_mode():
                answer = self.eval()(torch.zeros(1, *obs_shape))
        except (ValueError, RuntimeError) as error:
            reason = str(error).splitlines()[0]
            raise IncompatibleModelError(f"{name} does not read observations of shape {obs_shape}: {reason}") from error
        self.n_outputs = int(answer.shape[1])
        self.requires_grad_(False)

    def forward(self, obs: Tensor) -> Tensor:
        """Return outputs, shape `(batch, n_outputs)`."""
        x = obs.float() if self.normalize is None else self.normalize(obs)
        if obs.dtype == torch.float64 and not x.isfinite().all():
            raise NonFiniteError("an observation contains a number too large for float32, which the policy reads")
        x = x.movedim(-1, 1).contiguous() if self.transpose else x
        answer: Tensor = self.layers(x if self.divisor == 1.0 else x / self.divisor)
        return answer


def _features(weights: Weights, names: _Names) -> list[nn.Module]:
    """The convolutions, if any, then one vector."""
    prefix = next((each for each in names.extractors if any(key.startswith(each) for key in weights)), None)
    if prefix is None:
        return [nn.Flatten()]
    mine = {key.removeprefix(prefix): value for key, value in weights.items() if key.startswith(prefix)}
    expected = {f"{layer}.{part}" for layer in (*_NATURE, "linear.0") for part in ("weight", "bias")}
    if set(mine) != expected:
        raise ValueError(f"its features extractor holds {', '.join(sorted(mine))}, which is not the Nature network")
    layers: list[nn.Module] = []
    for layer, (kernel, stride) in _NATURE.items():
        layers += [_convolution(mine[f"{layer}.weight"], mine[f"{layer}.bias"], kernel, stride), nn.ReLU()]
    return [*layers, nn.Flatten(), _linear(mine["linear.0.weight"], mine["linear.0.bias"]), nn.ReLU()]


def _layers(weights: Weights, names: _Names, description: Description) -> list[nn.Module]:
    """The fully connected layers with their activations, and what follows the last."""
    hidden = _linears(weights, names.hidden)
    head = hidden[-1:] if names.head is None else _head(weights, names.head)
    if not head:
        raise ValueError(f"it has no layer {names.head or names.hidden}")
    activation = ACTIVATIONS[description.activation]
    layers: list[nn.Module] = []
    for layer in hidden[:-1] if names.head is None else hidden:
        layers += [layer, activation()]
    return [*layers, *head, *_squash(weights, description)]


def _squash(weights: Weights, description: Description) -> list[nn.Module]:
    match description.family:
        case "td3":
            return [nn.Tanh()]
        case "sac":
            # With state-dependent exploration the mean is cut off before it is squashed.
            cut = "actor.mu.0.weight" in weights and description.clip_mean > 0
            return [*([nn.Hardtanh(-description.clip_mean, description.clip_mean)] if cut else []), nn.Tanh()]
        case "actor_critic" if description.squash_output and _explores_by_state(weights):
            return [nn.Tanh()]
    return []


def _explores_by_state(weights: Weights) -> bool:
    """Whether a policy has state-dependent exploration (gSDE), whose noise is a matrix.

    Stable-Baselines3 before 2.2 accepted `squash_output` without gSDE; it scaled the actions but applied no tanh.
    """
    return "log_std" in weights and weights["log_std"].ndim == 2


def _head(weights: Weights, prefix: str) -> list[nn.Linear]:
    """One linear layer, `prefix` + weight, or inside a Sequential."""
    if f"{prefix}weight" in weights:
        return [_linear(weights[f"{prefix}weight"], weights.get(f"{prefix}bias"))]
    return _linears(weights, prefix)[:1]


def _linears(weights: Weights, prefix: str) -> list[nn.Linear]:
    """The linear layers of a Sequential, in which activations take every second place."""
    places = [
        re.fullmatch(rf"{re.escape(prefix)}(\d{{1,4}})\.(?:weight|bias)", key) for key in weights if key.startswith(prefix)
    ]
    if None in places:
        raise ValueError(f"{prefix} holds more than a row of linear layers")
    found = sorted({int(place[1]) for place in places if place is not None})
    if found != list(range(0, 2 * len(found), 2)):
        raise ValueError(f"the layers of {prefix} stand at {found}, not at every second place")
    return [_linear(weights.get(f"{prefix}{place}.weight"), weights.get(f"{prefix}{place}.bias")) for place in found]


def _linear(weight: Tensor | None, bias: Tensor | None) -> nn.Linear:
    if weight is None or weight.ndim != 2 or (bias is not None and bias.shape != weight.shape[:1]):
        raise ValueError("a linear layer has weights or biases of a wrong shape")
    layer = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None, device="meta")
    layer.weight = nn.Parameter(weight.float())
    if bias is not None:
        layer.bias = nn.Parameter(bias.float())
    return layer


def _convolution(weight: Tensor, bias: Tensor, kernel: int, stride: int) -> nn.Conv2d:
    if weight.ndim != 4 or weight.shape[2:] != (kernel, kernel) or bias.shape != weight.shape[:1]:
        raise ValueError(
            f"a convolution has weights {tuple(weight.shape)}, the Nature network's kernel is {kernel}×{kernel}"
        )
    layer = nn.Conv2d(weight.shape[1], weight.shape[0], kernel, stride, device="meta")
    layer.weight, layer.bias = nn.Parameter(weight.float()), nn.Parameter(bias.float())
    return layer


PRINTED = 1e-3
"""Relative tolerance for bounds, because the file contains them as printed by numpy: of the bound, or of half the range."""


def read_sb3(
    path: Path, env_id: str, *, activation: str | None = None, normalization: Normalization | None = None
) -> tuple[PolicyTeacher | ContinuousTeacher, str]:
    """Read a policy without running anything that the file holds.

    Args:
        path: The `.zip`.
        env_id: The environment, which the file does not record.
        activation: The activation function, for files that record it only as a pickle.
        normalization: Statistics used in its training.

    Returns:
        The teacher, and the SHA-256 of the file.

    Raises:
        UnknownModelError: If there is no such file.
        CorruptFileError: If the file was truncated, edited, or made to do harm.
        IncompatibleModelError: If its policy is not supported, or does not fit the environment.
        SettingError: If the activation function is missing.
    """
    file = read_sb3_file(path)
    description = describe(file, activation)
    if description.actions.kind == "Box" and description.family != "q":
        return _continuous(file, description, env_id, normalization), file.sha256
    kind, family = description.actions.kind, description.family
    if (kind == "Discrete" and family in ("actor_critic", "q")) or (kind == "MultiDiscrete" and family == "actor_critic"):
        return _discrete(file, description, env_id, normalization), file.sha256
    raise IncompatibleModelError(f"{path}: {description.algorithm} with actions {description.actions} cannot be read")


def _discrete(file: Sb3File, description: Description, env_id: str, normalization: Normalization | None) -> PolicyTeacher:
    with make_env(env_id) as env:
        seen, actions = env.observation_space, env.action_space
    network = _network(file, description, seen, env_id, normalization)
    if network.n_outputs != actions.n_outputs or isinstance(actions, MultiDiscrete) != (
        description.actions.kind != "Discrete"
    ):
        has = network.n_outputs if description.actions.kind == "Discrete" else f"{description.actions}"
        raise IncompatibleModelError(f"{file.name} has {has} actions, {env_id} has {actions}")
    nvec = description.actions.nvec
    if isinstance(actions, MultiDiscrete) and nvec not in (None, actions.nvec):  # as many logits, cut at other places
        raise IncompatibleModelError(f"{file.name} has {description.actions} actions, {env_id} has {actions}")
    # Q-values say which action is best; a softmax over them would be no policy.
    action_only = description.family == "q"

    def ask(obs: NDArray[Any]) -> NDArray[Any]:
        with torch.inference_mode():
            answer: NDArray[Any] = network(tensor_of(obs)).numpy()
        if not action_only:
            return answer
        if not np.isfinite(answer).all():  # argmax of NaN is an ordinary index
            raise NonFiniteError(f"{file.name} output contains NaN or Inf")
        best: NDArray[Any] = answer.argmax(-1)
        return best

    return PolicyTeacher(
        ask,
        actions,
        answers="actions" if action_only else "logits",
        obs_spec=ObservationSpec.of(env.observation_space),
        name=file.name,
        module=network,
    )


def _continuous(
    file: Sb3File, description: Description, env_id: str, normalization: Normalization | None
) -> ContinuousTeacher:
    with make_env(env_id) as env:
        seen, acted = env.observation_space, env.gym_env.action_space
    if not isinstance(acted, spaces.Box):
        raise IncompatibleModelError(f"{file.name} has actions {description.actions}, {env_id} has {acted}")
    network = _network(file, description, seen, env_id, normalization)
    shape = description.actions.shape
    if network.n_outputs != np.prod(acted.shape, dtype=int) or (shape is not None and shape != acted.shape):
        raise IncompatibleModelError(f"{file.name} has actions {description.actions}, {env_id} has {acted}")
    _check_bounds(file.name, description.actions, acted, env_id)
    squashed = description.family != "actor_critic" or description.squash_output
    spec = ObservationSpec.of(seen)
    return ContinuousTeacher(network, acted.low, acted.high, squashed=squashed, obs_spec=spec, name=file.name)


def _check_bounds(name: str, trained: SpaceText, acted: spaces.Box, env_id: str) -> None:
    """Refuse actions between other bounds, where the file spells them out: its answers are scaled to them."""
    with np.errstate(over="ignore"):
        half = (acted.high.astype(np.float64) - acted.low).ravel() / 2
    rounded = PRINTED * np.where(np.isfinite(half), half, 0.0)
    for side, told, bound in (("lowest", trained.low, acted.low), ("highest", trained.high, acted.high)):
        if told is not None and not np.isclose(told, bound.ravel(), rtol=PRINTED, atol=rounded).all():
            raise IncompatibleModelError(
                f"{name} was trained with {side} actions {_few(told)}, {env_id} has {_few(bound.ravel())}; "
                "give the environment the wrappers that it was trained in"
            )


def _few(numbers: Sequence[float] | NDArray[Any]) -> str:
    shown = ", ".join(f"{number:g}" for number in numbers[:4])
    return f"[{shown}{', …' if len(numbers) > 4 else ''}]"


def _network(
    file: Sb3File, description: Description, seen: spaces.Box, env_id: str, normalization: Normalization | None
) -> Sb3Network:
    if normalization is not None and normalization.mean.shape != seen.shape:
        raise IncompatibleModelError(
            f"the statistics are of observations {normalization.mean.shape}, {env_id} gives {seen.shape}"
        )
    transpose = _is_turned_round(file.name, description.observations, seen, env_id, normalized=normalization is not None)
    return Sb3Network(
        file.weights, description, seen.shape, transpose=transpose, normalization=normalization, name=file.name
    )


def _is_turned_round(name: str, trained: SpaceText, seen: spaces.Box, env_id: str, *, normalized: bool) -> bool:
    """Return whether Stable-Baselines3 put the channels first (`VecTransposeImage`).

    Raises:
        IncompatibleModelError: If the policy was trained on other observations.
    """
    if trained.kind not in ("Box", "Discrete") or trained.start != 0:
        kind = trained if trained.kind == "Discrete" else trained.kind
        raise IncompatibleModelError(f"{name} reads {kind} observations; phr reads policies on Box and Discrete(n) ones")
    shape = (trained.n,) if trained.kind == "Discrete" else trained.shape
    image = (seen.shape[2], *seen.shape[:2]) if len(seen.shape) == 3 else None
    if shape not in (None, seen.shape, image) or not (normalized or _same_numbers(trained, seen)):
        raise IncompatibleModelError(f"{name} reads {trained}, {env_id} gives {seen.dtype} of shape {seen.shape}")
    return shape is not None and shape != seen.shape


def _same_numbers(trained: SpaceText, seen: spaces.Box) -> bool:
    """Whether both have the same number type and scale: a policy trained on bytes reads neither fractions nor 0/1 planes."""
    if trained.dtype is None or trained.kind == "Discrete":
        return True
    if trained.dtype == str(seen.dtype) == "uint8":
        return trained.is_bytes == (scale_of(seen) != 1.0)
    floats = np.issubdtype(seen.dtype, np.floating)
    return (trained.dtype.startswith("float") and floats) or trained.dtype == str(seen.dtype)
