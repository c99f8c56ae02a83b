"""A folder that holds one training: its settings, its progress and, in the end, its model."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from torch import Tensor

from phr.errors import CorruptFileError, OutputDirectoryError
from phr.files import append_jsonl, atomic_path, check_directory, read_json, read_jsonl, write_json
from phr.manifest import COMPLETE, Manifest
from phr.networks.policy import PlanNetwork
from phr.storage.model import CHECKPOINT, CONFIG, Model, save_model
from phr.storage.tensors import load_tensors, save_tensors

METRICS = "metrics.jsonl"


class RunDirectory:
    """Opens a folder for one run, or finds it again.

    Args:
        path: The folder; made by `begin` where it is missing.
        config: Everything that is needed to run it again; a run is the same run when this is equal.
        resume: Go on where there is a part, do nothing where all is done.

    Raises:
        OutputDirectoryError: If the folder holds something else, another run, or a part of this one and `resume` is False.
    """

    def __init__(self, path: Path, config: dict[str, Any], *, resume: bool) -> None:
        self.path = path
        self._config: dict[str, Any] = json.loads(json.dumps(config))  # tuples are read back as lists
        check_directory(path)
        present = {entry.name for entry in path.iterdir()} if path.exists() else set()
        if present and CONFIG not in present:
            raise OutputDirectoryError(f"{path} is not empty and holds no run of ours; choose another folder")
        if CONFIG in present:
            self._check_same_run(resume, present)

    def _check_same_run(self, resume: bool, present: set[str]) -> None:
        before = read_json(self.path / CONFIG)
        if not isinstance(before, dict):
            raise CorruptFileError(f"{self.path / CONFIG} was edited: it holds no settings")
        if before != self._config:
            difference = _difference(before, self._config)
            if "total_timesteps" in difference:
                difference += " (rates fall over the whole length of a run, so none is made longer)"
            raise OutputDirectoryError(f"{self.path} holds another run: {difference}; choose another folder")
        if not resume and present & {COMPLETE, CHECKPOINT}:
            state = "a finished run" if COMPLETE in present else "a part of this run"
            raise OutputDirectoryError(f"{self.path} holds {state}; add --resume, or choose another folder")

    def begin(self) -> None:
        """Make the folder and write the settings; what failed before leaves nothing behind."""
        if not (self.path / CONFIG).exists():
            write_json(self.path / CONFIG, self._config)

    @property
    def is_complete(self) -> bool:
        """Whether the run has ended and its model is written."""
        return (self.path / COMPLETE).exists()

    @property
    def has_checkpoint(self) -> bool:
        """Whether there is a part to go on from."""
        return self._checkpoint.exists()

    @property
    def _checkpoint(self) -> Path:
        return self.path / CHECKPOINT / "latest.safetensors"

    def save_checkpoint(self, tensors: dict[str, Tensor], state: dict[str, Any]) -> None:
        """Keep what resuming needs; the previous checkpoint stays until this one is whole."""
        save_tensors(self._checkpoint, tensors, state)

    def load_checkpoint(self) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
        """The last checkpoint, None where there is none.

        Raises:
            CorruptFileError: If it is truncated or edited.
        """
        if not self.has_checkpoint:
            return None
        tensors, state = load_tensors(self._checkpoint)
        if not isinstance(state, dict):
            raise CorruptFileError(f"{self._checkpoint} carries no training state")
        return tensors, state

    def append_metrics(self, rows: list[dict[str, Any]]) -> None:
        """Add rows to `metrics.jsonl`."""
        append_jsonl(self.path / METRICS, rows)

    def rewind_metrics(self, n_updates: int) -> None:
        """Drop the rows that were written after the checkpoint that a resumed run starts from."""
        path = self.path / METRICS
        rows = [row for row in read_jsonl(path) if row["update"] <= n_updates]
        with atomic_path(path) as temporary:
            append_jsonl(temporary, rows)

    def finish(self, network: PlanNetwork, manifest: Manifest) -> Model:
        """Write the model and its manifest, then the completion marker; the checkpoint is dropped."""
        model = save_model(self.path, network, manifest)
        shutil.rmtree(self.path / CHECKPOINT, ignore_errors=True)
        return model


def _difference(before: dict[str, Any], now: dict[str, Any], prefix: str = "") -> str:
    for key in sorted({*before, *now}):
        old, new = before.get(key), now.get(key)
        if isinstance(old, dict) and isinstance(new, dict) and old != new:
            return _difference(old, new, f"{prefix}{key}.")
        if old != new:
            return f"{prefix}{key} is {old!r} there and {new!r} here"
    return "same settings"
