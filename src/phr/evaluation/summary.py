"""Summaries of several runs, as `phr evaluate` prints and writes them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from phr.envs.vector import Remarks
from phr.errors import InvalidDataError
from phr.evaluation.bound import ENOUGH_SECONDS, TOLERATED_FRACTION, TimeBound, is_enough_to_judge
from phr.evaluation.episodes import StartsResult
from phr.evaluation.timed import RunRecord
from phr.experience.success import Judgement, judge_episodes
from phr.seeding import Streams

_RUN_KEYS = (
    "seed", "steps", "episodes", "returns", "lengths", "score", "evaluations",
    "seconds_wall", "seconds_policy", "seconds_env",
)  # fmt: skip


@dataclass(frozen=True)
class Evaluation:
    """The runs of one model at one commitment, and their summary.

    Attributes:
        env_id: Where.
        model: The reference that the user gave.
        horizon: Actions that the model predicts.
        commitment: Actions executed per look; `"auto"` or a rule's name where it varies.
        backend: What computed the plans.
        deterministic: Whether actions were the most likely ones.
        runs: One record each.
        bounds: The least possible time of each run; empty where it was not asked for, or is unknown.
        machine: CPU, threads, versions.
        all_starts: Results from every start, played once each and greedily; None if not requested.
        bound_failure: Why the bound is unknown although it was asked for; None otherwise.
    """

    env_id: str
    model: str
    horizon: int
    commitment: int | str
    backend: str
    deterministic: bool
    runs: tuple[RunRecord, ...]
    bounds: tuple[TimeBound, ...]
    machine: dict[str, Any]
    all_starts: StartsResult | None = None
    bound_failure: str | None = None

    @property
    def remarks(self) -> Remarks:
        """What did not go as asked, all runs together."""
        return Remarks.of([run.remarks for run in self.runs])

    def _total(self, name: str) -> float:
        return float(sum(getattr(run, name) for run in self.runs))

    def _mean(self, name: str) -> float | None:
        """Mean over runs of a run's mean; None if no episode was finished."""
        means = [np.mean(getattr(run, name)) for run in self.runs if getattr(run, name)]
        return float(np.mean(means)) if means else None

    @property
    def return_mean(self) -> float | None:
        """Mean over runs of the mean return of whole episodes; None if no episode was finished."""
        return self._mean("returns")

    @property
    def return_ci95(self) -> tuple[float, float] | None:
        """Bootstrap interval of the mean return, runs as strata."""
        if not self._total("episodes"):
            return None
        strata = [np.array(run.returns) for run in self.runs]
        return stratified_bootstrap(strata, Streams(0).rng("bootstrap-returns"))

    @property
    def length_mean(self) -> float | None:
        """Mean length of whole episodes, in steps."""
        return self._mean("lengths")

    @property
    def success(self) -> Judgement:
        """Which of the whole episodes, those of all runs one after another, were successes."""
        reported, terminated, last_rewards, returns = (
            [each for run in self.runs for each in getattr(run, name)]
            for name in ("reported", "terminated", "last_rewards", "returns")
        )
        low, high = min(run.reward_low for run in self.runs), max(run.reward_high for run in self.runs)
        return judge_episodes(
            reported, terminated=terminated, last_rewards=last_rewards, returns=returns, reward_range=(low, high)
        )

    @property
    def success_rate(self) -> float | None:
        """Mean over runs of the fraction of successes; None where success is unknown, or no episode was finished."""
        success = self.success
        if success.n_successes is None or not success.success:
            return None
        ends = np.cumsum([run.episodes for run in self.runs])[:-1]
        return float(np.mean([np.mean(part) for part in np.split(np.array(success.success, bool), ends) if len(part)]))

    @property
    def seconds_per_100k_steps(self) -> float:
        """Wall-clock of 100,000 steps at the measured rate."""
        return 1e5 * self._total("seconds_wall") / self._total("steps")

    @property
    def seconds_per_100k_range(self) -> tuple[float, float]:
        """Fastest and slowest run."""
        each = [1e5 * run.seconds_wall / run.steps for run in self.runs]
        return min(each), max(each)

    @property
    def score_per_second(self) -> float:
        """Sum of rewards over wall-clock seconds."""
        return self._total("score") / self._total("seconds_wall")

    @property
    def evaluations_per_episode(self) -> float | None:
        """Mean evaluations of whole episodes."""
        return self._mean("looks")

    @property
    def evaluations_per_step(self) -> float:
        """Evaluations over steps."""
        return self._total("evaluations") / self._total("steps")

    @property
    def bound(self) -> dict[str, float] | None:
        """The bound's terms, medians over the runs, and the median fraction that a run reached; None if not known."""
        if not self.bounds:
            return None
        each = [bound.to_json(1e5 * run.seconds_wall / run.steps) for bound, run in zip(self.bounds, self.runs, strict=True)]
        return {name: float(np.median([terms[name] for terms in each])) for name in each[0]}

    @property
    def _is_judged(self) -> bool:
        return is_enough_to_judge([run.seconds_wall for run in self.runs])

    @property
    def bound_warning(self) -> str | None:
        """One sentence where the bound is unknown, or the median run was faster than possible by more than 5 %; else None.

        The results are not affected. With few or short runs the noise of the machine may be the reason.
        """
        if self.bound_failure is not None:
            return f"the time bound is unknown: {self.bound_failure}"
        fraction = 0.0 if self.bound is None else self.bound["fraction"]
        if fraction <= TOLERATED_FRACTION:
            return None
        mistaken = f"the time bound of {self.env_id} is wrong; please report it"
        reason = mistaken if self._is_judged else "so few or short runs may be noise"
        return f"the median run took {1 / fraction:.0%} of the least possible time ({fraction:.2f} of the bound): {reason}"

    def __str__(self) -> str:
        interval = self.return_ci95
        lines = [f"{self.model} in {self.env_id}: horizon {self.horizon}, commitment {self.commitment}, {self.backend}"]
        if interval is None:
            lines.append(f"  score          {self._total('score'):,.6g} (no episode was finished)")
        else:
            lines.append(
                f"  return         {self.return_mean:.4f}  [{interval[0]:.4f}, {interval[1]:.4f}]  (95 % bootstrap)"
            )
            lines.append(f"  length         {self.length_mean:.3f} steps, {int(self._total('episodes')):,} episodes")
            rate = f"unknown: {self.success.reason}" if self.success_rate is None else f"{self.success_rate:.2%}"
            lines.append(f"  success        {rate}")
            lines.append(
                f"  evaluations    {self.evaluations_per_episode:.3f} an episode, {self.evaluations_per_step:.4f} a step"
            )
        policy, env = self._total("seconds_policy"), self._total("seconds_env")
        share = policy / (policy + env)
        low, high = self.seconds_per_100k_range
        lines.append(
            f"  100k steps     {self.seconds_per_100k_steps:.3f} s  [{low:.3f}, {high:.3f}]  "
            f"({share:.0%} policy, {1 - share:.0%} environment)"
        )
        if min(run.seconds_wall for run in self.runs) < ENOUGH_SECONDS:
            lines[-1] += f"; runs below {ENOUGH_SECONDS:g} s are too short to time"
        lines.append(f"  score/second   {self.score_per_second:,.2f}")
        if self.bound is not None:
            terms = self.bound
            lines.append(
                f"  bound          {terms['seconds_per_100k_steps']:.3f} s, reached {terms['fraction']:.2f} of it "
                f"(step {terms['sim_us']:.1f} µs, reset {terms['reset_us']:.0f}, look {terms['obs_us']:.1f}, "
                f"plan {terms['policy_us']:.0f})"
            )
        if self.all_starts is not None:
            lines.append(f"  {self.all_starts}")
        if self.bound_warning is not None:
            lines.append(f"  warning        {self.bound_warning}")
        lines += [f"  warning        {line}" for line in self.remarks.lines()]
        return "\n".join(lines)

    def to_json(self) -> dict[str, Any]:
        """All of it as plain values, under the names of `phr evaluate --json`."""
        interval = self.return_ci95
        return {
            "env_id": self.env_id,
            "model": self.model,
            "horizon": self.horizon,
            "commitment": self.commitment,
            "backend": self.backend,
            "deterministic": self.deterministic,
            "runs": [{key: getattr(run, key) for key in _RUN_KEYS} for run in self.runs],
            "return_mean": self.return_mean,
            "return_ci95": None if interval is None else list(interval),
            "length_mean": self.length_mean,
            "success_rate": self.success_rate,
            "score_per_second": self.score_per_second,
            "seconds_per_100k_steps": self.seconds_per_100k_steps,
            "evaluations_per_episode": self.evaluations_per_episode,
            "evaluations_per_step": self.evaluations_per_step,
            "bound": self.bound,
            "bound_warning": self.bound_warning,
            "all_starts": None if self.all_starts is None else asdict(self.all_starts),
            "machine": self.machine,
        }


