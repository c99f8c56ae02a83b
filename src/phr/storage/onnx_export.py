"""Export to ONNX, and the proof that the file answers as the network does.

One file holds everything: the cast and the scaling of the observation, all heads in one output, a free batch axis, the
manifest, and a hash over all of it (`phr.acting.onnx_file`).
"""

from __future__ import annotations

import importlib.util
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray

from phr.acting.onnx_file import seal
from phr.acting.runtime import OBS, PLAN_LOGITS, OnnxPlanner, load_runtime
from phr.actions import Continuous
from phr.envs.registry import make_env
from phr.envs.split import SplitEnv
from phr.errors import IncompatibleModelError, MissingExtraError, OutputDirectoryError, SettingError, UsageError
from phr.evaluation.evaluate import check_fits
from phr.experience.collect import meet_observations, random_observations
from phr.files import atomic_path, ensure_directory
from phr.manifest import Manifest, library_versions
from phr.seeding import Streams
from phr.storage.model import Model
from phr.storage.onnx_int8 import Int8Cost, quantize, quiet
from phr.storage.parity import Agreement, Parity, check_parity, rounding_of

N_REAL, N_RANDOM, N_REAL_INT8 = 192, 64, 1024
"""Observations to compare on; int8 needs more, half to choose its ranges and half to measure what they cost."""
SUFFIX = ".onnx"
_OPSET = 18
"""The exporter's own; onnxruntime has read it since 1.14."""


@dataclass(frozen=True)
class Export:
    """What was written.

    Attributes:
        path: The ONNX file.
        parity: What it was compared on.
        int8_path: The int8 file, None unless asked for.
        int8: What rounding to 8 bits cost, None unless asked for.
    """

    path: Path
    parity: Parity
    int8_path: Path | None = None
    int8: Int8Cost | None = None

    def __str__(self) -> str:
        lines = [f"{self.path} {self.parity}"]
        return "\n".join(lines if self.int8 is None else [*lines, f"{self.int8_path} {self.int8}"])


def export_onnx(model: Model, out: Path, *, int8: bool = False, env_id: str | None = None) -> Export:
    """Write a model as ONNX; nothing is written where it differs from torch.

    Args:
        model: What to export.
        out: The file, `….onnx`; one that is there is replaced.
        int8: Write `….int8.onnx` too, and measure what it costs.
        env_id: Where to meet real observations; the model's own environment by default.

    Raises:
        SettingError: If the file's name does not end in `.onnx`.
        OutputDirectoryError: If it cannot be written there.
        MissingExtraError: If the exporter is not installed.
        ExportMismatchError: If the exported model differs from torch.
        UsageError: If int8 is asked for and there is no environment to choose its ranges in.
    """
    if out.suffix != SUFFIX:
        raise SettingError(f"an exported model is a file named …{SUFFIX}, got {out}")
    ensure_directory(out.parent)
    if out.is_dir():
        raise OutputDirectoryError(f"{out} is a folder; name a file")
    env, without_env = _environment(model, env_id)
    with nullcontext() if env is None else env:
        if int8 and env is None:
            raise UsageError(f"int8 chooses its ranges on real observations, but {without_env}")
        manifest, data = export_manifest(model), onnx_bytes(model)
        exported, rng = OnnxPlanner(data, manifest), Streams(0).rng("export-observations")
        random = _random_observations(model, _space_of(model) if env is None else env.observation_space, rng)
        continuous = isinstance(manifest.actions, Continuous)
        parity = Parity(_compared_at_random(model, exported, random), without_env=without_env, continuous=continuous)
        if env is not None:
            real = meet_observations(model.planner, env, N_REAL_INT8 if int8 else N_REAL, rng)
            # Logits are small where a network was trained; continuous actions are as large as their range.
            rounding = rounding_of(model.network, real[:N_REAL]) if continuous else 0.0
            parity = replace(parity, real=check_parity(model.planner, exported, real[:N_REAL], rounding=rounding))
    _write(out, data, manifest)
    if env is None or not int8:
        return Export(out, parity)
    int8_out = out.with_suffix(f".int8{SUFFIX}")
    int8_data, cost = quantize(data, manifest, real)
    _write(int8_out, int8_data, replace(manifest, notes={**manifest.notes, "int8": cost.to_json()}))
    return Export(out, parity, int8_out, cost)


