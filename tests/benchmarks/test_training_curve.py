from __future__ import annotations

import csv
from pathlib import Path

import pytest

from benchmarks.training_curve import Arguments, main, rows_of
from phr import api
from phr.errors import UsageError
from phr.files import read_jsonl


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("curve") / "run"
    api.train_teacher("CartPole-v1", out=directory, total_timesteps=8_000, seed=1)
    return directory


def test_every_return_that_was_written_is_in_the_curve(run: Path) -> None:
    written = [row for row in read_jsonl(run / "metrics.jsonl") if "episode_return" in row]
    found = [row for row in rows_of(run / "tensorboard") if "episode_return" in row]
    assert [row["timesteps"] for row in found] == [row["timesteps"] for row in written]
    assert [row["episode_return"] for row in found] == pytest.approx([row["episode_return"] for row in written], rel=1e-6)


def test_minutes_never_fall(run: Path) -> None:
    rows = rows_of(run / "tensorboard")
    sampled = [row["minutes"] for row in rows if "episode_return" in row]
    assert sampled == sorted(sampled)
    assert 0 <= sampled[0] < sampled[-1] < 5


def test_figures_and_table_are_written(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(Arguments(run=(run,), out=tmp_path)) == 0
    assert {"steps.png", "minutes.png", "curve.csv"} <= {file.name for file in tmp_path.iterdir()}
    with (tmp_path / "curve.csv").open() as file:
        assert len(list(csv.DictReader(file))) == len(rows_of(run / "tensorboard"))
    assert "| steps | minutes | sampled return |" in capsys.readouterr().out


def test_a_later_training_begins_where_the_first_ended(run: Path, tmp_path: Path) -> None:
    assert main(Arguments(run=(run, run), out=tmp_path)) == 0
    with (tmp_path / "curve.csv").open() as file:
        rows = list(csv.DictReader(file))
    steps, minutes = ([float(row[counter]) for row in rows] for counter in ("timesteps", "minutes"))
    half = len(rows) // 2
    assert steps[half:] == [max(steps[:half]) + step for step in steps[:half]]
    assert minutes[half:] == pytest.approx([max(minutes[:half]) + minute for minute in minutes[:half]], rel=1e-3)


def test_a_run_without_returns_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="must contain TensorBoard files"):
        main(Arguments(run=(tmp_path,), out=tmp_path))
