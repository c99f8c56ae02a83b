"""Export to ONNX, with the manifest and a hash (`phr.acting.onnx_file`), and the check that the result matches torch."""

from __future__ import annotations

import copy
import importlib.util
import logging
import shlex
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray

from phr.acting.onnx_file import seal
from phr.acting.runtime import OBS, PLAN_LOGITS, OnnxPlanner, load_runtime
from phr.actions import ActionSpace, Continuous, action_space_of
from phr.envs.registry import make_env
from phr.envs.split import SplitEnv
from phr.errors import ExportMismatchError, MissingExtraError, OutputDirectoryError, SettingError, UsageError
from phr.evaluation.evaluate import check_fits
from phr.experience.collect import box_of, meet_observations, random_observations
from phr.files import atomic_path, check_file_target, ensure_directory
from phr.manifest import Manifest, library_versions
from phr.networks.policy import PlanNetwork
from phr.plan import NetworkPlan, Planner
from phr.seeding import Streams
from phr.storage.model import Model

TOLERANCE = 1e-4
"""Largest difference attributed to rounding: between two logits, or two actions in units of half their range."""
ROUNDINGS = 4.0
"""Tolerance in units of the difference between torch's float32 and float64, where that is larger."""
BATCH_SIZES = (1, 2, 7, 64)
N_REAL, N_RANDOM, N_REAL_INT8 = 192, 64, 1024
"""Observations to compare on; int8 needs more, half to choose its ranges and half to measure what they cost."""

TUNED = "tuned"
"""Note with the evidence of `phr tune`."""
_ENOUGH = 64
"""From this many observations, int8 is measured on half of them, held out; fewer serve for both."""
_GOOD = 0.95
"""Agreement of an int8 file below which a warning is due."""
_WORDS = {False: ("logits", ""), True: ("actions", " of half the range")}
"""Whether actions are continuous → what is compared, and the unit of differences."""


@dataclass(frozen=True)
class Agreement:
    """Largest difference of outputs, counted as in `TOLERANCE`, and largest output of two planners that plan the same."""

    n_observations: int
    max_difference: float
    max_logit: float


@dataclass(frozen=True)
class Parity:
    """Comparison of an exported model with torch on drawn and on real observations.

    `without_env` is why its environment cannot be made, where `real` is None; `continuous` describes the actions.
    """

    random: Agreement
    real: Agreement | None = None
    without_env: str = ""
    continuous: bool = False

    def __str__(self) -> str:
        what, unit = _WORDS[self.continuous]
        parts = [
            f"within {at.max_difference:.1e}{unit} on {at.n_observations} {kind} ({what} up to {at.max_logit:.0f})"
            for kind, at in (("real observations", self.real), ("random observations", self.random))
            if at is not None
        ]
        same = "" if self.continuous else "every argmax equal, "
        line = f"matches torch at batch sizes {', '.join(map(str, BATCH_SIZES))}: {same}{what} {', '.join(parts)}"
        return f"{line}; no real observations, because {self.without_env}" if self.without_env else line


@dataclass(frozen=True)
class Int8Cost:
    """Agreement of the int8 plan with the float plan on real observations: fractions of all actions, and of each step's.

    `max_difference` is the largest between two outputs; `held_out`: the ranges were chosen on other observations.
    """

    agreement: float
    agreement_per_head: tuple[float, ...]
    max_difference: float
    n_observations: int
    held_out: bool

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {**asdict(self), "agreement_per_head": list(self.agreement_per_head)}

    def __str__(self) -> str:
        worst = int(np.argmin(self.agreement_per_head))
        seen = "that its ranges were not chosen on" if self.held_out else "that its ranges were chosen on, there are no more"
        return (
            f"plans {self.agreement:.2%} of the float file's actions on {self.n_observations} real observations {seen} "
            f"(head 1 {self.agreement_per_head[0]:.2%}; worst, head {worst + 1}, {self.agreement_per_head[worst]:.2%}); "
            f"outputs within {self.max_difference:.2g}"
        )


