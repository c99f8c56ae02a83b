"""The cheapest student that keeps a share of the teacher's return: distil, judge, go on while it pays, certify.

Students are compared on calibration episodes. So the one that is chosen is certified once, on fresh episodes, and the
confidence is not spent on choosing.
"""

from __future__ import annotations

import math
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypedDict

from phr.distil.config import SIDE_BY_SIDE, PHRConfig
from phr.distil.presets import affordable_steps
from phr.distil.runs import FINISHED, Distillation, Say
from phr.envs.registry import make_env
from phr.errors import PhrError, UsageError
from phr.evaluation.episodes import make_vector
from phr.evaluation.tune import Prospect, TeacherReturns, TuneSettings
from phr.files import AtLeastOne, read_json
from phr.networks.policy import PlanNetwork
from phr.networks.trunks import TrunkConfig
from phr.progress import OnProgress, silent
from phr.storage.driver import CHECKPOINT_SECONDS
from phr.storage.model import CONFIG, METRICS, Model, RunDirectory, annotated, load_model

ATTEMPTS = "attempts"
"""Folder of the students that were compared, within the folder of the run; each is named after its settings."""
SECONDS = "distilled_in_seconds"
"""Note of an attempt, by which a resumed search judges how long the next one takes."""
_SMALL = (64, 128)
"""Widths that are tried before the preset's, where a fresh network reads numbers."""
_GAIN = 0.95
"""What an attempt's net cost has to be, as a part of the best before, to count as a gain."""
_ENOUGH = 0.85
"""Part of the most steps per look, the horizon, that ends the search: little more can be gained."""
_PATIENCE = 2
"""Attempts in a row without a gain that end the search."""
_FIRST, _ALONE = 0.6, 0.8
"""Parts of the time for distillation that the first attempt may take, where several fit and where about one does."""
_RECORD, _FEWEST = 0.15, 64
"""Part of an attempt's time that the recording of the teacher may take, and the episodes that are recorded in any case."""
_UPDATE_SECONDS = 0.003
"""What a gradient step takes at the preset's width, roughly."""
_HALF = 0.5
"""An attempt is begun if there is time for this part of it."""
_LENGTHS = {"refine", "refine_windows", "refine_updates", "n_updates"}
"""Settings by which a distillation takes longer; where one is given, none is lowered."""

Overrides = Mapping[str, Any]


@dataclass(frozen=True)
class _Budget:
    """How so many `seconds` since `begun` are spent, where an episode takes `per_episode`."""

    seconds: float
    begun: float
    most_fresh: int
    """Fresh episodes of a rule, by the settings."""
    per_episode: float = 0.0

    @property
    def for_teacher(self) -> float:
        """For the teacher's calibration; the random policy's comes on top."""
        return self.seconds / 15

    @property
    def for_judging(self) -> float:
        """For one student's calibration: up to a seventh of all, or some thousands of episodes."""
        return min(self.seconds / 7, 3000 * self.per_episode)

    @property
    def for_certificate(self) -> float:
        """What is left for it: up to two fifths of all, or all the episodes of a rule and of the teacher."""
        return min(0.4 * self.seconds, 2 * self.most_fresh * self.per_episode)

    @property
    def for_repeats(self) -> float:
        """For the teacher's repeated actions, beside the certificate."""
        return min(self.seconds / 30, 3000 * self.per_episode)

    @property
    def fresh_episodes(self) -> int:
        """Fresh episodes of a rule for which there will be time."""
        return max(1, min(self.most_fresh, int(0.2 * self.seconds / self.per_episode)))

    def left(self) -> float:
        """For everything that comes."""
        return self.seconds - (time.monotonic() - self.begun)

    def left_for_distillation(self) -> float:
        """For students, what judges them and certifies one left out."""
        return self.left() - self.for_judging - self.for_certificate - self.for_repeats


