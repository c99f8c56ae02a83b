"""What a study knows of its environments: every start, the best that can be reached from there, and random play."""

from __future__ import annotations

from dataclasses import asdict
from functools import cache
from typing import Any

from phr.envs import FullViewEnv, SplitEnv, Start, make_env
from phr.errors import UnsupportedEnvironmentError
from phr.evaluation import action_effects, distinct_starts, make_vector, play_all_starts, play_episodes
from phr.protocols import Planner
from phr.seeding import Streams
from phr.teachers import OraclePlanner, optimal_lengths
from phr_studies.baselines import RandomPlanner

RANDOM_EPISODES = 200
"""Episodes of random play behind the zero of the frequency-averaged score."""

PONG_RETURN, PONG_POINTS_PER_STEP = 21.0, 0.0129
"""A perfect game of Pong: 21 : 0 in about 1,630 decisions, for the ball takes its time; 1,290 points in 100,000 steps."""


@cache
def is_grid(env_id: str) -> bool:
    """Whether it is a grid seen whole, whose paths and ablations tell something."""
    env = make_env(env_id)
    found = isinstance(env, FullViewEnv)
    env.close()
    return found


def optimum(env_id: str) -> dict[str, Any]:
    """What perfect play achieves from every start; the line in every plot.

    Returns:
        A `StartsResult`, with the `seeds` of the starts and the `lengths` that they need at least: the oracle's on a grid,
        None in Pong, where perfect play is a matter of the rules.

    Raises:
        UnsupportedEnvironmentError: If the environment is neither.
    """
    env = make_env(env_id)
    starts = distinct_starts(env)
    if not is_grid(env_id):
        return {**_perfect_pong(env, starts), "seeds": [start.seed for start in starts], "lengths": None}
    lengths = optimal_lengths(env, starts)
    result = play_all_starts(OraclePlanner(env.n_actions), env_id, starts, optimal_lengths=lengths)
    return {**asdict(result), "seeds": [start.seed for start in starts], "lengths": lengths}


def _perfect_pong(env: SplitEnv, starts: list[Start]) -> dict[str, Any]:
    if action_effects(env) is None:
        raise UnsupportedEnvironmentError(f"{env.env_id}: a study knows the best possible result on grids and in Pong only")
    length = PONG_RETURN / PONG_POINTS_PER_STEP
    return {
        "n_starts": len(starts),
        "n_solved": len(starts),
        "return_mean": PONG_RETURN,
        "length_mean": length,
        "evaluations_per_episode": length,
        "optimal_length_mean": None,
    }


def all_starts(planner: Planner, env_id: str, best: dict[str, Any], commitment: int) -> dict[str, Any]:
    """One greedy episode from every start that `optimum` found; in Pong with the jitter of the paddle."""
    starts = [Start(seed) for seed in best["seeds"]]
    return asdict(play_all_starts(planner, env_id, starts, commitment=commitment, optimal_lengths=best["lengths"]))


def random_return(env_id: str) -> float:
    """Mean return of uniformly random actions."""
    streams = Streams(0)
    vector = make_vector(env_id, min(32, RANDOM_EPISODES))
    starts = [Start(streams.integer("random-env", index)) for index in range(RANDOM_EPISODES)]
    planner = RandomPlanner(vector.n_actions, streams.rng("random-actions"))
    episodes = play_episodes(planner, vector, starts)
    return float(episodes.returns.mean())
