from __future__ import annotations

import copy
import json
import math
import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from gymnasium import spaces
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from phr.acting.agent import HorizonAgent
from phr.actions import ActionSpace, Continuous, Discrete, MultiDiscrete
from phr.distil.losses import plan_loss, step_losses
from phr.errors import HorizonError, IncompatibleModelError, SettingError
from phr.networks.policy import ActionScale, Links, NetworkConfig, PlanNetwork, TorchPlanner, build_network, extend_teacher
from phr.networks.trunks import TrunkConfig
from phr.storage.model import load_model

TRUNK = TrunkConfig(kind="mlp", width=8)
OBS = torch.from_numpy(np.random.default_rng(0).normal(size=(16, 5)).astype(np.float32))


def network(horizon: int = 1, seed: int = 0) -> PlanNetwork:
    """Heads as different as those of a trained one; a fresh head is almost uniform."""
    built = build_network((5,), 3, horizon, TRUNK, seed=seed)
    with torch.no_grad():
        built.plan_head.weight *= 300.0
    return built


def weights(model: torch.nn.Module) -> list[Tensor]:
    return list(model.state_dict().values())


def equal(first: torch.nn.Module, second: torch.nn.Module) -> bool:
    return all(torch.equal(a, b) for a, b in zip(weights(first), weights(second), strict=True))


def test_a_network_plans_its_horizon_and_values_its_state() -> None:
    model = network(horizon=4)
    assert model(OBS).shape == (16, 4, 3)
    logits, values = model.policy_and_value(OBS)
    assert logits.shape == (16, 3)
    assert values.shape == (16,)


def test_stage_1_reads_head_1_of_the_plan() -> None:
    model = network(horizon=4)
    torch.testing.assert_close(model.policy_and_value(OBS)[0], model(OBS)[:, 0])


def test_a_fresh_policy_is_almost_uniform() -> None:
    probs = build_network((5,), 3, 4, TRUNK, seed=0)(OBS).softmax(-1)
    torch.testing.assert_close(probs, torch.full_like(probs, 1 / 3), atol=0.05, rtol=0)


def test_the_seed_decides_the_weights_and_the_global_generator_is_left_alone() -> None:
    before = torch.get_rng_state()
    first, again, other = (build_network((5,), 3, 2, TRUNK, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), before)
    assert equal(first, again)
    assert not equal(first, other)


@pytest.mark.parametrize("separate_first", [False, True])
@given(horizon=st.integers(1, 6), seed=st.integers(0, 100))
def test_every_head_of_an_extended_teacher_is_its_head_1(separate_first: bool, horizon: int, seed: int) -> None:
    teacher = network(horizon=2, seed=seed)
    student = extend_teacher(teacher, horizon, separate_first=separate_first)
    assert student.config.horizon == horizon
    for head in student(OBS).unbind(1):
        torch.testing.assert_close(head, teacher(OBS)[:, 0])
    torch.testing.assert_close(student.policy_and_value(OBS), teacher.policy_and_value(OBS))


@pytest.mark.parametrize("separate_first", [False, True])
@pytest.mark.parametrize("copy_scale", [0.1, 1.0, 2.0])
def test_later_heads_may_be_less_sure_but_of_the_same_action(copy_scale: float, separate_first: bool) -> None:
    teacher = network()
    first, *later = extend_teacher(teacher, 3, separate_first=separate_first, copy_scale=copy_scale)(OBS).unbind(1)
    torch.testing.assert_close(first, teacher(OBS)[:, 0])
    for head in later:
        torch.testing.assert_close(head, copy_scale * first)


@pytest.mark.parametrize("horizon", [1, 4])
def test_at_commitment_1_an_extended_teacher_acts_like_the_teachers_argmax(horizon: int) -> None:
    teacher = network()
    agent = HorizonAgent(TorchPlanner(extend_teacher(teacher, horizon), "float32"), 1)
    acted = [agent.act(obs) for obs in OBS.numpy()]
    assert acted == teacher(OBS)[:, 0].argmax(-1).tolist()
    assert len(set(acted)) > 1


def test_extending_leaves_the_teacher_alone() -> None:
    teacher = network()
    before = [value.clone() for value in weights(teacher)]
    student = extend_teacher(teacher, 3)
    with torch.no_grad():
        for parameter in student.parameters():
            parameter.add_(1.0)
    assert all(torch.equal(a, b) for a, b in zip(before, weights(teacher), strict=True))


