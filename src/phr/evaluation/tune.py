"""How seldom may a student look? The cheapest rule whose return keeps a share of the teacher's, with a stated confidence.

First every rule plays the same calibration episodes; they choose which rules are tested. A rule costs its looks per step ×
the time of one decision. Then fresh episodes test the cheapest rule that may hold, with most of 1 − confidence, the
probability of a wrong certificate. Only if it fails, others are tested with what is left of it, from the safest, which looks
most often, to the boldest, until one fails (*fixed-sequence testing*: Angelopoulos et al. 2021, arXiv:2110.01052, sec. 2).
So the probability that any rule is certified wrongly is at most 1 − confidence. A rule and the teacher play from the same
starts, and the test stops as soon as the answer is certain (`phr.evaluation.certify`).

Last, baselines play the calibration episodes (`phr.evaluation.baselines`). They choose nothing and certify nothing.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import zip_longest
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from phr.acting.agent import HorizonAgent
from phr.acting.commitment import AnyCommitment, ConfidentCommitment, FixedCommitment
from phr.actions import ActionSpace, action_space_of
from phr.envs.vector import Start, VectorSplit
from phr.errors import FOREIGN_ERRORS, IncompatibleModelError, SettingError, error_text
from phr.evaluation.baselines import FREQUENCIES, Baseline, frequency_averaged_score, play_repeats
from phr.evaluation.certify import Numbers, certain_after
from phr.evaluation.episodes import play_episodes
from phr.evaluation.tuning import Candidate, RetentionCurve, Tuning, comparable, percent
from phr.plan import ContinuousPlan, NetworkPlan, Planner, ask
from phr.progress import OnProgress, Progress, silent
from phr.seeding import Streams
from phr.settings import check_number, check_whole, no_type_check, shown

__all__ = ["TuneSettings", "measure_curve", "tune_planner"]

_Each = TypeVar("_Each")

THRESHOLDS = (0.02, 0.1, 0.3, 0.5, 0.7, 0.9, 0.95, 0.98, 0.99)
"""Joint confidences that are tried as limits."""
LENGTHS = (1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 16, 20, 24, 32)
"""Numbers of actions per look that are tried, and the whole horizon."""
_BATCH = 25
"""Fresh episodes between two looks at the evidence."""
_FIRST = 25
"""Calibration episodes after which hopeless rules are left out."""
_TESTED = 3
"""The most rules that are tested beside the safest."""
_CHEAPEST = 0.8
"""Part of the probability of a wrong certificate, and of the time, that the cheapest rule's test has."""
_MARGIN = 1.5
"""A rule is likely to be certified if so many times the episodes that a certificate roughly takes may be played."""
_BLIND = 100
"""Episodes of a random policy: they state what a return is worth, and certify nothing."""
_HURRIED = 50
"""Calibration episodes of the teacher that are played however little time there is."""
_RESOLUTION = 0.001
"""Steps in which the certified share is searched."""


@no_type_check
@dataclass(frozen=True, kw_only=True)
class TuneSettings:
    """What is promised, and what it may cost; SettingError for a value out of its range.

    Attributes:
        retain: Share of the teacher's return to keep, above 0 and at most 1. Episodes prove 1 only of a student that
            collects more than its teacher.
        confidence: Probability that the promise holds, above 0.5 and below 1.
        max_episodes: The most fresh episodes of each rule.
        calibration: The fewest episodes that choose the rules to test, at least 25; `n_calibration` are played.
        zero: The return that counts as 0. None: 0 if no return is ever negative, else a random policy's mean return.
        return_range: The least and the greatest possible return of an episode; None if unknown.
        seed: Of all starts, and of the random policy.
    """

    retain: float = 0.99
    confidence: float = 0.95
    max_episodes: int = 2000
    calibration: int = 100
    zero: float | None = None
    return_range: tuple[float, float] | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        check_number("retain", self.retain, "be a number above 0 and at most 1", lambda value: 0 < value <= 1)
        check_number("confidence", self.confidence, "be a number above 0.5 and below 1", lambda value: 0.5 < value < 1)
        check_whole("max_episodes", self.max_episodes, 1)
        check_whole("calibration", self.calibration, _FIRST)
        if self.zero is not None:
            check_number("zero", self.zero, "be a finite number", math.isfinite)
        if self.return_range is not None:
            ends: Any = self.return_range
            must, is_pair = "be two finite numbers, low < high", isinstance(ends, tuple | list) and len(ends) == 2
            for end in ends if is_pair else ():
                check_number("return_range", end, must, math.isfinite)
            if not is_pair or not ends[0] < ends[1]:
                raise SettingError(f"return_range must {must}, got {shown(ends)}")
        Streams(self.seed)

    @property
    def n_calibration(self) -> int:
        """Episodes of the calibration, up to `max_episodes`.

        A rule that fails totally in 1 − `retain` of its episodes is found in 95 % of all calibrations (the rule of three);
        one that fails in the test ends it for all rules that look less often.
        """
        if self.retain == 1:
            return self.calibration
        return max(self.calibration, min(math.ceil(3 / (1 - self.retain) - 1e-6), self.max_episodes))


