"""Run a training of either stage to its end: checkpoints, metrics (TensorBoard and JSON lines), interruption, resuming."""

from __future__ import annotations

import importlib.util
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, Protocol, runtime_checkable

from torch import Tensor

from phr.errors import BrokenEnvironmentError, CorruptFileError, NonFiniteError, OutputDirectoryError, error_text
from phr.files import append_jsonl, writing
from phr.interruption import deferred_interrupt
from phr.progress import OnProgress, Progress, silent
from phr.storage.model import METRICS, RunDirectory

LOG_EVERY = 50
"""Updates between two rows of metrics."""

RARE_METRICS = {"greedy_return", "refine/round", "finetune/policy_loss"}
"""A row with one of these is always written."""

CHECKPOINT_SECONDS = 20.0

_WRONG_TYPES = (KeyError, TypeError, ValueError, AttributeError, IndexError, RuntimeError, OverflowError)
"""What a state raises whose values are of other types, although its hash is right."""

_PROGRESS_SECONDS = 0.1


@runtime_checkable
class Trainable(Protocol):
    """A training that advances by updates and can be resumed from a checkpoint, bit for bit."""

    @property
    def n_updates(self) -> int:
        """Updates done so far."""

    @property
    def done(self) -> bool:
        """Whether all updates are done."""

    def update(self) -> dict[str, float]:
        """Take one gradient step and return its metrics; or do a piece of work before one, which has none."""

    def averages(self) -> dict[str, float]:
        """Return further metrics; called only when a row is written."""

    def progress(self) -> Progress:
        """Return how far it is."""

    def checkpoint(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Return all that `restore` needs, as tensors and JSON values."""

    def restore(self, tensors: dict[str, Tensor], state: dict[str, Any]) -> None:
        """Go back to where `checkpoint` was taken."""


def run_training(
    training: Trainable,
    run: RunDirectory | None,
    *,
    on_progress: OnProgress = silent,
    checkpoint_seconds: float = CHECKPOINT_SECONDS,
) -> None:
    """Advance a training to its end, from the run's checkpoint if there is one; without a run nothing is written.

    NonFiniteError if a loss or gradient is not finite: the last good checkpoint stays. Ctrl-C, and the signals of
    `phr.interruption`, raise after a checkpoint.
    """
    if run is not None:
        run.begin()
        if (found := run.load_checkpoint()) is not None:
            try:
                training.restore(*found)
            except (*_WRONG_TYPES, CorruptFileError) as error:
                raise CorruptFileError(
                    f"{run.checkpoint} does not hold what a checkpoint does: {error_text(error)}"
                ) from error
        run.rewind_metrics(training.n_updates)
    with _board(run, training) as show, deferred_interrupt() as pressed:
        saved, told = time.monotonic(), float("-inf")
        try:
            while not training.done and not pressed:
                values = training.update()
                now = time.monotonic()
                if now - told > _PROGRESS_SECONDS or training.done:
                    on_progress(training.progress())
                    told = now
                is_due = values and (values.keys() & RARE_METRICS or training.n_updates % LOG_EVERY == 0 or training.done)
                if run is not None and is_due:
                    at, values = training.progress(), values | training.averages()
                    append_jsonl(run.path / METRICS, [{"update": training.n_updates, at.unit: at.done, **values}])
                    show(values, at.done)
                if run is not None and now - saved > checkpoint_seconds:
                    run.save_checkpoint(*training.checkpoint())
                    saved = now
        except (NonFiniteError, BrokenEnvironmentError, OutputDirectoryError) as error:
            kept = f"; the last good checkpoint stays in {run.path}" if run is not None and run.has_checkpoint else ""
            raise type(error)(f"{error}{kept}") from error
        if pressed and run is not None:
            run.save_checkpoint(*training.checkpoint())


@contextmanager
def _board(run: RunDirectory | None, training: Trainable) -> Iterator[Callable[[dict[str, float], int], None]]:
    """What shows values in TensorBoard, where it is installed; it drops an interrupted run's points after those restored.

    OutputDirectoryError if its files cannot be written.
    """
    if run is None or importlib.util.find_spec("tensorboard") is None:
        yield lambda _values, _done: None
        return
    from torch.utils.tensorboard import SummaryWriter

    path = run.path / "tensorboard"
    with _errors_of_threads_once():
        with writing(path):
            board = SummaryWriter(str(path), purge_step=max(training.n_updates, training.progress().done) + 1)

        def show(values: dict[str, float], done: int) -> None:
            with writing(path):  # another thread writes, and its errors are raised here
                for name, value in values.items():
                    board.add_scalar(name, value, done)

        try:
            yield show
        except BaseException:
            with suppress(OSError):
                board.close()
            raise
        with writing(path):
            board.close()


@contextmanager
def _errors_of_threads_once() -> Iterator[None]:
    """Do not show an error of the disk that ends TensorBoard's thread: it is raised where values are added, too."""
    before = threading.excepthook

    def hook(what: threading.ExceptHookArgs) -> None:
        if not (isinstance(what.exc_value, OSError) and type(what.thread).__module__.startswith("tensorboard.")):
            before(what)

    threading.excepthook = hook
    try:
        yield
    finally:
        threading.excepthook = before
