"""The commands: phr's own, and how one that any package registered (entry-point group `phr.commands`) is found and run.

A command is a frozen dataclass: its fields are the options, its docstring's first line is the summary, `run` executes it. It
may have an attribute `goes_on`, which the message after Ctrl-C ends with; `{command}` in it is `phr resume FOLDER` if the
command's attribute `folder` holds a record of it, else what was typed.
"""

from __future__ import annotations

import math
import os
import re
import shlex
import signal
import sys
import traceback
from collections.abc import Callable, Mapping
from contextlib import ExitStack, chdir
from dataclasses import dataclass, field, replace
from functools import cache, partial
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, TypeVar

import tyro

import phr
from phr.cli.display import ProgressBar, near_miss, one_line, say, say_last
from phr.cli.words import (
    Count,
    EnvKwargs,
    Flag,
    Folder,
    FrameStack,
    Normalize,
    OptionalEnvId,
    OptionalFile,
    OptionalFolder,
    Seed,
    Wrapper,
    file_targets,
    layered,
    read_command,
    whole_number,
    word,
)
from phr.errors import PhrError, UsageError, error_text
from phr.evaluation.tuning import RetentionCurve
from phr.files import MAX_MODEL_BYTES, check_file_target, write_json
from phr.interruption import Stopped, running
from phr.manifest import MANIFEST
from phr.progress import Progress
from phr.storage.owner import RECORD, owned, recorded_command


@cache
def registered() -> Mapping[str, EntryPoint]:
    """Name → entry point of every command, none of them imported."""
    found = {point.name: point for point in entry_points(group="phr.commands")}
    if not found:
        raise PhrError("the installed phr registers no commands (phr.commands); install it again: pip install 'phr[train]'")
    first = ["train", "distill", "resume", "tune", "evaluate", "export"]  # the order of the overview; others follow by name
    return {name: found[name] for name in [*first, *sorted(found.keys() - set(first))] if name in found}


def load(name: str) -> Any:
    """The class of a command; UsageError if no package registers it, PhrError if its package cannot be imported."""
    known = registered()
    if name not in known:
        hint = near_miss(name, [*known, "--help", "--version"], f"choose one of {', '.join(known)}")
        raise UsageError(f"unknown command {name!r}; {hint}")
    try:
        return known[name].load()
    except PhrError:
        raise
    except Exception as error:  # whatever a plug-in's import raises
        raise PhrError(f"the command {name!r} ({known[name].value}) cannot be loaded: {error_text(error)}") from error


def _summary(name: str) -> str:
    """What a command does, in one line."""
    try:
        return (load(name).__doc__ or "").partition("\n")[0]
    except PhrError as error:
        return one_line(str(error))


def describe() -> str:
    """The overview that `phr --help` prints."""
    rows = "\n".join(f"  {name:<10} {_summary(name)}" for name in registered())
    return f"""usage: phr COMMAND [OPTIONS]

Policy Horizon Regression: a policy that looks once and acts n times.

commands:
{rows}

options:
  --help     Show this, or the options of a COMMAND.
  --version  Show the version.
  --debug    With any COMMAND: show the traceback of an error.
  --max-model-bytes N
             With any COMMAND: read no larger file (default: 4 GiB).
  --step-timeout SECONDS
             With any COMMAND: end it if a step or reset takes longer."""


def run(words: list[str]) -> int:
    """Parse and carry out; see `phr.cli.main` for the exit codes."""
    debug, command = "--debug" in words, None
    words = [word for word in words if word != "--debug"]
    try:
        with ExitStack() as stack:
            command = _begun(words, stack)
            for target in file_targets(command):
                check_file_target(target)
                stack.enter_context(owned(target, is_file=True))
            command.run()
    except PhrError as error:
        if debug:
            traceback.print_exc()
        say_last(one_line(error))
        return 2 if isinstance(error, UsageError) else 1
    except KeyboardInterrupt as stop:
        more = _how_it_goes_on(command, words)
        say_last(f"interrupted{more and f'; {more}'}")
        return 128 + (stop.number if isinstance(stop, Stopped) else signal.SIGINT)
    except BrokenPipeError:
        return 1
    except (Exception, GeneratorExit) as error:
        if debug:
            raise
        say_last(f"{error_text(error)} (run again with --debug for the traceback)")
        return 1
    return 0


