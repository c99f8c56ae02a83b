from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.distributions import Categorical, kl_divergence

from phr.actions import Discrete, MultiDiscrete
from phr.distil.losses import ROW_LOSSES, PlanLoss, least_loss, plan_loss, smoothed, step_losses
from phr.errors import EmptyBatchError

each_loss = pytest.mark.parametrize("kind", ROW_LOSSES)
soft_losses = pytest.mark.parametrize("kind", [kind for kind in ROW_LOSSES if kind != "cross_entropy"])


@dataclass(frozen=True)
class Batch:
    """What a plan loss reads; the actions are the teacher's most likely ones."""

    student: Tensor
    teacher: Tensor
    valid: Tensor

    @property
    def actions(self) -> Tensor:
        return self.teacher.argmax(-1)

    def loss(self, kind: PlanLoss, smoothing: float = 0.0) -> Tensor:
        return plan_loss(step_losses(kind, self.student, self.teacher, self.actions, smoothing=smoothing), self.valid)

    def joined(self, other: Batch, axis: int = 0) -> Batch:
        return Batch(*(torch.cat([getattr(self, n), getattr(other, n)], axis) for n in ("student", "teacher", "valid")))


def random_batch(rng: np.random.Generator, n: int, horizon: int, n_actions: int) -> Batch:
    logits = torch.from_numpy(rng.normal(scale=3.0, size=(2, n, horizon, n_actions)))
    return Batch(logits[0], logits[1], torch.from_numpy(rng.random((n, horizon)) < 0.7))


@st.composite
def batches(draw: st.DrawFn) -> Batch:
    n, horizon = draw(st.integers(1, 4)), draw(st.integers(1, 4))
    batch = random_batch(np.random.default_rng(draw(st.integers(0, 2**32))), n, horizon, draw(st.integers(2, 4)))
    batch.valid[0, 0] = True
    return batch


def one_row(student: list[float], teacher: list[float]) -> Batch:
    """A plan of one step, given by its probabilities."""
    return Batch(torch.tensor([[student]]).log(), torch.tensor([[teacher]]).log(), torch.tensor([[True]]))


def softmax(row: list[float]) -> list[float]:
    weights = [math.exp(value - max(row)) for value in row]
    return [weight / sum(weights) for weight in weights]


def slow_row(kind: PlanLoss, student: list[float], teacher: list[float]) -> float:
    q, p = softmax(student), softmax(teacher)
    total = 0.0
    for a in range(len(student)):
        if kind == "squared":
            total += (q[a] - p[a]) ** 2
        elif kind == "squared_logits":
            total += (student[a] - teacher[a]) ** 2
        elif kind == "kl":
            total += q[a] * math.log(q[a] / p[a])
        elif kind == "forward_kl":
            total += p[a] * math.log(p[a] / q[a])
        elif p[a] == max(p):
            total -= math.log(q[a])
    return total


def slow_loss(kind: PlanLoss, batch: Batch) -> float:
    total, counted = 0.0, 0
    for window, plan in enumerate(batch.student.tolist()):
        for step, row in enumerate(plan):
            if batch.valid[window, step]:
                total += slow_row(kind, row, batch.teacher[window, step].tolist())
                counted += 1
    return total / counted


@each_loss
@given(batch=batches())
def test_losses_equal_the_slow_loop(kind: PlanLoss, batch: Batch) -> None:
    assert batch.loss(kind).item() == pytest.approx(slow_loss(kind, batch), abs=1e-9)


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("squared", 0.4**2 + 0.4**2),
        ("squared_logits", math.log(1.8) ** 2 + math.log(0.2) ** 2),
        ("kl", 0.5 * math.log(1 / 1.8) + 0.5 * math.log(5)),
        ("forward_kl", 0.9 * math.log(1.8) + 0.1 * math.log(0.2)),
        ("cross_entropy", math.log(2)),
    ],
)
def test_losses_by_hand(kind: PlanLoss, expected: float) -> None:
    assert one_row([0.5, 0.5], [0.9, 0.1]).loss(kind).item() == pytest.approx(expected, rel=1e-5)


@given(batch=batches())
def test_kl_is_student_to_teacher_unless_forward(batch: Batch) -> None:
    q, p = Categorical(logits=batch.student), Categorical(logits=batch.teacher)
    assert batch.loss("kl").item() == pytest.approx(kl_divergence(q, p)[batch.valid].mean().item(), abs=1e-9)
    assert batch.loss("forward_kl").item() == pytest.approx(kl_divergence(p, q)[batch.valid].mean().item(), abs=1e-9)


@each_loss
@given(batch=batches())
def test_a_doubled_batch_has_the_same_loss(kind: PlanLoss, batch: Batch) -> None:
    assert batch.joined(batch).loss(kind).item() == pytest.approx(batch.loss(kind).item(), abs=1e-12)


@each_loss
@given(batch=batches(), n_padding=st.integers(1, 4))
def test_padding_costs_nothing(kind: PlanLoss, batch: Batch, n_padding: int) -> None:
    n, _, n_actions = batch.student.shape
    padding = random_batch(np.random.default_rng(n_padding), n, n_padding, n_actions)
    padding.valid[:] = False
    assert batch.joined(padding, axis=1).loss(kind).item() == pytest.approx(batch.loss(kind).item(), abs=1e-12)


