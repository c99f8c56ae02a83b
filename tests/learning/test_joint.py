from __future__ import annotations

import json
from typing import Any

import pytest
import torch
from torch import Tensor

from phr.evaluation.starts import distinct_starts, play_all_starts
from phr.learning.joint import JointTraining
from phr.learning.losses import a2c_losses
from phr.learning.phr import PHR
from phr.networks.policy import PlanNetwork, build_network
from phr.networks.torch_planner import TorchPlanner
from tests.helpers import corridor
from tests.trained import CORRIDOR, TRUNK, a2c_config, corridor_experience, corridor_teacher, phr_config


def joint(start: PlanNetwork | None = None, **settings: Any) -> JointTraining:
    config = phr_config(joint=True, trunk_mode="shared", precision="float32", **settings)
    student = PHR(start or corridor_teacher().network, corridor_experience(), config)
    return JointTraining(corridor, student, a2c_config(precision="float32"))


def advanced(training: JointTraining, n: int) -> JointTraining:
    for _ in range(n):
        training.update()
    return training


def weights(training: JointTraining) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in training.student.network.state_dict().items()}


def length_at(network: PlanNetwork, commitment: int) -> float:
    starts = distinct_starts(corridor(), patience=0)
    return play_all_starts(TorchPlanner(network, "float32"), CORRIDOR, starts, commitment=commitment).length_mean


def test_head_1_goes_on_learning_while_the_later_heads_are_regressed() -> None:
    """Head 1 starts untrained here, so whatever it knows in the end it has learnt by A2C."""
    fresh = build_network((5,), 2, 1, TRUNK, seed=0)
    training = joint(fresh, n_updates=100)
    assert length_at(training.student.network, 1) == 20
    while not training.done:
        training.update()
    assert [length_at(training.student.network, n) for n in (1, 2, 4)] == [4, 4, 4]


def test_every_update_descends_both_gradients() -> None:
    training = joint(loss_weight=0.5)
    before = weights(training)
    advanced(training, 1)
    gradients = {name: value.grad for name, value in training.student.network.named_parameters()}
    twin = joint(loss_weight=0.5)
    network = twin.student.network
    assert all(torch.equal(before[name], value) for name, value in weights(twin).items())
    a2c = twin._a2c
    rollout = a2c.collector.collect(torch.inference_mode()(network.policy_and_value))
    logits, values = network.policy_and_value(rollout.obs[:-1].flatten(0, 1))
    advantages, config = a2c._advantages(rollout), a2c.config
    policy_loss, value_loss, entropy = a2c_losses(
        logits, values, rollout.actions.flatten(), advantages, advantages + values.detach()
    )
    regression = twin.student.loss()
    loss = policy_loss + config.vf_coef * value_loss - config.ent_coef * entropy + regression
    a2c._flat.gradient.zero_()
    loss.backward()
    torch.nn.utils.clip_grad_norm_(network.parameters(), config.max_grad_norm)
    for name, value in network.named_parameters():
        torch.testing.assert_close(value.grad, gradients[name])


def test_it_takes_as_many_updates_as_the_student_asked_for() -> None:
    training = joint(n_updates=3)
    assert (training.progress().done, training.progress().total) == (0, 3 * 64)
    advanced(training, 3)
    assert training.done
    assert training.n_updates == 3
    assert training.progress().stage == "joint training, horizon 4"


@pytest.mark.parametrize("n_before", [0, 3])
def test_an_interrupted_joint_training_goes_on_bit_for_bit(n_before: int) -> None:
    straight = advanced(joint(n_updates=8), n_before)
    tensors, state = straight.checkpoint()
    tensors, state = {name: value.clone() for name, value in tensors.items()}, json.loads(json.dumps(state))
    resumed = joint(n_updates=8)
    resumed.restore(tensors, state)
    while not straight.done:
        assert straight.update() == resumed.update()
    assert resumed.done
    assert all(torch.equal(value, weights(resumed)[name]) for name, value in weights(straight).items())
