"""Stable-Baselines3's and sb3-contrib's `.zip` files as teachers: A2C, PPO, TRPO, DQN, QR-DQN, SAC, TQC, TD3, DDPG, ARS."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from torch import Tensor, nn

from phr.actions import Continuous, Discrete, MultiDiscrete
from phr.envs.layers import MASKS, SHOWN
from phr.envs.registry import make_env
from phr.errors import IncompatibleModelError, NonFiniteError, first_line
from phr.networks.policy import tensor_of
from phr.observations import ObservationSpec, scale_of
from phr.plan import NetworkPlan
from phr.teachers.normalization import Normalization, Statistics
from phr.teachers.policy import Answers, PolicyTeacher, RecurrentTeacher, plan_of
from phr.teachers.sb3_file import Description, Family, Sb3File, describe, read_sb3_file
from phr.teachers.weights import as_floats

Weights = Mapping[str, Tensor]


class _Names(NamedTuple):
    """Where a family keeps its parameters."""

    extractors: tuple[str, ...]  # prefixes of the convolutions; the first that is there acts
    hidden: str  # prefix of the fully connected layers
    head: str | None  # prefix of the last layer; None where it is the last of `hidden`
    further: tuple[str, ...]  # how other parameters begin, which do not act
    actions: tuple[str, ...]  # Gymnasium spaces that it acts in


_LSTM = "lstm_actor."
_CRITICS = ("critic.", "critic_target.")
_NAMES: dict[Family, _Names] = {
    "A2C, PPO or TRPO": _Names(
        ("pi_features_extractor.", "features_extractor."),
        "mlp_extractor.policy_net.",
        "action_net.",
        ("vf_features_extractor.", "mlp_extractor.value_net.", "value_net.", "log_std", "lstm_critic.", "critic.", _LSTM),
        ("Discrete", "MultiDiscrete", "Box"),
    ),
    "DQN": _Names(("q_net.features_extractor.",), "q_net.q_net.", None, ("q_net_target.",), ("Discrete",)),
    "QR-DQN": _Names(
        ("quantile_net.features_extractor.",), "quantile_net.quantile_net.", None, ("quantile_net_target.",), ("Discrete",)
    ),
    "SAC or TQC": _Names(
        ("actor.features_extractor.",), "actor.latent_pi.", "actor.mu.", ("actor.log_std", *_CRITICS), ("Box",)
    ),
    "TD3 or DDPG": _Names(("actor.features_extractor.",), "actor.mu.", None, ("actor_target.", *_CRITICS), ("Box",)),
    "ARS": _Names(("features_extractor.",), "action_net.", None, (), ("Discrete", "Box")),
}

_NATURE = {"cnn.0": (8, 4), "cnn.2": (4, 2), "cnn.4": (3, 1)}
"""Kernel and stride of Stable-Baselines3's `NatureCNN`."""


class _Entry(nn.Module):
    """One entry of an observation → its features; an observation that is no Dict has one.

    `place` is where it lies in the flat row, None for a whole observation; `turned`: an image comes channels last.
    """

    def __init__(
        self, space: spaces.Box | None, place: slice | None, *, turned: bool, divisor: float, layers: list[nn.Module]
    ) -> None:
        super().__init__()
        self.place, self.shape = place, None if space is None else space.shape
        self.turned, self.divisor, self.layers = turned, divisor, nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        """Return features, shape `(batch, n)`."""
        if self.place is not None:
            x = x[:, self.place]
            x = x if self.shape is None else x.unflatten(1, self.shape)
        x = x.movedim(-1, 1).contiguous() if self.turned else x
        features: Tensor = self.layers(x if self.divisor == 1.0 else x / self.divisor)
        return features


