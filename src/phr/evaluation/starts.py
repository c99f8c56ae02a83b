"""Lists of starts to test on: every start of an environment that has few, and starts that no training has met."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np

from phr.acting.commitment import Commitment, CommitmentLike
from phr.actions import ActionSpace
from phr.envs.lanes import endless_starts
from phr.envs.split import SplitEnv
from phr.envs.vector import Start
from phr.errors import SettingError, UnsupportedEnvironmentError
from phr.evaluation.episodes import make_vector, play_episodes
from phr.evaluation.jitter import Jitter, measure_jitter
from phr.protocols import Planner
from phr.seeding import Streams


def distinct_starts(env: SplitEnv, *, patience: int = 1000, limit: int = 2000) -> list[Start]:
    """One start for every first observation that the environment can give; in Atari, for every number of idle frames.

    Elsewhere seeds 0, 1, 2, … are tried until `patience` of them in a row have shown nothing new. With k equally likely
    starts one is missed with a probability below k·(1 − 1/k)^patience: 2e-9 for the 42 of SimpleCrossingS9N1.

    Args:
        env: Where.
        patience: Seeds without a new start before it ends.
        limit: More starts than this are too many to enumerate.

    Raises:
        UnsupportedEnvironmentError: If there are more than `limit`, or chance plays on after the start.
    """
    known = env.start_seeds()
    if known is not None:
        return [Start(seed) for seed in known]
    starts: dict[bytes, Start] = {}
    seed = last_new = 0
    while seed - last_new <= patience:
        env.reset(seed)
        key = env.observe().tobytes()
        if key not in starts:
            starts[key] = Start(seed)
            last_new = seed
            if len(starts) > limit:
                raise UnsupportedEnvironmentError(
                    f"{env.env_id} has more than {limit} different starts; evaluate episodes instead"
                )
        seed += 1
    return list(starts.values())


def run_randomness(seed: int, run: int) -> tuple[int, np.random.Generator]:
    """The seed of an evaluation's run, and what its prefixes are drawn from: streams that nothing else draws from."""
    streams = Streams(seed)
    return streams.integer("evaluate-run", run), streams.rng("evaluate-prefix", run)


def unseen_starts(
    actions: int | ActionSpace, n: int = 30, prefix: tuple[int, int] = (20, 60), *, seed: int = 0, run: int = 0
) -> list[Start]:
    """The starts that one run of `phr evaluate --episodes N --random-prefix LO:HI` plays, to be played side by side.

    A deterministic game has few starts (thirty in Atari), all of which training may have met. Random actions lead away from
    them, and they come from streams that no training draws from: 20 actions out of six are one way of 4e15.

    Args:
        actions: The action space, or its size.
        n: How many.
        prefix: Fewest and most random, uncounted actions before each episode.
        seed: Of the evaluation.
        run: Which of its runs.

    Raises:
        SettingError: If a start may have no prefix: those are not determined without the ones before them.
    """
    if not 1 <= prefix[0] <= prefix[1]:
        raise SettingError(
            f"starts off the known ones need a prefix of 1 <= low <= high actions, got {prefix[0]}:{prefix[1]}"
        )
    first, rng = run_randomness(seed, run)
    return list(islice(endless_starts(actions, first, rng, prefix), n))


@dataclass(frozen=True)
class StartsResult:
    """How a policy fared from every start.

    Attributes:
        n_starts: Starts there are.
        n_solved: Starts from which it succeeded; None where success is unknown (see `judge_episodes`).
        return_mean: Mean return over all starts.
        length_mean: Mean steps over all starts.
        evaluations_per_episode: Mean looks over all starts.
        optimal_length_mean: The shortest possible, None where no oracle knows it.
        jitter: How restlessly it acted; None where nobody knows what the actions do (`SplitEnv.action_effects`).
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
    commitment: CommitmentLike | Commitment | None = None,
    optimal_lengths: Sequence[int] | None = None,
    n_envs: int = 32,
) -> StartsResult:
    """Play one greedy episode from every start.

    Args:
        planner: Who acts.
        env_id: Where.
        starts: From `distinct_starts`.
        commitment: Actions executed per look.
        optimal_lengths: The shortest possible length from each start, where known.
        n_envs: Most episodes played side by side.
    """
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
