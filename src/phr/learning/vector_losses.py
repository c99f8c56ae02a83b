"""The losses of continuous actions, and the mean that all plan losses share."""

from __future__ import annotations

import math

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from phr.errors import EmptyBatchError
from phr.plan import Bounds


def valid_mean(per_step: Float[Tensor, "batch horizon"], valid: Bool[Tensor, "batch horizon"]) -> Float[Tensor, ""]:
    """Mean over the valid steps.

    Raises:
        EmptyBatchError: If no step is valid.
    """
    n_valid = valid.sum()
    if n_valid == 0:
        raise EmptyBatchError(f"none of the {valid.numel()} (window, step) pairs of this batch is valid")
    return torch.where(valid, per_step, 0.0).sum() / n_valid


def squared_action_loss(
    plan_actions: Float[Tensor, "batch horizon numbers"],
    teacher_actions: Float[Tensor, "batch horizon numbers"],
    valid: Bool[Tensor, "batch horizon"],
    bounds: Bounds,
) -> Float[Tensor, ""]:
    """Mean squared distance between continuous actions, each number in half its range, and a line beyond a bound.

    An action beyond a bound is executed at the bound. How far beyond does not matter, so the loss goes on there with the
    slope that it has at the bound: flat, where the teacher is at the bound too. A policy that brakes with all its strength
    can then be copied without a remainder.

    Args:
        plan_actions: The student's actions, before they are cut off at the bounds.
        teacher_actions: The actions that the teacher took at the observations the steps meet.
        valid: False where a window runs past the end of its trajectory.
        bounds: Of the actions.

    Returns:
        The mean over valid steps of the mean over numbers, >= 0.

    Raises:
        EmptyBatchError: If no step is valid.

    Source:
        Eq. 8 of Wagner et al. 2021 (arXiv:2106.10075) with actions in the place of probabilities.
    """
    distance, beyond = _distances(plan_actions, teacher_actions, bounds)
    return valid_mean((distance.square() + 2 * beyond * distance).mean(-1), valid)


def gaussian_plan_loss(
    plan_actions: Float[Tensor, "batch horizon numbers"],
    log_spread: Float[Tensor, "batch horizon numbers"],
    teacher_actions: Float[Tensor, "batch horizon numbers"],
    valid: Bool[Tensor, "batch horizon"],
    bounds: Bounds,
) -> Float[Tensor, ""]:
    """Negative log-likelihood of the teacher's actions under a Gaussian around the student's, weighted by its variance.

    Unweighted, an error counts the more the surer the student is, so what it already knows is learnt over and over and the
    rest hardly at all. The weight, which gets no gradient, leaves the gradient of half the squared distance to the actions,
    and (spread² − distance²) to the logarithm of the spread. Beyond a bound it goes on as `squared_action_loss` does.

    Args:
        plan_actions: Means, before they are cut off at the bounds.
        log_spread: Logarithms of the standard deviations, in the same units as the distances.
        teacher_actions: The actions that the teacher took at the observations the steps meet.
        valid: False where a window runs past the end of its trajectory.
        bounds: Of the actions.

    Returns:
        Weighted nats, a mean over valid steps and numbers; may be negative.

    Raises:
        EmptyBatchError: If no step is valid.

    Source:
        Seitzer et al. 2022 (arXiv:2203.09168), Eq. 5 with β = 1.
    """
    distance, beyond = _distances(plan_actions, teacher_actions, bounds)
    nats = 0.5 * (distance * (-log_spread).exp()).square() + log_spread + 0.5 * math.log(2 * math.pi)
    weighted = (2 * log_spread).exp().detach() * nats
    return valid_mean((weighted + beyond * distance).mean(-1), valid)


def _distances(
    plan_actions: Float[Tensor, "batch horizon numbers"],
    teacher_actions: Float[Tensor, "batch horizon numbers"],
    bounds: Bounds,
) -> tuple[Float[Tensor, "batch horizon numbers"], Float[Tensor, "batch horizon numbers"]]:
    """From the teacher's actions to the student's, both as executed, and from there to where the student's are; in units."""
    low, high, unit = (torch.from_numpy(numbers) for numbers in (bounds.low, bounds.high, bounds.unit))
    executed = plan_actions.clamp(low, high)
    return (executed - teacher_actions.clamp(low, high)) / unit, (plan_actions - executed) / unit
