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
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch.utils.tensorboard import SummaryWriter

from benchmarks.breaking.forks import in_a_fork
from phr.cli import commands
from phr.cli import main as phr
from phr.files import OWN_PREFIX, read_json, read_jsonl, sha256_of
from phr_studies import workbench
from phr_studies.reproduce import study
from phr_studies.reproduce.profiles import Profile
from phr_studies.reproduce.study import reproduce

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


Left = dict[str, Any]
"""What matters of a result, by name."""


@dataclass(frozen=True)
class Work:
    """A command that writes into a folder."""

    name: str
    words: Callable[[Path], Sequence[str]]
    """What is typed, for a folder."""
    left: Callable[[Path], Left]
    prepare: Callable[[Path], object] = lambda _folder: None
    """What the folder holds before."""
    again: Callable[[Path], Sequence[str]] | None = None
    """What is typed to continue; by default `phr resume`, or, where there is no record yet, the same with `--resume`."""
    run: Callable[[Sequence[str]], int] = phr
    every: int = 1
    """Kill at every so many changes, where all of them would take hours."""
    endless: tuple[str, ...] | None = None
    """What makes it run until it is stopped; None where nothing does."""

    def fresh(self, folder: Path) -> Path:
        """An empty folder, prepared."""
        shutil.rmtree(folder, ignore_errors=True)
        self.prepare(folder)
        return folder

    def continued(self, folder: Path) -> int:
        """The exit code of continuing what was killed."""
        if self.again is not None:
            words = self.again(folder)
        elif (folder / "command.json").exists():
            words = ["resume", str(folder)]
        else:
            words = [*self.words(folder), "--resume"]
        return in_a_fork(partial(self.run, words))


_PRELOADED = SummaryWriter, commands
"""So that no fork has to import them."""


def before_changes(folder: Path, act: Callable[[str, str], None]) -> None:
    """Call `act` from now on before this process changes anything in a folder: with Python's audit event, and the path."""

    def watch(event: str, values: tuple[Any, ...]) -> None:
        is_change = event in CHANGES or (event == "open" and isinstance(values[2], int) and values[2] & WRITES)
        if is_change and str(values[0]).startswith(str(folder)):
            act(event, str(values[0]))

    sys.addaudithook(watch)


def killed_at(number: int, work: Work, folder: Path) -> int:
    """The exit code of a command that is killed just before its change of this number in a folder; 0 if it has fewer."""
    changes = count(1)

    def act(_event: str, _path: str) -> None:
        if next(changes) == number:
            os.kill(os.getpid(), signal.SIGKILL)

    def watched() -> int:
        before_changes(folder, act)
        return work.run(work.words(folder))

    return in_a_fork(watched)


def of_run(folder: Path) -> Left:
    """What matters in a finished run's folder: names, weights, rows of metrics, points of TensorBoard."""
    names = {str(path.relative_to(folder)) for path in folder.rglob("*") if "tfevents" not in path.name}
    rows = [
        {name: value for name, value in row.items() if "seconds" not in name} for row in read_jsonl(folder / "metrics.jsonl")
    ]
    notes = read_json(folder / "manifest.json")["notes"]
    found = {
        "names": names,
        "weights": sha256_of(folder / "model.safetensors"),
        "metrics": rows,
        "curve": notes.get("curve"),
    }
    return found | {"points": points_of(folder / "tensorboard")}