def measure_curve(
    student: Planner, teacher: Planner, vector: VectorSplit, *, episodes: int = 100, seed: int = 0
) -> RetentionCurve:
    """Play a student with 1, 2, 4, … actions per look, and whole plans, from the same starts as its teacher.

    IncompatibleModelError if the teacher collects no more than a random policy.
    """
    games = _Games("curve", seed)
    theirs = games.play(vector, "teacher", teacher, 1, episodes)[:, 0]
    random = RandomPlanner(vector.action_space, Streams(seed).rng("tune-random"))
    blind = games.play(vector, "random", random, 1, episodes, abandon_refused=True)[:, 0]
    zero, zero_is = _zero(TuneSettings(seed=seed), theirs, blind, "itself")
    lengths = sorted({2**k for k in range(student.horizon.bit_length()) if 2**k < student.horizon} | {student.horizon})
    played = {n: games.play(vector, str(n), student, n, episodes)[:, 0] for n in lengths}
    shares = {n: float((mine.mean() - zero) / (theirs.mean() - zero)) for n, mine in played.items()}
    return RetentionCurve(episodes=episodes, zero=zero, zero_is=zero_is, teacher_return=float(theirs.mean()), shares=shares)


class RandomPlanner:
    """Random actions of a space, uniform where it has bounds; what a policy is worth that knows nothing."""

    horizon = 1

    def __init__(self, space: ActionSpace, rng: np.random.Generator) -> None:
        self.action_space, self.n_actions, self._rng = space, space.n_outputs, rng

    def plan(self, obs: NDArray[Any]) -> NetworkPlan:
        """One random action for each observation."""
        actions = np.array(self.action_space.samples(self._rng, len(obs)), self.action_space.dtype)
        return self.action_space.certain(actions[:, None])


class _Games:
    """Episodes from one list of starts, played when they are asked for and kept; column 0 is the return."""

    def __init__(self, stream: str, seed: int) -> None:
        self._stream, self._streams = stream, Streams(seed)
        self._played: dict[str, NDArray[np.float64]] = {}

    def play(
        self,
        vector: VectorSplit,
        name: str,
        planner: Planner,
        commitment: AnyCommitment,
        n: int,
        *,
        abandon_refused: bool = False,
    ) -> NDArray[np.float64]:
        """Return, length and evaluations of the first `n` episodes of a policy, shape `(n, 3)`."""
        before = self._played.get(name, np.zeros((0, 3)))
        starts = [Start(self._streams.integer(self._stream, index)) for index in range(len(before), n)]
        if starts:
            new = play_episodes(planner, vector, starts, commitment=commitment, abandon_refused=abandon_refused)
            before = np.concatenate([before, np.stack([new.returns, new.lengths, new.evaluations], axis=1)])
            self._played[name] = before
        return before[:n]


@dataclass
class _Rule:
    """A candidate while it is examined."""

    commitment: FixedCommitment | ConfidentCommitment
    calibrated: NDArray[np.float64]
    fresh: NDArray[np.float64] | None = None
    delta: float | None = None
    """Probability of a wrong certificate that its test may use."""
    is_certified: bool = False

    @property
    def name(self) -> str:
        return str(self.commitment)

    @property
    def kind(self) -> str:
        """Rules of one kind take the same time to decide."""
        return "fixed n" if isinstance(self.commitment, FixedCommitment) else "confidence limit"

    @property
    def looks(self) -> float:
        """Looks per step in the calibration."""
        return float(self.calibrated[:, 2].sum() / self.calibrated[:, 1].sum())


def _abandoned(vector: VectorSplit) -> list[str]:
    """Take what the environment refused of the random policy out of the remarks, which are of the student."""
    why = vector.remarks.abandoned[:]
    vector.remarks.abandoned.clear()
    refused = f"because the environment refused an action (the first: {why[0]}); --zero states another zero" if why else ""
    return [f"{len(why):,} episodes of the random policy were abandoned, {refused}"] if why else []


