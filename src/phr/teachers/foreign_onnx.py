"""Third-party ONNX files: one input, and one output of logits, probabilities or actions."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from phr.acting.onnx_file import read_plain_onnx
from phr.acting.runtime import NUMPY_TYPES, session_options
from phr.actions import ActionSpace
from phr.errors import CorruptFileError, IncompatibleModelError, NonFiniteError, PhrError
from phr.teachers.policy import kind_of


class OnnxPolicy:
    """A third-party ONNX file as a policy; numpy in, numpy out, one thread. Its identity is the SHA-256 of the file."""

    def __init__(self, path: Path) -> None:
        data, name = read_plain_onnx(path), str(path)
        self._name, self.identity = name, hashlib.sha256(data).hexdigest()
        try:
            self._session = onnxruntime.InferenceSession(data, session_options(), providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime's own errors have no other base
            raise CorruptFileError(f"{name} cannot be run by onnxruntime: {error}") from error
        inputs = self._session.get_inputs()
        if len(inputs) != 1:
            found = f"{len(inputs)} (recurrent and action-masked policies cannot be distilled)"
            raise IncompatibleModelError(f"{name} must have one input, got {found}")
        self._outputs, self._output = [each.name for each in self._session.get_outputs()], 0
        self._input, self._shape = inputs[0].name, inputs[0].shape
        if inputs[0].type not in NUMPY_TYPES:
            raise IncompatibleModelError(f"the input of {name} must be numeric, got {inputs[0].type}")
        self._dtype = np.dtype(NUMPY_TYPES[inputs[0].type])

    def choose_output(self, sample: NDArray[Any], space: ActionSpace) -> None:
        """Choose the one output that contains logits, probabilities or actions.

        Stable-Baselines3's documentation exports three outputs: actions, values and log-probabilities.
        """
        if len(self._outputs) == 1:
            return
        answers = self._ask(sample)
        fitting = [index for index, answer in enumerate(answers) if self._fits(answer, len(sample), space)]
        if len(fitting) != 1:
            named = zip(self._outputs, answers, strict=True)
            found = ", ".join(f"{name!r} ({each.dtype} of shape {each.shape})" for name, each in named)
            fit = f"{len(answers)} outputs, of which {len(fitting)} fit {space}"
            raise IncompatibleModelError(f"{self._name} has {fit}: {found}. Export the logits or the actions alone.")
        self._output = fitting[0]

    def _fits(self, answer: NDArray[Any], batch: int, space: ActionSpace) -> bool:
        try:
            kind_of(answer, batch, space, self._name)
        except PhrError as error:
            return isinstance(error, NonFiniteError)  # its shape fits; the caller raises
        return True

    def __call__(self, obs: NDArray[Any]) -> NDArray[Any]:
        """Return the chosen output for a batch of observations."""
        return self._ask(obs)[self._output]

    def _ask(self, obs: NDArray[Any]) -> list[NDArray[Any]]:
        """Return every output for a batch of observations."""
        fits = len(self._shape) == obs.ndim and all(
            not isinstance(side, int) or side == there for side, there in zip(self._shape[1:], obs.shape[1:], strict=True)
        )
        if not fits or not (self._dtype.kind == "f" or np.can_cast(obs.dtype, self._dtype, "safe")):
            wanted = f"{self._dtype} of shape {self._shape}"
            raise IncompatibleModelError(f"{self._name} reads {wanted}, got {obs.dtype} of {obs.shape}")
        with np.errstate(over="ignore"):
            obs = np.ascontiguousarray(obs, self._dtype)
        if self._dtype.kind == "f" and not np.isfinite(obs).all():
            raise NonFiniteError(f"{self._name} reads {self._dtype}, and an observation contains a number too large for it")
        one_by_one = isinstance(self._shape[0], int) and len(obs) != self._shape[0]
        if one_by_one and self._shape[0] != 1:
            only = f"batches of {self._shape[0]} only"
            raise IncompatibleModelError(f"{self._name} reads {only}; export it with a dynamic batch")
        parts = np.split(obs, len(obs)) if one_by_one else [obs]
        try:
            answers = zip(*(self._session.run(None, {self._input: part}) for part in parts), strict=True)
            return [np.concatenate([np.atleast_1d(part) for part in answer]) for answer in answers]
        except Exception as error:  # onnxruntime's own, or parts of different shapes
            raise IncompatibleModelError(f"{self._name} cannot be run: {error}") from error
