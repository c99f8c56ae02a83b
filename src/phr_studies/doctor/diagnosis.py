"""The examination, its result and its page."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable
from contextlib import closing
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from phr.errors import FOREIGN_ERRORS, BrokenEnvironmentError, PhrError, SettingError, error_text
from phr.progress import OnProgress, Progress, silent
from phr.seeding import Streams
from phr.teachers import Reading
from phr_studies.doctor.blind import ERRORS, TOLERANCE, BlindCurve, advise, draw_curve
from phr_studies.doctor.describe import Check, EnvDescription, check, describe
from phr_studies.doctor.teacher import HORIZONS, LookingAway, ask, look_away
from phr_studies.doctor.world import Replay, World, examine_replay
from phr_studies.report.tables import NOTHING, counted, number, percent

_LONG = 160
"""Characters of a space's text that the page shows; the JSON holds them all."""

Row = tuple[str, str]


def environment_rows(found: EnvDescription) -> list[Row]:
    """What the id resolves to."""
    names = f": {', '.join(found.action_names)}" if found.action_names else ""
    rows = [
        ("made by", found.made_by),
        ("wrapped in", ", ".join(found.wrappers) or "nothing"),
        ("actions", _short(found.action_space) + names),
        ("observation", _short(found.observation_space)),
    ]
    if found.stepping is not None and found.shown_shape is not None:
        shape = "×".join(map(str, found.shown_shape)) or "one number"
        rows += [
            ("a network sees", f"{shape} {found.shown_dtype}: {found.shown}"),
            ("a fresh student", found.network or NOTHING),
            ("stepped by", found.stepping),
        ]
    rows.append(("step limit", NOTHING if found.step_limit is None else f"{found.step_limit:,}"))
    if found.frame_skip is not None:
        skip = found.frame_skip
        rows.append(("frame skip", str(skip) if isinstance(skip, int) else f"{skip[0]} to {skip[1] - 1}, drawn each time"))
    rows.append(("sticky actions", f"with probability {found.sticky:g}" if found.sticky else "none"))
    if found.idle_starts:
        rows.append(("idle frames", f"1 to {found.idle_starts} begin an episode"))
    if found.refusal is not None:
        rows.append(("phr cannot act here", found.refusal))
    return rows


def _short(text: str) -> str:
    return text if len(text) <= _LONG else text[:_LONG] + "…"


def checker_rows(found: Check) -> list[Row]:
    """Gymnasium's checker."""
    end = "finished" if found.error is None else "stopped at an error"
    rows = [("result", f"{end}, {counted(len(found.warnings), 'warning')}")]
    return [*rows, *([("error", found.error)] if found.error else []), *(("warning", text) for text in found.warnings)]


def replay_rows(found: Replay) -> list[Row]:
    """Whether replaying repeats."""
    played = f"{counted(found.episodes, 'episode')} of random actions, {counted(found.steps, 'step')}"
    replaying = f"repeats: {played}, the same to the last bit"
    if found.difference is not None:
        where = "at the start" if found.difference.step == 0 else f"after step {found.difference.step}"
        replaying = (
            f"does not repeat: episode {found.difference.episode + 1} differs {where} ({found.difference.what}); a run "
            "cannot be resumed bit for bit. Draw all chance from self.np_random, and set up everything in reset"
        )
    rows = [("replaying", replaying)]
    later = f" and {found.different_episodes} different episodes under the same actions"
    alike = found.different_episodes == found.different_starts
    looks = "the same first look" if found.different_starts == 1 else f"{found.different_starts} different first looks"
    rows.append(("starts", f"{found.starts} seeds give {looks}{'' if alike else later}"))
    moments = f"{found.forks} moments, followed for {found.fork_steps} steps"
    if found.dice_refused is not None:
        rows.append(("chance", f"unknown: {found.dice_refused}"))
    elif found.forks_changed == 0:
        rows.append(("chance", f"none seen after the start: a re-seeded generator changed nothing in {moments}"))
    elif found.forks_changed is not None:
        after = f"a re-seeded generator led elsewhere in {found.forks_changed} of {moments}"
        rows.append(("chance", f"plays on after the start: {after}"))
    return rows


