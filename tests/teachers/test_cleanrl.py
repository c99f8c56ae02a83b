"""The oracles are the agents themselves, as torch modules with CleanRL's names, and their greedy actions."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

import phr
from phr.errors import CorruptFileError, IncompatibleModelError, UsageError
from phr.teachers.cleanrl import read_cleanrl
from phr.teachers.references import resolve
from tests.teachers.sb3_models import IMAGE, RANGE, VECTOR, env_id, observations

N_VECTORS, N_IMAGES = 1000, 32


def mlp(*sizes: int, activation: type[nn.Module] = nn.Tanh, norm: bool = False) -> nn.Sequential:
    layers: list[nn.Module] = []
    for at, (n_in, n_out) in enumerate(itertools.pairwise(sizes)):
        layers += [nn.Linear(n_in, n_out)]
        if at < len(sizes) - 2:
            layers += ([nn.LayerNorm(n_out)] if norm else []) + [activation()]
    return nn.Sequential(*layers)


def convolutions() -> list[nn.Module]:
    parts = ((4, 32, 8, 4), (32, 64, 4, 2), (64, 64, 3, 1))
    return [layer for n_in, n_out, kernel, stride in parts for layer in (nn.Conv2d(n_in, n_out, kernel, stride), nn.ReLU())]


class Agent(nn.Module):
    """`greedy` is what CleanRL's evaluation does, without chance."""

    def __init__(self, **parts: Any) -> None:
        super().__init__()
        for name, part in parts.items():
            if isinstance(part, Tensor):
                self.register_buffer(name, part)
            else:
                setattr(self, name, part)

    def __getattr__(self, name: str) -> Any:
        return super().__getattr__(name)

    def greedy(self, obs: Tensor) -> Any:
        raise NotImplementedError


class PPO(Agent):
    def greedy(self, obs: Tensor) -> Any:
        return self.actor(obs).argmax(1)


class ContinuousPPO(Agent):
    def greedy(self, obs: Tensor) -> Any:
        return self.actor_mean(obs)


class AtariPPO(Agent):
    def greedy(self, obs: Tensor) -> Any:
        return self.actor(self.network(obs / 255.0)).argmax(1)


class DQN(Agent):
    def greedy(self, obs: Tensor) -> Any:
        return self.network(obs / 255.0 if obs.ndim == 4 else obs).argmax(1)


class C51(Agent):
    def greedy(self, obs: Tensor) -> Any:
        chances = torch.softmax(self.network(obs).view(len(obs), -1, len(self.atoms)), dim=2)
        return (chances * self.atoms).sum(2).argmax(1)


class Actor(Agent):
    def greedy(self, obs: Tensor) -> Any:
        x = torch.relu(self.fc2(torch.relu(self.fc1(obs))))
        head = self.fc_mu if hasattr(self, "fc_mu") else self.fc_mean
        return torch.tanh(head(x)) * self.action_scale + self.action_bias


class AtariSAC(Agent):
    def greedy(self, obs: Tensor) -> Any:
        return self.fc_logits(torch.relu(self.fc1(torch.relu(self.conv(obs / 255.0))))).argmax(1)


SCALE, BIAS = (torch.tensor(each) for each in ((RANGE.high - RANGE.low) / 2, (RANGE.high + RANGE.low) / 2))


def agents() -> dict[str, tuple[Agent, str]]:
    """CleanRL's agents, and the environment of each."""
    torch.manual_seed(0)
    box = {"fc1": nn.Linear(5, 16), "fc2": nn.Linear(16, 16), "action_scale": SCALE, "action_bias": BIAS}
    trunk = [*convolutions(), nn.Flatten(), nn.Linear(3136, 64), nn.ReLU()]
    return {
        "ppo": (PPO(actor=mlp(5, 16, 16, 4), critic=mlp(5, 16, 16, 1)), "vector"),
        "ppo_continuous_action": (
            ContinuousPPO(actor_mean=mlp(5, 16, 3), critic=mlp(5, 16, 1), actor_logstd=nn.Parameter(torch.zeros(1, 3))),
            "continuous",
        ),
        "ppo_atari": (AtariPPO(network=nn.Sequential(*trunk), actor=nn.Linear(64, 6), critic=nn.Linear(64, 1)), "image"),
        "dqn": (DQN(network=mlp(5, 12, 8, 4, activation=nn.ReLU)), "vector"),
        "pqn": (DQN(network=mlp(5, 12, 8, 4, activation=nn.ReLU, norm=True)), "vector"),
        "dqn_atari": (DQN(network=nn.Sequential(*trunk, nn.Linear(64, 6))), "channels_first"),
        "c51": (C51(network=mlp(5, 12, 8, 4 * 11, activation=nn.ReLU), atoms=torch.linspace(-5, 5, 11)), "vector"),
        "td3_continuous_action": (Actor(**box, fc_mu=nn.Linear(16, 3)), "continuous"),
        "sac_continuous_action": (Actor(**box, fc_mean=nn.Linear(16, 3), fc_logstd=nn.Linear(16, 3)), "continuous"),
        "sac_atari": (
            AtariSAC(
                conv=nn.Sequential(*convolutions()[:-1], nn.Flatten()), fc1=nn.Linear(3136, 32), fc_logits=nn.Linear(32, 6)
            ),
            "image",
        ),
    }


