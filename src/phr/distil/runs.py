"""Both stages from beginning to end: environments in, a model out, in a folder that can be resumed."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack, closing
from dataclasses import replace
from pathlib import Path
from typing import Any

from gymnasium import spaces

from phr.actions import Continuous
from phr.distil.config import PHRConfig
from phr.distil.joint import JointTraining
from phr.distil.losses import losses_for, n_outputs_for
from phr.distil.phr import PHR
from phr.distil.recording import check_experience, named, record_teacher
from phr.distil.refine import Refinement
from phr.envs.registry import make_env
from phr.envs.vector import Remarks
from phr.errors import IncompatibleModelError, OutputDirectoryError, SettingError
from phr.experience.archive import save_experience
from phr.experience.logged import Logged
from phr.experience.success import Selection, select_episodes
from phr.experience.trajectory import Experience
from phr.manifest import Manifest, ModelKind, library_versions
from phr.networks.policy import PlanNetwork, build_network, extend_teacher
from phr.networks.trunks import TrunkConfig
from phr.progress import OnProgress, silent
from phr.protocols import Planner
from phr.seeding import Streams
from phr.settings import said_settings
from phr.storage.driver import Trainable, run_training
from phr.storage.model import Model, load_own
from phr.storage.run_directory import RunDirectory
from phr.teacher.a2c import A2C, A2CConfig
from phr.teachers.policy import parameter_count

Say = Callable[[str], None]


def train_teacher(
    env_id: str,
    config: A2CConfig,
    directory: Path | None = None,
    *,
    start: Model | None = None,
    resume: bool = False,
    on_progress: OnProgress = silent,
    say: Say = lambda _line: None,
) -> Model:
    """Stage 1: train a teacher by A2C.

    Args:
        env_id: Where.
        config: Settings.
        directory: Where checkpoints, metrics and the model go; None keeps them in memory.
        start: A teacher to train further; None starts from a fresh network.
        resume: Go on where there is a part; return the model where all is done.
        on_progress: Told after each update.
        say: Told where a resumed training does not go on exactly.

    Returns:
        The weights of the best greedy evaluation, as a model of horizon 1.

    Raises:
        OutputDirectoryError: If the folder holds something else.
        NonFiniteError: If a loss or gradient is not finite.
    """
    settings: dict[str, Any] = {"command": "train", "env_id": env_id, "settings": said_settings(config)}
    run = _open_run(directory, settings if start is None else {**settings, "start": start.sha256}, resume)
    if run is not None and run.is_complete:
        return load_own(run.path, env_id)
    network = None if start is None else extend_teacher(start.network, 1)
    with closing(A2C(lambda: make_env(env_id), config, network=network)) as training:
        if run is not None and run.has_checkpoint and not training.collector.exact_resume:
            say(f"{env_id}: native games cannot be saved; resuming begins a new episode in each, not the one it was in")
        run_training(training, run, on_progress=on_progress)
    for line in training.greedy.remarks.lines():
        say(line)
    notes: dict[str, Any] = {
        "timesteps": training.timesteps,
        "greedy_return": training.greedy.best_return,
        "seed": config.seed,
    }
    if start is not None and start.directory is not None:
        notes["started_from"] = start.directory.name
    space = training.collector.observation_space
    return _finish(training.greedy.best_network(), run, "teacher", env_id, space, notes)


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
        teacher_id: SHA-256 of its model file; its name where it has none. A resumed run and given experience must have the
            same.
        joint_config: Stage-1 settings, needed where `config.joint`.
        experience: Episodes recorded from the same teacher, to use instead of recording new ones.
        experience_id: What tells this experience from another (a hash), where it is given.
        save_experience_to: Where to keep the episodes that were recorded and kept (.npz, with a JSON beside it).
        resume: Go on where there is a part; return the model where all is done.
        on_progress: Told while recording and after each update.
        say: Told which episodes were kept, and why, what each round of refinement found and changed, and at the end what
            did not go as asked; the last is also among the manifest's notes, as `warnings`.

    No more than one vector of environments is open at a time, and none afterwards.

    Raises:
        OutputDirectoryError: If the folder holds something else, or a finished run whose episodes are to be saved now.
        IncompatibleModelError: If teacher, environment and experience do not fit.
        NoSuccessError: If the teacher succeeded in no episode.
        SettingError: If successes are to be kept and success is unknown.
        NonFiniteError: If a loss or gradient is not finite, or the teacher's plan is not.
        BrokenEnvironmentError: If the environment refuses an action of the teacher, or breaks its contract.
    """
    identity = teacher_id or teacher_name
    settings = {"command": "distill", "env_id": env_id, "teacher": identity, "settings": said_settings(config)}
    if experience is not None:
        check_experience(experience, env_id, config, teacher=teacher_name, teacher_id=identity)
        settings["experience"] = experience_id
    run = _open_run(directory, settings, resume)
    if run is not None and run.is_complete:
        if save_experience_to is not None and not save_experience_to.with_suffix(".npz").exists():
            raise OutputDirectoryError(
                f"{run.path} holds a finished run, whose episodes were not kept in {save_experience_to}; leave "
                "save_experience out, or record them anew in another folder"
            )
        return _warned(load_own(run.path, env_id), say)
    with make_env(env_id) as env:
        space = env.observation_space
    remarks = Remarks()
    if experience is None:
        experience, selection = record_teacher(teacher, env_id, config, on_progress=on_progress, remarks=remarks)
        experience = named(experience, config, teacher=teacher_name, teacher_id=identity)
    else:
        selection = select_episodes(experience, config.keep)
        experience = experience.subset(selection.keep)
    say(selection.reason)
    if save_experience_to is not None:
        save_experience(experience, save_experience_to)
    student = PHR(_network(start, space, experience, config), experience, config)
    del experience  # the student's windows hold a copy
    with ExitStack() as opened:
        training: Trainable = student
        if config.refine:
            refinement = Refinement(student, teacher, env_id, space, say=say, remarks=remarks)
            training = opened.enter_context(closing(refinement))
        elif config.joint:
            training = opened.enter_context(closing(_joint_training(student, env_id, joint_config)))
        run_training(training, run, on_progress=on_progress)
    warnings = [*_warnings(selection, config), *remarks.lines()]
    if config.refine and refinement.skipped:
        warnings.append(refinement.skipped)
    notes = _notes(student, teacher_name, selection, warnings)
    notes["teacher_parameters"] = parameter_count(teacher)
    if config.refine:
        notes["refinement"] = refinement.reports
    return _warned(_finish(student.network, run, "student", env_id, space, notes), say)