def teacher_rows(found: LookingAway) -> list[Row]:
    """What the teacher's episodes show."""
    lengths = f"{counted(round(found.length_median), 'step')} at the median"
    going_on = f" ({found.cut} not finished within the steps examined)" if found.cut else ""
    played = f"{counted(found.episodes, 'greedy one')}, {lengths}{going_on}, mean return {number(found.return_mean)}"
    kept = f"for {counted(found.run_median, 'step')} at the median, nine times in ten for at most {found.run_p90}"
    rows = [("episodes", played), ("keeps an action", kept)]
    if found.tolerance is not None:
        rows.append(("two actions", f"count as the same within {percent(found.tolerance)} of their range"))
    ahead = [found.epsilon[k - 1] for k in HORIZONS]
    return [*rows, ("steps k, or n", _across(map(str, HORIZONS))), ("ε after k steps", _across(map(percent, ahead)))]


def curve_rows(found: BlindCurve) -> list[Row]:
    """What blind plans keep."""
    rows = []
    for error, shares, returns in zip(ERRORS, found.shares, found.returns, strict=True):
        name = "plans of n keep" if not error else f"erring by {percent(error)}"
        known = any(share is not None for share in shares)
        rows.append((name, _across(map(percent, shares) if known else map(number, returns))))
    played = f"{counted(found.episodes, 'episode')} of at most {counted(found.steps, 'step')}"
    zero = "0" if not found.zero else f"{number(found.zero)}, a random policy's mean"
    what = "with errors of {} of half the range" if found.continuous else "where {} of its actions are random"
    each = [
        f"{number(value)} {what.format(percent(error))}" for value, error in zip(found.tolerance, TOLERANCE, strict=True)
    ]
    return [
        *rows,
        ("all of it is", f"return {number(found.returns[0][0])} in {played}; nothing is {zero}"),
        ("tolerates errors", f"looking at every step, return {', '.join(each)}"),
    ]


def _across(cells: Iterable[str]) -> str:
    return "".join(f"{cell:<9}" for cell in cells).rstrip()


_REPLAY, _TEACHER, _BLIND = "the same actions again", "the teacher's episodes", "plans executed blindly"

Found = TypeVar("Found")


@dataclass(frozen=True)
class Diagnosis:
    """What was found out about an environment.

    Attributes:
        replay: Whether replaying repeats; None where it could not be played.
        looking_away: The teacher's episodes and ε; None without a teacher, or if it could not play.
        curve: What plans of the teacher keep of its return; None where `looking_away` is, or if they could not be played.
        failures: Errors that stopped a part of the examination, by its heading.
    """

    env_id: str
    seed: int
    description: EnvDescription
    check: Check
    replay: Replay | None
    looking_away: LookingAway | None
    curve: BlindCurve | None = None
    failures: dict[str, str] = field(default_factory=dict)

    @property
    def advice(self) -> str | None:
        """The horizon worth asking for, in one sentence; None without a teacher."""
        if self.looking_away is None:
            return None
        return "a horizon worth asking for: about {}; {}".format(*advise(self.looking_away, self.curve))

    @property
    def horizon(self) -> int | None:
        """The horizon worth asking for; None without a teacher."""
        return None if self.looking_away is None else advise(self.looking_away, self.curve)[0]

    @property
    def hides_state(self) -> bool:
        """Whether seeds with the same first observation led to different episodes, without chance after the start."""
        found = self.replay
        return found is not None and found.forks_changed == 0 and found.different_episodes > found.different_starts

    def parts(self) -> list[tuple[str, list[Row]]]:
        """The page: for each part of the examination a heading, and rows of a name and what was found."""
        parts = [(self.env_id, environment_rows(self.description)), ("Gymnasium's checker", checker_rows(self.check))]
        if self.replay is not None:
            parts.append((_REPLAY, replay_rows(self.replay)))
        parts += [(part, [("stopped", f"at an error: {error}")]) for part, error in self.failures.items()]
        if self.looking_away is not None:
            rows = teacher_rows(self.looking_away)
            if self.curve is not None:
                rows += curve_rows(self.curve)
            if self.hides_state:
                rows.append(
                    ("hidden state", "a seed decides more than is seen; these plans know it, and a student keeps less")
                )
            parts.append((f"teacher {self.looking_away.teacher}", rows))
        return parts

    def __str__(self) -> str:
        lines = []
        for heading, rows in self.parts():
            width = max(len(name) for name, _ in rows)
            lines += [heading, *(f"  {name:<{width}}  {found}" for name, found in rows)]
        return "\n".join([*lines, *filter(None, [self.advice])])

    def to_json(self) -> dict[str, Any]:
        """All of it as plain values."""
        away, curve = self.looking_away, self.curve
        scale = {"horizons": HORIZONS, "errors": ERRORS, "larger_errors": TOLERANCE}
        return {
            "env_id": self.env_id,
            "seed": self.seed,
            "resolves_to": asdict(self.description),
            "checker": {"passed": self.check.error is None, **asdict(self.check)},
            "replay": None if self.replay is None else {"repeats": self.replay.repeats, **asdict(self.replay)},
            "teacher": None if away is None else asdict(away),
            "curve": None if curve is None else {**scale, **asdict(curve), "shares": curve.shares},
            "horizon": self.horizon,
            "advice": self.advice,
            "failures": self.failures,
        }


