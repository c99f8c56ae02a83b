"""Algorithm 1, stage 2: the losses, on one screen.

Each compares a student's step with the teacher's at every valid (window, step) pair (`phr.distil.windows`): rows of logits,
q and p, for choices; actions for continuous spaces. `plan_loss` is the mean over the valid pairs, so it does not depend on
batch size or padding; `phr.distil.phr` descends it.

Sources:
    squared, kl, cross_entropy: Wagner et al. 2021 (arXiv:2106.10075), Eqs. 8, 2 and 3 (its sign restored) inside Eq. 9;
    squared_logits: Eq. 2 read for q-values; forward_kl: Eq. 2 with its arguments exchanged; ε: Szegedy et al. 2016
    (arXiv:1512.00567), section 7; gaussian: Seitzer et al. 2022 (arXiv:2203.09168), Eq. 5 with β = 1.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor

from phr.actions import ActionSpace, Continuous, MultiDiscrete
from phr.errors import EmptyBatchError, SettingError

PlanLoss = Literal["squared", "squared_logits", "kl", "forward_kl", "cross_entropy", "gaussian"]
ROW_LOSSES: tuple[PlanLoss, ...] = ("cross_entropy", "squared", "squared_logits", "kl", "forward_kl")
"""Losses for choices among actions, the default first."""
VECTOR_LOSSES: tuple[PlanLoss, ...] = ("squared", "gaussian")
"""Losses for continuous actions, the default first."""


def step_losses(
    kind: PlanLoss,
    plan_outputs: Float[Tensor, "batch horizon n_outputs"],
    teacher_outputs: Float[Tensor, "batch horizon n_teacher"],
    teacher_actions: Shaped[Tensor, "batch horizon *action"],
    space: ActionSpace | None = None,
    *,
    smoothing: float = 0.0,
) -> Float[Tensor, "batch horizon"]:
    """Return the loss named `kind` of every step, valid or not.

    Step k of a plan made at obs_t is compared with what the teacher did and output at obs_{t+k}, in nats or squared
    distance; several choices at once are summed. For `gaussian` the logarithms of their spreads follow continuous actions.
    `smoothing` is the ε of the labels of `cross_entropy`; the other losses take teacher rows that are `smoothed` already.
    """
    if isinstance(space, Continuous):
        return _vector_loss(kind, plan_outputs, teacher_actions.flatten(2), space)
    if isinstance(space, MultiDiscrete):
        rows = zip(plan_outputs.split(space.nvec, -1), teacher_outputs.split(space.nvec, -1), strict=True)
        parts = [_row_loss(kind, q, p, teacher_actions[..., i], smoothing) for i, (q, p) in enumerate(rows)]
        return torch.stack(parts).sum(0)
    return _row_loss(kind, plan_outputs, teacher_outputs, teacher_actions, smoothing)


def plan_loss(per_step: Float[Tensor, "batch horizon"], valid: Bool[Tensor, "batch horizon"]) -> Float[Tensor, ""]:
    """Return the mean of `step_losses` over valid (window, step) pairs.

    `EmptyBatchError` if no step is valid: a silent 0 would hide a windowing bug.
    """
    n_valid = valid.sum()
    if n_valid == 0:
        raise EmptyBatchError(f"none of the {valid.numel()} (window, step) pairs of this batch is valid")
    return torch.where(valid, per_step, 0.0).sum() / n_valid


def least_loss(kind: PlanLoss, space: ActionSpace, smoothing: float) -> float:
    """Return the loss of a step whose row is the teacher's: 0, but for `cross_entropy` the entropy of its smoothed label.

    Choices among actions alone.
    """
    if kind != "cross_entropy" or not smoothing:
        return 0.0
    total = 0.0
    for n in space.nvec if isinstance(space, MultiDiscrete) else (space.n_outputs,):
        other = smoothing / n
        label = 1 - smoothing + other
        total -= label * math.log(label) + (n - 1) * other * math.log(other)
    return total


def _row_loss(
    kind: PlanLoss,
    plan_logits: Float[Tensor, "batch horizon n_actions"],
    teacher_logits: Float[Tensor, "batch horizon n_actions"],
    teacher_actions: Int[Tensor, "batch horizon"],
    smoothing: float,
) -> Float[Tensor, "batch horizon"]:
    """Return the loss of each step for one choice among actions: q is the student's row, p the teacher's."""
    match kind:
        case "squared":  # Σ_a (q_a − p_a)², in [0, 2]
            return (plan_logits.softmax(-1) - teacher_logits.softmax(-1)).square().sum(-1)
        case "squared_logits":
            return (plan_logits - teacher_logits).square().sum(-1)
        case "kl":  # Σ_a q_a log(q_a / p_a)
            return _divergence(plan_logits, teacher_logits)
        case "forward_kl":  # Σ_a p_a log(p_a / q_a)
            return _divergence(teacher_logits, plan_logits)
        case "cross_entropy":  # −log q_{a*}; with ε, every action is the label with ε / n_actions
            return F.cross_entropy(plan_logits.mT, teacher_actions, reduction="none", label_smoothing=smoothing)
    raise SettingError(f"loss must be one of {', '.join(map(repr, ROW_LOSSES))}; got {kind!r}")


def _divergence(logits: Float[Tensor, "*b n_actions"], reference: Float[Tensor, "*b n_actions"]) -> Float[Tensor, "*b"]:
    """Return the Kullback-Leibler divergence of each row from its reference, in nats."""
    log_q, log_p = logits.log_softmax(-1), reference.log_softmax(-1)
    return (log_q.exp() * (log_q - log_p)).sum(-1)


def _vector_loss(
    kind: PlanLoss,
    plan_outputs: Float[Tensor, "batch horizon n_outputs"],
    teacher_actions: Float[Tensor, "batch horizon numbers"],
    space: Continuous,
) -> Float[Tensor, "batch horizon"]:
    """Return the loss of each step for continuous actions: the mean over their numbers, distances in half ranges.

    An action beyond a bound is executed at the bound, so the loss continues there with its slope at the bound: flat, where
    the teacher is at the bound too. A policy that brakes at full strength can then be copied exactly.

    `gaussian` is the negative log-likelihood weighted by the variance; unweighted, errors would count most where the student
    is already certain. The weight has no gradient; what remains is the gradient of half the squared distance for the
    actions, and spread² − distance² for the logarithm of the spread. The loss may be negative.
    """
    bounds = space.bounds
    low, high, unit = (torch.from_numpy(numbers) for numbers in (bounds.low, bounds.high, bounds.unit))
    planned, log_spread = plan_outputs[..., : space.n_outputs], plan_outputs[..., space.n_outputs :]
    executed = planned.clamp(low, high)
    distance, beyond = (executed - teacher_actions.clamp(low, high)) / unit, (planned - executed) / unit
    if kind == "squared":
        return (distance.square() + 2 * beyond * distance).mean(-1)
    if kind != "gaussian":
        raise SettingError(f"the loss {kind} does not compare continuous actions; choose squared or gaussian")
    nats = 0.5 * (distance * (-log_spread).exp()).square() + log_spread + 0.5 * math.log(2 * math.pi)
    weighted = (2 * log_spread).exp().detach() * nats
    return (weighted + beyond * distance).mean(-1)


def smoothed(logits: Float[Tensor, "*batch n_actions"], smoothing: float) -> Float[Tensor, "*batch n_actions"]:
    """Return logits of (1 − ε)·softmax(logits) + ε/n_actions, with ε in [0, 1): every action stays above ε/n_actions."""
    return ((1 - smoothing) * logits.softmax(-1) + smoothing / logits.shape[-1]).log()


def losses_for(space: ActionSpace, *, action_only: bool = False) -> tuple[PlanLoss, ...]:
    """Return the losses that fit an action space, the default first; `action_only` excludes those of probabilities."""
    if isinstance(space, Continuous):
        return VECTOR_LOSSES
    return ROW_LOSSES[:1] if action_only else ROW_LOSSES


def check_loss(kind: str, space: ActionSpace) -> None:
    """Refuse a loss that is not defined for these actions (`SettingError`)."""
    fitting = losses_for(space)
    if kind not in fitting:
        raise SettingError(f"the loss {kind} does not fit {space}; choose one of {', '.join(fitting)}")


def n_outputs_for(kind: str, space: ActionSpace) -> int:
    """Return how many numbers a student's head has for one action: `gaussian` needs the spread too."""
    return space.n_outputs * (2 if kind == "gaussian" else 1)
