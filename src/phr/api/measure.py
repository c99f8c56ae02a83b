"""What a model collects, and how fast; and its export for a machine without torch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from phr.acting.commitment import Commitment, CommitmentLike, resolve_commitment
from phr.api.learn import load
from phr.api.threads import threads_restored, use_threads
from phr.envs.registry import make_env, with_option
from phr.errors import HorizonError, SettingError
from phr.evaluation.episodes import StartsResult, distinct_starts, play_all_starts
from phr.evaluation.evaluate import EvaluationSettings, check_fits, describe_machine, evaluate_planner
from phr.evaluation.summary import Evaluation
from phr.evaluation.timed import Limit, RunOptions, RunRecord
from phr.numbers import check_whole
from phr.storage.model import Model
from phr.teachers.foreign import Actor, Reading
from phr.teachers.oracle import SOLVABLE_IDS, optimal_lengths
from phr.teachers.references import Backend, resolve

if TYPE_CHECKING:
    from phr.storage.onnx_export import Export


@threads_restored()
def evaluate(
    model: Any,
    *,
    env_id: str | None = None,
    commitment: CommitmentLike | Commitment | None = None,
    steps: int | None = None,
    episodes: int | None = None,
    runs: int = 5,
    seed: int = 0,
    horizon: int | None = None,
    backend: Backend | None = None,
    deterministic: bool = True,
    observe_always: bool = False,
    random_prefix: tuple[int, int] = (0, 0),
    sticky: float | None = None,
    all_starts: bool = False,
    activation: str | None = None,
    normalize: str | Path | None = None,
    bound: bool = True,
    threads: int = 1,
    on_run: Callable[[int, RunRecord], None] = lambda _index, _record: None,
) -> Evaluation:
    """Measure what a model collects, and how fast.

    Warm-up and the measurement of the time bound take at most twice the counted steps (random prefixes aside), and at most
    about five seconds. What is wrong with the bound is a warning beside the results (`Evaluation.bound_warning`). There is
    one environment at a time (all starts of a grid or an Atari game are played side by side); it is closed, also on errors.

    Args:
        model: A model, a run directory, `zoo:NAME`, an `.onnx`, `oracle`, or any teacher that `distill` takes.
        env_id: As for `distill`.
        commitment: Actions executed per look, or `"auto"`; by default that of the model's manifest, else its whole
            horizon.
        steps: Steps of each run; 100,000 unless `episodes` is given.
        episodes: Whole episodes of each run, instead of steps.
        runs: Seeded runs.
        seed: Fixes their seeds.
        horizon: Actions that the oracle plans, 1 by default; a network's horizon is its own.
        backend: What computes a network's plans: `torch` by default; `onnx`, which an exported file always runs on.
        deterministic: Take the most likely actions; otherwise sample.
        observe_always: Build every observation, also those that no look uses.
        random_prefix: Fewest and most random, uncounted actions before each episode.
        sticky: Atari: probability that a frame repeats the action before it; as the id says by default.
        all_starts: Also play every different start once (see `evaluate_all_starts`); greedily and from the starts as they
            are, so neither sampling nor a random prefix goes with it.
        activation: As for `distill`.
        normalize: As for `distill`.
        bound: Measure the time bound (default), by replaying runs; not with `observe_always`.
        threads: Threads of torch during the call.
        on_run: Called with the index and the record of each finished run.

    Raises:
        UnknownModelError: If the reference leads nowhere.
        HorizonError: If the commitment is outside 1 .. horizon.
        IncompatibleModelError: If the model does not fit the environment.
        SettingError: If settings make no sense, alone or together, or the backend cannot do what is asked.
        UnsupportedEnvironmentError: If all starts are asked for and there are too many.
    """
    use_threads(threads)
    settings = EvaluationSettings(
        commitment=commitment,
        limit=Limit(steps=100_000) if steps is None and episodes is None else Limit(steps, episodes),
        runs=runs,
        seed=seed,
        deterministic=deterministic,
        options=RunOptions(prefix=random_prefix, observe_always=observe_always),
        with_bound=bound and not observe_always,
    )
    actor = _resolved(model, env_id, horizon, backend, Reading(activation=activation, normalize=normalize))
    _check_words(actor, threads, all_starts=all_starts, deterministic=deterministic, random_prefix=random_prefix)
    if commitment is None:
        settings = replace(settings, commitment=actor.commitment)
    where = actor.env_id if sticky is None else with_option(actor.env_id, "sticky", sticky)
    # The starts go first: too many of them must not cost the results of long runs.
    every = _every_start(actor, where, settings.commitment) if all_starts else None
    with make_env(where) as env:
        check_fits(actor.planner, env)
        result = evaluate_planner(
            actor.planner,
            env,
            settings,
            model=actor.reference,
            backend=actor.backend,
            machine=describe_machine(threads),
            on_run=on_run,
        )
    return replace(result, all_starts=every)


def _resolved(model: Any, env_id: str | None, horizon: int | None, backend: Backend | None, reading: Reading) -> Actor:
    if horizon is not None:
        check_whole("horizon", horizon, 1, HorizonError)
    return resolve(model, env_id=env_id, horizon=horizon, backend=backend, reading=reading)


def _check_words(
    actor: Actor, threads: int, *, all_starts: bool, deterministic: bool, random_prefix: tuple[int, int]
) -> None:
    if all_starts and (not deterministic or tuple(random_prefix) != (0, 0)):
        raise SettingError(
            "all starts are played once each, greedily and without a random prefix; leave out either all starts, or "
            "sampling and prefixes"
        )
    if actor.action_only and not deterministic:
        raise SettingError(f"{actor.reference} is an action-only teacher: it has no probabilities to sample from")
    if actor.backend == "onnx" and threads != 1:
        raise SettingError(f"--threads is for torch; an exported model runs on one thread, not on {threads}")


def evaluate_all_starts(
    model: Any,
    *,
    env_id: str | None = None,
    commitment: CommitmentLike | Commitment | None = None,
    horizon: int | None = None,
    backend: Backend | None = None,
    activation: str | None = None,
    normalize: str | Path | None = None,
) -> StartsResult:
    """Play every different start of an environment once, greedily: a result without sampling error.

    Args:
        model: A model, a run directory, `zoo:NAME`, an `.onnx`, `oracle`, or any teacher that `distill` takes.
        env_id: As for `distill`.
        commitment: Actions executed per look.
        horizon: Actions that the oracle plans, 1 by default; a network's horizon is its own.
        backend: As for `evaluate`.
        activation: As for `distill`.
        normalize: As for `distill`.

    Raises:
        UnsupportedEnvironmentError: If there are too many starts to enumerate.
        UsageError: As for `evaluate`.
    """
    actor = _resolved(model, env_id, horizon, backend, Reading(activation=activation, normalize=normalize))
    return _every_start(actor, actor.env_id, commitment if commitment is not None else actor.commitment)


def _every_start(actor: Actor, env_id: str, commitment: CommitmentLike | Commitment | None) -> StartsResult:
    resolve_commitment(commitment, actor.planner.horizon)  # a wrong one is refused before the starts are searched for
    with make_env(env_id) as env:
        check_fits(actor.planner, env)
        starts = distinct_starts(env)
        optimal = optimal_lengths(env, starts) if env_id in SOLVABLE_IDS else None
        n_envs = 1 if env.family == "other" else 32  # a simulator of the user's may allow only one open copy
    return play_all_starts(actor.planner, env_id, starts, commitment=commitment, optimal_lengths=optimal, n_envs=n_envs)


def export_onnx(model: str | Path | Model, out: str | Path, *, int8: bool = False, env_id: str | None = None) -> Export:
    """Write a model as ONNX, to run without torch (`phr.acting.runtime`); nothing is written where it differs from torch.

    Args:
        model: A model, a run directory or `zoo:NAME`.
        out: The file, `….onnx`; one that is there is replaced.
        int8: Write `….int8.onnx` too: smaller and faster, with the measured cost in agreement.
        env_id: Where to meet the observations that it is compared on; the model's own environment by default. Folders whose
            environment is a `module:factory` need it: no file runs code that the user did not name.

    Returns:
        What was written, and what it was compared on.

    Raises:
        ExportMismatchError: If the exported model differs from torch.
        UnknownModelError: If the reference leads nowhere, or stands for no network.
        UsageError: If the file cannot be written there, or int8 has no environment to choose its ranges in.
    """
    from phr.storage.onnx_export import export_onnx as export  # onnx takes a while to import

    return export(model if isinstance(model, Model) else load(model), Path(out), int8=int8, env_id=env_id)