def test_a_separate_head_1_ignores_the_shared_trunk() -> None:
    student = extend_teacher(network(), 3, separate_first=True)
    before = student(OBS)
    with torch.no_grad():
        for parameter in student.trunk.parameters():
            parameter.mul_(2.0)
    after = student(OBS)
    assert torch.equal(before[:, 0], after[:, 0])
    assert not torch.equal(before[:, 1:], after[:, 1:])


def test_a_student_with_a_separate_head_1_may_teach_in_turn() -> None:
    """Its head 1 reads the separate trunk, so that trunk is the one to go on from."""
    teacher = extend_teacher(network(), 2, separate_first=True)
    with torch.no_grad():
        for parameter in teacher.trunk.parameters():
            parameter.mul_(2.0)
    torch.testing.assert_close(teacher.policy_and_value(OBS)[0], teacher(OBS)[:, 0])
    for separate_first in (False, True):
        for head in extend_teacher(teacher, 3, separate_first=separate_first)(OBS).unbind(1):
            torch.testing.assert_close(head, teacher(OBS)[:, 0])


@given(
    obs_shape=st.lists(st.integers(1, 9), min_size=1, max_size=3),
    numbers=st.tuples(*[st.integers(1, 20)] * 4),
    separate_first=st.booleans(),
    obs_scale=st.sampled_from([1.0, 1 / 255]),
    channels_last=st.booleans(),
)
def test_a_description_comes_back_from_json(
    obs_shape: list[int], numbers: tuple[int, ...], separate_first: bool, obs_scale: float, channels_last: bool
) -> None:
    n_actions, horizon, width, depth = numbers
    trunk = TrunkConfig(kind="mlp", width=width, depth=depth, residual=depth % 2)
    config = NetworkConfig(
        obs_shape=tuple(obs_shape),
        n_actions=n_actions,
        horizon=horizon,
        trunk=trunk,
        separate_first=separate_first,
        obs_scale=obs_scale,
        channels_last=channels_last,
    )
    assert NetworkConfig.from_json(json.loads(json.dumps(config.to_json()))) == config


def test_a_network_without_residual_layers_has_the_description_that_it_had_before_there_were_any() -> None:
    assert set(network().config.to_json()["trunk"]) == {"kind", "channels", "width", "depth"}


@pytest.mark.parametrize("name", ["obs_shape", "n_actions", "horizon", "trunk"])
def test_a_description_without_one_of_its_entries_is_refused(name: str) -> None:
    values = network().config.to_json()
    del values[name]
    with pytest.raises(IncompatibleModelError, match=f"was not written by phr: .*{name}"):
        NetworkConfig.from_json(values)


def test_a_description_with_an_unknown_entry_is_refused() -> None:
    with pytest.raises(IncompatibleModelError, match="colour"):
        NetworkConfig.from_json({**network().config.to_json(), "colour": "red"})


ZOO = sorted((Path(__file__).parents[2] / "zoo").glob("*/COMPLETE"))


@pytest.mark.parametrize("marker", ZOO, ids=lambda path: path.parent.name)
def test_the_models_of_the_zoo_are_read_as_they_were_trained(marker: Path) -> None:
    model = load_model(marker.parent)
    trunk = model.network.trunk
    obs = torch.randint(0, 2, (3, *model.manifest.obs_shape), dtype=torch.uint8)
    scale = 1 / 255 if model.network.config.trunk.kind == "atari" else 1.0
    answered, expected = trunk(obs), trunk.layers(obs.float() * scale)
    torch.testing.assert_close(answered, expected)
    assert scale != 1.0 or torch.equal(answered, expected)  # a scale is multiplied into the weights, which rounds otherwise
    assert model.sha256 == model.manifest.files["model.safetensors"]


def test_a_network_follows_the_space() -> None:
    frames = spaces.Box(0, 255, (40, 40, 3), np.uint8)
    teacher = build_network(frames, 2, 1, TrunkConfig(kind="atari", channels=(2, 2, 2), width=4), seed=0)
    for config in (teacher.config, extend_teacher(teacher, 3, separate_first=True).config):
        assert (config.obs_scale, config.channels_last) == (1 / 255, True)
    obs = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (2, 40, 40, 3), dtype=np.uint8))
    student = extend_teacher(teacher, 3, separate_first=True)
    torch.testing.assert_close(student(obs)[:, 0], teacher(obs)[:, 0])


@pytest.mark.parametrize("scale", [0.0, -1.0, float("nan"), float("inf")])
def test_a_scale_that_scales_nothing_is_refused(scale: float) -> None:
    with pytest.raises(SettingError, match="obs_scale must be positive and finite"):
        replace(network().config, obs_scale=scale)


