"""Both stages, and reading what they wrote."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from phr.api.threads import use_threads
from phr.envs.registry import make_env
from phr.errors import IncompatibleModelError, UnknownModelError
from phr.evaluation.evaluate import check_fits
from phr.experience.archive import load_experience
from phr.files import sha256_of
from phr.learning import runs
from phr.learning.driver import OnProgress, silent
from phr.learning.presets import default_trunk_of, student_config, teacher_config
from phr.storage.model import Model
from phr.teachers.references import ORACLE, resolve


def train_teacher(
    env_id: str,
    *,
    out: str | Path | None = None,
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
        OutputDirectoryError: If the folder holds something else.
        NonFiniteError: If a loss or gradient is not finite; the last good checkpoint stays.
    """
    use_threads(threads)
    config = teacher_config(make_env(env_id), seed=seed, **settings)
    return runs.train_teacher(env_id, config, _path(out), resume=resume, on_progress=on_progress, say=say)


def distill(
    teacher: str | Path | Model,
    *,
    horizon: int,
    out: str | Path | None = None,
    env_id: str | None = None,
    seed: int = 0,
    resume: bool = False,
    experience: str | Path | None = None,
    save_experience: str | Path | None = None,
    threads: int = 1,
    on_progress: OnProgress = silent,
    say: Callable[[str], None] = lambda _line: None,
    **settings: Any,
) -> Model:
    """Distil a teacher into a student that looks once and plans `horizon` actions (stage 2).

    Args:
        teacher: A model, a run directory, `zoo:NAME` or `oracle`.
        horizon: Actions to predict from one look.
        out: The run's folder; None keeps everything in memory.
        env_id: Where; the teacher's own environment by default.
        seed: Fixes starts and batches.
        resume: Go on where there is a part; return the model where all is done.
        experience: Recorded episodes (.npz) to use instead of recording new ones.
        save_experience: Where to keep the recorded episodes (.npz, with a JSON beside it), for another distillation.
        threads: Threads of torch.
        on_progress: Told while recording and after each update.
        say: Told which episodes were kept, and why, and what each round of refinement found and changed.
        **settings: Fields of `PHRConfig` (`loss`, `window_stride`, `loss_weight`, `refine`, ...). `refine=ROUNDS` goes on
            with the states that the student's own plans lead to.

    Raises:
        HorizonError: If the horizon is below 1.
        NoSuccessError: If the teacher succeeded in no episode.
        IncompatibleModelError: If teacher, environment and experience do not fit.
        SettingError: If settings make no sense, alone or together.
        UsageError: As for `train_teacher`.
    """
    use_threads(threads)
    actor = resolve(teacher, env_id=env_id)
    config = student_config(actor.env_id, horizon, seed=seed, **settings)
    env = make_env(actor.env_id)
    check_fits(actor.planner, env, expected_shape=actor.model.manifest.obs_shape if actor.model else None)
    if config.joint and actor.model is None:
        raise IncompatibleModelError("joint training goes on with A2C, so it needs a teacher that phr trained")
    return runs.distill(
        actor.planner,
        actor.env_id,
        config,
        _path(out),
        start=actor.model.network if actor.model else default_trunk_of(env),
        teacher_name=actor.reference if actor.model is None or actor.model.directory else "",
        teacher_id=actor.model.sha256 if actor.model else "",
        joint_config=teacher_config(env, seed=seed) if config.joint else None,
        experience=None if experience is None else load_experience(Path(experience)),
        save_experience_to=_path(save_experience),
        experience_id="" if experience is None else sha256_of(Path(experience).with_suffix(".npz")),
        resume=resume,
        on_progress=on_progress,
        say=say,
    )


def load(reference: str | Path) -> Model:
    """Read a model from a run directory or the zoo; every file is checked against its hash.

    Raises:
        UnknownModelError: If the reference leads nowhere, or stands for no network.
        CorruptFileError: If a file is missing, truncated or edited.
    """
    model = None if reference == ORACLE else resolve(reference).model
    if model is None:
        raise UnknownModelError(f"{reference} has no network to load; give a run directory or zoo:NAME")
    return model


def _path(out: str | Path | None) -> Path | None:
    return None if out is None else Path(out)
