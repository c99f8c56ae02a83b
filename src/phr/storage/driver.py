"""Run a training of either stage to its end: checkpoints, metrics (TensorBoard and JSON lines), interruption, resuming."""

from __future__ import annotations

import time
from contextlib import closing, nullcontext
from typing import Any, Protocol, runtime_checkable

from torch import Tensor

from phr.errors import BrokenEnvironmentError, CorruptFileError, NonFiniteError, OutputDirectoryError, error_text
from phr.files import append_jsonl
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
    board = None if run is None else _tensorboard(run, max(training.n_updates, training.progress().done))
    with nullcontext() if board is None else closing(board), deferred_interrupt() as pressed:
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
                    if board is not None:
                        for name, value in values.items():
                            board.add_scalar(name, value, at.done)
                if run is not None and now - saved > checkpoint_seconds:
                    run.save_checkpoint(*training.checkpoint())
                    saved = now
        except (NonFiniteError, BrokenEnvironmentError, OutputDirectoryError) as error:
            kept = f"; the last good checkpoint stays in {run.path}" if run is not None and run.has_checkpoint else ""
            raise type(error)(f"{error}{kept}") from error
        if pressed and run is not None:
            run.save_checkpoint(*training.checkpoint())


def _tensorboard(run: RunDirectory, done: int) -> Any:
    """A writer of event files, where TensorBoard is installed; it drops an interrupted run's points after `done` units."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return None
    return SummaryWriter(str(run.path / "tensorboard"), purge_step=done + 1)
