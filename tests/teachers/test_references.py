from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from phr.acting.agent import HorizonAgent
from phr.acting.commitment import FixedCommitment
from phr.envs.registry import make_env
from phr.envs.vector import Start
from phr.errors import CorruptFileError, UnknownEnvironmentError, UnknownModelError, UnsolvableError, UsageError
from phr.evaluation.episodes import make_vector, play_episodes
from phr.teachers import references
from phr.teachers.references import resolve, zoo_directory
from tests.trained import CORRIDOR, corridor_student, corridor_teacher, saved

OBS = np.eye(5, dtype=np.float32)


@pytest.fixture
def zoo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A zoo of two finished models and a folder without one."""
    folder = tmp_path / "zoo"
    saved(corridor_teacher(), folder / "corridor-teacher")
    saved(corridor_student(), folder / "corridor-student")
    (folder / "half-done").mkdir()
    monkeypatch.setenv("PHR_ZOO", str(folder))
    return folder


def test_the_zoo_is_named_by_the_environment_variable(zoo: Path) -> None:
    assert zoo_directory() == zoo


def test_the_zoo_is_that_of_the_checkout_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PHR_ZOO", raising=False)
    assert zoo_directory() == Path(__file__).resolve().parents[2] / "zoo"


def test_a_model_of_the_zoo(zoo: Path) -> None:
    actor = resolve("zoo:corridor-student")
    assert (actor.reference, actor.env_id, actor.backend) == ("zoo:corridor-student", CORRIDOR, "torch")
    assert actor.model is not None
    assert actor.model.directory == zoo / "corridor-student"
    np.testing.assert_array_equal(actor.planner.plan(OBS).mode(), corridor_student().planner.plan(OBS).mode())


def test_a_near_miss_in_the_zoo_is_named(zoo: Path) -> None:
    with pytest.raises(UnknownModelError, match=rf"^the zoo in {zoo} has no .*; did you mean zoo:corridor-student\?$"):
        resolve("zoo:corridor-studen")


def test_a_far_miss_lists_what_the_zoo_holds(zoo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UnknownModelError, match="it holds corridor-student, corridor-teacher$"):
        resolve("zoo:pong")
    monkeypatch.setenv("PHR_ZOO", str(zoo / "nowhere"))
    with pytest.raises(UnknownModelError, match="there is no zoo at .*nowhere; start phr in a checkout, or set PHR_ZOO"):
        resolve("zoo:pong")
    (zoo / "nowhere").mkdir()
    with pytest.raises(UnknownModelError, match="it holds nothing$"):
        resolve("zoo:pong")


def test_a_folder_of_the_zoo_without_a_model_is_refused(zoo: Path) -> None:
    with pytest.raises(CorruptFileError, match="half-done holds no finished model"):
        resolve("zoo:half-done")


def test_a_model_of_the_zoo_is_checked_on_load(zoo: Path) -> None:
    path = zoo / "corridor-student" / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(CorruptFileError, match="was truncated or edited"):
        resolve("zoo:corridor-student")


@pytest.mark.parametrize("kind", [str, Path])
def test_a_run_directory(tmp_path: Path, kind: type) -> None:
    saved(corridor_teacher(), tmp_path / "run")
    actor = resolve(kind(tmp_path / "run"))
    assert actor.reference == str(tmp_path / "run")
    assert (actor.planner.horizon, actor.env_id) == (1, CORRIDOR)


def test_a_model_in_memory() -> None:
    actor = resolve(corridor_student())
    assert actor.reference == "student in memory"
    assert actor.model is corridor_student()


def test_another_environment_may_be_named(tmp_path: Path) -> None:
    reference = saved(corridor_teacher(), tmp_path / "run")
    assert resolve(reference, env_id="somewhere").env_id == "somewhere"


def test_the_commitment_of_the_manifest_is_told(tmp_path: Path) -> None:
    model = corridor_student()
    manifest = type(model.manifest)(**{**vars(model.manifest), "commitment": 2})
    saved(type(model)(model.network, manifest), tmp_path)
    assert HorizonAgent(resolve(tmp_path).planner).commitment == FixedCommitment(2)


@pytest.mark.parametrize("horizon", [1, 16])
def test_the_oracle(horizon: int) -> None:
    actor = resolve("oracle", env_id="PHR/FourRooms-v0", horizon=horizon)
    assert (actor.planner.horizon, actor.planner.n_actions, actor.backend, actor.model) == (horizon, 3, "search", None)
    episodes = play_episodes(actor.planner, make_vector(actor.env_id, 1), [Start(0)])
    assert episodes.lengths.tolist() == [23]


def test_only_the_oracle_takes_a_horizon(tmp_path: Path) -> None:
    folder = saved(corridor_student(), tmp_path)
    for reference, name in ((folder, str(folder)), (corridor_student(), "student in memory")):
        with pytest.raises(UsageError, match=f"^only the oracle takes a horizon; {name} has its own"):
            resolve(reference, horizon=4)


def test_the_oracle_needs_an_environment() -> None:
    with pytest.raises(UsageError, match="the oracle needs --env-id; it solves PHR/FourRooms-v0, "):
        resolve("oracle")


def test_the_oracle_reads_grids_only() -> None:
    with pytest.raises(UsageError, match="the oracle reads grids seen whole, not CartPole-v1"):
        resolve("oracle", env_id="CartPole-v1")
    with pytest.raises(UnknownEnvironmentError, match="did you mean PHR/FourRooms-v0"):
        resolve("oracle", env_id="PHR/FourRoom-v0")


def test_the_oracle_refuses_a_grid_with_a_door() -> None:
    actor = resolve("oracle", env_id="MiniGrid-DoorKey-5x5-v0")
    env = make_env(actor.env_id)
    env.reset(0)
    with pytest.raises(UnsolvableError, match="the oracle only walks; this grid has a door"):
        actor.planner.plan(env.observe()[None])


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("ppo.zip", "^there is no file ppo.zip$"),
        ("my_module:make_teacher", "^my_module:make_teacher: cannot import 'my_module'; is its folder on PYTHONPATH"),
        ("tests.helpers:make_teacher", "^tests.helpers:make_teacher: module 'tests.helpers' has no 'make_teacher'$"),
    ],
)
def test_policies_of_others_that_are_not_there_are_named(name: str, message: str) -> None:
    with pytest.raises(UnknownModelError, match=message):
        resolve(name)


@pytest.mark.parametrize("name", ["runs/nowhere", "orakel", ""])
def test_anything_else_is_refused(name: str) -> None:
    with pytest.raises((UnknownModelError, CorruptFileError)) as caught:
        resolve(name)
    assert "\n" not in str(caught.value)


def test_an_installed_phr_finds_the_zoo_of_the_checkout_that_it_was_started_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PHR_ZOO", raising=False)
    monkeypatch.setattr(
        references, "__file__", str(tmp_path / "lib" / "site-packages" / "phr" / "teachers" / "references.py")
    )
    monkeypatch.chdir(tmp_path)
    assert references.zoo_directory() == tmp_path / "lib" / "zoo", "there is none anywhere"
    (tmp_path / "zoo").mkdir()
    assert references.zoo_directory() == tmp_path / "zoo"
    (tmp_path / "lib" / "zoo").mkdir(parents=True)
    assert references.zoo_directory() == tmp_path / "lib" / "zoo", "phr's own comes first"


def test_a_folder_of_policies_is_none_and_names_them(tmp_path: Path) -> None:
    for number in range(8):
        saved(corridor_teacher(), tmp_path / "models" / f"teacher-{number}")
    with pytest.raises(
        UnknownModelError, match=r"is not a policy itself; name one of those below it: .*teacher-5 and 2 more$"
    ):
        resolve(str(tmp_path / "models"))
    with pytest.raises(UnknownModelError, match=r"those below it: .*models/teacher-0, "):
        resolve(tmp_path)
    run = tmp_path / "zoo" / "ppo" / "CartPole-v1_1"
    (run / "CartPole-v1").mkdir(parents=True)
    (run / "CartPole-v1.zip").touch()
    (run / "CartPole-v1" / "args.yml").touch()
    with pytest.raises(UnknownModelError, match=r"those below it: [^,]*ppo/CartPole-v1_1$"):
        resolve(tmp_path / "zoo" / "ppo")
    (tmp_path / "empty").mkdir()
    with pytest.raises(CorruptFileError, match="holds no finished model"):
        resolve(tmp_path / "empty")


@pytest.mark.parametrize("wrong", [5, 2.5, b"x", ["a"], {"a": 1}])
def test_what_can_be_no_policy_is_refused(wrong: object) -> None:
    with pytest.raises(UnknownModelError, match=r"is not a policy; expected a model, a path or name"):
        resolve(wrong, env_id="CartPole-v1")
