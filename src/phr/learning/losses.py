"""The losses of both stages, each on one screen.

Stage 2 compares a teacher row p with a student row q, or a teacher's continuous action with a student's, at every valid
(window, step) pair; `plan_loss` is the mean over those pairs, so doubling a batch or adding padding leaves it unchanged.
"""

from __future__ import annotations

from typing import Literal, get_args

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor

from phr.actions import ActionSpace, Continuous, MultiDiscrete
from phr.errors import SettingError
from phr.learning.vector_losses import gaussian_plan_loss, squared_action_loss, valid_mean

PlanLoss = Literal["squared", "squared_logits", "kl", "forward_kl", "cross_entropy", "gaussian"]
PLAN_LOSSES: tuple[PlanLoss, ...] = get_args(PlanLoss)
ROW_LOSSES: tuple[PlanLoss, ...] = ("cross_entropy", "squared", "squared_logits", "kl", "forward_kl")
"""Those that compare choices among actions, the default first."""
VECTOR_LOSSES: tuple[PlanLoss, ...] = ("squared", "gaussian")
"""Those that compare continuous actions, the default first."""


def losses_for(space: ActionSpace, *, action_only: bool = False) -> tuple[PlanLoss, ...]:
    """The losses that fit an action space, the default first.

    Args:
        space: What the actions are.
        action_only: There are actions alone, no probabilities.
    """
    if isinstance(space, Continuous):
        return VECTOR_LOSSES
    return ROW_LOSSES[:1] if action_only else ROW_LOSSES


def check_loss(kind: str, space: ActionSpace) -> None:
    """Refuse a loss that means nothing for these actions.

    Raises:
        SettingError: If it is none of `losses_for`.
    """
    fitting = losses_for(space)
    if kind not in fitting:
        raise SettingError(f"the loss {kind} does not fit {space}; choose one of {', '.join(fitting)}")


def n_outputs_for(kind: str, space: ActionSpace) -> int:
    """Numbers that a student's head answers for one action: `gaussian` asks for the spread too."""
    return space.n_outputs * (2 if kind == "gaussian" else 1)


def smoothed(logits: Float[Tensor, "*batch n_actions"], smoothing: float) -> Float[Tensor, "*batch n_actions"]:
    """Logits of (1 − ε)·softmax(logits) + ε/n_actions: no action is ruled out by more than log(n_actions/ε).

    Args:
        logits: Unnormalised log-probabilities.
        smoothing: ε, in [0, 1).

    Source:
        Szegedy et al. 2016 (arXiv:1512.00567), section 7, with the teacher's row in the label's place.
    """
    return ((1 - smoothing) * logits.softmax(-1) + smoothing / logits.shape[-1]).log()


def squared_plan_loss(
    plan_logits: Float[Tensor, "batch horizon n_actions"],
    teacher_logits: Float[Tensor, "batch horizon n_actions"],
    valid: Bool[Tensor, "batch horizon"],
    *,
    on_logits: bool = False,
) -> Float[Tensor, ""]:
    """Mean squared distance Σ_a (q_a − p_a)² between student and teacher rows.

    Args:
        plan_logits: Unnormalised log-probabilities of the student.
        teacher_logits: The teacher's, at the observations the steps will meet.
        valid: False where a window runs past the end of its trajectory.
        on_logits: Compare logits instead of probabilities (Eq. 2 speaks of q-values).

    Returns:
        The mean over valid steps; in [0, 2] for probabilities.

    Raises:
        EmptyBatchError: If no step is valid.

    Source:
        Wagner et al. 2021 (arXiv:2106.10075), Eq. 8 with its state index as in Algorithm 1; Eq. 2 for logits.
    """
    if on_logits:
        student, teacher = plan_logits, teacher_logits
    else:
        student, teacher = plan_logits.softmax(-1), teacher_logits.softmax(-1)
    return valid_mean((student - teacher).square().sum(-1), valid)


def kl_plan_loss(
    plan_logits: Float[Tensor, "batch horizon n_actions"],
    teacher_logits: Float[Tensor, "batch horizon n_actions"],
    valid: Bool[Tensor, "batch horizon"],
    *,
    forward: bool = False,
) -> Float[Tensor, ""]:
    """Mean Kullback-Leibler divergence between student and teacher rows.

    Args:
        plan_logits: Unnormalised log-probabilities of the student.
        teacher_logits: The teacher's, at the observations the steps will meet.
        valid: False where a window runs past the end of its trajectory.
        forward: Teacher‖student, Σ_a p_a log(p_a/q_a), instead of the paper's student‖teacher, Σ_a q_a log(q_a/p_a).

    Returns:
        Nats per valid step, >= 0.

    Raises:
        EmptyBatchError: If no step is valid.

    Source:
        Wagner et al. 2021 (arXiv:2106.10075), Eq. 2.
    """
    log_q, log_p = plan_logits.log_softmax(-1), teacher_logits.log_softmax(-1)
    if forward:
        log_q, log_p = log_p, log_q
    return valid_mean((log_q.exp() * (log_q - log_p)).sum(-1), valid)


