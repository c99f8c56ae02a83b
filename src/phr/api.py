"""phr in five lines of Python; the command line calls nothing else.

```python
import phr

teacher = phr.train_teacher("MiniGrid-SimpleCrossingS9N1-v0", seed=0)
student = phr.distill(teacher, horizon=8, loss="cross_entropy")
print(phr.evaluate(student, steps=100_000, runs=5))
phr.export_onnx(student, "student.onnx")
```

Arguments of several functions:
    env_id: A Gymnasium id or `module:factory`, by default the model's own or that of a zoo's folder. Required for other
        policies that phr did not train, and for files whose environment is a `module:factory`: no file runs code that the
        user did not name.
    out: The run's folder; None keeps everything in memory.
    resume: Continue an unfinished run; return the model of a finished one.
    checkpoint_seconds: Time between two checkpoints, which is what a kill costs at most.
    normalize: The `vecnormalize.pkl` of a Stable-Baselines3 `.zip`; a folder of RL Baselines3 Zoo holds its own.
    threads: Threads of torch during the call, 1 .. 1024.
    on_progress: Called a few times a second.
    say: Called with each line of text for the user.

Errors of several functions, `UsageError`s all but the last:
    UnknownModelError: A reference leads nowhere, or stands for no network.
    UnknownEnvironmentError, UnsupportedEnvironmentError: There is no such environment, or phr cannot act in it.
    IncompatibleModelError: Model, teacher, environment and experience do not fit.
    HorizonError: A horizon is below 1, or a commitment outside 1 .. horizon.
    SettingError: Arguments make no sense, alone or together.
    OutputDirectoryError: A folder holds something else, or a file cannot be written there.
    CorruptFileError: A file was truncated or edited.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from phr.acting.commitment import AnyCommitment, resolve_commitment
from phr.acting.onnx_file import reseal_onnx
from phr.distil import runs
from phr.distil.config import SIDE_BY_SIDE
from phr.distil.losses import losses_for
from phr.distil.presets import fresh_trunk, further_config, student_config, teacher_config
from phr.distil.runs import Distillation
from phr.distil.search import search
from phr.envs.registry import make_env, with_option
from phr.errors import HorizonError, IncompatibleModelError, PhrError, SettingError, UnknownModelError, UsageError
from phr.evaluation.episodes import StartsResult, distinct_starts, make_vector, play_all_starts
from phr.evaluation.evaluate import Evaluation, EvaluationSettings, check_fits, describe_machine, evaluate_planner
from phr.evaluation.timed import Limit, RunOptions, RunRecord
from phr.evaluation.tune import TuneSettings, measure_curve, tune_planner
from phr.evaluation.tuning import Tuning
from phr.experience.logged import MINARI_PREFIX, load_logged
from phr.files import check_file_target
from phr.manifest import MANIFEST, Manifest
from phr.networks.trunks import TrunkConfig, torch_threads
from phr.plan import Planner
from phr.progress import OnProgress, Progress, silent
from phr.settings import check_number, check_whole
from phr.storage.driver import CHECKPOINT_SECONDS
from phr.storage.model import Model, annotated, load_model
from phr.storage.owner import owned
from phr.teachers.foreign import NOTHING_SAID, Actor, Reading
from phr.teachers.hub import HUB_PREFIX
from phr.teachers.oracle import SOLVABLE_IDS, optimal_lengths
from phr.teachers.policy import check_soft
from phr.teachers.references import ORACLE, ZOO_PREFIX, Backend, is_foreign, model_directory, resolve

if TYPE_CHECKING:
    from phr.storage.onnx_export import Export

__all__ = ["distill", "evaluate", "evaluate_all_starts", "export_onnx", "load", "load_teacher"]
__all__ += ["train_teacher", "tune"]

_NEARLY_ALL = 0.99
NOT_COMPARED = "not_compared"
"""Note of a student that could not be compared with its teacher: the reason."""


def train_teacher(
    env_id: str,
    *,
    out: str | Path | None = None,
    start: Model | str | Path | None = None,
    seed: int = 0,
    resume: bool = False,
    checkpoint_seconds: float = CHECKPOINT_SECONDS,
    threads: int = 1,
    on_progress: OnProgress = silent,
    say: Callable[[str], None] = silent,
    **settings: Any,
) -> Model:
    """Train a teacher by A2C (stage 1), a model of horizon 1.

    Other arguments and errors: see the module `phr.api`.

    Args:
        env_id: A Gymnasium id, or `module:factory`.
        start: A teacher of phr to train further: a model, a run directory or `zoo:NAME`. None starts from a fresh network.
        seed: Seed of weights, environments and sampling.
        **settings: Fields of `A2CConfig`; the defaults are those that measured best for this environment.

    Raises:
        NonFiniteError: If a loss or gradient is not finite; the last good checkpoint stays.
    """
    _check_seconds(checkpoint_seconds)
    with torch_threads(threads):
        with make_env(env_id) as env:
            model = start if start is None or isinstance(start, Model) else load(start)
            if model is None:
                config = teacher_config(env, seed=seed, **settings)
            else:
                if model.horizon > 1:
                    why = f"plans {model.horizon} actions from one look; only a teacher is trained further"
                    raise IncompatibleModelError(f"{start} {why}")
                check_fits(model.planner, env)
                config = further_config(env, model.network.config.trunk, seed=seed, **settings)
        directory = None if out is None else Path(out)
        with owned(directory, say=say):
            return runs.train_teacher(
                env_id, config, directory, start=model, resume=resume, checkpoint_seconds=checkpoint_seconds,
                on_progress=on_progress, say=say,
            )  # fmt: skip


def distill(
    teacher: Any = None,
    *,
    horizon: int = 8,
    retain: float | None = None,
    confidence: float | None = None,
    budget: float | None = None,
    out: str | Path | None = None,
    env_id: str | None = None,
    seed: int = 0,
    resume: bool = False,
    checkpoint_seconds: float = CHECKPOINT_SECONDS,
    experience: str | Path | None = None,
    save_experience: str | Path | None = None,
    curve_episodes: int | None = None,
    normalize: str | Path | None = None,
    threads: int = 1,
    on_progress: OnProgress = silent,
    say: Callable[[str], None] = silent,
    **settings: Any,
) -> Model:
    """Distil a teacher into a student that looks once and plans `horizon` actions (stage 2).

    Other arguments and errors: see the module `phr.api`.

    Args:
        teacher: A model, a run directory, `zoo:NAME`, an `.onnx`, a Stable-Baselines3 `.zip`, `module:factory` or `oracle`;
            or a torch module, a function from observations to logits or actions, or a planner. None learns from
            `experience` alone, from its actions.
        horizon: Actions to predict from one look; with `retain` the most.
        retain: Share of the teacher's return to keep: several students are distilled as long as that buys time, and the best
            is certified (`phr.distil.search`, and `tune`); its notes hold `tuned` and `attempts`. None distils one student.
        confidence: With `retain`: probability that the certificate holds, 0.95 by default.
        budget: With `retain`: about the minutes that it may take, certificate and all, 30 by default; training is made
            shorter if need be.
        seed: Seed of starts and batches.
        resume: Continue an unfinished run. Like `experience` it requires a teacher with an identity: a bare function, or a
            planner that holds more than arrays and modules, must have an attribute `identity`.
        experience: Recorded episodes (.npz) to use instead of recording new ones; without a teacher also `minari:NAME`.
        save_experience: File for the recorded episodes (.npz, with a JSON beside it), for another distillation.
        curve_episodes: Without `retain`: episodes that compare student and teacher in the end, 100 by default, at 1, 2, 4, …
            actions per look (`curve` in the manifest's notes, a `RetentionCurve` as JSON; or `not_compared`, why that
            failed, which is not written); 0 compares nothing.
        **settings: Fields of `PHRConfig` (`loss`, `keep`, `loss_weight`, `n_envs`, ...). `width=W` gives the student a fresh
            trunk of that width, convolutions in proportion; `refine=ROUNDS` trains on the states that the student's own
            plans lead to, too.

    Raises:
        NoSuccessError: If the teacher succeeded in no episode.
        NonFiniteError: If the teacher's output contains NaN or Inf.
        BrokenEnvironmentError: If the environment refuses an action of the teacher, or breaks its contract.
    """
    for name, value in {"confidence": confidence, "budget": budget}.items():
        if retain is None and value is not None:
            raise SettingError(f"{name} would have no effect without retain; add retain, like 0.99, or leave {name} out")
    if retain is not None and curve_episodes is not None:
        raise SettingError("curve_episodes would have no effect, as retain plays its own; leave one of them out")
    _check_seconds(checkpoint_seconds)
    wanted = TuneSettings(
        retain=1.0 if retain is None else retain, confidence=0.95 if confidence is None else confidence, seed=seed
    )
    minutes, n_compared = 30.0 if budget is None else budget, 100 if curve_episodes is None else curve_episodes
    check_number("budget", minutes, "be a positive number of minutes", lambda minutes: 0 < minutes < math.inf)
    if n_compared:
        check_whole("curve_episodes", n_compared, 2)
    with torch_threads(threads):
        if teacher is None:
            if (save_experience, normalize) != (None, None):
                raise SettingError("save_experience and normalize belong to a teacher, and none is given")
            logged = load_logged(experience, env_id)
            trunk, settings = fresh_trunk(logged, horizon), {"seed": seed, **settings, "refine": settings.get("refine") or 0}
            config, name = student_config(logged, horizon, trunk, **settings), logged.name
            job = Distillation(None, logged.env_id, config, start=trunk, teacher_name=name, read_episodes=lambda: logged)
        else:
            actor = resolve(teacher, env_id=env_id, reading=Reading(normalize=normalize))
            if actor.model is None and not actor.identity and (resume or experience is not None):
                raise UsageError(
                    f"{actor.reference} has no identity: expected an attribute `identity`, a text that changes whenever the "
                    "policy changes, to compare it with the teacher of the run or of the recorded episodes; add it"
                )
            if str(experience).startswith(MINARI_PREFIX):
                raise UsageError(f"{experience} was not recorded from this teacher; leave TEACHER out to learn from it")
            read = None if experience is None else partial(load_logged, experience)
            save = None if save_experience is None else Path(save_experience)

            def job_with(further: Mapping[str, Any]) -> Distillation:
                words = {"horizon": horizon, "seed": seed, **settings, **further}
                made = _from_teacher(actor, words.pop("horizon"), words)
                return replace(made, read_episodes=read, save_episodes_to=save)

            job = job_with({})
            for line in actor.notices:
                say(line)
        if retain is not None and (teacher is None or save_experience is not None):
            why = "save_experience keeps those of one" if teacher else "recorded episodes alone have no teacher"
            raise SettingError(f"retain distils several students and compares each with the teacher: {why}")
        directory = None if out is None else Path(out)
        shown: dict[str, Any] = {"checkpoint_seconds": checkpoint_seconds, "on_progress": on_progress, "say": say}
        kept = [] if save_experience is None else [Path(save_experience).with_suffix(end) for end in (".npz", ".json")]
        with ExitStack() as held:
            held.enter_context(owned(directory, say=say))
            for file in kept:
                held.enter_context(owned(file, is_file=True))
            if retain is not None:
                model = search(
                    job_with, wanted, given=settings, budget=minutes, directory=directory, resume=resume,
                    is_timed=actor.backend in ("torch", "search", "python"), **shown,
                )  # fmt: skip
                return _doubted(model, actor, model.manifest.notes.get("tuned", {}).get("teacher_return"))
            model = job.run(directory, resume=resume, **shown)
            if job.teacher is None or "curve" in model.manifest.notes:
                return model
            if not n_compared:
                return _doubted(model, actor, None)
            on_progress(Progress("comparing with the teacher", 0, n_compared, "episodes"))
            try:
                with make_vector(job.env_id, min(SIDE_BY_SIDE, n_compared)) as vector:
                    curve = measure_curve(model.planner, job.teacher, vector, episodes=n_compared, seed=seed)
            except PhrError as error:  # the student is finished, and not lost
                return annotated(_doubted(model, actor, None), {NOT_COMPARED: str(error)}, write=False)
            model = _doubted(model, actor, curve.teacher_return, _forgotten(actor, curve.shares[1]))
            return annotated(model, {"curve": curve.to_json()})


def _check_seconds(between: float) -> None:
    check_number("checkpoint_seconds", between, "be a positive number of seconds", lambda seconds: seconds > 0)


def evaluate(
    model: Any,
    *,
    env_id: str | None = None,
    commitment: AnyCommitment = None,
    steps: int | None = None,
    episodes: int | None = None,
    runs: int = 5,
    seed: int = 0,
    horizon: int | None = None,
    backend: Backend | None = None,
    deterministic: bool = True,
    observe_always: bool = False,
    random_prefix: Sequence[int] = (0, 0),
    sticky: float | None = None,
    all_starts: bool = False,
    normalize: str | Path | None = None,
    bound: bool = True,
    threads: int = 1,
    on_run: Callable[[int, RunRecord], None] = lambda _index, _record: None,
) -> Evaluation:
    """Measure what a model collects, and how fast.

    Other arguments and errors: see the module `phr.api`.

    Warm-up and the measurement of the time bound take at most twice the counted steps (random prefixes aside), and at most
    about five seconds. What is wrong with the bound is a warning beside the results (`Evaluation.bound_warning`). There is
    one environment at a time (all starts of a grid or an Atari game are played side by side); it is closed, also on errors.

    Args:
        model: Any teacher that `distill` takes, or a student.
        commitment: Actions executed per look, or `"auto"`; by default that of the model's manifest, else its whole horizon.
        steps: Steps of each run; 100,000 unless `episodes` is given.
        episodes: Whole episodes of each run, instead of steps.
        runs: Seeded runs; `seed` fixes their seeds.
        horizon: Actions that the oracle plans, 1 by default; a network's horizon is its own.
        backend: What computes a network's plans: `torch` by default; `onnx`, which an exported file always runs on.
        deterministic: Take the most likely actions; otherwise sample.
        observe_always: Build every observation, also those that no look uses.
        random_prefix: Fewest and most random, uncounted actions before each episode.
        sticky: Atari: probability that a frame repeats the action before it; as the id says by default.
        all_starts: Also play every different start once (see `evaluate_all_starts`); greedily and from the starts as they
            are, so neither sampling nor a random prefix goes with it.
        bound: Measure the time bound (default), by replaying runs; not with `observe_always`.
        on_run: Called with the index and the record of each finished run.

    Raises:
        UnsupportedEnvironmentError: Also if all starts are asked for and there are too many.
    """
    with torch_threads(threads):
        limit = Limit(steps=100_000) if steps is None and episodes is None else Limit(steps, episodes)
        options = RunOptions(random_prefix, observe_always=observe_always)
        with_bound = bound and not observe_always
        settings = EvaluationSettings(
            limit=limit, runs=runs, seed=seed, deterministic=deterministic, options=options, with_bound=with_bound
        )
        actor = _resolved(model, env_id, horizon, backend, Reading(normalize=normalize))
        if all_starts and (not deterministic or options.prefix != (0, 0)):
            why = "all starts are played once each, greedily and without a random prefix"
            raise SettingError(f"{why}; leave out either all starts, or sampling and prefixes")
        if actor.action_only and not deterministic:
            raise SettingError(f"{actor.reference} is an action-only teacher: it has no probabilities to sample from")
        if actor.backend == "onnx" and threads != 1:
            raise SettingError(f"--threads is for torch; an exported model runs on one thread, not on {threads}")
        settings = replace(settings, commitment=commitment)
        where = actor.env_id if sticky is None else with_option(actor.env_id, "sticky", sticky)
        # The starts go first: too many of them must not cost the results of long runs.
        every = _every_start(actor, where, settings.commitment) if all_starts else None
        name, machine = actor.reference, describe_machine(threads)
        with make_env(where) as env:
            result = evaluate_planner(
                actor.planner, env, settings, model=name, backend=actor.backend, machine=machine, on_run=on_run
            )
        doubts = _doubts(actor, None if actor.model is not None else result.return_mean)
        return replace(result, all_starts=every, notices=actor.notices, warnings=doubts)


def tune(
    model: Any,
    teacher: Any = None,
    *,
    env_id: str | None = None,
    retain: float = 0.99,
    confidence: float = 0.95,
    max_episodes: int = 2000,
    calibration: int = 100,
    zero: float | None = None,
    return_range: tuple[float, float] | None = None,
    seed: int = 0,
    n_envs: int = SIDE_BY_SIDE,
    backend: Backend | None = None,
    normalize: str | Path | None = None,
    baseline: Any = None,
    repeat: bool = True,
    write: bool = True,
    threads: int = 1,
    on_progress: OnProgress = silent,
) -> Tuning:
    """Find how seldom a student may look: the fewest looks that keep a share of its teacher's return, for certain.

    Every fixed number of actions per look, and limits of the plan's joint confidence, play calibration episodes beside the
    teacher; fresh episodes test the promising ones, from the safest to the boldest (`phr.evaluation.tune`). The certified
    rule is written into the model, with its evidence, and obeyed wherever no other commitment is given.

    Other arguments and errors: see the module `phr.api`.

    Args:
        model: A student: a model, a run directory, `zoo:NAME` or an exported `.onnx`.
        teacher: Any policy that `distill` takes; None for the one that the model names, if it is where it was.
        retain: Share of the teacher's return to keep, above 0 and at most 1.
        confidence: Probability that the promise holds.
        max_episodes: The most fresh episodes that test one rule.
        calibration: The fewest episodes that choose the rules to test, at least 25; or 3 / (1 − retain), if more.
        zero: The return that counts as 0; by default 0 if no return is negative, else a random policy's mean return.
        return_range: The least and the greatest possible return of an episode. Without it the promise assumes that none is
            worse than the worst seen, a random policy's among them.
        seed: Seed of all starts.
        n_envs: Environments played side by side.
        backend: What computes a network's plans: `torch` by default, or `onnx`.
        normalize: Of the teacher.
        baseline: Another policy to compare with, such as a smaller network; it looks at every step, and is not certified.
        repeat: Play the teacher's action repeated n times as a baseline; it is not certified either.
        write: Write the certified rule, or one action per look where none is certified, into the model's folder or file.

    Raises:
        IncompatibleModelError: Also if the teacher collects no more than a random policy, or the teacher that the model
            names is not the one it was distilled from.
        SettingError: Also, with `write`, if the model is not one of phr's, or was made for another environment.
    """
    with torch_threads(threads):
        settings = TuneSettings(
            retain=retain, confidence=confidence, max_episodes=max_episodes, calibration=calibration, zero=zero,
            return_range=return_range, seed=seed,
        )  # fmt: skip
        check_whole("n_envs", n_envs, 1)
        student = resolve(model, env_id=env_id, backend=backend)
        if write:
            _check_writable(student)
        is_found = teacher is None
        reading = Reading(normalize=normalize)
        theirs = _on_backend_of(student, _named_teacher(student) if is_found else teacher, reading)
        warnings = _other_teacher(student, theirs, is_found)
        beside = [] if baseline is None else [_on_backend_of(student, baseline)]
        with make_env(student.env_id) as env:
            for each in (student, theirs, *beside):
                check_fits(each.planner, env, each.reference)
        with owned(_written(student) if write else None, is_file=student.model is None):
            with make_vector(student.env_id, n_envs) as vector:
                found = tune_planner(
                    student.planner,
                    theirs.planner,
                    vector,
                    settings,
                    model=student.reference,
                    teacher_name=theirs.reference,
                    is_timed=_comparable(student, theirs),
                    repeat=repeat,
                    baseline=(beside[0].reference, beside[0].planner) if beside else None,
                    baseline_is_timed=all(_comparable(each, theirs) for each in beside),
                    on_progress=on_progress,
                )
            found = replace(
                found,
                warnings=(*found.warnings, *warnings, *_doubts(theirs, found.teacher_return)),
                teacher_id=_identity_of(theirs),
                backend=student.backend,
            )
            notes = {"tuned": found.evidence()}
            if student.model is not None:
                return replace(found, student=annotated(student.model, notes, commitment=found.commitment, write=write))
            if write:
                reseal_onnx(Path(student.reference), commitment=found.commitment, notes=notes)
            return found


def _doubts(actor: Actor, mean: float | None) -> tuple[str, ...]:
    """What makes results with a policy doubtful, its mean return among it."""
    low = None if actor.recorded is None else actor.recorded.doubt(mean)
    return (*actor.warnings, *([] if low is None else [low]))


def _forgotten(teacher: Actor, share: float) -> tuple[str, ...]:
    """Warn where a student that looks at every step loses what its teacher remembers."""
    frames = getattr(teacher.planner, "n_frames", None)
    if frames is None or share >= _NEARLY_ALL:
        return ()
    kept = f"looking at every step it keeps {share:.1%} of the return"
    return (
        f"the teacher remembers its episode, the student sees {frames} observations: {kept}; try a larger --frame-stack",
    )


def _doubted(model: Model, teacher: Actor, mean: float | None, further: tuple[str, ...] = ()) -> Model:
    """Note in a student what makes its teacher, or itself, doubtful."""
    doubts = (*_doubts(teacher, mean), *further)
    return annotated(model, {"doubts": list(doubts)}) if doubts else model


def _on_backend_of(student: Actor, reference: Any, reading: Reading = NOTHING_SAID) -> Actor:
    """Resolve another policy; a model of phr runs on the student's backend, so that their times may be compared."""
    found = resolve(reference, env_id=student.env_id, reading=reading)
    on_onnx = found.model is not None and student.backend == "onnx"
    return resolve(reference, env_id=student.env_id, backend="onnx") if on_onnx else found


