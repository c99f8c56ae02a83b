from __future__ import annotations

import os
import resource
import shutil
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from benchmarks.breaking.forks import in_a_fork
from phr.distil import runs
from phr.errors import CorruptFileError, IncompatibleModelError, NonFiniteError, OutputDirectoryError
from phr.files import append_jsonl, read_jsonl
from phr.interruption import deferred_interrupt
from phr.progress import Progress
from phr.storage import driver
from phr.storage.driver import LOG_EVERY, Trainable, run_training
from phr.storage.model import METRICS, RunDirectory, load_model
from phr.storage.tensors import load_tensors, save_tensors
from tests.trained import CORRIDOR, a2c_config, corridor_teacher


class Counter:
    """A training that counts its updates.

    Args:
        total: Updates in all.
        during: Called in the middle of each update with its number.
    """

    def __init__(self, total: int, during: Callable[[int], None] = lambda _number: None) -> None:
        self.n_updates, self._total, self._during = 0, total, during

    @property
    def done(self) -> bool:
        return self.n_updates >= self._total

    def averages(self) -> dict[str, float]:
        return {"average": 1.0}

    def progress(self) -> Progress:
        return Progress("counting", self.n_updates, self._total, "updates")

    def update(self) -> dict[str, float]:
        self._during(self.n_updates + 1)
        self.n_updates += 1
        return {"square": float(self.n_updates**2)}

    def checkpoint(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        return {"count": torch.tensor(self.n_updates)}, {"n_updates": self.n_updates}

    def restore(self, tensors: dict[str, Tensor], state: dict[str, Any]) -> None:
        assert int(tensors["count"]) == state["n_updates"]
        self.n_updates = state["n_updates"]


def interrupt(_number: int = 0) -> None:
    os.kill(os.getpid(), signal.SIGINT)


def interrupt_at(wanted: int) -> Callable[[int], None]:
    return lambda number: interrupt() if number == wanted else None


def break_at(wanted: int) -> Callable[[int], None]:
    def during(number: int) -> None:
        if number == wanted:
            raise NonFiniteError("loss nan")

    return during


def open_run(path: Path) -> RunDirectory:
    return RunDirectory(path / "run", {"command": "count"}, resume=True)


def checkpointed(run: RunDirectory) -> int | None:
    found = run.load_checkpoint()
    return None if found is None else int(found[1]["n_updates"])


def test_a_counter_is_trainable() -> None:
    assert isinstance(Counter(1), Trainable)


def test_a_training_without_a_folder_runs_to_its_end() -> None:
    training, reports = Counter(3), list[Progress]()
    run_training(training, None, on_progress=reports.append)
    assert training.done
    assert (reports[0].done, reports[-1].done) == (1, 3)


def test_metrics_are_written_now_and_then_and_at_the_end(tmp_path: Path) -> None:
    run = open_run(tmp_path)
    run_training(Counter(2 * LOG_EVERY + 7), run)
    rows = read_jsonl(run.path / METRICS)
    updates = [LOG_EVERY, 2 * LOG_EVERY, 2 * LOG_EVERY + 7]
    assert rows == [{"update": n, "updates": n, "square": n**2, "average": 1.0} for n in updates]


def test_a_row_with_a_greedy_evaluation_is_always_written(tmp_path: Path) -> None:
    class Evaluated(Counter):
        def update(self) -> dict[str, float]:
            values = super().update()
            return {**values, "greedy_return": 0.5} if self.n_updates in (3, 4) else values

    run = open_run(tmp_path)
    run_training(Evaluated(6), run)
    assert [row["update"] for row in read_jsonl(run.path / METRICS)] == [3, 4, 6]


def test_tensorboard_gets_the_metrics_too(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run = open_run(tmp_path)
    run_training(Counter(3), run)
    events = EventAccumulator(str(run.path / "tensorboard"))
    events.Reload()
    assert [(event.step, event.value) for event in events.Scalars("square")] == [(3, 9)]


def test_a_resumed_curve_does_not_double(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Updates 4 and 5 are drawn, lost with the process, and done again."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.summary.writer import event_file_writer

    monkeypatch.setattr(driver, "LOG_EVERY", 1)
    # Files of one process and second are numbered, and read in the order of their names: 10 before 9.
    monkeypatch.setattr(event_file_writer, "_global_uid", event_file_writer.AtomicCounter(0))
    run = open_run(tmp_path)
    run_training(Counter(3), run, checkpoint_seconds=-1.0)
    with pytest.raises(NonFiniteError):
        run_training(Counter(9, break_at(6)), run, checkpoint_seconds=1e6)
    assert checkpointed(run) == 3
    run_training(Counter(7), open_run(tmp_path))
    events = EventAccumulator(str(run.path / "tensorboard"))
    events.Reload()
    assert [(event.step, event.value) for event in events.Scalars("square")] == [(n, n**2) for n in range(1, 8)]


def test_checkpoints_are_written_as_often_as_asked_for(tmp_path: Path) -> None:
    run = open_run(tmp_path)
    seen: list[int | None] = []
    run_training(Counter(3, lambda _number: seen.append(checkpointed(run))), run, checkpoint_seconds=-1.0)
    assert seen == [None, 1, 2]
    run_training(Counter(9), rare := open_run(tmp_path / "rare"), checkpoint_seconds=1e6)
    assert checkpointed(rare) is None


def test_a_training_goes_on_from_its_checkpoint(tmp_path: Path) -> None:
    run = open_run(tmp_path)
    with pytest.raises(NonFiniteError):
        run_training(Counter(9, break_at(6)), run, checkpoint_seconds=-1.0)
    numbers: list[int] = []
    run_training(Counter(9, numbers.append), open_run(tmp_path))
    assert numbers == [6, 7, 8, 9]


@pytest.mark.parametrize("last_checkpoint", [None, 40, 120])
def test_metrics_after_the_checkpoint_are_rewound(tmp_path: Path, last_checkpoint: int | None) -> None:
    run = open_run(tmp_path)
    run.begin()
    append_jsonl(run.path / METRICS, [{"update": n, "updates": n, "square": -1} for n in (LOG_EVERY, 2 * LOG_EVERY)])
    if last_checkpoint is not None:
        run.save_checkpoint({"count": torch.tensor(last_checkpoint)}, {"n_updates": last_checkpoint})
    run_training(Counter(3 * LOG_EVERY), open_run(tmp_path))
    rows = {row["update"]: row["square"] for row in read_jsonl(run.path / METRICS)}
    assert list(rows) == [LOG_EVERY, 2 * LOG_EVERY, 3 * LOG_EVERY]
    assert rows[LOG_EVERY] == (-1 if last_checkpoint == 120 else LOG_EVERY**2)


def test_a_number_that_is_not_finite_leaves_the_last_good_checkpoint(tmp_path: Path) -> None:
    run = open_run(tmp_path)
    with pytest.raises(NonFiniteError, match=f"^loss nan; the last good checkpoint stays in {run.path}$"):
        run_training(Counter(9, break_at(6)), run, checkpoint_seconds=-1.0)
    assert checkpointed(run) == 5


def test_no_checkpoint_is_promised_where_there_is_none(tmp_path: Path) -> None:
    for run in (None, open_run(tmp_path)):
        with pytest.raises(NonFiniteError, match="^loss nan$"):
            run_training(Counter(9, break_at(6)), run)


def test_ctrl_c_lets_the_update_finish_and_leaves_a_checkpoint(tmp_path: Path) -> None:
    run = open_run(tmp_path)
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        run_training(Counter(9, interrupt_at(4)), run)
    assert checkpointed(run) == 4
    assert signal.getsignal(signal.SIGINT) is before
    run_training(resumed := Counter(9), open_run(tmp_path))
    assert resumed.done


def test_ctrl_c_in_the_last_update_loses_nothing(tmp_path: Path) -> None:
    run = open_run(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        run_training(Counter(4, interrupt_at(4)), run)
    assert checkpointed(run) == 4
    numbers: list[int] = []
    run_training(Counter(4, numbers.append), open_run(tmp_path))
    assert numbers == []


def test_ctrl_c_stops_a_training_without_a_folder() -> None:
    training = Counter(9, interrupt_at(4))
    with pytest.raises(KeyboardInterrupt):
        run_training(training, None)
    assert training.n_updates == 4


def test_a_second_ctrl_c_interrupts_at_once() -> None:
    reached = []
    before = signal.getsignal(signal.SIGINT)

    def press_twice() -> None:
        with deferred_interrupt():
            interrupt()
            reached.append("after the first")
            interrupt()
            reached.append("after the second")

    with pytest.raises(KeyboardInterrupt):
        press_twice()
    assert reached == ["after the first"]
    assert signal.getsignal(signal.SIGINT) is before


def test_an_error_wins_over_a_deferred_interrupt() -> None:
    def fail() -> None:
        with deferred_interrupt():
            interrupt()
            raise NonFiniteError("loss nan")

    with pytest.raises(NonFiniteError):
        fail()


def test_a_training_in_a_thread_leaves_signals_alone() -> None:
    training = Counter(3)
    before = signal.getsignal(signal.SIGINT)
    handlers = []
    training._during = lambda _number: handlers.append(signal.getsignal(signal.SIGINT))
    thread = threading.Thread(target=run_training, args=(training, None))
    thread.start()
    thread.join()
    assert training.done
    assert handlers == [before] * 3


def test_a_full_disk_names_the_file_and_what_is_left(tmp_path: Path) -> None:
    """In a process of its own, whose files may not grow beyond some size."""

    def train(limit: int) -> int:
        def work() -> int:
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
            often = 1e-6 if limit > 0 else 20.0
            try:
                runs.train_teacher(CORRIDOR, a2c_config(), tmp_path / "run", resume=True, checkpoint_seconds=often)
            except OutputDirectoryError as error:
                (tmp_path / "said").write_text(str(error))
                return 3
            return 0

        return in_a_fork(work)

    assert train(20_000) == 3
    said = (tmp_path / "said").read_text()
    assert "latest.safetensors cannot be written: " in said
    assert "File too large" in said
    assert said.endswith(f"; the last good checkpoint stays in {tmp_path / 'run'}")
    assert not list(tmp_path.rglob(".phr-*"))
    assert train(resource.RLIM_INFINITY) == 0
    assert load_model(tmp_path / "run", CORRIDOR).sha256 == corridor_teacher().sha256


def drop(tensors: dict[str, Tensor], part: str) -> None:
    for name in [each for each in tensors if part in each]:
        del tensors[name]


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda tensors, state: state.pop("n_updates"), "missing required field `n_updates`"),
        (lambda tensors, state: state.update(collector=3), "does not hold what a checkpoint does: .*got `int`"),
        (lambda tensors, state: state.update(n_updates="1"), "Expected `int`, got `str` at `n_updates`"),
        (lambda tensors, state: state.update(n_updates=-1), "n_updates"),
        (lambda tensors, state: state["collector"].update(recent=[[1.0, 0]]), "recent"),
        (lambda tensors, state: state["collector"].update(returns=["a"] * 4), "returns"),
        (lambda tensors, state: state["collector"].update(returns=[0.0], lengths=[0]), "its state has 1 environments, not "),
        (lambda tensors, state: state["collector"].update(rng="dice"), "does not hold what a checkpoint does: "),
        (lambda tensors, state: tensors.update({"optimizer.0.square_avg": torch.zeros(3)}), "does not fit the optimizer"),
        (lambda tensors, state: tensors.update({"optimizer.99.step": torch.zeros(())}), "does not fit the optimizer"),
        (
            lambda tensors, state: tensors.update({"optimizer.0.step": torch.zeros((), dtype=torch.int64)}),
            "does not fit the opt",
        ),
        (lambda tensors, state: drop(tensors, "square_avg"), "the optimizer's state is not the one that it keeps"),
        (lambda tensors, state: drop(tensors, "optimizer."), "the optimizer's state is missing"),
        (lambda tensors, state: tensors.pop("network.plan_head.bias"), "the stored weights do not fit the network"),
    ],
)
def test_a_forged_checkpoint_is_refused_by_its_types_and_shapes(
    tmp_path: Path, spoil: Callable[[dict[str, Tensor], dict[str, Any]], Any], message: str
) -> None:
    """One whose hash is right."""

    def press(report: Progress) -> None:
        if report.done > 1000:
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        runs.train_teacher(CORRIDOR, a2c_config(), tmp_path / "run", on_progress=press)
    path = tmp_path / "run" / "checkpoint" / "latest.safetensors"
    tensors, state = load_tensors(path)
    spoil(tensors, state)
    save_tensors(path, tensors, state)
    with pytest.raises((CorruptFileError, IncompatibleModelError), match=message):
        runs.train_teacher(CORRIDOR, a2c_config(), tmp_path / "run", resume=True)


@pytest.mark.parametrize("row", ['{"update": "x"}', '{"steps": 3}', "[1]", "3", '{"update": true}', '{"update": 1.5}'])
def test_foreign_rows_of_metrics_are_refused(tmp_path: Path, row: str) -> None:
    run = RunDirectory(tmp_path / "run", {}, resume=False)
    run.begin()
    (tmp_path / "run" / METRICS).write_text(f'{{"update": 1}}\n{row}\n{{"update": 2}}\n')
    with pytest.raises(CorruptFileError, match=r"metrics\.jsonl.* was edited: "):
        run.rewind_metrics(5)


def test_a_folder_that_vanishes_is_one_line(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """TensorBoard's thread meets it first; its own traceback is not shown."""
    run, before = tmp_path / "run", threading.excepthook

    def vanish(_progress: Progress) -> None:
        shutil.rmtree(run, ignore_errors=True)

    with pytest.raises(OutputDirectoryError, match="run.* cannot be written: No such file or directory"):
        runs.train_teacher(CORRIDOR, a2c_config(), run, on_progress=vanish)
    assert "Traceback" not in capfd.readouterr().err
    assert threading.excepthook is before
