from __future__ import annotations

import json
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces
from gymnasium.wrappers import TimeLimit
from numpy.typing import NDArray

from phr.envs.registry import split_env
from phr.envs.split import SplitEnv, TrainingVector
from phr.envs.vector import VectorSplit
from phr.networks.policy import PlanNetwork, build_network
from phr.networks.trunks import TrunkConfig
from phr.seeding import Streams
from phr.teacher import a2c
from phr.teacher.a2c import A2CConfig, Act, Rollout, RolloutCollector
from tests.helpers import make_noisy, noisy

N_ENVS, N_STEPS = 3, 40


class CountingEnv(gymnasium.Env[NDArray[np.float32], np.int64]):
    """Observes how many steps it has taken; each earns 1. Its time limit is the only end."""

    def __init__(self) -> None:
        self.observation_space = spaces.Box(0, np.inf, (1,), np.float32)
        self.action_space = spaces.Discrete(2)
        self._n_steps = 0

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.float32], dict[str, Any]]:
        super().reset(seed=seed)
        self._n_steps = 0
        return np.zeros(1, np.float32), {}

    def step(self, action: np.int64) -> tuple[NDArray[np.float32], float, bool, bool, dict[str, Any]]:
        self._n_steps += 1
        return np.full(1, self._n_steps, np.float32), 1.0, False, False, {}


def counting() -> SplitEnv:
    return split_env(TimeLimit(CountingEnv(), 10), "counting")


def collector(seed: int = 0, *, counts: bool = False, **settings: Any) -> RolloutCollector:
    settings = {"n_envs": N_ENVS, "n_steps": N_STEPS, "seed": seed, **settings}
    return RolloutCollector(counting if counts else noisy, A2CConfig(**settings))


def policy(n_inputs: int = 3, n_actions: int = 3) -> PlanNetwork:
    return build_network((n_inputs,), n_actions, 1, TrunkConfig(kind="mlp", width=4), seed=0)


def sampling(network: PlanNetwork) -> Act:
    return torch.inference_mode()(network.policy_and_value)


def contents(rollout: Rollout) -> dict[str, Any]:
    """Copies of everything in a rollout, which the next one may overwrite."""
    parts = {name: value.clone().numpy() for name, value in vars(rollout).items() if name != "final_obs"}
    return {**parts, **{f"final {place}": obs.copy() for place, obs in rollout.final_obs.items()}}


def assert_equal(first: dict[str, Any], second: dict[str, Any]) -> None:
    assert first.keys() == second.keys()
    for name in first:
        np.testing.assert_array_equal(first[name], second[name], err_msg=name)