def _comparable(actor: Actor, teacher: Actor) -> bool:
    """Whether the times of their calls may be compared."""
    return actor.backend == teacher.backend or teacher.backend in ("search", "python")


def _manifest_of(actor: Actor) -> Manifest | None:
    return actor.model.manifest if actor.model else getattr(actor.planner, "manifest", None)


def _identity_of(actor: Actor) -> str:
    return actor.model.sha256 if actor.model else actor.identity


def _written(student: Actor) -> Path | None:
    """What a rule will be written into: a run's folder, or an exported file; None for a model in memory."""
    return Path(student.reference) if student.model is None else student.model.directory


def _check_writable(student: Actor) -> None:
    """Refuse a model that a rule cannot be written into (`SettingError`)."""
    manifest = _manifest_of(student)
    why = ""
    if manifest is None or (student.model is None and not Path(student.reference).is_file()):
        why = f"no rule can be written into {student.reference}, as phr did not write it"
    elif student.reference.startswith(HUB_PREFIX):
        why = f"{student.reference} is a copy of what the hub holds"
    elif manifest.env_id != student.env_id:
        why = f"{student.reference} was made for {manifest.env_id}; a rule of {student.env_id} would become its default"
    if why:
        raise SettingError(f"{why}; add --no-write (write=False)")
    if student.model is None:
        check_file_target(Path(student.reference))
    elif student.model.directory is not None:
        check_file_target(student.model.directory / MANIFEST)


