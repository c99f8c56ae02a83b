"""The loop: the time of 100,000 steps at every commitment, compared with the bound and with other libraries (peers)."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import gymnasium
import numpy as np
from numpy.typing import NDArray

from phr.envs import SplitEnv, make_env
from phr.errors import MissingExtraError, UsageError
from phr.evaluation import TOLERATED_FRACTION, is_enough_to_judge
from phr.storage import onnx_planner
from phr_studies.bench.models import UNTRAINED_PREFIX, bench_model, solved_starts
from phr_studies.bench.rounds import (
    Arena,
    Contestant,
    Measured,
    Peer,
    Settings,
    alternate,
    bounded_contestant,
    ends,
    loop_contestant,
    median,
    ratio,
    spread,
    summed_up,
    units_that_take,
)
from phr_studies.report.tables import NOTHING, Column, Table, env_name, number, times, whole
from phr_studies.reproduce.profiles import PONG

REPEATS = 4
_PILOT_LOOKS = 100


class GymView(gymnasium.Env[NDArray[Any], np.int64]):
    """A split environment as Gymnasium's wrappers know it: every step observes."""

    def __init__(self, env: SplitEnv) -> None:
        self._split = env
        self.n_steps = 0
        self.observation_space = env.observation_space
        self.action_space = gymnasium.spaces.Discrete(env.n_actions)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[Any], dict[str, Any]]:
        """Start an episode."""
        self._split.reset(seed)
        return self._split.observe(), {}

    def step(self, action: Any) -> tuple[NDArray[Any], float, bool, bool, dict[str, Any]]:
        """Move and look."""
        self.n_steps += 1
        reward, terminated, truncated, info = self._split.advance(int(action))
        return self._split.observe(), reward, terminated, truncated, info


def repeat_action(arena: Arena) -> Contestant:
    """Gymnasium's `RepeatAction`: the first action of the plan four times, over phr's own fast step and observation."""
    wrapper = getattr(gymnasium.wrappers, "RepeatAction", None)
    if wrapper is None:
        raise MissingExtraError("RepeatAction came with Gymnasium 1.3; pip install 'gymnasium>=1.3'")
    view, planner = GymView(arena.env), onnx_planner(arena.model)
    env = wrapper(view, REPEATS)

    def run(n_looks: int, seed: int) -> dict[str, float]:
        clock = time.perf_counter
        score, before = 0.0, view.n_steps
        begin = clock()
        obs, _ = env.reset(seed=seed)
        for _ in range(n_looks):
            action = int(planner.plan(obs[None]).outputs[0, 0].argmax())
            obs, reward, terminated, truncated, _ = env.step(action)
            score += float(reward)
            if terminated or truncated:
                obs, _ = env.reset()
        return {"seconds_wall": clock() - begin, "steps": view.n_steps - before, "score": score}

    looks = units_that_take(arena.seconds_per_run, lambda n: run(n, arena.seed)["seconds_wall"], _PILOT_LOOKS)
    return Contestant(f"RepeatAction, n = {REPEATS}", lambda index: run(looks, arena.seed + index))


def stable_baselines3_predict(arena: Arena) -> Contestant:
    """Stable-Baselines3's `predict` in a loop: the same weights, looking at every step, in the wrappers of its users."""
    from phr_studies.bench.sb3 import predict_peer  # an optional extra

    return predict_peer(arena)


LOOP_PEERS: tuple[Peer, ...] = (repeat_action, stable_baselines3_predict)
HEADING = "Acting: time per step, and the bound"

_TERMS = ("sim_us", "reset_us", "obs_us", "policy_us", "evaluations_per_step", "steps_per_episode", "bound_us", "fraction")
_LOOKING, _ALWAYS = "looking", "observing_always"


