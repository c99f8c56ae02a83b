"""`phr distill`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

import phr
from phr.cli.display import ProgressBar, say, say_where
from phr.cli.words import (
    Activation,
    Episodes,
    Folder,
    Normalize,
    OptionalEnvId,
    OptionalFile,
    Resume,
    Seed,
    Teacher,
    Threads,
)


@dataclass(frozen=True, kw_only=True)
class Distill:
    """Distil a teacher into a student that looks once and acts n times.

    Unset options use values tuned for the environment, recorded in config.json.

    The defaults shown here apply to environments that have no such values.
    """

    SETTINGS: ClassVar[str] = "phr.distil.config:PHRConfig"

    out: Folder
    """Folder of the run."""
    teacher: Teacher = None
    """A run folder, zoo:NAME, a Stable-Baselines3 FILE.zip, FILE.onnx, module:factory or oracle; left out: --experience."""
    env_id: OptionalEnvId = None
    """Environment to record in (default: the teacher's own). Required for third-party policies and module:factory."""
    experience: Episodes = None
    """Recorded episodes of the same teacher (.npz) instead of new ones; without a teacher also minari:NAME."""
    save_experience: OptionalFile = None
    """Keep the recorded episodes in this file (.npz)."""
    activation: Activation = None
    normalize: Normalize = None
    seed: Seed = 0
    resume: Resume = False
    threads: Threads = 1
    settings: dict[str, Any] = field(default_factory=dict)

    goes_on: ClassVar[str] = (
        "--resume continues from the last checkpoint, or starts where there was none yet; episodes are recorded again"
    )

    def run(self) -> None:
        """Distil, and print where the model is."""
        with ProgressBar() as bar:
            model = phr.distill(
                self.teacher,
                out=self.out,
                env_id=self.env_id,
                seed=self.seed,
                resume=self.resume,
                experience=self.experience,
                save_experience=self.save_experience,
                activation=self.activation,
                normalize=self.normalize,
                threads=self.threads,
                on_progress=bar,
                say=say,
                **self.settings,
            )
        heads = model.manifest.notes["agreement_per_head"]
        say(f"agreement with the teacher on its own states: head 1 {heads[0]:.1%}, last head {heads[-1]:.1%}")
        teacher = model.manifest.notes.get("teacher_parameters")
        beside = "" if teacher is None else f", teacher {teacher:,}"
        say(f"parameters of one look: student {model.network.n_parameters:,}{beside}")
        say_where(model)