def _other_teacher(student: Actor, teacher: Actor, is_found: bool) -> list[str]:
    """Warn of a teacher that is not the student's; IncompatibleModelError if the model's name for it led there."""
    manifest = _manifest_of(student)
    expected, got = manifest.notes.get("teacher_id") if manifest else None, _identity_of(teacher)
    if not expected or not got or expected == got:
        return []
    differs = (
        f"{student.reference} was distilled from another teacher ({str(expected)[:12]}) than {teacher.reference} is now"
    )
    if is_found:
        why = "that file was replaced, or the teacher was read with another --normalize"
        raise IncompatibleModelError(
            f"{differs} ({got[:12]}): {why}; give these as in its distillation, or --teacher TEACHER"
        )
    return [f"{differs} ({got[:12]}); the share is that of the teacher given"]


def _named_teacher(student: Actor) -> str:
    """The teacher that a student's manifest names, if it is a file or a model that is there; UsageError otherwise."""
    manifest = _manifest_of(student)
    name = "" if manifest is None else manifest.notes.get("teacher", "")
    is_there = isinstance(name, str) and (
        name == ORACLE or name.startswith((ZOO_PREFIX, HUB_PREFIX)) or (name and Path(name).exists())
    )
    if isinstance(name, str) and (name.startswith(MINARI_PREFIX) or name.endswith(".npz")):
        raise UsageError(f"{student.reference} learnt from recorded episodes; add --teacher TEACHER")
    if not is_there:
        found = f"it names {name!r}, which is not here" if name else "it names none"
        raise UsageError(f"{student.reference} has to be compared with its teacher, and {found}; add --teacher TEACHER")
    return str(name)


