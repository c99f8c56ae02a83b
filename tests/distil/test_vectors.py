"""The whole road with actions that are no single number: two toys whose optimum is known."""

from __future__ import annotations

import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

import phr
from phr.acting.agent import HorizonAgent, VectorHorizonAgent
from phr.acting.runtime import load_runtime
from phr.actions import ActionSpace
from phr.distil.config import PHRConfig
from phr.distil.presets import student_config
from phr.distil.runs import record_teacher
from phr.envs.registry import make_env
from phr.envs.vector import Start
from phr.errors import CorruptFileError, IncompatibleModelError, SettingError, UnsupportedEnvironmentError
from phr.evaluation.episodes import make_vector, play_episodes
from phr.experience.archive import load_experience, save_experience
from phr.experience.logged import load_logged
from phr.manifest import Manifest
from phr.networks.policy import NetworkConfig
from phr.plan import Planner
from phr.storage import onnx_export as exporting
from phr.storage.model import Model, load_model
from phr.storage.onnx_export import onnx_bytes
from phr.teachers.references import resolve
from phr_studies.worlds import RandomPlanner, RepeatPlanner
from tests.points import (
    DIAL_ACTIONS,
    DIALS,
    POINT,
    POINT_ACTIONS,
    best_moves,
    make_dials,
    make_point,
    to_the_middle,
    turn_to_zero,
)
from tests.trained import saved

HORIZON = 4
WORLDS: dict[str, tuple[str, ActionSpace, Any]] = {
    "point": (POINT, POINT_ACTIONS, to_the_middle),
    "dials": (DIALS, DIAL_ACTIONS, turn_to_zero),
}
each_world = pytest.mark.parametrize("name", WORLDS)
KINDS = [("point", "squared"), ("point", "gaussian"), ("dials", "cross_entropy"), ("dials", "squared")]
each_kind = pytest.mark.parametrize(("name", "loss"), KINDS)
each_graph = pytest.mark.parametrize(("name", "loss"), KINDS[:3])
"""Of the dials' losses one: a loss changes weights, but no layer."""
MARGIN = {"point": 0.4, "dials": 0.1}
"""How much less than its teacher a student may collect; at random the point collects six less, the dials half as much."""
QUICK: dict[str, Any] = {
    "n_episodes": 64,
    "n_updates": 400,
    "prefix": (0, 3),
    "learning_rate": 3e-3,
    "batch_size": 64,
    "refine": 0,
}


@cache
def student(name: str, loss: str) -> Model:
    env_id, _, policy = WORLDS[name]
    return phr.distill(policy, env_id=env_id, horizon=HORIZON, loss=loss, **QUICK)


@cache
def graph(name: str, loss: str) -> bytes:
    return onnx_bytes(student(name, loss))


@pytest.fixture
def _exported_once(monkeypatch: pytest.MonkeyPatch, name: str, loss: str) -> None:
    """The student goes through the exporter once for all tests; it takes seconds."""
    monkeypatch.setattr(exporting, "onnx_bytes", lambda _model: graph(name, loss))


def teacher_of(name: str) -> Planner:
    env_id, _, policy = WORLDS[name]
    return resolve(policy, env_id=env_id).planner


def observations(name: str, n: int = 64) -> NDArray[Any]:
    env = make_env(WORLDS[name][0])
    seen = []
    for seed in range(n):
        env.reset(seed)
        seen.append(env.observe())
    return np.stack(seen)


def mean_return(planner: Planner, name: str, commitment: int | None = None) -> float:
    vector = make_vector(WORLDS[name][0], 32)
    return float(
        play_episodes(planner, vector, [Start(1000 + seed) for seed in range(64)], commitment=commitment).returns.mean()
    )


@each_kind
def test_a_student_learns_the_optimal_plan(name: str, loss: str) -> None:
    model, obs = student(name, loss), observations(name)
    plan = model.planner.plan(obs)
    space = WORLDS[name][1]
    assert (model.manifest.actions, plan.mode().shape) == (space, (64, HORIZON, 2))
    if name == "point":
        assert np.abs(plan.mode() - best_moves(obs, HORIZON)).mean() < 0.04
    assert mean_return(model.planner, name) > mean_return(teacher_of(name), name) - MARGIN[name]
    assert mean_return(model.planner, name) > mean_return(RandomPlanner(space, np.random.default_rng(0)), name) + 0.5


def test_repeating_one_action_is_worse_than_a_plan() -> None:
    repeated = mean_return(RepeatPlanner(teacher_of("point"), HORIZON), "point")
    assert mean_return(student("point", "squared").planner, "point") > repeated + 0.3


