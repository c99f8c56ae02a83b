"""Both stages from beginning to end: from an environment to a model, in a folder that can be resumed."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack, closing
from dataclasses import KW_ONLY, dataclass, replace
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
from phr.storage.model import Model, RunDirectory, load_own
from phr.teacher.a2c import A2C, A2CConfig
from phr.teachers.policy import parameter_count

Say = Callable[[str], None]


def _quiet(_line: str) -> None:
    """Print nothing."""


def train_teacher(
    env_id: str,
    config: A2CConfig,
    directory: Path | None = None,
    *,
    start: Model | None = None,
    resume: bool = False,
    on_progress: OnProgress = silent,
    say: Say = _quiet,
) -> Model:
    """Train a teacher by A2C (stage 1); return the weights of the best greedy evaluation, as a model of horizon 1.

    Args:
        env_id: The environment.
        config: Settings.
        directory: Folder for checkpoints, metrics and the model; None keeps them in memory.
        start: A teacher to train further; None starts from a fresh network.
        resume: Continue an unfinished run; return the model of a finished one.
        on_progress: Called after each update.
        say: Called if a resumed training does not continue exactly, and with the warnings.

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


@dataclass(frozen=True, eq=False)
class Distillation:
    """Stage 2: what a student is made of. `run` distils it, as often as it is called.

    Attributes:
        teacher: Its actions are predicted; None learns from recorded episodes alone, without an environment.
        env_id: The environment of teacher and student.
        config: Settings. Without a teacher the loss must not need probabilities, and head 1 is learnt too.
        start: The teacher's own network, or the layers of a fresh one.
        teacher_name: The teacher's name in the manifest.
        teacher_id: SHA-256 of the teacher's model file; its name by default. A resumed run and recorded episodes must have
            the same.
        joint_config: Settings of stage 1, required where `config.joint`.
        read_episodes: Reads episodes recorded before; None records new ones. A function, so that no one holds the episodes
            while the student is trained.
        save_episodes_to: File for the recorded and kept episodes (.npz, with a JSON beside it).
    """

    teacher: Planner | None
    env_id: str
    config: PHRConfig
    _: KW_ONLY
    start: PlanNetwork | TrunkConfig
    teacher_name: str = ""
    teacher_id: str = ""
    joint_config: A2CConfig | None = None
    read_episodes: Callable[[], Logged] | None = None
    save_episodes_to: Path | None = None

    @property
    def identity(self) -> str:
        """The id of the teacher, or its name."""
        return self.teacher_id or self.teacher_name

    def run(
        self, directory: Path | None = None, *, resume: bool = False, on_progress: OnProgress = silent, say: Say = _quiet
    ) -> Model:
        """Distil the student.

        Args:
            directory: Folder for checkpoints, metrics and the model; None keeps them in memory.
            resume: Continue an unfinished run; return the model of a finished one.
            on_progress: Called while recording and after each update.
            say: Called with the reason of the episode filter, the results of each round of refinement and, at the end, the
                warnings, which are also in the manifest's notes.

        No more than one vector of environments is open at a time, and none afterwards.

        Raises:
            OutputDirectoryError: If the folder holds something else, or a finished run whose episodes are to be saved now.
            IncompatibleModelError: If teacher, environment and episodes do not fit.
            NoSuccessError: If no episode was a success.
            SettingError: If successes are to be kept and success is unknown, or the settings require a teacher.
            NonFiniteError: If a loss, a gradient or the teacher's plan is not finite.
            BrokenEnvironmentError: If the environment refuses an action of the teacher, or breaks its contract.
        """
        logged = None if self.read_episodes is None else self.read_episodes()
        run = _open_run(directory, self._run_settings(logged), resume)
        from_file = self.teacher is None and logged is not None and logged.env_id_from_file
        if run is not None and run.is_complete:
            self._check_saved(run.path)
            model = load_own(run.path, self.env_id)
        else:
            remarks = Remarks()
            space = logged.observation_space if logged and self.teacher is None else _space_of(self.env_id)
            student, selection = self._begin(logged, space, remarks, on_progress, say)
            del logged  # the student's windows hold a copy
            notes = self._train(student, run, space, remarks, on_progress, say)
            warnings = [selection.reason] if self.config.keep == "auto" and not selection.is_success else []
            warnings += [*remarks.lines(), *notes.pop("skipped", [])]
            notes |= {"selection": selection.reason} | ({"warnings": warnings} if warnings else {})
            model = _finish(student.network, run, "student", self.env_id, space, notes)
        for line in model.manifest.notes.get("warnings", []):
            say(line)
        return replace(model, env_id_from_file=True) if from_file else model

    def _run_settings(self, logged: Logged | None) -> dict[str, Any]:
        """Return what makes a run the same run, after a check of the recorded episodes."""
        settings = {"command": "distill", "env_id": self.env_id, "settings": said_settings(self.config)}
        if self.teacher is not None:
            settings["teacher"] = self.identity
        if logged is not None:
            settings["experience"] = logged.identity
            if self.teacher is None:
                _check_teacherless(self.config, logged)
            else:
                check_experience(
                    logged.experience, self.env_id, self.config, teacher=self.teacher_name, teacher_id=self.identity
                )
        return settings

    def _check_saved(self, path: Path) -> None:
        """Refuse a finished run whose episodes should be saved and are not."""
        file = self.save_episodes_to
        if file is not None and not file.with_suffix(".npz").exists():
            raise OutputDirectoryError(
                f"{path} holds a finished run, whose episodes were not kept in {file}; leave save_experience out, or record "
                "them again in another folder"
            )

    def _begin(
        self, logged: Logged | None, space: spaces.Box, remarks: Remarks, on_progress: OnProgress, say: Say
    ) -> tuple[PHR, Selection]:
        """Return the student before its first update, and which episodes it learns from."""
        if logged is not None:
            selection = select_episodes(logged.experience, self.config.keep)
            experience = logged.experience.subset(selection.keep)
        else:
            assert self.teacher is not None, "a distillation has a teacher, recorded episodes, or both"
            experience, selection = record_teacher(
                self.teacher, self.env_id, self.config, on_progress=on_progress, remarks=remarks
            )
            experience = named(experience, self.config, teacher=self.teacher_name, teacher_id=self.identity)
        say(selection.reason)
        if self.save_episodes_to is not None:
            save_experience(experience, self.save_episodes_to)
        return PHR(_network(self.start, space, experience, self.config), experience, self.config), selection

    def _train(
        self,
        student: PHR,
        run: RunDirectory | None,
        space: spaces.Box,
        remarks: Remarks,
        on_progress: OnProgress,
        say: Say,
    ) -> dict[str, Any]:
        """Train the student to its end; return the manifest's notes about it."""
        notes: dict[str, Any] = {"teacher": self.teacher_name, "loss": self.config.loss, "seed": self.config.seed}
        with ExitStack() as opened:
            training: Trainable = student
            if self.config.refine and self.teacher is not None:
                refinement = Refinement(student, self.teacher, self.env_id, space, say=say, remarks=remarks)
                training = opened.enter_context(closing(refinement))
            elif self.config.joint:
                if self.joint_config is None:
                    raise IncompatibleModelError("joint training continues A2C, so it requires a teacher that phr trained")
                joint = JointTraining(lambda: make_env(self.env_id), student, self.joint_config)
                training = opened.enter_context(closing(joint))
            run_training(training, run, on_progress=on_progress)
        if isinstance(training, Refinement):
            notes["refinement"] = training.reports
            notes["skipped"] = [training.skipped] if training.skipped else []
        if self.teacher is not None:
            notes["teacher_parameters"] = parameter_count(self.teacher)
        return {**notes, "agreement_per_head": [round(value, 5) for value in student.agreement()]}


def _check_teacherless(config: PHRConfig, logged: Logged) -> None:
    """Refuse settings that require a teacher."""
    if config.refine:
        raise SettingError("refinement asks the teacher about new states, and logged actions have none; leave refine out")
    allowed = losses_for(logged.action_space, action_only=True)
    plain = (config.trunk_mode, config.sample_labels, config.joint) == ("anchored", False, False)
    if config.loss not in allowed or not plain:
        only = " or ".join(allowed).replace("_", "-")
        raise SettingError(f"logged actions allow only {only}, trunk mode anchored, and neither joint nor sampled labels")


def _network(start: PlanNetwork | TrunkConfig, space: spaces.Box, experience: Experience, config: PHRConfig) -> PlanNetwork:
    """Return the network to start from: the teacher's, or a fresh one where it has none or the settings state a width."""
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
        normalize=trunk.kind == "mlp",  # flat observations hold numbers of different sizes
    )
    if network.config.normalize:
        network.trunk.set_statistics(experience.joined("obs"))
    return network


def _space_of(env_id: str) -> spaces.Box:
    with make_env(env_id) as env:
        return env.observation_space


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