@pytest.mark.parametrize("env", range(N_ENVS))
def test_a_rollout_is_what_stepping_one_by_one_gives(env: int) -> None:
    """No dummy step enters, every value target is that of the state a step really reached."""
    streams = Streams(0)
    network = policy()

    def act(obs: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return sampling(network)(obs)[0], obs.sum(1)  # any function of the observation will do for a value

    rollout = collector().collect(act)
    next_values = rollout.next_values(rollout.following_obs().sum(1))
    assert torch.equal(rollout.values, rollout.obs[:-1].sum(-1).flatten())
    plain = make_noisy()
    episode = 0
    obs, _ = plain.reset(seed=streams.integer("train-env", env, episode))
    for t in range(N_STEPS):
        np.testing.assert_array_equal(rollout.obs[t, env], obs)
        obs, reward, terminated, truncated, _ = plain.step(np.int64(rollout.actions[t, env]))
        assert rollout.rewards[t, env] == np.float32(reward)
        assert (bool(rollout.terminated[t, env]), bool(rollout.truncated[t, env])) == (terminated, truncated)
        if not terminated:
            assert next_values[t, env] == torch.from_numpy(obs).sum()
        if terminated or truncated:
            episode += 1
            obs, _ = plain.reset(seed=streams.integer("train-env", env, episode))
    np.testing.assert_array_equal(rollout.obs[N_STEPS, env], obs)
    assert episode > 1
    assert any(env == place[1] for place in rollout.final_obs)


def test_only_truncated_episodes_keep_their_last_observation() -> None:
    rollout = collector().collect(sampling(policy()))
    cut = (rollout.truncated & ~rollout.terminated).nonzero().tolist()
    assert sorted(rollout.final_obs) == [tuple(place) for place in cut]


def test_rewards_are_scaled_for_the_losses_but_not_for_people() -> None:
    plain, scaled = collector(counts=True), collector(counts=True, reward_scale=10.0)
    network = policy(1, 2)
    torch.testing.assert_close(10 * plain.collect(sampling(network)).rewards, scaled.collect(sampling(network)).rewards)
    assert scaled.averages() == plain.averages() == {"episode_return": 10, "episode_length": 10}


def test_no_average_before_the_first_episode_has_ended() -> None:
    short = collector(counts=True, n_steps=9)
    short.collect(sampling(policy(1, 2)))
    assert short.averages() == {}


def test_a_prefix_is_played_but_not_counted() -> None:
    prefixed = collector(counts=True, prefix=(2, 6), n_steps=200)
    rollout = prefixed.collect(sampling(policy(1, 2)))
    steps = rollout.obs[:-1, :, 0]
    begins = torch.vstack([torch.ones(1, N_ENVS, dtype=torch.bool), rollout.truncated[:-1]])
    assert set(steps[begins].tolist()) == {2, 3, 4, 5, 6}
    assert (steps[1:][~begins[1:]] == (steps[:-1] + 1)[~begins[1:]]).all()
    assert set(prefixed.recent) == {(10.0, 10)}  # nor does the step limit count it
    assert len(prefixed.recent) == rollout.truncated.sum()


def test_actions_are_sampled_from_head_1() -> None:
    network = policy(1, 2)
    with torch.no_grad():
        network.plan_head.weight.zero_()
        network.plan_head.bias.copy_(torch.tensor([0.0, np.log(3.0)]))
    actions = collector(counts=True, n_steps=1000).collect(sampling(network)).actions
    assert actions.float().mean().item() == pytest.approx(0.75, abs=0.03)


def test_the_seed_decides_everything() -> None:
    first, again, other = (contents(collector(seed).collect(sampling(policy()))) for seed in (1, 1, 2))
    assert_equal(first, again)
    assert not np.array_equal(first["obs"], other["obs"])
    assert not np.array_equal(first["actions"], other["actions"])


def test_groups_change_nothing_but_the_order_of_work(monkeypatch: pytest.MonkeyPatch) -> None:
    network = policy()
    whole = collector(n_steps=20)
    expected = [contents(whole.collect(sampling(network))) for _ in range(2)]

    def in_groups(make: Any, n_envs: int, seeds: Any, prefixes: Any = None) -> list[TrainingVector]:
        first = VectorSplit([make(), make()], "same_step", seeds)
        return [first, VectorSplit([make()], "same_step", lambda env, episode: seeds(2 + env, episode))]

    monkeypatch.setattr(a2c, "make_training_vectors", in_groups)
    batches: list[int] = []

    def act(obs: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        batches.append(len(obs))
        return sampling(network)(obs)

    grouped, resumed = collector(n_steps=20), collector(n_steps=20)
    first = contents(grouped.collect(act))
    assert batches == [2, 1] * 20
    resumed.restore(json.loads(json.dumps(grouped.state())))
    for found, wanted in ((first, expected[0]), (contents(grouped.collect(act)), expected[1])):
        assert found.keys() == wanted.keys()
        for name in wanted:
            np.testing.assert_allclose(found[name], wanted[name], rtol=1e-5, atol=1e-6, err_msg=name)
    assert_equal(contents(resumed.collect(act)), found)
    assert grouped.averages() == pytest.approx(whole.averages())
    np.testing.assert_array_equal(grouped.observe(), whole.observe())


@pytest.mark.parametrize("n_before", [0, 1, 3])
@pytest.mark.parametrize("prefix", [(0, 0), (0, 4)])
def test_a_restored_collector_goes_on_exactly(n_before: int, prefix: tuple[int, int]) -> None:
    network = policy()
    settings: dict[str, Any] = {"n_steps": 7, "prefix": prefix}
    straight = collector(**settings)
    for _ in range(n_before):
        straight.collect(sampling(network))
    state = json.loads(json.dumps(straight.state()))
    if n_before == 3:
        assert any(entry["actions"] for entry in state["vector"])  # in the middle of episodes
    resumed = collector(**settings)
    resumed.restore(state)
    assert resumed.state() == straight.state()
    for _ in range(4):
        assert_equal(contents(straight.collect(sampling(network))), contents(resumed.collect(sampling(network))))
    assert resumed.averages() == straight.averages()
    assert resumed.state() == straight.state()
