"""Both stages, and reading what they wrote."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from phr.api.threads import threads_restored, use_threads
from phr.distil import runs
from phr.distil.config import PHRConfig
from phr.distil.losses import losses_for
from phr.distil.presets import fresh_trunk, further_config, student_config, teacher_config
from phr.envs.registry import make_env
from phr.envs.split import SplitEnv
from phr.errors import IncompatibleModelError, SettingError, UnknownModelError, UsageError
from phr.evaluation.evaluate import check_fits
from phr.experience.archive import load_experience
from phr.experience.logged import MINARI_PREFIX, load_logged
from phr.experience.trajectory import Experience
from phr.files import sha256_of
from phr.networks.trunks import TrunkConfig
from phr.progress import OnProgress, silent
from phr.protocols import Planner
from phr.storage.model import Model, load_model
from phr.teachers.foreign import Reading, is_foreign
from phr.teachers.policy import check_soft
from phr.teachers.references import ORACLE, Actor, resolve
from phr.teachers.vecnormalize import read_vecnormalize
from phr.teachers.zoo import model_directory


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
        start: A teacher of phr's to train further: a model, a run directory or `zoo:NAME`. None starts from nothing.
        seed: Fixes weights, environments and sampling.
        resume: Go on where there is a part; return the model where all is done.
        threads: Threads of torch.
        on_progress: Told a few times a second.
        say: Told where a resumed training does not go on exactly.
        **settings: Fields of `A2CConfig`; those not given take what measured best for this environment.

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
        env_id: Where; the teacher's own environment by default. Policies that phr did not train need it, and so do files
            whose environment is a `module:factory`: no file runs code that the user did not name.
        seed: Fixes starts and batches.
        resume: Go on where there is a part; return the model where all is done. Like `experience` it needs a teacher that
            can be told from others: a bare function, or a planner that holds more than arrays and modules, has to have an
            attribute `identity`.
        experience: Recorded episodes (.npz) to use instead of recording new ones; without a teacher also `minari:NAME`.
        save_experience: Where to keep the recorded episodes (.npz, with a JSON beside it), for another distillation.
        activation: The activation function of a `.zip` that does not tell it readably.
        normalize: Statistics of the observations that a `.zip` was trained with (`convert_vecnormalize`).
        threads: Threads of torch.
        on_progress: Told while recording and after each update.
        say: Told which episodes were kept, and why, what each round of refinement found and changed, and at the end what
            did not go as asked.
        **settings: Fields of `PHRConfig` (`loss`, `window_stride`, `loss_weight`, `width`, `refine`, ...). `width=W` gives
            the student a fresh trunk of that width, convolutions in proportion; `refine=ROUNDS` goes on with the states that
            the student's own plans lead to; `keep` chooses the episodes to learn from; `n_envs` is how many environments are
            open side by side.

    Raises:
        HorizonError: If the horizon is below 1.
        NoSuccessError: If the teacher succeeded in no episode.
        NonFiniteError: If the teacher answers with a NaN or an infinity.
        BrokenEnvironmentError: If the environment refuses an action of the teacher, or breaks its contract.
        IncompatibleModelError: If teacher, environment and experience do not fit.
        SettingError: If settings make no sense, alone or together.
        UsageError: As for `train_teacher`.
    """
    use_threads(threads)
    if teacher is None:
        if (save_experience, activation, normalize) != (None, None, None):
            raise SettingError("save_experience, activation and normalize belong to a teacher, and none is given")
        logged = load_logged(experience, env_id)
        settings = {**settings, "refine": settings.get("refine") or 0}  # nobody is there to be asked again
        trunk = fresh_trunk(logged)
        config = student_config(logged, horizon, trunk, seed=seed, **settings)
        return runs.distill_logged(logged, config, _path(out), start=trunk, resume=resume, on_progress=on_progress, say=say)
    actor = resolve(teacher, env_id=env_id, reading=Reading(activation=activation, normalize=normalize))
    if actor.model is None and not actor.identity and (resume or experience is not None):
        raise UsageError(
            f"nothing tells {actor.reference} from another policy of that name, so neither a run nor recorded episodes can "
            "be known to be its own; give it an attribute `identity`, a text that changes whenever its answers do"
        )
    with make_env(actor.env_id) as env:  # and closed before any other is opened: some simulators allow one at a time
        start = actor.model.network if actor.model else fresh_trunk(env)
        is_fresh = isinstance(start, TrunkConfig) or settings.get("width") is not None
        fresh = (start if isinstance(start, TrunkConfig) else start.config.trunk) if is_fresh else None
        config = student_config(env, horizon, fresh, seed=seed, **settings)
        _check_teacher(actor, env, config)
        joint_config = teacher_config(env, seed=seed) if config.joint else None
    return runs.distill(
        actor.planner,
        actor.env_id,
        config,
        _path(out),
        start=start,
        teacher_name=actor.reference if actor.model is None or actor.model.directory else "",
        teacher_id=actor.model.sha256 if actor.model else actor.identity,
        joint_config=joint_config,
        experience=None if experience is None else _recorded(experience),
        save_experience_to=_path(save_experience),
        experience_id="" if experience is None else sha256_of(Path(experience).with_suffix(".npz")),
        resume=resume,
        on_progress=on_progress,
        say=say,
    )