@dataclass(frozen=True)
class Export:
    """The file that `export_onnx` wrote and its comparison with torch; the int8 file and its cost, if requested."""

    path: Path
    parity: Parity
    int8_path: Path | None = None
    int8: Int8Cost | None = None
    is_tuned: bool = False
    """Whether the float network has been tuned."""

    @property
    def warnings(self) -> tuple[str, ...]:
        """What the int8 file cannot be trusted in."""
        if self.int8 is None:
            return ()
        lines = []
        if self.int8.agreement < _GOOD:
            planned = f"plans only {self.int8.agreement:.2%} of the float file's actions"
            lines.append(f"{self.int8_path} {planned}; phr evaluate measures what it returns before you rely on it")
        if self.is_tuned:
            certify = f"phr tune {shlex.quote(str(self.int8_path))} certifies it for this file"
            lines.append(f"the rule in {self.int8_path} was certified with the float network only; {certify}")
        return tuple(lines)

    def __str__(self) -> str:
        line = f"{self.path} {self.parity}"
        lines = [line] if self.int8 is None else [line, f"{self.int8_path} {self.int8}"]
        return "\n".join([*lines, *(f"warning: {each}" for each in self.warnings)])


def rounding_of(network: PlanNetwork, obs: NDArray[Any]) -> float:
    """Return the largest difference between torch's outputs in float32 and in float64, in `check_parity`'s units."""
    exact = copy.deepcopy(network).double()
    with torch.inference_mode():
        batch = torch.from_numpy(obs)
        apart = (network.heads(batch).double() - exact.heads(batch)).abs().numpy()
    return float((apart / _units(network.config.actions, network.config.n_actions)).max())


def _units(space: ActionSpace, n_outputs: int) -> NDArray[np.float32]:
    """The unit of each output: half the range for continuous actions, else 1."""
    units = np.ones(n_outputs, np.float32)
    if isinstance(space, Continuous):
        units[: space.n_outputs] = space.bounds.unit
    return units


def check_parity(torch_planner: Planner, onnx_planner: Planner, obs: NDArray[Any], *, rounding: float = 0.0) -> Agreement:
    """Compare two planners on observations `(n, *obs_shape)` at every batch size; ExportMismatchError if they differ.

    The tolerance is `ROUNDINGS` times `rounding`, from `rounding_of`, where that is more than `TOLERANCE`.
    """
    worst = largest = 0.0
    allowed = max(TOLERANCE, ROUNDINGS * rounding)
    actions = action_space_of(torch_planner)
    units = _units(actions, torch_planner.n_actions)
    what, unit = _WORDS[isinstance(actions, Continuous)]
    for size in BATCH_SIZES:
        for batch in _batches(obs, size):
            expected, got = _logits(torch_planner, batch), _logits(onnx_planner, batch)
            worst = max(worst, float((np.abs(expected - got) / units).max()))
            largest = max(largest, float(np.abs(expected).max()))
            if worst > allowed:
                differ = f"two {what} by {worst:.2e}{unit} at batch size {size}, {allowed:.0e} is allowed"
                raise ExportMismatchError(f"the exported model differs from torch: {differ}; nothing was written")
            if not actions.agree(actions.plan(expected).mode(), actions.plan(got).mode()).all():
                differ = f"at batch size {size}, although no two {what} differ by more than {worst:.2e}{unit}"
                raise ExportMismatchError(
                    f"the exported model plans another action than torch {differ}; nothing was written"
                )
    return Agreement(len(obs), worst, largest)


def _batches(obs: NDArray[Any], size: int = 64) -> Iterator[NDArray[Any]]:
    return (obs[start : start + size] for start in range(0, len(obs), size))


def _logits(planner: Planner, obs: NDArray[Any]) -> NDArray[np.float32]:
    plan = planner.plan(obs)
    assert isinstance(plan, NetworkPlan)
    return plan.outputs


