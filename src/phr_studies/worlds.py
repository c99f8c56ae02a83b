"""What a study knows of its environments: every start, the best that can be reached from there, random play."""

from __future__ import annotations

from contextlib import closing
from dataclasses import asdict
from functools import cache
from typing import Annotated, Any, NotRequired, TypedDict, cast

import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from phr.actions import ActionSpace, action_space_of, as_space
from phr.envs import Start, make_env
from phr.errors import HorizonError, InvalidDataError, UnsupportedEnvironmentError
from phr.evaluation import Jitter, distinct_starts, make_vector, play_all_starts, play_episodes
from phr.files import AtLeastOne, AtLeastZero
from phr.plan import NetworkPlan, Planner, repeat_first
from phr.seeding import Streams
from phr.teachers import OraclePlanner, optimal_lengths


class RepeatPlanner:
    """Plans the first action of another planner over and over (action repeat, frame skip)."""

    def __init__(self, planner: Planner, horizon: int) -> None:
        if horizon < 1:
            raise HorizonError(f"the horizon must be >= 1, got {horizon}")
        self._planner = planner
        self.horizon = horizon
        self.n_actions = planner.n_actions
        self.action_space = action_space_of(planner)

    def plan(self, obs: NDArray[Any]) -> NetworkPlan:
        """The other planner's first distribution, `horizon` times."""
        plan = self._planner.plan(obs)
        if not isinstance(plan, NetworkPlan):
            raise InvalidDataError(f"repeating needs a plan with logits over actions, got a {type(plan).__name__}")
        return repeat_first(plan, self.horizon)


class RandomPlanner:
    """Plans random actions, whatever it sees."""

    def __init__(self, actions: int | ActionSpace, rng: np.random.Generator, horizon: int = 1) -> None:
        self.action_space = as_space(actions)
        self.n_actions = self.action_space.n_outputs
        self.horizon = horizon
        self._rng = rng

    def plan(self, obs: NDArray[Any]) -> NetworkPlan:
        """Random actions, each planned with certainty."""
        drawn = np.array(self.action_space.samples(self._rng, len(obs) * self.horizon), self.action_space.dtype)
        return self.action_space.certain(drawn.reshape(len(obs), self.horizon, *self.action_space.shape))


RANDOM_EPISODES = 200
"""Episodes of random play behind the zero of the frequency-averaged score."""

PONG_RETURN, PONG_POINTS_PER_STEP = 21.0, 0.0129
"""A perfect game of Pong: 21 : 0 in about 1,630 decisions, for the ball takes its time; 1,290 points in 100,000 steps."""


@cache
def is_grid(env_id: str) -> bool:
    """Whether it is a grid in full view, where paths and ablations make sense."""
    with closing(make_env(env_id)) as env:
        return env.shows_whole_grid


class Starts(TypedDict):
    """A `StartsResult` in plain values."""

    n_starts: AtLeastOne
    n_solved: int | None
    return_mean: float
    length_mean: Annotated[float, Meta(gt=0)]
    evaluations_per_episode: float
    optimal_length_mean: float | None
    jitter: NotRequired[Jitter | None]


class Optimum(Starts):
    """What perfect play achieves from every start.

    `seeds` are those of the starts; `lengths` what they need at least: the oracle's on a grid, None in Pong, where perfect
    play is a matter of the rules.
    """

    seeds: Annotated[list[AtLeastZero], Meta(min_length=1)]
    lengths: list[AtLeastOne] | None


def optimum(env_id: str) -> Optimum:
    """What perfect play achieves from every start; the line in every plot."""
    env = make_env(env_id)
    starts = distinct_starts(env)
    seeds = [start.seed for start in starts]
    if is_grid(env_id):
        lengths = optimal_lengths(env, starts)
        result = play_all_starts(OraclePlanner(env.n_actions), env_id, starts, optimal_lengths=lengths)
        return cast(Optimum, {**asdict(result), "seeds": seeds, "lengths": lengths})
    if env.action_effects() is None:
        raise UnsupportedEnvironmentError(f"{env.env_id}: a study knows the best possible result on grids and in Pong only")
    length = PONG_RETURN / PONG_POINTS_PER_STEP
    known = {
        "n_starts": len(starts),
        "n_solved": len(starts),
        "return_mean": PONG_RETURN,
        "length_mean": length,
        "evaluations_per_episode": length,
        "optimal_length_mean": None,
        "seeds": seeds,
        "lengths": None,
    }
    return cast(Optimum, known)


def all_starts(planner: Planner, env_id: str, best: Optimum, commitment: int) -> dict[str, Any]:
    """One greedy episode from every start that `optimum` found; in Pong with the jitter of the paddle."""
    starts = [Start(seed) for seed in best["seeds"]]
    return asdict(play_all_starts(planner, env_id, starts, commitment=commitment, optimal_lengths=best["lengths"]))


def random_return(env_id: str) -> float:
    """Mean return of uniformly random actions."""
    streams = Streams(0)
    starts = [Start(streams.integer("random-env", index)) for index in range(RANDOM_EPISODES)]
    with make_vector(env_id, min(32, RANDOM_EPISODES)) as vector:
        planner = RandomPlanner(vector.n_actions, streams.rng("random-actions"))
        episodes = play_episodes(planner, vector, starts)
    return float(episodes.returns.mean())
