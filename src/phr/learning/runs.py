"""Both stages from beginning to end: environments in, a model out, in a folder that can be resumed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from phr.envs.lanes import random_starts
from phr.envs.registry import make_env
from phr.envs.split import SplitEnv
from phr.errors import IncompatibleModelError
from phr.evaluation.episodes import make_vector
from phr.experience.archive import save_experience
from phr.experience.collect import collect_experience
from phr.experience.success import Selection, select_successful
from phr.experience.trajectory import Experience, Trajectory
from phr.learning.a2c import A2C, A2CConfig
from phr.learning.driver import OnProgress, Progress, run_training, silent
from phr.learning.joint import JointTraining
from phr.learning.phr import PHR, PHRConfig
from phr.manifest import Manifest, ModelKind, library_versions
from phr.networks.policy import PlanNetwork, build_network
from phr.networks.trunks import TrunkConfig
from phr.protocols import Planner
from phr.seeding import Streams
from phr.storage.model import Model, load_model
from phr.storage.run_directory import RunDirectory

COLLECTING_ENVS = 64
"""Environments played side by side while a teacher is recorded."""

PROBE_EPISODES = 128
"""If not one of the first so many episodes is a success, no more are played: failing takes the longest."""

Say = Callable[[str], None]


def train_teacher(
    env_id: str,
    config: A2CConfig,
    directory: Path | None = None,
    *,
    resume: bool = False,
    on_progress: OnProgress = silent,
) -> Model:
    """Stage 1: train a teacher by A2C.

    Args:
        env_id: Where.
        config: Settings.
        directory: Where checkpoints, metrics and the model go; None keeps them in memory.
        resume: Go on where there is a part; return the model where all is done.
        on_progress: Told after each update.

    Returns:
        The weights of the best greedy evaluation, as a model of horizon 1.

    Raises:
        OutputDirectoryError: If the folder holds something else.
        NonFiniteError: If a loss or gradient is not finite.
    """
    run = _open_run(directory, {"command": "train", "env_id": env_id, "settings": asdict(config)}, resume)
    if run is not None and run.is_complete:
        return load_model(run.path)
    training = A2C(lambda: make_env(env_id), config)
    run_training(training, run, on_progress=on_progress)
    notes = {"timesteps": training.timesteps, "greedy_return": training.best_return, "seed": config.seed}
    return _finish(training.best_network(), run, "teacher", training.collector.vector.envs[0], notes)


def record_teacher(
    teacher: Planner, env_id: str, config: PHRConfig, *, on_progress: OnProgress = silent
) -> tuple[Experience, Selection]:
    """Let the teacher act from varied starts and keep its successful episodes.

    Args:
        teacher: Acts greedily, or samples where `config.sample_labels` says so.
        env_id: Where.
        config: Says how many episodes, and how their starts are varied.
        on_progress: Told while the episodes are played.

    Returns:
        The kept episodes, and why these.

    Raises:
        IncompatibleModelError: If the teacher does not fit the environment.
        NoSuccessError: If no episode was a success.
    """
    streams = Streams(config.seed)
    vector = make_vector(env_id, min(COLLECTING_ENVS, config.n_episodes))
    if vector.n_actions != teacher.n_actions:
        raise IncompatibleModelError(f"the teacher has {teacher.n_actions} actions, {env_id} has {vector.n_actions}")
    seeds = [streams.integer("record-env", index) for index in range(config.n_episodes)]
    starts = random_starts(seeds, vector.n_actions, streams.rng("record-prefix"), prefix=config.prefix)
    sample_rng = streams.rng("record-actions") if config.sample_labels else None

    n_before = 0

    def on_episode(n_ended: int) -> None:
        on_progress(Progress("recording the teacher", n_before + n_ended, len(starts), "episodes"))

    parts: list[Trajectory] = []
    for part in (starts[:PROBE_EPISODES], starts[PROBE_EPISODES:]):
        if part:
            parts += collect_experience(teacher, vector, part, sample_rng=sample_rng, on_episode=on_episode).trajectories
            select_successful(Experience(env_id, tuple(parts)))  # a teacher that never succeeds is refused early
            n_before = len(parts)
    vector.close()
    experience = Experience(env_id, tuple(parts))
    selection = select_successful(experience, quantile=config.success_quantile)
    return experience.subset(selection.keep), selection


def distill(
    teacher: Planner,
    env_id: str,
    config: PHRConfig,
    directory: Path | None = None,
    *,
    start: PlanNetwork | TrunkConfig,
    teacher_name: str = "",
    teacher_id: str = "",
    joint_config: A2CConfig | None = None,
    experience: Experience | None = None,
    experience_id: str = "",
    save_experience_to: Path | None = None,
    resume: bool = False,
    on_progress: OnProgress = silent,
    say: Say = lambda _line: None,
) -> Model:
    """Stage 2: distil a teacher into a student that plans `config.horizon` actions.

    Args:
        teacher: Whose actions are predicted.
        env_id: Where.
        config: Settings.
        directory: Where checkpoints, metrics and the model go; None keeps them in memory.
        start: The teacher's own network, or the layers of a fresh one where it has none.
        teacher_name: For the manifest.
        teacher_id: What tells this teacher from another (a hash); a resumed run must find the same.
        joint_config: Stage-1 settings, needed where `config.joint`.
        experience: Recorded episodes to use instead of recording new ones.
        experience_id: What tells this experience from another (a hash), where it is given.
        save_experience_to: Where to keep the episodes that were recorded and kept (.npz, with a JSON beside it).
        resume: Go on where there is a part; return the model where all is done.
        on_progress: Told while recording and after each update.
        say: Told the reason of the success filter.

    Raises:
        OutputDirectoryError: If the folder holds something else.
        IncompatibleModelError: If teacher, environment and experience do not fit.
        NoSuccessError: If the teacher succeeded in no episode.
        NonFiniteError: If a loss or gradient is not finite.
    """
    settings = {"command": "distill", "env_id": env_id, "teacher": teacher_id or teacher_name, "settings": asdict(config)}
    run = _open_run(directory, settings if experience is None else {**settings, "experience": experience_id}, resume)
    if run is not None and run.is_complete:
        return load_model(run.path)
    if experience is None:
        experience, selection = record_teacher(teacher, env_id, config, on_progress=on_progress)
    else:
        if experience.env_id != env_id:
            raise IncompatibleModelError(f"the experience was recorded in {experience.env_id}, not in {env_id}")
        selection = select_successful(experience, quantile=config.success_quantile)
        experience = experience.subset(selection.keep)
    say(selection.reason)
    if save_experience_to is not None:
        save_experience(experience, save_experience_to)
    if isinstance(start, TrunkConfig):
        seed = Streams(config.seed).integer("student-weights")
        start = build_network(experience.obs_shape, experience.n_actions, 1, start, seed=seed)
    student = PHR(start, experience, config)
    env = make_env(env_id)
    if config.joint:
        if joint_config is None:
            raise IncompatibleModelError("joint training goes on with A2C, so it needs a teacher that phr trained")
        run_training(JointTraining(lambda: make_env(env_id), student, joint_config), run, on_progress=on_progress)
    else:
        run_training(student, run, on_progress=on_progress)
    notes = {
        "teacher": teacher_name,
        "loss": config.loss,
        "seed": config.seed,
        "selection": selection.reason,
        "agreement_per_head": [round(value, 5) for value in student.agreement()],
    }
    return _finish(student.network, run, "student", env, notes)


def _open_run(directory: Path | None, config: dict[str, Any], resume: bool) -> RunDirectory | None:
    return None if directory is None else RunDirectory(directory, config, resume=resume)


def _finish(network: PlanNetwork, run: RunDirectory | None, kind: ModelKind, env: SplitEnv, notes: dict[str, Any]) -> Model:
    manifest = Manifest(
        kind=kind,
        env_id=env.env_id,
        obs_shape=env.observation_space.shape,
        obs_dtype=str(env.observation_space.dtype),
        n_actions=env.n_actions,
        horizon=network.config.horizon,
        network=network.config.to_json(),
        versions=library_versions("torch", "numpy", "gymnasium", "minigrid"),
        notes=notes,
    )
    network = network.eval().requires_grad_(False)
    return Model(network, manifest) if run is None else run.finish(network, manifest)
