"""`phr doctor`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import phr
from phr.cli.display import ProgressBar, say, say_rows
from phr.cli.words import Activation, Count, Examined, Normalize, OptionalFile, Seed, word
from phr.files import check_file_target, write_json


@dataclass(frozen=True, kw_only=True)
class Doctor:
    """Tell what an environment is, and how long one may look away."""

    env_id: Examined
    """A Gymnasium id, or module:factory."""
    teacher: Annotated[str | None, word("T")] = None
    """Who acts there: a run directory, zoo:NAME, FILE.onnx, a Stable-Baselines3 FILE.zip, module:factory or oracle."""
    episodes: Count = 8
    """Episodes of random play, and of the teacher (default 8)."""
    steps: Count = 300
    """Most steps of each that are looked at (default 300)."""
    activation: Activation = None
    normalize: Normalize = None
    seed: Seed = 0
    json: OptionalFile = None
    """Write everything to this file."""

    def run(self) -> None:
        """Examine, print the page, write the JSON."""
        check_file_target(self.json)
        with ProgressBar() as bar:
            found = phr.doctor(
                self.env_id,
                self.teacher,
                episodes=self.episodes,
                steps=self.steps,
                activation=self.activation,
                normalize=self.normalize,
                seed=self.seed,
                on_progress=bar,
            )
        for heading, rows in found.parts():
            say_rows(heading, rows)
        say(found.advice or "with --teacher T: a first estimate of the horizon worth asking for")
        if self.json is not None:
            write_json(self.json, found.to_json())
            say(f"written to {self.json}")
