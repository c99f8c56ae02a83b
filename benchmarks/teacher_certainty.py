"""Measure the certainty of a trained teacher, which saturates the paper's soft losses (docs/method.md).

.venv/bin/python benchmarks/teacher_certainty.py --teacher zoo:crossing-teacher
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import tyro

from phr.distil.presets import student_config
from phr.distil.runs import record_teacher
from phr.plan import CategoricalPlan
from phr.teachers.references import resolve


@dataclass(frozen=True)
class Arguments:
    """Print the improbability, in nats, of the actions that a teacher does not choose."""

    teacher: str = "zoo:crossing-teacher"
    """A run directory or zoo:NAME."""
    episodes: int = 300
    """Number of greedy episodes from varied starts."""


def main(arguments: Arguments) -> None:
    """Record the teacher, sort each distribution, print medians in nats."""
    actor = resolve(arguments.teacher)
    config = student_config(actor.env_id, 1, n_episodes=arguments.episodes)
    experience, _ = record_teacher(actor.planner, actor.env_id, config)
    probs = CategoricalPlan(experience.joined("teacher_logits")[:, None].astype(np.float64)).probs[:, 0]
    nats = -np.log(np.sort(probs, axis=1))
    print(f"steps                      {len(nats)}")
    print(f"most likely action         probability {np.exp(-np.median(nats[:, -1])):.6f} (median)")
    print(f"second most likely action  {np.median(nats[:, -2]):.1f} nats (median)")
    print(f"least likely action        {np.median(nats[:, 0]):.1f} nats (median), {nats.max():.1f} (largest)")
    print(f"most frequent action       {np.bincount(experience.joined('actions')).max() / len(nats):.1%} of all steps")


if __name__ == "__main__":
    main(tyro.cli(Arguments))
