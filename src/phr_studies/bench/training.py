"""Training throughput: phr's A2C beside Stable-Baselines3's, and beside its own passes without any environment.

All take turns, with the same network, weights, hyperparameters, action space, number of environments and threads of torch.
The learning rate is next to nothing, so that every update does all its work and the policy stays what it is: fresh, with
long episodes, or trained, with short ones and many resets.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch

from phr.cores import available_cores
from phr.envs import make_env
from phr.errors import UnknownModelError
from phr.learning import A2C, A2CConfig, teacher_config
from phr.networks import PlanNetwork, Precision, TrunkConfig, build_network, compute_dtype
from phr.teachers import resolve
from phr_studies.bench.contestants import Contestant, Measured, alternate, ratio, spread
from phr_studies.bench.models import REFERENCE_TRUNKS
from phr_studies.bench.updates import PILOT_UPDATES, Runner, calibrated, timed
from phr_studies.bench.widen import widened
from phr_studies.report.names import env_name
from phr_studies.report.numbers import interval, number, times
from phr_studies.report.tables import NOTHING, Column, Table
from phr_studies.reproduce.profiles import CROSSING, PONG
from phr_studies.threads import torch_threads

HEADING = "Training"
OURS, OURS_FLOAT32, BARE, BARE_FLOAT32, PEER = "phr", "phr, float32", "passes", "passes, float32", "Stable-Baselines3"
_NO_LEARNING, _NO_END = 1e-12, 10**9


@dataclass(frozen=True, kw_only=True)
class TrainingCase:
    """One environment, network and phase of training.

    Attributes:
        env_id: Where.
        trunk: The layers; those of the environment's preset by default.
        weights: Reference of the teacher that acts, widened where `trunk` is wider; None for fresh weights.
        n_envs: Environments side by side; as in the preset by default.
        threads: Of torch, for all contestants.
    """

    env_id: str
    trunk: TrunkConfig | None = None
    weights: str | None = None
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
class TrainingSettings:
    """What is run.

    Attributes:
        cases: One row of the table each.
        rounds: Of every contestant.
        seconds_per_run: Length of each.
    """

    cases: tuple[TrainingCase, ...] = CASES
    rounds: int = 5
    seconds_per_run: float = 1.0


def measure(settings: TrainingSettings) -> dict[str, Any]:
    """Every case after the other; within a case all contestants in alternation.

    A case whose weights are not to be found is left out, and said to be.

    Raises:
        MissingExtraError: If Stable-Baselines3 is not installed.
    """
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
    """The weights that all contestants start from, and keep.

    Raises:
        UnknownModelError: If there are no such weights.
        IncompatibleModelError: If they do not fit the case's network.
    """
    env = make_env(case.env_id)
    if case.weights is None:
        return build_network(env.observation_space, env.n_actions, 1, config.trunk, seed=config.seed)
    model = resolve(case.weights, env_id=case.env_id).model
    if model is None:
        raise UnknownModelError(f"{case.weights} has no network to train on; give a run directory or zoo:NAME")
    return widened(model.network, config.trunk)


def _measure_case(case: TrainingCase, settings: TrainingSettings) -> dict[str, Any]:
    from phr_studies.bench.sb3_training import Peer  # an optional extra

    config = config_of(case)
    network = network_of(case, config)
    peer = Peer(case.env_id, config, network, settings.seconds_per_run)  # first: it forks, best without others' threads
    trainings: dict[Precision, tuple[str, str]] = {"auto": (OURS, BARE)}
    if compute_dtype("auto", convolutions=True) is not torch.float32:
        trainings["float32"] = OURS_FLOAT32, BARE_FLOAT32
    runners: dict[str, Runner] = {PEER: peer.run}
    ours = []
    for precision, (whole, bare) in trainings.items():
        training = A2C(lambda: make_env(case.env_id), replace(config, precision=precision), network=copy.deepcopy(network))
        runners |= {whole: _updates(training), bare: bare_updates(training)}
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


def _updates(training: A2C) -> Runner:
    def run(n_updates: int) -> None:
        for _ in range(n_updates):
            training.update()

    return run


def bare_updates(training: A2C) -> Runner:
    """The forward passes of a rollout, the bootstrap pass and the update on one fixed rollout; no environment moves."""
    rollout = training.collector.collect(training.act)
    training.learn(rollout)
    rollout = replace(rollout, obs=rollout.obs.clone())

    def run(n_updates: int) -> None:
        for _ in range(n_updates):
            answers = [training.act(obs) for obs in rollout.obs[:-1]]
            logits, values = (torch.cat(parts) for parts in zip(*answers, strict=True))
            training.learn(replace(rollout, logits=logits, values=values))

    return run


def _contestant(name: str, run: Runner, rollout_size: int, seconds: float) -> Contestant:
    run(PILOT_UPDATES)
    n_updates = calibrated(run, seconds)

    def one_round(_index: int) -> Measured:
        return {"seconds_wall": timed(run, n_updates), "steps": float(n_updates * rollout_size)}

    return Contestant(name, one_round)


def tables(values: Mapping[str, Any]) -> list[Table]:
    """One row per case."""
    columns = (
        Column("environment"), Column("network"), Column("weights"), Column("threads", "number"),
        Column("phr, steps / s", "number"), Column("lowest … highest", "interval"), Column("float32", "number"),
        Column("SB3", "number"), Column("stepped by"),
        Column("phr / SB3", "number"), Column("float32 / SB3", "number"), Column("of the bare passes", "number"),
    )  # fmt: skip
    rows = tuple(_row(case) for case in values["cases"])
    first = values["cases"][0] if values["cases"] else {"precision": NOTHING}
    note = (
        "Both with the same threads of torch, network, weights, hyperparameters and environments; phr "
        f"computes in {first['precision']}, SB3 in float32. SB3 steps by whatever was quicker for it. The bare passes are "
        "the forward passes, the bootstrap pass and the update without an environment. The learning rate is next to "
        "nothing, so that fresh weights stay fresh (long episodes) and trained ones trained (short ones). Our Atari games "
        "are stepped by ale-py's own threads."
    )
    note = " ".join([note, *(f"Left out: {text}." for text in values["left_out"])])
    return [Table("A2C", columns, rows, note=note, grouped=True)]


def _row(case: Mapping[str, Any]) -> tuple[str, ...]:
    rates, ratios = case["steps_per_second"], case["ratios"]
    ours = rates[OURS]
    layers = "-".join(str(n) for n in case["channels"])
    return (
        env_name(case["env_id"]),
        f"{layers} / {case['width']}",
        "fresh" if case["weights"] is None else "trained",
        str(case["threads"]),
        number(ours["median"], 0),
        interval((ours["low"], ours["high"])),
        number(rates[OURS_FLOAT32]["median"], 0) if OURS_FLOAT32 in rates else NOTHING,
        number(rates[PEER]["median"], 0),
        case["peer_stepping"],
        times(_median(ratios, "against_sb3")),
        times(_median(ratios, "float32_against_sb3")),
        number(_median(ratios, "of_bare_passes"), 2),
    )


def _median(ratios: Mapping[str, Any], name: str) -> float | None:
    found = ratios.get(name)
    return None if found is None else float(found["median"])