@dataclass(frozen=True, kw_only=True)
class LoopSettings(Settings):
    """What is run; the bound's mistakes are judged where a run takes one second or more."""

    models: tuple[str, ...] = (f"{UNTRAINED_PREFIX}{PONG}",)
    commitments: tuple[int, ...] = (1, 2, 4, 8, 16)
    rounds: int = 7
    seconds_per_run: float = 1.05
    seconds_per_bound: float = 0.6
    """Length of each of the two replays beside a run."""
    seconds_per_peer: float = 0.5
    """Length of the runs that are judged against no bound: the peers, and observing always."""
    peers: tuple[Peer, ...] = LOOP_PEERS
    seed: int = 0


def measure(settings: LoopSettings) -> dict[str, Any]:
    """Every model in its own environment; an entry `missing` where the environment is not installed."""
    found = []
    for reference in settings.models:
        try:
            found.append(_measure_model(reference, settings))
        except UsageError as error:
            found.append({"model": reference, "missing": str(error)})
    return {"models": found}


def _measure_model(reference: str, settings: LoopSettings) -> dict[str, Any]:
    model = bench_model(reference)
    env = make_env(model.env_id)
    arena = Arena(model.env_id, env, model, settings.seconds_per_run, settings.seed)
    beside, planner = replace(arena, seconds_per_run=settings.seconds_per_peer), onnx_planner(model)
    commitments = [n for n in settings.commitments if n <= model.horizon]
    contestants: list[Contestant] = []
    for n in commitments:
        contestants += [
            bounded_contestant(f"{_LOOKING} {n}", arena, planner, n, seconds_per_bound=settings.seconds_per_bound),
            loop_contestant(f"{_ALWAYS} {n}", beside, planner, n, observe_always=True),
        ]
    peers, missing = _prepare(settings.peers, beside)
    rounds = alternate([*contestants, *peers], settings.rounds)
    env.close()
    untrained = bool(model.manifest.notes.get("untrained"))
    return {
        "model": reference,
        "env_id": model.env_id,
        "horizon": model.horizon,
        "untrained": untrained,
        "starts_solved": None if untrained else solved_starts(model, commitments),
        "commitments": summary(rounds, commitments),
        "peers": [*(peer_summary(each.name, rounds, commitments[-1]) for each in peers), *missing],
    }


def _prepare(peers: Sequence[Peer], arena: Arena) -> tuple[list[Contestant], list[dict[str, Any]]]:
    ready, missing = [], []
    for peer in peers:
        try:
            ready.append(peer(arena))
        except UsageError as error:
            missing.append({"name": peer.__name__.replace("_", " "), "missing": str(error)})
    return ready, missing


def summary(rounds: Mapping[str, Sequence[Measured]], commitments: Sequence[int]) -> list[dict[str, Any]]:
    """One entry per commitment: rates, the bound's terms, and T(1)/T(n) within the rounds."""
    entries: list[dict[str, Any]] = []
    for n in commitments:
        looking, always = rounds[f"{_LOOKING} {n}"], rounds[f"{_ALWAYS} {n}"]
        entries.append(
            {
                "commitment": n,
                _LOOKING: summed_up(looking),
                _ALWAYS: summed_up(always),
                "bound": {name: spread([each[name] for each in looking]) for name in _TERMS},
                "is_judged": is_enough_to_judge([each["seconds_wall"] for each in looking]),
            }
        )
    slowest = entries[0][_LOOKING]["seconds_per_100k_steps"]
    for entry in entries:
        entry["speedup"] = ratio(slowest, entry[_LOOKING]["seconds_per_100k_steps"])
    return entries


def peer_summary(name: str, rounds: Mapping[str, Sequence[Measured]], commitment: int) -> dict[str, Any]:
    """A peer's rates, and how many times faster our loop is at this commitment: in score per second and in steps."""
    ours, theirs = summed_up(rounds[f"{_LOOKING} {commitment}"]), summed_up(rounds[name])
    return {
        "name": name,
        **theirs,
        "commitment": commitment,
        "score_ratio": ratio(ours["score_per_second"], theirs["score_per_second"]),
        "time_ratio": ratio(theirs["seconds_per_100k_steps"], ours["seconds_per_100k_steps"]),
    }


