"""`phr distill`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import phr
from phr.cli.display import ProgressBar, say, say_where
from phr.cli.words import (
    Activation,
    Count,
    Episodes,
    Flag,
    Folder,
    Normalize,
    OptionalCount,
    OptionalEnvId,
    OptionalFile,
    OptionalNumber,
    Resume,
    Seed,
    Teacher,
    Threads,
    word,
)

LossName = Literal[
    "squared", "squared-logits", "kl", "forward-kl", "cross-entropy", "gaussian",
    "squared_logits", "forward_kl", "cross_entropy",
]  # fmt: skip
"""Python's names too."""
TrunkMode = Literal["shared", "anchored", "frozen", "own"]


@dataclass(frozen=True, kw_only=True)
class Distill:
    """Distil a teacher into a student that looks once and acts n times."""

    horizon: Count
    """n: actions to predict from one look."""
    out: Folder
    """The run's folder."""
    teacher: Teacher = None
    """A run directory, zoo:NAME, a Stable-Baselines3 FILE.zip, FILE.onnx, module:factory or oracle; none: --experience."""
    loss: Annotated[LossName | None, word("LOSS")] = None
    """cross-entropy (default), kl, forward-kl, squared, squared-logits; continuous: squared (default), gaussian."""
    window_stride: OptionalCount = None
    """α: every α-th window of a trajectory is kept, the first always."""
    loss_weight: OptionalNumber = None
    """λ: scales the loss."""
    trunk_mode: Annotated[TrunkMode | None, word("MODE")] = None
    """What happens to trunk and head 1: anchored (default), shared, frozen, or own."""
    width: OptionalCount = None
    """Units of a fresh trunk, convolutions in proportion; by default the student starts from the teacher's own."""
    pad: Annotated[Literal["yes", "no"], word("yes|no")] = "yes"
    """Keep windows that run past an episode's end (default yes; no is the paper's strict cut)."""
    sample_labels: Flag = False
    """Let the teacher sample while it is recorded."""
    joint: Flag = False
    """Go on training head 1 by A2C meanwhile (Eq. 12)."""
    n_updates: OptionalCount = None
    """Gradient steps. Settings not given are those that measured best; the run's config.json tells them."""
    n_episodes: OptionalCount = None
    """Episodes of the teacher to record."""
    experience: Episodes = None
    """Episodes of the same teacher (.npz), to use instead of recording new ones; without a teacher also minari:NAME."""
    save_experience: OptionalFile = None
    """Keep the recorded episodes in this file (.npz)."""
    refine: Annotated[int | None, word("ROUNDS")] = None
    """Rounds of training where the student's plans led (default 4 for students over numbers, else 0)."""
    refine_windows: OptionalCount = None
    """States that each round plays the student to."""
    refine_updates: OptionalCount = None
    """Gradient steps of each round."""
    env_id: OptionalEnvId = None
    """Where to record it; the teacher's own environment by default. Needed for policies of others, and if it is code."""
    activation: Activation = None
    normalize: Normalize = None
    seed: Seed = 0
    resume: Resume = False
    threads: Threads = 1

    goes_on: ClassVar[str] = (
        "--resume goes on from the last checkpoint, or begins where there was none yet; episodes are recorded anew"
    )

    def run(self) -> None:
        """Distil, and say where the model is."""
        with ProgressBar() as bar:
            model = phr.distill(
                self.teacher,
                horizon=self.horizon,
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
                loss=self.loss,
                window_stride=self.window_stride,
                loss_weight=self.loss_weight,
                trunk_mode=self.trunk_mode,
                width=self.width,
                pad=self.pad == "yes",
                sample_labels=self.sample_labels,
                joint=self.joint,
                n_updates=self.n_updates,
                n_episodes=self.n_episodes,
                refine=self.refine,
                refine_windows=self.refine_windows,
                refine_updates=self.refine_updates,
            )
        heads = model.manifest.notes["agreement_per_head"]
        say(f"agreement with the teacher on its own states: head 1 {heads[0]:.1%}, last head {heads[-1]:.1%}")
        teacher = model.manifest.notes.get("teacher_parameters")
        beside = "" if teacher is None else f", teacher {teacher:,}"
        say(f"parameters of one look: student {model.network.n_parameters:,}{beside}")
        say_where(model)
