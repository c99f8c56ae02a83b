"""Losses of continuous actions and of several choices at once; the oracles are slow loops and torch's distributions."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.distributions import Normal

from phr.actions import ActionSpace, Continuous, Discrete, MultiDiscrete
from phr.distil.config import PHRConfig
from phr.distil.losses import (
    ROW_LOSSES,
    VECTOR_LOSSES,
    PlanLoss,
    check_loss,
    losses_for,
    n_outputs_for,
    plan_loss,
    smoothed,
    step_losses,
)
from phr.distil.windows import teacher_rows
from phr.errors import EmptyBatchError, SettingError

BOX = Continuous((-2.0, 0.0, -math.inf), (2.0, 1.0, math.inf), (3,))
UNIT = (2.0, 0.5, 1.0)
DIALS = MultiDiscrete((3, 2, 4))
KINDS: list[tuple[PlanLoss, ActionSpace]] = [
    *((kind, BOX) for kind in VECTOR_LOSSES),
    *((kind, DIALS) for kind in ROW_LOSSES),
]
each_kind = pytest.mark.parametrize(("kind", "space"), KINDS)


@dataclass(frozen=True)
class Batch:
    student: Tensor
    teacher: Tensor
    actions: Tensor
    valid: Tensor

    def loss(self, kind: PlanLoss, space: ActionSpace) -> Tensor:
        return plan_loss(step_losses(kind, self.student, self.teacher, self.actions, space), self.valid)

    def joined(self, other: Batch, axis: int) -> Batch:
        names = ("student", "teacher", "actions", "valid")
        return Batch(*(torch.cat([getattr(self, name), getattr(other, name)], axis) for name in names))


def batch_of(kind: PlanLoss, space: ActionSpace, seed: int, n: int = 3, horizon: int = 4) -> Batch:
    rng = np.random.default_rng(seed)
    student = torch.from_numpy(rng.normal(size=(n, horizon, n_outputs_for(kind, space))).astype(np.float32))
    teacher = torch.from_numpy(rng.normal(size=(n, horizon, space.n_outputs)).astype(np.float32))
    actions = torch.from_numpy(space.plan(teacher.numpy()).mode())
    valid = torch.from_numpy(rng.random((n, horizon)) < 0.7)
    valid[0, 0] = True
    return Batch(student, teacher, actions, valid)


def slow_number(kind: PlanLoss, planned: float, log_spread: float, taken: float, number: int) -> float:
    unit, executed = UNIT[number], min(max(planned, BOX.low[number]), BOX.high[number])
    beyond = abs(planned - executed) / unit * abs(executed - taken) / unit
    if kind == "squared":
        return ((executed - taken) / unit) ** 2 + 2 * beyond
    away = Normal(torch.tensor(executed / unit), torch.tensor(math.exp(log_spread)))
    return -float(away.log_prob(torch.tensor(taken / unit))) * math.exp(2 * log_spread) + beyond


@pytest.mark.parametrize("kind", VECTOR_LOSSES)
@given(seed=st.integers(0, 2**32))
def test_continuous_losses_equal_the_slow_loop(kind: PlanLoss, seed: int) -> None:
    batch, values = batch_of(kind, BOX, seed), []
    for window, step in batch.valid.nonzero().tolist():
        row, taken = batch.student[window, step].tolist(), batch.actions[window, step].tolist()
        spreads = row[3:] or [0.0] * 3
        parts = [slow_number(kind, row[i], spreads[i], taken[i], i) for i in range(3)]
        values.append(sum(parts) / 3)
    assert batch.loss(kind, BOX).item() == pytest.approx(sum(values) / len(values), rel=1e-4, abs=1e-5)


@pytest.mark.parametrize("kind", ROW_LOSSES)
@given(seed=st.integers(0, 2**32))
def test_several_choices_cost_the_sum_of_each(kind: PlanLoss, seed: int) -> None:
    batch, total, first = batch_of(kind, DIALS, seed), 0.0, 0
    for component, n in enumerate(DIALS.nvec):
        part = slice(first, first + n)
        rows = batch.student[..., part], batch.teacher[..., part], batch.actions[..., component]
        total += plan_loss(step_losses(kind, *rows), batch.valid).item()
        first += n
    assert batch.loss(kind, DIALS).item() == pytest.approx(total, rel=1e-5)


@each_kind
@given(seed=st.integers(0, 2**32))
def test_doubling_and_padding_cost_nothing(kind: PlanLoss, space: ActionSpace, seed: int) -> None:
    batch, other = batch_of(kind, space, seed), batch_of(kind, space, seed + 1)
    padding = Batch(other.student, other.teacher, other.actions, torch.zeros_like(other.valid))
    alone = batch.loss(kind, space).item()
    assert batch.joined(batch, 0).loss(kind, space).item() == pytest.approx(alone, rel=1e-5, abs=1e-6)
    assert batch.joined(padding, 1).loss(kind, space).item() == pytest.approx(alone, rel=1e-5, abs=1e-6)


@each_kind
def test_a_batch_without_a_valid_step_is_refused(kind: PlanLoss, space: ActionSpace) -> None:
    batch = batch_of(kind, space, 0)
    with pytest.raises(EmptyBatchError, match="is valid"):
        Batch(batch.student, batch.teacher, batch.actions, torch.zeros_like(batch.valid)).loss(kind, space)


def test_distances_count_in_parts_of_the_range() -> None:
    """Half the range away in one number of three: a third, whatever the range is."""
    for number, unit in enumerate(UNIT):
        actions = torch.zeros(1, 1, 3)
        student = actions.clone()
        student[0, 0, number] = unit
        loss = step_losses("squared", student, actions, actions, BOX).sum()
        assert loss.item() == pytest.approx(1 / 3)


def test_how_far_beyond_a_bound_counts_only_where_the_teacher_is_within() -> None:
    """Number 1 lies in 0 .. 1. Beyond a bound where the teacher is, nothing pulls; else what pulls at the bound does."""
    valid = torch.ones(1, 1, dtype=torch.bool)
    for taken, planned, slope in (
        (1.0, 1.5, 0.0),
        (1.0, 9.0, 0.0),
        (0.0, -3.0, 0.0),
        (0.5, 9.0, 2 / 3 / 0.5),
        (1.0, -9.0, -8 / 3),
    ):
        actions = torch.tensor([[[0.0, taken, 0.0]]])
        student = torch.tensor([[[0.0, planned, 0.0]]], requires_grad=True)
        plan_loss(step_losses("squared", student, actions, actions, BOX), valid).backward()
        assert student.grad is not None
        torch.testing.assert_close(student.grad[0, 0], torch.tensor([0.0, slope, 0.0]))


@pytest.mark.parametrize("kind", VECTOR_LOSSES)
def test_a_teacher_out_of_bounds_is_one_at_the_bound(kind: PlanLoss) -> None:
    """Logged actions may lie outside; the environment cut them off."""
    batch = batch_of(kind, BOX, 0)
    outside = batch.actions + torch.tensor([0.0, 3.0, 0.0])
    at_bound = torch.cat([batch.actions[..., :1], torch.ones(3, 4, 1), batch.actions[..., 2:]], -1)
    losses = [Batch(batch.student, batch.teacher, actions, batch.valid).loss(kind, BOX) for actions in (outside, at_bound)]
    assert losses[0] == losses[1]


def test_a_gaussian_moves_the_actions_as_half_the_squared_loss_does() -> None:
    batch = batch_of("gaussian", BOX, 0)
    gradients = []
    for kind, scale, n in (("gaussian", 1.0, 6), ("squared", 0.5, 3)):
        student = batch.student[..., :n].clone().requires_grad_()
        (scale * plan_loss(step_losses(kind, student, batch.teacher, batch.actions, BOX), batch.valid)).backward()  # type: ignore[arg-type]
        assert student.grad is not None
        gradients.append(student.grad[..., :3])
    torch.testing.assert_close(*gradients)


def test_the_likeliest_spread_is_the_distance() -> None:
    """Of all spreads, -log p of a number one distance away is least where the spread equals it."""
    distance, actions = 0.3, torch.zeros(1, 1, 3)
    log_spread = torch.full((1, 1, 3), math.log(distance), requires_grad=True)
    student = torch.cat([torch.tensor(UNIT).expand(1, 1, 3) * distance, log_spread], -1)
    step_losses("gaussian", student, actions, actions, BOX).sum().backward()
    assert log_spread.grad is not None
    torch.testing.assert_close(log_spread.grad, torch.zeros(1, 1, 3), atol=1e-6, rtol=0)


@pytest.mark.parametrize(
    ("kind", "space"), [("kl", BOX), ("cross_entropy", BOX), ("gaussian", DIALS), ("gaussian", Discrete(3))]
)
def test_losses_that_mean_nothing_are_refused(kind: PlanLoss, space: ActionSpace) -> None:
    with pytest.raises(SettingError, match=f"the loss {kind} does not fit .* choose one of {losses_for(space)[0]}, "):
        check_loss(kind, space)


def test_teachers_are_smoothed_component_by_component() -> None:
    logits = batch_of("kl", DIALS, 0).teacher
    config = PHRConfig(horizon=4, loss="kl", teacher_smoothing=0.1)
    rows = teacher_rows(logits, config, DIALS).split(DIALS.nvec, -1)
    for row, part in zip(rows, logits.split(DIALS.nvec, -1), strict=True):
        torch.testing.assert_close(row, smoothed(part, 0.1))
    actions = batch_of("squared", BOX, 0).teacher
    assert teacher_rows(actions, config, BOX) is actions