def warnings(values: Mapping[str, Any]) -> list[str]:
    """One sentence for each row whose median run was faster than possible by more than 5 %, where enough was measured."""
    return [
        f"{model['env_id']} at commitment {entry['commitment']}: {entry['bound']['fraction']['median']:.2f} of the bound"
        for model in values["models"]
        for entry in model.get("commitments", ())
        if entry["is_judged"] and entry["bound"]["fraction"]["median"] > TOLERATED_FRACTION
    ]


def tables(values: Mapping[str, Any]) -> list[Table]:
    """Rates, the terms of the bound, and the peers."""
    models = values["models"]
    there = [model for model in models if "missing" not in model]
    notes = [*map(_whose, there), *(f"{model['model']}: {model['missing']}" for model in models if "missing" in model)]
    rows = [{**entry, "where": env_name(model["env_id"]), "of": model} for model in there for entry in model["commitments"]]
    whose = (Column("environment", cell=lambda row: row["where"]), Column("n", "number", lambda row: str(row["commitment"])))
    score = median(f"{_LOOKING}.score_per_second")
    rates = (
        *whose,
        Column("s / 100k steps", "number", median(f"{_LOOKING}.seconds_per_100k_steps")),
        Column("lowest … highest", "interval", ends(f"{_LOOKING}.seconds_per_100k_steps")),
        Column("observing always", "number", median(f"{_ALWAYS}.seconds_per_100k_steps")),
        Column("T(1)/T(n)", "number", median("speedup", times)),
        Column("t_policy, µs", "number", median("bound.policy_us", whole)),
        Column("score / s", "number", lambda row: NOTHING if row["of"]["untrained"] else score(row)),
        Column("bound, s", "number", lambda row: number(row["bound"]["bound_us"]["median"] / 10)),
        Column("fraction", "number", median("bound.fraction", lambda value: number(value, 3))),
    )
    headings = ("t_sim, µs", "t_reset, µs", "t_obs, µs", "t_policy, µs", "E a step", "L, steps", "T, µs")
    terms = [Column(text, "number", median(f"bound.{name}")) for text, name in zip(headings, _TERMS[:-1], strict=True)]
    note = "T = t_sim + t_reset/L + E·(t_obs + t_policy): the least that a step can cost here."
    return [
        Table.of("Acting", rows, rates, " ".join(notes), grouped=True),
        Table.of("Where the bound comes from", rows, (*whose, *terms), note, grouped=True),
        *_peers(there),
    ]


def _whose(model: Mapping[str, Any]) -> str:
    if model["untrained"]:
        return f"{env_name(model['env_id'])}: a random policy, whose score means nothing."
    solved = model["starts_solved"]
    proof = "" if solved is None else f", {solved[0]} of {solved[1]} starts solved at every n"
    return f"{env_name(model['env_id'])}: one student of horizon {model['horizon']}{proof}."


def _peers(models: Sequence[Mapping[str, Any]]) -> list[Table]:
    rows = [{**peer, "of": model} for model in models for peer in model["peers"]]
    if not rows:
        return []

    def measured(cell: Callable[[Any], str], *, of_score: bool = False) -> Callable[[Any], str]:
        """What a peer reached; a random policy's score means nothing."""
        return lambda row: NOTHING if "missing" in row or (of_score and row["of"]["untrained"]) else cell(row)

    columns = (
        Column("environment", cell=lambda row: env_name(row["of"]["env_id"])),
        Column("peer", cell=lambda row: f"{row['name']}: {row['missing']}" if "missing" in row else row["name"]),
        Column("s / 100k steps", "number", measured(median("seconds_per_100k_steps"))),
        Column("score / s", "number", measured(median("score_per_second"), of_score=True)),
        Column("phr's score / s", "number", measured(median("score_ratio", times), of_score=True)),
        Column("phr's steps / s", "number", measured(median("time_ratio", times))),
    )
    note = "The last two columns compare with phr at its whole horizon: the median of the ratios within the rounds."
    return [Table.of("Peers in the same loop", rows, columns, note, grouped=True)]
