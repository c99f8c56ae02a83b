"""The description of a model, `manifest.json`."""

from __future__ import annotations

import importlib.metadata
import math
import platform
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Annotated, Any, Literal, NotRequired, TypedDict

import numpy as np
from msgspec import Meta

from phr.actions import ActionSpace, action_space_from_json, whole_numbers
from phr.errors import CorruptFileError, InvalidDataError
from phr.files import as_kind, read_json, sha256_of, write_json
from phr.observations import ObservationSpec
from phr.plan import temperature_of

__all__ = ["COMPLETE", "MANIFEST", "Manifest", "library_versions"]

FORMAT, MANIFEST, COMPLETE = "phr-model-1", "manifest.json", "COMPLETE"
ModelKind = Literal["teacher", "student"]

_Shares = Annotated[list[float | None], Meta(min_length=1)]
"""Of agreement, head by head; None where it was not measured."""


class _Round(TypedDict, total=False):
    windows: int
    before: _Shares
    after: _Shares


class _Calibration(TypedDict):
    error: float
    reliability: Annotated[list[tuple[float, float, Annotated[float, Meta(gt=0)]]], Meta(min_length=1)]


class _Curve(TypedDict):
    episodes: int
    zero: float
    zero_is: str
    teacher_return: float
    shares: Annotated[dict[Annotated[str, Meta(pattern=r"^[1-9][0-9]{0,3}$")], float], Meta(min_length=1)]


class _Tuned(TypedDict):
    verdict: str
    warnings: NotRequired[list[str]]
    chosen: dict[str, Any] | None
    teacher_return: NotRequired[float]


class Notes(TypedDict, total=False):
    """The notes that phr reads again; others may stand beside them."""

    teacher: str | None
    teacher_id: str | None
    teacher_parameters: int | None
    loss: str
    seed: int
    greedy_return: float
    agreement_per_head: _Shares
    refinement: list[_Round]
    calibration: _Calibration
    curve: _Curve
    not_compared: str
    tuned: _Tuned
    distilled_in_seconds: float
    lowered: dict[str, int]
    warnings: list[str]
    doubts: list[str]
    untrained: bool


class _Noted(TypedDict):
    notes: Notes


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """A model's description, `manifest.json`.

    Attributes:
        obs_dtype: As numpy names it.
        n_actions: Numbers that the network outputs for one action: the size of a discrete action space.
        commitment: How much of a plan to execute by default: a number of actions, `{"threshold": x}` for a joint confidence
            (`phr.acting.commitment`), or None for the whole horizon.
        network: The layers, as `NetworkConfig.to_json` wrote them.
        files: Name → SHA-256 of every file that belongs to the model.
        notes: Anything a person should know (teacher, loss, results).
        action_space: What the actions are, as `ActionSpace.to_json` wrote it; None, and not in the file, for Discrete.
    """

    kind: ModelKind
    env_id: str
    obs_shape: tuple[int, ...]
    obs_dtype: str
    n_actions: int
    horizon: int
    network: dict[str, Any]
    commitment: int | dict[str, float] | None = None
    files: dict[str, str] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    notes: dict[str, Any] = field(default_factory=dict)
    action_space: dict[str, Any] | None = None

    @property
    def actions(self) -> ActionSpace:
        """What the actions are."""
        return action_space_from_json(self.action_space, self.n_actions)

    @property
    def obs_spec(self) -> ObservationSpec:
        """What the model reads."""
        return ObservationSpec(self.obs_shape, np.dtype(self.obs_dtype), float(self.network.get("obs_scale", 1.0)))

    def write(self, directory: Path) -> None:
        """Write `manifest.json`."""
        write_json(directory / MANIFEST, self.to_json())

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        values = {"format": FORMAT, **asdict(self)}
        if self.action_space is None:
            del values["action_space"]
        return values

    @classmethod
    def from_json(cls, values: Any, name: str) -> Manifest:
        """Read the values of `to_json`; CorruptFileError, naming the file `name`, for any that it cannot have written."""
        if not isinstance(values, dict) or values.get("format") != FORMAT:
            raise CorruptFileError(f"{name} was not written by phr (format {FORMAT})")
        values = {key: value for key, value in values.items() if key != "format"}
        if unknown := values.keys() - {entry.name for entry in fields(cls)}:
            raise CorruptFileError(f"{name} was edited: it has the entry {min(unknown)!r}")
        manifest = as_kind(values, cls, name)
        as_kind({"notes": manifest.notes}, _Noted, name)
        try:
            manifest._check()
        except (TypeError, ValueError, InvalidDataError) as error:
            raise CorruptFileError(f"{name} was edited: {error}") from error
        return manifest

    def _check(self) -> None:
        """Raise TypeError, ValueError or InvalidDataError for the first value that only an edited file can contain."""
        if np.dtype(self.obs_dtype).kind not in "biuf":
            raise ValueError(f"obs_dtype must be a number type, got {self.obs_dtype!r}")
        whole_numbers([*self.obs_shape, self.n_actions, self.horizon])
        if isinstance(self.commitment, dict):
            if self.commitment.keys() != {"threshold"} or not 0 <= self.commitment["threshold"] <= 1:
                raise ValueError(f"the commitment must be a number or {{'threshold': 0 .. 1}}, got {self.commitment!r}")
        elif self.commitment is not None:
            whole_numbers([self.commitment])
            if self.commitment > self.horizon:
                raise ValueError(f"the commitment {self.commitment} is longer than the horizon {self.horizon}")
        if any(Path(name).name != name for name in self.files):
            raise ValueError("it names a file of another folder")
        scale: Any = self.network.get("obs_scale", 1.0)
        if type(scale) not in (int, float) or not 0 < scale < math.inf:
            raise ValueError(f"obs_scale must be a positive number, got {scale!r}")
        for name in ("label_smoothing", "first_smoothing"):
            smoothing = self.network.get(name, 0.0)
            if type(smoothing) not in (int, float) or not 0 <= smoothing < 1:
                raise ValueError(f"{name} must lie in 0 .. 1, 1 excluded, got {smoothing!r}")
        _ = self.actions, temperature_of(self.network, self.horizon)

    @classmethod
    def read(cls, directory: Path) -> Manifest:
        """Read `manifest.json` and check the hash of every file it names."""
        manifest = cls.from_json(read_json(directory / MANIFEST), str(directory / MANIFEST))
        for name, digest in manifest.files.items():
            path = directory / name
            if not path.exists():
                raise CorruptFileError(f"{path} is missing")
            if sha256_of(path) != digest:
                raise CorruptFileError(f"{path} was truncated or edited: its SHA-256 is not the one in {MANIFEST}")
        return manifest


def library_versions(*names: str) -> dict[str, str]:
    """Installed versions of Python, phr and these distributions; those not installed are left out."""
    versions = {"python": platform.python_version()}
    for name in ("phr", *names):
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions
