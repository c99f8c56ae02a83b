"""Several seeded runs of one model, one after another, with the time bound measured in between."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from phr.acting.agent import HorizonAgent
from phr.acting.commitment import Commitment, CommitmentLike
from phr.actions import action_space_of
from phr.envs.split import SplitEnv
from phr.errors import IncompatibleModelError, SettingError
from phr.evaluation.bound import TimeBound, least_terms, measure_bound
from phr.evaluation.starts import run_randomness
from phr.evaluation.summary import Evaluation
from phr.evaluation.timed import Limit, RunOptions, RunRecord, timed_run
from phr.observations import ObservationSpec
from phr.protocols import Planner
from phr.seeding import Streams

_SECONDS_OF_BOUNDS = 4.0
"""Time spent on measuring the bound, all runs together."""

_STEPS_BEFORE = 2000
"""Steps of the uncounted run whose bound stands before the first one."""


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
        with_bound: Measure the time bound between the runs.
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


def check_fits(planner: Planner, env: SplitEnv) -> None:
    """Refuse a planner made for other spaces. Observations are compared where the planner has an `obs_spec`.

    Raises:
        IncompatibleModelError: If actions differ, or the shape, number type or scale of observations.
    """
    actions = action_space_of(planner)
    if actions != env.action_space:
        raise IncompatibleModelError(f"the model has {actions}, {env.env_id} has {env.action_space}")
    spec: ObservationSpec | None = getattr(planner, "obs_spec", None)
    if spec is not None:
        spec.check_space(env.observation_space, env.env_id)


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
    rng = Streams(settings.seed).rng("evaluate-sampling")
    agent = HorizonAgent(planner, settings.commitment, deterministic=settings.deterministic, rng=rng)
    _warm_up(planner, env, agent)
    records, bounds = list[RunRecord](), list[TimeBound]()
    options = RunOptions(settings.options.prefix, settings.options.observe_always, keep_trace=settings.with_bound)
    seconds_of_bound = _SECONDS_OF_BOUNDS / settings.runs
    before = None
    if settings.with_bound:
        before = _first_bound(planner, env, agent, options, settings.limit.steps or _STEPS_BEFORE, seconds_of_bound)
    for index in range(settings.runs):
        seed, rng = run_randomness(settings.seed, index)
        record = timed_run(env, agent, settings.limit, seed=seed, rng=rng, options=options)
        if settings.with_bound:
            after = measure_bound(env, planner, record, max_seconds=seconds_of_bound)
            bounds.append(least_terms(after, before))
            before = after
            record.trace.clear()
            record.starts.clear()
        records.append(record)
        on_run(index, record)
    chosen = planner.horizon if settings.commitment is None else settings.commitment
    named = chosen if isinstance(chosen, int) else str(chosen)
    return Evaluation(
        env.env_id, model, planner.horizon, named, backend, settings.deterministic, tuple(records), tuple(bounds), machine
    )


def _first_bound(
    planner: Planner, env: SplitEnv, agent: HorizonAgent, options: RunOptions, n_steps: int, max_seconds: float
) -> TimeBound:
    """What stands before the first run: the bound of a short run that is not counted."""
    streams = Streams(0)
    seed, rng = streams.integer("bound-run"), streams.rng("bound-prefix")
    record = timed_run(env, agent, Limit(steps=min(_STEPS_BEFORE, n_steps)), seed=seed, rng=rng, options=options)
    agent.reset()
    return measure_bound(env, planner, record, max_seconds=max_seconds)


def _warm_up(planner: Planner, env: SplitEnv, agent: HorizonAgent) -> None:
    env.reset(0)
    obs = env.observe()
    for _ in range(20):
        planner.plan(obs[None])
    timed_run(env, agent, Limit(steps=50), seed=0, rng=np.random.default_rng(0))
