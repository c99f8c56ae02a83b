"""A trained model, and the folder of a run: settings, checkpoint, metrics and, in the end, the model."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import Tensor

from phr.envs.registry import env_id_of_file
from phr.errors import CorruptFileError, IncompatibleModelError, OutputDirectoryError
from phr.files import (
    OWN_PREFIX,
    check_directory,
    check_links,
    ensure_directory,
    json_row,
    read_json,
    read_jsonl,
    sha256_of,
    sweep,
    write_json,
    write_text,
)
from phr.manifest import COMPLETE, Manifest
from phr.networks.policy import NetworkConfig, PlanNetwork, TorchPlanner, blank_network, check_shapes
from phr.storage.owner import record_command
from phr.storage.tensors import file_sha256, load_tensors, network_tensors, restore_network, save_tensors

CONFIG, MODEL, CHECKPOINT, METRICS = "config.json", "model.safetensors", "checkpoint", "metrics.jsonl"


@dataclass(frozen=True)
class Model:
    """A network, in evaluation mode, and its manifest; `directory` is its folder on disk, if it has one.

    `env_id_from_file`: its environment's id does not come from the user; a file may name untrusted code.
    """

    network: PlanNetwork
    manifest: Manifest
    directory: Path | None = None
    env_id_from_file: bool = False

    @property
    def planner(self) -> TorchPlanner:
        """Return the network as a planner."""
        return TorchPlanner(self.network, self.manifest.obs_dtype, self.manifest.commitment)

    @property
    def sha256(self) -> str:
        """Return the SHA-256 of its model file, which depends on the weights alone; the file need not exist."""
        return file_sha256(network_tensors(self.network, prefix=""))

    @property
    def horizon(self) -> int:
        """Return the number of actions predicted from one look."""
        return self.manifest.horizon

    @property
    def env_id(self) -> str:
        """Return the id of the environment it was made for."""
        return self.manifest.env_id

    def where(self, env_id: str | None = None, name: str = "") -> str:
        """Return the id of the environment to act in: the user's, else its own; UsageError if a file's would run code."""
        chosen = env_id or (None if self.env_id_from_file else self.env_id)
        return env_id_of_file(self.env_id, chosen, name or str(self.directory))


def save_model(directory: Path, network: PlanNetwork, manifest: Manifest) -> Model:
    """Write `model.safetensors` (tensors alone, so the same weights give the same bytes), then manifest and `COMPLETE`."""
    ensure_directory(directory)
    save_tensors(directory / MODEL, network_tensors(network, prefix=""))
    files = {name: sha256_of(directory / name) for name in (MODEL, CONFIG) if (directory / name).exists()}
    manifest = replace(manifest, files=files)
    manifest.write(directory)
    write_text(directory / COMPLETE, "")
    return Model(network.eval(), manifest, directory)


def load_model(directory: Path, env_id: str | None = None) -> Model:
    """Read a finished run's model, checking every file against its hash; `env_id` is the environment that the user named.

    CorruptFileError if something is missing, truncated or edited; IncompatibleModelError if weights do not fit the manifest.
    """
    if not (directory / COMPLETE).exists():
        hint = "; its run can be resumed with --resume" if (directory / CHECKPOINT).exists() else ""
        raise CorruptFileError(f"{directory} holds no finished model{hint}")
    manifest = Manifest.read(directory)
    if MODEL not in manifest.files:
        raise CorruptFileError(f"{directory}: the manifest does not list {MODEL}")
    config = NetworkConfig.from_json(manifest.network)
    found = (config.obs_shape, config.n_actions, config.horizon)
    listed = (manifest.obs_shape, manifest.n_actions, manifest.horizon)
    if found != listed or config.actions != manifest.actions:
        differ = f"lists (observation, actions, horizon) {listed}, its network {found}"
        raise IncompatibleModelError(f"{directory}: the manifest {differ}")
    tensors = load_tensors(directory / MODEL)[0]
    check_shapes(config, {name: tuple(tensor.shape) for name, tensor in tensors.items()})
    network = blank_network(config)
    restore_network(network, tensors, prefix="")
    return Model(network.eval(), manifest, directory, env_id_from_file=manifest.env_id != env_id)


def annotated(
    model: Model, notes: dict[str, Any], *, commitment: int | dict[str, float] | None = None, write: bool = True
) -> Model:
    """The model with further notes and, if one is given, another default commitment; in its folder too if `write`."""
    chosen = model.manifest.commitment if commitment is None else commitment
    manifest = replace(model.manifest, commitment=chosen, notes={**model.manifest.notes, **notes})
    if write and model.directory is not None:
        manifest.write(model.directory)
    return replace(model, manifest=manifest)


class RunDirectory:
    """The folder of one run, new or existing.

    Two runs are the same if their `config` is. OutputDirectoryError if the folder holds other files, another run, or, unless
    `resume`, a part or all of this one.
    """

    def __init__(self, path: Path, config: dict[str, Any], *, resume: bool) -> None:
        self.path, self.checkpoint = path, path / CHECKPOINT / "latest.safetensors"
        self._config: dict[str, Any] = json.loads(json.dumps(config))  # tuples are read back as lists
        check_directory(path)
        names = {entry.name for entry in path.iterdir()} if path.exists() else set()
        present = {name for name in names if not name.startswith(OWN_PREFIX)}
        if present and CONFIG not in present:
            raise OutputDirectoryError(f"{path} is not empty and is not the folder of a phr run; choose another folder")
        before = read_json(path / CONFIG, dict[str, Any]) if present else self._config
        if before != self._config:
            difference = _difference(before, self._config)
            if "total_timesteps" in difference:
                difference += " (rates fall over the whole length of a run, so none is made longer)"
            raise OutputDirectoryError(f"{path} holds another run: {difference}; choose another folder")
        if not resume and present & {COMPLETE, CHECKPOINT}:
            state = "a finished run" if COMPLETE in present else "a part of this run"
            raise OutputDirectoryError(f"{path} holds {state}; add --resume, or choose another folder")
        check_links(path)
        for folder in (path, path / CHECKPOINT):
            sweep(folder)
        if COMPLETE in present and CHECKPOINT in present:  # it was killed between the two
            shutil.rmtree(path / CHECKPOINT, ignore_errors=True)

    def begin(self) -> None:
        """Make the folder and write the settings."""
        if not (self.path / CONFIG).exists():
            write_json(self.path / CONFIG, self._config)
        record_command(self.path)

    @property
    def is_complete(self) -> bool:
        """Return whether the run has ended and its model is written."""
        return (self.path / COMPLETE).exists()

    @property
    def has_checkpoint(self) -> bool:
        """Return whether there is a checkpoint to resume from."""
        return self.checkpoint.exists()

    def save_checkpoint(self, tensors: dict[str, Tensor], state: dict[str, Any]) -> None:
        """Replace the checkpoint, atomically."""
        save_tensors(self.checkpoint, tensors, state)

    def load_checkpoint(self) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
        """Return the last checkpoint, None if there is none."""
        if not self.has_checkpoint:
            return None
        tensors, state = load_tensors(self.checkpoint, limited=False)  # a run has to find what it wrote
        if not isinstance(state, dict):
            raise CorruptFileError(f"{self.checkpoint} contains no training state")
        return tensors, state

    def rewind_metrics(self, n_updates: int) -> None:
        """Drop the rows written after the checkpoint that a resumed run starts from."""
        rows = read_jsonl(self.path / METRICS)
        if not all(type(row.get("update")) is int for row in rows):
            raise CorruptFileError(f"{self.path / METRICS} was edited: every row is an object with the number of its update")
        rows = [row for row in rows if row["update"] <= n_updates]
        write_text(self.path / METRICS, "".join(map(json_row, rows)))

    def finish(self, network: PlanNetwork, manifest: Manifest) -> Model:
        """Write the model, its manifest and the completion marker, then delete the checkpoint."""
        model = save_model(self.path, network, manifest)
        shutil.rmtree(self.path / CHECKPOINT, ignore_errors=True)
        return model


_HASHED = ("teacher", "experience", "start")
"""Settings of a run that are identities, hashes mostly."""


def _difference(before: dict[str, Any], now: dict[str, Any], prefix: str = "") -> str:
    for key in sorted({*before, *now}):
        old, new = before.get(key), now.get(key)
        if isinstance(old, dict) and isinstance(new, dict) and old != new:
            return _difference(old, new, f"{prefix}{key}.")
        if old != new and key in _HASHED:
            return f"its {key} is another ({str(old)[:12]} there, {str(new)[:12]} here)"
        if old != new:
            return f"{prefix}{key} is {old!r} there and {new!r} here"
    return "same settings"