def distill_logged(
    logged: Logged,
    config: PHRConfig,
    directory: Path | None = None,
    *,
    start: TrunkConfig,
    resume: bool = False,
    on_progress: OnProgress = silent,
    say: Say = lambda _line: None,
) -> Model:
    """Stage 2 without a teacher: learn plans from logged actions alone; no environment is needed.

    Args:
        logged: Episodes, and the spaces they were logged in.
        config: Settings; the loss is one that needs no probabilities, and head 1 is learnt too.
        directory: As for `distill`.
        start: The student's layers.
        resume: As for `distill`.
        on_progress: Told after each update.
        say: Told the reason of the success filter.

    Raises:
        SettingError: If the settings need a teacher.
        OutputDirectoryError: If the folder holds something else.
        NoSuccessError: If no episode was a success.
    """
    if config.refine:
        raise SettingError("refinement asks the teacher about new states, and logged actions have none; leave refine out")
    allowed = losses_for(logged.action_space, action_only=True)
    plain = (config.trunk_mode, config.sample_labels, config.joint) == ("anchored", False, False)
    if config.loss not in allowed or not plain:
        only = " or ".join(allowed).replace("_", "-")
        raise SettingError(f"logged actions allow only {only}, trunk mode anchored, and neither joint nor sampled labels")
    settings = {
        "command": "distill",
        "env_id": logged.env_id,
        "experience": logged.identity,
        "settings": said_settings(config),
    }
    run = _open_run(directory, settings, resume)
    if run is not None and run.is_complete:
        return _warned(replace(load_own(run.path, logged.env_id), hearsay=logged.hearsay), say)
    selection = select_episodes(logged.experience, config.keep)
    say(selection.reason)
    space, experience = logged.observation_space, logged.experience.subset(selection.keep)
    network = _network(start, space, experience, config)
    student = PHR(network, experience, config)
    run_training(student, run, on_progress=on_progress)
    notes = _notes(student, logged.name, selection, _warnings(selection, config))
    model = _finish(student.network, run, "student", logged.env_id, space, notes)
    return _warned(replace(model, hearsay=logged.hearsay), say)