class Sb3Network(nn.Module):
    """Observations as the environment gives them → logits, Q-values, or continuous actions before their scaling.

    `legal` is where a row tells which actions are legal; of a row of stacked observations only the `latest` numbers are
    read, at its end. `n_outputs` are the outputs for one observation.
    """

    def __init__(
        self,
        file: Sb3File,
        description: Description,
        shape: tuple[int, ...],
        entries: list[_Entry],
        scaling: Normalization | None,
        legal: slice | None = None,
        latest: int | None = None,
    ) -> None:
        super().__init__()
        weights, names = file.weights, _NAMES[description.family]
        known = (*names.extractors, names.hidden, names.head or names.hidden, *names.further)
        unknown = [key for key in weights if not key.startswith(known)]
        if unknown:
            raise IncompatibleModelError(f"{file.name}: phr knows no parameter {unknown[0]!r} of {description.family}")
        self.scaling, self.entries, self.legal = scaling, nn.ModuleList(entries), legal
        self.latest = latest
        self.n_quantiles = description.n_quantiles if description.family == "QR-DQN" else 1
        try:
            self.lstm = _lstm(weights) if description.is_recurrent else None
            self.layers = nn.Sequential(*_layers(weights, names, description))
            with torch.inference_mode():
                answer = self.eval()(torch.zeros(1, *shape))
        except (ValueError, RuntimeError) as error:
            reason = first_line(error)
            raise IncompatibleModelError(f"{file.name} does not read observations of shape {shape}: {reason}") from error
        self.n_outputs = int(answer.shape[1])
        self.requires_grad_(False)

    def forward(self, obs: Tensor) -> Tensor:
        """Return outputs, shape `(batch, n_outputs)`; with an LSTM those at the beginning of an episode."""
        return self.step(obs, None)[0]

    def step(self, obs: Tensor, state: tuple[Tensor, ...] | None) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Return outputs, and the state of the LSTM after these observations; without one it is empty."""
        obs = obs if self.latest is None else obs[..., -self.latest :]
        x = obs.float() if self.scaling is None else self.scaling.apply(obs)
        if obs.dtype == torch.float64 and not x.isfinite().all():
            raise NonFiniteError("an observation contains a number too large for float32, which the policy reads")
        first, *others = self.entries
        features = first(x) if not others else torch.cat([entry(x) for entry in self.entries], dim=1)
        after: tuple[Tensor, ...] = ()
        if self.lstm is not None:
            sequence, after = self.lstm(features[None], state)
            features = sequence[0]
        answer: Tensor = self.layers(features)
        if self.legal is not None:
            answer = answer.where(x[:, self.legal] > 0, answer.amin(1, keepdim=True) - _ILLEGAL)
        answer = answer if self.n_quantiles == 1 else answer.unflatten(1, (self.n_quantiles, -1)).mean(1)
        return answer, after


_ILLEGAL = 20.0
"""Nats of an illegal action below the least likely legal one."""


def _features(file: Sb3File, names: _Names, entry: str = "") -> list[nn.Module]:
    """Return the convolutions of an observation, or of a Dict's entry, and what makes one vector of their outputs."""
    mine = {}
    for prefix in names.extractors:
        begin = f"{prefix}extractors.{entry}." if entry else prefix
        if mine := {key.removeprefix(begin): value for key, value in file.weights.items() if key.startswith(begin)}:
            break
    if not mine:
        return [nn.Flatten()]
    if set(mine) != {f"{layer}.{part}" for layer in (*_NATURE, "linear.0") for part in ("weight", "bias")}:
        holds = f"its features extractor holds {', '.join(sorted(mine))}, which is not the Nature network"
        raise IncompatibleModelError(f"{file.name}: {holds}")
    layers: list[nn.Module] = []
    for layer, (kernel, stride) in _NATURE.items():
        layers += [_convolution(mine[f"{layer}.weight"], mine[f"{layer}.bias"], kernel, stride), nn.ReLU()]
    return [*layers, nn.Flatten(), _linear(mine["linear.0.weight"], mine["linear.0.bias"]), nn.ReLU()]


