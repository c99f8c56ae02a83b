from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from phr.teacher.a2c import a2c_losses, gae_advantages


@dataclass(frozen=True)
class Slice:
    """What the advantages are computed from; every tensor has shape `(n_steps, n_envs)`."""

    rewards: Tensor
    values: Tensor
    next_values: Tensor
    terminated: Tensor
    truncated: Tensor

    def advantages(self, gamma: float, gae_lambda: float) -> Tensor:
        return gae_advantages(**vars(self), gamma=gamma, gae_lambda=gae_lambda)

    @property
    def done(self) -> Tensor:
        return self.terminated | self.truncated


@st.composite
def slices(draw: st.DrawFn) -> Slice:
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    shape = draw(st.integers(1, 8)), draw(st.integers(1, 3))
    ends = draw(st.sampled_from([0.0, 0.2, 0.5]))
    numbers = [torch.from_numpy(rng.normal(size=shape)) for _ in range(3)]
    flags = [torch.from_numpy(rng.random(shape) < ends) for _ in range(2)]
    return Slice(*numbers, *flags)


fractions = st.floats(0, 1)


def of_one(rewards: list[float], values: list[float], last_value: float) -> Slice:
    """One environment whose episode goes on through the whole slice."""
    return Slice(
        torch.tensor(rewards)[:, None],
        torch.tensor(values)[:, None],
        torch.tensor([*values[1:], last_value])[:, None],
        torch.zeros(len(rewards), 1, dtype=torch.bool),
        torch.zeros(len(rewards), 1, dtype=torch.bool),
    )


def slow_advantage(part: Slice, t: int, env: int, gamma: float, gae_lambda: float) -> float:
    """Σ_k (γλ)^k δ_{t+k}, up to the end of the episode or of the slice."""
    total, weight = 0.0, 1.0
    for step in range(t, len(part.rewards)):
        future = 0.0 if part.terminated[step, env] else gamma * part.next_values[step, env].item()
        total += weight * (part.rewards[step, env].item() + future - part.values[step, env].item())
        weight *= gamma * gae_lambda
        if part.done[step, env]:
            break
    return total


@given(part=slices(), gamma=fractions, gae_lambda=fractions)
def test_advantages_equal_the_slow_sum(part: Slice, gamma: float, gae_lambda: float) -> None:
    advantages = part.advantages(gamma, gae_lambda)
    for t, env in np.ndindex(*part.rewards.shape):
        assert advantages[t, env].item() == pytest.approx(slow_advantage(part, t, env, gamma, gae_lambda), abs=1e-5)


def test_advantages_by_hand() -> None:
    advantages = of_one([1.0, 2.0], [0.5, 0.25], last_value=4.0).advantages(gamma=0.5, gae_lambda=0.5)
    last = 2.0 + 0.5 * 4.0 - 0.25
    first = 1.0 + 0.5 * 0.25 - 0.5
    assert advantages.flatten().tolist() == [first + 0.25 * last, last]


@given(part=slices(), gamma=fractions)
def test_lambda_0_is_the_temporal_difference_error(part: Slice, gamma: float) -> None:
    future = gamma * part.next_values * ~part.terminated
    torch.testing.assert_close(part.advantages(gamma, 0.0), part.rewards + future - part.values)


def test_lambda_1_is_the_discounted_return_minus_the_baseline() -> None:
    rewards, values, gamma = [1.0, -2.0, 3.0], [0.5, 7.0, -1.0], 0.9
    part = of_one(rewards, values, last_value=2.0)
    expected = [
        sum(gamma ** (k - t) * rewards[k] for k in range(t, 3)) + gamma ** (3 - t) * 2.0 - values[t] for t in range(3)
    ]
    assert part.advantages(gamma, 1.0).flatten().tolist() == pytest.approx(expected)


@given(part=slices(), gamma=fractions, gae_lambda=fractions, data=st.data())
def test_what_follows_an_end_changes_nothing_before_it(
    part: Slice, gamma: float, gae_lambda: float, data: st.DataObject
) -> None:
    end = data.draw(st.integers(0, len(part.rewards) - 1))
    part.truncated[end] = True
    other = replace(part, rewards=part.rewards.clone(), values=part.values.clone(), next_values=part.next_values.clone())
    for numbers in (other.rewards, other.values, other.next_values):
        numbers[end + 1 :] += 100.0
    before, after = part.advantages(gamma, gae_lambda), other.advantages(gamma, gae_lambda)
    assert torch.equal(before[: end + 1], after[: end + 1])


@pytest.mark.parametrize(("ending", "bootstraps"), [("truncated", True), ("terminated", False)])
def test_a_cut_off_state_has_a_value_and_a_terminal_one_has_none(ending: str, bootstraps: bool) -> None:
    part = of_one([1.0, 1.0, 1.0], [0.0, 0.0, 0.0], last_value=0.0)
    getattr(part, ending)[1] = True
    part.next_values[1] = 10.0
    advantages = part.advantages(gamma=1.0, gae_lambda=1.0).flatten().tolist()
    assert advantages == ([12.0, 11.0, 1.0] if bootstraps else [2.0, 1.0, 1.0])


def test_an_end_that_is_both_has_no_future() -> None:
    part = of_one([1.0], [0.0], last_value=10.0)
    part.truncated[0] = part.terminated[0] = True
    assert part.advantages(gamma=1.0, gae_lambda=1.0).item() == 1.0


def test_a2c_losses_by_hand() -> None:
    logits = torch.tensor([[0.75, 0.25], [0.5, 0.5]]).log()
    policy_loss, value_loss, entropy = a2c_losses(
        logits, torch.tensor([1.0, 2.0]), torch.tensor([0, 1]), torch.tensor([2.0, -1.0]), torch.tensor([4.0, 2.0])
    )
    assert policy_loss.item() == pytest.approx(-(2 * math.log(0.75) - math.log(0.5)) / 2)
    assert value_loss.item() == pytest.approx(9 / 2)
    entropies = [-0.75 * math.log(0.75) - 0.25 * math.log(0.25), math.log(2)]
    assert entropy.item() == pytest.approx(sum(entropies) / 2)


@given(seed=st.integers(0, 2**32), n=st.integers(1, 6), n_actions=st.integers(2, 4))
def test_the_policy_gradient_is_its_closed_form(seed: int, n: int, n_actions: int) -> None:
    rng = np.random.default_rng(seed)
    logits = torch.from_numpy(rng.normal(size=(n, n_actions))).requires_grad_(True)
    actions, advantages = torch.from_numpy(rng.integers(n_actions, size=n)), torch.from_numpy(rng.normal(size=n))
    zeros = torch.zeros(n, dtype=torch.float64)
    a2c_losses(logits, zeros, actions, advantages, zeros)[0].backward()
    one_hot = torch.nn.functional.one_hot(actions, n_actions)
    expected = (logits.softmax(-1) - one_hot) * advantages[:, None] / n
    torch.testing.assert_close(logits.grad, expected.detach())


@given(seed=st.integers(0, 2**32))
def test_a_doubled_rollout_has_the_same_losses(seed: int) -> None:
    rng = np.random.default_rng(seed)
    logits, actions = torch.from_numpy(rng.normal(size=(5, 3))), torch.from_numpy(rng.integers(3, size=5))
    values, advantages, returns = torch.from_numpy(rng.normal(size=(3, 5)))
    once = a2c_losses(logits, values, actions, advantages, returns)
    twice = a2c_losses(*(torch.cat([part, part]) for part in (logits, values, actions, advantages, returns)))
    torch.testing.assert_close(once, twice)
