from __future__ import annotations

import json
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from phr.distil.phr import PHR, JointTraining
from phr.evaluation.episodes import distinct_starts, play_all_starts
from phr.networks.policy import PlanNetwork, TorchPlanner, build_network
from phr.teacher.a2c import A2CConfig, rollout_loss
from tests.helpers import corridor
from tests.trained import CORRIDOR, TRUNK, a2c_config, corridor_experience, corridor_teacher, phr_config

JOINT: dict[str, Any] = {"joint": True, "trunk_mode": "shared", "precision": "float32"}


def plain_of(**settings: Any) -> PHR:
    return PHR(corridor_teacher().network, corridor_experience(), phr_config(**{**JOINT, "joint": False, **settings}))


def joint(start: PlanNetwork | None = None, **settings: Any) -> JointTraining:
    return joint_of(a2c_config(precision="float32"), start, **settings)


def joint_of(stage_1: A2CConfig, start: PlanNetwork | None = None, **settings: Any) -> JointTraining:
    config = phr_config(**{**JOINT, **settings})
    return JointTraining(start or corridor_teacher().network, corridor_experience(), config, corridor, stage_1)


def advanced(training: JointTraining, n: int) -> JointTraining:
    for _ in range(n):
        training.update()
    return training


def weights(training: JointTraining) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in training.network.state_dict().items()}


def length_at(network: PlanNetwork, commitment: int) -> float:
    starts = distinct_starts(corridor(), patience=0)
    return play_all_starts(TorchPlanner(network, "float32"), CORRIDOR, starts, commitment=commitment).length_mean


def test_head_1_goes_on_learning_while_the_later_heads_are_regressed() -> None:
    """Head 1 starts untrained here, so whatever it knows in the end it has learnt by A2C."""
    fresh = build_network((5,), 2, 1, TRUNK, seed=0)
    training = joint(fresh, n_updates=100)
    assert length_at(training.network, 1) == 20
    while not training.done:
        training.update()
    assert [length_at(training.network, n) for n in (1, 2, 4)] == [4, 4, 4]


def test_the_optimizer_is_that_of_plain_stage_2() -> None:
    """The same class, groups, decay, clipping and rates; the value head, which only A2C trains, is one more parameter."""
    settings: dict[str, Any] = {
        "weight_decay": 0.2,
        "max_grad_norm": 0.7,
        "learning_rate": 2e-3,
        "n_updates": 6,
        "warmup": 0.5,
    }
    plain, training = plain_of(**settings), joint(**settings)
    assert type(training.optimizer) is type(plain.optimizer) is torch.optim.AdamW
    groups = []
    for optimizer in (plain.optimizer, training.optimizer):
        groups.append([{key: value for key, value in group.items() if key != "params"} for group in optimizer.param_groups])
    assert groups[0] == groups[1]
    value_head = {id(parameter) for parameter in training.network.value_head.parameters()}
    decaying, others = (group["params"] for group in training.optimizer.param_groups)
    assert [p.shape for p in decaying] == [p.shape for p in plain.optimizer.param_groups[0]["params"]]
    kept = [p.shape for p in others if id(p) not in value_head]
    assert kept == [p.shape for p in plain.optimizer.param_groups[1]["params"]]
    assert len(others) == len(kept) + len(value_head)
    rates: list[list[float]] = [[], []]
    while not plain.done:
        for found, each in zip(rates, (plain, training), strict=True):
            each.update()
            found.append(each.optimizer.param_groups[0]["lr"])
    assert rates[0] == rates[1]
    assert training.done


def test_without_rewards_and_their_losses_it_is_plain_stage_2() -> None:
    """The corridor of 20 steps pays nothing to a policy that goes left, so with zero weights A2C adds a gradient of zero."""
    config = a2c_config(precision="float32", vf_coef=0.0, ent_coef=0.0, reward_scale=1e-30)
    plain = plain_of()
    training = joint_of(config)
    with torch.no_grad():
        training.network.value_head.weight.zero_()
        training.network.value_head.bias.zero_()
    for _ in range(5):
        plain.update()
        training.update()
    expected = plain.network.state_dict()
    for name, value in training.network.state_dict().items():
        if not name.startswith("value_head"):
            torch.testing.assert_close(value, expected[name], rtol=1e-4, atol=1e-6, msg=name)


def test_every_update_descends_both_gradients() -> None:
    training = joint(loss_weight=0.5)
    before = weights(training)
    advanced(training, 1)
    gradients = {name: value.grad for name, value in training.network.named_parameters()}
    twin = joint(loss_weight=0.5)
    network = twin.network
    assert all(torch.equal(before[name], value) for name, value in weights(twin).items())
    rollout = twin._collector.collect(torch.inference_mode()(network.policy_and_value))
    logits, values = network.policy_and_value(rollout.obs[:-1].flatten(0, 1))
    with torch.inference_mode():
        _, following = network.policy_and_value(rollout.following_obs())
    config = twin._stage_1
    ent_coef = config.ent_coef * config.ent_coef_end
    (rollout_loss(rollout, logits, values, following, config, ent_coef)[0] + twin.loss()).backward()
    nn.utils.clip_grad_norm_(network.parameters(), twin.config.max_grad_norm)
    for name, value in network.named_parameters():
        assert value.grad is not None, name
        torch.testing.assert_close(value.grad, gradients[name])


def test_it_takes_as_many_updates_as_the_student_asked_for() -> None:
    training = joint(n_updates=3)
    assert (training.progress().done, training.progress().total) == (0, 3 * 64)
    metrics = [training.update() for _ in range(3)]
    assert training.done
    assert training.n_updates == 3
    assert training.progress().stage == "joint training, horizon 4"
    assert (training.progress().done, training.progress().total) == (3 * 64, 3 * 64)
    assert metrics[-1].keys() == {"loss/plan", "loss/policy", "loss/value", "entropy", "grad_norm"}


@pytest.mark.parametrize(("n_before", "priority"), [(0, 0.0), (3, 0.0), (3, 0.7)])
def test_an_interrupted_joint_training_goes_on_bit_for_bit(n_before: int, priority: float) -> None:
    straight = advanced(joint(n_updates=8, priority=priority), n_before)
    tensors, state = straight.checkpoint()
    tensors, state = {name: value.clone() for name, value in tensors.items()}, json.loads(json.dumps(state))
    resumed = joint(n_updates=8, priority=priority)
    resumed.restore(tensors, state)
    while not straight.done:
        assert straight.update() == resumed.update()
    assert resumed.done
    assert all(torch.equal(value, weights(resumed)[name]) for name, value in weights(straight).items())
    assert straight.averages() == resumed.averages()