def saved(name: str, folder: Path) -> tuple[Path, Agent, str]:
    """The file as CleanRL writes it: C51 with its arguments, TD3 beside its critics."""
    agent, where = agents()[name]
    with torch.no_grad():
        for parameter in agent.parameters():  # so that no two outputs are close
            parameter.mul_(2.0)
        if name == "dqn_atari":  # what all pictures have in common would decide alone
            seen = torch.from_numpy(observations(IMAGE, N_IMAGES).transpose(0, 3, 1, 2).copy()).float()
            agent.network[-1].bias.copy_(agent.network[-1].bias - agent.network(seen / 255.0).mean(0))
    table: Any = agent.state_dict()
    if name == "c51":
        table = {"model_weights": table, "args": {"n_atoms": 11, "v_min": -5, "env_id": "X"}}
    if name == "td3_continuous_action":
        table = (table, nn.Linear(8, 1).state_dict(), nn.Linear(8, 1).state_dict())
    path = folder / f"{name}.cleanrl_model"
    torch.save(table, path)
    return path, agent.eval(), where


@pytest.mark.parametrize("name", agents())
def test_it_acts_as_the_agent(tmp_path: Path, name: str) -> None:
    path, agent, where = saved(name, tmp_path)
    teacher = read_cleanrl(path, env_id(where))
    obs: NDArray[Any]
    if where in ("image", "channels_first"):
        obs = observations(IMAGE, N_IMAGES)
        seen = obs.transpose(0, 3, 1, 2)
        obs = obs if where == "image" else np.ascontiguousarray(seen)
    else:
        seen = obs = observations(VECTOR, N_VECTORS)
    with torch.no_grad():
        expected = agent.greedy(torch.from_numpy(np.ascontiguousarray(seen)).float()).numpy()
    if where == "continuous":
        expected = np.clip(expected, RANGE.low, RANGE.high)
    found = teacher.plan(obs).mode()[:, 0]
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)
    assert len(np.unique(expected, axis=0)) > 1
    assert bool(teacher.warnings) == (name == "ppo_continuous_action")


def test_it_is_a_teacher_by_its_name(tmp_path: Path) -> None:
    path, _, where = saved("ppo", tmp_path)
    for suffix in (".cleanrl_model", ".pt", ".pth", ".ckpt"):
        student = phr.distill(
            path.rename(path.with_suffix(suffix)),
            env_id=env_id(where),
            horizon=2,
            n_episodes=4,
            n_updates=4,
            refine=0,
            curve_episodes=0,
        )
        assert student.horizon == 2
        path = path.with_suffix(suffix)
    with pytest.raises(UsageError, match="does not record its environment; add --env-id"):
        resolve(path)


def test_what_cannot_be_seen_in_the_file_is_a_warning(tmp_path: Path) -> None:
    path, _, where = saved("ppo_continuous_action", tmp_path)
    assert "does not keep the statistics" in resolve(path, env_id=env_id(where)).warnings[0]


@pytest.mark.parametrize("change", ["scale", "bias", "flat", "empty", "places"])
def test_tables_that_lack_something_are_one_line(tmp_path: Path, change: str) -> None:
    path, agent, where = saved("ppo" if change == "places" else "td3_continuous_action", tmp_path)
    table = dict(agent.state_dict())
    if change == "scale":
        table.pop("action_scale")
    elif change == "bias":
        table.pop("fc1.bias")
    elif change == "flat":
        table["fc2.weight"] = torch.tensor(1.0)
    elif change == "empty":
        table |= {"fc1.weight": torch.zeros(1_000_000, 0), "fc1.bias": torch.zeros(1_000_000)}
    else:  # a layer that is not in the file may stand between
        table = {key.replace("actor.4", "actor.7"): value for key, value in table.items()}
    torch.save(table, path)
    with pytest.raises(IncompatibleModelError, match="does not read observations") as caught:
        read_cleanrl(path, env_id(where))
    assert "\n" not in str(caught.value)


def test_what_it_is_taken_for_is_a_notice(tmp_path: Path) -> None:
    """A network of other makers may have the same names and another activation."""
    path, _, where = saved("ppo", tmp_path)
    assert "is taken for CleanRL's ppo, tanh between its layers" in resolve(path, env_id=env_id(where)).notices[0]


def test_other_files_are_refused(tmp_path: Path) -> None:
    torch.save(nn.Linear(5, 4).state_dict(), tmp_path / "linear.pt")
    with pytest.raises(
        IncompatibleModelError, match="holds bias, weight, which phr knows of no agent of CleanRL's; load it"
    ):
        read_cleanrl(tmp_path / "linear.pt", env_id("vector"))
    (tmp_path / "text.pt").write_bytes(b"hello")
    with pytest.raises(CorruptFileError, match="is not a file of torch's|is not a readable pickle"):
        read_cleanrl(tmp_path / "text.pt", env_id("vector"))
    torch.save(nn.Linear(5, 4), tmp_path / "module.pt")
    with pytest.raises(CorruptFileError, match="holds more than tensors"):
        read_cleanrl(tmp_path / "module.pt", env_id("vector"))


@pytest.mark.parametrize(
    ("name", "where", "message"),
    [
        ("ppo", "cells", r"does not read observations of shape \(16,\)"),
        ("ppo", "continuous", "has 4 discrete actions, .*make_continuous has continuous"),
        ("td3_continuous_action", "vector", "has 3 continuous actions, .*make_vector has 4 actions"),
        (
            "td3_continuous_action",
            "narrow",
            r"was trained with action_scale \[2.0, 2.5, 0.25\], .*make_narrow has \[1.0, 1.0",
        ),
        ("dqn_atari", "vector", r"does not read observations of shape \(5,\)"),
    ],
)
def test_another_environment_is_refused(tmp_path: Path, name: str, where: str, message: str) -> None:
    path, _, _ = saved(name, tmp_path)
    with pytest.raises(IncompatibleModelError, match=message) as caught:
        read_cleanrl(path, env_id(where))
    assert "\n" not in str(caught.value)