class TeacherReturns:
    """What the teacher and a random policy collect from the calibration's starts: the measure of every student.

    The teacher acts greedily in the environments of `vector`, whose autoreset must be `disabled`. IncompatibleModelError if
    it does not fit, or collects no more than the random policy.

    Attributes:
        theirs, blind: Returns of the teacher's and the random policy's episodes.
        length: Mean length of the teacher's episodes.
        episode_seconds, step_seconds: What an episode, and a step, of the teacher took.
    """

    def __init__(
        self,
        teacher: Planner,
        teacher_name: str,
        vector: VectorSplit,
        settings: TuneSettings,
        *,
        seconds: float = math.inf,
        on_progress: OnProgress = silent,
    ) -> None:
        """Play both; the teacher no longer than about `seconds`, as long as there are a few dozen episodes."""
        _check_actions(teacher, teacher_name, vector)
        self.teacher, self.teacher_name, self.settings = teacher, teacher_name, settings
        self._games, n = _Games("tune-calibration", settings.seed), settings.n_calibration
        random = RandomPlanner(vector.action_space, Streams(settings.seed).rng("tune-random"))
        on_progress(Progress(f"calibrating, {n} episodes of the teacher", 0, 2, "policies"))
        few, since = min(_HURRIED, n), time.perf_counter()
        steps = float(self._games.play(vector, "teacher", teacher, 1, few)[:, 1].sum())
        taken = max(time.perf_counter() - since, 1e-9)
        self.length, self.episode_seconds, self.step_seconds = steps / few, taken / few, taken / steps
        n = max(few, int(min(n, seconds / self.episode_seconds)))
        self.theirs = self._games.play(vector, "teacher", teacher, 1, n)[:, 0]
        on_progress(Progress(f"calibrating, {min(n, _BLIND)} episodes of a random policy", 1, 2, "policies"))
        self.blind = self._games.play(vector, "random", random, 1, min(n, _BLIND), abandon_refused=True)[:, 0]
        self.warnings = _abandoned(vector)
        self.zero, self.zero_is = _zero(settings, self.theirs, self.blind, teacher_name)

    def judge(
        self,
        student: Planner,
        model: str,
        vector: VectorSplit,
        *,
        seconds: float = math.inf,
        max_episodes: int | None = None,
        is_timed: bool = True,
        on_progress: OnProgress = silent,
    ) -> Prospect:
        """Play the rules of a student from the same starts; those without hope are left out early.

        All rules are played if about `seconds` suffice, else some, and the cheapest that may hold in the most episodes.
        `max_episodes` is how many fresh ones a test may take, as in the settings by default. IncompatibleModelError if the
        student does not fit; SettingError if a return is outside `settings.return_range`.
        """
        _check_actions(student, model, vector)
        settings, since = self.settings, time.perf_counter()
        rules = [_Rule(commitment, np.zeros((0, 3))) for commitment in _rules(student, vector, settings.seed)]
        agents = {rule.kind: HorizonAgent(student, rule.commitment) for rule in rules}
        taken = _look_seconds({**agents, "teacher": HorizonAgent(self.teacher, 1)}, vector, settings.seed)
        # A rule computes all that a fixed number does, so a lower time is noise; at equal looks the fixed number is chosen.
        taken = {kind: each if kind == "teacher" else max(each, taken["fixed n"]) for kind, each in taken.items()}
        most = settings.max_episodes if max_episodes is None else min(max_episodes, settings.max_episodes)
        prospect = Prospect(self, student, model, [], self._scale([]), taken, len(rules), most, is_timed)
        unplayed, waiting, n = _coarse_first(rules), list[_Rule](), len(self.theirs)
        while (unplayed or waiting) and not (prospect.rules and time.perf_counter() > since + seconds):
            prospect.scale = self._scale(prospect.rules)
            if unplayed and (not waiting or time.perf_counter() <= since + seconds / 2):
                rule, count = unplayed.pop(0), _FIRST
            else:
                holds = any(len(rule.calibrated) == n for rule in prospect.promising())
                rule = max(waiting, key=lambda rule: rule.looks) if holds else min(waiting, key=prospect.cost)
                waiting.remove(rule)
                count = n
            done = len(rules) - len(unplayed) - (count == _FIRST)
            on_progress(Progress(f"calibrating, {count} episodes each", done, len(rules), "rules"))
            rule.calibrated = self._games.play(vector, f"{model}: {rule.name}", student, rule.commitment, count)
            prospect.rules = [each for each in rules if len(each.calibrated)]
            if count < n and self.has_hope(rule):
                waiting.append(rule)
        prospect.scale = self._scale(prospect.rules)
        prospect.scale.check(np.concatenate(self._seen(prospect.rules)), vector.env_id)
        return prospect

    def has_hope(self, rule: _Rule) -> bool:
        """Whether the episodes so far leave it open that enough is kept."""
        return _has_hope(rule.calibrated[:, 0], self.theirs, self.zero, self.settings)

    def _seen(self, rules: Sequence[_Rule]) -> list[Numbers]:
        return [self.theirs, self.blind, *(rule.calibrated[:, 0] for rule in rules)]

    def _scale(self, rules: Sequence[_Rule]) -> _Scale:
        """What returns mean, by all that was seen."""
        given, seen = self.settings.return_range, np.concatenate(self._seen(rules))
        return _Scale(self.zero, (float(seen.min()), float(seen.max())) if given is None else given, given is not None)

    def baselines(
        self,
        vector: VectorSplit,
        lengths: Sequence[int],
        baseline: tuple[str, Planner] | None,
        scale: _Scale,
        is_timed: bool,
        repeat_seconds: float,
    ) -> tuple[tuple[Baseline, ...], dict[int, Numbers], list[str]]:
        """What the teacher's action repeated n times, and the named policy, kept; the episodes of each n; warnings.

        After about `repeat_seconds` no further n is begun. A baseline that cannot be played is left out, whatever it raises:
        the certificate has been decided.
        """
        settings, n = self.settings, len(self.theirs)
        played: dict[int, Numbers] = {}
        warnings: list[str] = []
        try:
            played = play_repeats(
                self.teacher,
                lengths,
                partial(self._games.play, vector),
                (_FIRST, n),
                lambda mine: _has_hope(mine, self.theirs, self.zero, settings),
                until=time.perf_counter() + repeat_seconds,
            )
        except FOREIGN_ERRORS as error:
            warnings.append(f"action repeat could not be played: {error_text(error)}")
        rows = [
            _baseline(f"action repeat {k}", k, each, self.theirs, scale, None, is_repeat=True) for k, each in played.items()
        ]
        if baseline is not None:
            name, planner = baseline
            try:
                agents = {"baseline": HorizonAgent(planner, 1), "teacher": HorizonAgent(self.teacher, 1)}
                taken = _look_seconds(agents, vector, settings.seed)
                saved = taken["teacher"] / taken["baseline"] if is_timed else None
                alone = self._games.play(vector, f"baseline: {name}", planner, 1, n)
                rows.append(_baseline(name, 1, alone, self.theirs, scale, saved, is_repeat=False))
            except FOREIGN_ERRORS as error:
                warnings.append(f"the baseline {name} could not be played: {error_text(error)}")
        return tuple(rows), played, warnings

    def score(self, by_n: Mapping[int, Numbers]) -> float | None:
        """The frequency-averaged score of what each n gave, over those of `FREQUENCIES` among them; None without any."""
        means = {n: float(by_n[n][:, 0].mean()) for n in FREQUENCIES if n in by_n}
        if not means:
            return None
        return frequency_averaged_score(
            means, random_return=float(self.blind.mean()), teacher_return=float(self.theirs.mean())
        )


