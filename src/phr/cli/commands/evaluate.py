"""`phr evaluate`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

import phr
from phr.cli.display import ProgressBar, say
from phr.cli.words import (
    Activation,
    Count,
    Flag,
    ModelReference,
    Normalize,
    OptionalCount,
    OptionalEnvId,
    OptionalFile,
    OptionalRange,
    Seed,
    Threads,
    commitment,
    word,
)
from phr.files import check_file_target, write_json
from phr.progress import Progress


@dataclass(frozen=True, kw_only=True)
class Evaluate:
    """Measure what a model collects, and how fast."""

    model: ModelReference
    """A run directory, zoo:NAME, a FILE.onnx, a Stable-Baselines3 FILE.zip, module:factory, or oracle."""
    env_id: OptionalEnvId = None
    """Where to act (default: the model's own environment). Required for third-party policies and for module:factory."""
    activation: Activation = None
    normalize: Normalize = None
    commitment: Annotated[str | None, word("N|auto")] = None
    """Actions executed per look, or auto (default: the commitment in the model's manifest, else its whole horizon)."""
    steps: OptionalCount = None
    """Steps of each run (default 100,000)."""
    episodes: OptionalCount = None
    """Whole episodes of each run, instead of steps."""
    runs: Count = 5
    """Seeded runs (default 5)."""
    horizon: OptionalCount = None
    """Actions that the oracle plans (default 1); a network's horizon is its own."""
    backend: Annotated[Literal["torch", "onnx"] | None, word("torch|onnx")] = None
    """What computes a network's plans: torch (default), or onnx, which an exported file always runs on."""
    random_prefix: OptionalRange = None
    """So many random, uncounted actions before each episode (default 0:0)."""
    sticky: Annotated[float | None, word("P")] = None
    """Atari: probability that a frame repeats the action before it; by default that of the id."""
    sample: Flag = False
    """Sample actions instead of taking the most likely ones."""
    observe_always: Flag = False
    """Build every observation, also those that no look uses."""
    no_bound: Flag = False
    """Do not measure the time bound: no run is replayed."""
    all_starts: Flag = False
    """Also play every different start once, greedily, where there are few, as in the grids."""
    seed: Seed = 0
    json: OptionalFile = None
    """Write everything to this file."""
    threads: Threads = 1

    def run(self) -> None:
        """Evaluate, print the summary, write the JSON."""
        check_file_target(self.json)
        with ProgressBar() as bar:
            bar(Progress("evaluating", 0, self.runs, "runs"))
            result = phr.evaluate(
                self.model,
                env_id=self.env_id,
                commitment=commitment(self.commitment),
                steps=self.steps,
                episodes=self.episodes,
                runs=self.runs,
                seed=self.seed,
                horizon=self.horizon,
                backend=self.backend,
                deterministic=not self.sample,
                observe_always=self.observe_always,
                random_prefix=self.random_prefix or (0, 0),
                sticky=self.sticky,
                all_starts=self.all_starts,
                bound=not self.no_bound,
                activation=self.activation,
                normalize=self.normalize,
                threads=self.threads,
                on_run=lambda index, _record: bar(Progress("evaluating", index + 1, self.runs, "runs")),
            )
        say(str(result))
        if self.json is not None:
            write_json(self.json, result.to_json())
            say(f"written to {self.json}")