def stratified_bootstrap(
    strata: Sequence[NDArray[np.float64]],
    rng: np.random.Generator,
    *,
    confidence: float = 0.95,
    n_resamples: int = 2000,
) -> tuple[float, float]:
    """Percentile interval of the mean over strata (runs, seeds) of each stratum's mean, resampled within the strata.

    Args:
        strata: One array of values per run; empty ones are left out.
        rng: Source of the resamples.
        confidence: Mass inside the interval.
        n_resamples: Resamples to draw.

    Raises:
        InvalidDataError: If there is no value at all.

    Source:
        Agarwal et al. 2021 (arXiv:2108.13264), section 4; Efron & Tibshirani 1993, chapter 13 (percentile interval).
    """
    filled = [np.asarray(stratum, np.float64) for stratum in strata if len(stratum)]
    if not filled:
        raise InvalidDataError("an interval needs at least one value")
    return percentile_interval(sums_of_means(filled, rng, n_resamples) / len(filled), confidence)


def sums_of_means(strata: Sequence[NDArray[np.float64]], rng: np.random.Generator, n_resamples: int) -> NDArray[np.float64]:
    """For each resample, return the sum over strata of the mean of values drawn within the stratum."""
    sums = np.zeros(n_resamples)
    for stratum in strata:
        # The mean of a resample depends only on how often each distinct value was drawn.
        values, counts = np.unique(stratum, return_counts=True)
        sums += rng.multinomial(len(stratum), counts / len(stratum), size=n_resamples) @ values / len(stratum)
    return sums


def percentile_interval(values: NDArray[np.float64], confidence: float) -> tuple[float, float]:
    """Return the ends of the central part of `values` that holds this mass."""
    tail = (1.0 - confidence) / 2
    low, high = np.quantile(values, [tail, 1.0 - tail])
    return float(low), float(high)