def _warnings(selection: Selection, config: PHRConfig) -> list[str]:
    """What changes the meaning of the result: success was to decide which episodes are kept, and is unknown."""
    return [selection.reason] if config.keep == "auto" and not selection.is_success else []


def _warned(model: Model, say: Say) -> Model:
    """Print the model's warnings, the last thing before its result."""
    for line in model.manifest.notes.get("warnings", []):
        say(line)
    return model


def _notes(student: PHR, teacher_name: str, selection: Selection, warnings: list[str]) -> dict[str, Any]:
    return {
        "teacher": teacher_name,
        "loss": student.config.loss,
        "seed": student.config.seed,
        "selection": selection.reason,
        "agreement_per_head": [round(value, 5) for value in student.agreement()],
        **({"warnings": warnings} if warnings else {}),
    }


def _network(start: PlanNetwork | TrunkConfig, space: spaces.Box, experience: Experience, config: PHRConfig) -> PlanNetwork:
    """What the student starts from: the teacher's network, or a fresh one where it has none or a width is asked for.

    Flat observations hold numbers of different sizes, which a fresh network brings to one.
    """
    if isinstance(start, PlanNetwork):
        if config.width is None:
            return start
        start = start.config.trunk
    trunk = start if config.width is None else start.scaled_to(config.width)
    actions = experience.action_space
    if isinstance(actions, Continuous):
        actions = actions.measured_on(experience.joined("actions"))
    network = build_network(
        space,
        n_outputs_for(config.loss, actions),
        1,
        trunk,
        seed=Streams(config.seed).integer("student-weights"),
        action_space=actions,
        normalize=trunk.kind == "mlp",
    )
    if network.config.normalize:
        network.trunk.set_statistics(experience.joined("obs"))
    return network


def _joint_training(student: PHR, env_id: str, joint_config: A2CConfig | None) -> JointTraining:
    if joint_config is None:
        raise IncompatibleModelError("joint training goes on with A2C, so it needs a teacher that phr trained")
    return JointTraining(lambda: make_env(env_id), student, joint_config)


def _open_run(directory: Path | None, config: dict[str, Any], resume: bool) -> RunDirectory | None:
    return None if directory is None else RunDirectory(directory, config, resume=resume)


def _finish(
    network: PlanNetwork,
    run: RunDirectory | None,
    kind: ModelKind,
    env_id: str,
    space: spaces.Box,
    notes: dict[str, Any],
) -> Model:
    manifest = Manifest(
        kind=kind,
        env_id=env_id,
        obs_shape=space.shape,
        obs_dtype=str(space.dtype),
        n_actions=network.config.n_actions,
        action_space=network.config.actions.to_json(),
        horizon=network.config.horizon,
        network=network.config.to_json(),
        versions=library_versions("torch", "numpy", "gymnasium", "minigrid"),
        notes=notes,
    )
    network = network.eval().requires_grad_(False)
    return Model(network, manifest) if run is None else run.finish(network, manifest)
