"""The words of every command. Names are those of the Python functions and settings they set."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, Protocol, runtime_checkable

import tyro

from phr import api
from phr.cli.display import ProgressBar, console, say
from phr.errors import SettingError
from phr.files import write_json
from phr.learning.driver import Progress
from phr.storage.model import Model

Resume = Annotated[bool, tyro.conf.arg(help="Go on where there is a part; do nothing where all is done.")]
Threads = Annotated[int, tyro.conf.arg(help="Threads of torch.")]
LossName = Literal["squared", "squared-logits", "kl", "forward-kl", "cross-entropy"]


@runtime_checkable
class Command(Protocol):
    """Words, parsed."""

    def run(self) -> None:
        """Carry them out."""
        ...


@dataclass(frozen=True, kw_only=True)
class Train:
    """Stage 1: train a teacher by A2C."""

    env_id: str
    """A Gymnasium id, or module:factory."""
    out: Path
    """The run's folder."""
    total_timesteps: int | None = None
    """Environment steps; by default what measured best."""
    n_envs: int | None = None
    """Environments stepped side by side."""
    n_steps: int | None = None
    """Steps of each between two updates."""
    learning_rate: float | None = None
    """At the start of training."""
    ent_coef: float | None = None
    """Weight of the entropy bonus."""
    gamma: float | None = None
    """Discount per step."""
    seed: int = 0
    """Fixes weights, environments and sampling."""
    resume: Resume = False
    threads: Threads = 1

    def run(self) -> None:
        """Train, and say where the model is."""
        with ProgressBar() as bar:
            model = api.train_teacher(
                self.env_id,
                out=self.out,
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
        _say_where(model)


@dataclass(frozen=True, kw_only=True)
class Distill:
    """Stage 2: distil a teacher into a student that looks once and plans several actions."""

    teacher: tyro.conf.Positional[str]
    """A run directory, zoo:NAME, or oracle."""
    horizon: int
    """n: actions to predict from one look."""
    out: Path
    """The run's folder."""
    loss: LossName | None = None
    """How a student row is compared with a teacher row; cross-entropy by default."""
    window_stride: int | None = None
    """α: every α-th window of a trajectory is kept, the first always."""
    loss_weight: float | None = None
    """λ: scales the loss."""
    trunk_mode: Literal["shared", "anchored", "frozen", "own"] | None = None
    """What happens to trunk and head 1; anchored by default."""
    pad: Literal["yes", "no"] = "yes"
    """Keep windows that run past an episode's end (no: the paper's strict cut)."""
    sample_labels: bool = False
    """Let the teacher sample while it is recorded."""
    joint: bool = False
    """Go on training head 1 by A2C meanwhile (Eq. 12)."""
    n_updates: int | None = None
    """Gradient steps."""
    n_episodes: int | None = None
    """Episodes of the teacher to record."""
    experience: Path | None = None
    """Recorded episodes (.npz) to use instead."""
    save_experience: Path | None = None
    """Keep the recorded episodes in this file (.npz)."""
    env_id: str | None = None
    """Where; the teacher's own environment by default."""
    seed: int = 0
    """Fixes starts and batches."""
    resume: Resume = False
    threads: Threads = 1

    def run(self) -> None:
        """Distil, and say where the model is."""
        with ProgressBar() as bar:
            model = api.distill(
                self.teacher,
                horizon=self.horizon,
                out=self.out,
                env_id=self.env_id,
                seed=self.seed,
                resume=self.resume,
                experience=self.experience,
                save_experience=self.save_experience,
                threads=self.threads,
                on_progress=bar,
                say=say,
                loss=None if self.loss is None else self.loss.replace("-", "_"),
                window_stride=self.window_stride,
                loss_weight=self.loss_weight,
                trunk_mode=self.trunk_mode,
                pad=self.pad == "yes",
                sample_labels=self.sample_labels,
                joint=self.joint,
                n_updates=self.n_updates,
                n_episodes=self.n_episodes,
            )
        heads = model.manifest.notes["agreement_per_head"]
        say(f"agreement with the teacher on its own states: head 1 {heads[0]:.1%}, last head {heads[-1]:.1%}")
        _say_where(model)


@dataclass(frozen=True, kw_only=True)
class Evaluate:
    """Measure what a model collects, and how fast."""

    model: tyro.conf.Positional[str]
    """A run directory, zoo:NAME, or oracle."""
    env_id: str | None = None
    """Where; the model's own environment by default."""
    commitment: int | Literal["auto"] | None = None
    """Actions executed per look, or auto; the whole horizon unless the model's manifest says otherwise."""
    steps: int | None = None
    """Steps of each run (100,000 unless --episodes is given)."""
    episodes: int | None = None
    """Whole episodes of each run, instead of steps."""
    runs: int = 5
    """Seeded runs."""
    horizon: int | None = None
    """Actions that the oracle plans (1 by default); a network's horizon is its own."""
    random_prefix: str = "0:0"
    """LO:HI random, uncounted actions before each episode."""
    sample: bool = False
    """Sample actions instead of taking the most likely ones."""
    observe_always: bool = False
    """Build every observation, also those nobody looks at."""
    all_starts: bool = False
    """Also play every different start once (environments that have few, such as the grids)."""
    seed: int = 0
    """Fixes the runs' seeds."""
    json: Path | None = None
    """Write everything to this file."""
    threads: Threads = 1

    def run(self) -> None:
        """Evaluate, print the summary, write the JSON."""
        with ProgressBar() as bar:
            bar(Progress("evaluating", 0, self.runs, "runs"))
            result = api.evaluate(
                self.model,
                env_id=self.env_id,
                commitment=self.commitment,
                steps=self.steps,
                episodes=self.episodes,
                runs=self.runs,
                seed=self.seed,
                horizon=self.horizon,
                deterministic=not self.sample,
                observe_always=self.observe_always,
                random_prefix=_range(self.random_prefix),
                threads=self.threads,
                on_run=lambda index, _record: bar(Progress("evaluating", index + 1, self.runs, "runs")),
            )
        say(str(result))
        if self.all_starts:
            every = api.evaluate_all_starts(self.model, env_id=self.env_id, commitment=self.commitment, horizon=self.horizon)
            say(f"  {every}")
        if self.json is not None:
            write_json(self.json, result.to_json())
            say(f"written to {self.json}")
        result.check_bound()


@dataclass(frozen=True, kw_only=True)
class Reproduce:
    """The paper's figures 4 and 5, from nothing, on one page."""

    profile: Literal["quick", "paper"] = "quick"
    """quick: both grids, one seed, minutes; paper: every n, five seeds, 100,000 steps each, the ablations, hours."""
    out: Path = Path("runs/reproduce")
    """The study's folder; an interrupted study goes on where it was."""

    def run(self) -> None:
        """Run the study, print its tables, say where the page is."""
        from phr.report.tables import to_rich
        from phr.studies.content import study_tables

        with ProgressBar() as bar:
            results = api.reproduce(self.profile, out=self.out, on_progress=bar, say=say)
        for table in study_tables(results, results.points()):
            console.print(to_rich(table))
        say(f"written to {self.out / 'report.html'}")


COMMANDS: dict[str, type[Command]] = {
    "train": Train,
    "distill": Distill,
    "evaluate": Evaluate,
    "reproduce": Reproduce,
}


def describe() -> str:
    """The overview that `phr --help` prints."""
    rows = [f"  {name:<10} {(command.__doc__ or '').splitlines()[0]}" for name, command in COMMANDS.items()]
    return "\n".join(
        [
            "usage: phr COMMAND [WORDS]",
            "",
            "Policy Horizon Regression: a policy that looks once and acts n times.",
            "",
            *rows,
            "",
            "phr COMMAND --help tells the words of a command; --debug, with any command, shows tracebacks.",
        ]
    )


def _range(text: str) -> tuple[int, int]:
    low, colon, high = text.partition(":")
    if not (colon and low.isdecimal() and high.isdecimal()):
        raise SettingError(f"--random-prefix is LO:HI, two whole numbers, got {text!r}")
    return int(low), int(high)


def _say_where(model: Model) -> None:
    if model.directory is not None:
        say(f"written to {model.directory}")
