"""Compare the speed of two checkouts of phr on one model, in alternation.

.venv/bin/python benchmarks/two_checkouts.py --before ../phr-before --model crossing.onnx
.venv/bin/python benchmarks/two_checkouts.py --before ../phr-before --model zoo:crossing-student

An exported file runs on onnxruntime; zoo:NAME and a run directory run on torch. Each checkout needs its own .venv. One
program in each runs; they take turns, and who goes first alternates. Turns are short and many, because a shared machine's
speed drifts. Each loads the model again, because where it lies in memory changes its speed by about 1 %. Two starts of the
same programs still differ by several per cent, whatever the reason: so both are started again several times. One start gives
one ratio of medians, the speed after over the speed before (below 1, this checkout is slower). The table shows the median of
these ratios and their range; the speeds are medians of all turns.
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
    turns: int = 11  # of each checkout and n, after one start
    starts: int = 11


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
    roots = options.before, CHECKOUT
    ratios: dict[int, list[float]] = {n: [] for n in options.commitments}
    seconds: dict[tuple[int, Path], list[float]] = {(n, root): [] for n in options.commitments for root in roots}
    for start in range(options.starts):
        with ExitStack() as stack:
            both = [Checkout(root, options.model, stack) for root in roots]
            for checkout in both:
                checkout.seconds(4, options.steps)  # imports, caches
            for n in options.commitments:
                found: dict[Path, list[float]] = {root: [] for root in roots}
                for turn in range(start, start + options.turns):
                    for checkout in both[:: 1 if turn % 2 else -1]:
                        found[checkout.root].append(checkout.seconds(n, options.steps))
                ratios[n].append(statistics.median(found[options.before]) / statistics.median(found[CHECKOUT]))
                for root in roots:
                    seconds[n, root] += found[root]
    print(f"{options.model}, {options.starts} starts, each {options.turns} turns of {options.steps:,} steps\n")
    print("| n | before, s / 100k | after, s / 100k | ratio | range |\n| ---: | ---: | ---: | ---: | ---: |")
    for n, found_ratios in ratios.items():
        before, after = (statistics.median(seconds[n, root]) for root in roots)
        low, high = min(found_ratios), max(found_ratios)
        print(f"| {n} | {before:.3f} | {after:.3f} | {statistics.median(found_ratios):.3f} | {low:.3f} .. {high:.3f} |")


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
