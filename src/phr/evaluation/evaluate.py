"""Several seeded runs of one model, one after another, with the time bound measured in between; and their summary."""

from __future__ import annotations

import platform
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from phr.acting.agent import HorizonAgent
from phr.acting.commitment import AnyCommitment, commitment_in_words
from phr.actions import action_space_of
from phr.envs.split import SplitEnv
from phr.envs.vector import Remarks
from phr.errors import BoundError, IncompatibleModelError, InvalidDataError
from phr.evaluation.bound import ENOUGH_SECONDS, TOLERATED_FRACTION, TimeBound, is_enough_to_judge, measure_bound, run_bounds
from phr.evaluation.episodes import StartsResult, run_randomness
from phr.evaluation.timed import Limit, RunOptions, RunRecord, timed_run
from phr.experience.success import Judgement, judge_episodes
from phr.manifest import library_versions
from phr.observations import ObservationSpec
from phr.plan import Planner, ask
from phr.seeding import Streams
from phr.settings import check_whole

_RUN_KEYS = (
    "seed", "steps", "episodes", "returns", "lengths", "score", "evaluations",
    "seconds_wall", "seconds_policy", "seconds_env",
)  # fmt: skip
_KEYS = (
    "env_id", "model", "horizon", "commitment", "backend", "deterministic", "machine", "return_mean", "length_mean",
    "success_rate", "score_per_second", "seconds_per_100k_steps", "evaluations_per_episode", "evaluations_per_step",
    "bound", "bound_warning",
)  # fmt: skip
"""What `to_json` copies from a run, and from the evaluation."""