def _begun(words: list[str], stack: ExitStack) -> Any:
    """The command that the words name; until `stack` ends it is the running one, with the options that all commands have."""
    stack.enter_context(running(words))
    own, limit = _without(words, "--max-model-bytes", whole_number)
    own, seconds = _without(own, "--step-timeout", float)
    if limit is not None:
        stack.callback(MAX_MODEL_BYTES.reset, MAX_MODEL_BYTES.set(limit))
    command = parse(own)
    if seconds is not None:
        from phr.envs.contract import watched

        stack.enter_context(watched(seconds, partial(_give_up, command, words)))
    return command


Number = TypeVar("Number", int, float)


def _without(words: list[str], option: str, read: Callable[[str], Number]) -> tuple[list[str], Number | None]:
    """The words of a command without an option that every command has, and its number, None where it was left out."""
    at = next((at for at, word in enumerate(words) if word.partition("=")[0] == option), None)
    if at is None:
        return words, None
    _, equals, text = words[at].partition("=")
    end = at + (1 if equals else 2)
    try:
        number = read(text if equals else words[at + 1])
    except (IndexError, ValueError):
        number = read("0")
    if not 0 < number < math.inf:
        raise UsageError(f"{option} must be a positive number")
    return words[:at] + words[end:], number


def _give_up(command: Any, words: list[str], why: str) -> None:
    """End the process, whatever it is doing: an environment hangs."""
    more = _how_it_goes_on(command, words)
    say_last(f"{why}{more and f'; {more}'}")
    os._exit(1)


def _how_it_goes_on(command: Any, words: list[str]) -> str:
    """What to type after an interruption; empty for commands that begin again."""
    folder: Path | None = getattr(command, "folder", None)
    has_record = folder is not None and (folder / RECORD).exists()
    again = ["phr", "resume", str(folder)] if has_record else ["phr", *words]
    return str(getattr(command, "goes_on", "")).format(command=shlex.join(again))


def parse(words: list[str]) -> Any:
    """Build the command that the arguments name; SystemExit after printing help or the version."""
    if not words or words[0] in ("-h", "--help", "help", "--version"):
        print(f"phr {phr.__version__}" if words[:1] == ["--version"] else describe())
        raise SystemExit(0)
    return read_command(load(words[0]), *words)


def _handed_on(command: Any, *left_out: str) -> dict[str, Any]:
    """A command's fields and settings as arguments of a function of phr."""
    given = {**vars(command), **getattr(command, "settings", {})}
    return layered({name: value for name, value in given.items() if name not in ("settings", *left_out)})


OptionalCount = Annotated[int | None, word("N")]
ModelReference = Annotated[tyro.conf.Positional[str], word("MODEL")]
Threads = Annotated[int, word("N", "Threads to compute with (default: 1).")]
CheckpointSeconds = Annotated[float, word("X", "Seconds between two checkpoints: what a kill costs at most (default: 20).")]
Resume = Annotated[
    bool, word(None, "Continue an interrupted run from its checkpoint; start one where there is none; leave a finished one.")
]


@dataclass(frozen=True, kw_only=True)
class Train:
    """Train a teacher by A2C (stage 1).

    Unset options use values tuned for the environment, recorded in config.json.

    The defaults shown here apply to environments that have no such values.
    """

    SETTINGS: ClassVar[str] = "phr.teacher.a2c:A2CConfig"

    env_id: Annotated[str, word("ID")]
    """A Gymnasium id, or module:factory."""
    out: Folder
    """Folder of the run."""
    start: Annotated[str | None, word("MODEL")] = None
    """Teacher to train further: a run folder or zoo:NAME. Starts with a third of the learning rate."""
    seed: Seed = 0
    resume: Resume = False
    checkpoint_seconds: CheckpointSeconds = 20.0
    threads: Threads = 1
    settings: dict[str, Any] = field(default_factory=dict)

    goes_on: ClassVar[str] = "{command} continues from the last checkpoint, or starts where there was none yet"

    @property
    def folder(self) -> Path:
        """Of the run."""
        return self.out

    def run(self) -> None:
        """Train, and print where the model is."""
        with ProgressBar() as bar:
            model = phr.train_teacher(**_handed_on(self), on_progress=bar, say=say)
        say(f"teacher: greedy return {model.manifest.notes['greedy_return']:.4f} in {model.env_id}")
        say(f"written to {model.directory}")


