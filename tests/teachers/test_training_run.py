"""Folders as RL Baselines3 Zoo and the hub lay them out, made here with today's Stable-Baselines3."""

from __future__ import annotations

import contextlib
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from stable_baselines3 import A2C
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

import phr
from phr.envs.registry import make_env, make_gym_env
from phr.errors import CorruptFileError, IncompatibleModelError, PhrError, UnknownModelError, UsageError
from phr.teachers.foreign import Reading
from phr.teachers.references import is_foreign, resolve
from phr.teachers.training_run import Recorded, _missing, read_run, read_yaml
from tests.trained import corridor_student, saved

ARGS = """!!python/object/apply:collections.OrderedDict
- - - algo
    - a2c
  - - env
    - {env}
  - - env_kwargs
    - {kwargs}
"""
CONFIG = """!!python/object/apply:collections.OrderedDict
- - - n_timesteps
    - 1000000.0
  - - policy
    - MlpPolicy
  - - policy_kwargs
    - dict(log_std_init=-2, ortho_init=False)
"""
OBS = np.random.default_rng(0).normal(size=(200, 3)).astype(np.float32)


def zoo_run(
    folder: Path, env: str = "Pendulum-v0", *, config: str = "", kwargs: str = "null", normalise: bool = True
) -> Path:
    """`ENV_1/` with `ENV.zip`, and `ENV/` with the rest."""
    run = folder / f"{env}_1"
    settings = run / env
    settings.mkdir(parents=True)
    vector: Any = DummyVecEnv([lambda: make_gym_env("Pendulum-v1")])
    if normalise:
        vector = VecNormalize(vector)
        config += "  - - normalize\n    - true\n"
    A2C("MlpPolicy", vector, n_steps=4, seed=1, device="cpu").learn(64).save(run / f"{env}.zip")
    if normalise:
        vector.save(str(settings / "vecnormalize.pkl"))
    (settings / "args.yml").write_text(ARGS.format(env=env, kwargs=kwargs))
    (settings / "config.yml").write_text(CONFIG + config)
    return run


def expected_actions(run: Path, env: str = "Pendulum-v0") -> Any:
    """What the maker's own loop does: it loads the statistics and normalises."""
    wrapper = VecNormalize.load(str(run / env / "vecnormalize.pkl"), DummyVecEnv([lambda: make_gym_env("Pendulum-v1")]))
    return A2C.load(run / f"{env}.zip", device="cpu").predict(wrapper.normalize_obs(OBS), deterministic=True)[0]


def test_a_folder_is_a_teacher(tmp_path: Path) -> None:
    run = zoo_run(tmp_path)
    shutil.copyfile(run / "Pendulum-v0.zip", run / "best_model.zip")
    for reference in (run, run / "Pendulum-v0", run / "Pendulum-v0.zip", run / "best_model.zip"):
        assert is_foreign(reference)
        found = resolve(str(reference))
        assert found.env_id == "Pendulum-v1"
        np.testing.assert_array_equal(found.planner.plan(OBS).mode()[:, 0], expected_actions(run))
        assert any(f"normalised with {run / 'Pendulum-v0' / 'vecnormalize.pkl'}" in line for line in found.notices)
        assert any("Pendulum-v0 is made as Pendulum-v1" in line for line in found.notices)
        assert found.warnings == ()
        assert any("also holds" in line for line in found.notices) == (reference in (run, run / "Pendulum-v0"))


def test_a_repository_of_the_hub_is_a_teacher(tmp_path: Path) -> None:
    """All files side by side, the statistics called otherwise, a second zip of evaluations."""
    run = zoo_run(tmp_path / "zoo")
    flat = tmp_path / "a2c-Pendulum-v0"
    flat.mkdir()
    shutil.copyfile(run / "Pendulum-v0.zip", flat / "a2c-Pendulum-v0.zip")
    for name in ("args.yml", "config.yml"):
        shutil.copyfile(run / "Pendulum-v0" / name, flat / name)
    shutil.copyfile(run / "Pendulum-v0" / "vecnormalize.pkl", flat / "vec_normalize.pkl")
    (flat / "train_eval_metrics.zip").write_bytes(b"PK")
    (flat / "results.json").write_text("{}")
    found = resolve(flat)
    np.testing.assert_array_equal(found.planner.plan(OBS).mode()[:, 0], expected_actions(run))


def test_what_the_user_says_goes_first(tmp_path: Path) -> None:
    run = zoo_run(tmp_path)
    found = resolve(run, env_id="Pendulum-v1?action-noise=0.1")
    assert found.env_id == "Pendulum-v1?action-noise=0.1"
    np.testing.assert_array_equal(found.planner.plan(OBS).mode()[:, 0], expected_actions(run))
    other = tmp_path / "other.pkl"
    vector = VecNormalize(DummyVecEnv([lambda: make_gym_env("Pendulum-v1")]))
    vector.save(str(other))
    given = resolve(run, reading=Reading(normalize=other))
    assert (given.planner.plan(OBS).mode()[:, 0] != expected_actions(run)).any()
    assert given.identity != resolve(run).identity