@each_world
def test_refinement_trains_on_where_the_plans_led(name: str) -> None:
    said: list[str] = []
    env_id, _, policy = WORLDS[name]
    loss = student_config(env_id, HORIZON).loss
    rounds: dict[str, Any] = {"refine": 1, "refine_windows": 128, "refine_updates": 20}
    model = phr.distill(policy, env_id=env_id, horizon=HORIZON, say=said.append, **{**QUICK, "n_updates": 200, **rounds})
    report = model.manifest.notes["refinement"][0]
    assert model.manifest.notes["loss"] == loss
    assert report["windows"] > 0
    known = [value for value in report["after"] if value is not None]
    assert known
    assert all(0 <= value <= 1 for value in known)
    assert mean_return(model.planner, name) > mean_return(teacher_of(name), name) - 2 * MARGIN[name]
    assert "new windows where the student's plans led" in said[1]


def test_a_spread_grows_where_the_future_is_unsure() -> None:
    """The teacher is greedy and the world is known, so a trained student is surest of the first step."""
    plan = student("point", "gaussian").planner.plan(observations("point"))
    assert plan.outputs.shape == (64, HORIZON, 4)
    assert plan.confidence().mean() > 0.9
    untrained = phr.distill(to_the_middle, env_id=POINT, horizon=2, loss="gaussian", **{**QUICK, "n_updates": 1})
    assert untrained.planner.plan(observations("point")).confidence().mean() < 0.5


@each_kind
def test_training_is_repeated_bit_for_bit(name: str, loss: str) -> None:
    env_id, _, policy = WORLDS[name]
    short = {**QUICK, "n_updates": 5, "n_episodes": 8}
    models = [phr.distill(policy, env_id=env_id, horizon=2, loss=loss, seed=seed, **short) for seed in (0, 0, 1)]
    assert models[0].sha256 == models[1].sha256 != models[2].sha256


@each_kind
def test_a_model_is_the_same_from_its_folder(tmp_path: Path, name: str, loss: str) -> None:
    model = student(name, loss)
    again = load_model(saved(model, tmp_path))
    obs = observations(name)
    np.testing.assert_array_equal(again.planner.plan(obs).outputs, model.planner.plan(obs).outputs)
    assert again.manifest.actions == WORLDS[name][1]