def _resolved(model: Any, env_id: str | None, horizon: int | None, backend: Backend | None, reading: Reading) -> Actor:
    if horizon is not None:
        check_whole("horizon", horizon, 1, HorizonError)
    return resolve(model, env_id=env_id, horizon=horizon, backend=backend, reading=reading)


def evaluate_all_starts(
    model: Any,
    *,
    env_id: str | None = None,
    commitment: AnyCommitment = None,
    horizon: int | None = None,
    backend: Backend | None = None,
    normalize: str | Path | None = None,
) -> StartsResult:
    """Play every different start of an environment once, greedily: a result without sampling error.

    Arguments and errors are those of `evaluate`.
    """
    actor = _resolved(model, env_id, horizon, backend, Reading(normalize=normalize))
    return _every_start(actor, actor.env_id, commitment)


def _every_start(actor: Actor, env_id: str, commitment: AnyCommitment) -> StartsResult:
    resolve_commitment(commitment, actor.planner.horizon)  # a wrong one is refused before the starts are searched for
    with make_env(env_id) as env:
        check_fits(actor.planner, env)
        starts = distinct_starts(env)
        optimal = optimal_lengths(env, starts) if env_id in SOLVABLE_IDS else None
        n_envs = 1 if env.family == "other" else 32  # a simulator of the user's may allow only one open copy
    return play_all_starts(actor.planner, env_id, starts, commitment=commitment, optimal_lengths=optimal, n_envs=n_envs)


