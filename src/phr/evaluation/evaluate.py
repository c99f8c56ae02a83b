"""Several seeded runs of one model, one after another, with the time bound measured in between."""

from __future__ import annotations

import platform
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from phr.acting.agent import HorizonAgent
from phr.acting.commitment import Commitment, CommitmentLike
from phr.actions import action_space_of
from phr.envs.split import SplitEnv
from phr.errors import BoundError, IncompatibleModelError
from phr.evaluation.bound import TimeBound, bounds_of_runs, measure_bound
from phr.evaluation.episodes import run_randomness
from phr.evaluation.summary import Evaluation
from phr.evaluation.timed import Limit, RunOptions, RunRecord, timed_run
from phr.manifest import library_versions
from phr.numbers import check_whole, is_whole
from phr.observations import ObservationSpec
from phr.protocols import Planner
from phr.seeding import Streams


def cpu_name() -> str:
    """The processor's name where the system reports it."""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def describe_machine(threads: int) -> dict[str, Any]:
    """Return CPU, inference threads and library versions."""
    versions = library_versions("torch", "numpy", "gymnasium", "minigrid", "onnxruntime", "ale-py")
    return {"cpu": cpu_name(), "threads": threads, "versions": versions}


_SECONDS_OF_BOUNDS = 4.0
"""Time spent on measuring the bound, all runs together."""

_WARM_UP_PLANS, _WARM_UP_STEPS, _WARM_UP_SECONDS = 20, 50, 1.0
"""The most of each before the first run."""


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
        with_bound: Measure the time bound between the runs, by replaying each of them (see `measure_bound`).

    Raises:
        SettingError: If `runs` or `seed` is not a whole number, or too small.
    """

    commitment: CommitmentLike | Commitment | None = None
    limit: Limit = field(default_factory=lambda: Limit(steps=100_000))
    runs: int = 5
    seed: int = 0
    deterministic: bool = True
    options: RunOptions = field(default_factory=RunOptions)
    with_bound: bool = True

    def __post_init__(self) -> None:
        check_whole("runs", self.runs, 1)
        Streams(self.seed)


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

    Uncounted steps, those of the warm-up and of the replays that measure the bound, are at most twice the counted ones,
    random prefixes aside. They stop at the first call after `_WARM_UP_SECONDS` and `_SECONDS_OF_BOUNDS`.

    Every run has streams of its own, so what it samples depends neither on the runs before it nor on the bound. A bound that
    cannot be measured is a warning beside the results (`Evaluation.bound_warning`).

    Args:
        planner: Who acts.
        env: Where.
        settings: How often and how long.
        model: The reference to print.
        backend: What computes the plans.
        machine: From `describe_machine`.
        on_run: Called with the index and the record of each finished run.

    Raises:
        HorizonError: If the commitment is outside 1 .. horizon.
        IncompatibleModelError: If the model does not fit the environment.
    """
    check_fits(planner, env)
    streams = Streams(settings.seed)

    def new_agent(stream: str, *index: int) -> HorizonAgent:
        rng = streams.rng(stream, *index)
        return HorizonAgent(planner, settings.commitment, deterministic=settings.deterministic, rng=rng)

    limit = settings.limit
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
    chosen = planner.horizon if settings.commitment is None else settings.commitment
    return Evaluation(
        env_id=env.env_id,
        model=model,
        horizon=planner.horizon,
        commitment=int(chosen) if is_whole(chosen) else str(chosen),
        backend=backend,
        deterministic=settings.deterministic,
        runs=tuple(records),
        bounds=() if failure else bounds_of_runs(measured),
        machine=machine,
        bound_failure=failure,
    )


def _warm_up(env: SplitEnv, agent: HorizonAgent, n_counted: int) -> None:
    """Run what takes longer at its first call, for a tenth of the steps that will be counted at least."""
    clock = time.perf_counter
    end = clock() + _WARM_UP_SECONDS
    env.reset(0)
    obs = env.observe()
    for _ in range(_WARM_UP_PLANS):
        agent.planner.plan(obs[None])
        if clock() > end:
            break
    ended = False
    for _ in range(min(_WARM_UP_STEPS, 1 + n_counted // 10)):
        if clock() > end:
            return
        if ended:
            agent.reset()
            env.reset()
        action = agent.act(env.observe() if agent.needs_observation else None)
        _, terminated, truncated, _ = env.advance(action)
        ended = terminated or truncated