ANYTHING = Continuous((-math.inf,), (math.inf,), (1,))


def descended(raw: float, distance: float) -> float:
    """Where the gaussian loss of one step leads a spread that the network answered so, at this distance."""
    answered = torch.tensor([[[distance, raw]]], requires_grad=True)
    outputs = ActionScale(ANYTHING)(answered)
    valid = torch.ones(1, 1, dtype=torch.bool)
    taken = torch.zeros(1, 1, 1)
    plan_loss(step_losses("gaussian", outputs, taken, taken, ANYTHING), valid).backward()
    assert answered.grad is not None
    return -answered.grad[0, 0, 1].item()


@pytest.mark.parametrize(("raw", "limit"), [(-6.0, -5.0), (1.5, 1.0)])
def test_a_spread_beyond_its_limits_finds_back(raw: float, limit: float) -> None:
    assert ActionScale(ANYTHING)(torch.tensor([0.0, raw]))[1] == limit
    outside, inside = math.exp(limit) * 2, math.exp(limit) / 2
    wrong, right = (outside, inside) if raw < limit else (inside, outside)
    assert descended(raw, wrong) * (limit - raw) > 0
    assert descended(raw, right) == 0  # what would lead farther out counts no more
    assert descended(limit - 0.5 * (raw - limit), right) != 0  # but within the limits it does


def test_impossible_sizes_are_refused() -> None:
    with pytest.raises(HorizonError, match="horizon must be >= 1, got 0"):
        extend_teacher(network(), 0)
    with pytest.raises(SettingError, match="n_actions must be >= 1, got 0"):
        build_network((5,), 0, 1, TRUNK, seed=0)


@pytest.mark.parametrize("horizon", [1, 4])
def test_the_parameters_of_a_look_are_those_that_change_the_plan(horizon: int) -> None:
    model = network(horizon)
    assert model.n_parameters == (5 * 8 + 8) + (8 * 8 + 8) + (8 * 3 * horizon + 3 * horizon)
    planned = model(OBS).sum()
    planned.backward()
    assert model.n_parameters == sum(p.numel() for p in model.parameters() if p.grad is not None)


LINKED: tuple[ActionSpace, ...] = (Discrete(3), MultiDiscrete((3, 2)))


def linked(space: ActionSpace, horizon: int = 4, seed: int = 0) -> Links:
    links, rng = Links(space, horizon), torch.Generator().manual_seed(seed)
    with torch.no_grad():
        links.weight.copy_(torch.randn(links.weight.shape, generator=rng) * links.later)
    return links


def one_by_one(links: Links, space: ActionSpace, row: Tensor, actions: Tensor | None) -> tuple[Tensor, list[list[int]]]:
    """A plan's logits, `(horizon, n)`, step by step, after these actions or else the most likely ones."""
    sizes = space.nvec if isinstance(space, MultiDiscrete) else (space.n_outputs,)
    horizon, n = row.shape
    logits, plan = row.double().clone(), list[list[int]]()
    for k in range(horizon):
        for j, chosen in enumerate(plan):
            begin = 0
            for action, size in zip(chosen, sizes, strict=True):
                for output in range(n):
                    logits[k, output] += links.weight[j * n + begin + action, k * n + output].item()
                begin += size
        greedy = [int(part.argmax()) for part in logits[k].split(sizes)]
        plan.append(greedy if actions is None else actions[k].reshape(-1).tolist())
    return logits.float(), plan


@pytest.mark.parametrize("space", LINKED, ids=str)
@pytest.mark.parametrize("horizon", [2, 4])
def test_links_add_what_the_plan_so_far_says(space: ActionSpace, horizon: int) -> None:
    links, rng = linked(space, horizon), np.random.default_rng(1)
    rows = torch.from_numpy(rng.normal(size=(9, horizon, space.n_outputs)).astype(np.float32))
    actions = torch.from_numpy(np.stack([space.samples(rng, horizon) for _ in range(9)]))
    with torch.no_grad():
        forced, tensors, arrays = links.following(rows, actions), links.greedy(rows), links.quick()(rows.numpy())
    plans = space.plan(arrays).mode()
    for at, row in enumerate(rows):
        torch.testing.assert_close(forced[at], one_by_one(links, space, row, actions[at])[0])
        expected, plan = one_by_one(links, space, row, None)
        for found in (tensors[at], torch.from_numpy(arrays[at]), torch.from_numpy(links.quick()(row[None].numpy())[0])):
            torch.testing.assert_close(found, expected)
        assert plans[at].reshape(horizon, -1).tolist() == plan
        torch.testing.assert_close(links.following(row[None], torch.from_numpy(plans[at][None]))[0], expected)


