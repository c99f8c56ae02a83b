"""Stable-Baselines3's `.zip` files as teachers: A2C, PPO, DQN, SAC and TD3 (and DDPG, which is a TD3)."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from torch import Tensor, nn

from phr.actions import Continuous, Discrete, MultiDiscrete
from phr.envs.registry import make_env
from phr.errors import IncompatibleModelError, NonFiniteError
from phr.networks.policy import tensor_of
from phr.observations import ObservationSpec, scale_of
from phr.plan import NetworkPlan
from phr.teachers.normalization import Normalization
from phr.teachers.policy import Answers, PolicyTeacher
from phr.teachers.sb3_file import ACTIVATIONS, Description, Family, Sb3File, SpaceText, describe, read_sb3_file

Weights = Mapping[str, Tensor]


class _Names(NamedTuple):
    """Where a family keeps its parameters."""

    extractors: tuple[str, ...]  # prefixes of the convolutions; the first that is there acts
    hidden: str  # prefix of the fully connected layers
    head: str | None  # prefix of the last layer; None where it is the last of `hidden`
    further: tuple[str, ...]  # how other parameters begin, which do not act
    actions: tuple[str, ...]  # Gymnasium spaces that it acts in


_CRITICS = ("critic.", "critic_target.")
_NAMES: dict[Family, _Names] = {
    "A2C or PPO": _Names(
        ("pi_features_extractor.", "features_extractor."),
        "mlp_extractor.policy_net.",
        "action_net.",
        ("vf_features_extractor.", "mlp_extractor.value_net.", "value_net.", "log_std"),
        ("Discrete", "MultiDiscrete", "Box"),
    ),
    "DQN": _Names(("q_net.features_extractor.",), "q_net.q_net.", None, ("q_net_target.",), ("Discrete",)),
    "SAC": _Names(("actor.features_extractor.",), "actor.latent_pi.", "actor.mu.", ("actor.log_std", *_CRITICS), ("Box",)),
    "TD3": _Names(("actor.features_extractor.",), "actor.mu.", None, ("actor_target.", *_CRITICS), ("Box",)),
}

_NATURE = {"cnn.0": (8, 4), "cnn.2": (4, 2), "cnn.4": (3, 1)}
"""Kernel and stride of Stable-Baselines3's `NatureCNN`."""


class Sb3Network(nn.Module):
    """Observations as the environment gives them → logits, Q-values, or continuous actions before their scaling.

    `transpose`: images come channels last. `n_outputs` are the outputs for one observation.
    """

    def __init__(
        self, file: Sb3File, description: Description, shape: tuple[int, ...], transpose: bool, scaling: Normalization | None
    ) -> None:
        super().__init__()
        weights, names = file.weights, _NAMES[description.family]
        known = (*names.extractors, names.hidden, names.head or names.hidden, *names.further)
        unknown = [key for key in weights if not key.startswith(known)]
        if unknown:
            raise IncompatibleModelError(f"{file.name}: phr knows no parameter {unknown[0]!r} of {description.family}")
        self.scaling, self.transpose = scaling, transpose
        is_image = description.normalize_images and description.observations.is_bytes and len(shape) == 3
        self.divisor = 255.0 if is_image else 1.0
        try:
            self.layers = nn.Sequential(*_features(weights, names), *_layers(weights, names, description))
            with torch.inference_mode():
                answer = self.eval()(torch.zeros(1, *shape))
        except (ValueError, RuntimeError) as error:
            reason = str(error).splitlines()[0]
            raise IncompatibleModelError(f"{file.name} does not read observations of shape {shape}: {reason}") from error
        self.n_outputs = int(answer.shape[1])
        self.requires_grad_(False)

    def forward(self, obs: Tensor) -> Tensor:
        """Return outputs, shape `(batch, n_outputs)`."""
        x = obs.float() if self.scaling is None else self.scaling.apply(obs)
        if obs.dtype == torch.float64 and not x.isfinite().all():
            raise NonFiniteError("an observation contains a number too large for float32, which the policy reads")
        x = x.movedim(-1, 1).contiguous() if self.transpose else x
        answer: Tensor = self.layers(x if self.divisor == 1.0 else x / self.divisor)
        return answer


