"""Which networks are benched: the reference networks (the zoo's, or distilled on the spot), untrained ones, wider ones."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import nn

from phr.distil import Distillation, PHRConfig, student_config
from phr.envs import make_env
from phr.errors import IncompatibleModelError, UnknownModelError, UnsupportedEnvironmentError
from phr.evaluation import distinct_starts, play_all_starts
from phr.manifest import COMPLETE, Manifest, library_versions
from phr.networks import PlanNetwork, TrunkConfig, blank_network, build_network, default_trunk
from phr.progress import OnProgress, silent
from phr.storage import Model
from phr.teachers import ORACLE, ZOO_PREFIX, OraclePlanner, resolve, zoo_directory

HORIZON = 16
UNTRAINED_PREFIX = "untrained:"
REFERENCE_TRUNKS = {
    "grid": TrunkConfig(kind="grid", channels=(32, 64, 64), width=512),
    "atari": TrunkConfig(kind="atari", channels=(32, 64, 64), width=512),
}
"""By kind, so that figures can be compared with others'; on Atari the Nature network."""

REFERENCES = {
    "crossing-reference-student": "MiniGrid-SimpleCrossingS9N1-v0",
    "four-rooms-reference-student": "PHR/FourRooms-v0",
}
"""Name in the zoo → environment."""


def reference_config(env_id: str) -> PHRConfig:
    """How the reference students are distilled, in under a minute each; the bench counts the starts that they solve."""
    return student_config(env_id, HORIZON, loss="cross_entropy", n_updates=1000, batch_size=128, n_episodes=1000)


def distil_reference(env_id: str, directory: Path, *, on_progress: OnProgress = silent) -> Model:
    """Distil the search oracle into a fresh reference network; goes on where there is a part."""
    oracle = OraclePlanner(make_env(env_id).n_actions)
    config, start = reference_config(env_id), REFERENCE_TRUNKS["grid"]
    distillation = Distillation(oracle, env_id, config, start=start, teacher_name=ORACLE)
    return distillation.run(directory, resume=True, on_progress=on_progress)


def find_references(cache: Path, say: Callable[[str], None], on_progress: OnProgress = silent) -> tuple[str, ...]:
    """References of the reference students: the zoo's, else those in `cache`, distilled now where they are missing."""
    found = []
    for name, env_id in REFERENCES.items():
        directory = cache / name
        if (zoo_directory() / name / COMPLETE).exists():
            found.append(f"{ZOO_PREFIX}{name}")
            continue
        if not (directory / COMPLETE).exists():
            say(f"the zoo has no {name}: distilling one from the oracle first, untimed, into {directory}")
            distil_reference(env_id, directory, on_progress=on_progress)
        found.append(str(directory))
    return tuple(found)


def untrained(env_id: str, *, horizon: int = HORIZON, trunk: TrunkConfig | None = None, seed: int = 0) -> Model:
    """A student with random weights: it acts badly, and takes as long to do so as any other."""
    env = make_env(env_id)
    space = env.observation_space
    network = build_network(space, env.n_actions, horizon, trunk or default_trunk(space), seed=seed)
    manifest = Manifest(
        kind="student",
        env_id=env_id,
        obs_shape=space.shape,
        obs_dtype=str(space.dtype),
        n_actions=env.n_actions,
        horizon=horizon,
        network=network.config.to_json(),
        versions=library_versions("torch", "numpy", "gymnasium"),
        notes={"untrained": True},
    )
    env.close()
    return Model(network.eval().requires_grad_(False), manifest)


def bench_model(reference: str) -> Model:
    """The model of a reference: a run directory, `zoo:NAME`, or `untrained:ENV_ID`."""
    if reference.startswith(UNTRAINED_PREFIX):
        return untrained(reference.removeprefix(UNTRAINED_PREFIX))
    model = None if reference == ORACLE else resolve(reference).model
    if model is None:
        raise UnknownModelError(f"{reference} has no network to bench; give a run directory or zoo:NAME")
    return model


def solved_starts(model: Model, commitments: Sequence[int]) -> tuple[int, int] | None:
    """How many of an environment's starts a student solves at the worst of these commitments, of how many.

    None where the starts are too many to play each, or success is unknown.
    """
    env = make_env(model.env_id)
    try:
        starts = distinct_starts(env)
    except UnsupportedEnvironmentError:
        return None
    solved = [play_all_starts(model.planner, model.env_id, starts, commitment=n).n_solved for n in commitments]
    known = [n for n in solved if n is not None]
    return (min(known), len(starts)) if known and len(known) == len(solved) else None


@torch.no_grad()
def widened(network: PlanNetwork, trunk: TrunkConfig) -> PlanNetwork:
    """The network inside a wider one of the same layers; the new units change nothing, as their weights are zero."""
    old = network.config
    same = replace(trunk, channels=old.trunk.channels, width=old.trunk.width) == old.trunk
    same_layers = same and len(old.trunk.channels) == len(trunk.channels) and old.trunk.kind != "mlp"
    fits = all(a <= b for a, b in zip((*old.trunk.channels, old.trunk.width), (*trunk.channels, trunk.width), strict=False))
    if not same_layers or not fits or old.separate_first:
        raise IncompatibleModelError(f"a network of {old.trunk} has no place in one of {trunk}")
    wide = blank_network(replace(old, trunk=trunk))
    for parameter in wide.parameters():
        parameter.zero_()
    theirs = dict(network.named_parameters())
    [flat_layer] = [name for name, layer in wide.trunk.named_modules(prefix="trunk") if isinstance(layer, nn.Linear)]
    for name, parameter in wide.named_parameters():
        larger, smaller = parameter.data, theirs[name].data
        if name == f"{flat_layer}.weight":  # reads channels × places: only its channels are more
            larger = larger.view(len(larger), trunk.channels[-1], -1)
            smaller = smaller.view(len(smaller), old.trunk.channels[-1], -1)
        larger[tuple(slice(size) for size in smaller.shape)] = smaller
    return wide.eval()
