"""Two commands on one folder, the second some seconds after the first: one works, the other is refused, nothing is mixed."""

from __future__ import annotations

import random
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks.breaking.kills import DISTILL, ENV_ID, TRAIN, Left, of_run, trained

LATEST = 20.0
"""Seconds after which the second begins, at the most."""


def commands(teacher: Path) -> dict[str, list[str]]:
    """Name → words without the folder; some take about ten seconds, some have ended when the second begins."""
    longer = ("--total-timesteps", "30000", "--n-envs", "4", "--eval-episodes", "2", "--n-evaluations", "2")
    return {
        "train": ["train", "--env-id", ENV_ID, *TRAIN],
        "train longer": ["train", "--env-id", ENV_ID, *longer],
        "train, seed 1": ["train", "--env-id", ENV_ID, *longer, "--seed", "1"],
        "distill": ["distill", str(teacher), *DISTILL],
        "distill longer": ["distill", str(teacher), *DISTILL, "--n-updates", "2000"],
    }


def _begun(words: Sequence[str], out: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "phr", *words, "--out", str(out)]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


def tried(folder: Path, n_pairs: int, seed: int) -> Iterator[tuple[str, str, str]]:
    """Run so many pairs; yield their names, whether both ran at once, and what was wrong."""
    shutil.rmtree(folder, ignore_errors=True)
    teacher, _ = trained(folder)
    words, expected, rng = commands(teacher), dict[str, Left](), random.Random(seed)
    for number in range(n_pairs):
        first, second = rng.choice(list(words)), rng.choice(list(words))
        for name in (first, second):
            if name not in expected:
                alone = folder / f"alone-{len(expected)}"
                if _begun(words[name], alone).wait():
                    raise SystemExit(f"{name} failed")
                expected[name] = of_run(alone)
        out = folder / f"pair-{number}"
        one = _begun(words[first], out)
        time.sleep(rng.uniform(0, LATEST) if rng.random() < 0.5 else rng.uniform(0, 3))
        at_once = one.poll() is None
        other = _begun(words[second], out)
        lines = [(process.communicate()[1].splitlines() or [""])[-1] for process in (one, other)]
        codes = (one.returncode, other.returncode)
        winner = codes.index(0) if 0 in codes else 0
        wrong = ""
        if sorted(codes) != [0, 2]:
            wrong = f"exit codes {codes}: {lines}"
        elif not any(why in lines[1 - winner] for why in ("is being written by process", "holds ")):
            wrong = f"the refused one wrote {lines[1 - winner]!r}"
        elif (found := of_run(out)) != expected[(first, second)[winner]]:
            wrong = f"the result is not that of {(first, second)[winner]} alone: {found}"
        yield f"{first} / {second}", "at once" if at_once else "one after the other", wrong
