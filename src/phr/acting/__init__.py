"""Plans turned into actions: agents, commitment, and the runtime that needs no torch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from phr.lazy import lazy_names

if TYPE_CHECKING:
    from phr.acting.agent import HorizonAgent as HorizonAgent, VectorHorizonAgent as VectorHorizonAgent
    from phr.acting.commitment import CommitmentLike as CommitmentLike, commitment_in_words as commitment_in_words
    from phr.acting.runtime import OnnxPlanner as OnnxPlanner, load_runtime as load_runtime

__getattr__, __all__ = lazy_names(
    __name__,
    {
        "agent": "HorizonAgent VectorHorizonAgent",
        "commitment": "CommitmentLike commitment_in_words",
        "runtime": "OnnxPlanner load_runtime",
    },
)
