"""A trained model in memory, and its folder on disk."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from phr.envs.registry import env_id_of_file
from phr.errors import CorruptFileError, IncompatibleModelError
from phr.files import ensure_directory, sha256_of, write_text
from phr.manifest import COMPLETE, Manifest
from phr.networks.config import NetworkConfig
from phr.networks.policy import PlanNetwork, blank_network
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