@each_graph
@pytest.mark.usefixtures("_exported_once")
def test_an_exported_model_acts_without_torch(tmp_path: Path, name: str, loss: str) -> None:
    model = student(name, loss)
    written = phr.export_onnx(model, tmp_path / "student.onnx", int8=True)
    assert written.parity.real is not None
    assert ("argmax" in str(written.parity)) == (name == "dials")
    assert written.int8 is not None
    assert written.int8.agreement > 0.8
    planner, obs = load_runtime(tmp_path / "student.onnx"), observations(name)
    np.testing.assert_allclose(planner.plan(obs).outputs, model.planner.plan(obs).outputs, atol=1e-4)
    code = (
        "import sys, numpy as np\n"
        "for name in ('torch', 'gymnasium', 'onnx'): sys.modules[name] = None\n"
        "from phr.acting.agent import HorizonAgent\n"
        "from phr.acting.runtime import load_runtime\n"
        f"agent = HorizonAgent(load_runtime({str(tmp_path / 'student.onnx')!r}), 2)\n"
        f"obs = np.array({obs[0].tolist()}, {str(obs.dtype)!r})\n"
        "first, second = agent.act(obs), agent.act()\n"
        "print(first.dtype, first.shape, *first.tolist(), *second.tolist(), agent.needs_observation)"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert ran.stderr == ""
    dtype, _, rest = ran.stdout.partition(" (2,) ")
    *numbers, looks = rest.split()
    assert (dtype, looks) == ("float32" if name == "point" else "int64", "True")
    np.testing.assert_allclose([float(n) for n in numbers], planner.plan(obs[:1]).mode()[0, :2].ravel(), rtol=1e-6)


@each_graph
@pytest.mark.usefixtures("_exported_once")
def test_an_evaluation_is_repeated_whatever_computes_the_plans(tmp_path: Path, name: str, loss: str) -> None:
    model = student(name, loss)
    words: dict[str, Any] = {"episodes": 8, "runs": 2, "commitment": 2, "random_prefix": (1, 3)}
    one, two, onnx = (phr.evaluate(model, **words, backend=backend) for backend in ("torch", "torch", "onnx"))
    returns = [[run.returns for run in result.runs] for result in (one, two, onnx)]
    assert returns[0] == returns[1]
    np.testing.assert_allclose(np.concatenate(returns[0]), np.concatenate(returns[2]), atol=0.05)
    assert one.evaluations_per_step == pytest.approx(0.5, abs=0.15)
    assert one.bound is not None
    if (name, loss) == ("point", "squared"):
        with pytest.raises(SettingError, match="not how sure it is of them, so there is nothing to sample"):
            phr.evaluate(model, episodes=4, runs=1, deterministic=False)
        return
    if model.network.links is not None:
        for backend in ("torch", "onnx"):
            with pytest.raises(SettingError, match="a causal plan cannot be sampled beyond its first action"):
                phr.evaluate(model, episodes=4, runs=1, deterministic=False, backend=backend)
    commitment = None if model.network.links is None else 1
    sampled = phr.evaluate(model, episodes=4, runs=1, deterministic=False, commitment=commitment)
    assert sampled.runs[0].episodes == 4


def test_a_teacher_of_actions_alone_has_nothing_to_sample() -> None:
    with pytest.raises(SettingError, match="is an action-only teacher: it has no probabilities to sample from"):
        phr.evaluate(to_the_middle, env_id=POINT, episodes=1, runs=1, deterministic=False)


def test_a_plan_of_one_step_needs_no_spread() -> None:
    assert phr.evaluate(to_the_middle, env_id=POINT, episodes=1, runs=1, commitment="auto").evaluations_per_step == 1


def test_auto_needs_a_spread() -> None:
    result = phr.evaluate(student("point", "gaussian"), episodes=4, runs=1, commitment="auto")
    assert 0.2 < result.evaluations_per_step < 1
    with pytest.raises(SettingError, match="give a number, or distil with --loss gaussian"):
        phr.evaluate(student("point", "squared"), episodes=4, runs=1, commitment="auto")
    assert phr.evaluate(student("dials", "cross_entropy"), episodes=4, runs=1, commitment="auto").evaluations_per_step < 1


@each_world
def test_one_agent_and_many_act_alike(name: str) -> None:
    planner, obs = teacher_of(name), observations(name, 3)
    single = [HorizonAgent(planner).act(one) for one in obs]
    many = VectorHorizonAgent(planner, n_envs=3).act(obs)
    np.testing.assert_array_equal(many, np.stack(single))
    assert many.dtype == WORLDS[name][1].dtype
    many[:] = 0
    assert any(action.any() for action in single), "an action given away is its taker's own"


@each_world
def test_experience_comes_back_from_its_file(tmp_path: Path, name: str) -> None:
    env_id, space, _ = WORLDS[name]
    experience, selection = record_teacher(teacher_of(name), env_id, PHRConfig(horizon=2, n_episodes=5, prefix=(0, 2)))
    assert experience.action_space == space
    assert selection.is_success == (name == "dials")
    save_experience(experience, tmp_path / "episodes.npz")
    again = load_experience(tmp_path / "episodes.npz")
    assert again.action_space == space
    for part in ("obs", "actions", "teacher_logits", "rewards"):
        np.testing.assert_array_equal(again.joined(part), experience.joined(part))
        assert again.joined(part).dtype == experience.joined(part).dtype
    assert again.joined("actions").dtype == space.dtype


@each_world
def test_plans_are_learnt_from_episodes_alone(tmp_path: Path, name: str) -> None:
    env_id, space, policy = WORLDS[name]
    path = tmp_path / "episodes.npz"
    phr.distill(policy, env_id=env_id, horizon=HORIZON, save_experience=path, **{**QUICK, "n_updates": 1})
    assert load_logged(path, env_id).action_space == space
    model = phr.distill(experience=path, horizon=HORIZON, **QUICK)
    assert mean_return(model.planner, name) > mean_return(teacher_of(name), name) - MARGIN[name]
    with pytest.raises(SettingError, match="logged actions allow only|does not fit continuous"):
        phr.distill(experience=path, horizon=HORIZON, loss="kl", **QUICK)
    with pytest.raises(IncompatibleModelError, match="has observations"):
        load_logged(path, DIALS if name == "point" else POINT)


class Mover(torch.nn.Module):
    def forward(self, obs: torch.Tensor) -> torch.Tensor:
        return -torch.stack([obs[:, 0], obs[:, 1] / 1000], 1)


def turns(obs: NDArray[Any]) -> NDArray[np.int64]:
    """The best turns themselves."""
    logits = turn_to_zero(obs)
    return np.stack([logits[:, :3].argmax(1), logits[:, 3:].argmax(1)], 1)


@pytest.mark.parametrize(
    ("name", "policy", "action_only"),
    [
        ("point", "tests.points:make_mover", True),
        ("point", Mover(), True),
        ("dials", "tests.points:make_turner", False),
        ("dials", turns, True),
    ],
)
def test_policies_of_any_make_are_teachers(name: str, policy: Any, action_only: bool) -> None:
    env_id, space, own = WORLDS[name]
    actor = resolve(policy, env_id=env_id)
    obs = observations(name)
    assert (actor.action_only, actor.planner.horizon) == (action_only, 1)
    np.testing.assert_allclose(
        actor.planner.plan(obs).mode(), resolve(own, env_id=env_id).planner.plan(obs).mode(), atol=1e-6
    )
    assert space.agree(actor.planner.plan(obs).mode(), actor.planner.plan(obs).mode()).all()


def test_anothers_onnx_file_may_answer_vectors(tmp_path: Path) -> None:
    path = tmp_path / "mover.onnx"
    example = (torch.zeros(2, 3),)
    batch = ({0: torch.export.Dim("batch")},)
    torch.onnx.export(Mover(), example, path, dynamo=True, external_data=False, verbose=False, dynamic_shapes=batch)
    planner, obs = resolve(path, env_id=POINT).planner, observations("point")
    np.testing.assert_allclose(planner.plan(obs).mode()[:, 0], to_the_middle(obs), atol=1e-6)


@pytest.mark.parametrize(
    ("name", "policy", "message"),
    [
        ("point", turn_to_zero, "cannot be called|expected float actions"),
        ("point", lambda obs: np.zeros((len(obs), 3), np.float32), r"expected float actions \(16, 2\)"),
        ("point", lambda obs: np.zeros((len(obs), 2), np.int64), r"expected float actions \(16, 2\)"),
        (
            "dials",
            lambda obs: np.zeros((len(obs), 2), np.float32),
            r"float logits \(16, 5\) or integer actions \(16, 2\)",
        ),
        ("dials", lambda obs: np.zeros(len(obs), np.int64), "integer actions"),
    ],
)
def test_answers_that_do_not_fit_are_refused(name: str, policy: Any, message: str) -> None:
    with pytest.raises(IncompatibleModelError, match=message):
        resolve(policy, env_id=WORLDS[name][0])


@each_world
def test_phr_trains_no_such_teacher_itself(name: str) -> None:
    with pytest.raises(UnsupportedEnvironmentError, match="train it with Stable-Baselines3 and distil that: phr distill"):
        phr.train_teacher(WORLDS[name][0], total_timesteps=100)


def test_a_student_of_one_loss_does_not_start_one_of_the_other() -> None:
    with pytest.raises(IncompatibleModelError, match="needs 4 numbers for an action, .* outputs 2"):
        phr.distill(student("point", "squared"), horizon=2, loss="gaussian", **{**QUICK, "n_updates": 1})
    again = phr.distill(student("point", "squared"), horizon=2, **{**QUICK, "n_updates": 1, "learning_rate": 1e-9})
    obs = observations("point")
    first = student("point", "squared").planner.plan(obs).mode()[:, 0]
    assert np.abs(again.planner.plan(obs).mode() - first[:, None]).max() < 1e-4


def test_models_of_other_actions_do_not_fit() -> None:
    with pytest.raises(IncompatibleModelError, match=r"has continuous actions of shape \(2,\)"):
        phr.evaluate(student("point", "squared"), env_id=DIALS, episodes=1)


def test_discrete_models_are_described_as_ever() -> None:
    manifest = Manifest(kind="student", env_id="x", obs_shape=(3,), obs_dtype="float32", n_actions=2, horizon=1, network={})
    assert "action_space" not in manifest.to_json()
    network = student("dials", "cross_entropy").network.config.to_json()
    assert network["action_space"] == {"kind": "multi_discrete", "nvec": [3, 2]}
    said = {"action_space", "normalize", "label_smoothing"}
    plain = NetworkConfig.from_json({key: value for key, value in network.items() if key not in said})
    assert said.isdisjoint(plain.to_json())


def test_an_edited_manifest_is_refused() -> None:
    values = student("point", "squared").manifest.to_json()
    values["action_space"] = {"kind": "continuous", "low": [0] * 3, "high": [1] * 3, "shape": [3]}
    with pytest.raises(CorruptFileError, match="was edited: continuous actions .* do not go with 2 numbers"):
        Manifest.from_json(values, "manifest.json")


def test_normalised_observations_are_cut_off_and_still_ones_left_alone() -> None:
    network = student("point", "squared").network
    assert network.config.normalize
    assert network.trunk.obs_limit.tolist() == [10, 10, 1]
    assert network.trunk.obs_deviation[1] > 100
    far = torch.tensor([[1e6, 0.0, 7.0], [1e9, 0.0, 8.0]], dtype=torch.float64)
    prepared = network.trunk.prepare(far, torch.float32)
    assert prepared[:, 0].tolist() == [10, 10]
    assert prepared[:, 2].tolist() == [0, 1]


def test_the_toys_are_what_they_say() -> None:
    for make in (make_point, make_dials):
        env = make()
        _, info = env.reset(seed=0)
        assert info == {}
