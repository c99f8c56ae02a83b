from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any, get_args

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from phr.distil.config import PHRConfig, TrunkMode
from phr.distil.losses import ROW_LOSSES, PlanLoss
from phr.distil.phr import PHR
from phr.distil.windows import WindowData, each_once, regressed
from phr.errors import HorizonError, IncompatibleModelError, InvalidDataError, NonFiniteError, SettingError
from phr.evaluation.episodes import distinct_starts, play_all_starts
from phr.networks.policy import NetworkConfig, PlanNetwork, TorchPlanner, build_network
from tests.experience.builders import experience, trajectory
from tests.helpers import corridor
from tests.trained import CORRIDOR, TRUNK, corridor_experience, corridor_student, corridor_teacher, phr_config

EVERY_CELL = torch.eye(5)
TRUNK_MODES: tuple[TrunkMode, ...] = get_args(TrunkMode)


def student(**settings: Any) -> PHR:
    return PHR(corridor_teacher().network, corridor_experience(), phr_config(**settings))


def trained(n: int = 150, /, **settings: Any) -> PHR:
    distillation = student(**settings)
    for _ in range(n):
        distillation.update()
    return distillation


def teacher_logits() -> Tensor:
    logits: Tensor = corridor_teacher().network(EVERY_CELL)[:, 0]
    return logits


def weights(network: PlanNetwork) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in network.state_dict().items()}


