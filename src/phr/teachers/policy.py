"""Third-party policies as planners of horizon 1."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from phr.actions import ActionSpace, Continuous, Discrete, MultiDiscrete
from phr.errors import (
    FOREIGN_ERRORS,
    IncompatibleModelError,
    InvalidDataError,
    NonFiniteError,
    PhrError,
    SettingError,
    error_text,
)
from phr.networks.policy import TorchPlanner, tensor_of
from phr.observations import ObservationSpec
from phr.plan import Memory, NetworkPlan

Policy = Callable[[NDArray[Any]], Any]
"""A batch of observations → logits or probabilities `(batch, n_outputs)`, or actions `(batch, *action_shape)`."""

Ask = Callable[[NDArray[Any]], NetworkPlan]
Answers = Literal["logits", "probabilities", "actions"]
"""What a policy returns."""

_LARGEST = np.float64(np.finfo(np.float32).max)  # numpy would cast a Python float to float16
_LEAST_PROBABILITY = float(np.finfo(np.float32).tiny)
_SUM_TO_ONE = 1e-3
"""Largest distance of a row of rounded probabilities from 1."""
_SAME = 1e-4
"""Largest relative difference between two outputs for the same observations: threads sum in any order."""


class PolicyTeacher:
    """A planner of horizon 1 around any policy; `ask` plans for observations that were checked.

    `identity` is what `phr.teachers.foreign.identity_of` returns, empty until the reader sets it; `module` is the torch
    module behind the policy, where there is one.
    """

    horizon, identity, checks_plans = 1, "", True
    warnings: tuple[str, ...] = ()
    """What makes results with it doubtful, for the user to read beside them."""
    notices: tuple[str, ...] = ()
    """How it was read, where the user left that open."""

    def __init__(
        self, ask: Ask, space: ActionSpace, *, answers: Answers, spec: ObservationSpec, name: str, module: nn.Module | None
    ) -> None:
        self.action_space, self.n_actions = space, space.n_outputs
        self.answers, self.action_only = answers, answers == "actions"
        self.obs_spec, self.name, self.module, self._ask = spec, name, module, ask

    def plan(self, obs: Any) -> NetworkPlan:
        """Ask the policy once; a plan of actions alone is certain of them."""
        return self._ask(self.obs_spec.check(obs))


Step = Callable[[NDArray[Any], Any], tuple[NetworkPlan, Any]]
"""(observations, hidden state or None at an episode's beginning) → plan, hidden state: tensors `(layers, batch, units)`."""


class RecurrentTeacher(PolicyTeacher):
    """A policy with an LSTM: what it plans depends on all observations of the episode, which `memory` keeps.

    `plan` alone answers as at the beginning of an episode. `n_frames` are the observations that the environment stacks for
    the student; the policy reads the last one of them.
    """

    remembers = True

    def __init__(self, step: Step, space: ActionSpace, *, n_frames: int, **given: Any) -> None:
        super().__init__(lambda obs: step(obs, None)[0], space, **given)
        self._step, self.n_frames = step, n_frames

    def memory(self, n: int) -> Memory:
        """Return the memory of n environments."""
        return _LstmMemory(self, self._step, n)


class _LstmMemory(Memory):
    remembers = True

    def __init__(self, teacher: RecurrentTeacher, step: Step, n: int) -> None:
        super().__init__(teacher)
        self._spec, self._step, self._n = teacher.obs_spec, step, n
        self._state: tuple[Tensor, ...] | None = None

    def plan(self, obs: NDArray[Any], lanes: NDArray[Any]) -> NetworkPlan:
        before = None if self._state is None else tuple(part[:, lanes] for part in self._state)
        plan, after = self._step(self._spec.check(obs), before)
        if self._state is None:
            self._state = tuple(torch.zeros(len(part), self._n, part.shape[2]) for part in after)
        for whole, part in zip(self._state, after, strict=True):
            whole[:, lanes] = part
        return plan

    def forget(self, lanes: NDArray[Any]) -> None:
        for part in self._state or ():
            part[:, lanes] = 0.0


def plan_of(outputs: NDArray[Any], space: ActionSpace, answers: Answers, name: str) -> NetworkPlan:
    """Return a network's outputs `(batch, n_outputs)` as a plan of one step; NonFiniteError for NaN and infinity.

    Continuous actions are cut off at their bounds. Discrete `actions` are rated, as by Q-values: the highest is certain,
    because a softmax over such ratings would be no policy.
    """
    if not np.isfinite(outputs).all():  # neither argmax nor clip would show it
        raise NonFiniteError(f"{name} output contains NaN or Inf")
    if isinstance(space, Continuous):
        return space.certain(np.clip(outputs, space.bounds.low, space.bounds.high)[:, None])
    return space.plan(outputs[:, None]) if answers == "logits" else space.certain(outputs.argmax(-1)[:, None])


def parameter_count(teacher: object) -> int | None:
    """Return the number of parameters that one look of a teacher uses; None where unknown."""
    if isinstance(teacher, TorchPlanner):
        return teacher.network.n_parameters
    module = getattr(teacher, "module", None)
    return sum(parameter.numel() for parameter in module.parameters()) if isinstance(module, nn.Module) else None


def _called(policy: Policy, obs: NDArray[Any], name: str, hint: str = "") -> Any:
    """Call a policy on a copy of the observations, which it may change; an error is one line that ends in the hint."""
    try:
        return policy(obs.copy())
    except PhrError:
        raise
    except FOREIGN_ERRORS as error:  # the user's own code
        raise IncompatibleModelError(f"{name} cannot be called: {error_text(error)}{hint}") from error


def as_array(answer: Any, name: str) -> NDArray[Any]:
    """Return what a policy returned as an array of numbers."""
    if isinstance(answer, tuple | dict):
        alone = "return logits or actions alone (a recurrent policy, which hands on a state, cannot be distilled)"
        raise IncompatibleModelError(f"{name} returns a {type(answer).__name__} of {len(answer)}; {alone}")
    if isinstance(answer, Tensor):
        answer = answer.detach().cpu()
        answer = answer.float() if answer.is_floating_point() else answer  # numpy has no bfloat16
    try:
        array = np.asarray(answer)
    except (TypeError, ValueError) as error:
        raise IncompatibleModelError(f"{name} must return an array, got a {type(answer).__name__}: {error}") from error
    if array.dtype.kind not in "iuf":
        raise IncompatibleModelError(f"{name} must return float logits or integer actions, got {array.dtype}")
    return array


def kind_of(answer: NDArray[Any], batch: int, space: ActionSpace, name: str) -> Answers:
    """Return what an answer contains.

    Floats of the right shape are continuous actions, else probabilities where all rows are distributions, else logits.
    Integers are actions; a Discrete action may have an axis of its own, `(batch, 1)`. InvalidDataError if an action is
    outside the action space, NonFiniteError if a number is not finite, IncompatibleModelError for anything else.
    """
    continuous, shape = isinstance(space, Continuous), (batch, *space.shape)
    if answer.dtype.kind == "f" and answer.shape == (shape if continuous else (batch, space.n_outputs)):
        if not (np.abs(answer) <= _LARGEST).all():  # a NaN is not either
            raise NonFiniteError(f"{name} output contains NaN, Inf, or a number too large for float32")
        return "actions" if continuous else "probabilities" if _are_distributions(answer, space) else "logits"
    column = isinstance(space, Discrete) and answer.shape == (batch, 1)
    if answer.dtype.kind in "iu" and (answer.shape == shape or column) and not continuous:
        try:
            space.check(answer.reshape(shape))
        except InvalidDataError as error:
            raise InvalidDataError(f"{name} returned an action outside {space}: {error}") from error
        return "actions"
    logits = "" if continuous else f"logits ({batch}, {space.n_outputs}) or integer "
    found = f"{answer.dtype} of shape {answer.shape} for {batch} observations"
    raise IncompatibleModelError(f"{name} returns {found}; expected float {logits}actions {shape}")


def _are_distributions(answer: NDArray[Any], space: ActionSpace) -> bool:
    sizes = space.nvec if isinstance(space, MultiDiscrete) else (space.n_outputs,)
    sums = [part.sum(axis=1) for part in np.split(answer, np.cumsum(sizes)[:-1], axis=1)]
    return bool((answer >= 0).all()) and bool((np.abs(np.stack(sums) - 1) <= _SUM_TO_ONE).all())


def teacher_of(
    policy: Any, sample: NDArray[Any], obs_spec: ObservationSpec, space: ActionSpace, name: str, shown: str | None = None
) -> PolicyTeacher:
    """Wrap a torch module or any other callable, after a trial on the observations `sample` that shows what it returns.

    `shown` is what observations contain (`SplitEnv.shown`), for messages. IncompatibleModelError if the policy cannot be
    called, returns neither logits nor actions, or its outputs differ for the same observations.
    """
    module = policy if isinstance(policy, nn.Module) else None
    ask: Policy = policy if module is None else _module_policy(module, name)
    _, needed = arguments_of(policy if module is None else module.forward)
    if len(needed) > 1:
        alone = "phr gives observations alone (recurrent and action-masked policies cannot be distilled)"
        raise IncompatibleModelError(f"{name} needs {', '.join(needed)}; {alone}")
    read = "" if shown is None else f" (observations: {shown})"
    many = " (a function is given a numpy array of many observations: torch.as_tensor(obs) makes a tensor of it)"
    first, second = (_called(ask, sample, name, (many if module is None else "") + read) for _ in range(2))
    answer = as_array(first, name)
    try:
        answers = kind_of(answer, len(sample), space, name)
    except IncompatibleModelError as error:  # a wrong shape may come from misread observations
        raise IncompatibleModelError(f"{error}{read}") from error
    again = as_array(second, name)
    tolerance = _SAME * np.abs(answer).max(initial=0.0) if answer.dtype.kind == "f" else 0
    if answer.shape != again.shape or not (np.abs(answer - again) <= tolerance).all():
        why = "it samples or keeps a state; return logits or the most likely action"
        raise IncompatibleModelError(f"{name} returns different outputs for the same observations: {why}")

    def planned(obs: NDArray[Any]) -> NetworkPlan:
        answer = as_array(_called(ask, obs, name), name)
        found = kind_of(answer, len(obs), space, name)
        if found != answers and not (answers == "logits" and found == "probabilities"):
            raise InvalidDataError(f"{name} must always return {answers}; now it returned {found}")
        if answers == "actions":
            return space.certain(answer.reshape(len(obs), 1, *space.shape).astype(space.dtype))
        if answers == "probabilities":
            answer = np.log(np.maximum(answer, _LEAST_PROBABILITY))
        return space.plan(answer.astype(np.float32)[:, None])

    return PolicyTeacher(planned, space, answers=answers, spec=obs_spec, name=name, module=module)


def _module_policy(module: nn.Module, name: str) -> Policy:
    """Return a torch module as a policy that converts observations to its parameters' number type."""
    if any(isinstance(layer, nn.RNNBase | nn.RNNCellBase) for layer in module.modules()):
        raise IncompatibleModelError(f"{name} has recurrent layers, whose state from step to step cannot be distilled")
    module.eval()
    first = next((parameter for parameter in module.parameters() if parameter.is_floating_point()), torch.empty(0))

    def ask(obs: NDArray[Any]) -> Any:
        x = tensor_of(obs).to(first.dtype)
        if obs.dtype.itemsize > 1 and not x.isfinite().all():
            raise NonFiniteError(f"{name} reads {first.dtype}, and an observation contains a number too large for it")
        with torch.inference_mode():
            return module(x.to(first.device))

    return ask


def arguments_of(function: Callable[..., Any]) -> tuple[list[str], list[str]]:
    """Return the names of all parameters and of the required ones; none for a built-in function without a signature."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return [], []
    variadic = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    required = [each.name for each in parameters if each.default is each.empty and each.kind not in variadic]
    return [each.name for each in parameters], required


def check_soft(name: str, loss: str, allowed: Sequence[str], *, sample_labels: bool) -> None:
    """Refuse a loss that is not in `allowed`, or sampled labels, for a teacher without probabilities."""
    if loss not in allowed or sample_labels:
        wanted = "sampled labels" if loss in allowed else f"the loss {loss}"
        only = f"an action-only teacher, which allows only {' or '.join(allowed).replace('_', '-')}"
        raise SettingError(f"{name} is {only}: it has no probabilities for {wanted}")
