"""Commands that are killed before each of their changes to files, or at random, and continued; signals that end them."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

from torch.utils.tensorboard import SummaryWriter

from benchmarks.breaking.forks import in_a_fork
from phr.cli import commands
from phr.cli import main as phr
from phr.files import read_json, read_jsonl, sha256_of

ENV_ID = "CartPole-v1"
TRAIN = ("--total-timesteps", "128", "--n-envs", "4", "--eval-episodes", "2", "--n-evaluations", "2")
DISTILL = (
    *("--horizon", "2", "--n-episodes", "8", "--n-updates", "3", "--batch-size", "16", "--prefix", "0:0", "--width", "8"),
    *("--refine", "1", "--refine-windows", "64", "--refine-updates", "2", "--curve-episodes", "2", "--n-envs", "4"),
)
OFTEN = ("--checkpoint-seconds", "1e-6")
"""A checkpoint after every update."""
CHANGES = {"os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate", "os.chmod"}
WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT


@dataclass(frozen=True)
class Work:
    """A command that writes a folder."""

    name: str
    words: tuple[str, ...]
    """Without the folder."""
    endless: tuple[str, ...] = ()
    """What makes it run until it is stopped."""

    def command(self, folder: Path) -> list[str]:
        """What is typed."""
        return [*self.words, "--out", str(folder)]


_PRELOADED = SummaryWriter, commands
"""So that no fork has to import them."""


def killed_at(number: int, words: Sequence[str], folder: Path) -> int:
    """The exit code of a command that is killed just before its change of this number in a folder; 0 if it has fewer."""
    seen = 0

    def watch(event: str, values: tuple[Any, ...]) -> None:
        nonlocal seen
        is_change = event in CHANGES or (event == "open" and isinstance(values[2], int) and values[2] & WRITES)
        if is_change and str(values[0]).startswith(str(folder)):
            seen += 1
            if seen == number:
                os.kill(os.getpid(), signal.SIGKILL)

    def work() -> int:
        sys.addaudithook(watch)
        return phr(list(words))

    return in_a_fork(work)


def left_in(folder: Path) -> dict[str, Any]:
    """What matters in a finished run's folder: names, weights, rows of metrics."""
    names = {str(path.relative_to(folder)) for path in folder.rglob("*") if "tfevents" not in path.name}
    rows = [
        {name: value for name, value in row.items() if "seconds" not in name} for row in read_jsonl(folder / "metrics.jsonl")
    ]
    notes = read_json(folder / "manifest.json")["notes"]
    return {"names": names, "weights": sha256_of(folder / "model.safetensors"), "metrics": rows, "curve": notes.get("curve")}


def continued(work: Work, folder: Path) -> int:
    """Continue a killed command: by the record in its folder, else by typing it again."""
    has_record = (folder / "command.json").exists()
    words = ["resume", str(folder)] if has_record else [*work.command(folder), "--resume"]
    return in_a_fork(lambda: phr(words))


def kills(work: Work, folder: Path, *, every: int = 1) -> Iterator[tuple[int, str]]:
    """Kill a command at each of its changes, or some; yield the number, and what was wrong after it was continued."""
    undisturbed = folder / "whole"
    if code := in_a_fork(lambda: phr(work.command(undisturbed))):
        raise SystemExit(f"{work.name} ended with {code}")
    expected = left_in(undisturbed)
    for number in count(1, every):
        out = folder / "killed"
        shutil.rmtree(out, ignore_errors=True)
        code = killed_at(number, work.command(out), out)
        if code == 0:
            return
        yield number, wrong_after(work, out, expected, code)
        if code != -signal.SIGKILL:
            return


def wrong_after(work: Work, out: Path, expected: dict[str, Any], code: int) -> str:
    """Continue what was killed; the first difference from an undisturbed command, or an empty text."""
    if code != -signal.SIGKILL:
        return f"ended with {code} before it was killed"
    if code := continued(work, out):
        return f"continuing it ended with {code}"
    found = left_in(out)
    return next((f"{name}: {found[name]}, not {expected[name]}" for name in expected if found[name] != expected[name]), "")


def random_kills(work: Work, folder: Path, n_kills: int, seed: int) -> Iterator[tuple[int, str]]:
    """Kill a command after a time, drawn at random; yield as `kills` does."""
    rng, whole = random.Random(seed), folder / "whole"
    began = time.monotonic()
    subprocess.run([sys.executable, "-m", "phr", *work.command(whole)], capture_output=True, check=True)
    takes, expected = time.monotonic() - began, left_in(whole)
    for number in range(1, n_kills + 1):
        out = folder / "killed"
        shutil.rmtree(out, ignore_errors=True)
        words = work.command(out)
        with subprocess.Popen(
            [sys.executable, "-m", "phr", *words], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        ) as one:
            time.sleep(rng.uniform(0, takes))
            one.kill()
        if one.returncode == 0:
            yield number, "" if left_in(out) == expected else "differs without a kill"
        else:
            yield number, wrong_after(work, out, expected, one.returncode)


def signalled(words: Sequence[str], number: signal.Signals, wait: Callable[[], bool]) -> tuple[int, float, str]:
    """Send a signal once `wait` is over: exit code, seconds until it ended, the last line that it wrote."""
    command = [sys.executable, "-m", "phr", *words]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        while not wait() and process.poll() is None:
            time.sleep(0.05)
        began = time.monotonic()
        process.send_signal(number)
        _, err = process.communicate(timeout=120)
    return process.returncode, time.monotonic() - began, (err.strip().splitlines() or [""])[-1]


def works(folder: Path) -> list[Work]:
    """The commands, with a teacher to learn from."""
    teacher = folder / "teacher"
    if not (teacher / "COMPLETE").exists():
        in_a_fork(
            lambda: phr(["train", "--env-id", ENV_ID, "--total-timesteps", "20000", "--out", str(teacher), "--resume"])
        )
    return [
        Work("train", ("train", "--env-id", ENV_ID, *TRAIN, *OFTEN), ("--total-timesteps", "100000000")),
        Work("distill", ("distill", str(teacher), *DISTILL, *OFTEN), ("--n-updates", "100000000")),
    ]


def killed_after_checkpoints(folder: Path, work: Callable[[], object], n_checkpoints: int = 2) -> None:
    """Do some work in a fork that is killed before it replaces its checkpoint once more than so often."""

    def watched() -> int:
        seen = 0

        def watch(event: str, values: tuple[Any, ...]) -> None:
            nonlocal seen
            if event == "os.rename" and str(values[1]).endswith("latest.safetensors"):
                seen += 1
                if seen > n_checkpoints:
                    os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(watch)
        work()
        return 0

    if in_a_fork(watched) != -signal.SIGKILL or not (folder / "checkpoint" / "latest.safetensors").exists():
        raise SystemExit(f"{folder} was not left with a checkpoint")
