"""phr in five lines of Python; the command line calls nothing else.

```python
import phr

teacher = phr.train_teacher("MiniGrid-SimpleCrossingS9N1-v0", seed=0)
student = phr.distill(teacher, horizon=8, loss="cross_entropy")
print(phr.evaluate(student, steps=100_000, runs=5))
```
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from phr.acting.commitment import Commitment, CommitmentLike
from phr.envs.registry import make_env
from phr.errors import IncompatibleModelError, SettingError, UnknownModelError
from phr.evaluation.evaluate import Evaluation, EvaluationSettings, check_fits, evaluate_planner
from phr.evaluation.machine import describe_machine
from phr.evaluation.starts import StartsResult, distinct_starts, play_all_starts
from phr.evaluation.timed import Limit, RunOptions, RunRecord
from phr.experience.archive import load_experience
from phr.files import sha256_of
from phr.learning import runs
from phr.learning.driver import OnProgress, silent
from phr.learning.presets import default_trunk_of, student_config, teacher_config
from phr.storage.model import Model
from phr.teachers.oracle import SOLVABLE_IDS, optimal_lengths
from phr.teachers.references import ORACLE, resolve

if TYPE_CHECKING:
    from phr.studies.results import Results

__all__ = ["distill", "evaluate", "evaluate_all_starts", "load", "reproduce", "train_teacher"]


def use_threads(threads: int) -> None:
    """Compute with this many threads from here on.

    Raises:
        SettingError: If it is below 1.
    """
    if threads < 1:
        raise SettingError(f"threads must be >= 1, got {threads}")
    torch.set_num_threads(threads)


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
        on_progress: Told after each update.
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
        say: Told which episodes were kept, and why.
        **settings: Fields of `PHRConfig` (`loss`, `window_stride`, `loss_weight`, ...).

    Raises:
        HorizonError: If the horizon is below 1.
        NoSuccessError: If the teacher succeeded in no episode.
        IncompatibleModelError: If teacher, environment and experience do not fit.
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


def evaluate(
    model: str | Path | Model,
    *,
    env_id: str | None = None,
    commitment: CommitmentLike | Commitment | None = None,
    steps: int | None = None,
    episodes: int | None = None,
    runs: int = 5,
    seed: int = 0,
    horizon: int | None = None,
    deterministic: bool = True,
    observe_always: bool = False,
    random_prefix: tuple[int, int] = (0, 0),
    threads: int = 1,
    on_run: Callable[[int, RunRecord], None] = lambda _index, _record: None,
) -> Evaluation:
    """Measure what a model collects, and how fast.

    `Evaluation.check_bound` raises where the runs were faster than possible; the results are there all the same.

    Args:
        model: A model, a run directory, `zoo:NAME` or `oracle`.
        env_id: Where; the model's own environment by default.
        commitment: Actions executed per look, or `"auto"`; by default what the model's manifest says, else its whole
            horizon.
        steps: Steps of each run; 100,000 unless `episodes` is given.
        episodes: Whole episodes of each run, instead of steps.
        runs: Seeded runs.
        seed: Fixes their seeds.
        horizon: Actions that the oracle plans, 1 by default; a network's horizon is its own.
        deterministic: Take the most likely actions; otherwise sample.
        observe_always: Build every observation, also those nobody looks at.
        random_prefix: Fewest and most random, uncounted actions before each episode.
        threads: Threads of torch.
        on_run: Told each finished run.

    Raises:
        UnknownModelError: If the reference leads nowhere.
        HorizonError: If the commitment is outside 1 .. horizon.
        IncompatibleModelError: If the model does not fit the environment.
    """
    use_threads(threads)
    actor = resolve(model, env_id=env_id, horizon=horizon)
    env = make_env(actor.env_id)
    check_fits(actor.planner, env, expected_shape=actor.model.manifest.obs_shape if actor.model else None)
    settings = EvaluationSettings(
        commitment=commitment if commitment is not None else actor.commitment,
        limit=Limit(steps=100_000) if steps is None and episodes is None else Limit(steps, episodes),
        runs=runs,
        seed=seed,
        deterministic=deterministic,
        options=RunOptions(prefix=random_prefix, observe_always=observe_always),
        with_bound=random_prefix == (0, 0) and not observe_always,
    )
    return evaluate_planner(
        actor.planner,
        env,
        settings,
        model=actor.reference,
        backend=actor.backend,
        machine=describe_machine(threads),
        on_run=on_run,
    )


def evaluate_all_starts(
    model: str | Path | Model,
    *,
    env_id: str | None = None,
    commitment: CommitmentLike | Commitment | None = None,
    horizon: int | None = None,
) -> StartsResult:
    """Play every different start of an environment once, greedily: a result without sampling error.

    Args:
        model: A model, a run directory, `zoo:NAME` or `oracle`.
        env_id: Where; the model's own environment by default.
        commitment: Actions executed per look.
        horizon: Actions that the oracle plans, 1 by default; a network's horizon is its own.

    Raises:
        UnsupportedEnvironmentError: If there are too many starts to enumerate.
        UsageError: As for `evaluate`.
    """
    actor = resolve(model, env_id=env_id, horizon=horizon)
    env = make_env(actor.env_id)
    check_fits(actor.planner, env, expected_shape=actor.model.manifest.obs_shape if actor.model else None)
    starts = distinct_starts(env)
    chosen = commitment if commitment is not None else actor.commitment
    optimal = optimal_lengths(env, starts) if actor.env_id in SOLVABLE_IDS else None
    return play_all_starts(actor.planner, actor.env_id, starts, commitment=chosen, optimal_lengths=optimal)


def reproduce(
    profile: str = "quick",
    *,
    out: str | Path,
    on_progress: OnProgress = silent,
    say: Callable[[str], None] = lambda _line: None,
) -> Results:
    """Run the paper's experiments from nothing and write `report.html`; an interrupted study goes on where it was.

    Args:
        profile: `quick`, or `paper` (every n, five seeds, 100,000 steps each, the ablations).
        out: The study's folder.
        on_progress: Told how trainings go on.
        say: Told what happens, one line at a time.

    Returns:
        What was found.

    Raises:
        SettingError: If there is no such profile.
        OutputDirectoryError: If the folder holds something else, or another study.
    """
    from phr.studies.profiles import find_profile  # figures and tables take a second to import
    from phr.studies.reproduce import reproduce as run_study

    use_threads(1)
    command = f"phr reproduce --profile {profile} --out {out}"
    return run_study(find_profile(profile), Path(out), command=command, say=say, on_progress=on_progress)


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