@dataclass(eq=False)
class Prospect:
    """A student after its calibration.

    Attributes:
        look_seconds: Time of one decision, as in `Tuning`.
        rules: Those that were played, of `n_rules`.
        max_episodes: The most fresh episodes of a test.
        is_timed: Whether student and teacher may be compared.
    """

    calibration: TeacherReturns
    student: Planner
    model: str
    rules: list[_Rule]
    scale: _Scale
    look_seconds: dict[str, float]
    n_rules: int
    max_episodes: int
    is_timed: bool = True

    @property
    def keeps_whole_plans(self) -> bool:
        """Whether whole plans may be certified: no rule looks less often."""
        return FixedCommitment(self.student.horizon) in [rule.commitment for rule in self.promising()]

    @property
    def looks_per_step(self) -> float | None:
        """Of the cheapest rule that may be certified; None if there seems to be none."""
        best = self._best()
        return None if best is None else best.looks

    @property
    def most_kept(self) -> float:
        """The greatest share of the teacher's return that a rule kept in the calibration."""
        return max(map(self._kept_by, self.rules))

    def _kept_by(self, rule: _Rule) -> float:
        """The share that a rule kept in the calibration, to compare with."""
        return comparable(self.scale.share(rule.calibrated[:, 0], self.calibration.theirs[: len(rule.calibrated)]))

    @property
    def shorter_horizon(self) -> int | None:
        """The horizon of a student that has less to learn; None if it would be no shorter.

        Twice the most actions per look that may keep enough. If no rule is likely to be certified, so many, or 2: a network
        that has to know the later actions too is worse at the first.
        """
        hopeful = (rule.commitment for rule in self.rules if self.calibration.has_hope(rule))
        most = max((each.n for each in hopeful if isinstance(each, FixedCommitment)), default=0)
        shorter = 2 * most if self.promising() else max(2, most)
        return shorter if shorter < self.student.horizon else None

    @property
    def seconds_per_look(self) -> float:
        """Time of one decision by that rule; at a fixed number of actions if there is none."""
        best = self._best()
        return self.look_seconds["fixed n" if best is None else best.kind]

    def _best(self) -> _Rule | None:
        return min(self.promising(), key=self.cost, default=None)

    def cost(self, rule: _Rule) -> float:
        """Seconds of policy time per step."""
        return rule.looks * self.look_seconds[rule.kind]

    def promising(self) -> list[_Rule]:
        """The rules that the episodes of a test are likely to certify."""
        settings = self.calibration.settings
        return [rule for rule in self.rules if _MARGIN * self._needed(rule, settings) <= self.max_episodes]

    def _needed(self, rule: _Rule, settings: TuneSettings) -> float:
        """Roughly the episodes that a certificate takes; half a total failure is added to what a rule with losses lost."""
        mine, theirs = rule.calibrated[:, 0], self.calibration.theirs[: len(rule.calibrated)]
        differences = self.scale.differences(mine, theirs, settings.retain)
        worst, unseen = self.scale.worst(settings.retain), 0.5 * bool((mine < theirs).any())
        mean = (differences.sum() - unseen * worst) / (len(mine) + unseen)
        bits = -math.log(_CHEAPEST * (1 - settings.confidence))
        return math.inf if mean <= 0 else bits * (worst / mean + 2 * float(differences.var()) / mean**2)

    def to_test(self) -> list[_Rule]:
        """The rules to test, the cheapest last: it, the safest promising one, and some between; or the one that kept most.

        A rule that looks more often is safer, and precedes those that look less often.
        """
        promising = self.promising() or [max(self.rules, key=self._kept_by)]
        chosen, worth, surest = list[_Rule](), list[_Rule](), math.inf
        for rule in sorted(promising, key=self.cost):
            # A rule that costs more and seems less certain than a cheaper one is not worth a test, whose failure ends all.
            if (needed := self._needed(rule, self.calibration.settings)) > surest:
                continue
            worth, surest, last = [*worth, rule], needed, chosen[-1] if chosen else None
            if last is None or (rule.looks > last.looks and self.cost(rule) >= _APART * self.cost(last)):
                chosen.append(rule)
        safest = max(worth, key=lambda rule: rule.looks)
        chosen = [*(rule for rule in chosen[:_TESTED] if rule is not safest), safest]
        return sorted(chosen, key=lambda rule: rule.looks, reverse=True)

    def certify(
        self,
        vector: VectorSplit,
        *,
        repeat: bool = True,
        baseline: tuple[str, Planner] | None = None,
        baseline_is_timed: bool = True,
        seconds: float = math.inf,
        repeat_seconds: float = math.inf,
        on_progress: OnProgress = silent,
    ) -> Tuning:
        """Test the promising rules with fresh episodes, then play baselines: the repeated action, the named policy.

        `baseline_is_timed` is whether the named policy's call may be compared with the teacher's. After about `seconds` what
        is not certain yet stays so; after about `repeat_seconds` more no further repeated action is played.

        SettingError if a return is outside `settings.return_range`.
        """
        if baseline is not None:
            _check_actions(baseline[1], baseline[0], vector)
        of, settings, scale = self.calibration, self.calibration.settings, self.scale
        fresh, n_fresh, since = _Games("tune-fresh", settings.seed), 0, time.perf_counter()
        warnings: list[str] = []

        def test(rule: _Rule, delta: float, until: float) -> bool:
            """Play fresh episodes until it is certain that the rule keeps enough, or no longer to be expected."""
            nonlocal n_fresh
            rule.fresh, rule.delta, rule.is_certified, begun = None, delta, False, time.perf_counter()
            while (done := 0 if rule.fresh is None else len(rule.fresh)) < self.max_episodes:
                if done and time.perf_counter() > until:
                    break
                n_next = min(done + max(_BATCH, vector.n_envs), self.max_episodes)
                n_fresh = max(n_fresh, n_next)
                rule.fresh = fresh.play(vector, rule.name, self.student, rule.commitment, n_next)
                kept = fresh.play(vector, "teacher", of.teacher, 1, n_next)[:, 0]
                scale.check(np.concatenate([rule.fresh[:, 0], kept]), vector.env_id)
                differences = scale.differences(rule.fresh[:, 0], kept, settings.retain)
                worst = scale.worst(settings.retain)
                part = (time.perf_counter() - begun) / max(until - begun, 1e-9)  # of its time
                most = self.max_episodes if part == 0 else max(n_next, int(min(self.max_episodes, n_next / part)))
                on_progress(Progress(f"testing {rule.commitment}", n_next, most, "episodes"))
                if certain_after(differences, worst, delta, bounded=scale.is_bounded) is not None:
                    rule.is_certified = True
                    break
                error = differences.std() / math.sqrt(n_next)
                if (n_next > _BATCH and differences.mean() < -2 * error) or not differences.any():  # equality has no proof
                    break
            return rule.is_certified

        *others, cheapest = self.to_test()
        delta, part = 1 - settings.confidence, _CHEAPEST if others else 1.0
        if not test(cheapest, part * delta, since + part * seconds):
            all(test(rule, (1 - part) * delta, since + seconds) for rule in others)  # until one fails
        theirs_fresh = fresh.play(vector, "teacher", of.teacher, 1, n_fresh)[:, 0]
        if not scale.is_bounded and n_fresh:
            low = min(float(rule.fresh[:, 0].min()) for rule in self.rules if rule.fresh is not None)
            if low < scale.ends[0]:
                warnings.append(
                    f"a fresh episode returned {low:.6g}, worse than any before; --return-range states what can occur"
                )
        compared = self.look_seconds if self.is_timed else None
        if compared is None:
            warnings.append("student and teacher run on different backends, so no policy time is compared")
        # Baselines, last: whatever they draw or return, the certificate has been decided.
        lengths = _halves_first(_lengths(self.student.horizon)) if repeat else []
        baselines, by_n, not_played = of.baselines(vector, lengths, baseline, scale, baseline_is_timed, repeat_seconds)
        outside = [each for each in by_n.values() if scale.outside(each[:, 0]).size]
        if outside:
            warnings.append(f"action repeat returned {scale.outside(outside[0][:, 0])[0]:.6g}, outside return_range")
        fixed = {rule.commitment.n: rule.calibrated for rule in self.rules if isinstance(rule.commitment, FixedCommitment)}
        candidates = tuple(_candidate(rule, of.theirs, theirs_fresh, scale, settings, compared) for rule in self.rules)
        if not any(each.is_certified for each in candidates):
            warnings += _of_every_step(candidates)
        costs = {
            index: each.looks_per_step * self.look_seconds[rule.kind]
            for index, (rule, each) in enumerate(zip(self.rules, candidates, strict=True))
            if each.is_certified
        }
        found = Tuning(
            env_id=vector.env_id,
            seed=settings.seed,
            model=self.model,
            teacher=of.teacher_name,
            horizon=self.student.horizon,
            retain=float(settings.retain),
            confidence=float(settings.confidence),
            zero=of.zero,
            zero_is=of.zero_is,
            return_range=(float(scale.ends[0]), float(scale.ends[1])),
            is_bounded=scale.is_bounded,
            teacher_return=float(theirs_fresh.mean()),
            look_seconds=compared,
            fresh_episodes=n_fresh,
            calibration_episodes=len(of.theirs),
            n_rules=self.n_rules,
            is_hurried=math.isfinite(seconds),
            candidates=candidates,
            chosen=min(costs, key=costs.__getitem__, default=None),
            fas=of.score(fixed),
            fas_lengths=tuple(n for n in FREQUENCIES if n in fixed),
            repeat_fas=of.score(by_n) if by_n.keys() >= fixed.keys() & set(FREQUENCIES) else None,  # over the same n
            baselines=baselines,
            warnings=(*of.warnings, *warnings, *vector.remarks.lines(), *not_played),
        )
        return replace(found, warnings=(*found.warnings, *found.simpler))