def test_missing_statistics_are_a_warning_beside_every_result(tmp_path: Path) -> None:
    run = zoo_run(tmp_path)
    (run / "Pendulum-v0" / "vecnormalize.pkl").unlink()
    found = resolve(run)
    assert len(found.warnings) == 1
    assert "was trained with VecNormalize, and no statistics are given" in found.warnings[0]
    result = phr.evaluate(run, episodes=1, runs=1, bound=False)
    assert found.warnings[0] in result.warnings
    assert str(result).endswith(found.warnings[0])
    assert result.to_json()["warnings"] == list(result.warnings)
    student = phr.distill(run, horizon=2, n_episodes=4, n_updates=4, refine=0, curve_episodes=2)
    assert found.warnings[0] in student.manifest.notes["doubts"]


def test_settings_that_normalise_rewards_alone(tmp_path: Path) -> None:
    for index, text in enumerate(("dict(norm_obs=False, norm_reward=True)", "\"{'norm_obs': False}\"", "{norm_obs: false}")):
        run = zoo_run(tmp_path / str(index), normalise=False, config=f"  - - normalize\n    - {text}\n")
        found = read_run(run)
        assert found is not None
        assert (found.normalizes, found.statistics) == (False, None)
        assert resolve(run).warnings == ()
    odd = zoo_run(tmp_path / "odd", normalise=False, config="  - - normalize\n    - print(3)\n")
    with pytest.raises(CorruptFileError, match=r"its setting normalize cannot be read: 'print\(3\)'"):
        resolve(odd)


@pytest.mark.parametrize(
    ("config", "kwargs", "options"),
    [
        ("  - - env_wrapper\n    - sb3_contrib.common.wrappers.TimeFeatureWrapper\n", "null", "time-feature"),
        ("  - - env_wrapper\n    - - sb3_contrib.common.wrappers.TimeFeatureWrapper: {}\n", "null", "time-feature"),
        ("  - - frame_stack\n    - 3\n", "null", "frame-stack=3"),
        ("", "\n      g: 9.5\n", "kwargs.g=9.5"),
    ],
)
def test_wrappers_and_arguments_become_options_of_the_id(tmp_path: Path, config: str, kwargs: str, options: str) -> None:
    found = read_run(zoo_run(tmp_path, config=config, kwargs=kwargs))
    assert found is not None
    assert found.env_id == f"Pendulum-v0?{options}"


def test_what_phr_does_not_know_is_named(tmp_path: Path) -> None:
    wrapped = zoo_run(tmp_path / "a", config="  - - env_wrapper\n    - their.own.Wrapper\n")
    with pytest.raises(IncompatibleModelError, match=r"trained with their\.own\.Wrapper; phr knows AtariWrapper, Time"):
        resolve(wrapped)
    assert resolve(wrapped, env_id="Pendulum-v1").env_id == "Pendulum-v1"
    vector = zoo_run(tmp_path / "b", config="  - - vec_env_wrapper\n    - their.own.VecWrapper\n")
    with pytest.raises(IncompatibleModelError, match="a vec_env_wrapper, which phr does not read"):
        resolve(vector)
    with pytest.raises(UsageError, match="AntBulletEnv-v0 is registered by the package pybullet_envs_gymnasium; install it"):
        resolve(zoo_run(tmp_path / "c", "AntBulletEnv-v0"))
    with pytest.raises(IncompatibleModelError, match="Humanoid-v3 is Humanoid-v4 today, whose observations differ"):
        resolve(zoo_run(tmp_path / "d", "Humanoid-v3"))


def test_folders_without_one_policy_are_refused(tmp_path: Path) -> None:
    run = zoo_run(tmp_path)
    for name in ("first", "second"):
        shutil.copyfile(run / "Pendulum-v0.zip", run / f"{name}.zip")
    assert resolve(run).env_id == "Pendulum-v1"
    (run / "Pendulum-v0.zip").unlink()
    with pytest.raises(UnknownModelError, match=r"holds several policies; name one of .*first\.zip, .*second\.zip"):
        resolve(run)
    for name in ("first", "second"):
        (run / f"{name}.zip").unlink()
    with pytest.raises(UnknownModelError, match=r"holds no \.zip of a policy"):
        resolve(run)
    lonely = tmp_path / "lonely"
    lonely.mkdir()
    with pytest.raises(CorruptFileError, match="lonely holds no finished model"):
        resolve(lonely)


