"""Does an exported model answer as the network it was made from?"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from phr.actions import ActionSpace, Continuous, action_space_of
from phr.errors import ExportMismatchError
from phr.networks.policy import PlanNetwork
from phr.plan import NetworkPlan
from phr.protocols import Planner

TOLERANCE = 1e-4
"""Largest difference between two logits, or two actions in units of half their range, that is put down to rounding."""
ROUNDINGS = 4.0
"""Where torch's own float32 is farther from float64 than a quarter of that, so many times that distance."""
BATCH_SIZES = (1, 2, 7, 64)


@dataclass(frozen=True)
class Agreement:
    """How far two planners with the same actions everywhere are apart.

    Attributes:
        n_observations: They were compared on so many.
        max_difference: Largest difference between two logits, or two numbers of continuous actions in units of half their
            range.
        max_logit: Largest absolute one.
    """

    n_observations: int
    max_difference: float
    max_logit: float


@dataclass(frozen=True)
class Parity:
    """On what the exported model was compared with torch.

    Attributes:
        random: On observations drawn from the observation space.
        real: On observations of its environment; None where that cannot be made.
        without_env: Why it cannot; empty where it can.
        continuous: Its actions are numbers, not choices.
    """

    random: Agreement
    real: Agreement | None = None
    without_env: str = ""
    continuous: bool = False

    def __str__(self) -> str:
        what, unit = ("actions", " of half the range") if self.continuous else ("logits", "")
        parts = [
            f"within {found.max_difference:.1e}{unit} on {found.n_observations} {kind} observations ({what} up to "
            f"{found.max_logit:.0f})"
            for kind, found in (("real", self.real), ("random", self.random))
            if found is not None
        ]
        sizes = ", ".join(map(str, BATCH_SIZES))
        same = "" if self.continuous else "every argmax equal, "
        line = f"answers as torch at batch sizes {sizes}: {same}{what} {', '.join(parts)}"
        return f"{line}; no real observations, because {self.without_env}" if self.without_env else line


def rounding_of(network: PlanNetwork, obs: NDArray[Any]) -> float:
    """How far torch's outputs are from those in float64, as `check_parity` counts: what float32 costs, whoever computes."""
    exact = copy.deepcopy(network).double()
    with torch.inference_mode():
        batch = torch.from_numpy(obs)
        apart = (network(batch).double() - exact(batch)).abs().numpy()
    return float((apart / _units(network.config.actions, network.config.n_actions)).max())


def _units(space: ActionSpace, n_outputs: int) -> NDArray[np.float32]:
    """What each number of an output is counted in: continuous actions in half their range, all else as it is."""
    units = np.ones(n_outputs, np.float32)
    if isinstance(space, Continuous):
        units[: space.n_outputs] = space.bounds.unit
    return units


def check_parity(torch_planner: Planner, onnx_planner: Planner, obs: NDArray[Any], *, rounding: float = 0.0) -> Agreement:
    """Compare two planners on all observations at every batch size.

    Args:
        torch_planner: What the exported model was made from.
        onnx_planner: The exported model.
        obs: Shape `(n, *obs_shape)`.
        rounding: From `rounding_of`; two results of float32 may be a few times so far apart.

    Raises:
        ExportMismatchError: If an action differs, or two numbers of the output by more than the tolerance.
    """
    worst = largest = 0.0
    allowed = max(TOLERANCE, ROUNDINGS * rounding)
    actions = action_space_of(torch_planner)
    units = _units(actions, torch_planner.n_actions)
    what, unit = ("actions", " of half the range") if isinstance(actions, Continuous) else ("logits", "")
    for size in BATCH_SIZES:
        for start in range(0, len(obs), size):
            batch = obs[start : start + size]
            expected, got = _logits(torch_planner, batch), _logits(onnx_planner, batch)
            worst = max(worst, float((np.abs(expected - got) / units).max()))
            largest = max(largest, float(np.abs(expected).max()))
            if worst > allowed:
                raise ExportMismatchError(
                    f"the exported model differs from torch: two {what} by {worst:.2e}{unit} at batch size "
                    f"{size}, {allowed:.0e} is allowed; nothing was written"
                )
            if not actions.agree(actions.plan(expected).mode(), actions.plan(got).mode()).all():
                raise ExportMismatchError(
                    f"the exported model plans another action than torch at batch size {size}, although no two {what} "
                    f"differ by more than {worst:.2e}{unit}; nothing was written"
                )
    return Agreement(len(obs), worst, largest)


def _logits(planner: Planner, obs: NDArray[Any]) -> NDArray[np.float32]:
    plan = planner.plan(obs)
    assert isinstance(plan, NetworkPlan)
    return plan.outputs
