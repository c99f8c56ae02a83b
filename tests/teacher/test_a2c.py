from __future__ import annotations

import json
import math
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from phr.envs.registry import split_env
from phr.envs.split import SplitEnv
from phr.errors import NonFiniteError, SettingError
from phr.evaluation.episodes import Episodes, distinct_starts, play_all_starts
from phr.networks.policy import TorchPlanner, build_network
from phr.networks.trunks import TrunkConfig
from phr.teacher import a2c
from phr.teacher.a2c import A2C, A2CConfig, BestBy, GreedyTest, Rollout
from tests.helpers import corridor, make_corridor, noisy
from tests.trained import CORRIDOR, a2c_config, corridor_teacher


def trained(n_updates: int, make: Any = corridor, **settings: Any) -> A2C:
    training = A2C(make, a2c_config(**settings))
    for _ in range(n_updates):
        training.update()
    return training


def weights(training: A2C) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in training.network.state_dict().items()}


def same(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def test_the_corridor_is_learnt_to_its_optimum() -> None:
    result = play_all_starts(corridor_teacher().planner, CORRIDOR, distinct_starts(corridor(), patience=0))
    assert (result.n_solved, result.length_mean, result.return_mean) == (1, 4, 1)


def test_adam_learns_it_too() -> None:
    training = trained(60, optimizer="adam", learning_rate=3e-3)
    result = play_all_starts(TorchPlanner(training.network, "float32"), CORRIDOR, distinct_starts(corridor(), patience=0))
    assert result.length_mean == 4


def test_the_seed_decides_every_weight() -> None:
    first, again, other = (weights(trained(5, seed=seed)) for seed in (1, 1, 2))
    assert same(first, again)
    assert not same(first, other)


@pytest.mark.parametrize("optimizer", ["rmsprop", "adam"])
@pytest.mark.parametrize("n_before", [0, 3, 8])
def test_an_interrupted_training_goes_on_bit_for_bit(optimizer: str, n_before: int) -> None:
    settings = {"optimizer": optimizer, "total_timesteps": 640, "prefix": (0, 3)}
    straight = trained(n_before, noisy, **settings)
    tensors, state = straight.checkpoint()
    tensors, state = {name: value.clone() for name, value in tensors.items()}, json.loads(json.dumps(state))
    if n_before == 3:
        assert any(entry["actions"] for entry in state["collector"]["vector"])  # in the middle of episodes
    resumed = A2C(noisy, a2c_config(**settings))
    resumed.restore(tensors, state)
    assert resumed.n_updates == n_before
    while not straight.done:
        assert straight.update() == resumed.update()
    assert resumed.done
    assert straight.greedy.best_return == resumed.greedy.best_return
    assert same(weights(straight), weights(resumed))
    assert same(straight.greedy.best.state_dict(), resumed.greedy.best.state_dict())
    assert same(straight.checkpoint()[0], resumed.checkpoint()[0])  # the optimizer too


def test_the_best_greedy_evaluation_is_kept() -> None:
    training = A2C(noisy, a2c_config(total_timesteps=64 * 8, n_evaluations=4))
    seen: dict[int, tuple[float, dict[str, torch.Tensor]]] = {}
    while not training.done:
        metrics = training.update()
        if "greedy_return" in metrics:
            seen[training.n_updates] = metrics["greedy_return"], weights(training)
    assert set(seen) == training.config.evaluation_updates == {5, 6, 7, 8}
    best = max(value for value, _ in seen.values())
    last_best = max(update for update, (value, _) in seen.items() if value == best)
    assert training.greedy.best_return == best
    assert same(training.greedy.best.state_dict(), seen[last_best][1])


@given(warmup=st.floats(0, 0.99), done=st.integers(0, 61))
def test_the_rate_rises_first_and_then_falls_as_without(warmup: float, done: int) -> None:
    training, plain = (A2C(corridor, a2c_config(total_timesteps=62 * 64, warmup=share)) for share in (warmup, 0.0))
    training.n_updates = plain.n_updates = done
    rising = min(1.0, (done + 1) / (warmup * 62)) if warmup else 1.0
    assert training.learning_rate == pytest.approx(plain.learning_rate * rising)
    assert plain.learning_rate == pytest.approx(1e-3 * (1 - 0.9 * done / 62))


@pytest.mark.parametrize("best_by", ["return", "return_per_step"])
def test_the_best_may_be_the_one_that_collects_fastest(best_by: BestBy) -> None:
    network = A2C(corridor, a2c_config()).network
    outcomes = iter([([1.0, 1.0], [4, 6]), ([0.9, 0.9], [2, 2]), ([1.0, 0.9], [9, 9])])

    def played(*_arguments: Any, **_options: Any) -> Episodes:
        returns, lengths = next(outcomes)
        return Episodes(np.array(returns), np.array(lengths), np.array(lengths), (True, True), ())

    test = GreedyTest(corridor, network, a2c_config(eval_episodes=2, best_by=best_by))
    kept = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(a2c, "play_episodes", played)
        for mark in range(3):
            torch.nn.init.constant_(network.plan_head.bias, mark)
            test.run()
            kept.append(float(test.best.state_dict()["plan_head.bias"][0]))
    assert kept == ([0, 0, 0] if best_by == "return" else [0, 1, 1])
    assert test.best_return == (1.0 if best_by == "return" else 0.9)
    tensors, state = test.checkpoint()
    again = GreedyTest(corridor, network, a2c_config(eval_episodes=2, best_by=best_by))
    again.restore(tensors, json.loads(json.dumps(state)))
    assert (again.best_return, again.best_score) == (test.best_return, test.best_score)


@given(total=st.integers(1, 10_000), n_envs=st.integers(1, 8), n_steps=st.integers(1, 8), n_evaluations=st.integers(1, 30))
def test_updates_cover_the_steps_asked_for(total: int, n_envs: int, n_steps: int, n_evaluations: int) -> None:
    config = a2c_config(total_timesteps=total, n_envs=n_envs, n_steps=n_steps, n_evaluations=n_evaluations)
    assert config.rollout_size == n_envs * n_steps
    assert config.n_updates == math.ceil(total / (n_envs * n_steps))
    evaluated = config.evaluation_updates
    assert max(evaluated) == config.n_updates
    assert 1 <= len(evaluated) <= n_evaluations
    assert min(evaluated) > config.n_updates / 2 - 1


def test_rate_and_entropy_bonus_fall_linearly() -> None:
    training = A2C(corridor, a2c_config(total_timesteps=64 * 4, learning_rate=0.8, learning_rate_end=0.5))
    rates = []
    while not training.done:
        training.update()
        rates.append(training.optimizer.param_groups[0]["lr"])
    assert rates == pytest.approx([0.8, 0.7, 0.6, 0.5])


def test_the_entropy_bonus_of_each_update_falls_linearly(monkeypatch: pytest.MonkeyPatch) -> None:
    given, real = list[float](), a2c.rollout_loss

    def listening(*arguments: Any) -> Any:
        given.append(arguments[-1])
        return real(*arguments)

    monkeypatch.setattr(a2c, "rollout_loss", listening)
    training = A2C(corridor, a2c_config(total_timesteps=64 * 4, ent_coef=0.8, ent_coef_end=0.5, learning_rate_end=0.1))
    while not training.done:
        training.update()
    assert given == pytest.approx([0.8, 0.7, 0.6, 0.5])


def one_update(**settings: Any) -> tuple[A2C, dict[str, torch.Tensor], dict[str, torch.Tensor], dict[str, float]]:
    """A training after one update, its weights before, the gradient that autograd finds for the loss, and the metrics."""
    training, twin = (A2C(noisy, a2c_config(total_timesteps=640, precision="float32", **settings)) for _ in range(2))
    before, config, network = weights(training), twin.config, twin.network
    metrics = training.update()
    rollout = twin.collector.collect(torch.inference_mode()(network.policy_and_value))
    logits, values = network.policy_and_value(rollout.obs[:-1].flatten(0, 1))
    with torch.inference_mode():
        _, following = network.policy_and_value(rollout.following_obs())
    loss, _ = a2c.rollout_loss(rollout, logits, values, following, config, config.ent_coef)
    found = torch.autograd.grad(loss, list(network.parameters()))
    return training, before, dict(zip(dict(network.named_parameters()), found, strict=True)), metrics


@pytest.mark.parametrize("optimizer", ["rmsprop", "adam"])
@pytest.mark.parametrize("max_grad_norm", [1e-2, 1e6])
def test_one_step_is_the_optimizers_on_the_clipped_gradient(optimizer: str, max_grad_norm: float) -> None:
    """The first step: RMSprop divides by √(0.01 g²), as its α is 0.99; Adam by |g|."""
    settings = {"learning_rate": 0.25, "optimizer_eps": 1e-3, "vf_coef": 0.75, "ent_coef": 0.1}
    training, before, full, metrics = one_update(optimizer=optimizer, max_grad_norm=max_grad_norm, **settings)
    norm = torch.stack([value.norm() for value in full.values()]).norm().item()
    assert metrics["grad_norm"] == pytest.approx(norm, rel=1e-3)
    assert norm > 1e-1
    for name, value in training.network.state_dict().items():
        gradient = full[name] * min(1.0, max_grad_norm / norm)
        divisor = gradient.abs() * (0.1 if optimizer == "rmsprop" else 1.0) + 1e-3
        torch.testing.assert_close(value, before[name] - 0.25 * gradient / divisor, rtol=1e-3, atol=1e-3, msg=name)


def test_the_loss_of_a_rollout_by_hand() -> None:
    """Two steps of one environment; the second is cut off, and its last state is worth 5."""
    rollout = Rollout(
        obs=torch.zeros(3, 1, 1),
        logits=torch.zeros(2, 2),
        values=torch.tensor([0.5, 0.25]),
        actions=torch.tensor([[0], [1]]),
        rewards=torch.tensor([[1.0], [2.0]]),
        terminated=torch.tensor([[False], [False]]),
        truncated=torch.tensor([[False], [True]]),
        final_obs={(1, 0): np.ones(1, np.float32)},
    )
    config = a2c_config(gamma=0.5, gae_lambda=0.5, vf_coef=0.75)
    logits = torch.tensor([[0.75, 0.25], [0.5, 0.5]]).log()
    loss, parts = a2c.rollout_loss(rollout, logits, torch.tensor([1.0, 2.0]), torch.tensor([9.0, 5.0]), config, 0.1)
    second = 2.0 + 0.5 * 5.0 - 0.25
    first = 1.0 + 0.5 * 0.25 - 0.5 + 0.25 * second
    policy = -(math.log(0.75) * first + math.log(0.5) * second) / 2
    value = ((1.0 - first - 0.5) ** 2 + (2.0 - second - 0.25) ** 2) / 2
    entropy = (-0.75 * math.log(0.75) - 0.25 * math.log(0.25) + math.log(2)) / 2
    assert parts == pytest.approx({"loss/policy": policy, "loss/value": value, "entropy": entropy})
    assert loss.item() == pytest.approx(policy + 0.75 * value - 0.1 * entropy)


def test_a_cloned_student_that_normalises_is_trained_on_its_own_logits() -> None:
    """Offsets of 100 and scales of 50: without the statistics A2C would see another policy."""
    network = build_network((3,), 3, 1, TrunkConfig(kind="mlp", width=16), seed=0, normalize=True)
    network.trunk.set_statistics(np.random.default_rng(0).normal(100, 50, (64, 3)).astype(np.float32))
    with torch.no_grad():
        network.plan_head.weight.mul_(100)
    training = A2C(noisy, a2c_config(), network=network)
    obs = torch.from_numpy(np.random.default_rng(1).normal(100, 50, (16, 3)).astype(np.float32))
    for _ in range(2):
        expected = [part.detach() for part in network.policy_and_value(obs)]
        torch.testing.assert_close(training.act(obs), tuple(expected))
        training._tape.refresh()
        training.update()


def test_progress_is_told_in_steps() -> None:
    training = trained(2, total_timesteps=200)
    progress = training.progress()
    assert (progress.done, progress.total, progress.unit) == (128, 256, "timesteps")
    assert training.timesteps == 128


class BrokenReward(gymnasium.Wrapper[Any, Any, Any, Any]):
    def step(self, action: Any) -> Any:
        obs, _, terminated, truncated, info = self.env.step(action)
        return obs, 1e38, terminated, truncated, info  # its square is more than float32 holds


def test_a_loss_that_is_not_finite_leaves_the_weights_as_they_were() -> None:
    def broken() -> SplitEnv:
        return split_env(BrokenReward(make_corridor()), "broken")

    training = A2C(broken, a2c_config())
    before = weights(training)
    with pytest.raises(NonFiniteError, match=r"loss (nan|inf), gradient norm (nan|inf) at step 0; lower learning_rate"):
        training.update()
    assert same(before, weights(training))
    assert training.n_updates == 0


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"total_timesteps": 0}, "total_timesteps must be >= 1, got 0"),
        ({"n_envs": 0}, "n_envs must be >= 1, got 0"),
        ({"n_evaluations": 0}, "n_evaluations must be >= 1"),
        ({"gamma": 1.1}, r"gamma must lie in \[0, 1\], got 1.1"),
        ({"gae_lambda": -0.1}, r"gae_lambda must lie in \[0, 1\], got -0.1"),
        ({"learning_rate": 0.0}, "learning_rate must be positive, got 0.0"),
        ({"learning_rate": math.nan}, "learning_rate must be finite, got nan"),
        ({"ent_coef": math.inf}, "ent_coef must be finite, got inf"),
        ({"max_grad_norm": -1.0}, "max_grad_norm must be positive, got -1.0"),
        ({"reward_scale": 0.0}, "reward_scale must be positive, got 0.0"),
        ({"ent_coef": -0.01}, "ent_coef must be >= 0, got -0.01"),
        ({"vf_coef": -0.5}, "vf_coef must be >= 0, got -0.5"),
        ({"learning_rate_end": -0.1}, "learning_rate_end must be >= 0, got -0.1"),
        ({"prefix": (5, 2)}, "prefix needs 0 <= low <= high, got 5:2"),
        ({"seed": -1}, "seed must be >= 0, got -1"),
    ],
)
def test_settings_that_make_no_sense_are_refused(setting: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingError, match=message):
        A2CConfig(**setting)


def test_averages_are_reported() -> None:
    training = trained(20)
    metrics = training.update() | training.averages()
    assert set(metrics) >= {"loss/policy", "loss/value", "entropy", "grad_norm", "episode_return", "episode_length"}
    assert 0 <= metrics["entropy"] <= np.log(2) + 1e-6