def _run_name(source: str, env_id: str | None) -> str:
    """The name of a run's folder: of what it learns from, with the algorithm where a folder of the zoo is named so."""
    path = Path(source)
    words = [path.stem]
    if path.is_dir():
        path = path.resolve()
        words = [path.name] if (path / MANIFEST).exists() else [path.parent.name, path.name]
    return re.sub(r"[^\w.]+", "-", "-".join([*words, *([env_id] if env_id else [])]))


@dataclass(frozen=True, kw_only=True)
class Distill:
    """Distil a teacher into a student that looks once and acts n times.

    Unset options use values tuned for the environment, recorded in config.json.

    The defaults shown here apply to environments that have no such values.
    """

    SETTINGS: ClassVar[str] = "phr.distil.config:PHRConfig"

    out: OptionalFolder = None
    """Folder of the run (default: runs/NAME, after teacher and environment)."""
    teacher: Annotated[tyro.conf.Positional[str | None], word("TEACHER")] = None
    """A run folder of phr or of RL Baselines3 Zoo, zoo:NAME, a Stable-Baselines3 FILE.zip, FILE.onnx, module:factory or
    oracle; left out: --experience."""
    env_id: OptionalEnvId = None
    """Environment to record in (default: the teacher's own). Required for third-party policies and module:factory."""
    experience: Annotated[str | None, word("FILE")] = None
    """Recorded episodes of the same teacher (.npz) instead of new ones; without a teacher also minari:NAME."""
    save_experience: OptionalFile = None
    """Keep the recorded episodes in this file (.npz)."""
    retain: Annotated[float | None, word("X")] = None
    """Share of the teacher's return to keep, like 0.99: distil students as long as that buys policy time, choose how many
    actions the best executes per look, and certify that it keeps so much."""
    confidence: Annotated[float | None, word("X")] = None
    """With --retain: probability that the certificate holds (default: 0.95)."""
    budget: Annotated[float | None, word("MINUTES")] = None
    """With --retain: about the minutes that all of it may take (default: 30)."""
    curve_episodes: OptionalCount = None
    """Without --retain: episodes in which student and teacher are compared in the end (default: 100; 0: none)."""
    env_kwargs: EnvKwargs = None
    frame_stack: FrameStack = None
    wrapper: Wrapper = None
    normalize: Normalize = None
    seed: Seed = 0
    resume: Resume = False
    checkpoint_seconds: CheckpointSeconds = 20.0
    threads: Threads = 1
    settings: dict[str, Any] = field(default_factory=dict)

    goes_on: ClassVar[str] = (
        "{command} continues from the last checkpoint, or starts where there was none yet; episodes are recorded again"
    )

    @property
    def folder(self) -> Path:
        """Of the run."""
        return self.out or Path("runs", _run_name(str(self.teacher or self.experience), self.env_id))

    def run(self) -> None:
        """Distil, and print where the model is."""
        with ProgressBar() as bar:
            model = phr.distill(**_handed_on(self, "out"), out=self.folder, on_progress=bar, say=say)
        heads = model.manifest.notes["agreement_per_head"]
        first, last = ("unknown" if heads[at] is None else f"{heads[at]:.1%}" for at in (0, -1))
        say(f"agreement with the teacher on its own states: head 1 {first}, last head {last}")
        teacher = model.manifest.notes.get("teacher_parameters")
        beside = "" if teacher is None else f", teacher {teacher:,}"
        say(f"parameters of one look: student {model.network.n_parameters:,}{beside}")
        say(f"written to {model.directory}")
        if (values := model.manifest.notes.get("curve")) is not None:
            curve = RetentionCurve.from_json(values)
            say(str(curve))
            if curve.warning:
                say(f"warning: {curve.warning}")
        if (why := model.manifest.notes.get("not_compared")) is not None:
            say(f"warning: student and teacher could not be compared: {why}")
        if (tuned := model.manifest.notes.get("tuned")) is not None:
            for line in tuned.get("warnings", ()):
                say(f"warning: {line}")
            say(tuned["verdict"] + ("" if tuned["chosen"] else "; by default it executes 1 action per look"))
        for line in model.manifest.notes.get("doubts", ()):
            say(f"warning: {line}")