@dataclass(frozen=True)
class Evaluation:
    """The runs of one model at one commitment, and their summary.

    Attributes:
        model: The reference that the user gave.
        commitment: Actions executed per look; `"auto"` or a rule's name where it varies.
        bounds: The least possible time of each run; empty where it was not asked for, or is unknown.
        all_starts: Results from every start, played once each and greedily; None if not requested.
        bound_failure: Why the bound is unknown although it was asked for; None otherwise.
        notices: How the model was read, where the user left that open.
        warnings: What makes the results doubtful.
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
    notices: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

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
        ends = min(run.reward_low for run in self.runs), max(run.reward_high for run in self.runs)
        return judge_episodes(reported, terminated=terminated, last_rewards=last_rewards, returns=returns, reward_range=ends)

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
    def bound_warning(self) -> str | None:
        """One sentence where the bound is unknown, or the median run was faster than possible by more than 5 %; else None.

        The results are not affected. With few or short runs the noise of the machine may be the reason.
        """
        if self.bound_failure is not None:
            return f"the time bound is unknown: {self.bound_failure}"
        fraction = 0.0 if self.bound is None else self.bound["fraction"]
        if fraction <= TOLERATED_FRACTION:
            return None
        is_judged = is_enough_to_judge([run.seconds_wall for run in self.runs])
        mistaken = f"the time bound of {self.env_id} is wrong; please report it"
        reason = mistaken if is_judged else "so few or short runs may be noise"
        return f"the median run took {1 / fraction:.0%} of the least possible time ({fraction:.2f} of the bound): {reason}"

    def __str__(self) -> str:
        interval = self.return_ci95
        lines = [f"{self.model} in {self.env_id}: horizon {self.horizon}, commitment {self.commitment}, {self.backend}"]
        if interval is None:
            lines.append(f"  score          {self._total('score'):,.6g} (no episode was finished)")
        else:
            rate = f"unknown: {self.success.reason}" if self.success_rate is None else f"{self.success_rate:.2%}"
            lines += [
                f"  return         {self.return_mean:.4f}  [{interval[0]:.4f}, {interval[1]:.4f}]  (95 % bootstrap)",
                f"  length         {self.length_mean:.3f} steps, {int(self._total('episodes')):,} episodes",
                f"  success        {rate}",
                f"  evaluations    {self.evaluations_per_episode:.3f} an episode, {self.evaluations_per_step:.4f} a step",
            ]
        policy, env = self._total("seconds_policy"), self._total("seconds_env")
        share = policy / (policy + env)
        each = [1e5 * run.seconds_wall / run.steps for run in self.runs]
        lines.append(
            f"  100k steps     {self.seconds_per_100k_steps:.3f} s  [{min(each):.3f}, {max(each):.3f}]  "
            f"({share:.0%} policy, {1 - share:.0%} environment)"
        )
        if min(run.seconds_wall for run in self.runs) < ENOUGH_SECONDS:
            lines[-1] += f"; runs below {ENOUGH_SECONDS:g} s are too short to time"
        if self._total("score") > 0:  # of negative returns a faster policy collects more a second
            lines.append(f"  score/second   {self.score_per_second:,.2f}")
        if (terms := self.bound) is not None:
            lines.append(
                f"  bound          {terms['seconds_per_100k_steps']:.3f} s, reached {terms['fraction']:.2f} of it "
                f"(step {terms['sim_us']:.1f} µs, reset {terms['reset_us']:.0f}, look {terms['obs_us']:.1f}, "
                f"plan {terms['policy_us']:.0f})"
            )
        if self.all_starts is not None:
            lines.append(f"  {self.all_starts}")
        lines += [f"  note           {line}" for line in self.notices]
        if self.bound_warning is not None:
            lines.append(f"  warning        {self.bound_warning}")
        lines += [f"  warning        {line}" for line in (*self.remarks.lines(), *self.warnings)]
        return "\n".join(lines)

    def to_json(self) -> dict[str, Any]:
        """All of it as plain values, under the names of `phr evaluate --json`."""
        interval = self.return_ci95
        return {name: getattr(self, name) for name in _KEYS} | {
            "runs": [{name: getattr(run, name) for name in _RUN_KEYS} for run in self.runs],
            "return_ci95": None if interval is None else list(interval),
            "all_starts": None if self.all_starts is None else asdict(self.all_starts),
            "notices": list(self.notices),
            "warnings": [*self.remarks.lines(), *self.warnings],
        }


def stratified_bootstrap(
    strata: Sequence[NDArray[np.float64]], rng: np.random.Generator, *, confidence: float = 0.95, n_resamples: int = 2000
) -> tuple[float, float]:
    """Percentile interval of the mean over strata (runs, seeds) of each stratum's mean, resampled within the strata.

    Empty strata are left out. Agarwal et al. 2021 (arXiv:2108.13264), section 4; Efron & Tibshirani 1993, chapter 13.
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
    """The ends of the central part of `values` that holds this mass."""
    tail = (1.0 - confidence) / 2
    low, high = np.quantile(values, [tail, 1.0 - tail])
    return float(low), float(high)


