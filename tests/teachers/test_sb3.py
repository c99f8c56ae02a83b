"""The oracle is Stable-Baselines3's own `predict(deterministic=True)`."""

from __future__ import annotations

import base64
import json
import pickle
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from stable_baselines3 import A2C
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor

from phr.errors import CorruptFileError, IncompatibleModelError
from phr.teachers.policy import PolicyTeacher
from phr.teachers.sb3 import _check_bounds, read_sb3
from phr.teachers.sb3_file import describe, read_sb3_file
from tests.teachers import sb3_models
from tests.teachers.sb3_models import env_id, made, observations
from tests.teachers.zips import rewritten

N_VECTORS, N_IMAGES, CHUNK = 10_000, 128, 250


def saved(model: Any, folder: Path) -> Path:
    model.save(folder / "policy.zip")
    return folder / "policy.zip"


def asked(teacher: PolicyTeacher, obs: Any, space: Any = None) -> NDArray[Any]:
    """The teacher's actions; a Discrete observation is one-hot in phr, a Dict one row."""
    if isinstance(obs, dict):
        rows = [{key: part[index] for key, part in obs.items()} for index in range(len(next(iter(obs.values()))))]
        flat: list[Any] = [spaces.flatten(space, row) for row in rows]
        obs = np.stack(flat)
    if obs.ndim == 1:
        obs = np.eye(16, dtype=np.float32)[obs]
    return teacher.plan(obs).mode()[:, 0]


