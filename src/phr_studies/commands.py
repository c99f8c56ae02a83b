"""The commands of this package: `phr bench`, `phr doctor`, `phr report`, `phr reproduce`, `phr tune`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar, Literal

import tyro

import phr
from phr.cli import (
    Count,
    EnvKwargs,
    Flag,
    Folder,
    FrameStack,
    Normalize,
    OptionalEnvId,
    OptionalFile,
    OptionalFolder,
    ProgressBar,
    Seed,
    Wrapper,
    console,
    layered,
    say,
    say_rows,
    word,
)
from phr.errors import SettingError
from phr.files import write_json


@dataclass(frozen=True, kw_only=True)
class Bench:
    """Measure phr on this machine, side by side with its peers."""

    hz: Annotated[tuple[float, ...], word("RATE")] = (50.0, 200.0, 1000.0)
    """Rates of the control loop whose latency is measured (default: 50 200 1000)."""
    model: Annotated[tuple[str, ...], word("MODEL")] = ()
    """Students to bench: run directories or zoo:NAME (default: the reference networks)."""
    sections: Annotated[tuple[str, ...], word("NAME")] = ()
    """Run only these: loops, grids, backends, latency, vectors, training, from_nothing."""
    quick: Flag = False
    """Few and short rounds: two minutes for a first impression, not for publication."""
    out: Folder = Path("runs/bench")
    """Folder for bench.json, bench.md and networks that have to be distilled (default: runs/bench)."""
    json: OptionalFile = None
    """Write the JSON to this file too."""
    goes_on: ClassVar[str] = "finished sections are written"

    def run(self) -> None:
        """Measure, print each section's tables and where they are written."""
        from phr_studies.report.tables import to_rich

        words = {"models" if name == "model" else name: value for name, value in vars(self).items()}
        with ProgressBar() as bar:
            result = phr.bench(
                **words, say=say, on_progress=bar, on_section=lambda _heading, tables: console.print(*map(to_rich, tables))
            )
        say(f"written to {self.out / 'bench.md'} and {self.out / 'bench.json'}")
        for warning in result.warnings:
            say(f"warning: faster than possible: {warning}; the bound is wrong, please report it")


@dataclass(frozen=True, kw_only=True)
class Doctor:
    """Examine an environment, and what plans of its teacher keep."""

    env_id: Annotated[tyro.conf.Positional[str], word("ENV_ID")]
    """A Gymnasium id, or module:factory."""
    teacher: Annotated[str | None, word("T")] = None
    """The policy that acts there: a run directory, zoo:NAME, FILE.onnx, a Stable-Baselines3 FILE.zip, module:factory or
    oracle."""
    episodes: Count = 8
    """Episodes of random play, and of the teacher (default: 8)."""
    steps: Count = 300
    """Most steps of each episode that are examined (default: 300)."""
    env_kwargs: EnvKwargs = None
    frame_stack: FrameStack = None
    wrapper: Wrapper = None
    normalize: Normalize = None
    seed: Seed = 0
    json: OptionalFile = None
    """Write everything to this file."""

    def run(self) -> None:
        """Examine, print the page, write the JSON."""
        words = layered({name: value for name, value in vars(self).items() if name != "json"})
        with ProgressBar() as bar:
            found = phr.doctor(**words, on_progress=bar)
        for heading, rows in found.parts():
            say_rows(heading, rows)
        say(found.advice or "with --teacher T: a first estimate of the horizon worth asking for")
        if self.json is not None:
            write_json(self.json, found.to_json())
            say(f"written to {self.json}")


@dataclass(frozen=True, kw_only=True)
class Report:
    """Put figures, learned paths and films on one page."""

    reference: Annotated[tyro.conf.Positional[str], word("DIR")]
    """The folder of a phr reproduce study, whose page is drawn again; or a model: a run directory or zoo:NAME."""
    env_id: OptionalEnvId = None
    """Environment to act in (default: the model's own). Required for an environment that is code (module:factory)."""
    out: OptionalFolder = None
    """Folder for a model's page (default: DIR/report; for the zoo runs/report-NAME)."""

    def run(self) -> None:
        """Make the page and print its path."""
        say(f"written to {phr.make_report(**vars(self), say=say)}")


@dataclass(frozen=True, kw_only=True)
class Push:
    """Publish a model on the Hugging Face hub."""

    model: Annotated[tyro.conf.Positional[str], word("MODEL")]
    """A run directory or zoo:NAME."""
    to: Annotated[tyro.conf.Positional[str], word("REPO")]
    """The repository, hf:OWNER/NAME; it is made if it is not there. The token is that of hf auth login, or HF_TOKEN."""
    license: Annotated[str, word("NAME")]
    """Under which it may be used, by the hub's name, like mit."""
    private: Flag = False
    """Make a new repository private."""
    env_id: OptionalEnvId = None
    """Where to evaluate and film (default: the model's own environment). Required for module:factory."""

    def run(self) -> None:
        """Export, evaluate, film, upload; print the address of the page."""
        words = {name: value for name, value in vars(self).items() if name not in ("model", "to")}
        say(f"published at {phr.push(self.model, self.to, **words, say=say)}")


