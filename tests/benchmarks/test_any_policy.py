from __future__ import annotations

import contextlib
import io
import runpy
import sys
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from benchmarks import any_policy
from benchmarks.any_policy import ROWS, TRAIN_SB3, Arguments, Row, main, summary, verdict
from phr import api
from phr.envs.vector import Start
from phr.errors import UsageError
from phr.evaluation.episodes import make_vector, play_episodes
from phr.files import read_json
from tests.trained import CORRIDOR, corridor_student, corridor_teacher, saved

WALK = Row(name="walk", env_id=CORRIDOR, teacher="phr A2C", horizon=4, kind="grid", saved=4, kept=0.98)
TOO_MUCH = replace(WALK, name="too-much", saved=5)
QUICK = {"n_updates": 150, "n_episodes": 64, "prefix": (0, 4)}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Arguments, str]]:
    folder = tmp_path_factory.mktemp("any-policy")
    for row in (WALK, TOO_MUCH):
        saved(corridor_teacher(), folder / "teachers" / row.name)
    arguments = Arguments(out=folder / "table", teachers=folder / "teachers", episodes=5)
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(io.StringIO()) as printed:
        patch.setattr(api, "distill", partial(api.distill, **QUICK))  # type: ignore[arg-type]
        assert main(arguments, (WALK, TOO_MUCH)) == 1
        yield arguments, printed.getvalue()


def test_a_row_tells_what_was_kept_and_saved(made: tuple[Arguments, str]) -> None:
    arguments, printed = made
    assert printed.endswith((arguments.out / "any-policy.md").read_text() + "\n")
    lines = [line for line in printed.splitlines() if line.startswith(f"| {CORRIDOR}")]
    assert [line.rsplit("|", 3)[-2].strip() for line in lines] == ["yes", "no"]
    found = read_json(arguments.out / "walk.json")
    assert (found["saved"], found["kept"], found["longer"], found["met"]) == (4, 1, 1, True)
    assert found["of_student"]["returns"] == found["of_teacher"]["returns"] == [1] * 5
    assert found["of_student"]["evaluations_per_step"] == 0.25


def test_the_episodes_are_those_that_evaluate_plays(made: tuple[Arguments, str]) -> None:
    arguments, _ = made
    told = api.evaluate(
        str(arguments.out / "students" / "walk"), runs=5, episodes=1, seed=any_policy.SEED, observe_always=True
    )
    assert [length for run in told.runs for length in run.lengths] == read_json(arguments.out / "walk.json")["of_student"][
        "lengths"
    ]


def test_a_row_that_is_there_is_not_done_again(made: tuple[Arguments, str], monkeypatch: pytest.MonkeyPatch) -> None:
    arguments, _ = made
    done: list[str] = []
    measure = any_policy.measure

    def noted(row: Row, arguments: Arguments) -> object:
        done.append(row.name)
        return measure(row, arguments)

    monkeypatch.setattr(any_policy, "measure", noted)
    (arguments.out / "walk.json").unlink()
    with contextlib.redirect_stdout(io.StringIO()):
        assert main(replace(arguments, only=("walk",)), (WALK, TOO_MUCH)) == 0
    assert done == ["walk"]


@pytest.mark.parametrize(("name", "asked"), [("episodes", 6), ("seed", 1)])
def test_a_row_that_was_measured_otherwise_is_not_taken_for_this_one(
    made: tuple[Arguments, str], name: str, asked: int, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments, printed = made
    assert "5 greedy episodes of each" in printed
    before = (arguments.out / "walk.json").read_bytes()
    changed = Arguments(out=arguments.out, teachers=arguments.teachers, only=("walk",), **{"episodes": 5, name: asked})
    assert main(changed, (WALK, TOO_MUCH)) == 1
    told = capsys.readouterr()
    assert f"walk.json was measured with {name} {5 if name == 'episodes' else 0}, expected {asked}" in told.out + told.err
    assert (arguments.out / "walk.json").read_bytes() == before


def test_a_row_of_another_teacher_is_not_taken_for_this_one(made: tuple[Arguments, str]) -> None:
    arguments, _ = made
    with pytest.raises(UsageError, match="was measured with teacher 'phr A2C', expected 'SB3 SAC'"):
        any_policy.measured_once(replace(WALK, teacher="SB3 SAC"), arguments)


def test_a_row_that_is_there_is_judged_by_what_is_asked_for_now(made: tuple[Arguments, str]) -> None:
    arguments, _ = made
    assert any_policy.measured_once(WALK, arguments)["met"]
    assert not any_policy.measured_once(replace(WALK, kept=1.01), arguments)["met"]


def test_a_teacher_that_cannot_be_trained_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = tmp_path / "script.py"
    script.write_text("raise SystemExit(3)")
    monkeypatch.setattr(any_policy, "TRAIN_SB3", script)
    row = replace(WALK, teacher="SB3 PPO", name="none")
    with pytest.raises(any_policy.TeacherFailedError, match="script.py .*failed with exit code 3"):
        any_policy.trained_teacher(row, Arguments(out=tmp_path))
    with contextlib.redirect_stdout(io.StringIO()):
        assert main(Arguments(out=tmp_path), (row,)) == 1


@pytest.mark.parametrize(("kind", "sign"), [("return", -1), ("cost", 1)])
def test_nothing_is_kept_of_returns_with_the_wrong_sign(kind: any_policy.Kind, sign: int) -> None:
    """Ratios of losses would praise the student that loses more."""
    one = {"evaluations_per_step": 1.0, "length_mean": 10.0}
    row = replace(WALK, kind=kind, saved=1)
    for of_teacher, of_student in ((100, 400), (400, 100), (100, 100)):
        teacher, student = {**one, "return_mean": sign * of_teacher}, {**one, "return_mean": sign * of_student}
        assert verdict(row, teacher, student) == {"saved": 1, "kept": 0, "longer": 1, "met": False}


def test_of_costs_less_is_more() -> None:
    vector = make_vector(CORRIDOR, 2)
    episodes = play_episodes(corridor_student().planner, vector, [Start(0)] * 2)
    one = {**summary(episodes), "evaluations_per_step": 1.0}
    cost = replace(WALK, kind="cost", saved=1, kept=any_policy.WITHIN_3_PERCENT)
    teacher, close, far = ({**one, "return_mean": value} for value in (-100.0, -102.9, -103.1))
    assert [verdict(cost, teacher, student)["met"] for student in (close, far, teacher)] == [True, False, True]
    paid = replace(cost, kind="return", kept=0.97)
    teacher, close, far = ({**one, "return_mean": value} for value in (100.0, 97.1, 96.9))
    assert [verdict(paid, teacher, student)["met"] for student in (close, far)] == [True, False]


def test_a_grid_asks_for_short_ways_too() -> None:
    one = {"return_mean": 1.0, "success_rate": 1.0, "evaluations_per_step": 1.0, "length_mean": 10.0}
    grid = replace(WALK, saved=1)
    assert verdict(grid, one, {**one, "length_mean": 10.5})["met"]
    assert not verdict(grid, one, {**one, "length_mean": 10.6})["met"]
    assert not verdict(grid, one, {**one, "success_rate": 0.97})["met"]


def test_an_unknown_row_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--only must be among acrobot, cartpole.*; got 'kartpole'"):
        main(Arguments(only=("kartpole",), out=tmp_path))


def test_every_teacher_of_stable_baselines3_has_its_settings() -> None:
    script = runpy.run_path(str(TRAIN_SB3))
    assert {row.env_id for row in ROWS if row.teacher.startswith("SB3")} == set(script["SETTINGS"])
    for row in ROWS:
        if row.teacher.startswith("SB3"):
            settings = script["SETTINGS"][row.env_id]
            assert f"SB3 {settings.algorithm.__name__}" == row.teacher


def test_the_example_saves_a_teacher_that_can_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "teachers" / "cartpole.zip"
    monkeypatch.setattr(sys, "argv", ["train", "CartPole-v1", "--out", str(file), "--steps", "256"])
    runpy.run_path(str(TRAIN_SB3), run_name="__main__")
    planner = api.load_teacher(file, env_id="CartPole-v1")
    assert planner.n_actions == 2
