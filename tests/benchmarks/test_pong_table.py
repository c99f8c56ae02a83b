from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from benchmarks import pong_table
from benchmarks.pong_table import Arguments, main, unseen_starts
from phr import api
from phr.envs.vector import VectorSplit, random_starts
from phr.errors import SettingError, UsageError
from phr.evaluation.episodes import play_episodes
from phr.evaluation.evaluate import EvaluationSettings, evaluate_planner
from phr.evaluation.timed import Limit, RunOptions
from phr.files import read_json
from phr.networks.trunks import TrunkConfig
from phr.seeding import Streams
from phr_studies.bench.models import untrained
from tests.helpers import TablePlanner, corridor
from tests.trained import corridor_teacher, saved

SHORT = "PongDeterministic-v4?max_frames=160&noop_max=2"
SMALL = TrunkConfig(kind="atari", channels=(4, 4, 4), width=16)


@dataclass(frozen=True)
class Played:
    """A table that was made: what was asked for, and what was printed."""

    arguments: Arguments
    printed: str


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Played]:
    folder = tmp_path_factory.mktemp("pong")
    teacher = saved(untrained(SHORT, horizon=1, trunk=SMALL, seed=0), folder / "teacher")
    student = saved(untrained(SHORT, horizon=4, trunk=SMALL, seed=1), folder / "student")
    arguments = Arguments(teacher=str(teacher), students=(str(student),), commitments=(1, 4, 8), out=folder / "table")
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(io.StringIO()) as printed:
        patch.setattr(pong_table, "N_GAMES", 2)
        assert main(arguments) == 0
        yield Played(arguments, printed.getvalue())
        pong_table.games.cache_clear()


def test_every_policy_has_its_row(played: Played) -> None:
    assert (played.arguments.out / "pong-table.md").read_text() + "\n" == played.printed
    lines = [line for line in played.printed.splitlines() if line.startswith("| ")]
    found = [line for line in lines if not line.startswith(("| policy", "| ---"))]
    student = played.arguments.students[0]
    policies = ["teacher | 1", f"{student} | 1", f"{student} | 4", "action repeat | 4", "action repeat | 8"]
    assert [line.removeprefix("| ").rsplit(" | ", 7)[0] for line in found] == 2 * policies
    assert "### Without sticky actions" in played.printed
    assert "### Sticky actions 0.25" in played.printed


def test_the_unseen_games_are_those_that_evaluate_plays(played: Played) -> None:
    student, prefix = played.arguments.students[0], (20, 60)
    words = {"episodes": 2, "runs": 1, "random_prefix": prefix, "commitment": 4, "sticky": 0.25}
    told = api.evaluate(student, observe_always=True, **words)  # type: ignore[arg-type]
    [file] = played.arguments.out.glob("[!rt]*-n4-random-actions-20to60-seed0-sticky0.25.json")
    found = read_json(file)
    assert (found["returns"], found["lengths"]) == (told.runs[0].returns, told.runs[0].lengths)
    assert found["evaluations_per_episode"] == told.evaluations_per_episode == 10
    assert 0 < found["reversals"] <= found["changes"] <= 1
    steady = read_json(next(played.arguments.out.glob("repeat-*-n8-idle-frames-sticky0.json")))
    assert steady["changes"] <= 4 / 39, "forty steps, of which every eighth may differ from the one before"


def test_what_was_played_is_not_played_again(played: Played, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, again = played.arguments.out, list[int]()
    assert len(list(folder.glob("*.json"))) == 20, "five rows, two test sets, with and without sticky actions"
    text, play = (folder / "pong-table.md").read_text(), pong_table.play

    def noted(row: pong_table.Row, *rest: object) -> object:
        again.append(row.n)
        return play(row, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(pong_table, "play", noted)
    next(folder.glob("repeat-*-n8-idle*")).unlink()
    assert main(played.arguments) == 0
    assert again == [8]
    assert (folder / "pong-table.md").read_text() == text


def test_another_game_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="must be Pong"):
        main(Arguments(teacher=str(saved(corridor_teacher(), tmp_path / "teacher")), out=tmp_path / "table"))


@pytest.mark.parametrize("run", [0, 1])
def test_unseen_starts_are_those_that_an_evaluation_plays(run: int) -> None:
    env = corridor(slip=0.3, max_steps=30)
    planner = TablePlanner.random(np.random.default_rng(5), 5, 3, 2)
    settings = EvaluationSettings(
        limit=Limit(episodes=12), runs=2, seed=3, options=RunOptions(prefix=(1, 3)), with_bound=False
    )
    timed = evaluate_planner(planner, env, settings, model="table", backend="table", machine={}).runs[run]
    vector = VectorSplit([corridor(slip=0.3, max_steps=30) for _ in range(5)], "disabled")
    played = play_episodes(planner, vector, unseen_starts(2, 12, (1, 3), seed=3, run=run))
    assert played.lengths.tolist() == timed.lengths
    assert played.returns.tolist() == timed.returns
    assert played.evaluations.tolist() == timed.looks


def test_unseen_starts_are_as_asked_and_no_training_meets_them() -> None:
    starts = unseen_starts(6)
    assert len(starts) == len(set(starts)) == 30
    assert {len(start.prefix) for start in starts} <= set(range(20, 61))
    assert starts == unseen_starts(6), "seeded"
    assert not set(starts) & {*unseen_starts(6, seed=1), *unseen_starts(6, run=1)}
    for seed in range(5):  # what `record_teacher` draws from
        streams = Streams(seed)
        seeds = [streams.integer("record-env", index) for index in range(200)]
        recorded = random_starts(seeds, 6, streams.rng("record-prefix"), prefix=(20, 60))
        assert not {start.prefix for start in starts} & {start.prefix for start in recorded}
    with pytest.raises(SettingError, match="need a prefix of 1 <= low <= high actions, got 0:60"):
        unseen_starts(6, prefix=(0, 60))
