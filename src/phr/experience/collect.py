"""Recording what a teacher does, and gathering observations to compare two backends on."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from phr.actions import one_by_one
from phr.envs.split import SplitEnv
from phr.envs.vector import Lanes, Start, VectorSplit
from phr.errors import BrokenEnvironmentError, InvalidDataError, NonFiniteError
from phr.experience.success import reported_success
from phr.experience.trajectory import Experience, Trajectory
from phr.plan import FloatArray, NetworkPlan, Plan, Planner, memory_of


def collect_experience(
    teacher: Planner,
    vector: VectorSplit,
    starts: Sequence[Start],
    *,
    sample_rng: np.random.Generator | None = None,
    on_episode: Callable[[int], None] = lambda _n: None,
) -> Experience:
    """Record one whole episode from every start, in their order; the prefix of a start is not part of its episode.

    The teacher plans at every step and its first head acts; NonFiniteError if an output is NaN or infinite. `sample_rng`
    samples the actions. By default the most likely ones are taken: the later actions of a sampling teacher depend on chance,
    which the first observation cannot show. `on_episode` gets the number of ended episodes, whenever some end.
    """
    lanes, memory = Lanes(vector, starts), memory_of(teacher, vector.n_envs)
    space = vector.action_space
    actions = np.zeros((vector.n_envs, *space.shape), space.dtype)
    growing: defaultdict[int, list[tuple[Any, Any, Any, float]]] = defaultdict(list)
    ended: dict[int, Trajectory] = {}
    while (running := lanes.running).any():
        obs = vector.observe(running)
        plan = memory.plan(
            obs.copy(), np.flatnonzero(running)
        )  # a policy may change its input in place, and `obs` is recorded
        logits = teacher_logits_of(plan, len(obs))
        if not (finite := np.isfinite(logits).all(axis=1)).all():
            episode = lanes.episode[running][int(finite.argmin())]
            raise non_finite_plan(teacher, f"step {len(growing[episode])} of episode {episode} (both from 0)")
        chosen = plan.mode() if sample_rng is None else plan.sample(sample_rng)
        actions[running] = chosen[:, 0]
        step = vector.advance(actions, running)
        taken = one_by_one(actions)
        for row, lane in enumerate(np.flatnonzero(running).tolist()):
            record = (obs[row].copy(), taken[lane], logits[row].copy(), float(step.rewards[lane]))
            growing[lanes.episode[lane]].append(record)
        for lane in np.flatnonzero(step.done).tolist():
            seen, done, outputs, rewards = zip(*growing.pop(lanes.episode[lane]), strict=True)
            terminated, info = bool(step.terminated[lane]), step.infos[lane]
            ended[lanes.episode[lane]] = Trajectory(
                obs=np.stack(seen),
                actions=np.array(done, space.dtype),
                teacher_logits=np.stack(outputs).astype(np.float32),
                rewards=np.array(rewards, np.float32),
                terminated=terminated,
                truncated=bool(step.truncated[lane]),
                is_success=reported_success(vector.envs[lane], info, terminated=terminated, last_reward=rewards[-1]),
            )
        memory.forget(np.flatnonzero(step.done))
        lanes.begin_next(step.done)
        if step.done.any():
            on_episode(len(ended))
    return Experience(vector.env_id, tuple(ended[episode] for episode in range(len(starts))), actions_in=space)


def teacher_logits_of(plan: Plan, n_observations: int) -> FloatArray:
    """Return a view of a teacher's outputs for the next action, logits or continuous actions, shape `(batch, n_outputs)`."""
    if not isinstance(plan, NetworkPlan):
        raise InvalidDataError(f"experience needs a teacher with logits over actions, got a {type(plan).__name__}")
    if plan.batch_size != n_observations:
        raise InvalidDataError(f"the teacher must plan for {n_observations} observations, it planned for {plan.batch_size}")
    return plan.outputs[:, 0]


def non_finite_plan(teacher: Planner, where: str) -> NonFiniteError:
    """Return the error for a teacher whose output is NaN or infinite."""
    name = getattr(teacher, "name", "") or type(teacher).__name__
    return NonFiniteError(f"the plan of the teacher {name} contains NaN or Inf at {where}; its outputs must be finite")


_EPISODES = 16
"""Fewest episodes that share the observations, so that a long game does not fill them with its first minute."""
_PATIENCE = 20
"""Steps to play per observation asked for; an environment with few states has no more of them."""
_SECONDS = 30.0
"""Longest play; a slow simulator gives fewer observations."""
_LARGEST = float(np.finfo(np.float32).max)
"""A range wider than this stands for 'anything'."""


def meet_observations(planner: Planner, env: SplitEnv, n: int, rng: np.random.Generator) -> NDArray[Any]:
    """Return 1 to n distinct observations `(m, *shape)` in random order; fewer where the environment has no more.

    The planner looks at every step and takes its most likely action; every second episode is played at random. Where the
    environment refuses a random action, the planner plays alone from then on; if it refuses the planner's, it begins again.
    A slow environment gives fewer, too.
    """
    found: dict[bytes, NDArray[Any]] = {}
    n_steps, episode, random_play = 0, 0, True
    end = time.perf_counter() + _SECONDS

    def may_go_on() -> bool:
        return n_steps < _PATIENCE * n and (not found or time.perf_counter() < end)

    while len(found) < n and may_go_on():
        wanted = min(n, len(found) + max(1, n // _EPISODES))
        env.reset(int(rng.integers(2**31)))
        ended = False
        while not ended and len(found) < wanted and may_go_on():
            obs = env.observe()
            found.setdefault(obs.tobytes(), obs.copy())
            at_random = random_play and episode % 2 == 1
            action = env.action_space.sample(rng) if at_random else one_by_one(planner.plan(obs[None]).mode()[:, 0])[0]
            n_steps += 1
            try:
                _, terminated, truncated, _ = env.advance(action)
                ended = terminated or truncated
            except BrokenEnvironmentError:
                random_play, ended = random_play and not at_random, True
        episode += 1
    return rng.permutation(np.stack(list(found.values())))


def box_of(shape: tuple[int, ...], dtype: np.dtype[Any], *, planes: bool) -> spaces.Box:
    """Return planes of 0 and 1, or whole numbers as far as their type goes, or floats without bounds."""
    low, high = (0, 1) if planes else (-np.inf, np.inf) if dtype.kind == "f" else (np.iinfo(dtype).min, np.iinfo(dtype).max)
    return spaces.Box(low, high, shape, dtype.type)


def random_observations(space: spaces.Box, n: int, rng: np.random.Generator) -> NDArray[Any]:
    """Return `n` arrays drawn evenly between the bounds; where a range has no end, from a normal one cut off at them."""
    dtype: Any = space.dtype
    shape = (n, *space.shape)
    if dtype.kind in "biu":
        low, high = np.asarray(space.low, dtype), np.asarray(space.high, dtype)
        return rng.integers(low, high, shape, dtype, endpoint=True)
    low, high = space.low.astype(np.float64), space.high.astype(np.float64)
    with np.errstate(over="ignore"):
        bounded = high - low <= _LARGEST
    even = rng.uniform(np.where(bounded, low, 0.0), np.where(bounded, high, 1.0), shape)
    return np.where(bounded, even, np.clip(rng.normal(size=shape), low, high)).astype(dtype)