def onnx_planner(model: Model) -> OnnxPlanner:
    """The model as onnxruntime runs it, without a file; compared with torch on random observations.

    Raises:
        MissingExtraError: If the exporter is not installed.
        ExportMismatchError: If it differs from torch.
    """
    planner = OnnxPlanner(onnx_bytes(model), export_manifest(model))
    _compared_at_random(model, planner, _random_observations(model, _space_of(model), Streams(0).rng("export")))
    return planner


def _compared_at_random(model: Model, exported: OnnxPlanner, obs: NDArray[Any]) -> Agreement:
    """On observations that no environment shows, where activations may be so large that float32 itself loses digits."""
    return check_parity(model.planner, exported, obs, rounding=rounding_of(model.network, obs))


def export_manifest(model: Model) -> Manifest:
    """The model's own manifest, with the versions of what exported it."""
    exporter = library_versions("torch", "onnx", "onnxscript", "onnxruntime")
    return replace(model.manifest, notes={**model.manifest.notes, "exported_with": exporter})


def onnx_bytes(model: Model) -> bytes:
    """The network as a serialised ONNX model, tensors inside; the same weights give the same bytes.

    Raises:
        MissingExtraError: If the exporter is not installed.
    """
    missing = [name for name in ("onnx", "onnxscript") if importlib.util.find_spec(name) is None]
    if missing:
        raise MissingExtraError(f"exporting needs {' and '.join(missing)}; pip install 'phr[train]'")
    # Two rows: the exporter takes an axis of length 1 for a constant.
    example = torch.from_numpy(np.zeros((2, *model.manifest.obs_shape), model.manifest.obs_dtype))
    with quiet():
        program = torch.onnx.export(
            model.network,
            (example,),
            dynamo=True,
            external_data=False,
            verbose=False,
            opset_version=_OPSET,
            input_names=[OBS],
            output_names=[PLAN_LOGITS],
            dynamic_shapes=({0: torch.export.Dim("batch")},),
        )
    assert program is not None
    data: bytes = _bare(program.model_proto).SerializeToString(deterministic=True)
    return data


def _bare(proto: Any) -> Any:
    """Without the exporter's notes, which name files of the machine that ran it."""
    graph = proto.graph
    del proto.metadata_props[:], graph.metadata_props[:], graph.value_info[:]
    for part in (*graph.node, *graph.input, *graph.output, *graph.initializer):
        del part.metadata_props[:]
        part.doc_string = ""
    return proto


def _write(out: Path, data: bytes, manifest: Manifest) -> None:
    try:
        with atomic_path(out) as temporary:
            temporary.write_bytes(seal(data, manifest))
            load_runtime(temporary)
    except OSError as error:
        raise OutputDirectoryError(f"cannot write {out}: {error.strerror}") from error


def _environment(model: Model, env_id: str | None) -> tuple[SplitEnv | None, str]:
    try:
        env = make_env(model.where(env_id))
    except UsageError as error:
        return None, str(error)
    try:
        check_fits(model.planner, env)
    except IncompatibleModelError:
        env.close()
        return None, f"{env.env_id} has other spaces here than the model was made for"
    return env, ""


def _space_of(model: Model) -> spaces.Box:
    """The observation space as far as the manifest records it: bytes end at 255 or 1, other numbers are unbounded."""
    manifest = model.manifest
    dtype: Any = np.dtype(manifest.obs_dtype)
    if dtype.kind == "f":
        return spaces.Box(-np.inf, np.inf, manifest.obs_shape, dtype)
    if dtype.itemsize > 1:
        limits = np.iinfo(dtype)
        return spaces.Box(limits.min, limits.max, manifest.obs_shape, dtype)
    return spaces.Box(0, 1 if manifest.obs_spec.scale == 1.0 else 255, manifest.obs_shape, dtype)


def _random_observations(model: Model, space: spaces.Box, rng: np.random.Generator) -> NDArray[Any]:
    """Random elements of a space, half of them around the mean that a normalising network was trained on."""
    obs, trunk = random_observations(space, N_RANDOM, rng), model.network.trunk
    if not trunk.normalize:
        return obs
    rows = obs[::2]
    near = trunk.obs_mean.numpy() + trunk.obs_deviation.numpy() * rng.normal(size=rows.shape)
    rows[...] = np.clip(near, space.low, space.high).astype(obs.dtype)
    return obs