@each_loss
def test_padding_gets_no_gradient(kind: PlanLoss) -> None:
    batch = random_batch(np.random.default_rng(0), 3, 4, 2)
    batch.student.requires_grad_(True)
    batch.loss(kind).backward()
    gradient = batch.student.grad
    assert gradient is not None
    assert ((gradient != 0).any(-1) == batch.valid).all()


@each_loss
def test_a_batch_without_a_valid_step_is_refused(kind: PlanLoss) -> None:
    batch = random_batch(np.random.default_rng(0), 3, 2, 4)
    batch.valid[:] = False
    with pytest.raises(EmptyBatchError, match="none of the 6 "):
        batch.loss(kind)


@soft_losses
@given(batch=batches())
def test_the_loss_and_its_gradient_vanish_at_the_teacher(kind: PlanLoss, batch: Batch) -> None:
    student = batch.teacher.clone().requires_grad_(True)
    loss = Batch(student, batch.teacher, batch.valid).loss(kind)
    loss.backward()
    assert loss.item() == pytest.approx(0, abs=1e-12)
    assert student.grad is not None
    assert student.grad.abs().max() < 1e-12


def test_cross_entropy_vanishes_at_certainty() -> None:
    student = torch.tensor([[[40.0, 0.0, 0.0]]], requires_grad=True)
    loss = step_losses("cross_entropy", student, torch.zeros(1, 1, 3), torch.tensor([[0]])).sum()
    loss.backward()
    assert loss.item() < 1e-6
    assert student.grad is not None
    assert student.grad.abs().max() < 1e-6


@given(batch=batches(), smoothing=st.floats(0, 0.9))
def test_smoothed_cross_entropy_is_that_of_the_smoothed_labels(batch: Batch, smoothing: float) -> None:
    n_actions = batch.student.shape[-1]
    labels = (1 - smoothing) * F.one_hot(batch.actions, n_actions).double() + smoothing / n_actions
    nats = [
        -float(labels[row, step] @ batch.student[row, step].log_softmax(-1)) for row, step in batch.valid.nonzero().tolist()
    ]
    assert batch.loss("cross_entropy", smoothing).item() == pytest.approx(sum(nats) / len(nats), rel=1e-6, abs=1e-9)


@each_loss
@given(batch=batches())
def test_losses_lie_in_their_range(kind: PlanLoss, batch: Batch) -> None:
    loss = batch.loss(kind).item()
    assert loss >= -1e-12
    assert kind != "squared" or loss <= 2


@given(batch=batches(), smoothing=st.floats(0, 0.99))
def test_smoothing_mixes_with_the_uniform_row(batch: Batch, smoothing: float) -> None:
    n_actions = batch.teacher.shape[-1]
    mixed = smoothed(batch.teacher, smoothing).softmax(-1)
    torch.testing.assert_close(mixed, (1 - smoothing) * batch.teacher.softmax(-1) + smoothing / n_actions)
    assert (mixed >= smoothing / n_actions - 1e-9).all()
    assert torch.equal(mixed.argmax(-1), batch.actions)


def test_smoothing_bounds_what_a_ruled_out_action_can_cost() -> None:
    student, teacher = torch.tensor([[[0.0, 50.0]]]), torch.tensor([[[50.0, 0.0]]])
    valid = torch.tensor([[True]])
    assert Batch(student, teacher, valid).loss("kl").item() == pytest.approx(50)
    assert Batch(student, smoothed(teacher, 0.1), valid).loss("kl").item() == pytest.approx(math.log(2 / 0.1))


@given(
    st.sampled_from(ROW_LOSSES), st.sampled_from([0.0, 0.1, 0.9]), st.sampled_from([(2,), (7,), (2, 5)]), st.integers(0, 99)
)
def test_no_step_loses_less_than_the_least(kind: PlanLoss, smoothing: float, sizes: tuple[int, ...], seed: int) -> None:
    """And a student whose row is the label, smoothed or not, loses just that."""
    space = Discrete(sizes[0]) if len(sizes) == 1 else MultiDiscrete(sizes)
    rng = torch.Generator().manual_seed(seed)
    actions = torch.stack([torch.randint(size, (1, 4), generator=rng) for size in sizes], -1)
    labels = torch.cat([F.one_hot(actions[..., i], size).float() for i, size in enumerate(sizes)], -1)
    perfect = torch.cat([smoothed(40 * part, smoothing) for part in labels.split(sizes, -1)], -1)
    taken = actions if len(sizes) > 1 else actions[..., 0]
    least = least_loss(kind, space, smoothing)
    found = step_losses(kind, perfect, perfect, taken, space, smoothing=smoothing)
    torch.testing.assert_close(found, torch.full((1, 4), least), atol=1e-4, rtol=1e-4)
    other = torch.randn(1, 4, sum(sizes), generator=rng)
    assert (step_losses(kind, other, perfect, taken, space, smoothing=smoothing) > least - 1e-4).all()
