"""`phr train`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

import phr
from phr.cli.display import ProgressBar, say, say_where
from phr.cli.words import EnvId, Folder, OptionalModel, Resume, Seed, Threads


@dataclass(frozen=True, kw_only=True)
class Train:
    """Train a teacher by A2C (stage 1).

    Unset options use values tuned for the environment, recorded in config.json.

    The defaults shown here apply to environments that have no such values.
    """

    SETTINGS: ClassVar[str] = "phr.teacher.a2c:A2CConfig"

    env_id: EnvId
    """A Gymnasium id, or module:factory."""
    out: Folder
    """Folder of the run."""
    start: OptionalModel = None
    """Teacher to train further: a run folder or zoo:NAME. Starts with a third of the learning rate."""
    seed: Seed = 0
    resume: Resume = False
    threads: Threads = 1
    settings: dict[str, Any] = field(default_factory=dict)

    goes_on: ClassVar[str] = "--resume continues from the last checkpoint, or starts where there was none yet"

    def run(self) -> None:
        """Train, and print where the model is."""
        with ProgressBar() as bar:
            model = phr.train_teacher(
                self.env_id,
                out=self.out,
                start=self.start,
                seed=self.seed,
                resume=self.resume,
                threads=self.threads,
                on_progress=bar,
                say=say,
                **self.settings,
            )
        say(f"teacher: greedy return {model.manifest.notes['greedy_return']:.4f} in {model.env_id}")
        say_where(model)