def same(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize("loss", ROW_LOSSES)
def test_every_loss_distils_plans_that_are_optimal_when_executed_whole(loss: PlanLoss) -> None:
    planner = corridor_student(loss).planner
    for commitment, looks in ((1, 4), (2, 2), (3, 2), (4, 1)):
        result = play_all_starts(planner, CORRIDOR, distinct_starts(corridor(), patience=0), commitment=commitment)
        assert (result.n_solved, result.length_mean, result.evaluations_per_episode) == (1, 4, looks)


@pytest.mark.parametrize("mode", TRUNK_MODES)
def test_every_trunk_mode_distils_optimal_plans(mode: TrunkMode) -> None:
    planner = TorchPlanner(trained(trunk_mode=mode).network, "float32")
    result = play_all_starts(planner, CORRIDOR, distinct_starts(corridor(), patience=0))
    assert (result.length_mean, result.evaluations_per_episode) == (4, 1)


@pytest.mark.parametrize("horizon", [2, 5])
def test_a_causal_student_plans_one_of_two_ways_and_never_a_mixture(horizon: int) -> None:
    """The teacher goes left, right, left, … or right, left, right, …, as a coin falls that no observation shows."""
    rng = np.random.default_rng(0)
    ways = [[(step + coin) % 2 for step in range(horizon)] for coin in rng.integers(2, size=64)]
    zeros = np.zeros((horizon, 2), np.float32)
    blind = (replace(trajectory([0.0] * horizon, n_actions=2), obs=zeros, actions=np.array(way)) for way in ways)
    episodes, plans = experience(*blind), {}
    for causal in (False, True):
        start = build_network(episodes.obs_shape, 2, 1, TRUNK, seed=0)
        training = PHR(start, episodes, phr_config(horizon=horizon, causal=causal, n_updates=200, learning_rate=1e-2))
        for _ in range(200):
            training.update()
        plans[causal] = TorchPlanner(training.network, "float32").plan(zeros[:1])
    sure = plans[True].confidence()[0]
    steps = plans[True].mode()[0]
    assert (np.diff(steps) != 0).all()
    assert sure[0] == pytest.approx(0.5, abs=0.1)
    assert (sure[1:] > 0.8).all()
    assert (plans[False].confidence()[0] < 0.65).all()


@pytest.mark.parametrize(("mode", "moves"), [("frozen", False), ("own", False), ("shared", True), ("anchored", True)])
def test_only_a_shared_trunk_moves_the_policy_of_head_1(mode: TrunkMode, moves: bool) -> None:
    before, after = student(trunk_mode=mode).network, trained(20, trunk_mode=mode).network
    assert torch.equal(before(EVERY_CELL)[:, 0], after(EVERY_CELL)[:, 0]) is not moves


@pytest.mark.parametrize(("mode", "counts"), [("frozen", False), ("own", False), ("shared", False), ("anchored", True)])
def test_head_1_enters_the_loss_only_where_it_is_anchored(mode: TrunkMode, counts: bool) -> None:
    distillation = student(trunk_mode=mode)
    distillation.loss().backward()
    gradient = distillation.network.plan_head.weight.grad
    assert gradient is not None
    per_head = gradient.unflatten(0, (4, 2)).abs().sum((1, 2)) > 0
    assert per_head.tolist() == [counts, True, True, True]


@pytest.mark.parametrize("mode", TRUNK_MODES)
def test_no_gradient_reaches_the_teacher_nor_the_value_head(mode: TrunkMode) -> None:
    teacher = build_network((5,), 2, 1, TRUNK, seed=0)
    before = weights(teacher)
    distillation = PHR(teacher, corridor_experience(), phr_config(trunk_mode=mode))
    for _ in range(3):
        distillation.update()
    assert all(parameter.grad is None for parameter in teacher.parameters())
    assert same(before, weights(teacher))
    for name in ("value_head.weight", "value_head.bias"):
        assert torch.equal(distillation.network.state_dict()[name], before[name])


@pytest.mark.parametrize("mode", ["shared", "frozen", "own"])
def test_a_student_of_horizon_1_is_the_teacher(mode: TrunkMode) -> None:
    distillation = student(horizon=1, trunk_mode=mode)
    assert distillation.done  # there is no later head to train
    torch.testing.assert_close(distillation.network(EVERY_CELL)[:, 0], teacher_logits())


def test_an_anchored_student_of_horizon_1_acts_like_the_teacher() -> None:
    distillation = trained(horizon=1)
    assert distillation.done
    assert torch.equal(distillation.network(EVERY_CELL)[:4, 0].argmax(-1), teacher_logits()[:4].argmax(-1))


def test_later_heads_start_as_softened_copies() -> None:
    network = student(copy_scale=0.25).network
    first, *later = network(EVERY_CELL).unbind(1)
    torch.testing.assert_close(first, teacher_logits())
    for head in later:
        torch.testing.assert_close(head, 0.25 * first)


@pytest.mark.parametrize(
    ("loss", "changes"),
    [("kl", True), ("forward_kl", True), ("squared", True), ("squared_logits", False), ("cross_entropy", True)],
)
def test_smoothing_changes_every_loss_that_compares_probabilities(loss: PlanLoss, changes: bool) -> None:
    plain, smooth = (student(loss=loss, teacher_smoothing=smoothing).loss().item() for smoothing in (0.0, 0.3))
    assert (plain != smooth) is changes


@pytest.mark.parametrize("mode", TRUNK_MODES)
def test_only_heads_that_learnt_smoothed_labels_have_the_smoothing_taken_out(mode: TrunkMode) -> None:
    config = student(trunk_mode=mode, teacher_smoothing=0.3).network.config
    assert config.smoothing == (0.3 if mode == "anchored" else (0.0, 0.3, 0.3, 0.3))
    assert NetworkConfig.from_json(config.to_json()) == config
    assert ("first_smoothing" in config.to_json()) is (mode != "anchored")


@pytest.mark.parametrize("mode", ["frozen", "own"])
def test_a_head_1_that_stays_the_teachers_is_as_sure_as_the_teacher(mode: TrunkMode) -> None:
    teacher, obs = corridor_teacher().planner, EVERY_CELL.numpy()
    planned = TorchPlanner(student(trunk_mode=mode, teacher_smoothing=0.3).network, "float32").plan(obs)
    np.testing.assert_allclose(planned.confidence()[:, 0], teacher.plan(obs).confidence()[:, 0], rtol=1e-5)


def test_a_smoothed_head_1_is_handed_on_as_such() -> None:
    smooth = student(teacher_smoothing=0.3).network
    handed_on = PHR(smooth, corridor_experience(), phr_config(trunk_mode="frozen", teacher_smoothing=0.1))
    assert handed_on.network.config.smoothing == (0.3, 0.1, 0.1, 0.1)


def test_loss_weight_scales_the_loss() -> None:
    plain, weighted = student(), student(loss_weight=10.0)
    assert weighted.loss().item() == pytest.approx(10 * plain.loss().item(), rel=1e-6)


def test_a_batch_is_what_the_teacher_saw_and_did() -> None:
    data = student(horizon=3, teacher_smoothing=0.0).data
    obs, logits, actions, valid = data.batch(torch.arange(len(data)))
    row = 0
    for episode in corridor_experience().trajectories:
        for t in range(episode.length):
            np.testing.assert_array_equal(obs[row], episode.obs[t])
            n = min(3, episode.length - t)
            assert valid[row].tolist() == [step < n for step in range(3)]
            np.testing.assert_array_equal(actions[row, :n], episode.actions[t : t + n])
            np.testing.assert_array_equal(logits[row, :n], episode.teacher_logits[t : t + n])
            row += 1
    assert row == len(data)


@given(labels=st.lists(st.integers(0, 4), min_size=1, max_size=12))
def test_each_observation_once(labels: list[int]) -> None:
    obs = EVERY_CELL[labels]
    once, which = each_once(obs)
    assert torch.equal(once[which], obs)
    assert once.argmax(1).tolist() == list(dict.fromkeys(labels))


@pytest.mark.parametrize("mode", TRUNK_MODES)
def test_answering_each_observation_once_changes_no_gradient(mode: TrunkMode) -> None:
    """The corridor has five cells, so a batch repeats itself."""
    once, always = student(trunk_mode=mode), student(trunk_mode=mode)
    assert once._repetitive
    always._repetitive = False
    for distillation in (once, always):
        distillation.loss().backward()
    for (name, first), (_, second) in zip(once.network.named_parameters(), always.network.named_parameters(), strict=True):
        if first.grad is None or second.grad is None:
            assert first.grad is second.grad, name
        else:
            torch.testing.assert_close(first.grad, second.grad)


def test_observations_that_all_differ_are_answered_as_they_come() -> None:
    recorded = experience(trajectory(np.ones(500).tolist()))
    assert not PHR(build_network((2,), 3, 1, TRUNK, seed=0), recorded, phr_config(batch_size=32))._repetitive


NOT_ANCHORED = ("shared", "frozen", "own")


@pytest.mark.parametrize("mode", NOT_ANCHORED)
def test_no_batch_is_empty_however_short_the_episodes(mode: TrunkMode) -> None:
    """One episode of two steps among 200 of one: only its first window has a second step."""
    recorded = experience(*(trajectory([1.0] * (1 + (i == 70)), first=i) for i in range(200)))
    start = build_network((2,), 3, 1, TRUNK, seed=0)
    distillation = PHR(start, recorded, phr_config(horizon=2, trunk_mode=mode, batch_size=1))
    data = distillation.data
    *_, valid = data.batch(data.draw(np.random.default_rng(0), 50))
    assert valid.all()
    for _ in range(20):
        assert np.isfinite(distillation.update()["loss/plan"])


@given(seed=st.integers(0, 2**32), mode=st.sampled_from(TRUNK_MODES), horizon=st.integers(2, 5))
@settings(max_examples=25)
def test_every_window_that_can_be_drawn_is_regressed(seed: int, mode: TrunkMode, horizon: int) -> None:
    rng = np.random.default_rng(seed)
    recorded = experience(*(trajectory([1.0] * int(n)) for n in (*rng.integers(1, 7, size=5), 2)))
    config = phr_config(horizon=horizon, trunk_mode=mode)
    data = WindowData(recorded, config)
    counted = regressed(data.batch(torch.arange(len(data)))[3], config)
    assert set(data._drawn.tolist()) == {row for row in range(len(data)) if counted[row].any()}
    assert bool(counted[:, 0].all()) is (mode == "anchored")


@pytest.mark.parametrize("mode", NOT_ANCHORED)
def test_episodes_of_one_step_leave_nothing_to_regress(mode: TrunkMode) -> None:
    start = build_network((2,), 3, 1, TRUNK, seed=0)
    with pytest.raises(InvalidDataError, match=f"trunk_mode '{mode}' there is nothing to regress"):
        PHR(start, experience(trajectory([1.0])), phr_config(horizon=2, trunk_mode=mode))


def test_joint_training_at_horizon_1_is_refused() -> None:
    with pytest.raises(HorizonError, match="needs a horizon >= 2, got 1"):
        phr_config(horizon=1, joint=True, trunk_mode="shared")


def test_agreement_counts_valid_steps_of_each_head() -> None:
    distillation = trained(5, loss="squared")
    agree, counted = np.zeros(4), np.zeros(4)
    plans = {cell: distillation.network(EVERY_CELL[cell : cell + 1])[0].argmax(-1).tolist() for cell in range(5)}
    for episode in corridor_experience().trajectories:
        for t in range(episode.length):
            plan = plans[int(episode.obs[t].argmax())]
            for k in range(min(4, episode.length - t)):
                agree[k] += plan[k] == episode.actions[t + k]
                counted[k] += 1
    assert distillation.agreement() == pytest.approx(agree / counted)


def test_the_seed_decides_every_weight() -> None:
    first, again, other = (weights(trained(10, seed=seed).network) for seed in (1, 1, 2))
    assert same(first, again)
    assert not same(first, other)


@pytest.mark.parametrize("mode", TRUNK_MODES)
@pytest.mark.parametrize("n_before", [0, 7])
def test_an_interrupted_distillation_goes_on_bit_for_bit(mode: TrunkMode, n_before: int) -> None:
    straight = trained(n_before, n_updates=20, trunk_mode=mode)
    tensors, state = straight.checkpoint()
    tensors, state = {name: value.clone() for name, value in tensors.items()}, json.loads(json.dumps(state))
    resumed = student(n_updates=20, trunk_mode=mode)
    resumed.restore(tensors, state)
    while not straight.done:
        assert straight.update() == resumed.update()
    assert resumed.done
    assert same(weights(straight.network), weights(resumed.network))
    assert same(straight.checkpoint()[0], resumed.checkpoint()[0])


@pytest.mark.parametrize("mode", TRUNK_MODES)
def test_an_interrupted_distillation_knows_what_it_lacks(mode: TrunkMode) -> None:
    settings: dict[str, Any] = {"n_updates": 20, "trunk_mode": mode, "priority": 0.7, "batch_size": 16}
    straight = trained(7, **settings)
    tensors, state = straight.checkpoint()
    tensors, state = {name: value.clone() for name, value in tensors.items()}, json.loads(json.dumps(state))
    resumed = student(**settings)
    resumed.restore(tensors, state)
    torch.testing.assert_close(resumed.data.lack, straight.data.lack, rtol=0.0, atol=0.0, equal_nan=True)
    assert (straight.data.lack >= 0).any()
    while not straight.done:
        assert straight.update() == resumed.update()
    assert same(weights(straight.network), weights(resumed.network))


def test_nothing_is_known_of_other_episodes() -> None:
    tensors, state = trained(7, n_updates=20, priority=0.7).checkpoint()
    resumed = student(n_updates=20, priority=0.7)
    resumed.restore({**tensors, "lack.teacher": tensors["lack.teacher"][:-1]}, state)
    assert resumed.data.lack.isnan().all()
    resumed.update()


def test_what_a_window_lacks_is_its_mean_loss_above_the_least() -> None:
    distillation = student(n_updates=20, priority=0.7, batch_size=16)
    drawn = distillation._draw()
    distillation._draw = lambda: drawn  # type: ignore[method-assign]
    distillation.loss()
    (data, rows), *_ = drawn
    obs, _, actions, valid = data.batch(rows)
    smoothing, n = distillation.network.config.label_smoothing, distillation.network.config.n_actions
    label = F.one_hot(actions, n) * (1 - smoothing) + smoothing / n
    with torch.no_grad():
        above = (label * (label.clamp(min=1e-30).log() - distillation.network(obs).log_softmax(-1))).sum(
            -1
        )  # Kullback-Leibler
    expected = (above * valid).sum(1) / valid.sum(1)
    torch.testing.assert_close(data.lack[rows], expected, rtol=1e-4, atol=1e-5)


def test_progress_is_told_in_updates() -> None:
    distillation = student(n_updates=10)
    assert distillation.progress().note == ""
    loss = distillation.update()["loss/plan"]
    progress = distillation.progress()
    assert (progress.done, progress.total, progress.unit) == (1, 10, "updates")
    assert progress.note == f"loss {loss:.4g}"


@pytest.mark.parametrize(("n_updates", "warmup", "rise"), [(4, 0.0, []), (8, 0.5, [0.2, 0.4, 0.6, 0.8])])
def test_the_rate_rises_and_then_falls_along_a_half_cosine(n_updates: int, warmup: float, rise: list[float]) -> None:
    distillation = student(n_updates=n_updates, learning_rate=1.0, warmup=warmup)
    rates = []
    while not distillation.done:
        distillation.update()
        rates.append(distillation.optimizer.param_groups[0]["lr"])
    assert rates == pytest.approx([*rise, 1.0, 0.5 + np.sqrt(0.125), 0.5, 0.5 - np.sqrt(0.125)])


def gradients(distillation: PHR) -> dict[str, Tensor]:
    return {name: p.grad.clone() for name, p in distillation.network.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("mode", TRUNK_MODES)
def test_one_step_is_adamw_on_the_clipped_gradient(mode: TrunkMode) -> None:
    """The trunk's weights decay, its biases and the heads do not. Adam's first step is the rate times g / (|g| + 1e-8)."""
    settings: dict[str, Any] = {"trunk_mode": mode, "weight_decay": 0.25, "learning_rate": 0.1, "max_grad_norm": 1e-3}
    distillation, twin = student(**settings, warmup=0.0), student(**settings, warmup=0.0)
    before = weights(distillation.network)
    metrics = distillation.update()
    twin.loss().backward()
    full = gradients(twin)
    norm = torch.stack([value.norm() for value in full.values()]).norm().item()
    assert metrics["grad_norm"] == pytest.approx(norm, rel=1e-5)
    assert norm > 10 * 1e-3
    clipped = gradients(distillation)
    assert clipped.keys() == full.keys()
    n_decayed = 0
    for name, value in distillation.network.state_dict().items():
        if name not in full:
            assert torch.equal(value, before[name]), name
            continue
        torch.testing.assert_close(clipped[name], full[name] * (1e-3 / norm), rtol=1e-3, atol=1e-10)
        decays = name.startswith("trunk.") and name.endswith("weight")
        n_decayed += decays
        shrunk = before[name] * (1 - 0.1 * 0.25) if decays else before[name]
        torch.testing.assert_close(value, shrunk - 0.1 * clipped[name] / (clipped[name].abs() + 1e-8), msg=name)
    assert n_decayed == (0 if mode == "frozen" else 2)


def test_a_short_gradient_is_not_clipped() -> None:
    distillation, twin = student(max_grad_norm=1e6), student(max_grad_norm=1e6)
    distillation.update()
    twin.loss().backward()
    for name, value in gradients(distillation).items():
        torch.testing.assert_close(value, gradients(twin)[name])


@pytest.mark.parametrize("loss", ROW_LOSSES)
@pytest.mark.parametrize("mode", ["shared", "anchored"])
def test_the_loss_is_lambda_times_the_mean_over_smoothed_steps(loss: PlanLoss, mode: TrunkMode) -> None:
    """Each row of the teacher is mixed with the uniform one; of cross-entropy, each label."""
    epsilon = 0.3
    distillation = student(loss=loss, trunk_mode=mode, teacher_smoothing=epsilon, loss_weight=2.5, batch_size=16)
    plain = student(loss=loss, trunk_mode=mode, teacher_smoothing=0.0, batch_size=16)
    obs, logits, actions, valid = plain.data.batch(plain.data.draw(plain.rng, 16))  # the same batch: the seed is the same
    total, n_steps = 0.0, 0
    with torch.inference_mode():
        planned = distillation.network(obs).double()
    for row, step in valid.nonzero().tolist():
        if step == 0 and mode == "shared":
            continue
        q = planned[row, step].softmax(-1)
        p = logits[row, step].double().softmax(-1)
        mixed = (1 - epsilon) * p + epsilon / 2
        label = torch.full((2,), epsilon / 2, dtype=torch.float64)
        label[actions[row, step]] += 1 - epsilon
        total += {
            "squared": (q - mixed).square().sum(),
            "squared_logits": (planned[row, step] - logits[row, step]).square().sum(),
            "kl": (q * (q / mixed).log()).sum(),
            "forward_kl": (mixed * (mixed / q).log()).sum(),
            "cross_entropy": -(label * q.log()).sum(),
        }[loss].item()
        n_steps += 1
    assert distillation.loss().item() == pytest.approx(2.5 * total / n_steps, rel=1e-4)


def test_a_loss_that_is_not_finite_leaves_the_weights_as_they_were() -> None:
    distillation = trained(2)
    with torch.no_grad():
        distillation.network.plan_head.bias[3] = float("nan")
    before = weights(distillation.network)
    with pytest.raises(NonFiniteError, match="loss nan, gradient norm nan at update 2; lower learning_rate"):
        distillation.update()
    after = weights(distillation.network)
    assert all(torch.equal(before[name].nan_to_num(), after[name].nan_to_num()) for name in before)


def test_the_strict_cut_may_leave_no_window() -> None:
    with pytest.raises(InvalidDataError, match="no episode is as long as the horizon 8"):
        student(horizon=8, pad=False)


@pytest.mark.parametrize(
    "make", [lambda: build_network((4,), 2, 1, TRUNK, seed=0), lambda: build_network((5,), 3, 1, TRUNK, seed=0)]
)
def test_experience_of_other_spaces_is_refused(make: Callable[[], PlanNetwork]) -> None:
    with pytest.raises(IncompatibleModelError, match=r"the experience has \(5,\) and 2"):
        PHR(make(), corridor_experience(), phr_config())


def test_a_teacher_that_sampled_is_labelled_with_what_it_did() -> None:
    """The actions are the labels of cross-entropy, whatever the logits say."""
    recorded = experience(trajectory([1.0] * 6, n_actions=3))
    start = build_network((2,), 3, 1, TRUNK, seed=0)
    config = phr_config(horizon=2, learning_rate=1e-2, n_updates=300)
    distillation = PHR(start, recorded, config)
    while not distillation.done:
        distillation.update()
    assert not np.array_equal(recorded.joined("actions"), recorded.joined("teacher_logits").argmax(-1))
    assert distillation.agreement() == [1.0, 1.0]


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"window_stride": 0}, "window_stride must be >= 1, got 0"),
        ({"n_updates": 0}, "n_updates must be >= 1, got 0"),
        ({"loss_weight": 0.0}, "loss_weight must be positive, got 0.0"),
        ({"learning_rate": float("nan")}, "learning_rate must be finite, got nan"),
        ({"keep": 1.5}, r"keep must be one of 'auto', 'all', 'successes', or a quantile .*; got 1.5"),
        ({"n_envs": 0}, "n_envs must be >= 1, got 0"),
        ({"copy_scale": 0.0}, "copy_scale must be positive, got 0.0"),
        ({"teacher_smoothing": 1.0}, r"teacher_smoothing must lie in \[0, 1\), got 1.0"),
        ({"warmup": -0.1}, r"warmup must lie in \[0, 1\), got -0.1"),
        ({"prefix": (-1, 2)}, "prefix needs 0 <= low <= high, got -1:2"),
        ({"prefix_share": 1.5}, r"prefix_share must lie in \[0, 1\], got 1.5"),
        ({"refine_noise": -0.1}, r"refine_noise must lie in \[0, 1\], got -0.1"),
        ({"seed": -1}, "^seed must be >= 0, got -1"),
        *(
            ({"joint": True, "trunk_mode": mode}, f"A2C moves head 1: trunk_mode must be 'shared', got '{mode}'")
            for mode in ("anchored", "frozen", "own")
        ),
    ],
)
def test_settings_that_make_no_sense_are_refused(setting: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingError, match=message):
        PHRConfig(horizon=4, **setting)


@pytest.mark.parametrize("horizon", [0, -1])
def test_a_horizon_below_1_is_refused(horizon: int) -> None:
    with pytest.raises(HorizonError, match=f"the horizon must be >= 1, got {horizon}"):
        PHRConfig(horizon=horizon)
