"""Command lines at random: every command, some of its options, values that fit, values that cannot be meant."""

from __future__ import annotations

import os
import random
import re
import shutil
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from benchmarks.breaking.forks import in_a_fork, told
from benchmarks.breaking.kills import DISTILL, ENV_ID, trained
from phr.cli import main as phr
from phr.cli.commands import registered

SECONDS = 20.0
"""A command that works longer is interrupted, which has to end it, too."""

STRANGE = (
    "", "0", "-1", "1", "2", "0.5", "1e400", "nan", "-inf", "1e9", "99999999999999999999", "0x10", "1_000", "x", "True",
    "no", "../x", "../../../x", "/dev/null", "/dev/zero", "/proc/self/mem", "..", ".", "/", "missing", "missing/deep",
    "a b", "'", '"', "$(id)", "-", "--", "zoo:", "zoo:none", "zoo:../x", "hf:", "hf:a/b", "hf:../..", "minari:x", "a:b",
    "os:system", ":", "a:", "json:loads", "1:2", "2:1", "0:0", "1:x", "key=1", "key=", "=1", "a=1,a=2", "\x1b[2J",
    "\u202eabc", "ü", "x" * 5000, "file.txt", "folder", "teacher", "student", "student.onnx",
    "teacher/model.safetensors", "broken.json", "CartPole-v1", "CartPole-v99", "PongDeterministic-v4",
    "CartPole-v1?sticky=0.5", "CartPole-v1?x", "MiniGrid-Empty-5x5-v0",
)  # fmt: skip
"""Values of options and arguments."""

FEW: dict[str, list[str]] = {
    "train": ["--env-id", ENV_ID, "--total-timesteps", "64", "--n-envs", "2", "--out", "made"],
    "distill": ["teacher", *DISTILL],
    "resume": ["teacher"],
    "tune": ["student", "--max-episodes", "25", "--calibration", "25"],
    "evaluate": ["student", "--episodes", "2", "--runs", "1"],
    "export": ["student", "--out", "made.onnx"],
    "bench": ["--env-id", ENV_ID],
    "doctor": [ENV_ID, "--episodes", "2", "--steps", "20"],
    "report": ["student"],
    "push": ["student", "hf:a/b", "--license", "mit"],
    "reproduce": ["--out", "study"],
}
"""Words of each command that are sound, and little work."""


def options_of(command: str) -> list[str]:
    """The options that a command's help shows."""
    place = Path(os.environ.get("TMPDIR", "/tmp"))
    shown = told([command, "--help"], place, seconds=SECONDS).out
    return sorted(set(re.findall(r"--[a-z][a-z0-9-]+", shown)))


def line(command: str, options: list[str], rng: random.Random) -> list[str]:
    """A command line."""
    words = list(FEW.get(command, []))
    for _ in range(rng.choice((0, 1, 1, 1, 2, 3))):
        option = rng.choice([*options, "--debug", "--max-model-bytes", "--step-timeout"])
        option = option if rng.random() < 0.9 else option[: rng.randrange(2, len(option) + 1)] + rng.choice(("", "x", "-"))
        value = rng.choice(STRANGE)
        words += [[f"{option}={value}"], [option, value], [option], [option, value, value]][rng.choice((0, 1, 1, 2, 3))]
    if rng.random() < 0.3 and words:
        words[rng.randrange(len(words))] = rng.choice(STRANGE)
    if rng.random() < 0.1 and words:
        del words[rng.randrange(len(words))]
    if rng.random() < 0.1:
        rng.shuffle(words)
    return [command if rng.random() < 0.97 else rng.choice((command[:-1], command + "x", command.upper(), "")), *words]


def prepare(folder: Path) -> None:
    """The files that command lines name."""
    if (folder / "READY").exists():
        return
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    _, student = trained(folder)
    if in_a_fork(partial(phr, ["export", str(student), "--out", str(folder / "student.onnx")])):
        raise SystemExit("export failed")
    (folder / "file.txt").write_text("text")
    (folder / "broken.json").write_text("{")
    (folder / "folder").mkdir()
    (folder / "READY").touch()


def tried(folder: Path, n_lines: int, seed: int) -> Iterator[tuple[list[str], int, str]]:
    """Run so many command lines, each in a copy of the same folder; yield the words, the exit code, what was wrong."""
    os.environ |= {"HF_HUB_OFFLINE": "1", "COLUMNS": "80"}
    prepare(folder / "sound")
    names = list(registered())
    options = {name: options_of(name) for name in names}
    place = folder / "a" / "b" / "work"
    for number in range(n_lines):
        rng = random.Random(f"{seed} {number}")
        command = names[number % len(names)]
        words = line(command, options[command], rng)
        shutil.rmtree(folder / "a", ignore_errors=True)
        place.parent.mkdir(parents=True)
        shutil.copytree(folder / "sound", place)
        found = told(words, place, seconds=SECONDS)
        wrong = "" if "--debug" in words and found.code in (1, 2) else found.wrong  # which shows a traceback
        outside = [path for at in (folder, folder / "a", folder / "a" / "b") for path in at.iterdir()]
        if not wrong and (strange := [path.name for path in outside if path.name not in ("a", "b", "work", "sound")]):
            wrong = f"it wrote outside: {strange}"
        yield words, found.code, wrong
