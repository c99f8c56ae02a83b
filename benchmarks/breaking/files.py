"""Files of every kind that phr reads, damaged by accident or forged with corrected hashes, and what reading them gave."""

from __future__ import annotations

import hashlib
import json
import random
import shutil
import struct
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import onnx as onnx_library
import torch
from safetensors.torch import load, save
from torch import nn

import phr
from benchmarks.breaking.damage import (
    Damage,
    forged,
    forged_json,
    forged_lines,
    forged_pickle,
    forged_tensors,
    forged_words,
    spoiled,
)
from benchmarks.breaking.forks import ended
from benchmarks.breaking.kills import killed_after_checkpoints, small_study
from phr.acting import HorizonAgent
from phr.acting.onnx_file import _HASH_KEY, _MANIFEST_KEY, _entry
from phr.acting.runtime import load_runtime
from phr.evaluation.tuning import RetentionCurve
from phr.experience import load_experience
from phr.files import read_json, write_json
from phr.plan import Planner
from phr.storage.owner import recorded_command
from phr.storage.tensors import _sha256
from phr_studies.films import Film, film_card
from phr_studies.reproduce.profiles import Profile, StudyLayout
from phr_studies.reproduce.results import Results
from phr_studies.reproduce.study import reproduce

ENV_ID = "CartPole-v1"
OBS = np.random.default_rng(0).normal(0, 0.5, (16, 4)).astype(np.float32)
"""What every model is shown."""
TRAIN: dict[str, Any] = {"total_timesteps": 128, "n_envs": 4, "n_steps": 8, "eval_episodes": 1, "n_evaluations": 2}


@dataclass(frozen=True)
class Kind:
    """A kind of file: one in a folder, how it is read, and how it is broken."""

    name: str
    folder: Path
    file: str
    read: Callable[[Path], Any]
    """Reads the folder; equal values mean equal results."""
    ways: Mapping[str, Damage]
    correct: Callable[[Path], None] | None = None
    """Corrects the hashes after a forgery."""
    has_checksum: bool = True
    """Whether its format shows an accident; in others a changed number is only another number."""


def acts(planner: Planner) -> bytes:
    """What a planner does with the observations: the actions of an agent that looks at each, and its outputs."""
    agent = HorizonAgent(planner)
    horizon = planner.horizon
    actions = [agent.act(obs if agent.needs_observation else None) for obs in np.repeat(OBS, horizon, axis=0)]
    outputs: Any = getattr(planner.plan(OBS), "outputs", np.zeros(0))
    if not np.isfinite(np.asarray(outputs, np.float64)).all():
        raise AssertionError("an agent acted upon NaN or infinity")
    return hashlib.sha256(np.array(actions, np.float64).tobytes() + outputs.tobytes()).digest()


def read_model(folder: Path) -> bytes:
    """What `phr evaluate RUN` and the ends of other commands read."""
    model = phr.load(folder)
    if curve := model.manifest.notes.get("curve"):
        _ = str(RetentionCurve.from_json(curve)), RetentionCurve.from_json(curve).warning
    return acts(model.planner)


def read_episodes(folder: Path) -> bytes:
    """What `--experience` reads."""
    found = load_experience(folder / "episodes.npz")
    parts = [found.joined(name).tobytes() for name in ("obs", "actions", "teacher_logits", "rewards")]
    return hashlib.sha256(b"".join(parts) + repr((found.lengths.tolist(), found.env_id, found.origin)).encode()).digest()


def read_study(folder: Path) -> str:
    """What `phr report STUDY` reads, without drawing."""
    profile = Profile.of_study(folder)
    results = Results(profile, StudyLayout(folder))
    points = results.points()
    found = [points, results.machines, results.scores(points)]
    for env_id in profile.env_ids:
        found += [results.optimum(env_id), results.ablations(env_id)]
        for n in profile.horizons:
            found += [results.path(env_id, n), read_json(film_card(results.layout.film(env_id, n)), Film).caption()]
            found += [results.starts(env_id, loss, n) for loss in profile.losses]
    return repr(found)


def resumed(folder: Path) -> str:
    """The weights of a training that is continued."""
    torch.set_num_threads(1)
    return phr.train_teacher(ENV_ID, out=folder, resume=True, seed=0, **TRAIN).sha256