def export_onnx(model: Model, out: Path, *, int8: bool = False, env_id: str | None = None) -> Export:
    """Write a model as ONNX, unless the result differs from torch; see `phr.export_onnx`."""
    if out.suffix != ".onnx":
        raise SettingError(f"out must be a file named ….onnx, got {out}")
    ensure_directory(out.parent)
    check_file_target(out)
    env, without_env = _environment(model, env_id)
    with nullcontext() if env is None else env:
        if int8 and env is None:
            raise UsageError(f"int8 chooses its ranges on real observations, but {without_env}")
        manifest, data = export_manifest(model), onnx_bytes(model)
        exported, rng = OnnxPlanner(data, manifest), Streams(0).rng("export-observations")
        continuous = isinstance(manifest.actions, Continuous)
        random = _compare_at_random(model, exported, _space_of(model) if env is None else env.observation_space, rng)
        parity = Parity(random, without_env=without_env, continuous=continuous)
        if env is not None:
            real = meet_observations(model.planner, env, N_REAL_INT8 if int8 else N_REAL, rng)
            # Logits are small on familiar observations; continuous actions are as large as their range.
            rounding = rounding_of(model.network, real[:N_REAL]) if continuous else 0.0
            parity = replace(parity, real=check_parity(model.planner, exported, real[:N_REAL], rounding=rounding))
    _write(out, data, manifest)
    if env is None or not int8:
        return Export(out, parity)
    int8_out = out.with_suffix(".int8.onnx")
    int8_data, cost = quantize(data, manifest, real)
    notes = {**manifest.notes, "int8": cost.to_json()}
    if is_tuned := TUNED in notes:  # the evidence is about the float network's actions
        notes["tuned_of_float"] = notes.pop(TUNED)
    _write(int8_out, int8_data, replace(manifest, notes=notes))
    return Export(out, parity, int8_out, cost, is_tuned)


def onnx_planner(model: Model) -> OnnxPlanner:
    """Return the model as onnxruntime runs it, without a file; for errors see `onnx_bytes` and `check_parity`."""
    planner = OnnxPlanner(onnx_bytes(model), export_manifest(model))
    _compare_at_random(model, planner, _space_of(model), Streams(0).rng("export"))
    return planner


def _compare_at_random(model: Model, exported: OnnxPlanner, space: spaces.Box, rng: np.random.Generator) -> Agreement:
    """Compare on random elements of a space, half of them around the mean that a normalising network was trained on."""
    obs, trunk = random_observations(space, N_RANDOM, rng), model.network.trunk
    if trunk.normalize:
        rows = obs[::2]
        near = trunk.obs_mean.numpy() + trunk.obs_deviation.numpy() * rng.normal(size=rows.shape)
        rows[...] = np.clip(near, space.low, space.high).astype(obs.dtype)
    # Activations may be so large there that float32 itself loses digits.
    return check_parity(model.planner, exported, obs, rounding=rounding_of(model.network, obs))


def export_manifest(model: Model) -> Manifest:
    """Return the model's manifest with the versions of the exporting libraries."""
    exporter = library_versions("torch", "onnx", "onnxscript", "onnxruntime")
    return replace(model.manifest, notes={**model.manifest.notes, "exported_with": exporter})