@dataclass(frozen=True, kw_only=True)
class Reproduce:
    """Make the paper's figures 4 and 5 from nothing, on one page."""

    profile: Annotated[Literal["quick", "paper"], word("quick|paper")] = "quick"
    """quick (default): both grids, one seed, minutes; paper: Pong too, every n and loss, five seeds, ablations, hours."""
    out: Folder = Path("runs/reproduce")
    """The study's folder (default: runs/reproduce). An interrupted study continues where it stopped."""
    from_scratch: Flag = False
    """Train Pong's teacher too, one for each seed (default: the zoo's teacher)."""
    goes_on: ClassVar[str] = "{command} continues with what is missing"

    @property
    def folder(self) -> Path:
        """Of the study."""
        return self.out

    def run(self) -> None:
        """Run the study, print its tables and the path of its page."""
        from phr_studies.report.tables import to_rich
        from phr_studies.reproduce.content import study_tables, timing_warnings

        with ProgressBar() as bar:
            results = phr.reproduce(**vars(self), on_progress=bar, say=say)
        points = results.points()
        for table in study_tables(results, points):
            console.print(to_rich(table))
        say(f"written to {self.out / 'report.html'}")
        for line in timing_warnings(points):
            say(f"warning: {line}")


@dataclass(frozen=True, kw_only=True)
class Tune:
    """Find the fewest looks that keep the teacher's return, for certain.

    The certified rule is written into the model and obeyed by default.
    """

    model: Annotated[tyro.conf.Positional[str], word("MODEL")]
    """A student: a run directory, zoo:NAME, or a FILE.onnx that phr export wrote."""
    teacher: Annotated[str | None, word("T")] = None
    """Its teacher: a run directory, zoo:NAME, FILE.onnx, a Stable-Baselines3 FILE.zip, module:factory or oracle (default:
    the one that the model names, if it is there)."""
    env_id: OptionalEnvId = None
    """Where to act (default: the model's own environment). Required for module:factory."""
    retain: Annotated[float, word("X")] = 0.99
    """Share of the teacher's return to keep (default: 0.99)."""
    confidence: Annotated[float, word("X")] = 0.95
    """Probability that the promise holds (default: 0.95)."""
    max_episodes: Count = 2000
    """The most fresh episodes that test one rule (default: 2000)."""
    calibration: Count = 100
    """The fewest episodes that choose the rules to test (default: 100); 3 / (1 − retain) are played if that is more."""
    zero: Annotated[float | None, word("X")] = None
    """The return that counts as 0 (default: 0 if no return is negative, else a random policy's mean return)."""
    return_range: Annotated[tuple[float, float] | None, word("LO:HI")] = None
    """The least and the greatest possible return of an episode (default: the worst and best seen, an assumption)."""
    n_envs: Count = 64
    """Environments played side by side (default: 64)."""
    backend: Annotated[Literal["torch", "onnx"] | None, word("torch|onnx")] = None
    """What computes a network's plans: torch (default), or onnx, which an exported file always runs on."""
    env_kwargs: EnvKwargs = None
    frame_stack: FrameStack = None
    wrapper: Wrapper = None
    normalize: Normalize = None
    baseline: Annotated[str | None, word("MODEL")] = None
    """Another policy to compare with, such as a smaller student; it looks at every step, and is not certified."""
    no_repeat: Flag = False
    """Leave out the baseline that repeats the teacher's action."""
    seed: Seed = 0
    no_write: Flag = False
    """Leave the model as it is."""
    figure: OptionalFile = None
    """Draw return against looks per step into this file (.png), with a dark twin and an .svg beside it."""
    json: OptionalFile = None
    """Write everything to this file."""
    threads: Count = 1
    """Threads to compute with (default: 1)."""

    def run(self) -> None:
        """Tune, print the table, draw, write."""
        if self.figure is not None and self.figure.suffix != ".png":
            raise SettingError(f"--figure must be a file .png; got {str(self.figure)!r}")
        not_words = ("no_write", "no_repeat", "figure", "json")
        words = layered({name: value for name, value in vars(self).items() if name not in not_words})
        with ProgressBar() as bar:
            found = phr.tune(**words, repeat=not self.no_repeat, write=not self.no_write, on_progress=bar)
        say(str(found))
        if self.json is not None:
            write_json(self.json, found.to_json())
            say(f"written to {self.json}")
        if self.figure is not None:
            from phr_studies.report.tuning import tuning_figure

            say(f"drawn in {tuning_figure(found, self.figure)}, with {self.figure.stem}-dark.png and .svg beside it")
        if not self.no_write:
            rule = "n = 1 is what it does by default, as no rule was certified"
            if found.choice is not None:
                rule = f"{found.choice.name} is what it does by default"
            say(f"written into {self.model}: {rule}")