def teacher_of(name: str, env_id: str | None = ENV_ID) -> Callable[[Path], bytes]:
    """A reader of a policy that another program wrote."""
    return lambda folder: acts(phr.load_teacher(str(folder / name), env_id=env_id))


def hashes_of_manifest(folder: Path) -> None:
    """Write the hashes of the other files into a manifest again."""
    path = folder / "manifest.json"
    values = json.loads(path.read_text())
    values["files"] = {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in values["files"]}
    path.write_text(json.dumps(values))


def hash_of_episodes(folder: Path) -> None:
    """Write the hash of recorded episodes into their description again."""
    path = folder / "episodes.json"
    values = json.loads(path.read_text())
    values["sha256"] = hashlib.sha256((folder / "episodes.npz").read_bytes()).hexdigest()
    path.write_text(json.dumps(values))


def sealed(graph: bytes, manifest: bytes) -> bytes:
    """An exported file with its last entries made again."""
    data = graph + _entry(_MANIFEST_KEY, manifest.decode(errors="surrogateescape").encode(errors="replace").decode())
    return data + _entry(_HASH_KEY, hashlib.sha256(data).hexdigest())


def forged_onnx(graph: bytes, manifest: bytes) -> Damage:
    """Another graph, or another manifest, below the right hash."""

    def forge(_: bytes, rng: random.Random) -> bytes:
        if rng.random() < 0.5:
            return sealed(spoiled(graph, rng), manifest)
        return sealed(graph, forged_json(manifest, rng))

    return forge


def forged_checkpoint(data: bytes, rng: random.Random) -> bytes:
    """Another state of a training, or other tensors, below the right hash."""
    length = struct.unpack("<Q", data[:8])[0]
    state = json.loads(json.loads(data[8 : 8 + length])["__metadata__"]["state"])["value"]
    tensors = load(data)
    if rng.random() < 0.6:
        state = json.loads(forged_json(json.dumps(state).encode(), rng))
    else:
        name = rng.choice(sorted(tensors))
        tensor = tensors.pop(name)
        other = (
            tensor[:0] if tensor.ndim else tensor[None], tensor.double(), tensor.flatten()[None], tensor.to(torch.int32),
            torch.full_like(tensor, 1e30), torch.full_like(tensor.float(), float("nan")),
        )  # fmt: skip
        at = rng.randrange(len(other) + 2)
        tensors |= {name: other[at]} if at < len(other) else {name + "x": tensor} if at == len(other) else {}
    text = json.dumps({"sha256": _sha256(tensors, state), "value": state}, sort_keys=True)
    return save({key: value.contiguous() for key, value in tensors.items()}, metadata={"state": text})