@dataclass(frozen=True, eq=False)
class _Attempt:
    """A student, and what it promises."""

    model: Model
    prospect: Prospect
    overrides: Overrides
    seconds: float

    @property
    def net_cost(self) -> float:
        """Seconds of policy time per step; infinite if no rule is likely to be certified."""
        looks = self.prospect.looks_per_step
        return math.inf if looks is None else looks * self.prospect.seconds_per_look

    @property
    def nearly_best(self) -> bool:
        """Whether looking only once per horizon would gain little more."""
        looks = self.prospect.looks_per_step
        return self.prospect.keeps_whole_plans or (looks is not None and _ENOUGH * looks * self.model.horizon <= 1)

    def __str__(self) -> str:
        looks, micro = self.prospect.looks_per_step, 1e6 * self.prospect.seconds_per_look
        kept = "no rule is likely to be certified" if looks is None else f"{1 / looks:.1f} × fewer looks seem possible"
        return f"{_said(self.overrides)}: {kept}, {micro:.0f} µs a look, {self.seconds / 60:.1f} minutes"

    @property
    def rank(self) -> tuple[float, float]:
        """The lowest is the best: by net cost, and where nothing may be certified by what the best rule kept."""
        return self.net_cost, -self.prospect.most_kept

    def to_json(self) -> dict[str, Any]:
        prospect = self.prospect
        measured = {"looks_per_step": prospect.looks_per_step, "look_seconds": prospect.seconds_per_look}
        return {"settings": dict(self.overrides), **measured, "parameters": self.model.network.n_parameters}


