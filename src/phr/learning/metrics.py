"""Metrics of a training, for people (TensorBoard) and for programs (JSON lines)."""

from __future__ import annotations

from types import TracebackType
from typing import TYPE_CHECKING, Any

from phr.storage.run_directory import RunDirectory

if TYPE_CHECKING:
    from phr.progress import Progress


class MetricsWriter:
    """Writes `metrics.jsonl` and, where TensorBoard is installed, event files into the run's folder.

    Args:
        run: The run's folder; None writes nothing.
        done: Units done so far; what an interrupted run drew beyond them is taken back, so that no curve doubles.
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
        """One row: the update's number, the units done (`timesteps` or `updates`), and the values."""
        if self._run is None:
            return
        self._run.append_metrics([{"update": update, progress.unit: progress.done, **values}])
        if self._board is not None:
            for name, value in values.items():
                self._board.add_scalar(name, value, progress.done)