def cross_entropy_plan_loss(
    plan_logits: Float[Tensor, "batch horizon n_actions"],
    teacher_actions: Int[Tensor, "batch horizon"],
    valid: Bool[Tensor, "batch horizon"],
    *,
    smoothing: float = 0.0,
) -> Float[Tensor, ""]:
    """Mean negative log-likelihood of the teacher's actions under the student's plan.

    Step k of a plan made at obs_t is compared with the action the teacher took at obs_{t+k}.

    Args:
        plan_logits: Unnormalised log-probabilities of the student.
        teacher_actions: The teacher's argmax actions.
        valid: False where a window runs past the end of its trajectory.
        smoothing: ε, in [0, 1): every action is the label with ε/n_actions, the teacher's with 1 − ε besides.

    Returns:
        Nats per valid step, >= 0.

    Raises:
        EmptyBatchError: If no step is valid.

    Source:
        Wagner et al. 2021 (arXiv:2106.10075), Eq. 3 with its sign restored, inside Eq. 9; ε as in Szegedy et al. 2016
        (arXiv:1512.00567), section 7.
    """
    nats = F.cross_entropy(plan_logits.mT, teacher_actions, reduction="none", label_smoothing=smoothing)
    return valid_mean(nats, valid)


def plan_loss(
    kind: PlanLoss,
    plan_outputs: Float[Tensor, "batch horizon n_outputs"],
    teacher_outputs: Float[Tensor, "batch horizon n_teacher"],
    teacher_actions: Shaped[Tensor, "batch horizon *action"],
    valid: Bool[Tensor, "batch horizon"],
    space: ActionSpace | None = None,
    *,
    smoothing: float = 0.0,
) -> Float[Tensor, ""]:
    """The loss named `kind`, a mean over valid (window, step) pairs.

    Args:
        kind: One of `losses_for`.
        plan_outputs: What the student answers: logits, or continuous actions.
        teacher_outputs: What the teacher answered; continuous actions are compared with `teacher_actions` alone.
        teacher_actions: What it did.
        valid: False where a window runs past the end of its trajectory.
        space: What the actions are; None for Discrete.
        smoothing: That of the labels of `cross_entropy`; teacher rows come `smoothed` already, where they are.

    Returns:
        For several choices at once the sum over their components.

    Raises:
        SettingError: If `kind` is unknown, or means nothing for these actions.
        EmptyBatchError: If no step is valid.
    """
    if space is not None:
        check_loss(kind, space)
    if isinstance(space, Continuous):
        planned, taken = plan_outputs[..., : space.n_outputs], teacher_actions.flatten(2)
        if kind == "squared":
            return squared_action_loss(planned, taken, valid, space.bounds)
        return gaussian_plan_loss(planned, plan_outputs[..., space.n_outputs :], taken, valid, space.bounds)
    if isinstance(space, MultiDiscrete):
        students, teachers = plan_outputs.split(space.nvec, -1), teacher_outputs.split(space.nvec, -1)
        parts = zip(students, teachers, teacher_actions.unbind(-1), strict=True)
        return torch.stack([_row_loss(kind, q, p, actions, valid, smoothing) for q, p, actions in parts]).sum()
    return _row_loss(kind, plan_outputs, teacher_outputs, teacher_actions, valid, smoothing)


def _row_loss(
    kind: PlanLoss,
    plan_logits: Float[Tensor, "batch horizon n_actions"],
    teacher_logits: Float[Tensor, "batch horizon n_actions"],
    teacher_actions: Int[Tensor, "batch horizon"],
    valid: Bool[Tensor, "batch horizon"],
    smoothing: float,
) -> Float[Tensor, ""]:
    """The loss of one choice among actions."""
    match kind:
        case "squared":
            return squared_plan_loss(plan_logits, teacher_logits, valid)
        case "squared_logits":
            return squared_plan_loss(plan_logits, teacher_logits, valid, on_logits=True)
        case "kl":
            return kl_plan_loss(plan_logits, teacher_logits, valid)
        case "forward_kl":
            return kl_plan_loss(plan_logits, teacher_logits, valid, forward=True)
        case "cross_entropy":
            return cross_entropy_plan_loss(plan_logits, teacher_actions, valid, smoothing=smoothing)
    raise SettingError(f"unknown loss {kind!r}; choose one of {', '.join(PLAN_LOSSES)}")


def a2c_losses(
    action_logits: Float[Tensor, "batch n_actions"],
    values: Float[Tensor, " batch"],
    actions: Int[Tensor, " batch"],
    advantages: Float[Tensor, " batch"],
    returns: Float[Tensor, " batch"],
) -> tuple[Float[Tensor, ""], Float[Tensor, ""], Float[Tensor, ""]]:
    """Policy loss, value loss and entropy of one rollout, each a mean over its steps.

    Args:
        action_logits: Unnormalised log-probabilities of head 1.
        values: V(s_t).
        actions: The actions taken.
        advantages: Their advantages, treated as constants.
        returns: Value targets, treated as constants.

    Returns:
        −E[log π(a_t|s_t) A_t], E[(V(s_t) − R_t)²] and the mean entropy in nats.

    Source:
        Mnih et al. 2016 (arXiv:1602.01783), as in Wagner et al. 2021, Eq. 4-5 and Algorithm 1 (stage 1).
    """
    log_probs = action_logits.log_softmax(-1)
    chosen = log_probs.gather(-1, actions.unsqueeze(-1)).squeeze(-1)
    policy_loss = -(chosen * advantages).mean()
    value_loss = F.mse_loss(values, returns)
    entropy = -(log_probs.exp() * log_probs).sum(-1).mean()
    return policy_loss, value_loss, entropy