def describe_machine(threads: int) -> dict[str, Any]:
    """Return CPU, inference threads and library versions."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    named = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    cpu = named[0] if named else platform.processor() or platform.machine()
    versions = library_versions("torch", "numpy", "gymnasium", "minigrid", "onnxruntime", "ale-py")
    return {"cpu": cpu, "threads": threads, "versions": versions}


_SECONDS_OF_BOUNDS = 4.0
"""Time spent on measuring the bound, all runs together."""

_WARM_UP_PLANS, _WARM_UP_STEPS, _WARM_UP_SECONDS = 20, 50, 1.0
"""The most of each before the first run."""


@dataclass(frozen=True, kw_only=True)
class EvaluationSettings:
    """How a model is evaluated; SettingError if `runs`, or the seed of them all, is not a whole number, or too small.

    The limit is that of each run; `with_bound` measures the time bound between them, by replays (see `measure_bound`).
    """

    commitment: AnyCommitment = None
    limit: Limit = field(default_factory=lambda: Limit(steps=100_000))
    runs: int = 5
    seed: int = 0
    deterministic: bool = True
    options: RunOptions = field(default_factory=RunOptions)
    with_bound: bool = True

    def __post_init__(self) -> None:
        check_whole("runs", self.runs, 1)
        Streams(self.seed)


def check_fits(planner: Planner, env: SplitEnv, name: str = "the model") -> None:
    """Raise IncompatibleModelError for a planner made for other actions or, where it has an `obs_spec`, observations."""
    actions = action_space_of(planner)
    if actions != env.action_space:
        raise IncompatibleModelError(f"{name} has {actions}, {env.env_id} has {env.action_space}")
    spec: ObservationSpec | None = getattr(planner, "obs_spec", None)
    if spec is not None:
        spec.check_space(env.observation_space, env.env_id, name)


def evaluate_planner(
    planner: Planner,
    env: SplitEnv,
    settings: EvaluationSettings,
    *,
    model: str,
    backend: str,
    machine: dict[str, Any],
    on_run: Callable[[int, RunRecord], None] = lambda _i, _r: None,
) -> Evaluation:
    """Play the runs one after another in one environment; set-up and warm-up are not timed.

    Uncounted steps, those of the warm-up and of the replays that measure the bound, are at most twice the counted ones,
    random prefixes aside. They stop at the first call after `_WARM_UP_SECONDS` and `_SECONDS_OF_BOUNDS`.

    Every run has streams of its own, so what it samples depends neither on the runs before it nor on the bound. A bound that
    cannot be measured is a warning beside the results (`Evaluation.bound_warning`).

    `model` and `backend`, which computes the plans, are to print; `machine` is from `describe_machine`; `on_run` receives
    the index and the record of each finished run. HorizonError if the commitment is outside 1 .. horizon,
    IncompatibleModelError if the planner does not fit the environment.
    """
    check_fits(planner, env)
    streams, limit = Streams(settings.seed), settings.limit

    def new_agent(stream: str, *index: int) -> HorizonAgent:
        rng = streams.rng(stream, *index)
        return HorizonAgent(planner, settings.commitment, deterministic=settings.deterministic, rng=rng)

    _warm_up(env, new_agent("evaluate-warm-up"), settings.runs * (limit.steps or limit.episodes or 1))
    records, measured, failure = list[RunRecord](), list[TimeBound](), None
    for index in range(settings.runs):
        seed, rng = run_randomness(settings.seed, index)
        options = replace(settings.options, keep_trace=settings.with_bound and failure is None)
        record = timed_run(env, new_agent("evaluate-sampling", index), limit, seed=seed, rng=rng, options=options)
        if options.keep_trace:
            try:
                measured.append(measure_bound(env, planner, record, max_seconds=_SECONDS_OF_BOUNDS / settings.runs))
            except BoundError as error:
                failure = str(error)
            record.trace.clear()
            record.starts.clear()
        records.append(record)
        on_run(index, record)
    return Evaluation(
        env_id=env.env_id,
        model=model,
        horizon=planner.horizon,
        commitment=commitment_in_words(settings.commitment, planner),
        backend=backend,
        deterministic=settings.deterministic,
        runs=tuple(records),
        bounds=() if failure else run_bounds(measured),
        machine=machine,
        bound_failure=failure,
    )


def _warm_up(env: SplitEnv, agent: HorizonAgent, n_counted: int) -> None:
    """Run what takes longer at its first call, for a tenth of the steps that will be counted at least."""
    clock = time.perf_counter
    end, ended = clock() + _WARM_UP_SECONDS, False
    env.reset(0)
    obs = env.observe()
    for _ in range(_WARM_UP_PLANS):
        ask(agent.planner, obs[None].copy())
        if clock() > end:
            break
    for _ in range(min(_WARM_UP_STEPS, 1 + n_counted // 10)):
        if clock() > end:
            return
        if ended:
            agent.reset()
            env.reset()
        action = agent.act(env.observe() if agent.needs_observation else None)
        _, terminated, truncated, _ = env.advance(action)
        ended = terminated or truncated
