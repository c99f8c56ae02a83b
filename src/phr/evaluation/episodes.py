"""Whole episodes, many environments at once, and lists of starts to play them from; untimed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from phr.acting.agent import VectorHorizonAgent
from phr.acting.commitment import AnyCommitment
from phr.actions import one_by_one
from phr.envs.registry import make_env
from phr.envs.split import SeedSchedule, SplitEnv
from phr.envs.vector import Lanes, PrefixSchedule, Remarks, Start, VectorSplit
from phr.errors import InvalidDataError, UnsupportedEnvironmentError
from phr.experience.success import count_successes, judge_episodes, reported_success
from phr.plan import Planner
from phr.seeding import Streams


@dataclass(frozen=True, eq=False)
class Episodes:
    """Outcomes of whole episodes, one entry each, in the order of their starts; success is None where it is unknown."""

    returns: NDArray[np.float64]
    lengths: NDArray[np.int64]
    evaluations: NDArray[np.int64]
    success: tuple[bool | None, ...]
    actions: tuple[NDArray[Any], ...]

    @property
    def n_successes(self) -> int | None:
        """How many were successes; None where it is unknown of any of them."""
        return count_successes(self.success)


def play_episodes(
    planner: Planner,
    vector: VectorSplit,
    starts: Sequence[Start],
    *,
    commitment: AnyCommitment = None,
    abandon_refused: bool = False,
) -> Episodes:
    """Play one greedy episode from each start to its end; the vector's autoreset must be `disabled`.

    With `abandon_refused` an episode ends where the environment refuses an action, as in `VectorSplit.advance`.
    """
    n = len(starts)
    agent = VectorHorizonAgent(planner, commitment, n_envs=vector.n_envs)
    returns, lengths, looks = np.zeros(n), np.zeros(n, np.int64), np.zeros(n, np.int64)
    last_rewards, terminated = np.zeros(n), np.zeros(n, bool)
    reported: list[bool | None] = [None] * n
    low, high = np.inf, -np.inf
    actions: list[list[Any]] = [[] for _ in starts]
    lanes = Lanes(vector, starts)
    while (running := lanes.running).any():
        looking = agent.needs_observation & running
        obs = vector.observe(looking) if looking.any() else None
        looks[lanes.episode[looking]] += 1
        chosen = agent.act(obs, running)
        step = vector.advance(chosen, running, abandon_refused=abandon_refused)
        playing, ended = lanes.episode[running], step.done
        for episode, action in zip(playing.tolist(), one_by_one(chosen[running]), strict=True):
            actions[episode].append(action)
        rewards = step.rewards[running]
        low, high = min(low, float(rewards.min())), max(high, float(rewards.max()))
        returns[playing] += rewards
        lengths[playing] += 1
        for lane in np.flatnonzero(ended).tolist():
            episode, over, reward = lanes.episode[lane], bool(step.terminated[lane]), float(step.rewards[lane])
            terminated[episode], last_rewards[episode] = over, reward
            reported[episode] = reported_success(vector.envs[lane], step.infos[lane], terminated=over, last_reward=reward)
        agent.reset(ended)
        lanes.begin_next(ended)
    ends, last = terminated.tolist(), last_rewards.tolist()
    judged = judge_episodes(reported, terminated=ends, last_rewards=last, returns=returns, reward_range=(low, high))
    executed = tuple(np.array(taken, vector.action_space.dtype) for taken in actions)
    return Episodes(returns, lengths, looks, judged.success, executed)


def make_vector(
    env_id: str,
    n_envs: int,
    seeds: SeedSchedule = lambda _i, _k: None,
    prefixes: PrefixSchedule = lambda _i, _k: (),
    remarks: Remarks | None = None,
) -> VectorSplit:
    """Open `n_envs` environments, or as many as can be open at once; the other arguments are those of `VectorSplit`."""
    return VectorSplit.open(lambda: make_env(env_id), n_envs, seeds, prefixes, remarks)


@dataclass(frozen=True)
class Jitter:
    """Two rates, each over all steps that have a step before them in their episode; 0 is steady.

    `changes` is the fraction of these steps whose effect differs from that of the step before; `reversals` that of the steps
    that push against the latest push before them, pauses in between left out.
    """

    changes: float
    reversals: float


def measure_jitter(episodes: Sequence[NDArray[np.int64]]) -> Jitter:
    """Change and reversal rates of executed actions, pooled over the steps of all episodes.

    `episodes` has for each episode the effect of every action, shape `(length,)`: a direction as 1 or −1, 0 for none.
    Actions with the same effect, as NOOP and FIRE, are no change; reversals never exceed changes. The measure is ours;
    Wagner et al. 2021 (arXiv:2106.10075), section 4.3, writes of "less jittery behavior" and defines none.
    """
    n_steps = n_changes = n_reversals = 0
    for effects in episodes:
        if len(effects) and np.abs(effects).max() > 1:
            raise InvalidDataError(f"an effect is -1, 0 or 1, got {effects[np.abs(effects) > 1][0]}")
        before, after = effects[:-1], effects[1:]
        pushed = np.where(before != 0, np.arange(len(before)), 0)
        latest = before[np.maximum.accumulate(pushed)]  # the effect of the latest step that pushed; 0 where none did
        n_steps += len(after)
        n_changes += int((after != before).sum())
        n_reversals += int((after * latest < 0).sum())
    if not n_steps:
        raise InvalidDataError(f"jitter is measured between steps, but none of {len(episodes)} episodes has two")
    return Jitter(n_changes / n_steps, n_reversals / n_steps)


def distinct_starts(env: SplitEnv, *, patience: int = 1000, limit: int = 2000) -> list[Start]:
    """One start for every first observation that the environment can give; in Atari, for every number of idle frames.

    Elsewhere seeds 0, 1, 2, … are tried until `patience` of them in a row have shown nothing new. With k equally likely
    starts one is missed with a probability below k·(1 − 1/k)^patience: 2e-9 for the 42 of SimpleCrossingS9N1.
    UnsupportedEnvironmentError if there are more than `limit`, or chance plays on after the start.
    """
    if (known := env.start_seeds()) is not None:
        return [Start(seed) for seed in known]
    starts: dict[bytes, Start] = {}
    seed = last_new = 0
    while seed - last_new <= patience:
        env.reset(seed)
        key = env.observe().tobytes()
        if key not in starts:
            starts[key], last_new = Start(seed), seed
            if len(starts) > limit:
                why = f"has more than {limit} different starts; evaluate episodes instead"
                raise UnsupportedEnvironmentError(f"{env.env_id} {why}")
        seed += 1
    return list(starts.values())


def run_randomness(seed: int, run: int) -> tuple[int, np.random.Generator]:
    """The seed of an evaluation's run, and the generator of its prefixes; nothing else draws from these streams."""
    streams = Streams(seed)
    return streams.integer("evaluate-run", run), streams.rng("evaluate-prefix", run)


