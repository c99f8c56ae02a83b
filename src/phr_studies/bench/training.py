"""Training throughput: phr's A2C beside Stable-Baselines3's, and beside its own passes without any environment.

All take turns, with the same network, weights, hyperparameters, action space, number of environments and threads of torch.
The learning rate is next to nothing, so that every update does all its work and the policy stays what it is: fresh, with
long episodes, or trained, with short ones and many resets.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch

from phr.distil import teacher_config
from phr.envs import make_env
from phr.errors import UnknownModelError
from phr.networks import PlanNetwork, Precision, TrunkConfig, build_network, compute_dtype, torch_threads
from phr.progress import available_cores
from phr.teacher import A2C, A2CConfig
from phr.teachers import resolve
from phr_studies.bench.models import REFERENCE_TRUNKS, widened
from phr_studies.bench.rounds import (
    PILOT_UPDATES,
    Contestant,
    Measured,
    Settings,
    alternate,
    ends,
    median,
    ratio,
    spread,
    units_that_take,
)
from phr_studies.report.tables import NOTHING, Column, Table, env_name, number, times, whole
from phr_studies.reproduce.profiles import CROSSING, PONG

HEADING = "Training"
OURS, OURS_FLOAT32, BARE, BARE_FLOAT32, PEER = "phr", "phr, float32", "passes", "passes, float32", "Stable-Baselines3"
_NO_LEARNING, _NO_END = 1e-12, 10**9

Runner = Callable[[int], float]
"""Does so many updates and returns the seconds that they took."""


@dataclass(frozen=True, kw_only=True)
class TrainingCase:
    """One environment, network and phase of training; None takes the preset's value."""

    env_id: str
    trunk: TrunkConfig | None = None
    weights: str | None = None
    """Reference of the teacher that acts, widened where `trunk` is wider; None for fresh weights."""
    n_envs: int | None = None
    threads: int = 1


CASES = tuple(
    TrainingCase(env_id=env_id, trunk=trunk, weights=weights, threads=threads)
    for env_id, kind, phases in ((CROSSING, "grid", (None, "zoo:crossing-teacher")), (PONG, "atari", (None,)))
    for trunk in (None, REFERENCE_TRUNKS[kind])
    for weights in phases
    for threads in (1, 2)
)


@dataclass(frozen=True, kw_only=True)
class TrainingSettings(Settings):
    """What is run, each of `cases` a row of the table."""

    cases: tuple[TrainingCase, ...] = CASES
    seconds_per_run: float = 1.0


def measure(settings: TrainingSettings) -> dict[str, Any]:
    """Every case after the other, all its contestants in alternation; a case whose weights are not found is left out."""
    cases, left_out = list[dict[str, Any]](), list[str]()
    for case in settings.cases:
        try:
            with torch_threads(case.threads):
                cases.append(_measure_case(case, settings))
        except UnknownModelError as error:
            left_out.append(f"{case.env_id} with {case.weights}: {error}")
    return {"cases": cases, "left_out": left_out}


def config_of(case: TrainingCase) -> A2CConfig:
    """The environment's preset with the case's network, next to no learning, and no random beginnings: the peer has none."""
    config = teacher_config(make_env(case.env_id), n_envs=case.n_envs, trunk=case.trunk, prefix=(0, 0))
    return replace(config, total_timesteps=_NO_END, learning_rate=_NO_LEARNING)


def network_of(case: TrainingCase, config: A2CConfig) -> PlanNetwork:
    """The weights that all contestants start from, and keep."""
    env = make_env(case.env_id)
    if case.weights is None:
        return build_network(env.observation_space, env.n_actions, 1, config.trunk, seed=config.seed)
    model = resolve(case.weights, env_id=case.env_id).model
    if model is None:
        raise UnknownModelError(f"{case.weights} has no network to train on; give a run directory or zoo:NAME")
    return widened(model.network, config.trunk)


