"""Compare the speed of two checkouts of phr on one model, in alternation.

.venv/bin/python benchmarks/two_checkouts.py --before ../phr-before --model crossing.onnx
.venv/bin/python benchmarks/two_checkouts.py --before ../phr-before --model zoo:crossing-student

An exported file runs on onnxruntime; zoo:NAME and a run directory run on torch. Each checkout needs its own .venv. One
program in each stays running; they take turns, and who goes first alternates. Turns are short and many, because the speed
of a shared machine drifts. Each loads the model again, because where it lies in memory changes its speed by about 1 %. The
ratio is the speed after over the speed before, from the medians: below 1, this checkout is slower.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import tyro

CHECKOUT = Path(__file__).resolve().parents[1]

# Runs in both checkouts, so it uses only what both have. The time bound is not measured.
PROGRAM = """
import sys
import numpy as np
from phr.acting.agent import HorizonAgent
from phr.envs.registry import make_env
from phr.evaluation.timed import Limit, timed_run
from phr.teachers.references import resolve
env = make_env(resolve(sys.argv[1]).env_id)
for line in sys.stdin:
    commitment, steps = map(int, line.split())
    agent = HorizonAgent(resolve(sys.argv[1]).planner, commitment)
    for limit in (Limit(steps=200), Limit(steps=steps)):  # the first warms up
        run = timed_run(env, agent, limit, seed=1, rng=np.random.default_rng(0))
    print(1e5 * run.seconds_wall / run.steps, flush=True)
"""


@dataclass(frozen=True, kw_only=True)
class Options:
    before: Path  # the other checkout
    model: str  # what phr export wrote, zoo:NAME or a run directory
    commitments: tuple[int, ...] = (1, 4, 8, 16)
    steps: int = 5_000  # of one turn: half a second at n = 1
    turns: int = 41


class Checkout:
    """The measuring program in one checkout's own environment."""

    def __init__(self, root: Path, model: str, stack: ExitStack) -> None:
        python = root / ".venv/bin/python"
        if not python.exists():
            sys.exit(f"{root}: no .venv there; make .venv in that checkout first")
        self.root = root
        self._process = stack.enter_context(
            subprocess.Popen(
                [str(python), "-c", PROGRAM, str(Path(model).resolve()) if Path(model).exists() else model],
                cwd=root,
                env={**os.environ, "OMP_NUM_THREADS": "1"},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
        )

    def seconds(self, commitment: int, steps: int) -> float:
        """Seconds of 100,000 steps, from one timed run."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{commitment} {steps}\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        if not answer:
            sys.exit(f"{self.root}: the run at n = {commitment} failed; its error stands above")
        return float(answer)


def main(options: Options) -> None:
    print(f"{options.model}, {options.turns} turns of {options.steps:,} steps each\n")
    print("| n | before, s / 100k | after, s / 100k | ratio of medians |\n| ---: | ---: | ---: | ---: |")
    with ExitStack() as stack:
        both = [Checkout(root, options.model, stack) for root in (options.before, CHECKOUT)]
        for checkout in both:
            checkout.seconds(4, options.steps)  # imports, caches
        for n in options.commitments:
            seconds: dict[Path, list[float]] = {checkout.root: [] for checkout in both}
            for turn in range(options.turns):
                for checkout in both[:: 1 if turn % 2 else -1]:
                    seconds[checkout.root].append(checkout.seconds(n, options.steps))
            before, after = (statistics.median(seconds[checkout.root]) for checkout in both)
            print(f"| {n} | {before:.3f} | {after:.3f} | {before / after:.3f} |", flush=True)


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