def kinds(folder: Path) -> list[Kind]:
    """One of each, written into a folder."""
    if not (folder / "READY").exists():
        _make(folder)
    episodes, zoo = folder / "episodes" / "episodes.npz", folder / "zoo" / "ppo" / f"{ENV_ID}_1"
    spoil, run = {"damaged": spoiled}, folder / "student"
    onnx = (folder / "onnx" / "student.onnx").read_bytes()
    graph, manifest = _parts(onnx)
    found = [
        Kind("manifest", run, "manifest.json", read_model, {"forged": forged_json}, hashes_of_manifest, has_checksum=False),
        Kind("manifest", run, "manifest.json", read_model, spoil, has_checksum=False),
        Kind("weights", run, "model.safetensors", read_model, spoil),
        Kind("weights", run, "model.safetensors", read_model, {"forged": forged_tensors}, hashes_of_manifest),
        Kind("settings of a run", run, "config.json", read_model, spoil),
        Kind("exported file", folder / "onnx", "student.onnx", lambda at: acts(load_runtime(at / "student.onnx")),
             spoil | {"forged": forged_onnx(graph, manifest)}),
        Kind("third-party graph", folder / "graph", "policy.onnx", teacher_of("policy.onnx"), spoil, has_checksum=False),
        Kind("episodes", episodes.parent, "episodes.npz", read_episodes, spoil),
        Kind("episodes", episodes.parent, "episodes.npz", read_episodes, {"forged": forged}, hash_of_episodes),
        Kind("description of episodes", episodes.parent, "episodes.json", read_episodes,
             spoil | {"forged": forged_json}, has_checksum=False),
        Kind("checkpoint", folder / "stopped", "checkpoint/latest.safetensors", resumed,
             spoil | {"forged": forged_checkpoint}),
        Kind("metrics", folder / "stopped", "metrics.jsonl", resumed, spoil | {"forged": forged_lines}),
        Kind("record of a command", run, "command.json", recorded_command, spoil | {"forged": forged_json},
             has_checksum=False),
        Kind("SB3 file", zoo, f"{ENV_ID}.zip", teacher_of("", None), spoil | {"forged": forged}),
        Kind("statistics", zoo, f"{ENV_ID}/vecnormalize.pkl", teacher_of("", None),
             spoil | {"forged": forged_pickle}, has_checksum=False),
        Kind("settings of the zoo", zoo, f"{ENV_ID}/args.yml", teacher_of("", None),
             spoil | {"forged": forged_words}, has_checksum=False),
        Kind("settings of the zoo", zoo, f"{ENV_ID}/config.yml", teacher_of("", None),
             spoil | {"forged": forged_words}, has_checksum=False),
        Kind("evaluations of the zoo", zoo, "evaluations.npz", teacher_of("", None), spoil | {"forged": forged}),
        Kind("CleanRL file", folder / "cleanrl", "ppo.cleanrl_model", teacher_of("ppo.cleanrl_model"),
             spoil | {"forged": forged}),
    ]  # fmt: skip
    study = folder / "study"
    for path in sorted(study.rglob("*.json")):
        if not {"models", "experience"} & set(path.relative_to(study).parts) and path.name != "command.json":
            ways = spoil | {"forged": forged_json}
            found.append(Kind("study", study, str(path.relative_to(study)), read_study, ways, has_checksum=False))
    return found


def _make(folder: Path) -> None:
    """Write one of each."""
    shutil.rmtree(folder, ignore_errors=True)
    teacher = phr.train_teacher(ENV_ID, out=folder / "teacher", seed=0, **TRAIN)
    settings: dict[str, Any] = {
        "n_episodes": 8,
        "n_updates": 3,
        "batch_size": 16,
        "prefix": (0, 0),
        "refine": 0,
    }
    episodes = folder / "episodes" / "episodes.npz"
    distilled = phr.distill(
        teacher, horizon=3, out=folder / "student", seed=0, save_experience=episodes, curve_episodes=4, **settings
    )
    (folder / "onnx").mkdir()
    phr.export_onnx(distilled, folder / "onnx" / "student.onnx")
    _stopped(folder / "stopped")
    _study(folder / "study")
    _zoo(folder / "zoo" / "ppo" / f"{ENV_ID}_1")
    _cleanrl(folder / "cleanrl")
    (folder / "graph").mkdir()
    (folder / "graph" / "policy.onnx").write_bytes(_foreign(folder / "graph"))
    write_json(folder / "student" / "command.json", {"words": ["distill", "teacher", "--horizon", "3"], "folder": "/"})
    (folder / "READY").touch()


def _stopped(folder: Path) -> None:
    """A training that was killed after a checkpoint."""
    killed_after_checkpoints(folder, lambda: phr.train_teacher(ENV_ID, out=folder, seed=0, checkpoint_seconds=1e-6, **TRAIN))


def _study(folder: Path) -> None:
    reproduce(small_study(), out=folder)


def _zoo(folder: Path) -> Path:
    """A run folder as RL Baselines3 Zoo writes it."""
    from stable_baselines3 import PPO
    from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

    inner = folder / ENV_ID
    inner.mkdir(parents=True)
    env = VecNormalize(DummyVecEnv([lambda: gymnasium.make(ENV_ID)]))
    PPO("MlpPolicy", env, n_steps=64, seed=0, policy_kwargs={"net_arch": [16]}, device="cpu").learn(64).save(folder / ENV_ID)
    env.save(str(inner / "vecnormalize.pkl"))
    (inner / "args.yml").write_text(
        "!!python/object/apply:collections.OrderedDict\n- - - algo\n    - ppo\n  - - env\n    - CartPole-v1\n"
        "  - - env_kwargs\n    - null\n  - - seed\n    - 0\n"
    )
    (inner / "config.yml").write_text(
        "!!python/object/apply:collections.OrderedDict\n- - - n_timesteps\n    - 100000.0\n  - - normalize\n    - true\n"
        "  - - policy\n    - MlpPolicy\n  - - env_wrapper\n    - null\n  - - frame_stack\n    - null\n"
    )
    np.savez(folder / "evaluations.npz", timesteps=[10, 20], results=[[9.0, 10.0], [9.0, 9.5]], ep_lengths=[[9, 10], [9, 9]])
    return folder


