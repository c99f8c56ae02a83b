"""SBX's `.zip` files: Stable-Baselines3's algorithms in JAX, read without JAX and without executing anything in them.

Such a file has no `policy.pth`: the policy stands in its settings as a pickle, whose description (`phr.teachers.inert`) has
the parameters that Flax keeps, kernels of shape (inputs, outputs). They get the names that Stable-Baselines3 gives them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

from phr.errors import CorruptFileError, IncompatibleModelError
from phr.teachers.inert import Described, Name, array_of, shown


class _Kind(NamedTuple):
    """Where an algorithm keeps the network that acts, and what Stable-Baselines3 calls its parts."""

    module: str  # Stable-Baselines3's, of the same policy
    state: str
    hidden: str
    head: str | None  # None where the last layer is one of the row
    n_heads: int = 1  # of a pair the second has the standard deviations


_KINDS = {
    "sbx.ppo.policies": _Kind(
        "stable_baselines3.common.policies", "actor_state", "mlp_extractor.policy_net.", "action_net."
    ),
    "sbx.dqn.policies": _Kind("stable_baselines3.dqn.policies", "qf_state", "q_net.q_net.", None),
    "sbx.sac.policies": _Kind("stable_baselines3.sac.policies", "actor_state", "actor.latent_pi.", "actor.mu.", 2),
    "sbx.tqc.policies": _Kind("sb3_contrib.tqc.policies", "actor_state", "actor.latent_pi.", "actor.mu.", 2),
    "sbx.td3.policies": _Kind("stable_baselines3.td3.policies", "actor_state", "actor.mu.", None),
}
_ACTIVATIONS = {
    "tanh": "Tanh", "relu": "ReLU", "elu": "ELU", "silu": "SiLU", "swish": "SiLU", "sigmoid": "Sigmoid",
    "softplus": "Softplus", "selu": "SELU",
}  # fmt: skip
"""JAX's functions and torch's modules that compute the same; JAX's gelu is an approximation."""


def is_sbx(module: str) -> bool:
    """Return whether a policy's class is SBX's."""
    return module.partition(".")[0] == "sbx"


def translated(name: str, module: str, policy: Any, data: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Return settings and parameters as Stable-Baselines3 would have written them for the same policy.

    `policy` is the description of the policy's pickle. IncompatibleModelError for one that phr does not read, such as
    CrossQ's; CorruptFileError for a file that SBX did not write so.
    """
    if (kind := _KINDS.get(module)) is None:
        makers = "PPO, DQN, SAC, TQC, TD3 and DDPG"
        raise IncompatibleModelError(
            f"{name}: its policy comes from {shown(module)}; of SBX phr reads {makers}; {_FUNCTION}"
        )
    state = policy.state if isinstance(policy, Described) else None
    trained = state.get(kind.state) if isinstance(state, dict) else None
    inner = trained.state if isinstance(trained, Described) else None
    tree = inner.get("params") if isinstance(inner, dict) else None
    layers = tree.get("params") if isinstance(tree, dict) else None
    if not isinstance(state, dict) or not isinstance(layers, dict):
        raise CorruptFileError(f"{name} was not written by SBX: it has no parameters of {kind.state}")
    rows = layers.keys() - ({"log_std"} if module == "sbx.ppo.policies" else set())
    n_layers = len(rows)
    if rows != {f"Dense_{index}" for index in range(n_layers)}:
        holds = shown(", ".join(sorted(map(str, layers))))
        raise IncompatibleModelError(f"{name}: its network holds {holds}, phr reads a row of Dense layers; {_FUNCTION}")
    actor = state.get("actor_class")
    if isinstance(actor, Name) and not is_sbx(actor.module):
        raise IncompatibleModelError(f"{name}: its network {shown(actor)} is not SBX's own; {_FUNCTION}")
    n_hidden = n_layers - kind.n_heads
    if n_hidden < 0:
        raise CorruptFileError(f"{name}: its network has {n_layers} layers, too few for {module}")
    weights: dict[str, Tensor] = {}
    most_bytes = 2 * len(data["policy"][":serialized:"])  # numbers of 16 bits become ones of 32
    for index in range(n_hidden + 1):
        last = index == n_hidden and kind.head is not None
        prefix = str(kind.head) if last else f"{kind.hidden}{2 * index}."
        weights |= _dense(name, layers[f"Dense_{index}"], prefix)
        if sum(each.nbytes for each in weights.values()) > most_bytes:  # a pickle may name one array again and again
            raise CorruptFileError(f"{name}: its parameters claim more than its pickle holds")
    squash = state.get("_squash_output") is True and module == "sbx.ppo.policies"
    settings = {
        **data,
        "policy_class": {"__module__": kind.module},
        "policy_kwargs": {
            "activation_fn": _activation(name, state, module),
            "normalize_images": False,  # SBX divides inside its convolutions alone
            "squash_output": squash,  # before 0.20 PPO's actions were scaled to their range, without a tanh
        },
    }
    return settings, weights


_FUNCTION = "give it as a function in module:factory (docs/bring-your-own-policy.md)"


def _dense(name: str, layer: Any, prefix: str) -> dict[str, Tensor]:
    if not isinstance(layer, dict) or layer.keys() != {"kernel", "bias"}:
        raise IncompatibleModelError(
            f"{name}: a Dense layer holds {shown(layer)}, phr reads a kernel and a bias; {_FUNCTION}"
        )
    kernel, bias = (_array(name, layer[part]) for part in ("kernel", "bias"))
    if kernel.ndim != 2:
        raise CorruptFileError(f"{name}: the kernel of a Dense layer has the shape {tuple(kernel.shape)}")
    return {f"{prefix}weight": kernel.T.contiguous(), f"{prefix}bias": bias}


def _array(name: str, described: Any) -> Tensor:
    """Return the array that JAX was to be given: numpy's, with its state beside it."""
    arguments = described.arguments if isinstance(described, Described) else ()
    if not str(getattr(described, "maker", "")).endswith("._reconstruct_array") or len(arguments) < 3:
        raise CorruptFileError(f"{name}: a parameter must be an array of JAX, got {shown(described)}")
    maker, given, state = arguments[:3]
    if not isinstance(given, tuple):
        raise CorruptFileError(f"{name}: a parameter's array has arguments {shown(given)}")
    try:
        return torch.from_numpy(array_of(Described(maker, given, state))).float()
    except (ValueError, TypeError) as error:
        raise CorruptFileError(f"{name}: a parameter's array cannot be read: {error}") from error


def _activation(name: str, policy: Mapping[str, Any], module: str) -> Name:
    """Return torch's name of an activation function that JAX compiled, or derived; SBX before 0.13 had no choice of it."""
    if "activation_fn" not in policy and module != "sbx.ppo.policies":
        return Name("torch.nn.modules.activation", "ReLU")
    described = policy.get("activation_fn")
    state = described.state if isinstance(described, Described) else None
    known = state if isinstance(state, dict) else {}
    found = known.get("function_name", known.get("__name__"))
    if isinstance(described, Name) and re.match(r"(jax|flax)\b", described.module):
        found = described.name
    if not isinstance(found, str) or found not in _ACTIVATIONS:
        wanted = ", ".join(sorted(_ACTIVATIONS))
        raise IncompatibleModelError(
            f"{name}: its activation function must be one of {wanted}, got {shown(found)}; {_FUNCTION}"
        )
    return Name("torch.nn.modules.activation", _ACTIVATIONS[found])
