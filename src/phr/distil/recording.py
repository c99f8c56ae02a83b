"""The episodes of stage 2: record a teacher, or check episodes recorded before."""

from __future__ import annotations

import math
from dataclasses import replace

from phr.actions import action_space_of
from phr.distil.config import PHRConfig
from phr.envs.registry import make_env
from phr.envs.vector import Remarks, VectorSplit, random_starts
from phr.errors import IncompatibleModelError
from phr.evaluation.episodes import make_vector
from phr.experience.collect import collect_experience
from phr.experience.success import Selection, select_episodes
from phr.experience.trajectory import Experience, Origin, Trajectory
from phr.manifest import library_versions
from phr.progress import OnProgress, Progress, silent
from phr.protocols import Planner
from phr.seeding import Streams

PROBE_EPISODES = 128
"""Recording stops if none of the first so many episodes is a success: failing takes the longest."""


def record_teacher(
    teacher: Planner,
    env_id: str,
    config: PHRConfig,
    *,
    on_progress: OnProgress = silent,
    remarks: Remarks | None = None,
) -> tuple[Experience, Selection]:
    """Let the teacher act from varied starts and keep the episodes that `config.keep` asks for.

    Args:
        teacher: Acts greedily, or samples if `config.sample_labels`.
        env_id: The environment.
        config: Settings: number of episodes, variation of starts, episodes to keep.
        on_progress: Called while the episodes are played.
        remarks: Counts what did not go as asked.

    Returns:
        The kept episodes, and the reason.

    Raises:
        IncompatibleModelError: If the teacher does not fit the environment.
        NoSuccessError: If successes are to be kept, success is known, and no episode was one.
        SettingError: If `config.keep` is `successes` and success is unknown.
        NonFiniteError: If the teacher's output contains NaN or Inf.
        BrokenEnvironmentError: If the environment refuses an action of the teacher, or breaks its contract.
    """
    with make_vector(env_id, min(config.side_by_side, config.n_episodes), remarks=remarks) as vector:
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

    parts: list[Trajectory] = []
    while part := starts[len(parts) : _stage_end(len(parts), config.n_episodes)]:
        parts += collect_experience(teacher, vector, part, sample_rng=sample_rng, on_episode=on_episode).trajectories
        experience = Experience(vector.env_id, tuple(parts), actions_in=actions)
        if len(parts) >= min(PROBE_EPISODES, len(starts)) and config.keep in ("auto", "successes"):
            select_episodes(experience)  # a teacher that never succeeds is refused early
        if n_before < PROBE_EPISODES:
            starts = starts[: _episodes_wanted(parts, config)]
        n_before = len(parts)
    return experience


def _stage_end(n_played: int, n_episodes: int) -> int:
    """Return after how many episodes to check their length and the teacher's success; earlier where few are asked for."""
    few = PROBE_EPISODES if n_episodes > PROBE_EPISODES else max(1, n_episodes // 8)
    return next((end for end in (few, PROBE_EPISODES) if n_played < end), n_episodes)


def _episodes_wanted(probe: list[Trajectory], config: PHRConfig) -> int:
    """Return the number of episodes for `record_steps`; stopping at that very step would favour short episodes."""
    mean_length = sum(len(trajectory.actions) for trajectory in probe) / len(probe)
    return max(len(probe), min(config.n_episodes, math.ceil(config.record_steps / mean_length)))


def named(experience: Experience, config: PHRConfig, *, teacher: str, teacher_id: str) -> Experience:
    """Return the experience with its origin: the teacher, and how `record_teacher` recorded it."""
    origin = Origin(
        teacher=teacher,
        teacher_id=teacher_id,
        seed=config.seed,
        prefix=config.prefix,
        sampled=config.sample_labels,
        versions=library_versions("torch", "numpy", "gymnasium", "minigrid", "ale-py"),
    )
    return replace(experience, origin=origin)


def check_experience(experience: Experience, env_id: str, config: PHRConfig, *, teacher: str, teacher_id: str) -> None:
    """Refuse episodes that are not of this teacher, in this environment, recorded in this way.

    Args:
        experience: Episodes recorded before.
        env_id: The environment of the student.
        config: Settings; `sample_labels` must be that of the recording.
        teacher: The teacher's name, for the message.
        teacher_id: SHA-256 of its model file, or its name.

    Raises:
        IncompatibleModelError: For the first thing that does not fit.
    """
    origin = experience.origin
    if experience.env_id != env_id:
        raise IncompatibleModelError(f"the experience was recorded in {experience.env_id}, not in {env_id}")
    if origin is None:
        raise IncompatibleModelError("the experience does not record its teacher; record it again")
    if origin.teacher_id != teacher_id:
        raise IncompatibleModelError(
            f"the experience was recorded from another teacher: {_described(origin.teacher, origin.teacher_id)}, "
            f"not {_described(teacher, teacher_id)}"
        )
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