def _cleanrl(folder: Path) -> None:
    """An agent of CleanRL's `ppo.py`."""
    torch.manual_seed(0)

    def layers(n_outputs: int) -> nn.Sequential:
        return nn.Sequential(nn.Linear(4, 16), nn.Tanh(), nn.Linear(16, 16), nn.Tanh(), nn.Linear(16, n_outputs))

    folder.mkdir()
    torch.save(nn.ModuleDict({"critic": layers(1), "actor": layers(2)}).state_dict(), folder / "ppo.cleanrl_model")


def _foreign(folder: Path) -> bytes:
    """A policy of two layers as others export it."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 2))
    torch.onnx.export(network, (torch.zeros(1, 4),), folder / "made.onnx", dynamo=True, external_data=False)
    data = (folder / "made.onnx").read_bytes()
    (folder / "made.onnx").unlink()
    return data


def _parts(onnx: bytes) -> tuple[bytes, bytes]:
    """The graph of an exported file, and its manifest."""
    model = onnx_library.load_model_from_string(onnx)
    manifest = next(each.value for each in model.metadata_props if each.key == _MANIFEST_KEY).encode()
    ending = _entry(_MANIFEST_KEY, manifest.decode()) + onnx[-len(_entry(_HASH_KEY, "0" * 64)) :]
    return onnx.removesuffix(ending), manifest


@dataclass
class Counted:
    """What came of the files of one kind, broken in one way."""

    kind: str
    way: str
    ends: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)


def broken(kind: Kind, way: str, seed: int, place: Path) -> tuple[str, str]:
    """Break one file of a kind and read it: how it ended, and what was wrong about that."""
    shutil.rmtree(place, ignore_errors=True)
    shutil.copytree(kind.folder, place, symlinks=True)
    path, rng = place / kind.file, random.Random(f"{kind.name} {kind.file} {way} {seed}")
    before = path.read_bytes()
    after = kind.ways[way](before, rng)
    path.write_bytes(after)
    if kind.correct is not None:
        with suppress(ValueError, KeyError, TypeError, AttributeError, OSError):  # the damage may leave nothing to correct
            kind.correct(place)
    end = ended(lambda: kind.read(place))
    if end.wrong:
        return "wrong", end.wrong
    if end.refused:
        return "refused", ""
    if end.value == _undamaged(kind, place):
        return "same", ""
    if way == "damaged" and kind.has_checksum:
        return "wrong", f"other results without a word: {len(before):,} bytes became {len(after):,}"
    return "other", ""


_KNOWN: dict[tuple[str, Path, str], Any] = {}


def _undamaged(kind: Kind, place: Path) -> Any:
    """What the sound file gives."""
    key = kind.name, kind.folder, kind.file
    if key not in _KNOWN:
        shutil.rmtree(place, ignore_errors=True)
        shutil.copytree(kind.folder, place, symlinks=True)
        end = ended(lambda: kind.read(place), seconds=60)
        if end.wrong or end.refused:
            raise SystemExit(f"{kind.name}, {kind.file}: a sound file: {end}")
        _KNOWN[key] = end.value
    return _KNOWN[key]


def measured(folder: Path, n_files: int, seed: int = 0, among: Sequence[Kind] | None = None) -> Iterator[Counted]:
    """Break about so many files, evenly among their kinds and ways."""
    chosen = kinds(folder / "sound") if among is None else among
    by_name: dict[tuple[str, str], list[Kind]] = {}
    for kind in chosen:
        _undamaged(kind, folder / "broken")
        for way in kind.ways:
            by_name.setdefault((kind.name, way), []).append(kind)
    each = -(-n_files // len(by_name))
    for (name, way), members in by_name.items():
        counted = Counted(name, way)
        for number in range(each):
            kind = members[number % len(members)]
            end, why = broken(kind, way, seed * n_files + number, folder / "broken")
            counted.ends[end] += 1
            if why:
                counted.wrong.append(f"{kind.file} {number}: {why}")
        yield counted
