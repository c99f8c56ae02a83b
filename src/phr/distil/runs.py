"""Both stages from beginning to end: from an environment to a model, in a folder that can be resumed."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import KW_ONLY, dataclass, replace
from pathlib import Path
from typing import Any

from gymnasium import spaces

from phr.actions import Continuous, action_space_of
from phr.distil.calibrate import calibrate, calibrated
from phr.distil.config import SIDE_BY_SIDE, PHRConfig
from phr.distil.finetune import Finetuning
from phr.distil.losses import losses_for, n_outputs_for
from phr.distil.phr import PHR, JointTraining
from phr.distil.presets import fresh_trunk
from phr.distil.refine import Refinement
from phr.envs.registry import make_env
from phr.envs.vector import Remarks, VectorSplit, random_starts
from phr.errors import HorizonError, IncompatibleModelError, OutputDirectoryError, SettingError
from phr.evaluation.episodes import make_vector
from phr.experience.archive import save_experience
from phr.experience.collect import collect_experience
from phr.experience.logged import Logged
from phr.experience.success import Selection, select_episodes
from phr.experience.trajectory import Experience, Origin, Trajectory
from phr.manifest import Manifest, ModelKind, library_versions
from phr.networks.policy import PlanNetwork, build_network, extend_teacher
from phr.networks.trunks import TrunkConfig
from phr.plan import Planner
from phr.progress import OnProgress, Progress, silent
from phr.seeding import Streams
from phr.settings import said_settings
from phr.storage.driver import CHECKPOINT_SECONDS, run_training
from phr.storage.model import Model, RunDirectory, load_model
from phr.teacher.a2c import A2C, A2CConfig
from phr.teachers.policy import parameter_count

PROBE_EPISODES = 128
"""Recording stops if none of the first so many episodes is a success: failing takes the longest."""

FINISHED = "{} holds this run, finished: nothing was done"

_SHORT = 64
"""A horizon that no length of an episode is compared with."""

Say = Callable[[str], None]


def train_teacher(
    env_id: str,
    config: A2CConfig,
    directory: Path | None = None,
    *,
    start: Model | None = None,
    resume: bool = False,
    checkpoint_seconds: float = CHECKPOINT_SECONDS,
    on_progress: OnProgress = silent,
    say: Say = silent,
) -> Model:
    """Train a teacher by A2C (stage 1); return the weights of the best greedy evaluation, as a model of horizon 1.

    The arguments are those of `phr.train_teacher`; without a `directory` everything stays in memory. `say` is called if a
    resumed training does not continue exactly, and with the warnings.
    """
    settings: dict[str, Any] = {"command": "train", "env_id": env_id, "settings": said_settings(config)}
    if start is not None:
        settings["start"] = start.sha256
    run = None if directory is None else RunDirectory(directory, settings, resume=resume)
    if run is not None and run.is_complete:
        say(FINISHED.format(run.path))
        return load_model(run.path, env_id)
    network = None if start is None else extend_teacher(start.network, 1)
    with closing(A2C(lambda: make_env(env_id), config, network=network)) as training:
        if run is not None and run.has_checkpoint and not training.collector.exact_resume:
            say(f"{env_id}: native games cannot be saved; resuming begins a new episode in each, not the one it was in")
        run_training(training, run, on_progress=on_progress, checkpoint_seconds=checkpoint_seconds)
    for line in training.greedy.remarks.lines():
        say(line)
    greedy_return = training.greedy.best_return
    notes: dict[str, Any] = {"timesteps": training.timesteps, "greedy_return": greedy_return, "seed": config.seed}
    if start is not None and start.directory is not None:
        notes["started_from"] = start.directory.name
    space = training.collector.observation_space
    return _finish(training.greedy.best, run, "teacher", env_id, space, notes)


@dataclass(frozen=True, eq=False)
class Distillation:
    """Stage 2: what a student is made of. `run` distils it, as often as it is called.

    Attributes:
        teacher: Its actions are predicted; None learns from recorded episodes alone, without an environment.
        env_id: The environment of teacher and student.
        config: Settings. Without a teacher the loss must not need probabilities, and head 1 is learnt too.
        start: The teacher's own network, or the layers of a fresh one.
        teacher_name: The teacher's name in the manifest.
        teacher_id: SHA-256 of its model file, or its name; a resumed run and recorded episodes must have the same.
        joint_config: Settings of stage 1, required where `config.joint`.
        read_episodes: Reads recorded episodes, so that no one holds them during the training; None records new ones.
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
        self,
        directory: Path | None = None,
        *,
        until: float = math.inf,
        resume: bool = False,
        checkpoint_seconds: float = CHECKPOINT_SECONDS,
        on_progress: OnProgress = silent,
        say: Say = silent,
    ) -> Model:
        """Distil the student.

        Args:
            until: When to be done, by `time.monotonic`, about: refinement and training are made shorter, `lowered` in the
                notes. Recording, joint training and training on return are not.
            directory: Folder for checkpoints, metrics and the model; None keeps them in memory.
            resume: Continue an unfinished run; return the model of a finished one.
            checkpoint_seconds: Time between two checkpoints.
            on_progress: Called while recording and after each update.
            say: Called with the reason of the episode filter, each round of refinement, and the warnings (in the notes too).

        No more than one vector of environments is open at a time, and none afterwards.

        Raises:
            UsageError: As for `phr.distill`; also if the folder holds a finished run whose episodes are to be saved now.
            NonFiniteError: If a loss, a gradient or the teacher's plan is not finite.
            BrokenEnvironmentError: If the environment refuses an action of the teacher, or breaks its contract.
        """
        logged = None if self.read_episodes is None else self.read_episodes()
        settings = self.run_settings(logged)
        run = None if directory is None else RunDirectory(directory, settings, resume=resume)
        from_file = self.teacher is None and logged is not None and logged.env_id_from_file
        if run is not None and run.is_complete:
            if self.save_episodes_to is not None and not self.save_episodes_to.with_suffix(".npz").exists():
                raise OutputDirectoryError(
                    f"{run.path} holds a finished run, whose episodes were not kept in {self.save_episodes_to}; leave "
                    "save_experience out, or record them again in another folder"
                )
            say(FINISHED.format(run.path))
            model = load_model(run.path, self.env_id)
        else:
            remarks = Remarks()
            space = logged.observation_space if logged and self.teacher is None else _space_of(self.env_id)
            training, selection = self._begin(logged, space, remarks, until, on_progress, say)
            del logged  # the student's windows hold a copy
            with closing(training):
                run_training(training, run, on_progress=on_progress, checkpoint_seconds=checkpoint_seconds)
            student = training.finish() if isinstance(training, Finetuning) else training
            notes: dict[str, Any] = {"teacher": self.teacher_name, "loss": self.config.loss, "seed": self.config.seed}
            doubt = selection.warning(self.config.keep)
            warnings = [*([] if doubt is None else [doubt]), *remarks.lines()]
            if isinstance(student, Refinement):
                notes["refinement"] = student.reports
                warnings += [student.skipped] if student.skipped else []
            if lowered := {name: n for decision in student.decided.values() for name, n in decision.items()}:
                notes["lowered"] = lowered
            if isinstance(training, Finetuning):
                notes["finetune"] = training.report()
            if self.teacher is not None:
                notes["teacher_parameters"] = parameter_count(self.teacher)
                notes["teacher_id"] = self.teacher_id
            notes["agreement_per_head"] = [None if part is None else round(part, 5) for part in student.agreement()]
            if isinstance(student, Refinement) and (sure := calibrate(student.network, student.held_out)) is not None:
                calibrated(student.network, sure)
                notes["calibration"] = sure.to_json()
            notes |= {"selection": selection.reason} | ({"warnings": warnings} if warnings else {})
            model = _finish(student.network, run, "student", self.env_id, space, notes)
        for line in model.manifest.notes.get("warnings", []):
            say(f"warning: {line}")
        return replace(model, env_id_from_file=True) if from_file else model

    def run_settings(self, logged: Logged | None = None) -> dict[str, Any]:
        """Return what makes a run the same run, after a check of the recorded episodes."""
        settings = {"command": "distill", "env_id": self.env_id, "settings": said_settings(self.config)}
        if self.teacher is not None:
            settings["teacher"] = self.identity
        if logged is not None:
            settings["experience"] = logged.identity
            if self.teacher is None:
                _check_teacherless(self.config, logged)
            else:
                check_experience(logged.experience, self.env_id, self.config, self.teacher_name, self.identity)
        return settings

    def _begin(
        self, logged: Logged | None, space: spaces.Box, remarks: Remarks, until: float, on_progress: OnProgress, say: Say
    ) -> tuple[PHR | Finetuning, Selection]:
        """Return the training before its first update, and which episodes it learns from."""
        if logged is not None:
            _check_horizon(self.config.horizon, logged.experience.trajectories)
            selection = select_episodes(logged.experience, self.config.keep)
            experience = logged.experience.subset(selection.keep)
        else:
            assert self.teacher is not None, "a distillation has a teacher, recorded episodes, or both"
            played = self.teacher, self.env_id, self.config
            experience, selection = record_teacher(*played, on_progress=on_progress, remarks=remarks)
            experience = named(experience, self.config, teacher=self.teacher_name, teacher_id=self.identity)
        say(selection.reason)
        if self.save_episodes_to is not None:
            save_experience(experience, self.save_episodes_to)
        config, network = self.config, _network(self.start, space, experience, self.config)
        if not config.joint:
            if config.refine and self.teacher is not None:
                where = self.teacher, self.env_id, space, say, remarks
                training: PHR = Refinement(network, experience, config, *where, until=until)
            else:
                training = PHR(network, experience, config, until=until)
            if config.finetune:
                return Finetuning(training, self.env_id, space.dtype, say, remarks), selection
            return training, selection
        if self.joint_config is None:
            raise IncompatibleModelError("joint training continues A2C, so it requires a teacher that phr trained")
        return JointTraining(network, experience, config, lambda: make_env(self.env_id), self.joint_config), selection


