"""Checkpoints of CleanRL as teachers: a table of tensors, whose names and shapes show which of its agents it is.

The agents are those of https://github.com/vwxyzjn/cleanrl (1.0 and later): ppo, ppo_atari, ppo_continuous_action,
rpo_continuous_action, dqn, dqn_atari, c51, c51_atari, pqn, sac_atari, sac_continuous_action, td3_continuous_action and
ddpg_continuous_action. Layer sizes come from the weights.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from torch import Tensor, nn

from phr.actions import Continuous, Discrete
from phr.envs.registry import make_env
from phr.errors import CorruptFileError, IncompatibleModelError, NonFiniteError, first_line
from phr.files import read_model_file
from phr.networks.policy import tensor_of
from phr.observations import ObservationSpec
from phr.plan import NetworkPlan
from phr.teachers.policy import Answers, PolicyTeacher, plan_of
from phr.teachers.weights import as_floats, read_tables

Weights = Mapping[str, Tensor]

_STRIDES = (4, 2, 1)
"""Of the three convolutions, those of Mnih et al. 2015."""
NORMALIZED = (
    "{} is a policy of CleanRL's continuous PPO, which normalises observations in its environment and does not keep the "
    "statistics: unless --env-id makes the same observations (--wrapper module:function), its actions and all that is "
    "measured with them mean nothing"
)


class CleanRLNetwork(nn.Module):
    """Observations → logits, Q-values or actions; `turned`: images come channels last, `scale` divides bytes by 255."""

    def __init__(
        self, layers: nn.Sequential, *, turned: bool, divisor: float, finish: Callable[[Tensor], Tensor] | None
    ) -> None:
        super().__init__()
        self.layers, self.turned, self.divisor, self._finish = layers, turned, divisor, finish
        self.eval().requires_grad_(False)

    def forward(self, obs: Tensor) -> Tensor:
        """Return outputs, shape `(batch, n_outputs)`."""
        x = obs.float()
        if obs.dtype == torch.float64 and not x.isfinite().all():
            raise NonFiniteError("an observation contains a number too large for float32, which the policy reads")
        x = x.movedim(-1, 1).contiguous() if self.turned else x
        answer: Tensor = self.layers(x / self.divisor if self.divisor != 1.0 else x)
        return answer if self._finish is None else self._finish(answer)


def read_cleanrl(path: Path, env_id: str) -> PolicyTeacher:
    """Read an agent to act in `env_id`; its identity is the file's SHA-256.

    CorruptFileError if it is no torch file of tensors, IncompatibleModelError if they are none of CleanRL's agents, or do
    not fit the environment.
    """
    content, name = read_model_file(path), str(path)
    weights = _agent_of(read_tables(content, name))
    with make_env(env_id) as env:
        seen, space = env.observation_space, env.action_space
        acted: Any = env.gym_env.action_space
    try:
        layers, answers, finish, kind, agent = _built(weights, name)
        images = [layer for layer in layers if isinstance(layer, nn.Conv2d)]
        turned = bool(images) and seen.shape[0] != images[0].in_channels and seen.shape[-1] == images[0].in_channels
        divisor = 255.0 if images and seen.dtype == np.uint8 else 1.0
        network = CleanRLNetwork(nn.Sequential(*layers), turned=turned, divisor=divisor, finish=finish)
        with torch.inference_mode():
            n_outputs = int(network(torch.zeros(1, *seen.shape)).shape[1])
    except (ValueError, RuntimeError, KeyError, TypeError, IndexError) as error:
        reason = first_line(error)
        raise IncompatibleModelError(f"{name} does not read observations of shape {seen.shape}: {reason}") from error
    fits = isinstance(space, Continuous if kind == "continuous" else Discrete) and n_outputs == space.n_outputs
    if not fits:
        raise IncompatibleModelError(f"{name} has {n_outputs} {kind} actions, {env_id} has {space}")
    if "action_scale" in weights:
        _check_scale(name, weights, acted, env_id)

    def ask(obs: NDArray[Any]) -> NetworkPlan:
        with torch.inference_mode():
            outputs: NDArray[Any] = network(tensor_of(obs)).numpy()
        return plan_of(outputs, space, answers, name)

    teacher = PolicyTeacher(ask, space, answers=answers, spec=ObservationSpec.of(seen), name=name, module=network)
    teacher.notices = (f"{name} is taken for CleanRL's {agent}",)
    teacher.identity = hashlib.sha256(content).hexdigest()
    if "actor_logstd" in weights:
        teacher.warnings = (NORMALIZED.format(name),)
    return teacher


_ACTORS = {"fc_mu": "td3_continuous_action or ddpg_continuous_action", "fc_mean": "sac_continuous_action"}


def _agent_of(tables: Mapping[str, Weights]) -> Weights:
    """Return the table that acts: the only one, the actor of a pair with its critics, or C51's."""
    return tables.get("") or tables.get("model_weights") or tables.get("0") or next(iter(tables.values()))


_Built = tuple[list[nn.Module], Answers, Callable[[Tensor], Tensor] | None, str, str]
"""Layers, what they return, what is done with it, kind of actions, and which agent it is taken for."""