def _features(weights: Weights, names: _Names) -> list[nn.Module]:
    """Return the convolutions, if any, and what makes one vector of their outputs."""
    prefix = next((each for each in names.extractors if any(key.startswith(each) for key in weights)), None)
    if prefix is None:
        return [nn.Flatten()]
    mine = {key.removeprefix(prefix): value for key, value in weights.items() if key.startswith(prefix)}
    if set(mine) != {f"{layer}.{part}" for layer in (*_NATURE, "linear.0") for part in ("weight", "bias")}:
        raise ValueError(f"its features extractor holds {', '.join(sorted(mine))}, which is not the Nature network")
    layers: list[nn.Module] = []
    for layer, (kernel, stride) in _NATURE.items():
        layers += [_convolution(mine[f"{layer}.weight"], mine[f"{layer}.bias"], kernel, stride), nn.ReLU()]
    return [*layers, nn.Flatten(), _linear(mine["linear.0.weight"], mine["linear.0.bias"]), nn.ReLU()]


def _layers(weights: Weights, names: _Names, description: Description) -> list[nn.Module]:
    """Return the fully connected layers with their activations, and what follows the last."""
    hidden = _linears(weights, names.hidden)
    if names.head is None:
        hidden, head = hidden[:-1], hidden[-1:]
    elif f"{names.head}weight" in weights:
        head = [_linear(weights[f"{names.head}weight"], weights.get(f"{names.head}bias"))]
    else:  # inside a Sequential
        head = _linears(weights, names.head)[:1]
    if not head:
        raise ValueError(f"it has no layer {names.head or names.hidden}")
    activated = (part for layer in hidden for part in (layer, ACTIVATIONS[description.activation]()))
    return [*activated, *head, *_squash(weights, description)]


def _squash(weights: Weights, description: Description) -> list[nn.Module]:
    limit = description.clip_mean
    if description.family == "SAC" and "actor.mu.0.weight" in weights and limit > 0:
        # With state-dependent exploration the mean is cut off before it is squashed.
        return [nn.Hardtanh(-limit, limit), nn.Tanh()]
    # A matrix of noise: state-dependent exploration (gSDE). Stable-Baselines3 before 2.2 accepted `squash_output` without
    # it; it scaled the actions but applied no tanh.
    by_noise = description.squash_output and "log_std" in weights and weights["log_std"].ndim == 2
    return [nn.Tanh()] if by_noise or description.family in ("SAC", "TD3") else []


def _linears(weights: Weights, prefix: str) -> list[nn.Linear]:
    """Return the linear layers of a Sequential, in which activations take every second place."""
    mine = [key.removeprefix(prefix) for key in weights if key.startswith(prefix)]
    if not all(re.fullmatch(r"\d{1,4}\.(weight|bias)", key) for key in mine):
        raise ValueError(f"{prefix} holds more than a row of linear layers")
    found = sorted({int(key.partition(".")[0]) for key in mine})
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
        raise ValueError(f"a convolution has weights {tuple(weight.shape)}, NatureCNN's kernel is {kernel}×{kernel}")
    layer = nn.Conv2d(weight.shape[1], weight.shape[0], kernel, stride, device="meta")
    layer.weight, layer.bias = nn.Parameter(weight.float()), nn.Parameter(bias.float())
    return layer


PRINTED = 1e-3
"""Relative tolerance for bounds, because the file contains them as printed by numpy: of the bound, or of half the range."""


