"""What each choice of the method is worth: one student per setting, everything else as by default."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Outcome:
    """What a student of one setting reached from every start, by commitment.

    Attributes:
        solved: Commitment → fraction of starts solved.
    """

    solved: dict[int, float]

    @property
    def worst(self) -> float:
        """Smallest fraction solved over commitments above 1."""
        return min(value for commitment, value in self.solved.items() if commitment > 1)

    @property
    def head_one(self) -> float:
        """Fraction solved when only head 1 acts."""
        return self.solved[1]


@dataclass(frozen=True)
class Ablation:
    """A question, its settings and what the paper says.

    Attributes:
        name: Of the question.
        claim: What the paper, or our method page, claims.
        settings: A label and the `PHRConfig` fields of each student.
        held: Outcomes by label → whether the claim held; None where the result cannot tell.
    """

    name: str
    claim: str
    settings: tuple[tuple[str, dict[str, Any]], ...]
    held: Callable[[dict[str, Outcome]], bool | None]


def _at_least(better: str, worse: str, read: Callable[[Outcome], float]) -> Callable[[dict[str, Outcome]], bool | None]:
    """The claim that one setting does better; undecided where both do equally well."""

    def held(outcomes: dict[str, Outcome]) -> bool | None:
        first, second = read(outcomes[better]), read(outcomes[worse])
        return None if first == second else first > second

    return held


def _stride_helps(outcomes: dict[str, Outcome]) -> bool | None:
    every = outcomes["α = 1"].worst
    others = max(outcome.worst for label, outcome in outcomes.items() if label != "α = 1")
    return None if every == others else others > every


def _weight_matters(outcomes: dict[str, Outcome]) -> bool | None:
    reached: Sequence[float] = [outcome.worst for outcome in outcomes.values()]
    return max(reached) > min(reached)


ABLATIONS = (
    Ablation(
        "window stride α",
        "Regressing every sub-sequence may lead to bad performance (paper, implementation detail (i)).",
        tuple((f"α = {stride}", {"window_stride": stride}) for stride in (1, 2, 4, 8)),
        _stride_helps,
    ),
    Ablation(
        "loss weight λ",
        "λ must be set depending on the distance measure (paper, below Eq. 11).",
        tuple((f"λ = {weight:g}", {"loss_weight": weight, "loss": "squared"}) for weight in (0.1, 1.0, 10.0)),
        _weight_matters,
    ),
    Ablation(
        "teacher smoothing ε",
        "The soft losses fall behind where errors count (paper, section 4.3): because a sure teacher saturates them.",
        tuple(
            (f"{loss}, ε = {smoothing:g}", {"loss": loss, "teacher_smoothing": smoothing})
            for loss in ("squared", "kl")
            for smoothing in (0.0, 0.1)
        ),
        lambda outcomes: all(outcomes[f"{s}, ε = 0.1"].worst > outcomes[f"{s}, ε = 0"].worst for s in ("squared", "kl")),
    ),
    Ablation(
        "end of an episode",
        "The strict cut t ≤ m − n + 1 (paper, Eq. 7) leaves the last states untrained; padding trains them.",
        (("padded", {"pad": True}), ("strict cut", {"pad": False})),
        _at_least("padded", "strict cut", lambda outcome: outcome.worst),
    ),
    Ablation(
        "labels",
        "A sampling teacher's plans become mixtures; the greedy teacher's do not (method page).",
        (("greedy", {"sample_labels": False}), ("sampled", {"sample_labels": True})),
        _at_least("greedy", "sampled", lambda outcome: outcome.worst),
    ),
    Ablation(
        "trunk and head 1",
        "Regressing heads 2..n through the shared trunk (paper, Eq. 8) silently changes head 1; anchoring it does not.",
        tuple((mode, {"trunk_mode": mode}) for mode in ("shared", "anchored", "frozen", "own")),
        _at_least("anchored", "shared", lambda outcome: outcome.head_one),
    ),
    Ablation(
        "joint training",
        "Eq. 12 combines both gradients; Algorithm 1 regresses alone. They should end at the same place.",
        (("regression alone", {}), ("joint", {"joint": True, "trunk_mode": "shared"})),
        lambda outcomes: outcomes["joint"].worst == outcomes["regression alone"].worst,
    ),
)