def doctor(
    env_id: str,
    teacher: Any = None,
    *,
    episodes: int = 8,
    steps: int = 300,
    normalize: str | Path | None = None,
    seed: int = 0,
    on_progress: OnProgress = silent,
) -> Diagnosis:
    """Examine an environment: what its id resolves to, whether replays repeat, what a teacher's plans keep of its return.

    Args:
        env_id: A Gymnasium id, or `module:factory`; also one that phr cannot act in.
        teacher: Any reference that `phr.evaluate` takes, or None.
        episodes: Episodes of random play, and of the teacher.
        steps: Most steps of each episode that are examined.
        normalize: As for `phr.distill`.
        seed: Fixes all that is drawn.
        on_progress: Called with what is being done.

    Raises:
        UsageError: If there is no such environment, or the teacher does not fit it.
        SettingError: If a number makes no sense.
    """
    Streams(seed)
    if episodes < 1 or steps < 1:
        raise SettingError(f"an examination needs at least one episode of one step, got {episodes} of {steps}")
    with closing(_quietly_made(env_id)) as closed:  # before another is opened: some simulators allow one at a time
        pass
    failures: dict[str, str] = {}
    asked, reading = None, Reading(normalize=normalize)
    if teacher is not None:  # which tries a few observations of an environment of its own
        asked = _unless_it_breaks(_TEACHER, failures, partial(ask, teacher, closed, reading), but=(PhrError,))
    on_progress(Progress("Gymnasium's checker", 0, 4, "parts"))
    checked = check(env_id)
    on_progress(Progress("playing again", 1, 4, "parts"))
    played: dict[str, Any] = {"seed": seed, "n_episodes": episodes, "max_steps": steps}
    with closing(_quietly_made(env_id)) as world:
        replay = _unless_it_breaks(_REPLAY, failures, partial(examine_replay, world, **played))
        away, curve = None, None
        if asked is not None:
            on_progress(Progress("watching the teacher", 2, 4, "parts"))
            played["twins"] = replay is not None and replay.forks is not None
            away = _unless_it_breaks(_TEACHER, failures, partial(look_away, world, asked, **played))
        if asked is not None and away is not None:
            on_progress(Progress("executing plans blindly", 3, 4, "parts"))
            curve = _unless_it_breaks(_BLIND, failures, partial(draw_curve, world, asked, away, **played))
        description = describe(world)
    return Diagnosis(env_id, seed, description, checked, replay, away, curve, failures)


def _quietly_made(env_id: str) -> World:
    """The environment; its warnings are for the checker to report."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return World(env_id)


def _unless_it_breaks(
    part: str, failures: dict[str, str], examination: Callable[[], Found], but: tuple[type[PhrError], ...] = ()
) -> Found | None:
    """What an examination found; an error that stops it is noted instead, and errors of the types `but` are raised."""
    try:
        return examination()
    except BrokenEnvironmentError as error:  # what the doctor is for
        failures[part] = str(error)
    except but:
        raise
    except PhrError as error:
        failures[part] = str(error)
    except FOREIGN_ERRORS as error:  # whatever the environment's own code raises
        failures[part] = error_text(error)
    return None