def search(
    job_with: Callable[[Overrides], Distillation],
    settings: TuneSettings,
    *,
    given: Overrides,
    budget: float,
    directory: Path | None,
    resume: bool = False,
    is_timed: bool = True,
    checkpoint_seconds: float = CHECKPOINT_SECONDS,
    on_progress: OnProgress = silent,
    say: Say = silent,
) -> Model:
    """Distil students until one keeps `settings.retain` with whole plans, or it no longer pays; certify the best.

    `job_with` makes the distillation with further settings; no attempt changes those that are `given`. The smallest network
    comes first if there is time for larger ones too; a shorter horizon follows where only the first actions of its plans
    keep enough; then longer training, then a larger network. All ends after about `budget` minutes: distillations are made
    shorter (`lowered` in an attempt's notes), fewer rules are tried in fewer episodes, and no attempt is begun that has time
    for less than half of it. Where nothing can be certified, the model looks at every step by default. `is_timed` is whether
    the teacher's call may be compared with the student's; `directory`, `resume` and the rest are as in `Distillation.run`.

    Raises:
        UsageError: If there is no teacher to compare with.
        IncompatibleModelError: If the teacher collects no more than a random policy.
    """
    say = _once(say)
    time_for, job = _Budget(60 * budget, time.monotonic(), settings.max_episodes), job_with({})
    teacher, name = job.teacher, job.teacher_name or "teacher"
    if teacher is None:
        raise UsageError("retain compares with the teacher's return, and recorded episodes alone have none; name TEACHER")
    run = None
    if directory is not None:
        asked = {"retain": settings.retain, "confidence": settings.confidence}
        logged = None if job.read_episodes is None else job.read_episodes()
        run = RunDirectory(directory, {**job.run_settings(logged), **asked}, resume=resume)
        del logged
        if run.is_complete:
            say(FINISHED.format(run.path))
            return load_model(run.path, job.env_id)
    with make_vector(job.env_id, SIDE_BY_SIDE) as vector:
        limit = time_for.for_teacher
        returns = TeacherReturns(teacher, name, vector, settings, seconds=limit, on_progress=on_progress)
    if run is not None:
        run.begin()
    attempts: list[_Attempt] = []
    time_for = replace(time_for, per_episode=returns.episode_seconds)
    has_time = 2 * _expected_seconds(job.config, returns.step_seconds) <= time_for.left_for_distillation()
    steps, expected = [*_ladder(job, given, small_first=has_time)], 0.0
    while steps:
        overrides = steps.pop(0)
        made, before, left = job_with(overrides), expected, time_for.left_for_distillation()
        expected = _expected_seconds(made.config, returns.step_seconds)
        if attempts:
            needed = _HALF * attempts[-1].seconds * expected / before
            if attempts[-1].nearly_best or not _pays([attempt.net_cost for attempt in attempts], needed, left):
                break
        since = time.monotonic()
        folder = None if directory is None else directory / ATTEMPTS / _name(overrides)
        seconds = left * (1.0 if attempts else _FIRST if has_time else _ALONE)
        try:
            attempt = _that_records(made, int(_RECORD * seconds / returns.episode_seconds), returns.length, folder, given)
            until = math.inf if given.keys() & _LENGTHS else since + seconds
            model = attempt.run(
                folder, until=until, resume=resume, checkpoint_seconds=checkpoint_seconds, on_progress=on_progress, say=say
            )
            known = model.manifest.notes.get(SECONDS)  # of a finished attempt, which took no time now
            taken = time.monotonic() - since if known is None else float(known)
            model, since = annotated(model, {SECONDS: taken} | _lowered(model, made, attempt)), time.monotonic()
            with make_vector(job.env_id, SIDE_BY_SIDE) as vector:
                prospect = returns.judge(
                    model.planner, _name(overrides), vector, seconds=time_for.for_judging,
                    max_episodes=time_for.fresh_episodes, is_timed=is_timed, on_progress=on_progress,
                )  # fmt: skip
        except PhrError as error:
            if not attempts:
                raise
            say(f"{_said(overrides)}: {error}")
            break
        attempts.append(_Attempt(model, prospect, overrides, taken + time.monotonic() - since))
        say(str(attempts[-1]))
        if math.isinf(attempts[-1].net_cost):  # other small networks would fail, too
            steps = [step for step in steps if step.get("width", math.inf) >= _width(job)]
        if overrides.get("width", math.inf) >= _width(job) and (shorter := prospect.shorter_horizon) is not None:
            steps = [{**step, "horizon": shorter} for step in (overrides, *steps)]
    best = min(attempts, key=lambda attempt: attempt.rank)
    with make_vector(job.env_id, SIDE_BY_SIDE) as vector:
        limit = max(time_for.left() - time_for.for_repeats, time_for.seconds / 20)
        found = replace(best.prospect, model=str(directory or "student")).certify(
            vector, seconds=limit, repeat_seconds=time_for.for_repeats, on_progress=on_progress
        )
    found = replace(found, teacher_id=job.teacher_id, backend="torch")
    notes = {"tuned": found.evidence(), "attempts": [attempt.to_json() for attempt in attempts]}
    model = annotated(best.model, notes, commitment=found.commitment, write=False)
    if run is None:
        return model
    if best.model.directory is not None and (metrics := best.model.directory / METRICS).exists():
        shutil.copyfile(metrics, run.path / METRICS)
    return replace(run.finish(model.network, model.manifest), env_id_from_file=model.env_id_from_file)


def _once(say: Say) -> Say:
    """Leave out lines that came before: the attempts are much alike."""
    before = set[str]()

    def say_new(line: str) -> None:
        if line not in before:
            before.add(line)
            say(line)

    return say_new


def _that_records(job: Distillation, n_episodes: int, length: float, folder: Path | None, given: Overrides) -> Distillation:
    """Let a distillation record no more than so many episodes of this length, at least a few dozen.

    In the folder of an attempt that was begun it records as many as then.
    """
    if given.keys() & {"record_steps", "n_episodes"} or job.read_episodes is not None:
        return job
    config, fewer = job.config, max(n_episodes, _FEWEST)
    lowered: dict[str, Any] = {
        "record_steps": min(config.record_steps, int(fewer * length)),
        "n_episodes": min(config.n_episodes, fewer),
    }
    if lowered["record_steps"] == config.record_steps:  # those are soon recorded, however short
        lowered = {}
    if folder is not None and (folder / CONFIG).exists():
        lowered = dict(read_json(folder / CONFIG, _Begun)["settings"])
    return replace(job, config=replace(config, **lowered))


