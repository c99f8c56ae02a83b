"""Recording what a teacher does, and gathering observations to compare two backends on."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from phr.actions import ActionSpace, one_by_one
from phr.envs.lanes import Lanes
from phr.envs.split import SplitEnv
from phr.envs.vector import Start, VectorSplit
from phr.errors import BrokenEnvironmentError, InvalidDataError, NonFiniteError
from phr.experience.success import reported_success
from phr.experience.trajectory import Experience, Trajectory
from phr.plan import FloatArray, NetworkPlan, Plan
from phr.protocols import Planner, ask


def collect_experience(
    teacher: Planner,
    vector: VectorSplit,
    starts: Sequence[Start],
    *,
    sample_rng: np.random.Generator | None = None,
    on_episode: Callable[[int], None] = lambda _n: None,
) -> Experience:
    """Record one whole episode from every start; the prefix of a start is not part of its episode.

    Args:
        teacher: Plans at every step; its first head acts.
        vector: Environments whose autoreset is `DISABLED`.
        starts: One episode each.
        sample_rng: Samples the actions. By default the most likely ones are taken: the later actions of a sampling teacher
            depend on chance, which the first observation cannot show.
        on_episode: Called with the number of ended episodes, whenever some end.

    Returns:
        Trajectories in the order of `starts`.

    Raises:
        NonFiniteError: If an output of the teacher is NaN or infinite.
        BrokenEnvironmentError: If the environment refuses an action of the teacher, or breaks its contract.
    """
    lanes = Lanes(vector, starts)
    space = vector.action_space
    actions = np.zeros((vector.n_envs, *space.shape), space.dtype)
    recorders: defaultdict[int, _Recorder] = defaultdict(lambda: _Recorder(space))
    ended: dict[int, Trajectory] = {}
    while (running := lanes.running).any():
        obs = vector.observe(running)
        plan = ask(teacher, obs.copy())  # a policy may change its input in place, and `obs` is recorded
        logits = teacher_logits_of(plan, len(obs))
        if not (finite := np.isfinite(logits).all(axis=1)).all():
            episode = lanes.episode[running][int(finite.argmin())]
            raise non_finite_plan(teacher, f"step {len(recorders[episode].rewards)} of episode {episode} (both from 0)")
        chosen = plan.mode() if sample_rng is None else plan.sample(sample_rng)
        actions[running] = chosen[:, 0]
        step = vector.advance(actions, running)
        taken = one_by_one(actions)
        for row, lane in enumerate(np.flatnonzero(running).tolist()):
            recorders[lanes.episode[lane]].add(obs[row], taken[lane], logits[row].copy(), float(step.rewards[lane]))
        for lane in np.flatnonzero(step.done).tolist():
            recorder = recorders.pop(lanes.episode[lane])
            terminated, info = bool(step.terminated[lane]), step.infos[lane]
            success = reported_success(vector.envs[lane], info, terminated=terminated, last_reward=recorder.rewards[-1])
            ended[lanes.episode[lane]] = recorder.trajectory(terminated, bool(step.truncated[lane]), success)
        lanes.begin_next(step.done)
        if step.done.any():
            on_episode(len(ended))
    return Experience(vector.env_id, tuple(ended[episode] for episode in range(len(starts))), actions_in=space)


def teacher_logits_of(plan: Plan, n_observations: int) -> FloatArray:
    """Return a view of a teacher's outputs for the next action, logits or continuous actions, shape `(batch, n_outputs)`.

    Raises:
        InvalidDataError: If its plan has no such outputs, or not one row for each observation.
    """
    if not isinstance(plan, NetworkPlan):
        raise InvalidDataError(f"experience needs a teacher with logits over actions, got a {type(plan).__name__}")
    if plan.batch_size != n_observations:
        raise InvalidDataError(f"the teacher must plan for {n_observations} observations, it planned for {plan.batch_size}")
    return plan.outputs[:, 0]


def non_finite_plan(teacher: Planner, where: str) -> NonFiniteError:
    """Return the error for a teacher whose output is NaN or infinite; `where` names the step."""
    name = getattr(teacher, "name", "") or type(teacher).__name__
    return NonFiniteError(f"the plan of the teacher {name} contains NaN or Inf at {where}; its outputs must be finite")


class _Recorder:
    """One growing episode."""

    def __init__(self, space: ActionSpace) -> None:
        self._space = space
        self.obs: list[Any] = []
        self.actions: list[Any] = []
        self.logits: list[Any] = []
        self.rewards: list[float] = []

    def add(self, obs: Any, action: Any, logits: Any, reward: float) -> None:
        self.obs.append(obs.copy())
        self.actions.append(action)
        self.logits.append(logits)
        self.rewards.append(reward)

    def trajectory(self, terminated: bool, truncated: bool, is_success: bool | None) -> Trajectory:
        return Trajectory(
            obs=np.stack(self.obs),
            actions=np.array(self.actions, self._space.dtype),
            teacher_logits=np.stack(self.logits).astype(np.float32),
            rewards=np.array(self.rewards, np.float32),
            terminated=terminated,
            truncated=truncated,
            is_success=is_success,
        )


_EPISODES = 16
"""Fewest episodes that share the observations, so that a long game does not fill them with its first minute."""
_PATIENCE = 20
"""Steps to play per observation asked for; an environment with few states has no more of them."""
_SECONDS = 30.0
"""Longest play; a slow simulator gives fewer observations."""
_LARGEST = float(np.finfo(np.float32).max)
"""A range wider than this stands for 'anything'."""


def meet_observations(planner: Planner, env: SplitEnv, n: int, rng: np.random.Generator) -> NDArray[Any]:
    """Distinct observations on the planner's own way and off it: every second episode is played at random.

    An environment that refuses a random action is played by the planner alone from then on; one that refuses an action of
    the planner begins another episode.

    Args:
        planner: Looks at every step and takes its most likely action.
        env: Where.
        n: Observations wanted.
        rng: Draws seeds and random actions.

    Returns:
        Shape `(m, *observation_shape)` in random order, 1 <= m <= n; fewer than n where the environment has no more
        or is slow.
    """
    found: dict[bytes, NDArray[Any]] = {}
    n_steps = episode = 0
    random_play = True
    end = time.perf_counter() + _SECONDS

    def may_go_on() -> bool:
        return n_steps < _PATIENCE * n and (not found or time.perf_counter() < end)

    while len(found) < n and may_go_on():
        wanted = min(n, len(found) + max(1, n // _EPISODES))
        env.reset(int(rng.integers(2**31)))
        done = False
        while not done and len(found) < wanted and may_go_on():
            obs = env.observe()
            found.setdefault(obs.tobytes(), obs.copy())
            at_random = random_play and episode % 2 == 1
            action = env.action_space.sample(rng) if at_random else one_by_one(planner.plan(obs[None]).mode()[:, 0])[0]
            n_steps += 1
            try:
                _, terminated, truncated, _ = env.advance(action)
            except BrokenEnvironmentError:
                random_play = random_play and not at_random
                break
            done = terminated or truncated
        episode += 1
    return rng.permutation(np.stack(list(found.values())))


def random_observations(space: spaces.Box, n: int, rng: np.random.Generator) -> NDArray[Any]:
    """Values drawn evenly between the bounds; where a range has no end, from a normal distribution cut off at them.

    Returns:
        Shape `(n, *space.shape)`, of the space's number type.
    """
    dtype: Any = space.dtype
    shape = (n, *space.shape)
    if dtype.kind in "biu":
        low, high = np.asarray(space.low, dtype), np.asarray(space.high, dtype)
        return rng.integers(low, high, shape, dtype, endpoint=True)
    low, high = space.low.astype(np.float64), space.high.astype(np.float64)
    with np.errstate(over="ignore"):
        bounded = high - low <= _LARGEST
    even = rng.uniform(np.where(bounded, low, 0.0), np.where(bounded, high, 1.0), shape)
    values = np.where(bounded, even, np.clip(rng.normal(size=shape), low, high))
    return values.astype(dtype)