def assert_agrees(model: Any, teacher: PolicyTeacher, space: spaces.Space[Any], n: int) -> None:
    """Every action equal, bit for bit, and not all the same."""
    obs = observations(space, n)
    seen = []
    if isinstance(obs, dict):
        expected, _ = model.predict(obs, deterministic=True)
        np.testing.assert_allclose(asked(teacher, obs, space), expected, rtol=1e-5, atol=1e-5)
        assert len(np.unique(expected, axis=0)) > 1
        return
    for part in np.array_split(obs, max(1, n // (CHUNK if len(space.shape or ()) == 3 else n))):
        expected, _ = model.predict(part, deterministic=True)
        found = asked(teacher, part)
        np.testing.assert_array_equal(found, expected)
        seen.append(expected)
    assert len(np.unique(np.concatenate(seen), axis=0)) > 1


VECTORS: list[tuple[str, str, dict[str, Any]]] = [
    ("A2C", "vector", {}),
    ("PPO", "vector", {}),
    ("DQN", "vector", {}),
    ("A2C", "cells", {}),
    ("PPO", "cells", {}),
    ("DQN", "cells", {}),
    ("PPO", "vector", {"policy_kwargs": {"net_arch": {"pi": [24, 8], "vf": [16]}, "activation_fn": torch.nn.ReLU}}),
    ("PPO", "vector", {"policy_kwargs": {"net_arch": [], "ortho_init": False}}),
    ("DQN", "vector", {"policy_kwargs": {"net_arch": [12], "activation_fn": torch.nn.ELU}}),
    ("PPO", "vector", {"policy_kwargs": {"activation_fn": torch.nn.Mish}}),
    ("A2C", "vector", {"policy_kwargs": {"activation_fn": torch.nn.SELU}}),
    ("SAC", "continuous", {}),
    ("SAC", "continuous", {"use_sde": True}),
    ("SAC", "continuous", {"use_sde": True, "policy_kwargs": {"clip_mean": 0.5, "net_arch": [32]}}),
    ("SAC", "continuous", {"use_sde": True, "policy_kwargs": {"clip_mean": 0.0}}),
    ("TD3", "continuous", {}),
    ("TD3", "continuous", {"policy_kwargs": {"net_arch": {"pi": [20], "qf": [30]}, "activation_fn": torch.nn.Tanh}}),
    ("A2C", "continuous", {}),
    ("A2C", "switches", {}),
    ("PPO", "switches", {}),
    ("PPO", "continuous", {"use_sde": True}),
    ("PPO", "continuous", {"use_sde": True, "policy_kwargs": {"squash_output": True}}),
    ("TRPO", "vector", {}),
    ("TRPO", "continuous", {}),
    ("QRDQN", "vector", {"policy_kwargs": {"n_quantiles": 7}}),
    ("QRDQN", "cells", {}),
    ("TQC", "continuous", {}),
    ("TQC", "continuous", {"use_sde": True}),
    ("DDPG", "continuous", {"policy_kwargs": {"net_arch": [24]}}),
    ("ARS", "vector", {}),
    ("ARS", "continuous", {}),
    ("ARS", "continuous", {"policy_kwargs": {"net_arch": [16], "squash_output": False, "with_bias": False}}),
    ("PPO", "vector", {"policy_kwargs": {"activation_fn": torch.nn.Hardtanh}}),
]


@pytest.mark.parametrize(("algorithm", "name", "settings"), VECTORS)
def test_it_acts_as_stable_baselines3_on_vectors(
    tmp_path: Path, algorithm: str, name: str, settings: dict[str, Any]
) -> None:
    model = made(algorithm, name, **settings)
    teacher = read_sb3(saved(model, tmp_path), env_id(name))
    assert_agrees(model, teacher, getattr(sb3_models, f"make_{name}")().observation_space, N_VECTORS)


@pytest.mark.parametrize("name", ["vector", "continuous"])
def test_linear_policies_of_random_search_are_read(tmp_path: Path, name: str) -> None:
    """Their layer has no bias; in files of sb3-contrib before 1.4 it is no Sequential either."""
    model = made("ARS", name, "LinearPolicy")
    space = sb3_models.VECTOR
    path = saved(model, tmp_path)
    assert_agrees(model, read_sb3(path, env_id(name)), space, N_VECTORS)
    old = rewritten(path, weights=lambda weights: {key.replace(".0.", "."): value for key, value in weights.items()})
    assert_agrees(model, read_sb3(old, env_id(name)), space, N_VECTORS)


DICTS: list[tuple[str, str, dict[str, Any]]] = [
    ("A2C", "table", {}),
    ("PPO", "table", {"policy_kwargs": {"net_arch": [24]}}),
    ("DQN", "table", {}),
    ("SAC", "scene", {}),
    ("TD3", "scene", {"policy_kwargs": {"features_extractor_kwargs": {"cnn_output_dim": 16}}}),
    ("PPO", "scene", {"policy_kwargs": {"share_features_extractor": False}}),
]


@pytest.mark.parametrize(("algorithm", "name", "settings"), DICTS)
def test_it_acts_as_stable_baselines3_on_dicts(tmp_path: Path, algorithm: str, name: str, settings: dict[str, Any]) -> None:
    model = made(algorithm, name, "MultiInputPolicy", **settings)
    teacher = read_sb3(saved(model, tmp_path), env_id(name))
    assert_agrees(model, teacher, getattr(sb3_models, f"make_{name}")().observation_space, 500 if name == "table" else 32)


def test_a_dict_of_other_entries_is_refused(tmp_path: Path) -> None:
    path = saved(made("A2C", "table", "MultiInputPolicy"), tmp_path)
    with pytest.raises(
        IncompatibleModelError, match="reads a Dict of a, cell, flags, place, .*make_scene gives camera, speed"
    ):
        read_sb3(path, env_id("scene"))
    with pytest.raises(IncompatibleModelError, match=r"reads a Dict of .*make_vector gives float32 of shape \(5,\)"):
        read_sb3(path, env_id("vector"))


IMAGES: list[tuple[str, str, str, dict[str, Any]]] = [
    ("A2C", "image", "CnnPolicy", {}),
    ("PPO", "image", "CnnPolicy", {"policy_kwargs": {"net_arch": [32]}}),  # Tanh behind the convolutions' ReLU
    ("DQN", "image", "CnnPolicy", {}),
    ("A2C", "image", "MlpPolicy", {}),
    ("PPO", "image", "CnnPolicy", {"policy_kwargs": {"share_features_extractor": False}}),
    ("DQN", "channels_first", "CnnPolicy", {"policy_kwargs": {"features_extractor_kwargs": {"features_dim": 32}}}),
    (
        "A2C",
        "float_image",
        "CnnPolicy",
        {"policy_kwargs": {"normalize_images": False, "features_extractor_kwargs": {"normalized_image": True}}},
    ),
    ("PPO", "channels_first", "MlpPolicy", {"policy_kwargs": {"normalize_images": False, "net_arch": [16]}}),
]


def assert_agrees_on_images(folder: Path, algorithm: str, name: str, policy: str, settings: dict[str, Any], n: int) -> None:
    model = made(algorithm, name, policy, **settings)
    teacher = read_sb3(saved(model, folder), env_id(name))
    assert_agrees(model, teacher, getattr(sb3_models, f"make_{name}")().observation_space, n)


@pytest.mark.parametrize(("algorithm", "name", "policy", "settings"), IMAGES)
def test_it_acts_as_stable_baselines3_on_images(
    tmp_path: Path, algorithm: str, name: str, policy: str, settings: dict[str, Any]
) -> None:
    assert_agrees_on_images(tmp_path, algorithm, name, policy, settings, N_IMAGES)


@pytest.mark.nightly
@pytest.mark.parametrize("algorithm", ["A2C", "PPO", "DQN"])
def test_it_acts_as_stable_baselines3_on_ten_thousand_images(tmp_path: Path, algorithm: str) -> None:
    assert_agrees_on_images(tmp_path, algorithm, "image", "CnnPolicy", {}, 10_000)


def test_a_trained_policy_acts_as_it_was_trained(tmp_path: Path) -> None:
    model = A2C("MlpPolicy", sb3_models.make_vector(), n_steps=8, seed=1, device="cpu").learn(200)
    teacher = read_sb3(saved(model, tmp_path), env_id("vector"))
    obs = observations(sb3_models.VECTOR, N_VECTORS)
    np.testing.assert_array_equal(asked(teacher, obs), model.predict(obs, deterministic=True)[0])


def test_an_actor_critic_has_probabilities_and_a_q_network_has_none(tmp_path: Path) -> None:
    model = made("PPO", "vector")
    teacher = read_sb3(saved(model, tmp_path), env_id("vector"))
    assert isinstance(teacher, PolicyTeacher)
    assert (teacher.action_only, teacher.horizon, teacher.n_actions) == (False, 1, 4)
    obs = observations(sb3_models.VECTOR, 50)
    distribution = model.policy.get_distribution(torch.from_numpy(obs)).distribution
    np.testing.assert_allclose(softmax(teacher.plan(obs).outputs[:, 0]), distribution.probs.detach().numpy(), rtol=1e-5)
    greedy = read_sb3(saved(made("DQN", "vector"), tmp_path), env_id("vector"))
    assert isinstance(greedy, PolicyTeacher)
    assert greedy.action_only
    assert (greedy.plan(obs).confidence() > 0.999).all()
    assert teacher.module is not None
    assert not any(parameter.requires_grad for parameter in teacher.module.parameters())


def test_the_same_file_has_the_same_identity(tmp_path: Path) -> None:
    path = saved(made("A2C", "vector"), tmp_path)
    assert read_sb3(path, env_id("vector")).identity == read_sb3(path, env_id("vector")).identity


@pytest.mark.parametrize("algorithm", ["A2C", "PPO", "DQN"])
def test_the_algorithm_is_inferred(tmp_path: Path, algorithm: str) -> None:
    description = describe(read_sb3_file(saved(made(algorithm, "vector"), tmp_path)))
    assert algorithm in description.family


class Odd(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.tanh(x)


@pytest.mark.parametrize("activation", [Odd, torch.nn.PReLU])
def test_an_activation_that_cannot_be_rebuilt_is_refused(tmp_path: Path, activation: type[torch.nn.Module]) -> None:
    path = saved(made("PPO", "vector", policy_kwargs={"activation_fn": activation}), tmp_path)
    with pytest.raises(
        IncompatibleModelError, match=f"its activation function must be one of Tanh, .*{activation.__name__}"
    ):
        read_sb3(path, env_id("vector"))


def softmax(logits: NDArray[Any]) -> NDArray[Any]:
    weights: NDArray[Any] = np.exp(logits - logits.max(-1, keepdims=True))
    probs: NDArray[Any] = weights / weights.sum(-1, keepdims=True)
    return probs


class OwnExtractor(BaseFeaturesExtractor):
    def __init__(self, observation_space: spaces.Box) -> None:
        super().__init__(observation_space, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * 2


def test_what_cannot_be_rebuilt_is_refused(tmp_path: Path) -> None:
    own = saved(made("PPO", "vector", policy_kwargs={"features_extractor_class": OwnExtractor}), tmp_path)
    with pytest.raises(IncompatibleModelError, match="its features extractor .*OwnExtractor.* module:factory"):
        read_sb3(own, env_id("vector"))
    table = saved(A2C("MultiInputPolicy", sb3_models.make_table(), device="cpu"), tmp_path)
    with pytest.raises(IncompatibleModelError, match="reads a Dict of"):
        read_sb3(table, env_id("vector"))
    flags = saved(A2C("MlpPolicy", sb3_models.make_flags(), device="cpu"), tmp_path)
    with pytest.raises(IncompatibleModelError, match="A2C, PPO or TRPO with actions MultiBinary.* cannot be read"):
        read_sb3(flags, env_id("vector"))


def in_settings(key: str, **changes: Any) -> Callable[[bytes], bytes]:
    """Edits one entry of the JSON."""

    def edit(content: bytes) -> bytes:
        data = json.loads(content)
        data[key].update(changes)
        if changes.keys() & {"normalize_images", "clip_mean", "squash_output"}:  # else what is pickled would go first
            data[key].pop(":serialized:", None)
        return json.dumps(data).encode()

    return edit


@pytest.mark.parametrize(
    ("module", "message"),
    [
        ("sb3_contrib.common.recurrent.policies", "its LSTM has no first layer"),
        ("sb3_contrib.crossq.policies", "its policy comes from 'sb3_contrib.crossq.policies'"),
        ("__main__", "its policy comes from '__main__', not from Stable-Baselines3's"),
    ],
)
def test_policies_of_other_kinds_are_refused(tmp_path: Path, module: str, message: str) -> None:
    path = rewritten(saved(made("A2C", "vector"), tmp_path), data=in_settings("policy_class", __module__=module))
    with pytest.raises(IncompatibleModelError, match=message) as caught:
        read_sb3(path, env_id("vector"))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("key", "changes", "message"),
    [
        ("policy_kwargs", {"normalize_images": "no"}, "its normalize_images must be true or false, got 'no'"),
        ("policy_kwargs", {"clip_mean": []}, "its clip_mean must be a number, got list"),
        ("action_space", {":serialized:": 3}, "the entry action_space of its settings is not base64"),
        ("action_space", {":serialized:": "gASVAgAAAAAAAABLAS4="}, "its action_space must be a Gymnasium space"),
        (
            "observation_space",
            {":serialized:": "AAAA"},
            "the entry observation_space of its settings is not a readable pickle",
        ),
    ],
)
def test_settings_of_a_wrong_kind_are_refused(tmp_path: Path, key: str, changes: dict[str, Any], message: str) -> None:
    path = rewritten(saved(made("A2C", "vector"), tmp_path), data=in_settings(key, **changes))
    with pytest.raises(CorruptFileError, match=message):
        read_sb3(path, env_id("vector"))


@pytest.mark.parametrize(
    ("algorithm", "name", "where", "message"),
    [
        ("A2C", "vector", "cells", r"reads float32 of shape \(5,\), .*make_cells gives float32 of shape \(16,\)"),
        ("A2C", "image", "float_image", r"reads uint8 of shape \(4, 84, 84\), .* gives float32 of shape"),
        ("A2C", "continuous", "vector", r"has actions Box\(.*\(3,\), float32\), .*make_vector has 4 actions"),
    ],
)
def test_another_environment_is_refused(tmp_path: Path, algorithm: str, name: str, where: str, message: str) -> None:
    with pytest.raises(IncompatibleModelError, match=message):
        read_sb3(saved(made(algorithm, name), tmp_path), env_id(where))


def test_another_number_of_actions_is_refused(tmp_path: Path) -> None:
    path = saved(made("PPO", "vector"), tmp_path)
    with pytest.raises(IncompatibleModelError, match="reads float32 of shape"):
        read_sb3(path, "tests.helpers:make_noisy")
    with pytest.raises(
        IncompatibleModelError, match=r"has actions Discrete\(4\), .* has continuous actions of .* in -2 .. 5"
    ):
        read_sb3(path, env_id("continuous"))
    switches = saved(made("PPO", "switches"), tmp_path)
    with pytest.raises(IncompatibleModelError, match=r"has actions MultiDiscrete\(\[2 3\]\), .* has 4 actions"):
        read_sb3(switches, env_id("vector"))


def test_as_many_logits_of_other_components_are_refused(tmp_path: Path) -> None:
    """They would be cut at the wrong place."""
    path = saved(made("PPO", "switches"), tmp_path)
    with pytest.raises(IncompatibleModelError, match=r"has actions MultiDiscrete\(\[2 3\]\), .* MultiDiscrete\(\[3, 2\]\)"):
        read_sb3(path, env_id("turned_switches"))


@pytest.mark.parametrize("algorithm", ["SAC", "PPO"])
def test_actions_between_other_bounds_are_refused(tmp_path: Path, algorithm: str) -> None:
    path = saved(made(algorithm, "continuous"), tmp_path)
    message = r"was trained with lowest actions \[-2, 0, 1\], .*make_narrow has \[-1, -1, -1\]"
    with pytest.raises(IncompatibleModelError, match=message) as caught:
        read_sb3(path, env_id("narrow"))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("unit", "low", "fits"), [(1e-7, 0.0, False), (1e-7, -0.9999999, True), (1e6, -1.01, False), (1.0, -1.0, True)]
)
def test_bounds_are_compared_in_their_own_unit(unit: float, low: float, fits: bool) -> None:
    told = spaces.Box(low * unit, unit, (1,), np.float32)
    acted = spaces.Box(-unit, unit, (1,), np.float32)
    if fits:
        _check_bounds("it", told, acted, "X-v0")
        return
    with pytest.raises(IncompatibleModelError, match="was trained with lowest actions"):
        _check_bounds("it", told, acted, "X-v0")


@pytest.mark.parametrize("algorithm", ["A2C", "PPO"])
def test_squash_output_without_state_dependent_exploration_only_scales(tmp_path: Path, algorithm: str) -> None:
    """As Stable-Baselines3 did before 2.2; its `unscale_action` is the oracle."""
    model = made(algorithm, "continuous")
    path = rewritten(saved(model, tmp_path), data=in_settings("policy_kwargs", squash_output=True))
    teacher = read_sb3(path, env_id("continuous"))
    obs = observations(sb3_models.VECTOR, 64)
    with torch.no_grad():
        means = model.policy.get_distribution(model.policy.obs_to_tensor(obs)[0]).distribution.mean.numpy()
    scaled = model.policy.unscale_action(means)
    assert (np.abs(means) > 1).any()
    found = teacher.plan(obs).mode()[:, 0]
    np.testing.assert_allclose(found, np.clip(scaled, sb3_models.RANGE.low, sb3_models.RANGE.high), rtol=1e-4, atol=1e-4)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("algorithm", ["DQN", "SAC", "PPO"])
def test_any_memory_layout_is_read(tmp_path: Path, algorithm: str) -> None:
    name = "continuous" if algorithm == "SAC" else "vector"
    teacher = read_sb3(saved(made(algorithm, name), tmp_path), env_id(name))
    obs = observations(sb3_models.VECTOR, 8)
    expected = teacher.plan(obs).mode()
    fixed = obs.copy()
    fixed.setflags(write=False)
    for each in (fixed, obs[:, ::-1].copy()[:, ::-1], np.asfortranarray(obs), obs.astype(np.float64), obs.tolist()):
        np.testing.assert_array_equal(teacher.plan(each).mode(), expected)


def test_actions_have_the_number_type_that_phr_plans_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    double = spaces.Box(sb3_models.RANGE.low.astype(np.float64), sb3_models.RANGE.high.astype(np.float64), dtype=np.float64)
    monkeypatch.setattr(sb3_models, "RANGE", double)
    for algorithm in ("SAC", "PPO"):
        teacher = read_sb3(saved(made(algorithm, "continuous"), tmp_path), env_id("continuous"))
        assert asked(teacher, observations(sb3_models.VECTOR, 2)).dtype == np.float32


def test_bytes_of_another_scale_are_refused(tmp_path: Path) -> None:
    planes = base64.b64encode(pickle.dumps(spaces.Box(0, 1, (4, 84, 84), np.uint8))).decode()
    edit = in_settings("observation_space", **{":serialized:": planes})
    path = rewritten(saved(made("A2C", "image", "CnnPolicy"), tmp_path), data=edit)
    with pytest.raises(IncompatibleModelError, match="reads uint8 of .* gives uint8 of"):
        read_sb3(path, env_id("image"))


def test_weights_that_do_not_fit_each_other_are_refused(tmp_path: Path) -> None:
    def odd(weights: dict[str, Any]) -> dict[str, Any]:
        return {**weights, "mlp_extractor.policy_net.2.weight": torch.zeros(64, 3)}

    def more(weights: dict[str, Any]) -> dict[str, Any]:
        return {**weights, "mlp_extractor.shared_net.0.weight": torch.zeros(5, 5)}

    def fewer(weights: dict[str, Any]) -> dict[str, Any]:
        return {key: value for key, value in weights.items() if not key.startswith("action_net")}

    path = saved(made("PPO", "vector"), tmp_path)
    cases = [(odd, "does not read observations"), (more, "no parameter 'mlp_extractor.shared"), (fewer, "no layer")]
    for change, message in cases:
        with pytest.raises(IncompatibleModelError, match=message):
            read_sb3(rewritten(path, weights=change), env_id("vector"))


@pytest.mark.parametrize(("algorithm", "name"), [("DQN", "vector"), ("PPO", "vector"), ("SAC", "continuous")])
def test_a_weight_that_is_not_finite_is_told(tmp_path: Path, algorithm: str, name: str) -> None:
    from phr.errors import NonFiniteError

    model = made(algorithm, name)
    with torch.no_grad():
        for weight in model.policy.parameters():
            weight.fill_(float("nan"))
    teacher = read_sb3(saved(model, tmp_path), env_id(name))
    with pytest.raises(NonFiniteError, match="output contains NaN"):
        asked(teacher, observations(sb3_models.VECTOR, 2))


def test_nothing_of_the_reader_needs_stable_baselines3() -> None:
    for path in (Path(__file__).parents[2] / "src" / "phr" / "teachers").glob("*.py"):
        assert not re.search(r"^\s*(?:from|import) (?:stable_baselines3|cloudpickle)", path.read_text(), re.MULTILINE)
