"""SBX's files, made here as SBX 0.20 writes them: JAX is not installed, so its names stand in modules of the tests."""

from __future__ import annotations

import base64
import json
import pickle
import sys
import zipfile
from itertools import pairwise
from pathlib import Path
from types import ModuleType
from typing import Any

import gymnasium
import numpy as np
import pytest
from numpy.typing import NDArray

import phr
from phr.errors import CorruptFileError, IncompatibleModelError
from phr.teachers.sb3 import read_sb3

OBS = {"CartPole-v1": 4, "Pendulum-v1": 3}


def _named(module: str, name: str) -> type:
    made: type = type(name, (), {"__module__": module})
    return made


NAMES = {
    "flax.training.train_state": "TrainState",
    "jaxlib._jax": "PjitFunction",
    "jax._src.custom_derivatives": "custom_jvp",
    **{f"sbx.{kind}.policies": "Policy" for kind in ("ppo", "dqn", "sac", "tqc", "td3", "crossq")},
}


def _reconstruct_array(*_: Any) -> None:
    raise AssertionError("nothing in a file is called")


@pytest.fixture(autouse=True)
def jax(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Modules that a pickle may name while it is written."""
    monkeypatch.setattr(_reconstruct_array, "__module__", "jax._src.array")
    made: dict[str, Any] = {module: _named(module, name) for module, name in NAMES.items()}
    for module, kind in [*made.items(), ("jax._src.array", _reconstruct_array)]:
        parts = module.split(".")
        for end in range(1, len(parts) + 1):
            name = ".".join(parts[:end])
            monkeypatch.setitem(sys.modules, name, sys.modules.get(name, ModuleType(name)))
        setattr(sys.modules[module], kind.__name__, kind)
    return {**made, "array": _reconstruct_array}


class _Array:
    """Pickles as JAX's arrays do: what makes it, and numpy's way to make what it is made from."""

    def __init__(self, maker: Any, numbers: NDArray[Any]) -> None:
        self.maker, self.numbers = maker, numbers

    def __reduce__(self) -> Any:
        make, arguments, state, *_ = tuple(self.numbers.__reduce__())
        return self.maker, (make, arguments, state, {"weak_type": False})


def written(
    path: Path,
    jax: dict[str, Any],
    kind: str,
    env_id: str,
    layers: list[tuple[NDArray[Any], NDArray[Any]]],
    *,
    state: str = "actor_state",
    activation: tuple[str, str] = ("jaxlib._jax", "tanh"),
    further: dict[str, Any] | None = None,
    attributes: dict[str, Any] | None = None,
    module_name: str | None = None,
) -> Path:
    def of(module: str, **values: Any) -> Any:
        made = jax[module]()
        made.__dict__.update(values)
        return made

    once: dict[int, _Array] = {}  # an array that stands here twice is named again in the pickle

    def array(numbers: NDArray[Any]) -> _Array:
        return once.setdefault(id(numbers), _Array(jax["array"], numbers))

    params = {f"Dense_{i}": {"kernel": array(kernel), "bias": array(bias)} for i, (kernel, bias) in enumerate(layers)}
    module, name = activation
    act = of(module, **({"function_name": name} if module == "jaxlib._jax" else {"__name__": name}))
    trained = of("flax.training.train_state", params={"params": {**params, **(further or {})}}, step=3)
    values = {"activation_fn": act, state: trained, **(attributes or {})}
    policy = of(f"sbx.{kind}.policies", **{name: value for name, value in values.items() if value is not ...})
    env = gymnasium.make(env_id)

    def entry(value: Any) -> dict[str, str]:
        return {":type:": str(type(value)), ":serialized:": base64.b64encode(pickle.dumps(value)).decode()}

    data = {
        "policy_class": {**entry(jax[f"sbx.{kind}.policies"]), "__module__": module_name or f"sbx.{kind}.policies"},
        "policy": entry(policy),
        "observation_space": entry(env.observation_space),
        "action_space": entry(env.action_space),
        "policy_kwargs": {},
        "use_sde": False,
    }
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("data", json.dumps(data))
        archive.writestr("pytorch_variables.pth", b"nothing")
    return path


def drawn(*sizes: int) -> list[tuple[NDArray[Any], NDArray[Any]]]:
    rng = np.random.default_rng(0)
    return [(rng.normal(size=(n, m)).astype(np.float32), rng.normal(size=m).astype(np.float32)) for n, m in pairwise(sizes)]


def forward(x: NDArray[Any], layers: list[tuple[NDArray[Any], NDArray[Any]]], activation: Any) -> NDArray[Any]:
    for kernel, bias in layers[:-1]:
        x = activation(x @ kernel + bias)
    kernel, bias = layers[-1]
    return np.asarray(x @ kernel + bias)


def relu(x: NDArray[Any]) -> NDArray[Any]:
    return np.asarray(np.maximum(x, 0))


RELU = ("jax._src.custom_derivatives", "relu")


@pytest.mark.parametrize("kind", ["ppo", "dqn"])
def test_discrete_actions_are_the_largest_output(tmp_path: Path, jax: dict[str, Any], kind: str) -> None:
    layers = drawn(4, 16, 8, 2)
    activation = ("jaxlib._jax", "tanh") if kind == "ppo" else RELU
    state = "actor_state" if kind == "ppo" else "qf_state"
    path = written(tmp_path / "a.zip", jax, kind, "CartPole-v1", layers, state=state, activation=activation)
    obs = np.random.default_rng(1).normal(size=(1000, 4)).astype(np.float32)
    expected = forward(obs, layers, np.tanh if kind == "ppo" else relu)
    plan = read_sb3(path, "CartPole-v1").plan(obs)
    if kind == "ppo":  # values are no logits
        np.testing.assert_allclose(plan.outputs[:, 0], expected, atol=1e-4)
    assert (plan.mode()[:, 0] == expected.argmax(1)).all()


@pytest.mark.parametrize("kind", ["ppo", "sac", "tqc", "td3"])
def test_continuous_actions_are_scaled_to_their_range(tmp_path: Path, jax: dict[str, Any], kind: str) -> None:
    layers, further = drawn(3, 16, 8, 1), None
    of_file = [*layers, *drawn(8, 1)] if kind in ("sac", "tqc") else layers  # the deviations follow the means
    if kind == "ppo":
        further = {"log_std": _Array(jax["array"], np.zeros(1, np.float32))}
    path = written(tmp_path / "a.zip", jax, kind, "Pendulum-v1", of_file, activation=RELU, further=further)
    obs = np.random.default_rng(1).normal(size=(1000, 3)).astype(np.float32)
    mean = forward(obs, layers, relu)
    expected = np.clip(mean, -2, 2) if kind == "ppo" else 2 * np.tanh(mean)
    np.testing.assert_allclose(read_sb3(path, "Pendulum-v1").plan(obs).mode()[:, 0], expected, atol=1e-4)


def test_actions_of_ppo_before_version_020_are_scaled_to_their_range(tmp_path: Path, jax: dict[str, Any]) -> None:
    """There `predict` was clip(mean, −1, 1), unscaled."""
    layers = drawn(3, 16, 1)
    path = written(tmp_path / "a.zip", jax, "ppo", "Pendulum-v1", layers, attributes={"_squash_output": True})
    obs = np.random.default_rng(1).normal(size=(1000, 3)).astype(np.float32)
    expected = 2 * np.clip(forward(obs, layers, np.tanh), -1, 1)
    np.testing.assert_allclose(read_sb3(path, "Pendulum-v1").plan(obs).mode()[:, 0], expected, atol=1e-4)


def test_before_version_013_the_activation_had_no_name(tmp_path: Path, jax: dict[str, Any]) -> None:
    layers = drawn(3, 16, 1)
    path = written(tmp_path / "a.zip", jax, "td3", "Pendulum-v1", layers, attributes={"activation_fn": ...})
    obs = np.random.default_rng(1).normal(size=(100, 3)).astype(np.float32)
    expected = 2 * np.tanh(forward(obs, layers, relu))
    np.testing.assert_allclose(read_sb3(path, "Pendulum-v1").plan(obs).mode()[:, 0], expected, atol=1e-4)


def test_one_array_that_is_named_again_and_again_is_refused(tmp_path: Path, jax: dict[str, Any]) -> None:
    once = (np.zeros((64, 64), np.float32), np.zeros(64, np.float32))
    path = written(tmp_path / "a.zip", jax, "ppo", "CartPole-v1", [*drawn(4, 64), *[once] * 300, *drawn(64, 2)])
    with pytest.raises(CorruptFileError, match="its parameters claim more than its pickle holds"):
        read_sb3(path, "CartPole-v1")


def test_a_file_that_was_packed_tightly_is_read(tmp_path: Path, jax: dict[str, Any]) -> None:
    """Zeros take next to no room in a .zip."""
    layers = [(np.zeros((4, 256), np.float32), np.zeros(256, np.float32)), *drawn(256, 2)]
    path = written(tmp_path / "a.zip", jax, "ppo", "CartPole-v1", layers)
    with zipfile.ZipFile(path) as archive:
        data = archive.read("data")
    with zipfile.ZipFile(tmp_path / "tight.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("data", data)
    obs = np.random.default_rng(1).normal(size=(10, 4)).astype(np.float32)
    one, other = (read_sb3(each, "CartPole-v1").plan(obs).outputs for each in (path, tmp_path / "tight.zip"))
    assert (one == other).all()


def test_it_is_a_teacher_like_any_other(tmp_path: Path, jax: dict[str, Any]) -> None:
    path = written(tmp_path / "a.zip", jax, "ppo", "CartPole-v1", drawn(4, 8, 2))
    teacher = phr.load_teacher(str(path), env_id="CartPole-v1")
    assert teacher.plan(np.zeros((1, 4), np.float32)).mode().shape == (1, 1)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"kind": "crossq"}, r"comes from 'sbx\.crossq\.policies'; of SBX phr reads PPO, DQN, SAC, TQC, TD3 and DDPG"),
        ({"activation": ("jaxlib._jax", "gelu")}, "its activation function must be one of elu, .*got 'gelu'"),
        ({"activation": ("jaxlib._jax", "")}, "its activation function must be one of"),
        (
            {"further": {"LayerNorm_0": 1}},
            "its network holds 'Dense_0, Dense_1, LayerNorm_0', phr reads",
        ),
        ({"further": {"Dense_2": 1}}, "a Dense layer holds 1, phr reads a kernel and a bias"),
        ({"kind": "sac", "further": {"log_std": 1}}, "its network holds 'Dense_0, Dense_1, log_std'"),
        ({"further": {"a\nb": 1}}, r"its network holds 'Dense_0, Dense_1, a\\nb'"),
        ({"module_name": "sbx.\nfoo" + "x" * 10**6}, r"comes from 'sbx\.\\nfoox{1,80};"),
    ],
)
def test_what_phr_does_not_read_is_named(tmp_path: Path, jax: dict[str, Any], change: dict[str, Any], said: str) -> None:
    words: dict[str, Any] = {"kind": "ppo", "env_id": "CartPole-v1", "layers": drawn(4, 8, 2), **change}
    with pytest.raises(IncompatibleModelError, match=said):
        read_sb3(written(tmp_path / "a.zip", jax, **words), "CartPole-v1")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"state": "vf_state"}, "was not written by SBX: it has no parameters of actor_state"),
        ({"further": {"Dense_2": {"kernel": 3, "bias": 4}}}, "a parameter must be an array of JAX, got 3"),
        ({"layers": []}, "its network has 0 layers, too few"),
        (
            {"layers": [(np.zeros(4, np.float32), np.zeros(2, np.float32))]},
            r"the kernel of a Dense layer has the shape \(4,\)",
        ),
    ],
)
def test_files_that_sbx_did_not_write(tmp_path: Path, jax: dict[str, Any], change: dict[str, Any], said: str) -> None:
    words: dict[str, Any] = {"kind": "ppo", "env_id": "CartPole-v1", "layers": drawn(4, 8, 2), **change}
    with pytest.raises(CorruptFileError, match=said):
        read_sb3(written(tmp_path / "a.zip", jax, **words), "CartPole-v1")