def _check_teacher(actor: Actor, env: SplitEnv, config: PHRConfig) -> None:
    """Refuse settings that ask for more than the teacher has."""
    if actor.action_only:
        allowed = losses_for(env.action_space, action_only=True)
        check_soft(actor.reference, config.loss, allowed, sample_labels=config.sample_labels)
    check_fits(actor.planner, env)
    if config.joint and actor.model is None:
        raise IncompatibleModelError("joint training goes on with A2C, so it needs a teacher that phr trained")
    if actor.model is None and config.trunk_mode != "anchored":
        raise IncompatibleModelError(
            f"{actor.reference} has no network that a student could start from, so head 1 has to be learnt too: trunk_mode "
            f"is 'anchored', got {config.trunk_mode!r}"
        )


def _recorded(experience: str | Path) -> Experience:
    if str(experience).startswith(MINARI_PREFIX):
        raise UsageError(f"{experience} is not of this teacher; leave TEACHER out to learn from the dataset alone")
    return load_experience(Path(experience))


def load_teacher(
    reference: Any,
    *,
    env_id: str | None = None,
    activation: str | None = None,
    normalize: str | Path | None = None,
) -> Planner:
    """Read a policy of any make, to ask it: `teacher.plan(obs).mode()[:, 0]` are its actions.

    Args:
        reference: As for `distill`.
        env_id: As for `distill`.
        activation: As for `distill`.
        normalize: As for `distill`.

    Raises:
        UsageError: If the reference stands for nothing that can be read, or does not fit the environment.
        CorruptFileError: If a file was truncated or edited.
    """
    return resolve(reference, env_id=env_id, reading=Reading(activation=activation, normalize=normalize)).planner


def convert_vecnormalize(path: str | Path, out: str | Path, *, trust: bool = False) -> None:
    """Take the observation statistics out of Stable-Baselines3's `vecnormalize.pkl`, for `distill(..., normalize=out)`.

    Args:
        path: What `VecNormalize.save` wrote: a pickle.
        out: The file to write, `….npz`; one that is there is replaced.
        trust: You trust who made the pickle.

    Raises:
        UsageError: If it is not trusted, or there is no such file, or it does not normalise observations.
        CorruptFileError: If it was truncated or edited, or holds something else.
    """
    read_vecnormalize(Path(path), trust=trust).save(Path(out))


def load(reference: str | Path) -> Model:
    """Read a model from a run directory or the zoo; every file is checked against its hash.

    Raises:
        UnknownModelError: If the reference leads nowhere, or stands for no network.
        CorruptFileError: If a file is missing, truncated or edited.
    """
    if reference == ORACLE or is_foreign(reference):
        raise UnknownModelError(f"{reference} has no network to load; give a run directory or zoo:NAME")
    return load_model(model_directory(str(reference)))


def _path(out: str | Path | None) -> Path | None:
    return None if out is None else Path(out)