def test_a_changed_link_changes_the_next_plan() -> None:
    links, row = linked(Discrete(3)), np.zeros((1, 4, 3), np.float32)
    greedy = links.quick()
    before = greedy(row)
    with torch.no_grad():
        links.weight.mul_(2.0)
    np.testing.assert_allclose(greedy(row), 2 * before, rtol=1e-6)


def test_no_step_reads_itself_or_a_later_one() -> None:
    links = Links(Discrete(3), 4)
    rows = torch.randn(5, 4, 3, generator=torch.Generator().manual_seed(0))
    links.following(rows, torch.zeros(5, 4, dtype=torch.int64)).square().sum().backward()
    gradient = links.weight.grad
    assert gradient is not None
    for j in range(4):
        for k in range(4):
            assert bool(gradient[3 * j, 3 * k : 3 * k + 3].any()) == (j < k)


def test_a_causal_network_plans_as_its_links_and_heads_say() -> None:
    student = extend_teacher(network(), 4, causal=True)
    assert torch.equal(student(OBS), extend_teacher(network(), 4)(OBS))  # links are zero at first
    assert student.n_parameters == extend_teacher(network(), 4).n_parameters + 9 * 6
    with torch.no_grad():
        assert student.links is not None
        student.links.weight.copy_(10 * linked(Discrete(3)).weight)
        expected = student.links.greedy(student.heads(OBS))
    planner = TorchPlanner(student, "float32")
    np.testing.assert_allclose(planner.plan(OBS.numpy()).outputs, expected, rtol=1e-5)
    for obs, plan in zip(OBS, expected, strict=True):
        np.testing.assert_allclose(planner.plan(obs[None].numpy()).outputs[0], plan, rtol=1e-4, atol=1e-5)
    assert not torch.allclose(expected, student.heads(OBS))
    assert NetworkConfig.from_json(student.config.to_json()) == student.config
    assert extend_teacher(student, 1).links is None
    with pytest.raises(SettingError, match="a causal plan cannot be sampled beyond its first action"):
        HorizonAgent(planner, 2, deterministic=False, rng=np.random.default_rng(0))
    assert HorizonAgent(planner, 1, deterministic=False, rng=np.random.default_rng(0)).act(OBS[0].numpy()) in range(3)
    with pytest.raises(IncompatibleModelError, match="Expected `bool`, got `str` at `causal`"):
        NetworkConfig.from_json({**student.config.to_json(), "causal": "no"})


@pytest.mark.parametrize(
    ("horizon", "space"), [(1, None), (2, Continuous((-1.0,), (1.0,), (1,)))], ids=["one step", "continuous"]
)
def test_what_has_no_causal_plan_is_refused(horizon: int, space: Continuous | None) -> None:
    with pytest.raises(SettingError, match="a causal plan has two or more discrete actions, got horizon"):
        NetworkConfig(obs_shape=(2,), n_actions=1, horizon=horizon, trunk=TRUNK, action_space=space, causal=True)


def test_numpy_multiplies_no_large_layers() -> None:
    """It would use all cores, whatever number of threads torch may use; tables of links are read, not multiplied."""
    observed, small = torch.Size((5,)), TrunkConfig(kind="mlp", width=16)
    looks = [
        TorchPlanner(extend_teacher(build_network(observed, 3, 1, trunk, seed=0, normalize=True), n, causal=True), "float32")
        for trunk, n in ((small, 4), (small, 300), (replace(small, width=1024), 4))
    ]
    assert [look._quick is None for look in looks] == [False, False, True]


def test_a_copied_planner_follows_its_own_network() -> None:
    built = build_network((5,), 3, 1, TRUNK, seed=0, normalize=True)
    planner = TorchPlanner(extend_teacher(built, 4, causal=True), "float32", 2)
    one = OBS[:1].numpy()
    before = planner.plan(one).outputs
    for other in (copy.deepcopy(planner), pickle.loads(pickle.dumps(planner))):
        np.testing.assert_array_equal(other.plan(one).outputs, before)
        assert (other.commitment, other.obs_spec) == (2, planner.obs_spec)
        with torch.no_grad():
            for parameter in other.network.parameters():
                parameter.add_(1.0)
        assert not np.allclose(other.plan(one).outputs, before)
        np.testing.assert_allclose(other.plan(one).outputs, other.network(OBS[:1]).detach(), rtol=1e-4)
        np.testing.assert_array_equal(planner.plan(one).outputs, before)