def read_sb3(
    path: Path, env_id: str, *, activation: str | None = None, normalization: Normalization | None = None
) -> PolicyTeacher:
    """Read a policy without running anything that the file holds; its identity depends on all that it was read with.

    `activation` is for files that record it only as a pickle; `normalization` are statistics used in its training.
    """
    file = read_sb3_file(path)
    description = describe(file, activation)
    family, trained = description.family, description.actions
    if trained.kind not in _NAMES[family].actions:
        raise IncompatibleModelError(f"{path}: {family} with actions {trained} cannot be read")
    with make_env(env_id) as env:
        seen, space = env.observation_space, env.action_space
        acted: Any = env.gym_env.action_space
    if normalization is not None and normalization.mean.shape != seen.shape:
        of = normalization.mean.shape
        raise IncompatibleModelError(f"the statistics are of observations {of}, {env_id} gives {seen.shape}")
    transpose = _is_turned_round(file.name, description.observations, seen, env_id, normalized=normalization is not None)
    network = Sb3Network(file, description, seen.shape, transpose, normalization)
    of_kind = isinstance(space, {"Box": Continuous, "Discrete": Discrete, "MultiDiscrete": MultiDiscrete}[trained.kind])
    same_shape = trained.kind != "Box" or trained.shape in (None, space.shape)
    same_parts = not isinstance(space, MultiDiscrete) or trained.nvec in (None, space.nvec)  # else cut at other places
    if not of_kind or network.n_outputs != space.n_outputs or not same_shape or not same_parts:
        raise IncompatibleModelError(f"{file.name} has actions {trained}, {env_id} has {space}")
    if trained.kind == "Box":
        _check_bounds(file.name, trained, acted, env_id)
    answers: Answers = "logits" if family == "A2C or PPO" and trained.kind != "Box" else "actions"
    squashed = trained.kind == "Box" and (family != "A2C or PPO" or description.squash_output)

    def ask(obs: NDArray[Any]) -> NetworkPlan:
        with torch.inference_mode():
            outputs: NDArray[Any] = network(tensor_of(obs)).numpy()
        if squashed:
            outputs = acted.low.ravel() + 0.5 * (outputs + 1.0) * (acted.high - acted.low).ravel()
        if not np.isfinite(outputs).all():  # neither argmax nor clip would show it
            raise NonFiniteError(f"{file.name} output contains NaN or Inf")
        if isinstance(space, Continuous):
            return space.certain(np.clip(outputs, space.bounds.low, space.bounds.high)[:, None])
        if answers == "logits":
            return space.plan(outputs[:, None])
        return space.certain(outputs.argmax(-1)[:, None])  # Q-values: a softmax over them would be no policy

    teacher = PolicyTeacher(ask, space, answers=answers, spec=ObservationSpec.of(seen), name=file.name, module=network)
    parts = [file.sha256, activation or "", "" if normalization is None else normalization.identity]
    teacher.identity = hashlib.sha256(" ".join(parts).encode()).hexdigest() if any(parts[1:]) else file.sha256
    return teacher


def _check_bounds(name: str, trained: SpaceText, acted: spaces.Box, env_id: str) -> None:
    """Refuse actions between other bounds, where the file prints them: the policy's outputs are scaled to them."""
    with np.errstate(over="ignore"):
        half = (acted.high.astype(np.float64) - acted.low).ravel() / 2
    rounded = PRINTED * np.where(np.isfinite(half), half, 0.0)
    for side, printed, bound in (("lowest", trained.low, acted.low), ("highest", trained.high, acted.high)):
        if printed is not None and not np.isclose(printed, bound.ravel(), rtol=PRINTED, atol=rounded).all():
            differ = f"{side} actions {_few(printed)}, {env_id} has {_few(bound.ravel())}"
            raise IncompatibleModelError(f"{name} was trained with {differ}; give the environment its training's wrappers")


def _few(numbers: Sequence[float] | NDArray[Any]) -> str:
    shown = ", ".join(f"{number:g}" for number in numbers[:4])
    return f"[{shown}{', …' if len(numbers) > 4 else ''}]"


def _is_turned_round(name: str, trained: SpaceText, seen: spaces.Box, env_id: str, *, normalized: bool) -> bool:
    """Return whether Stable-Baselines3 put the channels first (`VecTransposeImage`); refuse other observations."""
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
