"""Run a training of either stage to its end: checkpoints, metrics (TensorBoard and JSON lines), interruption, resuming."""

from __future__ import annotations

import signal
import threading
import time
from types import FrameType, TracebackType
from typing import Any, Protocol, runtime_checkable

from torch import Tensor

from phr.errors import NonFiniteError
from phr.progress import OnProgress, Progress, silent
from phr.storage.model import RunDirectory

LOG_EVERY = 50
"""Updates between two rows of metrics."""

_PROGRESS_SECONDS = 0.1
RARE_METRICS = {"greedy_return", "refine/round"}
"""Rare metrics; a row with one of them is always written."""


@runtime_checkable
class Trainable(Protocol):
    """A training that advances by updates and can be resumed from a checkpoint, bit for bit."""

    @property
    def n_updates(self) -> int:
        """Updates done so far."""
        ...

    @property
    def done(self) -> bool:
        """Whether all updates are done."""
        ...

    def update(self) -> dict[str, float]:
        """Take one gradient step and return its metrics; or do a piece of work before one, which has none."""
        ...

    def averages(self) -> dict[str, float]:
        """Return further metrics; called only when a row is written."""
        ...

    def progress(self) -> Progress:
        """Return how far it is."""
        ...

    def checkpoint(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Return all that `restore` needs, as tensors and JSON values."""
        ...

    def restore(self, tensors: dict[str, Tensor], state: dict[str, Any]) -> None:
        """Go back to where `checkpoint` was taken."""
        ...


def run_training(
    training: Trainable,
    run: RunDirectory | None,
    *,
    on_progress: OnProgress = silent,
    checkpoint_seconds: float = 20.0,
) -> None:
    """Advance a training to its end.

    Args:
        training: The training; continued from the run's checkpoint if there is one.
        run: Folder for checkpoints and metrics; None writes nothing.
        on_progress: Called a few times a second, and at the end.
        checkpoint_seconds: Seconds between two checkpoints; they do not change what is learnt.

    Raises:
        NonFiniteError: If a loss or gradient is not finite; the last good checkpoint stays.
        KeyboardInterrupt: If Ctrl-C is pressed, after a checkpoint.
    """
    if run is not None:
        run.begin()
        if (found := run.load_checkpoint()) is not None:
            training.restore(*found)
        run.rewind_metrics(training.n_updates)
    with MetricsWriter(run, training.progress().done) as metrics, DeferredInterrupt() as interrupt:
        saved, told = time.monotonic(), float("-inf")
        try:
            while not training.done and not interrupt.requested:
                values = training.update()
                now = time.monotonic()
                if now - told > _PROGRESS_SECONDS or training.done:
                    on_progress(training.progress())
                    told = now
                if values and (values.keys() & RARE_METRICS or training.n_updates % LOG_EVERY == 0 or training.done):
                    metrics.write(training.n_updates, training.progress(), values | training.averages())
                if run is not None and now - saved > checkpoint_seconds:
                    run.save_checkpoint(*training.checkpoint())
                    saved = now
        except NonFiniteError as error:
            kept = f"; the last good checkpoint stays in {run.path}" if run is not None and run.has_checkpoint else ""
            raise NonFiniteError(f"{error}{kept}") from error
        if interrupt.requested and run is not None:
            run.save_checkpoint(*training.checkpoint())


class DeferredInterrupt:
    """Lets the present update finish when Ctrl-C is pressed; the block's end raises `KeyboardInterrupt`.

    Otherwise network, optimizer and environments would stop at different moments. A second Ctrl-C interrupts at once.
    Outside the main thread, where no signal arrives, this does nothing.
    """

    def __init__(self) -> None:
        self.requested = False
        self._previous: Any = None

    def __enter__(self) -> DeferredInterrupt:
        if threading.current_thread() is threading.main_thread():
            self._previous = signal.signal(signal.SIGINT, self._note)
        return self

    def _note(self, _signal: int, _frame: FrameType | None) -> None:
        if self.requested:
            raise KeyboardInterrupt
        self.requested = True

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._previous is not None:
            signal.signal(signal.SIGINT, self._previous)
        if self.requested and error is None:
            raise KeyboardInterrupt


class MetricsWriter:
    """Writes `metrics.jsonl` and, where TensorBoard is installed, event files into the run's folder.

    Args:
        run: The run's folder; None writes nothing.
        done: Units done so far; TensorBoard drops later points of an interrupted run, so that no curve doubles.
    """

    def __init__(self, run: RunDirectory | None, done: int = 0) -> None:
        self._run = run
        self._board: Any = None
        if run is not None:
            try:
                from torch.utils.tensorboard import SummaryWriter
            except ImportError:
                return
            self._board = SummaryWriter(str(run.path / "tensorboard"), purge_step=done + 1)

    def __enter__(self) -> MetricsWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._board is not None:
            self._board.close()

    def write(self, update: int, progress: Progress, values: dict[str, float]) -> None:
        """Write one row: the update's number, the units done (`timesteps` or `updates`), and the values."""
        if self._run is None:
            return
        self._run.append_metrics([{"update": update, progress.unit: progress.done, **values}])
        if self._board is not None:
            for name, value in values.items():
                self._board.add_scalar(name, value, progress.done)
