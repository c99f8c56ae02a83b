"""Policies that others made, as planners of horizon 1."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from phr.actions import ActionSpace, Continuous, as_space
from phr.errors import IncompatibleModelError, InvalidDataError, NonFiniteError, PhrError, SettingError
from phr.networks.torch_planner import TorchPlanner
from phr.plan import NetworkPlan

Policy = Callable[[NDArray[Any]], Any]
"""A batch of observations → logits `(batch, n_outputs)`, or actions `(batch, *action_shape)`."""

_LARGEST = float(np.finfo(np.float32).max)


class PolicyTeacher:
    """A planner of horizon 1 around a policy of any make.

    Args:
        policy: Numpy in; numpy or a tensor out.
        actions: The action space, or its size.
        action_only: It answers actions instead of logits, so a plan is certain of them and soft losses mean nothing.
        obs_shape: Shape of one observation.
        name: For messages.
        module: The torch module behind it, where there is one.

    Attributes:
        identity: Tells it from another (`phr.teachers.identity`); empty until somebody says it.
    """

    horizon = 1
    identity = ""

    def __init__(
        self,
        policy: Policy,
        actions: int | ActionSpace,
        *,
        action_only: bool,
        obs_shape: tuple[int, ...],
        name: str,
        module: nn.Module | None = None,
    ) -> None:
        self.action_space = as_space(actions)
        self.n_actions = self.action_space.n_outputs
        self.action_only = action_only
        self.obs_shape = obs_shape
        self.name = name
        self.module = module
        self._policy = policy

    def plan(self, obs: NDArray[Any]) -> NetworkPlan:
        """Ask the policy once for a batch of observations.

        Raises:
            NonFiniteError: If a logit is not finite.
            InvalidDataError: If it answers something else than it did at first.
            IncompatibleModelError: If it fails.
        """
        answer = as_array(_ask(self._policy, obs, self.name), self.name)
        if kind_of(answer, len(obs), self.action_space, self.name) != self.action_only:
            raise InvalidDataError(f"{self.name} answers now logits, now actions")
        if self.action_only:
            return self.action_space.certain(answer.astype(self.action_space.dtype)[:, None])
        return self.action_space.plan(answer.astype(np.float32)[:, None])


def parameter_count(teacher: object) -> int | None:
    """Numbers that one look of a teacher multiplies with; None where it does not show them."""
    if isinstance(teacher, TorchPlanner):
        return teacher.network.n_parameters
    module = getattr(teacher, "module", None)
    return sum(parameter.numel() for parameter in module.parameters()) if isinstance(module, nn.Module) else None


def _ask(policy: Policy, obs: NDArray[Any], name: str, hint: str = "") -> Any:
    """What a policy answers; its failure in one line, which ends in the hint."""
    try:
        return policy(obs)
    except PhrError:
        raise
    except Exception as error:  # the user's own code
        raise IncompatibleModelError(f"{name} cannot be asked: {type(error).__name__}: {error}{hint}") from error


def as_array(answer: Any, name: str) -> NDArray[Any]:
    """What a policy answered, as an array.

    Raises:
        IncompatibleModelError: If it is a tuple, a dictionary, or no array at all.
    """
    if isinstance(answer, tuple | dict):
        raise IncompatibleModelError(
            f"{name} answers a {type(answer).__name__} of {len(answer)}; return logits or actions alone (a recurrent "
            "policy, which hands on a state, cannot be distilled)"
        )
    if isinstance(answer, Tensor):
        answer = answer.detach().cpu()
        answer = answer.float() if answer.is_floating_point() else answer  # numpy has no bfloat16
    try:
        array = np.asarray(answer)
    except (TypeError, ValueError) as error:
        raise IncompatibleModelError(f"{name} answers a {type(answer).__name__}, not an array: {error}") from error
    if array.dtype.kind not in "iuf":
        raise IncompatibleModelError(f"{name} answers {array.dtype} numbers; return float logits or whole-numbered actions")
    return array


def kind_of(answer: NDArray[Any], batch: int, space: ActionSpace, name: str) -> bool:
    """Whether an answer holds actions (True) or logits (False); continuous actions are never anything else.

    Raises:
        IncompatibleModelError: If it is neither.
        NonFiniteError: If a logit is not finite.
        InvalidDataError: If an action is outside the action space.
    """
    continuous, shape = isinstance(space, Continuous), (batch, *space.shape)
    if answer.dtype.kind == "f" and answer.shape == (shape if continuous else (batch, space.n_outputs)):
        if not (np.abs(answer) <= _LARGEST).all():  # a NaN is not either
            raise NonFiniteError(f"{name} answered with a NaN, an infinity, or a number that float32 does not hold")
        return continuous
    if answer.dtype.kind in "iu" and answer.shape == shape and not continuous:
        try:
            space.check(answer)
        except InvalidDataError as error:
            raise InvalidDataError(f"{name} answered none of its {space}: {error}") from error
        return True
    logits = "" if continuous else f"logits ({batch}, {space.n_outputs}) or whole-numbered "
    raise IncompatibleModelError(
        f"{name} answers {answer.dtype} of shape {answer.shape} to {batch} observations; expected float {logits}actions "
        f"({', '.join(map(str, shape))}{',' * (len(shape) == 1)})"
    )


def module_policy(module: nn.Module, name: str) -> Policy:
    """A torch module as a policy: it is shown float32 tensors, in inference mode.

    Raises:
        IncompatibleModelError: If it holds recurrent layers.
    """
    if any(isinstance(layer, nn.RNNBase | nn.RNNCellBase) for layer in module.modules()):
        raise IncompatibleModelError(
            f"{name} has recurrent layers; it carries a state from step to step, which cannot be distilled"
        )
    module.eval()
    device = next((parameter.device for parameter in module.parameters()), torch.device("cpu"))

    def ask(obs: NDArray[Any]) -> Any:
        with torch.inference_mode():
            return module(torch.from_numpy(obs).float().to(device))

    return ask


def teacher_of(
    policy: Any, sample: NDArray[Any], actions: int | ActionSpace, name: str, shown: str | None = None
) -> PolicyTeacher:
    """Wrap a policy after asking it once: what it answers decides whether it gives logits or actions.

    Args:
        policy: A torch module or any other callable.
        sample: Observations to ask it about, shape `(batch, *obs_shape)`.
        actions: The action space, or its size.
        name: For messages.
        shown: What the observations contain (`SplitEnv.shown`), for messages.

    Raises:
        IncompatibleModelError: If it cannot be asked, or answers neither logits nor actions, or answers the same
            observations differently.
    """
    module = policy if isinstance(policy, nn.Module) else None
    ask: Policy = policy if module is None else module_policy(module, name)
    _check_arguments(policy if module is None else module.forward, name)
    read = "" if shown is None else f" (observations: {shown})"
    many = " (a function is given a numpy array of many observations: torch.as_tensor(obs) makes a tensor of it)"
    first, second = (_ask(ask, sample, name, (many if module is None else "") + read) for _ in range(2))
    answer = as_array(first, name)
    try:
        action_only = kind_of(answer, len(sample), as_space(actions), name)
    except IncompatibleModelError as error:  # a wrong shape may come from misread observations
        raise IncompatibleModelError(f"{error}{read}") from error
    again = as_array(second, name)
    if answer.shape != again.shape or not np.allclose(answer, again, rtol=1e-4, atol=1e-4):  # threads add up in any order
        raise IncompatibleModelError(
            f"{name} answers the same observations differently: it samples or keeps a state; return logits, or the most "
            "likely action"
        )
    return PolicyTeacher(ask, actions, action_only=action_only, obs_shape=sample.shape[1:], name=name, module=module)


def _check_arguments(function: Callable[..., Any], name: str) -> None:
    """Refuse functions that need more than observations: masks, states."""
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):
        return  # built in, cannot be asked
    plain = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    needed = [
        each.name
        for each in parameters
        if each.default is each.empty and each.kind in (*plain, inspect.Parameter.KEYWORD_ONLY)
    ]
    if len(needed) > 1:
        raise IncompatibleModelError(
            f"{name} needs {', '.join(needed)}; phr gives observations alone (recurrent and action-masked policies "
            "cannot be distilled)"
        )


def check_soft(name: str, loss: str, allowed: Sequence[str], *, sample_labels: bool) -> None:
    """Refuse what needs probabilities where a teacher has none.

    Args:
        name: The teacher's.
        loss: What is asked for.
        allowed: Losses that compare actions alone.
        sample_labels: Whether it is to sample.

    Raises:
        SettingError: If the loss or the labels need probabilities.
    """
    if loss not in allowed or sample_labels:
        wanted = "sampled labels" if loss in allowed else f"the loss {loss}"
        only = " or ".join(allowed).replace("_", "-")
        raise SettingError(
            f"{name} is an action-only teacher, which allows only {only}: it has no probabilities for {wanted}"
        )