def onnx_bytes(model: Model) -> bytes:
    """Return the network as serialised ONNX, from the observation's cast and scaling to all heads in one output.

    The same weights give the same bytes, tensors inside. MissingExtraError without the exporter.
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
            opset_version=18,  # the exporter's own; onnxruntime has read it since 1.14
            input_names=[OBS],
            output_names=[PLAN_LOGITS],
            dynamic_shapes=({0: torch.export.Dim("batch")},),
        )
    assert program is not None
    proto: Any = program.model_proto
    graph = proto.graph
    # The exporter's notes name files of the exporting machine.
    del proto.metadata_props[:], graph.metadata_props[:], graph.value_info[:]
    for part in (*graph.node, *graph.input, *graph.output, *graph.initializer):
        del part.metadata_props[:]
        part.doc_string = ""
    data: bytes = proto.SerializeToString(deterministic=True)
    return data


def _write(out: Path, data: bytes, manifest: Manifest) -> None:
    try:
        with atomic_path(out) as temporary:
            temporary.write_bytes(seal(data, manifest))
            load_runtime(temporary)
    except OSError as error:
        raise OutputDirectoryError(f"cannot write {out}: {error.strerror}") from error


def _environment(model: Model, env_id: str | None) -> tuple[SplitEnv | None, str]:
    """The environment to meet real observations in, or None and the reason."""
    try:
        env = make_env(model.where(env_id))
    except UsageError as error:
        return None, str(error)
    try:
        check_fits(model.planner, env)
    except UsageError:
        env.close()
        return None, f"{env.env_id} has other spaces here than the model was made for"
    return env, ""


def _space_of(model: Model) -> spaces.Box:
    """The observation space as far as the manifest records it: bytes end at 255 or 1, other numbers are unbounded."""
    dtype = np.dtype(model.manifest.obs_dtype)
    planes = dtype.itemsize == 1 and model.manifest.obs_spec.scale == 1.0
    return box_of(model.manifest.obs_shape, dtype, planes=planes)


def quantize(data: bytes, manifest: Manifest, obs: NDArray[Any]) -> tuple[bytes, Int8Cost]:
    """Round weights and activations of a serialised model to 8 bits; return the int8 model, serialised, and its cost.

    Static quantisation (Jacob et al. 2018, arXiv:1712.05877): the range of every activation is fixed beforehand on real
    observations `obs`, in random order, at least one. Choosing it per call measured no faster than float32 here.
    """
    held_out = len(obs) >= _ENOUGH
    calibration, measured = (obs[::2], obs[1::2]) if held_out else (obs, obs)
    rounded = _static(data, calibration, _LAYERS if manifest.network.get("causal") else None)
    planners = [OnnxPlanner(each, manifest) for each in (data, rounded)]
    exact, near = (np.concatenate([each.plan(batch).outputs for batch in _batches(measured)]) for each in planners)
    agreeing = manifest.actions.agree(*(manifest.actions.plan(each).mode() for each in (exact, near))).mean(0, np.float64)
    return rounded, Int8Cost(
        agreement=round(float(agreeing.mean()), 6),
        agreement_per_head=tuple(round(value, 6) for value in agreeing.tolist()),
        max_difference=float(np.abs(exact - near).max()),
        n_observations=len(measured),
        held_out=held_out,
    )


_LAYERS = ["Conv", "Gemm", "MatMul", "LeakyRelu"]
"""Not the steps from one planned action to the next: a rounding there may change the rest of a plan."""


def _static(data: bytes, obs: NDArray[Any], only: list[str] | None) -> bytes:
    import onnx
    from onnxruntime import quantization

    batches = ({OBS: batch} for batch in _batches(obs))

    class Reader(quantization.CalibrationDataReader):  # type: ignore[misc]  # onnxruntime ships no types
        def get_next(self) -> dict[str, NDArray[Any]] | None:
            return next(batches, None)

    with quiet(), tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "int8.onnx"
        quantization.quantize_static(
            onnx.load_model_from_string(data),
            out,
            Reader(),
            quant_format=quantization.QuantFormat.QDQ,
            activation_type=quantization.QuantType.QUInt8,
            weight_type=quantization.QuantType.QInt8,
            op_types_to_quantize=only,
            per_channel=True,
            reduce_range=True,  # 7-bit weights: without VNNI a sum of two 8-bit products overflows 16 bits
        )
        return out.read_bytes()


@contextmanager
def quiet() -> Iterator[None]:
    """Suppress the exporter's warnings."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(action="ignore"):
            yield
    finally:
        logging.disable(before)