@dataclass(frozen=True)
class StartsResult:
    """Results of a policy from every start.

    `n_solved` is None where success is unknown (`judge_episodes`), `optimal_length_mean` without an oracle, `jitter` where
    the effects of actions are unknown (`SplitEnv.action_effects`).
    """

    n_starts: int
    n_solved: int | None
    return_mean: float
    length_mean: float
    evaluations_per_episode: float
    optimal_length_mean: float | None = None
    jitter: Jitter | None = None

    def __str__(self) -> str:
        optimum = "" if self.optimal_length_mean is None else f" (optimum {self.optimal_length_mean:.3f})"
        which = "the only start" if self.n_starts == 1 else f"all {self.n_starts} starts"
        solved = "success unknown" if self.n_solved is None else f"{self.n_solved} solved"
        return (
            f"{which}: {solved}, length {self.length_mean:.3f}{optimum}, "
            f"return {self.return_mean:.5f}, {self.evaluations_per_episode:.3f} evaluations an episode"
        )


def play_all_starts(
    planner: Planner,
    env_id: str,
    starts: Sequence[Start],
    *,
    commitment: AnyCommitment = None,
    optimal_lengths: Sequence[int] | None = None,
    n_envs: int = 32,
) -> StartsResult:
    """Play one greedy episode from every start, `n_envs` at once; `optimal_lengths` are the shortest possible, if known."""
    with make_vector(env_id, min(n_envs, len(starts))) as vector:
        effects = vector.envs[0].action_effects()
        episodes = play_episodes(planner, vector, starts, commitment=commitment)
    return StartsResult(
        n_starts=len(starts),
        n_solved=episodes.n_successes,
        return_mean=float(episodes.returns.mean()),
        length_mean=float(episodes.lengths.mean()),
        evaluations_per_episode=float(episodes.evaluations.mean()),
        optimal_length_mean=None if optimal_lengths is None else float(np.mean(optimal_lengths)),
        jitter=None if effects is None else measure_jitter([effects[actions] for actions in episodes.actions]),
    )
