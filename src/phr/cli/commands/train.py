"""`phr train`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import phr
from phr.cli.display import ProgressBar, say, say_where
from phr.cli.words import EnvId, Folder, OptionalCount, OptionalModel, OptionalNumber, Resume, Seed, Threads


@dataclass(frozen=True, kw_only=True)
class Train:
    """Train a teacher by A2C (stage 1)."""

    env_id: EnvId
    """A Gymnasium id, or module:factory."""
    out: Folder
    """The run's folder."""
    start: OptionalModel = None
    """A teacher to train further: a run directory or zoo:NAME. Begins with a third of the learning rate."""
    total_timesteps: OptionalCount = None
    """Environment steps. Settings not given are those that measured best; the run's config.json tells them."""
    n_envs: OptionalCount = None
    """Environments stepped side by side."""
    n_steps: OptionalCount = None
    """Steps of each between two updates."""
    learning_rate: OptionalNumber = None
    """Learning rate at the start of training; it falls linearly."""
    ent_coef: OptionalNumber = None
    """Weight of the entropy bonus."""
    gamma: OptionalNumber = None
    """Discount per step."""
    seed: Seed = 0
    resume: Resume = False
    threads: Threads = 1

    goes_on: ClassVar[str] = "--resume goes on from the last checkpoint, or begins where there was none yet"

    def run(self) -> None:
        """Train, and say where the model is."""
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
                total_timesteps=self.total_timesteps,
                n_envs=self.n_envs,
                n_steps=self.n_steps,
                learning_rate=self.learning_rate,
                ent_coef=self.ent_coef,
                gamma=self.gamma,
            )
        say(f"teacher: greedy return {model.manifest.notes['greedy_return']:.4f} in {model.env_id}")
        say_where(model)