def points_of(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """What TensorBoard shows of a run's event files: (step, value) of every scalar but the seconds."""
    shown = EventAccumulator(str(folder), size_guidance={"scalars": 0}, purge_orphaned_data=True)
    shown.Reload()
    tags = [tag for tag in shown.Tags()["scalars"] if "seconds" not in tag]
    return {tag: [(each.step, each.value) for each in shown.Scalars(tag)] for tag in tags}


def of_tuned(folder: Path) -> Left:
    """What matters after `phr tune`: the rule, what was certified of whom, names."""
    manifest, told = read_json(folder / "manifest.json"), read_json(folder / "tune.json")
    rows = [{name: row[name] for name in ("rule", "share", "episodes", "is_certified")} for row in told["candidates"]]
    names = {str(path.relative_to(folder)) for path in folder.rglob("*")}
    return {
        "names": names,
        "rule": manifest["commitment"],
        "candidates": rows,
        "weights": sha256_of(folder / "model.safetensors"),
    }


def of_search(folder: Path) -> Left:
    """What matters after `phr distill --retain`: the student that was chosen, its rule, the attempts."""
    manifest = read_json(folder / "manifest.json")
    attempts = {path.parent.name: sha256_of(path) for path in (folder / "attempts").rglob("model.safetensors")}
    left_over = [str(path) for path in folder.rglob(f"{OWN_PREFIX}*")]
    return {
        "weights": sha256_of(folder / "model.safetensors"), "rule": manifest["commitment"], "attempts": attempts,
        "left over": left_over, "fresh episodes": manifest["notes"]["tuned"]["fresh_episodes"],
    }  # fmt: skip


def of_study(folder: Path) -> Left:
    """What matters in a study's folder but its times: names, weights, results from every start, paths."""
    names = {str(path.relative_to(folder)) for path in folder.rglob("*") if "tfevents" not in path.name}
    weights = {str(path.relative_to(folder)): sha256_of(path) for path in folder.rglob("model.safetensors")}
    files = [path for part in ("starts", "paths") for path in sorted((folder / part).rglob("*.json"))]
    results = {str(path.relative_to(folder)): path.read_text() for path in files}
    return {"names": names, "weights": weights, "results": results}


def kills(work: Work, folder: Path, *, first: int = 1) -> Iterator[tuple[int, str]]:
    """Kill a command at its changes, from the `first`; yield the number, and what was wrong after it was continued."""
    expected = undisturbed(work, folder / "whole")
    for number in count(first, work.every):
        out = work.fresh(folder / "killed")
        code = killed_at(number, work, out)
        if code == 0:
            return
        yield number, wrong_after(work, out, expected, code)
        if code != -signal.SIGKILL:
            return


def undisturbed(work: Work, folder: Path) -> Left:
    """What matters after a command that is left in peace."""
    if code := in_a_fork(partial(work.run, work.words(work.fresh(folder)))):
        raise SystemExit(f"{work.name} ended with {code}")
    return work.left(folder)


def first_difference(found: Left, expected: Left) -> str:
    """The first thing that is not as it should be; an empty text if there is none."""
    return next((f"{name}: {found[name]}, not {expected[name]}" for name in expected if found[name] != expected[name]), "")


def wrong_after(work: Work, out: Path, expected: Left, code: int) -> str:
    """Continue what was killed; the first difference from an undisturbed command, or an empty text."""
    if code != -signal.SIGKILL:
        return f"ended with {code} before it was killed"
    if code := work.continued(out):
        return f"continuing it ended with {code}"
    return first_difference(work.left(out), expected)


def random_kills(work: Work, folder: Path, n_kills: int, seed: int) -> Iterator[tuple[int, str]]:
    """Kill a command after a time that is drawn at random; yield as `kills` does."""
    rng, began = random.Random(seed), time.monotonic()
    expected = undisturbed(work, folder / "whole")
    takes = time.monotonic() - began
    for number in range(1, n_kills + 1):
        out = work.fresh(folder / "killed")
        code = in_a_fork(partial(work.run, work.words(out)), kill_after=rng.uniform(0, takes))
        if code == 0:
            yield number, first_difference(work.left(out), expected)
        else:
            yield number, wrong_after(work, out, expected, code)


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


def trained(folder: Path) -> tuple[Path, Path]:
    """A teacher of two seconds and its student, in a folder that is made once."""
    teacher, student = folder / "teacher", folder / "student"
    for out, words in (
        (teacher, ["train", "--env-id", ENV_ID, "--total-timesteps", "20000"]),
        (student, ["distill", str(teacher), *DISTILL]),
    ):
        if not (out / "COMPLETE").exists() and in_a_fork(partial(phr, [*words, "--out", str(out), "--resume"])):
            raise SystemExit(f"{words[0]} failed")
    return teacher, student


def works(folder: Path) -> list[Work]:
    """The commands, with a teacher to learn from and a student to tune."""
    teacher, student = trained(folder)
    judged = ("--max-episodes", "24", "--calibration", "25", "--retain", "0.2", "--n-envs", "8")
    search = (*DISTILL[:-4], "--retain", "0.2", "--budget", "2", "--n-envs", "4")

    def tune(out: Path) -> Sequence[str]:
        return ("tune", str(out), "--teacher", str(teacher), *judged, "--json", str(out / "tune.json"))

    return [
        Work(
            "train", lambda out: ("train", "--env-id", ENV_ID, *TRAIN, *OFTEN, "--out", str(out)), of_run,
            endless=("--total-timesteps", "100000000"),
        ),
        Work(
            "distill", lambda out: ("distill", str(teacher), *DISTILL, *OFTEN, "--out", str(out)), of_run,
            endless=("--n-updates", "100000000"),
        ),
        Work("distill --retain", lambda out: ("distill", str(teacher), *search, "--out", str(out)), of_search),
        Work("tune", tune, of_tuned, prepare=lambda out: shutil.copytree(student, out), again=tune),
        Work("reproduce", lambda out: (str(out),), of_study, again=lambda out: (str(out),), run=_reproduced, every=5),
    ]  # fmt: skip


def _reproduced(words: Sequence[str]) -> int:
    """A small study, its jobs in this process, where every change of theirs is seen."""
    for module in (study, workbench):
        vars(module)["run_jobs"] = _here
    reproduce(small_study(), out=words[0])
    return 0


def _here(jobs: Sequence[workbench.Job], **_: Any) -> None:
    for job in jobs:
        if not job.is_done:
            job(workbench.Relay())


def small_study() -> Profile:
    """One grid with one start, a teacher of a second, one student."""
    return Profile(
        name="quick", env_ids=("MiniGrid-Empty-5x5-v0",), losses=("cross_entropy",), horizons=(1, 4), steps=40, runs=1,
        teacher_timesteps=8192, student_updates=4,
    )  # fmt: skip


def killed_after_checkpoints(folder: Path, work: Callable[[], object], n_checkpoints: int = 2) -> None:
    """Do some work in a fork that is killed before it replaces its checkpoint once more than so often."""

    def watched() -> int:
        renames = count(1)

        def watch(event: str, values: tuple[Any, ...]) -> None:
            is_checkpoint = event == "os.rename" and str(values[1]).endswith("latest.safetensors")
            if is_checkpoint and next(renames) > n_checkpoints:
                os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(watch)
        work()
        return 0

    if in_a_fork(watched) != -signal.SIGKILL or not (folder / "checkpoint" / "latest.safetensors").exists():
        raise SystemExit(f"{folder} was not left with a checkpoint")
