"""How restlessly a policy acts.

The paper says that in Pong a softer regression "produces less jittery behavior" (Wagner et al. 2021, arXiv:2106.10075,
section 4.3) and does not say how that was measured. Here it is two rates per step, taken on the effect of the executed
actions: two actions that do the same, such as NOOP and FIRE in mid-game, are no change.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from phr.errors import InvalidDataError


@dataclass(frozen=True)
class Jitter:
    """Two rates, each over all steps that have a step before them in their episode; 0 is a steady hand.

    Attributes:
        changes: Fraction of these steps whose effect differs from that of the step before.
        reversals: Fraction of these steps that push against the latest push before them, pauses in between left out.
    """

    changes: float
    reversals: float


def measure_jitter(episodes: Sequence[NDArray[np.int64]]) -> Jitter:
    """Change and reversal rates of executed actions, pooled over the steps of all episodes.

    Args:
        episodes: For each episode the effect of every action, shape `(length,)`: a direction as 1 or −1, 0 for none.

    Returns:
        The rates, in [0, 1]; reversals never exceed changes.

    Raises:
        InvalidDataError: If no episode has two steps, or an effect is none of −1, 0 and 1.

    Source:
        Ours; the word is that of Wagner et al. 2021 (arXiv:2106.10075), section 4.3.
    """
    n_steps = n_changes = n_reversals = 0
    for effects in episodes:
        if len(effects) and np.abs(effects).max() > 1:
            raise InvalidDataError(f"an effect is -1, 0 or 1, got {effects[np.abs(effects) > 1][0]}")
        before, after = effects[:-1], effects[1:]
        pushed = np.where(before != 0, np.arange(len(before)), 0)
        latest = before[np.maximum.accumulate(pushed)]  # the effect of the latest step that pushed; 0 where none did
        n_steps += len(after)
        n_changes += int((after != before).sum())
        n_reversals += int((after * latest < 0).sum())
    if not n_steps:
        raise InvalidDataError(f"jitter is measured between steps, but none of {len(episodes)} episodes has two")
    return Jitter(n_changes / n_steps, n_reversals / n_steps)
