"""Both stages, and reading what they wrote."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from phr.api.threads import threads_restored, use_threads
from phr.distil import runs
from phr.distil.config import PHRConfig
from phr.distil.losses import losses_for
from phr.distil.presets import fresh_trunk, further_config, student_config, teacher_config
from phr.distil.runs import Distillation
from phr.envs.registry import make_env
from phr.envs.split import SplitEnv
from phr.errors import IncompatibleModelError, SettingError, UnknownModelError, UsageError
from phr.evaluation.evaluate import check_fits
from phr.experience.logged import MINARI_PREFIX, Logged, load_logged
from phr.networks.trunks import TrunkConfig
from phr.progress import OnProgress, silent
from phr.protocols import Planner
from phr.storage.model import Model, load_model
from phr.teachers.foreign import Actor, Reading
from phr.teachers.normalization import read_vecnormalize
from phr.teachers.policy import check_soft
from phr.teachers.references import ORACLE, is_foreign, model_directory, resolve


@threads_restored()
def train_teacher(
    env_id: str,
    *,
    out: str | Path | None = None,
    start: Model | str | Path | None = None,
    seed: int = 0,
    resume: bool = False,
    threads: int = 1,
    on_progress: OnProgress = silent,
    say: Callable[[str], None] = lambda _line: None,
    **settings: Any,
) -> Model:
    """Train a teacher by A2C (stage 1).

    Args:
        env_id: A Gymnasium id, or `module:factory`.
        out: The run's folder; None keeps everything in memory.
        start: A teacher of phr to train further: a model, a run directory or `zoo:NAME`. None starts from a fresh network.
        seed: Seed of weights, environments and sampling.
        resume: Continue an unfinished run; return the model of a finished one.
        threads: Threads of torch.
        on_progress: Called a few times a second.
        say: Called with each line of text for the user.
        **settings: Fields of `A2CConfig`; the defaults are those that measured best for this environment.

    Returns:
        A model of horizon 1.

    Raises:
        UnknownEnvironmentError: If there is no such environment.
        UnsupportedEnvironmentError: If phr cannot act in it.
        SettingError: If a setting makes no sense.
        IncompatibleModelError: If `start` is not a teacher for such an environment.
        OutputDirectoryError: If the folder holds something else.
        NonFiniteError: If a loss or gradient is not finite; the last good checkpoint stays.
    """
    use_threads(threads)
    with make_env(env_id) as env:
        if start is None:
            config, model = teacher_config(env, seed=seed, **settings), None
        else:
            model = start if isinstance(start, Model) else load(start)
            if model.horizon > 1:
                raise IncompatibleModelError(
                    f"{start} plans {model.horizon} actions from one look; only a teacher is trained further"
                )
            check_fits(model.planner, env)
            config = further_config(env, model.network.config.trunk, seed=seed, **settings)
    return runs.train_teacher(env_id, config, _path(out), start=model, resume=resume, on_progress=on_progress, say=say)


@threads_restored()
def distill(
    teacher: Any = None,
    *,
    horizon: int,
    out: str | Path | None = None,
    env_id: str | None = None,
    seed: int = 0,
    resume: bool = False,
    experience: str | Path | None = None,
    save_experience: str | Path | None = None,
    activation: str | None = None,
    normalize: str | Path | None = None,
    threads: int = 1,
    on_progress: OnProgress = silent,
    say: Callable[[str], None] = lambda _line: None,
    **settings: Any,
) -> Model:
    """Distil a teacher into a student that looks once and plans `horizon` actions (stage 2).

    Args:
        teacher: A model, a run directory, `zoo:NAME`, an `.onnx`, a Stable-Baselines3 `.zip`, `module:factory` or `oracle`;
            or a torch module, a function from observations to logits or actions, or a planner. None learns from
            `experience` alone, from its actions.
        horizon: Actions to predict from one look.
        out: The run's folder; None keeps everything in memory.
        env_id: The environment; by default the teacher's own. Required for policies that phr did not train, and for files
            whose environment is a `module:factory`: no file runs code that the user did not name.
        seed: Seed of starts and batches.
        resume: Continue an unfinished run; return the model of a finished one. Like `experience` it requires a teacher with
            an identity: a bare function, or a planner that holds more than arrays and modules, must have an attribute
            `identity`.
        experience: Recorded episodes (.npz) to use instead of recording new ones; without a teacher also `minari:NAME`.
        save_experience: File for the recorded episodes (.npz, with a JSON beside it), for another distillation.
        activation: Activation function of a `.zip` that does not record it readably.
        normalize: Observation statistics that a `.zip` was trained with (`convert_vecnormalize`).
        threads: Threads of torch.
        on_progress: Called while recording and after each update.
        say: Called with the reason of the episode filter, the results of each round of refinement and, at the end, warnings.
        **settings: Fields of `PHRConfig` (`loss`, `window_stride`, `loss_weight`, `width`, `refine`, ...). `width=W` gives
            the student a fresh trunk of that width, convolutions in proportion; `refine=ROUNDS` goes on with the states that
            the student's own plans lead to; `keep` chooses the episodes to learn from; `n_envs` is how many environments are
            open side by side.

    Raises:
        HorizonError: If the horizon is below 1.
        NoSuccessError: If the teacher succeeded in no episode.
        NonFiniteError: If the teacher's output contains NaN or Inf.
        BrokenEnvironmentError: If the environment refuses an action of the teacher, or breaks its contract.
        IncompatibleModelError: If teacher, environment and experience do not fit.
        SettingError: If settings make no sense, alone or together.
        UsageError: As for `train_teacher`.
    """
    use_threads(threads)
    if teacher is None:
        if (save_experience, activation, normalize) != (None, None, None):
            raise SettingError("save_experience, activation and normalize belong to a teacher, and none is given")
        distillation = _from_logged(load_logged(experience, env_id), horizon, {"seed": seed, **settings})
    else:
        actor = resolve(teacher, env_id=env_id, reading=Reading(activation=activation, normalize=normalize))
        if actor.model is None and not actor.identity and (resume or experience is not None):
            raise UsageError(
                f"{actor.reference} has no identity: expected an attribute `identity`, a text that changes whenever the "
                "policy changes, to compare it with the teacher of the run or of the recorded episodes; add it"
            )
        distillation = replace(
            _from_teacher(actor, horizon, {"seed": seed, **settings}),
            read_episodes=None if experience is None else partial(_recorded, experience),
            save_episodes_to=_path(save_experience),
        )
    return distillation.run(_path(out), resume=resume, on_progress=on_progress, say=say)


def _from_logged(logged: Logged, horizon: int, settings: dict[str, Any]) -> Distillation:
    """Return the distillation of logged actions, without a teacher."""
    trunk = fresh_trunk(logged)
    config = student_config(logged, horizon, trunk, **{**settings, "refine": settings.get("refine") or 0})
    name = logged.name
    return Distillation(None, logged.env_id, config, start=trunk, teacher_name=name, read_episodes=lambda: logged)


def _from_teacher(actor: Actor, horizon: int, settings: dict[str, Any]) -> Distillation:
    """Return the distillation of a teacher, which records new episodes."""
    model = actor.model
    with make_env(actor.env_id) as env:  # closed before others are opened: some simulators allow one at a time
        start = model.network if model else fresh_trunk(env)
        trunk = start if isinstance(start, TrunkConfig) else start.config.trunk
        is_fresh = start is trunk or settings.get("width") is not None
        config = student_config(env, horizon, trunk if is_fresh else None, **settings)
        _check_teacher(actor, env, config)
        return Distillation(
            actor.planner,
            actor.env_id,
            config,
            start=start,
            teacher_name=actor.reference if model is None or model.directory else "",
            teacher_id=model.sha256 if model else actor.identity,
            joint_config=teacher_config(env, seed=config.seed) if config.joint else None,
        )


def _check_teacher(actor: Actor, env: SplitEnv, config: PHRConfig) -> None:
    """Refuse settings that ask for more than the teacher has."""
    if actor.action_only:
        allowed = losses_for(env.action_space, action_only=True)
        check_soft(actor.reference, config.loss, allowed, sample_labels=config.sample_labels)
    check_fits(actor.planner, env)
    if config.joint and actor.model is None:
        raise IncompatibleModelError("joint training continues A2C, so it requires a teacher that phr trained")
    if actor.model is None and config.trunk_mode != "anchored":
        raise IncompatibleModelError(
            f"{actor.reference} has no network that a student could start from, so head 1 has to be learnt too: trunk_mode "
            f"is 'anchored', got {config.trunk_mode!r}"
        )


def _recorded(experience: str | Path) -> Logged:
    if str(experience).startswith(MINARI_PREFIX):
        raise UsageError(f"{experience} was not recorded from this teacher; leave TEACHER out to learn from it alone")
    return load_logged(experience)


def load_teacher(
    reference: Any,
    *,
    env_id: str | None = None,
    activation: str | None = None,
    normalize: str | Path | None = None,
) -> Planner:
    """Read a policy of any supported kind; `teacher.plan(obs).mode()[:, 0]` are its actions.

    Args:
        reference: As for `distill`.
        env_id: As for `distill`.
        activation: As for `distill`.
        normalize: As for `distill`.

    Raises:
        UsageError: If the reference is not a readable policy, or does not fit the environment.
        CorruptFileError: If a file was truncated or edited.
    """
    return resolve(reference, env_id=env_id, reading=Reading(activation=activation, normalize=normalize)).planner


def convert_vecnormalize(path: str | Path, out: str | Path, *, trust: bool = False) -> None:
    """Convert the observation statistics of a Stable-Baselines3 `vecnormalize.pkl`, for `distill(..., normalize=out)`.

    Args:
        path: A pickle written by `VecNormalize.save`.
        out: The `.npz` file to write; an existing one is replaced.
        trust: You trust the author of the pickle.

    Raises:
        UsageError: If it is not trusted, or there is no such file, or it does not normalise observations.
        CorruptFileError: If it was truncated or edited, or holds something else.
    """
    read_vecnormalize(Path(path), trust=trust).save(Path(out))


def load(reference: str | Path) -> Model:
    """Read a model from a run directory or the zoo; every file is checked against its hash.

    Raises:
        UnknownModelError: If there is no such model, or it has no network.
        CorruptFileError: If a file is missing, truncated or edited.
    """
    if reference == ORACLE or is_foreign(reference):
        raise UnknownModelError(f"{reference} has no network to load; give a run directory or zoo:NAME")
    return load_model(model_directory(str(reference)))


def _path(out: str | Path | None) -> Path | None:
    return None if out is None else Path(out)