def _measure_case(case: TrainingCase, settings: TrainingSettings) -> dict[str, Any]:
    from phr_studies.bench.sb3 import TrainingPeer  # an optional extra

    config = config_of(case)
    network = network_of(case, config)
    # First: it forks, best before others have threads.
    peer = TrainingPeer(case.env_id, config, network, settings.seconds_per_run)
    trainings: dict[Precision, tuple[str, str]] = {"auto": (OURS, BARE)}
    if compute_dtype("auto", convolutions=True) is not torch.float32:
        trainings["float32"] = OURS_FLOAT32, BARE_FLOAT32
    runners: dict[str, Runner] = {PEER: peer.run}
    ours = []
    for precision, (whole_name, bare) in trainings.items():
        training = A2C(lambda: make_env(case.env_id), replace(config, precision=precision), network=copy.deepcopy(network))
        runners |= {whole_name: _timed(training.update), bare: bare_updates(training)}
        ours.append(training)
    size = config.rollout_size
    contestants = [_contestant(name, run, size, settings.seconds_per_run) for name, run in runners.items()]
    rounds = alternate(contestants, settings.rounds)
    rates = {name: spread([each["steps"] / each["seconds_wall"] for each in rounds[name]]) for name in runners}
    values = {
        "env_id": case.env_id,
        "channels": list(config.trunk.channels),
        "width": config.trunk.width,
        "weights": case.weights,
        "n_envs": config.n_envs,
        "n_steps": config.n_steps,
        "threads": torch.get_num_threads(),
        "cores": available_cores(),
        "precision": str(compute_dtype(config.precision, convolutions=True)).removeprefix("torch."),
        "peer_stepping": peer.stepping,
        "peer_pilot_steps_per_second": peer.pilot,
        "training_episodes": ours[0].averages(),
        "steps_per_second": rates,
        "ratios": ratios_of(rates),
    }
    peer.close()
    for training in ours:
        training.collector.close()
    return values


def ratios_of(rates: Mapping[str, Any]) -> dict[str, Any]:
    """Our rate over the peer's, and over that of our bare passes, round by round; in float32 too where that differs."""
    found = {"against_sb3": ratio(rates[OURS], rates[PEER]), "of_bare_passes": ratio(rates[OURS], rates[BARE])}
    if OURS_FLOAT32 in rates:
        found["float32_against_sb3"] = ratio(rates[OURS_FLOAT32], rates[PEER])
        found["float32_of_bare_passes"] = ratio(rates[OURS_FLOAT32], rates[BARE_FLOAT32])
    return found


def _timed(update: Callable[[], Any]) -> Runner:
    def run(n_updates: int) -> float:
        begin = time.perf_counter()
        for _ in range(n_updates):
            update()
        return time.perf_counter() - begin

    return run


def bare_updates(training: A2C) -> Runner:
    """The forward passes of a rollout, the bootstrap pass and the update on one fixed rollout; no environment moves."""
    rollout = training.collector.collect(training.act)
    training.learn(rollout)
    rollout = replace(rollout, obs=rollout.obs.clone())

    def update() -> None:
        answers = [training.act(obs) for obs in rollout.obs[:-1]]
        logits, values = (torch.cat(parts) for parts in zip(*answers, strict=True))
        training.learn(replace(rollout, logits=logits, values=values))

    return _timed(update)


def _contestant(name: str, run: Runner, rollout_size: int, seconds: float) -> Contestant:
    n_updates = units_that_take(seconds, run, PILOT_UPDATES)

    def one_round(_index: int) -> Measured:
        return {"seconds_wall": run(n_updates), "steps": float(n_updates * rollout_size)}

    return Contestant(name, one_round)


def tables(values: Mapping[str, Any]) -> list[Table]:
    """One row per case."""

    def layers(case: Mapping[str, Any]) -> str:
        return f"{'-'.join(map(str, case['channels']))} / {case['width']}"

    def in_float32(cell: Callable[[Any], str]) -> Callable[[Any], str]:
        return lambda case: cell(case) if OURS_FLOAT32 in case["steps_per_second"] else NOTHING

    columns = (
        Column("environment", cell=lambda case: env_name(case["env_id"])),
        Column("network", cell=layers),
        Column("weights", cell=lambda case: "fresh" if case["weights"] is None else "trained"),
        Column("threads", "number", lambda case: str(case["threads"])),
        Column("phr, steps / s", "number", median(f"steps_per_second.{OURS}", whole)),
        Column("lowest … highest", "interval", ends(f"steps_per_second.{OURS}")),
        Column("float32", "number", in_float32(median(f"steps_per_second.{OURS_FLOAT32}", whole))),
        Column("SB3", "number", median(f"steps_per_second.{PEER}", whole)),
        Column("stepped by", cell=lambda case: case["peer_stepping"]),
        Column("phr / SB3", "number", median("ratios.against_sb3", times)),
        Column("float32 / SB3", "number", in_float32(median("ratios.float32_against_sb3", times))),
        Column("of the bare passes", "number", median("ratios.of_bare_passes", lambda value: number(value, 2))),
    )
    first = values["cases"][0] if values["cases"] else {"precision": NOTHING}
    note = (
        "Both with the same threads of torch, network, weights, hyperparameters and environments; phr "
        f"computes in {first['precision']}, SB3 in float32. SB3 steps by whatever was quicker for it. The bare passes are "
        "the forward passes, the bootstrap pass and the update without an environment. The learning rate is next to "
        "nothing, so that fresh weights stay fresh (long episodes) and trained ones trained (short ones). Our Atari games "
        "are stepped by ale-py's own threads."
    )
    note = " ".join([note, *(f"Left out: {text}." for text in values["left_out"])])
    return [Table.of("A2C", values["cases"], columns, note, grouped=True)]