@dataclass(frozen=True, kw_only=True)
class Continue:
    """Continue an interrupted command, by the record in its folder."""

    folder: Annotated[tyro.conf.Positional[Path], word("DIR")]
    """Folder of a run of phr train or phr distill, or of a phr reproduce study."""

    goes_on: ClassVar[str] = "{command} continues again"

    def run(self) -> None:
        """Type the command again."""
        words, where = recorded_command(self.folder)
        wanted, typed = self.folder.resolve(), shlex.join(["phr", *words])
        if not where.is_dir():
            raise UsageError(f"the command was typed in {where}, which is not there; in its place: {typed}")
        sys.path[:] = [each or str(Path.cwd()) for each in sys.path]  # no module comes from a folder that a file names
        with chdir(where), ExitStack() as stack:
            command: Any = _begun(words, stack) if words[0] in registered() else None
            if getattr(command, "folder", None) is None or command.folder.resolve() != wanted:
                raise UsageError(f"{self.folder} holds the record of another folder: {typed}")
            if targets := file_targets(command):
                raise UsageError(f"the record writes {targets[0]}, which only you can ask for; type it again: {typed}")
            if code := next((value for name, value in vars(command).items() if _is_code(name, value)), None):
                raise UsageError(f"the record names code, {code}, which only you can ask for; type it again: {typed}")
            say(typed)
            (replace(command, resume=True) if hasattr(command, "resume") else command).run()


def _is_code(name: str, value: object) -> bool:
    """Whether an option of a command names code, which no file may run."""
    from phr.envs.registry import imports_code, is_factory  # which the overview need not wait for
    from phr.experience.logged import MINARI_PREFIX
    from phr.teachers.hub import HUB_PREFIX
    from phr.teachers.references import ZOO_PREFIX

    if not isinstance(value, str):
        return False
    if name == "env_id":  # a prefix that makes a model's name harmless is a module's here
        return imports_code(value)
    return name == "wrapper" or (is_factory(value) and not value.startswith((ZOO_PREFIX, HUB_PREFIX, MINARI_PREFIX)))


@dataclass(frozen=True, kw_only=True)
class Evaluate:
    """Measure what a model collects, and how fast."""

    model: ModelReference
    """A run folder of phr or of RL Baselines3 Zoo, zoo:NAME, a FILE.onnx, a Stable-Baselines3 FILE.zip, module:factory, or
    oracle."""
    env_id: OptionalEnvId = None
    """Where to act (default: the model's own environment). Required for third-party policies and for module:factory."""
    env_kwargs: EnvKwargs = None
    frame_stack: FrameStack = None
    wrapper: Wrapper = None
    normalize: Normalize = None
    commitment: Annotated[Literal["auto"] | int | None, word("N|auto")] = None
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
    random_prefix: Annotated[tuple[int, int] | None, word("LO:HI")] = (0, 0)
    """Number of random, uncounted actions before each episode (default 0:0)."""
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
        with ProgressBar() as bar:
            bar(Progress("evaluating", 0, self.runs, "runs"))
            result = phr.evaluate(
                **_handed_on(self, "json", "sample", "no_bound"),
                deterministic=not self.sample,
                bound=not self.no_bound,
                on_run=lambda index, _record: bar(Progress("evaluating", index + 1, self.runs, "runs")),
            )
        say(str(result))
        if self.json is not None:
            write_json(self.json, result.to_json())
            say(f"written to {self.json}")


@dataclass(frozen=True, kw_only=True)
class Export:
    """Write a model as ONNX, to run it without torch."""

    model: ModelReference
    """A run directory or zoo:NAME."""
    out: Annotated[Path, word("FILE.onnx")]
    """The file, FILE.onnx; one that is there is replaced."""
    env_id: OptionalEnvId = None
    """Where to compare; the model's own environment by default. One that is code (module:factory) has to be named here."""
    int8: Flag = False
    """Write FILE.int8.onnx too, in 8-bit numbers, and print what that costs."""

    def run(self) -> None:
        """Export, and print what the file was compared on."""
        export = phr.export_onnx(self.model, self.out, int8=self.int8, env_id=self.env_id)
        say(f"written to {export.path}" + (f" and {export.int8_path}" if export.int8_path else ""))
        say(str(export))
