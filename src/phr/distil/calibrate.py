"""How sure a plan may be: one temperature for each head, fitted on windows that the student has not learnt from.

A head's confidence is to be the share of its steps that are right: of those that are 90 % sure, nine in ten should agree
with the teacher, in states that the student's own plans lead to. Temperature scaling (Guo et al. 2017, arXiv:1706.04599,
section 4.2) does that with one number for each head and changes no action.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from phr.actions import ActionSpace, Continuous
from phr.distil.windows import StudentWindowData
from phr.networks.policy import PlanNetwork
from phr.plan import ContinuousPlan

TEMPERATURES = tuple(float(value) for value in np.geomspace(20.0, 0.05, 121))
"""Those that are tried, the least sure first."""
FEWEST = 64
"""With fewer windows nothing is fitted."""
_BINS = 10

Flags = NDArray[np.bool_]


@dataclass(frozen=True)
class Calibration:
    """One temperature for each head, and how well the joint confidence of a plan's steps then states their being right.

    `reliability` has one row for each tenth of confidence that occurs: mean joint confidence, share of plans that were
    right so far, number of steps; measured on the half of the windows that was not fitted.
    """

    temperature: tuple[float, ...]
    reliability: tuple[tuple[float, float, int], ...]

    @property
    def error(self) -> float:
        """Expected calibration error: |confidence − share|, weighted by the number of steps."""
        n = sum(count for *_, count in self.reliability)
        return sum(abs(sure - right) * count for sure, right, count in self.reliability) / n

    def to_json(self) -> dict[str, Any]:
        """Plain values, for a model's notes."""
        return {"reliability": [list(row) for row in self.reliability], "error": round(self.error, 5)}


def calibrate(network: PlanNetwork, data: StudentWindowData) -> Calibration | None:
    """Fit the temperatures of a network on windows that it has not learnt from; None with fewer than `FEWEST`."""
    if len(data) < FEWEST:
        return None
    return fit(network.config.actions, *_looked(network, data), causal=network.config.causal)


def fit(
    space: ActionSpace, outputs: NDArray[np.float32], actions: NDArray[Any], valid: Flags, *, causal: bool = False
) -> Calibration:
    """Fit one temperature for each step on every other window, and judge them on the rest.

    Outputs `(n, horizon, n_outputs)` of a student, the teacher's actions `(n, horizon, *action_shape)`, and which of them
    there were, `(n, horizon)`. The heads of a `causal` student are fitted where the plan before them is right.
    """
    right, fitted = _right(space, outputs, actions), np.arange(len(outputs)) % 2 == 0
    whole = np.logical_and.accumulate(right, axis=1)

    def confidence(temperature: tuple[float, ...]) -> NDArray[np.float32]:
        sure: NDArray[np.float32] = space.plan(outputs, 0.0, temperature).confidence()
        return sure

    judged = valid.copy()
    if causal:  # a head is right about what follows the plan so far, which is the teacher's only where that is right
        judged[:, 1:] &= whole[:, :-1]
    temperature = _fit(lambda value: confidence((value,) * outputs.shape[1])[fitted], right[fitted], judged[fitted])
    joint = np.cumprod(confidence(temperature), axis=1)
    return Calibration(temperature, _reliability(joint[~fitted], whole[~fitted], valid[~fitted]))


def calibrated(network: PlanNetwork, calibration: Calibration | None) -> PlanNetwork:
    """The same network, which states how sure its heads may be."""
    network.config = replace(network.config, temperature=None if calibration is None else calibration.temperature)
    return network


def _looked(network: PlanNetwork, data: StudentWindowData) -> tuple[NDArray[np.float32], NDArray[Any], Flags]:
    """Outputs, the teacher's actions and which of them exist, of at most 4096 windows, evenly spaced."""
    rows = torch.linspace(0, len(data) - 1, min(4096, len(data))).long()
    parts: list[tuple[NDArray[Any], ...]] = []
    with torch.inference_mode():
        for part in rows.split(512):
            obs, _, actions, valid = data.batch(part)
            parts.append((network(obs).numpy(), actions.numpy(), valid.numpy()))
    outputs, actions_of, valid_of = (np.concatenate(each) for each in zip(*parts, strict=True))
    return outputs, actions_of, valid_of


def _right(space: ActionSpace, outputs: NDArray[np.float32], actions: NDArray[Any]) -> Flags:
    """Which planned actions are the teacher's; for numbers as `ContinuousPlan.confidence` has it."""
    planned = space.plan(outputs).mode()
    if not isinstance(space, Continuous):
        return space.agree(planned, actions)
    unit = space.bounds.unit.reshape(space.shape)
    near = np.abs(planned - np.clip(actions, *_ends(space))) <= ContinuousPlan.TOLERATED * unit
    all_near: Flags = near.all(axis=tuple(range(2, near.ndim)))
    return all_near


def _ends(space: Continuous) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    return space.bounds.low.reshape(space.shape), space.bounds.high.reshape(space.shape)


def _fit(confidence: Callable[[float], NDArray[np.float32]], right: Flags, valid: Flags) -> tuple[float, ...]:
    """The temperature of each head with the least log-loss of being right; heads without windows get that of all together.

    One more step counts as wrong, with the mean confidence: a head that erred in none of a hundred windows may err in the
    next.
    """
    losses = []
    for value in TEMPERATURES:
        sure = np.clip(confidence(value).astype(np.float64), 1e-12, 1 - 1e-12)
        each = np.where(valid, -np.where(right, np.log(sure), np.log1p(-sure)), 0.0)
        n = np.maximum(valid.sum(axis=0), 1)
        mean = np.where(valid, sure, 0.0).sum(axis=0) / n
        losses.append(each.sum(axis=0) - np.log1p(-np.minimum(mean, 1 - 1e-12)))
    table = np.array(losses)
    best = np.where(valid.any(axis=0), table.argmin(axis=0), table.sum(axis=1).argmin())
    return tuple(TEMPERATURES[index] for index in best)


def _reliability(joint: NDArray[Any], right: Flags, valid: Flags) -> tuple[tuple[float, float, int], ...]:
    sure, hit = joint[valid], right[valid]
    which = np.minimum((sure * _BINS).astype(int), _BINS - 1)
    rows = [(sure[which == at], hit[which == at]) for at in range(_BINS)]
    return tuple((float(part.mean()), float(hits.mean()), len(part)) for part, hits in rows if len(part))