def test_a_folder_without_settings_asks_for_the_environment(tmp_path: Path) -> None:
    run = zoo_run(tmp_path)
    shutil.rmtree(run / "Pendulum-v0")
    with pytest.raises(UsageError, match="does not record its environment; add --env-id"):
        resolve(run)
    found = resolve(run, env_id="Pendulum-v1")
    assert "was trained with VecNormalize" in found.warnings[0]


def test_runs_of_phr_stay_runs_of_phr(tmp_path: Path) -> None:
    model = saved(corridor_student(), tmp_path / "student")
    shutil.copyfile(zoo_run(tmp_path) / "Pendulum-v0.zip", tmp_path / "student" / "extra.zip")
    assert not is_foreign(tmp_path / "student")
    assert resolve(tmp_path / "student").model is not None
    assert model is not None


@pytest.mark.parametrize(("mean", "doubted"), [(-150.0, False), (-250.0, False), (-700.0, True), (None, False)])
def test_returns_far_below_the_recorded_ones(tmp_path: Path, mean: float | None, doubted: bool) -> None:
    run = zoo_run(tmp_path)
    results = np.stack([np.full(5, -900.0), np.linspace(-300, -100, 5)])
    np.savez(run / "evaluations.npz", timesteps=np.array([1, 2]), results=results, ep_lengths=np.full((2, 5), 200))
    found = resolve(run).recorded
    assert found == Recorded(-200.0, float(results[1].std()), 5)
    line = found.doubt(mean)
    assert (line is not None) == doubted
    if line is not None:
        assert "the policy returns -700, and -200 ± 70.7 in 5 episodes at the end of its training" in line


def test_a_policy_that_returns_little_is_doubted_at_the_end(tmp_path: Path) -> None:
    run = zoo_run(tmp_path)
    np.savez(run / "evaluations.npz", timesteps=np.array([1]), results=np.full((1, 5), -1.0))
    result = phr.evaluate(run, episodes=1, runs=1, bound=False)
    assert "at the end of its training" in str(result).splitlines()[-1]
    np.savez(run / "evaluations.npz", results=np.array(["x"]))
    with pytest.raises(CorruptFileError, match="was not written by Stable-Baselines3's EvalCallback"):
        resolve(run)


@pytest.mark.parametrize(
    ("env", "kwargs", "config"),
    [
        ("evil_module:Foo-v0", "null", ""),
        ("Pendulum-v1?wrapper=evil_module:w", "null", ""),
        ("Pendulum-v0", "\n      g: '9.5&wrapper=evil_module:w'\n", ""),
        ("Pendulum-v0", "\n      'g&wrapper=evil_module:w': 1\n", ""),
        ("Pendulum-v0", "null", "  - - frame_stack\n    - '1&wrapper=evil_module:w'\n"),
        ("Pendulum-v0", "null", "  - - env_wrapper\n    - evil_module:w\n"),
    ],
)
def test_no_folder_makes_code_be_imported(
    tmp_path: Path, env: str, kwargs: str, config: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "evil_module.py").write_text("from pathlib import Path\nPath(__file__).with_name('executed').touch()\n")
    monkeypatch.syspath_prepend(tmp_path)
    run = zoo_run(tmp_path, "Pendulum-v0", config=config, kwargs=kwargs)
    (run / "Pendulum-v0" / "args.yml").write_text(ARGS.format(env=f"'{env}'", kwargs=kwargs))
    with contextlib.suppress(PhrError), make_env(resolve(run).env_id) as world:
        world.reset(0)
    assert not (tmp_path / "executed").exists()


def test_statistics_of_another_run_are_not_used(tmp_path: Path) -> None:
    run = zoo_run(tmp_path)
    models = tmp_path / "models"
    models.mkdir()
    vector: Any = DummyVecEnv([lambda: make_gym_env("Pendulum-v1")])
    A2C("MlpPolicy", vector, n_steps=4, seed=2, device="cpu").learn(8).save(models / "mine.zip")
    shutil.copytree(run / "Pendulum-v0", models / "other")
    shutil.copytree(run / "Pendulum-v0", models / "Pendulum-v0")
    found = resolve(models / "mine.zip", env_id="Pendulum-v1")
    assert (found.notices, found.warnings) == ((), ())
    expected = A2C.load(models / "mine.zip", device="cpu").predict(OBS, deterministic=True)[0]
    np.testing.assert_array_equal(found.planner.plan(OBS).mode()[:, 0], expected)