def record_teacher(
    teacher: Planner, env_id: str, config: PHRConfig, *, on_progress: OnProgress = silent, remarks: Remarks | None = None
) -> tuple[Experience, Selection]:
    """Let the teacher act from varied starts; return the episodes that `config.keep` asks for, and the reason.

    `remarks` counts what did not go as asked.

    Raises:
        IncompatibleModelError: If the teacher does not fit the environment.
        NoSuccessError: If successes are to be kept, and no episode was one; SettingError if success is unknown.
        NonFiniteError: If the teacher's output contains NaN or Inf.
        BrokenEnvironmentError: If the environment refuses an action of the teacher, or breaks its contract.
    """
    with make_vector(env_id, min(config.n_envs or SIDE_BY_SIDE, config.n_episodes), remarks=remarks) as vector:
        experience = _record(teacher, vector, config, on_progress)
    selection = select_episodes(experience, config.keep)
    return experience.subset(selection.keep), selection


def _record(teacher: Planner, vector: VectorSplit, config: PHRConfig, on_progress: OnProgress) -> Experience:
    """Return all episodes; the first of them are a probe."""
    streams, actions = Streams(config.seed), action_space_of(teacher)
    if vector.action_space != actions:
        raise IncompatibleModelError(f"the teacher has {actions}, {vector.env_id} has {vector.action_space}")
    seeds = [streams.integer("record-env", index) for index in range(config.n_episodes)]
    rng = streams.rng("record-prefix")
    starts = random_starts(seeds, vector.action_space, rng, prefix=config.prefix, share=config.prefix_share)
    sample_rng = streams.rng("record-actions") if config.sample_labels else None
    n_before = 0

    def on_episode(n_ended: int) -> None:
        on_progress(Progress("recording the teacher", n_before + n_ended, len(starts), "episodes"))

    # The first stage tells the episodes' length, the second whether the teacher ever succeeds; both are short for few.
    few = PROBE_EPISODES if config.n_episodes > PROBE_EPISODES else max(1, config.n_episodes // 8)
    parts: list[Trajectory] = []
    while part := starts[len(parts) : next((end for end in (few, PROBE_EPISODES) if len(parts) < end), None)]:
        parts += collect_experience(teacher, vector, part, sample_rng=sample_rng, on_episode=on_episode).trajectories
        experience = Experience(vector.env_id, tuple(parts), actions_in=actions)
        if len(parts) >= min(PROBE_EPISODES, len(starts)) and config.keep in ("auto", "successes"):
            select_episodes(experience)  # a teacher that never succeeds is refused early
        if len(parts) >= min(PROBE_EPISODES, len(starts)):
            _check_horizon(config.horizon, parts)
        if n_before < PROBE_EPISODES:
            # Stopping at the very step that is the last one wanted would favour short episodes.
            mean_length = sum(len(trajectory.actions) for trajectory in parts) / len(parts)
            starts = starts[: max(len(parts), math.ceil(config.record_steps / mean_length))]
        n_before = len(parts)
    return experience


def _check_horizon(horizon: int, episodes: Sequence[Trajectory]) -> None:
    """Refuse a horizon that no episode can fill (`HorizonError`)."""
    longest = max(len(trajectory.actions) for trajectory in episodes)
    if horizon > max(_SHORT, 2 * longest):
        raise HorizonError(
            f"the horizon {horizon:,} is more than twice the longest episode of {len(episodes):,}, {longest:,} steps; "
            f"{longest:,} plan a whole one"
        )


def named(experience: Experience, config: PHRConfig, *, teacher: str, teacher_id: str) -> Experience:
    """Return the experience with its origin: the teacher, and how `record_teacher` recorded it."""
    versions = library_versions("torch", "numpy", "gymnasium", "minigrid", "ale-py")
    prefix, sampled = config.prefix, config.sample_labels
    origin = Origin(
        teacher=teacher, teacher_id=teacher_id, seed=config.seed, prefix=prefix, sampled=sampled, versions=versions
    )
    return replace(experience, origin=origin)


def check_experience(experience: Experience, env_id: str, config: PHRConfig, teacher: str, teacher_id: str) -> None:
    """Refuse episodes that are not of this teacher, in this environment, recorded in this way (`IncompatibleModelError`)."""
    origin = experience.origin
    if experience.env_id != env_id:
        raise IncompatibleModelError(f"the experience was recorded in {experience.env_id}, not in {env_id}")
    if origin is None:
        raise IncompatibleModelError("the experience does not record its teacher; record it again")
    if origin.teacher_id != teacher_id:
        theirs, ours = _described(origin.teacher, origin.teacher_id), _described(teacher, teacher_id)
        raise IncompatibleModelError(f"the experience was recorded from another teacher: {theirs}, not {ours}")
    if origin.sampled != config.sample_labels:
        how, wanted = ("a sampling", "a greedy one") if origin.sampled else ("a greedy", "a sampling one")
        raise IncompatibleModelError(
            f"the experience was recorded from {how} teacher, the settings ask for {wanted} (sample_labels)"
        )
    with make_env(env_id) as env:
        expected = (env.observation_space.shape, str(env.observation_space.dtype), env.action_space)
    found = (experience.obs_shape, str(experience.trajectories[0].obs.dtype), experience.action_space)
    if found != expected:
        raise IncompatibleModelError(
            f"the experience has observations {found[0]} of {found[1]} and {found[2]}, "
            f"{env_id} has {expected[0]} of {expected[1]} and {expected[2]}"
        )


def _described(name: str, identity: str) -> str:
    return name if name == identity else f"{name or 'a model in memory'} ({identity[:12]})"


def _check_teacherless(config: PHRConfig, logged: Logged) -> None:
    """Refuse settings that require a teacher."""
    if config.refine:
        raise SettingError("refinement asks the teacher about new states, and logged actions have none; leave refine out")
    if config.finetune:
        raise SettingError("training on return acts in an environment, and logged actions have none; leave finetune out")
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
        with make_env(experience.env_id) as env:
            start = fresh_trunk(env, config.horizon, start.config.trunk)
    trunk = start if config.width is None else start.scaled_to(config.width)
    actions = experience.action_space
    if isinstance(actions, Continuous):
        actions = actions.measured_on(experience.joined("actions"))
    n_outputs, seed = n_outputs_for(config.loss, actions), Streams(config.seed).integer("student-weights")
    normalize = trunk.kind == "mlp"  # flat observations hold numbers of different sizes
    network = build_network(space, n_outputs, 1, trunk, seed=seed, action_space=actions, normalize=normalize)
    if normalize:
        network.trunk.set_statistics(experience.joined("obs"))
    return network


def _space_of(env_id: str) -> spaces.Box:
    with make_env(env_id) as env:
        return env.observation_space


def _finish(
    network: PlanNetwork, run: RunDirectory | None, kind: ModelKind, env_id: str, space: spaces.Box, notes: dict[str, Any]
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