def export_onnx(model: str | Path | Model, out: str | Path, *, int8: bool = False, env_id: str | None = None) -> Export:
    """Write a model as ONNX, to run without torch (`phr.acting.runtime`); nothing is written where it differs from torch.

    Other arguments and errors: see the module `phr.api`.

    Args:
        model: A model, a run directory or `zoo:NAME`.
        out: The file, `….onnx`; one that is there is replaced.
        int8: Write `….int8.onnx` too: smaller and faster, with the measured cost in agreement.
        env_id: Where to meet the observations that it is compared on.

    Raises:
        ExportMismatchError: If the exported model differs from torch.
        UsageError: If int8 has no environment to choose its ranges in.
    """
    from phr.storage.onnx_export import export_onnx as export  # onnx takes a while to import

    loaded = model if isinstance(model, Model) else load(model)
    rounded = Path(out).with_suffix(".int8.onnx") if int8 else None
    with owned(Path(out), is_file=True), owned(rounded, is_file=True):
        return export(loaded, Path(out), int8=int8, env_id=env_id)


def _from_teacher(actor: Actor, horizon: int, settings: dict[str, Any]) -> Distillation:
    """The distillation of a teacher, which records new episodes; settings that ask for more than it has are refused."""
    model = actor.model
    with make_env(actor.env_id) as env:  # closed before others are opened: some simulators allow one at a time
        start = model.network if model else fresh_trunk(env, horizon)
        trunk = start if isinstance(start, TrunkConfig) else start.config.trunk
        is_fresh = start is trunk or settings.get("width") is not None
        config = student_config(env, horizon, trunk if is_fresh else None, **settings)
        if actor.action_only:
            allowed = losses_for(env.action_space, action_only=True)
            check_soft(actor.reference, config.loss, allowed, sample_labels=config.sample_labels)
        check_fits(actor.planner, env)
        if config.joint and model is None:
            raise IncompatibleModelError("joint training continues A2C, so it requires a teacher that phr trained")
        if model is None and config.trunk_mode != "anchored":
            raise IncompatibleModelError(
                f"{actor.reference} has no network that a student could start from, so head 1 has to be learnt too: "
                f"trunk_mode is 'anchored', got {config.trunk_mode!r}"
            )
        name = actor.reference if model is None or model.directory else ""
        identity = model.sha256 if model else actor.identity
        joint = teacher_config(env, seed=config.seed) if config.joint else None
        return Distillation(
            actor.planner, actor.env_id, config, start=start, teacher_name=name, teacher_id=identity, joint_config=joint
        )


def load_teacher(reference: Any, *, env_id: str | None = None, normalize: str | Path | None = None) -> Planner:
    """Read any policy that `distill` takes, with its arguments; `teacher.plan(obs).mode()[:, 0]` are its actions.

    A policy that remembers its episode (RecurrentPPO) answers so as at an episode's beginning; `HorizonAgent(teacher)`
    carries its state. `teacher.notices` and `teacher.warnings` of a third-party policy state how it was read, and what is
    doubtful.

    Other arguments and errors: see the module `phr.api`.
    """
    return resolve(reference, env_id=env_id, reading=Reading(normalize=normalize)).planner


def load(reference: str | Path) -> Model:
    """Read a model from a run directory or the zoo; every file is checked against its hash."""
    if reference == ORACLE or is_foreign(reference):
        made = "; a student of it has one (phr distill)" if is_foreign(reference) else ""
        raise UnknownModelError(f"{reference} has no network to load; give a run directory or zoo:NAME{made}")
    return load_model(model_directory(str(reference)))