def tune_planner(
    student: Planner,
    teacher: Planner,
    vector: VectorSplit,
    settings: TuneSettings,
    *,
    model: str,
    teacher_name: str,
    is_timed: bool = True,
    repeat: bool = True,
    baseline: tuple[str, Planner] | None = None,
    baseline_is_timed: bool = True,
    on_progress: OnProgress = silent,
) -> Tuning:
    """Find the rule with the least policy time that keeps `settings.retain` of the teacher's return.

    Baselines are played afterwards: the teacher's action repeated, unless `repeat` is False, and the named policy
    `baseline`, which looks at every step. Times are compared with the teacher's where `is_timed`, and `baseline_is_timed`.

    Both act greedily in the environments of `vector`, whose autoreset must be `disabled`; `model` and `teacher_name` are to
    print. IncompatibleModelError if one of them does not fit, or the teacher collects no more than a random policy;
    SettingError if an episode's return is outside `settings.return_range`.
    """
    returns = TeacherReturns(teacher, teacher_name, vector, settings, on_progress=on_progress)
    prospect = returns.judge(student, model, vector, is_timed=is_timed, on_progress=on_progress)
    return prospect.certify(
        vector, repeat=repeat, baseline=baseline, baseline_is_timed=baseline_is_timed, on_progress=on_progress
    )