def _layers(weights: Weights, names: _Names, description: Description) -> list[nn.Module]:
    """Return the fully connected layers with their activations, and what follows the last."""
    bare = names.hidden if f"{names.hidden}weight" in weights else ""  # a linear policy of older files, no Sequential
    hidden = [_linear(weights[f"{bare}weight"], weights.get(f"{bare}bias"))] if bare else _linears(weights, names.hidden)
    if names.head is None:
        hidden, head = hidden[:-1], hidden[-1:]
    elif f"{names.head}weight" in weights:
        head = [_linear(weights[f"{names.head}weight"], weights.get(f"{names.head}bias"))]
    else:  # inside a Sequential
        head = _linears(weights, names.head)[:1]
    if not head:
        raise ValueError(f"it has no layer {names.head or names.hidden}")
    have_bias = {layer.bias is not None for layer in (*hidden, *head)}
    if have_bias != {True} and (have_bias != {False} or description.family != "ARS"):  # whose policies may be without
        raise ValueError("a linear layer has no bias")
    activated = (part for layer in hidden for part in (layer, description.activation()))
    return [*activated, *head, *_squash(weights, description)]


def _squash(weights: Weights, description: Description) -> list[nn.Module]:
    limit = description.clip_mean
    if description.family == "SAC or TQC" and "actor.mu.0.weight" in weights and limit > 0:
        # With state-dependent exploration the mean is cut off before it is squashed.
        return [nn.Hardtanh(-limit, limit), nn.Tanh()]
    # A matrix of noise: state-dependent exploration (gSDE). Stable-Baselines3 before 2.2 accepted `squash_output` without
    # it; it scaled the actions but applied no tanh.
    by_noise = description.squash_output and "log_std" in weights and weights["log_std"].ndim == 2
    always = description.family in ("SAC or TQC", "TD3 or DDPG") or (
        description.family == "ARS" and description.squash_output
    )
    return [nn.Tanh()] if (by_noise or always) and isinstance(description.actions, spaces.Box) else []


def _linears(weights: Weights, prefix: str) -> list[nn.Linear]:
    """Return the linear layers of a Sequential, in which activations take every second place."""
    mine = [key.removeprefix(prefix) for key in weights if key.startswith(prefix)]
    if not all(re.fullmatch(r"\d{1,4}\.(weight|bias)", key) for key in mine):
        raise ValueError(f"{prefix} holds more than a row of linear layers")
    found = sorted({int(key.partition(".")[0]) for key in mine})
    if found != list(range(0, 2 * len(found), 2)):
        raise ValueError(f"the layers of {prefix} stand at {found}, not at every second place")
    return [_linear(weights.get(f"{prefix}{place}.weight"), weights.get(f"{prefix}{place}.bias")) for place in found]


def _lstm(weights: Weights) -> nn.LSTM:
    """Return the LSTM that acts; ValueError if its layers are not those of a plain one."""
    mine = {key.removeprefix(_LSTM): as_floats(value) for key, value in weights.items() if key.startswith(_LSTM)}
    first, inner = mine.get("weight_ih_l0"), mine.get("weight_hh_l0")
    if first is None or inner is None or first.ndim != 2 or inner.shape[:1] != first.shape[:1]:
        raise ValueError("its LSTM has no first layer")
    if inner.shape != (4 * inner.shape[1], inner.shape[1]) or not first.numel():  # before anything of that size is made
        raise ValueError(f"its LSTM has weights of shape {tuple(inner.shape)}")
    n_layers = len([key for key in mine if key.startswith("weight_ih_l")])
    lstm = nn.LSTM(first.shape[1], inner.shape[1], n_layers, bias="bias_ih_l0" in mine)
    lstm.load_state_dict(mine)
    return lstm


def _linear(weight: Tensor | None, bias: Tensor | None) -> nn.Linear:
    if weight is None or weight.ndim != 2 or not weight.numel() or (bias is not None and bias.shape != weight.shape[:1]):
        raise ValueError("a linear layer has weights or biases of a wrong shape")
    layer = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None, device="meta")
    layer.weight = nn.Parameter(as_floats(weight))
    if bias is not None:
        layer.bias = nn.Parameter(as_floats(bias))
    return layer


