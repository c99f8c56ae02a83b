"""Stable-Baselines3's `.zip` files as teachers: A2C, PPO, DQN, SAC and TD3 (and DDPG, which is a TD3)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray

from phr.actions import MultiDiscrete
from phr.envs.registry import make_env
from phr.errors import IncompatibleModelError, NonFiniteError
from phr.networks.torch_planner import tensor_of
from phr.observations import ObservationSpec, scale_of
from phr.teachers.continuous import ContinuousTeacher
from phr.teachers.normalization import Normalization
from phr.teachers.policy import PolicyTeacher
from phr.teachers.sb3_description import Description, SpaceText, describe
from phr.teachers.sb3_file import Sb3File, read_sb3_file
from phr.teachers.sb3_network import Sb3Network

PRINTED = 1e-3
"""A bound is read from the text that numpy printed. Digits that a print option left out make no difference: so large a part
of the bound, or of half the range."""


def read_sb3(
    path: Path, env_id: str, *, activation: str | None = None, normalization: Normalization | None = None
) -> tuple[PolicyTeacher | ContinuousTeacher, str]:
    """Read a policy without running anything that the file holds.

    Args:
        path: The `.zip`.
        env_id: Where it acts; the file does not say.
        activation: The activation function, for files that do not tell it readably.
        normalization: Statistics that it was trained with.

    Returns:
        The teacher, and the SHA-256 of the file.

    Raises:
        UnknownModelError: If there is no such file.
        CorruptFileError: If the file was truncated, edited, or made to do harm.
        IncompatibleModelError: If it holds a policy of another kind, or one that does not fit the environment.
        SettingError: If the activation function has to be told.
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
        if not np.isfinite(answer).all():  # an action chosen from NaN would look like any other
            raise NonFiniteError(f"{file.name} answered with a NaN or an infinity")
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
    """Compare the observations; True where Stable-Baselines3 put the channels first (`VecTransposeImage`).

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