def _check_actions(planner: Planner, name: str, vector: VectorSplit) -> None:
    if action_space_of(planner) != vector.action_space:
        raise IncompatibleModelError(f"{name} has {action_space_of(planner)}, {vector.env_id} has {vector.action_space}")


def _lengths(horizon: int) -> list[int]:
    """The fixed numbers of actions per look that are tried."""
    return sorted({n for n in LENGTHS if n < horizon} | {horizon})


def _rules(student: Planner, vector: VectorSplit, seed: int) -> Iterator[FixedCommitment | ConfidentCommitment]:
    """All rules that a student can follow."""
    horizon = student.horizon
    yield from (FixedCommitment(n) for n in _lengths(horizon))
    plan = ask(student, _one_observation(vector, seed))
    try:
        plan.confidence()
    except SettingError:  # a plan of actions alone
        return
    # A plan of numbers without deviations is as sure in every state, so a limit is a fixed number.
    is_same = isinstance(plan, ContinuousPlan) and plan.outputs.shape[-1] == len(plan.bounds.low)
    if horizon > 1 and not is_same:
        yield from (ConfidentCommitment(threshold) for threshold in THRESHOLDS)


def _coarse_first(rules: Sequence[_Rule]) -> list[_Rule]:
    """Fixed numbers and limits in turn: the whole plan, its half, a quarter, …, 1, then the others; a few limits first."""
    fixed = _halves_first([rule for rule in rules if rule.kind == "fixed n"])
    limits = [rule for rule in rules if rule.kind != "fixed n"]
    coarse = fixed, [*limits[::4], *limits[2::4], *limits[1::2]]
    return [rule for pair in zip_longest(*coarse) for rule in pair if rule is not None]