class _Recorded(TypedDict):
    record_steps: AtLeastOne
    n_episodes: AtLeastOne


class _Begun(TypedDict):
    """What matters of the settings of an attempt that was begun."""

    settings: _Recorded


def _lowered(model: Model, wanted: Distillation, recorded: Distillation) -> dict[str, Any]:
    """The note of what was lowered, with what was recorded."""
    names = ("record_steps", "n_episodes")
    fewer = {name: getattr(recorded.config, name) for name in names if recorded.config != wanted.config}
    lowered = fewer | model.manifest.notes.get("lowered", {})
    return {"lowered": lowered} if lowered else {}


def _name(overrides: Overrides) -> str:
    """Return the folder of an attempt, which a resumed search finds again whatever came before it."""
    words = [f"horizon-{overrides['horizon']}"] if "horizon" in overrides else []
    words += ["longer"] if overrides.keys() - {"horizon", "width"} else []
    words += [f"width-{overrides['width']}"] if "width" in overrides else []
    return "-".join(words) or "default"


def _expected_seconds(config: PHRConfig, per_step: float) -> float:
    """Roughly what a distillation by these settings takes, where a step of the environment takes `per_step`."""
    by_student = (config.horizon + 1) / 2 * (config.refine_plans + 1) / 2  # steps before a window, which the teacher plays
    led = by_student + config.horizon
    steps = config.record_steps + config.refine * config.refine_windows * led
    return steps * per_step + config.total_updates * _UPDATE_SECONDS


def _ladder(job: Distillation, given: Overrides, *, small_first: bool = True) -> Iterator[Overrides]:
    """Settings to try, one after another, from the cheapest; without `small_first` none is smaller than the preset."""
    config, width = job.config, _width(job)
    longer: dict[str, Any] = {name: 2 * getattr(config, name) for name in ("n_episodes", "record_steps", "n_updates")}
    with make_env(job.env_id) as env:
        longer["record_steps"] = min(longer["record_steps"], max(config.record_steps, affordable_steps(env)))
    if config.refine:
        longer |= {"refine": 2 * config.refine, "refine_until": 1 - (1 - config.refine_until) / 4}
    steps: list[dict[str, Any]] = [{}, longer]
    if config.trunk_mode == "anchored":
        steps.append({**longer, "width": 2 * width})
        if small_first and isinstance(job.start, TrunkConfig) and job.start.kind == "mlp":
            steps = [*({"width": small} for small in _SMALL if small < width), *steps]
    tried: list[dict[str, Any]] = []
    for step in steps:
        changed = {key: value for key, value in step.items() if key not in given}
        if changed not in tried:
            tried.append(changed)
            yield changed


def _width(job: Distillation) -> int:
    trunk = job.start.config.trunk if isinstance(job.start, PlanNetwork) else job.start
    return job.config.width or trunk.width


def _pays(costs: Sequence[float], seconds_needed: float, seconds_left: float) -> bool:
    """Whether another attempt may gain something over the net costs so far, and there is time for it."""
    gains = [costs[index] < _GAIN * min(costs[:index]) for index in range(1, len(costs))]
    # Small networks that promise nothing are no reason to give up on larger ones.
    in_vain = len(gains) >= _PATIENCE and not any(gains[-_PATIENCE:]) and math.isfinite(min(costs))
    return not in_vain and seconds_needed <= seconds_left


def _said(overrides: Overrides) -> str:
    return ", ".join(f"{name} {value:g}" for name, value in overrides.items()) or "default settings"