def _convolution(weight: Tensor, bias: Tensor, kernel: int, stride: int) -> nn.Conv2d:
    if weight.ndim != 4 or weight.shape[2:] != (kernel, kernel) or bias.shape != weight.shape[:1]:
        raise ValueError(f"a convolution has weights {tuple(weight.shape)}, NatureCNN's kernel is {kernel}×{kernel}")
    layer = nn.Conv2d(weight.shape[1], weight.shape[0], kernel, stride, device="meta")
    layer.weight, layer.bias = nn.Parameter(as_floats(weight)), nn.Parameter(as_floats(bias))
    return layer


def read_sb3(path: Path, env_id: str, statistics: Statistics | None = None, *, is_known: bool = False) -> PolicyTeacher:
    """Read a policy without running anything that the file holds; its identity depends on all that it was read with.

    `statistics` are those of the observations in its training; `is_known`: none are missing. Otherwise it warns where the
    file shows that there were some.
    """
    file = read_sb3_file(path)
    return sb3_teacher(file, describe(file), env_id, statistics, is_known=is_known)


def sb3_teacher(
    file: Sb3File, description: Description, env_id: str, statistics: Statistics | None, *, is_known: bool
) -> PolicyTeacher:
    """Build the teacher of a file that was read and described; see `read_sb3`."""
    family, trained = description.family, description.actions
    if type(trained).__name__ not in _NAMES[family].actions:
        raise IncompatibleModelError(f"{file.name}: {family} with actions {trained} cannot be read")
    with make_env(env_id) as env:
        seen, space = env.observation_space, env.action_space
        shown: Any = getattr(env.gym_env, "observation_space", None)
        acted: Any = env.gym_env.action_space
    reads, latest = _last_frame(file.name, description, seen, env_id) if description.is_recurrent else (seen, None)
    legal = _legal(file.name, shown, env_id) if description.is_masked else None
    if description.is_masked and statistics is not None and not isinstance(description.observations, spaces.Dict):
        statistics = replace(statistics, entries={SHOWN: statistics.entries[None]} if None in statistics.entries else {})
    try:
        normalization = None if statistics is None else statistics.over(shown, reads)
    except IncompatibleModelError as error:
        raise IncompatibleModelError(f"{file.name} has other observations than {env_id}: {error}") from error
    entries = _entries(file, description, shown, reads, env_id, normalized=normalization is not None)
    network = Sb3Network(file, description, seen.shape, entries, normalization, legal, latest)
    of_kind = isinstance(
        space, {"Box": Continuous, "Discrete": Discrete, "MultiDiscrete": MultiDiscrete}[type(trained).__name__]
    )
    same_shape = not isinstance(trained, spaces.Box) or trained.shape == space.shape
    same_parts = not isinstance(trained, spaces.MultiDiscrete) or trained.nvec.tolist() == list(getattr(space, "nvec", ()))
    if not of_kind or network.n_outputs != space.n_outputs or not same_shape or not same_parts:
        raise IncompatibleModelError(f"{file.name} has actions {trained}, {env_id} has {space}")
    if isinstance(trained, spaces.Box):
        _check_bounds(file.name, trained, acted, env_id)
    answers: Answers = "logits" if family == "A2C, PPO or TRPO" and not isinstance(trained, spaces.Box) else "actions"
    squashed = isinstance(trained, spaces.Box) and (family in ("SAC or TQC", "TD3 or DDPG") or description.squash_output)

    def step(obs: NDArray[Any], state: Any) -> tuple[NetworkPlan, Any]:
        with torch.inference_mode():
            answer, after = network.step(tensor_of(obs), state)
        return planned(answer.numpy()), after

    def planned(outputs: NDArray[Any]) -> NetworkPlan:
        if squashed:
            outputs = acted.low.ravel() + 0.5 * (outputs + 1.0) * (acted.high - acted.low).ravel()
        return plan_of(outputs, space, answers, file.name)

    given: dict[str, Any] = {"answers": answers, "spec": ObservationSpec.of(seen), "name": file.name, "module": network}
    if description.is_recurrent:
        teacher: PolicyTeacher = RecurrentTeacher(step, space, n_frames=seen.shape[-1] // (latest or 1), **given)
    else:
        teacher = PolicyTeacher(lambda obs: step(obs, None)[0], space, **given)
    parts = [file.sha256, *([] if statistics is None else [statistics.identity])]
    teacher.identity = hashlib.sha256(" ".join(parts).encode()).hexdigest() if parts[1:] else file.sha256
    if description.by_vecnormalize and not is_known:
        teacher.warnings = (f"{file.name} was trained with VecNormalize, and {NO_STATISTICS}",)
    if description.by_vecnormalize is False and normalization is not None:
        teacher.warnings = (f"{file.name} was trained on observations as they are; with statistics its actions are others",)
    return teacher


NO_STATISTICS = (
    "no statistics are given: unless it normalised rewards alone, its actions and all that is measured with them mean "
    "nothing. Add --normalize vecnormalize.pkl of that training"
)
_CLOSE = 1e-6
"""Relative tolerance for bounds, of the bound or of half the range: old files keep some in another number type."""


def _check_bounds(name: str, trained: spaces.Box, acted: spaces.Box, env_id: str) -> None:
    """Refuse actions between other bounds: the policy's outputs are scaled to them."""
    with np.errstate(over="ignore"):
        half = (acted.high.astype(np.float64) - acted.low).ravel() / 2
    rounded = _CLOSE * np.where(np.isfinite(half), half, 0.0)
    for side, known, bound in (("lowest", trained.low, acted.low), ("highest", trained.high, acted.high)):
        if not np.isclose(known.ravel(), bound.ravel(), rtol=_CLOSE, atol=rounded).all():
            differ = f"{side} actions {_few(known.ravel())}, {env_id} has {_few(bound.ravel())}"
            raise IncompatibleModelError(f"{name} was trained with {differ}; give the environment its training's wrappers")


def _few(numbers: Sequence[float] | NDArray[Any]) -> str:
    shown = ", ".join(f"{number:g}" for number in numbers[:4])
    return f"[{shown}{', …' if len(numbers) > 4 else ''}]"


def _entries(
    file: Sb3File,
    description: Description,
    shown: spaces.Space[Any] | None,
    seen: spaces.Box,
    env_id: str,
    *,
    normalized: bool,
) -> list[_Entry]:
    """Return what reads each entry of an observation, in the file's order; refuse other observations."""
    trained, names = description.observations, _NAMES[description.family]
    if not isinstance(trained, spaces.Dict) and not description.is_masked:
        turned = _is_turned_round(file.name, trained, seen, env_id, normalized=normalized)
        return [_Entry(None, None, turned=turned, divisor=_divisor(description, trained), layers=_features(file, names))]
    wanted = trained.spaces if isinstance(trained, spaces.Dict) else {SHOWN: trained}
    there = shown.spaces if isinstance(shown, spaces.Dict) else {}
    if set(there) - ({MASKS} if description.is_masked else set()) != set(wanted):
        found = ", ".join(there) or f"{seen.dtype} of shape {seen.shape}"
        raise IncompatibleModelError(f"{file.name} reads a Dict of {', '.join(wanted)}, {env_id} gives {found}")
    places = _places(there)
    entries = []
    for key, part in wanted.items():
        mine, box = there[key], None
        turned = False
        if isinstance(mine, spaces.Box) and isinstance(part, spaces.Box):
            turned = _is_turned_round(f"{file.name}: entry {key!r}", part, mine, env_id, normalized=normalized)
            box = mine
        elif type(mine) is not type(part) or spaces.flatdim(mine) != spaces.flatdim(part):
            raise IncompatibleModelError(f"{file.name}: entry {key!r} reads {part}, {env_id} gives {mine}")
        divisor, layers = (
            _divisor(description, part),
            _features(file, names, key if isinstance(trained, spaces.Dict) else ""),
        )
        entries.append(_Entry(box, places[key], turned=turned, divisor=divisor, layers=layers))
    return entries


def _last_frame(name: str, description: Description, seen: spaces.Box, env_id: str) -> tuple[spaces.Box, int]:
    """Return the last of the observations that the environment stacks, which an LSTM reads, and its last axis's length."""
    trained = description.observations
    shape = trained.shape if isinstance(trained, spaces.Box) else ()
    if len(shape) == 3 and shape[1:] == seen.shape[:2]:  # channels first by VecTransposeImage
        shape = (*shape[1:], shape[0])
    if not shape or len(shape) != len(seen.shape) or shape[:-1] != seen.shape[:-1] or seen.shape[-1] % shape[-1]:
        raise IncompatibleModelError(f"{name} reads {trained}, {env_id} gives {seen.dtype} of shape {seen.shape}")
    depth = shape[-1]
    return spaces.Box(seen.low[..., -depth:], seen.high[..., -depth:], dtype=np.dtype(seen.dtype).type), depth


def _places(parts: Mapping[str, spaces.Space[Any]]) -> dict[str, slice]:
    """Return where each entry of a Dict lies in its flat row."""
    places, end = {}, 0
    for key, part in parts.items():
        begin, end = end, end + spaces.flatdim(part)
        places[key] = slice(begin, end)
    return places


def _legal(name: str, shown: spaces.Space[Any] | None, env_id: str) -> slice:
    """Return where the masks lie that a MaskablePPO needs."""
    if not isinstance(shown, spaces.Dict) or MASKS not in shown.spaces:
        raise IncompatibleModelError(
            f"{name} masks illegal actions, and {env_id} shows no masks; add ?action-masks to the id"
        )
    return _places(shown.spaces)[MASKS]


def _is_image(space: spaces.Space[Any]) -> bool:
    """Whether Stable-Baselines3 takes it for an image: bytes from 0 to 255 along three axes."""
    return isinstance(space, spaces.Box) and len(space.shape) == 3 and scale_of(space) != 1.0


def _divisor(description: Description, space: spaces.Space[Any]) -> float:
    return 255.0 if description.normalize_images and _is_image(space) else 1.0


def _is_turned_round(name: str, trained: spaces.Space[Any], seen: spaces.Box, env_id: str, *, normalized: bool) -> bool:
    """Return whether Stable-Baselines3 put the channels first (`VecTransposeImage`); refuse other observations."""
    if not isinstance(trained, spaces.Box | spaces.Discrete) or (
        isinstance(trained, spaces.Discrete) and trained.start != 0
    ):
        raise IncompatibleModelError(
            f"{name} reads {trained} observations; phr reads policies on Box, Discrete(n) and Dict ones"
        )
    shape = (int(trained.n),) if isinstance(trained, spaces.Discrete) else trained.shape
    image = (seen.shape[2], *seen.shape[:2]) if len(seen.shape) == 3 else None
    if shape not in (seen.shape, image) or not (normalized or _same_numbers(trained, seen)):
        kind = f"{trained.dtype} of shape {trained.shape}" if isinstance(trained, spaces.Box) else trained
        raise IncompatibleModelError(f"{name} reads {kind}, {env_id} gives {seen.dtype} of shape {seen.shape}")
    return shape != seen.shape


def _same_numbers(trained: spaces.Space[Any], seen: spaces.Box) -> bool:
    """Whether both have the same number type and scale: a policy trained on bytes reads neither fractions nor 0/1 planes."""
    if isinstance(trained, spaces.Discrete):
        return True
    if trained.dtype == seen.dtype == np.uint8:
        return scale_of(trained) == scale_of(seen)
    both = all(np.issubdtype(each.dtype, np.floating) for each in (trained, seen))
    return both or trained.dtype == seen.dtype