def test_statistics_beside_a_policy_without_settings(tmp_path: Path) -> None:
    """Those beside the only policy of a folder are its own; beside several, whose they are is unknown."""
    run, folder = zoo_run(tmp_path / "zoo"), tmp_path / "mine"
    folder.mkdir()
    shutil.copyfile(run / "Pendulum-v0.zip", folder / "model.zip")
    shutil.copyfile(run / "Pendulum-v0" / "vecnormalize.pkl", folder / "vecnormalize.pkl")
    for reference in (folder, folder / "model.zip"):
        found = resolve(reference, env_id="Pendulum-v1")
        np.testing.assert_array_equal(found.planner.plan(OBS).mode()[:, 0], expected_actions(run))
    shutil.copyfile(run / "Pendulum-v0.zip", folder / "other.zip")
    warnings = resolve(folder / "model.zip", env_id="Pendulum-v1").warnings
    assert any("lies beside" in line and "--normalize" in line for line in warnings)


def test_arguments_of_wrappers_are_not_dropped(tmp_path: Path) -> None:
    config = "  - - env_wrapper\n    - - sb3_contrib.common.wrappers.TimeFeatureWrapper:\n          max_steps: 50\n"
    with pytest.raises(IncompatibleModelError, match="TimeFeatureWrapper and arguments of its own; give --env-id"):
        resolve(zoo_run(tmp_path, config=config))


def test_what_the_users_id_leaves_out_is_a_notice(tmp_path: Path) -> None:
    run = zoo_run(tmp_path, kwargs="\n      g: 5.0\n", config="  - - frame_stack\n    - 1\n")
    notices = resolve(run, env_id="Pendulum-v1").notices
    assert any("was made with kwargs.g=5.0, which --env-id leaves out" in line for line in notices)
    assert not any("leaves out" in line for line in resolve(run, env_id="Pendulum-v1?kwargs.g=5.0").notices)
    assert _missing({"env_kwargs": {"g": 5.0}}, {}, None, "X-v0?kwargs.gravity=1") == [
        "kwargs.g=5.0"
    ]  # a name, not a part of one
    unknown = zoo_run(tmp_path / "own", config="  - - env_wrapper\n    - their.own.Wrapper\n")
    assert any("a wrapper that phr does not know, which" in line for line in resolve(unknown, env_id="Pendulum-v1").notices)


HOSTILE = [
    "a: &a [x, x, x]\nb: &b [*a, *a, *a]\nnormalize: &c [*b, *b, *b]",
    "!!python/object/apply:os.system ['touch executed']",
    "!!python/object/new:os.system ['touch executed']",
    "!!python/name:os.system ''",
    "!!python/module:os ''",
    "!!python/object:subprocess.Popen {args: touch}",
    "!own [1]",
    "- !!python/tuple [1, 2]",
    "[" * 100_000,
    "a: &a [*a]",
    "&a [x, x]: 3",
    "? [1, 2]\n: 3",
    "a: 1: 2",
    "\x00",
    "- - - 3\n    - 4",
]


@pytest.mark.parametrize("text", ["a: 1\nb: 2\na: 1\n", "x:\n  - {y: 1, y: 2}\n", "!!python/object/apply:a.b\nk: 1\nk: 2\n"])
def test_yaml_that_states_a_thing_twice_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "args.yml").write_text(text)
    with pytest.raises(CorruptFileError, match=r"args.yml is not readable YAML: it states '[aky]' twice"):
        read_yaml(tmp_path / "args.yml")


def test_pairs_that_state_a_thing_twice_are_refused(tmp_path: Path) -> None:
    run = zoo_run(tmp_path)
    (run / "Pendulum-v0" / "args.yml").write_text("- - [algo, ppo]\n  - [seed, 0]\n  - [algo, sac]\n")
    with pytest.raises(CorruptFileError, match="args.yml: it states 'algo' twice"):
        read_run(run)


@pytest.mark.parametrize("text", HOSTILE)
def test_yaml_is_read_as_data(tmp_path: Path, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "args.yml").write_text(text)
    try:
        read_yaml(tmp_path / "args.yml")
    except CorruptFileError as error:
        assert "\n" not in str(error)  # noqa: PT017  # either is right
    run = zoo_run(tmp_path)
    shutil.copyfile(tmp_path / "args.yml", run / "Pendulum-v0" / "args.yml")
    (tmp_path / "args.yml").unlink()
    try:
        resolve(run)
    except (CorruptFileError, UsageError, IncompatibleModelError) as error:
        assert "\n" not in str(error)  # noqa: PT017
    assert not list(tmp_path.rglob("executed"))


def test_yaml_that_merges_a_mapping_is_read(tmp_path: Path) -> None:
    (tmp_path / "args.yml").write_text("x: &a {p: 1, q: 1}\ny:\n  <<: *a\n  q: 2\n")
    assert read_yaml(tmp_path / "args.yml")["y"] == {"p": 1, "q": 2}