def _halves_first(ascending: Sequence[_Each]) -> list[_Each]:
    """The last, those at a half, a quarter, …, of the list, then the others, from the last."""
    halves = [len(ascending) >> k for k in range(len(ascending).bit_length())]
    others = [count for count in range(len(ascending), 0, -1) if count not in halves]
    return [ascending[count - 1] for count in (*halves, *others)]


def _one_observation(vector: VectorSplit, seed: int) -> NDArray[Any]:
    """The first observation of an episode that is not played, a batch of one."""
    vector.begin(0, Start(Streams(seed).integer("tune-glance")))
    return vector.observe(np.arange(vector.n_envs) == 0)


def _zero(settings: TuneSettings, theirs: Numbers, blind: Numbers, teacher: str) -> tuple[float, str]:
    """The return that counts as 0, and why; IncompatibleModelError if the teacher is not above it."""
    error = math.sqrt(theirs.var(ddof=1) / len(theirs) + blind.var(ddof=1) / len(blind))
    who = "the teacher" if teacher == "teacher" else f"the teacher {teacher}"
    if theirs.mean() - blind.mean() <= 2 * error:
        raise IncompatibleModelError(
            f"{who} collects {theirs.mean():.6g}, a random policy {blind.mean():.6g} "
            f"(± {2 * error:.3g}): there is nothing to keep"
        )
    if settings.zero is not None:
        zero, zero_is = float(settings.zero), "as asked"
    elif min(theirs.min(), blind.min()) >= 0:
        zero, zero_is = 0.0, "no return is negative"
    else:
        zero, zero_is = float(blind.mean()), f"a random policy's mean in {len(blind):,} episodes, as returns can be negative"
    if theirs.mean() <= zero:
        raise IncompatibleModelError(f"{who} collects {theirs.mean():.6g}, not more than zero={zero:.6g}")
    return zero, zero_is


def _share(mine: Numbers, theirs: Numbers, zero: float) -> float | None:
    """Share of the teacher's return that is kept; None where the teacher's return is not above zero."""
    most = theirs.mean() - zero
    return float((mine.mean() - zero) / most) if most > 0 else None


@dataclass(frozen=True)
class _Scale:
    """What returns mean."""

    zero: float
    ends: tuple[float, float]
    is_bounded: bool

    def differences(self, mine: Numbers, theirs: Numbers, retain: float) -> Numbers:
        """Return − what has to be kept of the teacher's from the same start; the mean decides."""
        kept: Numbers = mine - retain * theirs - (1 - retain) * self.zero
        return kept

    def worst(self, retain: float) -> float:
        """The lowest difference is minus this; positive, also where even the worst keeps enough."""
        low, high = self.ends
        return max(retain * high + (1 - retain) * self.zero - low, 1e-9 * (high - low))

    def share(self, mine: Numbers, theirs: Numbers) -> float | None:
        """Share of the teacher's return that is kept; None where the teacher's return is not above zero."""
        return _share(mine, theirs, self.zero)

    def certified_share(self, mine: Numbers, theirs: Numbers, delta: float) -> float:
        """The greatest share that is certain, 0 if none is."""
        share, most = 0.0, 1.5
        for step in (20 * _RESOLUTION, _RESOLUTION):
            while share + step < most:
                differences = self.differences(mine, theirs, share + step)
                if certain_after(differences, self.worst(share + step), delta, bounded=self.is_bounded) is None:
                    break
                share += step
        return round(share, 3)

    def outside(self, returns: Numbers) -> Numbers:
        """The returns outside a range that the user stated, by more than the rounding of float32 rewards."""
        low, high = self.ends
        slack = float(np.finfo(np.float32).eps) * max(abs(low), abs(high))
        beyond: Numbers = returns[(returns < low - slack) | (returns > high + slack)]
        return beyond if self.is_bounded else beyond[:0]

    def check(self, returns: Numbers, env_id: str) -> None:
        """Refuse a return outside a range that the user stated."""
        low, high = self.ends
        outside = self.outside(returns)
        if len(outside):
            raise SettingError(f"return_range is {low:g}:{high:g}, but an episode of {env_id} returned {outside[0]:.6g}")


