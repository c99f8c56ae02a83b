"""Several seeded runs, summed up: what `phr evaluate` prints and writes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from phr.acting.agent import HorizonAgent
from phr.acting.commitment import Commitment, CommitmentLike
from phr.envs.split import SplitEnv
from phr.errors import IncompatibleModelError, SettingError
from phr.evaluation.bound import TOLERATED_FRACTION, TimeBound, measure_bound
from phr.evaluation.statistics import stratified_bootstrap
from phr.evaluation.timed import Limit, RunOptions, RunRecord, timed_run
from phr.experience.success import last_reward_tells_success
from phr.protocols import Planner
from phr.seeding import Streams

_SECONDS_OF_BOUNDS = 4.0
"""Time spent on measuring the bound, all runs together."""

_RUN_KEYS = (
    "seed", "steps", "episodes", "returns", "lengths", "score", "evaluations",
    "seconds_wall", "seconds_policy", "seconds_env",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class EvaluationSettings:
    """How a model is evaluated.

    Attributes:
        commitment: Actions executed per look; None is the whole horizon.
        limit: Steps or episodes of each run.
        runs: Number of seeded runs.
        seed: Fixes the seeds of all runs.
        deterministic: Take the most likely actions; otherwise sample.
        options: Random prefixes, observing always.
        with_bound: Measure the time bound after the runs.
    """

    commitment: CommitmentLike | Commitment | None = None
    limit: Limit = field(default_factory=lambda: Limit(steps=100_000))
    runs: int = 5
    seed: int = 0
    deterministic: bool = True
    options: RunOptions = field(default_factory=RunOptions)
    with_bound: bool = True

    def __post_init__(self) -> None:
        if self.runs < 1:
            raise SettingError(f"an evaluation needs at least one run, got {self.runs}")


@dataclass(frozen=True)
class Evaluation:
    """The runs of one model at one commitment, and what they add up to.

    Attributes:
        env_id: Where.
        model: The reference that the user gave.
        horizon: Actions that the model predicts.
        commitment: Actions executed per look; `"auto"` or a rule's name where it varies.
        backend: What computed the plans.
        deterministic: Whether actions were the most likely ones.
        runs: One record each.
        bounds: The least possible time, measured after each run; empty where it was not asked for.
        machine: CPU, threads, versions.
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
    def success_rate(self) -> float | None:
        """Fraction of successful episodes; None where success cannot be told."""
        if not any(run.said_success for run in self.runs):
            low, high = min(run.reward_low for run in self.runs), max(run.reward_high for run in self.runs)
            if not last_reward_tells_success(low, high, any_terminated=any(run.any_terminated for run in self.runs)):
                return None
        return self._mean("successes")

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
        """The bound's terms, medians over the runs, and the median fraction that a run reached; None if not measured."""
        if not self.bounds:
            return None
        each = [bound.to_json(1e5 * run.seconds_wall / run.steps) for bound, run in zip(self.bounds, self.runs, strict=True)]
        return {name: float(np.median([terms[name] for terms in each])) for name in each[0]}

    def __str__(self) -> str:
        interval = self.return_ci95
        lines = [f"{self.model} in {self.env_id}: horizon {self.horizon}, commitment {self.commitment}, {self.backend}"]
        if interval is None:
            lines.append(f"  score          {self._total('score'):.4g} (no episode was finished)")
        else:
            lines.append(
                f"  return         {self.return_mean:.4f}  [{interval[0]:.4f}, {interval[1]:.4f}]  (95 % bootstrap)"
            )
            lines.append(f"  length         {self.length_mean:.3f} steps, {int(self._total('episodes')):,} episodes")
            if self.success_rate is not None:
                lines.append(f"  success        {self.success_rate:.2%}")
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
        lines.append(f"  score/second   {self.score_per_second:.2f}")
        if self.bound is not None:
            terms = self.bound
            lines.append(
                f"  bound          {terms['seconds_per_100k_steps']:.3f} s, reached {terms['fraction']:.2f} of it "
                f"(step {terms['sim_us']:.1f} µs, reset {terms['reset_us']:.0f}, look {terms['obs_us']:.1f}, "
                f"plan {terms['policy_us']:.0f})"
            )
            if terms["fraction"] > TOLERATED_FRACTION:
                lines.append("                 more than the possible: the machine changed its speed, measure again")
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
            "machine": self.machine,
        }


def check_fits(planner: Planner, env: SplitEnv, *, expected_shape: tuple[int, ...] | None = None) -> None:
    """Refuse a planner made for other spaces; one that tells its `obs_shape` needs no `expected_shape`.

    Raises:
        IncompatibleModelError: If actions or observations differ.
    """
    if planner.n_actions != env.n_actions:
        raise IncompatibleModelError(f"the model has {planner.n_actions} actions, {env.env_id} has {env.n_actions}")
    expected_shape = getattr(planner, "obs_shape", None) if expected_shape is None else expected_shape
    if expected_shape is not None and expected_shape != env.observation_space.shape:
        raise IncompatibleModelError(
            f"the model reads observations of shape {expected_shape}, {env.env_id} gives {env.observation_space.shape}"
        )


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

    Args:
        planner: Who acts.
        env: Where.
        settings: How often and how long.
        model: The reference to print.
        backend: What computes the plans.
        machine: From `describe_machine`.
        on_run: Told each finished run.

    Raises:
        HorizonError: If the commitment is outside 1 .. horizon.
        IncompatibleModelError: If the model does not fit the environment.
    """
    check_fits(planner, env)
    streams = Streams(settings.seed)
    agent = HorizonAgent(
        planner, settings.commitment, deterministic=settings.deterministic, rng=streams.rng("evaluate-sampling")
    )
    _warm_up(planner, env, agent)
    records, bounds = [], []
    options = RunOptions(settings.options.prefix, settings.options.observe_always, keep_trace=settings.with_bound)
    for index in range(settings.runs):
        seed, rng = streams.integer("evaluate-run", index), streams.rng("evaluate-prefix", index)
        record = timed_run(env, agent, settings.limit, seed=seed, rng=rng, options=options)
        if settings.with_bound:  # after each run, so that both meet the machine at the same speed
            bounds.append(measure_bound(env, planner, record, max_seconds=_SECONDS_OF_BOUNDS / settings.runs))
            record.trace.clear()
        records.append(record)
        on_run(index, record)
    chosen = planner.horizon if settings.commitment is None else settings.commitment
    named = chosen if isinstance(chosen, int) else str(chosen)
    return Evaluation(
        env.env_id, model, planner.horizon, named, backend, settings.deterministic, tuple(records), tuple(bounds), machine
    )


def _warm_up(planner: Planner, env: SplitEnv, agent: HorizonAgent) -> None:
    env.reset(0)
    obs = env.observe()
    for _ in range(20):
        planner.plan(obs[None])
    timed_run(env, agent, Limit(steps=50), seed=0, rng=np.random.default_rng(0))
