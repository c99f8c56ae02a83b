"""Plans from an exported model with numpy, onnxruntime and msgspec: no torch, no Gymnasium.

```python
from phr.acting.agent import HorizonAgent

planner = load_runtime("student.onnx")
agent = HorizonAgent(planner, planner.commitment)
```
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from phr.acting.onnx_file import read_onnx
from phr.errors import CorruptFileError, NonFiniteError
from phr.manifest import Manifest
from phr.plan import NetworkPlan, smoothing_of_steps, temperature_of

OBS, PLAN_LOGITS = "obs", "plan_logits"
"""Names of the graph's one input and one output."""

_WARM_UPS = 3
_FATAL_ONLY = 4


class OnnxPlanner:
    """Plans with an exported network; numpy in, numpy out, one thread.

    Looking at one observation is the case that a control loop waits for: it runs on buffers that were bound once and copies
    the observation in and the logits out. Larger batches allocate. The buffers make one planner serve one thread only.

    `data` is a serialised ONNX model; CorruptFileError if onnxruntime cannot run it, or it is not the one that the manifest
    describes. `name` is for the messages.

    Attributes:
        n_actions: Numbers that the graph outputs for one action: the size of a discrete action space.
        commitment: Default number of actions to execute per look; None for the whole horizon.
        obs_shape: Shape of one observation, of the number type `obs_dtype`.
    """

    checks_plans = True
    """What it plans is finite, and of the right shape; agents do not look again."""

    def __init__(self, data: bytes, manifest: Manifest, name: str = "this model") -> None:
        self.manifest, self.identity, self.action_space = manifest, hashlib.sha256(data).hexdigest(), manifest.actions
        self.horizon, self.n_actions = manifest.horizon, manifest.n_actions
        self.env_id, self.commitment = manifest.env_id, manifest.commitment
        self.obs_spec = manifest.obs_spec
        self.is_causal = manifest.network.get("causal") is True
        self.obs_shape, self.obs_dtype = self.obs_spec.shape, self.obs_spec.dtype
        smoothing, first = manifest.network.get("label_smoothing", 0.0), manifest.network.get("first_smoothing")
        smoothing = smoothing_of_steps(float(smoothing), None if first is None else float(first), self.horizon)
        self._sure = smoothing, temperature_of(manifest.network, self.horizon)
        try:
            self._session = onnxruntime.InferenceSession(data, session_options(), providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime's own errors have no other base
            raise CorruptFileError(f"{name} is not a graph that onnxruntime can run: {error}") from error
        self._check_interface(name)
        self._input = np.zeros((1, *self.obs_shape), self.obs_dtype)
        self._output = np.zeros((1, self.horizon, self.n_actions), np.float32)
        self._binding = self._session.io_binding()
        read, written = (onnxruntime.OrtValue.ortvalue_from_numpy(array) for array in (self._input, self._output))
        shared = [read.data_ptr(), written.data_ptr()] == [self._input.ctypes.data, self._output.ctypes.data]
        assert shared, "onnxruntime copied the buffers instead of sharing them"
        self._binding.bind_ortvalue_input(OBS, read)
        self._binding.bind_ortvalue_output(PLAN_LOGITS, written)
        try:
            for _ in range(_WARM_UPS):
                self._session.run_with_iobinding(self._binding)
        except Exception as error:
            raise CorruptFileError(f"{name} cannot be run: {error}") from error

    def plan(self, obs: Any) -> NetworkPlan:
        """Evaluate the network once for observations of shape `(batch, *obs_shape)`; their scaling is in the graph.

        `ObservationSpec.check` accepts or refuses them. NonFiniteError if an output is not finite.
        """
        obs = self.obs_spec.check(obs)
        if len(obs) == 1:
            self._input[...] = obs
            self._session.run_with_iobinding(self._binding)
            logits = self._output.copy()
        else:
            logits = self._session.run([PLAN_LOGITS], {OBS: np.ascontiguousarray(obs)})[0]
        if not np.isfinite(logits).all():
            raise NonFiniteError("the network's output contains NaN or Inf")
        return self.action_space.plan(logits, *self._sure)

    def _check_interface(self, name: str) -> None:
        """Compare names, shapes and number types of the graph with those of the manifest."""
        ends = [*self._session.get_inputs(), *self._session.get_outputs()]
        stated = [(OBS, [*self.obs_shape]), (PLAN_LOGITS, [self.horizon, self.n_actions])]
        if (found := [(each.name, each.shape[1:]) for each in ends]) != stated:
            raise CorruptFileError(f"{name}: the manifest states {stated}, the graph {found}")
        types = [NUMPY_TYPES.get(each.type, each.type) for each in ends]
        if types != [str(self.obs_dtype), "float32"]:
            raise CorruptFileError(f"{name}: the manifest states {self.obs_dtype} in and float32 out, the graph {types}")


NUMPY_TYPES = {
    "tensor(bool)": "bool", "tensor(uint8)": "uint8", "tensor(int8)": "int8", "tensor(int16)": "int16",
    "tensor(int32)": "int32", "tensor(int64)": "int64", "tensor(uint16)": "uint16", "tensor(uint32)": "uint32",
    "tensor(uint64)": "uint64", "tensor(float16)": "float16", "tensor(float)": "float32", "tensor(double)": "float64",
}  # fmt: skip
"""onnxruntime's names of number types → numpy's."""


def load_runtime(path: str | Path) -> OnnxPlanner:
    """Read, check and warm up what `phr export` wrote; UnknownModelError if there is no such file.

    CorruptFileError if it was truncated or edited, was not written by phr, or keeps tensors in other files.
    """
    return OnnxPlanner(*read_onnx(Path(path)), str(path))


def session_options() -> Any:
    """One thread that does not spin: spinning threads would slow the control loop down."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.inter_op.allow_spinning", "0")
    options.log_severity_level = _FATAL_ONLY  # errors come as exceptions, one line each
    return options
