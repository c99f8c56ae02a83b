"""A trained model in memory, and its folder on disk."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import Tensor

from phr.envs.factories import env_id_of_file
from phr.errors import CorruptFileError, IncompatibleModelError, OutputDirectoryError
from phr.files import (
    append_jsonl,
    atomic_path,
    check_directory,
    ensure_directory,
    read_json,
    read_jsonl,
    sha256_of,
    write_json,
    write_text,
)
from phr.manifest import COMPLETE, Manifest
from phr.networks.policy import NetworkConfig, PlanNetwork, blank_network
from phr.networks.torch_planner import TorchPlanner
from phr.storage.tensors import file_sha256, load_tensors, network_tensors, restore_network, save_tensors

CONFIG, MODEL, CHECKPOINT = "config.json", "model.safetensors", "checkpoint"


@dataclass(frozen=True)
class Model:
    """A network and what is known of it.

    Attributes:
        network: In evaluation mode.
        manifest: Its identity card.
        directory: Where it lies on disk, None if nowhere.
        hearsay: Its environment's id comes from a file, which may name code of anybody's, and not from the user.
    """

    network: PlanNetwork
    manifest: Manifest
    directory: Path | None = None
    hearsay: bool = False

    @property
    def planner(self) -> TorchPlanner:
        """The network as a planner."""
        return TorchPlanner(self.network, self.manifest.obs_dtype)

    @property
    def sha256(self) -> str:
        """SHA-256 of its model file, also where none was written yet: the same weights have the same."""
        return file_sha256(network_tensors(self.network, prefix=""))

    @property
    def horizon(self) -> int:
        """Actions predicted from one look."""
        return self.manifest.horizon

    @property
    def env_id(self) -> str:
        """The environment it was made for."""
        return self.manifest.env_id

    def where(self, env_id: str | None = None, name: str = "") -> str:
        """The environment to act in: what the user says, else its own.

        Raises:
            UsageError: If nothing is said, and a file's id would run code.
        """
        return env_id_of_file(self.env_id, env_id or (None if self.hearsay else self.env_id), name or str(self.directory))


def save_model(directory: Path, network: PlanNetwork, manifest: Manifest) -> Model:
    """Write `model.safetensors`, `manifest.json` and `COMPLETE`, in this order.

    The model file holds tensors alone, so the same weights give the same bytes.
    """
    ensure_directory(directory)
    save_tensors(directory / MODEL, network_tensors(network, prefix=""))
    files = {name: sha256_of(directory / name) for name in (MODEL, CONFIG) if (directory / name).exists()}
    complete = replace(manifest, files=files)
    complete.write(directory)
    write_text(directory / COMPLETE, "")
    return Model(network.eval(), complete, directory)


def load_model(directory: Path) -> Model:
    """Read a finished run's model; every file is checked against its hash.

    Raises:
        CorruptFileError: If something is missing, truncated or edited.
        IncompatibleModelError: If the weights do not fit the network that the manifest describes.
    """
    if not (directory / COMPLETE).exists():
        part = (directory / CHECKPOINT).exists()
        raise CorruptFileError(
            f"{directory} holds no finished model" + ("; its run can be resumed with --resume" if part else "")
        )
    manifest = Manifest.read(directory)
    if MODEL not in manifest.files:
        raise CorruptFileError(f"{directory}: the manifest names no {MODEL}")
    config = NetworkConfig.from_json(manifest.network)
    found = (config.obs_shape, config.n_actions, config.horizon)
    said = (manifest.obs_shape, manifest.n_actions, manifest.horizon)
    if found != said or config.actions != manifest.actions:
        raise IncompatibleModelError(
            f"{directory}: the manifest says (observation, actions, horizon) {said}, its network {found}"
        )
    network = blank_network(config)
    tensors, _ = load_tensors(directory / MODEL)
    restore_network(network, tensors, prefix="")
    return Model(network.eval(), manifest, directory, hearsay=True)


def load_own(directory: Path, env_id: str) -> Model:
    """Read the model of a run in an environment that the user named; for errors see `load_model`."""
    model = load_model(directory)
    return replace(model, hearsay=model.env_id != env_id)


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
