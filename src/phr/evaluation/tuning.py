"""What `phr tune` found: the rules, the test's result, and all that is needed to judge it, in words and as JSON."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from phr.acting.commitment import resolve_commitment
from phr.evaluation.baselines import Baseline, Budget
from phr.files import as_kind

__all__ = ["Candidate", "RetentionCurve", "Tuning"]


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """One rule and what it kept; `episodes` fresh ones if it was tested, else those of the calibration.

    Attributes:
        looks_per_step: Evaluations over steps.
        looks_per_episode: Mean number of evaluations in an episode.
        share: (mean return − zero) / (the teacher's on the same starts − zero); None where the teacher's is not above zero.
        certified_share: The greatest share that these episodes certify for this rule alone, with the confidence of its test;
            with that asked for if it was not tested.
        time_saved: The teacher's policy time per step over the rule's; None where not measured.
        is_tested: Whether fresh episodes tested it.
        is_certified: Whether they certified the share asked for.
    """

    commitment: int | dict[str, float]
    looks_per_step: float
    looks_per_episode: float
    return_mean: float
    share: float | None
    certified_share: float
    episodes: int
    time_saved: float | None
    is_tested: bool
    is_certified: bool

    @property
    def name(self) -> str:
        """The rule in short."""
        return str(resolve_commitment(self.commitment, 10**9))

    @property
    def in_words(self) -> str:
        """The rule in a sentence about a certificate, which has a confidence of its own."""
        rule = self.commitment
        return (
            self.name
            if isinstance(rule, int)
            else f"looks where the plan's own confidence falls below {rule['threshold']:g}"
        )


@dataclass(frozen=True, kw_only=True)
class Tuning:
    """The rules, the test's result, and all that is needed to judge it.

    Attributes:
        zero: The return that counts as 0; `zero_is` says where it comes from.
        return_range: Least and greatest return of an episode; those seen unless `is_bounded`.
        look_seconds: Time of one decision of an agent: of the student with a `fixed n`, of the student with a
            `confidence limit`, and of the `teacher`; None where their backends differ.
        n_rules: How many rules the student can follow; more than `candidates` where time was short.
        is_hurried: Whether there was a limit of time.
        chosen: Index of the certified candidate with the least policy time per step; None if none was certified.
        teacher_id: The teacher's identity, a hash where one is known; `backend` is what computed the student's plans.
        baselines: What simpler policies kept in the calibration; none is certified.
        fas: The student's frequency-averaged score over `fas_lengths` in the calibration; 0 is random play, 1 the teacher.
        repeat_fas: The same of the teacher's repeated action; None if it was not played.
    """

    env_id: str
    seed: int
    model: str
    teacher: str
    horizon: int
    retain: float
    confidence: float
    zero: float
    zero_is: str
    return_range: tuple[float, float]
    is_bounded: bool
    teacher_return: float
    look_seconds: dict[str, float] | None
    fresh_episodes: int
    calibration_episodes: int
    n_rules: int
    is_hurried: bool
    candidates: tuple[Candidate, ...]
    chosen: int | None
    fas: float | None
    fas_lengths: tuple[int, ...]
    repeat_fas: float | None = None
    baselines: tuple[Baseline, ...] = ()
    warnings: tuple[str, ...] = ()
    teacher_id: str = ""
    backend: str = ""
    student: Any = field(default=None, repr=False)
    """The model with the certified rule, where `phr.tune` was given a model."""

    @property
    def choice(self) -> Candidate | None:
        """The certified candidate with the least policy time per step."""
        return None if self.chosen is None else self.candidates[self.chosen]

    @property
    def commitment(self) -> int | dict[str, float]:
        """What the model does by default from now on: the certified rule, else one action per look."""
        return 1 if self.choice is None else self.choice.commitment

    @property
    def best_repeat(self) -> Baseline | None:
        """The action repeat with the fewest looks that kept the share asked for, as observed; None if none was played."""
        kept = [each for each in self.baselines if each.is_repeat and comparable(each.share) >= self.retain]
        return min(kept, key=lambda each: each.looks_per_step, default=None)

    @property
    def simpler(self) -> list[str]:
        """A warning where the teacher's action repeated needs no more looks than the certified rule."""
        best = self.best_repeat
        if best is None or best.n == 1 or (self.choice and best.looks_per_step > _AS_SELDOM * self.choice.looks_per_step):
            return []
        kept = f"kept {percent(best.share)} as observed in {best.episodes:,} episodes"
        fewer = f"{1 / best.looks_per_step:.1f} × fewer looks: this environment hardly needs new decisions"
        return [f"without any student, the teacher's action repeated {best.n} times {kept}, {fewer}"]

    @property
    def budgets(self) -> tuple[Budget, ...]:
        """The best observed return with at most 1, 2, 4, … looks an episode, on average."""
        found, looks = list[Budget](), 1
        repeats = [each for each in self.baselines if each.is_repeat]
        while looks < 2 * max(each.looks_per_episode for each in self.candidates):
            best = _best_within(looks, self.candidates)
            repeat = _best_within(looks, repeats)
            if best is not None:
                found.append(
                    Budget(
                        looks=looks, rule=best.name, share=best.share, return_mean=best.return_mean,
                        repeat=None if repeat is None else repeat.name,
                        repeat_share=None if repeat is None else repeat.share,
                    )
                )  # fmt: skip
            looks *= 2
        return tuple(found)

    def _all_keep_less(self, candidates: Iterable[Candidate]) -> bool:
        """Whether every rule was played, and these keep less than was asked for."""
        kept_less = all(each.share is not None and each.share < self.retain for each in candidates)
        return kept_less and len(self.candidates) == self.n_rules

    @property
    def verdict(self) -> str:
        """The result in one line."""
        above = f" above zero = {self.zero:.6g}" if self.zero_is == "as asked" else ""
        kept = f"≥ {percent(self.retain, 10)} of the teacher's return{above}"
        asked = f"{kept} with {percent(self.confidence, 10)} confidence"
        if self.choice is not None:
            saved, only = self.choice.time_saved, ""
            policy_time = "" if saved is None else f", {saved:.1f} × less policy time"
            if saved is not None and saved < 0.95:
                policy_time = f", slower than the teacher: {1 / saved:.1f} × its policy time"
            if self.choice.commitment == 1 and self.horizon > 1:
                is_known = self._all_keep_less(each for each in self.candidates if each.looks_per_step < 1)
                all_in = f"n = 1 is all that could be certified in {self.fresh_episodes:,} episodes: "
                only = "only n = 1 qualifies: " if is_known else all_in
            fewer = f"{1 / self.choice.looks_per_step:.1f} × fewer looks"
            fresh = f"{self.choice.episodes:,} fresh episodes"
            return f"certified: {only}{asked}, {self.choice.in_words}, {fewer}{policy_time}, {fresh}"
        tested = next(each for each in self.candidates if each.is_tested)
        certain = percent(tested.certified_share, 10)
        so_far = f"certified so far is {tested.in_words} ≥ {certain}, {tested.episodes:,} fresh episodes"
        if self.retain == 1:
            why = "episodes prove this only of a student that collects more than its teacher"
            return f"not certified: {asked}: {why}; {so_far}; --retain 0.99 asks for a little less"
        if self._all_keep_less(self.candidates):
            return f"not certified: {asked}: no rule of this student kept so much; {so_far}"
        more = "--budget allows more time" if self.is_hurried else "--max-episodes allows more episodes"
        return f"not certified: {asked}; {so_far}; --retain asks for less, {more}"

    def __str__(self) -> str:
        beyond = "" if self.is_bounded else ", the worst and best seen: no later episode is expected to be worse"
        lines = [
            f"{self.model} in {self.env_id}: horizon {self.horizon}, teacher {self.teacher}",
            f"  teacher        return {self.teacher_return:.6g} in {self.fresh_episodes:,} fresh episodes",
            f"  share          (return − {self.zero:.6g}) / (teacher's − {self.zero:.6g}); {self.zero_is}",
            f"  returns lie in {self.return_range[0]:.6g} .. {self.return_range[1]:.6g}{beyond}",
            "",
            "  rule                looks/step  time saved     share  certified  episodes",
        ]
        if self.look_seconds is not None:
            each_kind = ", ".join(f"{kind} {1e6 * seconds:.0f} µs" for kind, seconds in self.look_seconds.items())
            lines.insert(-2, f"  one look       {each_kind}")
        for candidate in self.candidates:
            saved = "unknown" if candidate.time_saved is None else f"{candidate.time_saved:.2f} ×"
            state = "certified" if candidate.is_certified else "tested" if candidate.is_tested else ""
            lines.append(
                f"  {candidate.name:<18} {candidate.looks_per_step:>11.4f} {saved:>11} {percent(candidate.share):>9} "
                f"{percent(candidate.certified_share, 10):>10} {candidate.episodes:>9,}  {state}".rstrip()
            )
        if len(self.candidates) < self.n_rules:
            lines.append(f"  {len(self.candidates)} of {self.n_rules} rules were played, as time was short")
        lines += self._baseline_lines()
        lines += ["", self.verdict, *(f"warning: {line}" for line in self.warnings)]
        return "\n".join(lines)

    def _baseline_lines(self) -> list[str]:
        """What is observed in the calibration only."""
        lines = ["", "  observed only, in the calibration's episodes:"]
        for each in self.baselines:
            saved = "unknown" if each.time_saved is None else f"{each.time_saved:.2f} ×"
            share = percent(each.share)
            lines.append(
                f"  {each.name:<18} {each.looks_per_step:>11.4f} {saved:>11} {share:>9} {'':>10} {each.episodes:>9,}"
            )
        if (best := self.best_repeat) is not None:
            fewer = "the teacher itself" if best.n == 1 else f"{1 / best.looks_per_step:.1f} × fewer looks"
            lines.append(f"  best action repeat that keeps {percent(self.retain, 10)}: n = {best.n}, {fewer}")
        over = ", ".join(map(str, self.fas_lengths))
        repeated = "" if self.repeat_fas is None else f", of action repeat {self.repeat_fas:.3f}"
        if self.fas is not None:
            lines.append(f"  frequency-averaged score (n = {over}): {self.fas:.3f}{repeated}")
        lines += ["", "  looks an episode  best rule              share  best action repeat     share"]
        for budget in self.budgets:
            repeat = "" if budget.repeat is None else f"{budget.repeat:<18} {percent(budget.repeat_share):>9}"
            lines.append(f"  at most {budget.looks:>8,}  {budget.rule:<18} {percent(budget.share):>9}  {repeat}".rstrip())
        return lines

    def to_json(self) -> dict[str, Any]:
        """All of it as plain values, under the names of `phr tune --json`."""
        values = {name: value for name, value in vars(self).items() if name not in ("candidates", "baselines", "student")}
        rows = [{**vars(each), "rule": each.name} for each in self.candidates]
        best = None if self.best_repeat is None else self.best_repeat.n
        observed = {
            "baselines": [vars(each) for each in self.baselines],
            "best_repeat": best,
            "budgets": [vars(each) for each in self.budgets],
        }
        return {**values, "candidates": rows, **observed, "verdict": self.verdict}

    def evidence(self) -> dict[str, Any]:
        """What goes into a model's notes beside the rule: what was certified, against which teacher, where and how."""
        chosen = None if self.choice is None else {**vars(self.choice), "rule": self.choice.name}
        curve = [{"rule": each.name} | {name: getattr(each, name) for name in _SHOWN} for each in self.candidates]
        result = {"chosen": chosen, "verdict": self.verdict, "warnings": list(self.warnings), "curve": curve}
        return {name: getattr(self, name) for name in _EVIDENCE} | result


_EVIDENCE = (
    "env_id", "seed", "teacher", "teacher_id", "backend", "horizon", "retain", "confidence", "fresh_episodes", "n_rules",
    "zero", "zero_is", "return_range", "is_bounded", "teacher_return",
)  # fmt: skip


_SHOWN = ("looks_per_step", "share", "certified_share", "episodes", "is_certified")

_Rated = TypeVar("_Rated", Candidate, Baseline)


def _best_within(looks: int, rules: Sequence[_Rated]) -> _Rated | None:
    """The rule that kept the most of those with so many looks an episode, or fewer; of equals the one that looks least."""
    within = [each for each in rules if each.looks_per_episode <= looks]
    return max(within, key=lambda each: (comparable(each.share), -each.looks_per_episode), default=None)


def percent(share: float | None, digits: int = 4) -> str:
    return "unknown" if share is None else f"{100 * share:.{digits}g} %"


def comparable(share: float | None) -> float:
    """A share to compare with; an unknown one is below all others."""
    return -math.inf if share is None else share


@dataclass(frozen=True, kw_only=True)
class RetentionCurve:
    """The share of the teacher's return that plans of n actions keep, observed on the same starts; not a certificate."""

    episodes: int
    zero: float
    zero_is: str
    teacher_return: float
    shares: dict[int, float]

    def __str__(self) -> str:
        each = ", ".join(f"n = {n}: {percent(share)}" for n, share in self.shares.items())
        return f"kept of the teacher's return ({self.teacher_return:.6g}) in {self.episodes} episodes: {each}"

    @property
    def warning(self) -> str | None:
        """One sentence where the whole plan loses more than 1 %."""
        horizon = max(self.shares)
        if self.shares[horizon] >= _NEARLY_ALL:
            return None
        return (
            f"whole plans of {horizon} actions keep {percent(self.shares[horizon])} of the teacher's return: execute fewer "
            "(phr tune finds how many), distil longer (--n-updates, --refine), or train on return (--finetune STEPS)"
        )

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {**vars(self), "shares": {str(n): share for n, share in self.shares.items()}}

    @classmethod
    def from_json(cls, values: Any) -> RetentionCurve:
        """Read the values of `to_json`; CorruptFileError for others."""
        return as_kind(values, cls, "the curve")


_NEARLY_ALL = 0.99
_AS_SELDOM = 1.05
"""How many times the looks of the certified rule an action repeat may need to be worth a warning."""
