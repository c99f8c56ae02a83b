"""What looking once yields: one distribution over actions for each of the next steps."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from phr.plan.base import ActionArray, FloatArray, IntArray, Plan
from phr.plan.choices import CategoricalPlan, MultiCategoricalPlan, Smoothing, smoothing_of_steps
from phr.plan.vectors import Bounds, ContinuousPlan

__all__ = [
    "ActionArray",
    "Bounds",
    "CategoricalPlan",
    "ContinuousPlan",
    "FloatArray",
    "IntArray",
    "MultiCategoricalPlan",
    "NetworkPlan",
    "Plan",
    "Smoothing",
    "repeat_first",
    "smoothing_of_steps",
]

NetworkPlan = CategoricalPlan | MultiCategoricalPlan | ContinuousPlan
"""Plans that hold what a network answered (`outputs`)."""


def repeat_first(plan: NetworkPlan, horizon: int) -> NetworkPlan:
    """The distribution of a plan's first step, `horizon` times."""
    outputs = np.repeat(plan.outputs[:, :1], horizon, axis=1)
    if isinstance(plan, ContinuousPlan) or not isinstance(plan.smoothing, tuple):
        return replace(plan, outputs=outputs)
    return replace(plan, outputs=outputs, smoothing=plan.smoothing[0])