def _built(weights: Weights, name: str) -> _Built:
    keys = {key.partition(".")[0] for key in weights}
    if keys == {"actor", "critic"}:
        return _row(weights, "actor.", nn.Tanh), "logits", None, "discrete", "ppo, tanh between its layers"
    if keys == {"actor_mean", "actor_logstd", "critic"}:
        return (
            _row(weights, "actor_mean.", nn.Tanh),
            "actions",
            None,
            "continuous",
            "ppo_continuous_action, tanh between its layers",
        )
    if keys == {"network", "actor", "critic"} and "actor.weight" in weights:
        return (
            [*_row(weights, "network.", nn.ReLU), nn.ReLU(), _linear(weights, "actor")],
            "logits",
            None,
            "discrete",
            "ppo_atari",
        )
    if keys == {"network", "atoms"}:
        atoms = as_floats(weights["atoms"])

        def expected(logits: Tensor) -> Tensor:
            means: Tensor = (logits.unflatten(1, (-1, len(atoms))).softmax(-1) * atoms).sum(-1)
            return means

        return _row(weights, "network.", nn.ReLU), "actions", expected, "discrete", "c51, ReLU between its layers"
    if keys == {"network"}:
        return _row(weights, "network.", nn.ReLU), "actions", None, "discrete", "dqn, ReLU between its layers"
    if keys == {"conv", "fc1", "fc_logits"}:
        middle = [nn.ReLU(), _linear(weights, "fc1"), nn.ReLU(), _linear(weights, "fc_logits")]
        return [*_row(weights, "conv.", nn.ReLU), nn.Flatten(), *middle], "logits", None, "discrete", "sac_atari"
    head = next((each for each in ("fc_mu", "fc_mean") if each in keys), "")
    if head and keys <= {"fc1", "fc2", "fc_mu", "fc_mean", "fc_logstd", "action_scale", "action_bias"}:
        scale, bias = (as_floats(weights[each]).flatten() for each in ("action_scale", "action_bias"))
        layers = [
            nn.Flatten(),
            _linear(weights, "fc1"),
            nn.ReLU(),
            _linear(weights, "fc2"),
            nn.ReLU(),
            _linear(weights, head),
        ]
        return layers, "actions", lambda means: means.tanh() * scale + bias, "continuous", _ACTORS[head]
    own = "load it in a module:factory of your own (docs/bring-your-own-policy.md)"
    raise IncompatibleModelError(f"{name} holds {', '.join(sorted(keys))}, which phr knows of no agent of CleanRL's; {own}")


_PLACES = (range(0, 40, 2), (0, 2, 4, 7, 9), [place for first in range(0, 60, 3) for place in (first, first + 1)])
"""Where a Sequential's layers stand: every second; behind three convolutions and a flattening; each with a LayerNorm."""


def _row(weights: Weights, prefix: str, activation: type[nn.Module]) -> list[nn.Module]:
    """Return the layers of a Sequential with the activation between them, flat where convolutions end or numbers begin."""
    mine = {key.removeprefix(prefix): value for key, value in weights.items() if key.startswith(prefix)}
    if not all(re.fullmatch(r"\d{1,3}\.(weight|bias)", key) for key in mine):
        raise CorruptFileError(f"{prefix} holds more than a row of layers: {', '.join(sorted(mine))}")
    layers: list[nn.Module] = []
    strides = iter(_STRIDES)
    places = sorted({int(key.partition(".")[0]) for key in mine})
    if not any(len(places) <= len(known) and places == list(known[: len(places)]) for known in _PLACES):
        raise ValueError(f"its layers {prefix} stand at {places}, as in no agent of CleanRL's")
    for place in places:
        weight, bias = mine.get(f"{place}.weight"), mine.get(f"{place}.bias")
        if weight is None or bias is None or not weight.ndim or weight.shape[:1] != bias.shape or not weight.numel():
            raise ValueError(f"layer {prefix}{place} has no weight, or no bias of its size")
        if weight.ndim == 1:  # normalised before the activation
            layers.append(nn.LayerNorm(len(weight)))
        else:
            layers += [activation()] if layers else []
            if weight.ndim == 2 and (not layers or any(isinstance(each, nn.Conv2d) for each in layers)):
                layers += [] if any(isinstance(each, nn.Flatten) for each in layers) else [nn.Flatten()]
            layers.append(_layer(weight, next(strides, 1)))
        layers[-1].load_state_dict({"weight": as_floats(weight), "bias": as_floats(bias)})
    return layers


def _layer(weight: Tensor, stride: int) -> nn.Module:
    if weight.ndim == 4:
        return nn.Conv2d(weight.shape[1], weight.shape[0], (weight.shape[2], weight.shape[3]), stride)
    if weight.ndim != 2:
        raise ValueError(f"a layer has weights of shape {tuple(weight.shape)}")
    return nn.Linear(weight.shape[1], weight.shape[0])


def _linear(weights: Weights, name: str) -> nn.Module:
    weight, bias = weights[f"{name}.weight"], weights[f"{name}.bias"]
    if not weight.numel() or weight.shape[:1] != bias.shape:
        raise ValueError(f"layer {name} has weights {tuple(weight.shape)} and biases {tuple(bias.shape)}")
    layer = _layer(weight, 1)
    layer.load_state_dict({part: as_floats(weights[f"{name}.{part}"]) for part in ("weight", "bias")})
    return layer


def _check_scale(name: str, weights: Weights, acted: spaces.Box, env_id: str) -> None:
    """Refuse actions between other bounds than the file keeps."""
    half, middle = (acted.high - acted.low).ravel() / 2, (acted.high + acted.low).ravel() / 2
    for key, here in (("action_scale", half), ("action_bias", middle)):
        if not np.allclose(weights[key].flatten().numpy(), here, rtol=1e-5, atol=1e-6):
            kept = weights[key].flatten().tolist()
            raise IncompatibleModelError(f"{name} was trained with {key} {kept}, {env_id} has {here.tolist()}")