def _has_hope(mine: Numbers, theirs: Numbers, zero: float, settings: TuneSettings) -> bool:
    """Whether the first episodes leave it open that enough is kept."""
    differences = mine - settings.retain * theirs[: len(mine)] - (1 - settings.retain) * zero
    return bool(differences.mean() + 3 * differences.std() / math.sqrt(len(mine)) >= 0)


_APART = 1.4
"""The cheap rules that are tested differ in their cost by this factor."""


def _of_every_step(candidates: Sequence[Candidate]) -> list[str]:
    """Warn where looking at every step, the default of a student without a certificate, keeps less than another rule."""
    best = max(candidates, key=lambda each: comparable(each.share))
    for each in candidates:
        if each.commitment == 1 and comparable(each.share) < comparable(best.share) - _WORSE:
            shares = f"n = 1 kept {percent(each.share)}, {best.name} {percent(best.share)}"
            return [f"{shares} as observed, so one action per look is not the best that this student can do"]
    return []


_WORSE = 0.05
"""Share of the teacher's return by which n = 1 has to be worse than another rule for a warning."""


def _candidate(
    rule: _Rule,
    theirs: Numbers,
    theirs_fresh: Numbers,
    scale: _Scale,
    settings: TuneSettings,
    seconds: dict[str, float] | None,
) -> Candidate:
    played = rule.calibrated if rule.fresh is None else rule.fresh
    teacher = (theirs if rule.fresh is None else theirs_fresh)[: len(played)]
    looks, share = float(played[:, 2].sum() / played[:, 1].sum()), scale.share(played[:, 0], teacher)
    certain = scale.certified_share(played[:, 0], teacher, rule.delta or 1 - settings.confidence)
    # Evidence may be judged after every episode, so the greatest share that was ever certain may exceed the one at the end.
    certain = certain if share is None else min(certain, max(0.0, math.floor(share / _RESOLUTION) * _RESOLUTION))
    return Candidate(
        commitment=rule.commitment.to_json(),
        looks_per_step=looks,
        looks_per_episode=float(played[:, 2].mean()),
        return_mean=float(played[:, 0].mean()),
        share=share,
        certified_share=max(certain, float(settings.retain)) if rule.is_certified else certain,
        episodes=len(played),
        time_saved=None if seconds is None else seconds["teacher"] / (looks * seconds[rule.kind]),
        is_tested=rule.fresh is not None,
        is_certified=rule.is_certified,
    )


def _baseline(
    name: str, n: int, played: Numbers, theirs: Numbers, scale: _Scale, time_saved: float | None, *, is_repeat: bool
) -> Baseline:
    """A row of the baselines; action repeat saves the teacher's own calls, so its time needs no clock."""
    looks = float(played[:, 2].sum() / played[:, 1].sum())
    return Baseline(
        name=name,
        n=n,
        is_repeat=is_repeat,
        looks_per_step=looks,
        looks_per_episode=float(played[:, 2].mean()),
        return_mean=float(played[:, 0].mean()),
        share=scale.share(played[:, 0], theirs[: len(played)]),
        episodes=len(played),
        time_saved=1 / looks if is_repeat else time_saved,
    )


_ROUNDS, _SECONDS = 100, 1.0


def _look_seconds(agents: Mapping[str, HorizonAgent], vector: VectorSplit, seed: int) -> dict[str, float]:
    """Median time of one decision of each, with all that its rule computes, in alternation, on one observation."""
    obs = _one_observation(vector, seed)[0]
    taken: dict[str, list[float]] = {name: [] for name in agents}
    end = time.perf_counter() + _SECONDS
    for index in range(_ROUNDS + 3):
        for name, agent in agents.items():
            begin = time.perf_counter()
            agent.decide(obs.copy())
            taken[name].append(time.perf_counter() - begin)
        if index > 3 and time.perf_counter() > end:
            break
    return {name: float(np.median(seconds[3:])) for name, seconds in taken.items()}
