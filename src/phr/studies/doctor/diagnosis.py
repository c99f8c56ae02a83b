"""The examination, and the page it fills."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from phr.errors import NonFiniteError, SettingError
from phr.learning.driver import Progress
from phr.report.numbers import counted, number, percent
from phr.report.tables import NOTHING
from phr.seeding import Streams
from phr.studies.doctor.asked import ask
from phr.studies.doctor.checker import Check, check
from phr.studies.doctor.describe import Description, describe
from phr.studies.doctor.looking_away import HORIZONS, LONGEST, LookingAway, look_away
from phr.studies.doctor.replay import Replay, examine_replay
from phr.studies.doctor.world import make_world
from phr.teachers.foreign import NOTHING_SAID, Reading

_STEPPED = {
    "minigrid": "MiniGrid's fast way: a view is built when somebody looks, from the cells that changed",
    "atari": "Atari's fast way: the emulator alone, frames are prepared when somebody looks",
    "generic": "Gymnasium's own way: it observes at each step, and what nobody asks for is thrown away",
}
_LONG = 160
"""Characters of a space's text that the page shows; the JSON holds them all."""

Row = tuple[str, str]


@dataclass(frozen=True)
class Diagnosis:
    """What was found out about an environment.

    Attributes:
        env_id: Which.
        seed: What the examination drew from.
        description: What the id resolves to.
        check: Gymnasium's checker.
        replay: Whether replaying repeats; None where the environment failed while it was played.
        looking_away: What the teacher's episodes say about plans; None without a teacher, or where playing failed.
        failure: What the environment failed with, None where it did not.
    """

    env_id: str
    seed: int
    description: Description
    check: Check
    replay: Replay | None
    looking_away: LookingAway | None
    failure: str | None = None

    @property
    def advice(self) -> str | None:
        """The horizon worth asking for, in one sentence; None without a teacher."""
        away = self.looking_away
        return None if away is None else f"a horizon worth asking for: about {away.horizon}; {away.reason}"

    def parts(self) -> list[tuple[str, list[Row]]]:
        """The page: for each part of the examination a heading, and rows of a name and what was found."""
        parts = [
            (self.env_id, _environment(self.description)),
            ("Gymnasium's checker", _checker(self.check)),
            ("the same actions again", _failed(self.failure) if self.replay is None else _replay(self.replay)),
        ]
        if self.looking_away is not None:
            parts.append((f"teacher {self.looking_away.teacher}", _teacher(self.looking_away)))
        return parts

    def __str__(self) -> str:
        lines = []
        for heading, rows in self.parts():
            width = max(len(name) for name, _ in rows)
            lines += [heading, *(f"  {name:<{width}}  {found}" for name, found in rows)]
        return "\n".join([*lines, *filter(None, [self.advice])])

    def to_json(self) -> dict[str, Any]:
        """All of it as plain values."""
        away = self.looking_away
        return {
            "env_id": self.env_id,
            "seed": self.seed,
            "resolves_to": asdict(self.description),
            "checker": {"passed": self.check.error is None, **asdict(self.check)},
            "replay": None if self.replay is None else {"repeats": self.replay.repeats, **asdict(self.replay)},
            "failure": self.failure,
            "teacher": None if away is None else {**asdict(away), "horizons": list(HORIZONS), "longest": LONGEST},
        }


def examine(
    env_id: str,
    teacher: Any = None,
    *,
    reading: Reading = NOTHING_SAID,
    seed: int = 0,
    n_episodes: int = 8,
    max_steps: int = 300,
    on_progress: Callable[[Progress], None],
) -> Diagnosis:
    """Examine an environment, and how long a teacher could look away in it.

    Args:
        env_id: Which.
        teacher: Any reference that `phr evaluate` takes, or None.
        reading: What the teacher's file does not say.
        seed: Fixes all that is drawn.
        n_episodes: Episodes of random play, and of the teacher.
        max_steps: Most steps of each.
        on_progress: Told what is being done.

    Raises:
        UsageError: If there is no such environment, or the teacher does not fit it.
        SettingError: If a number makes no sense.
    """
    Streams(seed)
    if n_episodes < 1 or max_steps < 1:
        raise SettingError(f"an examination needs at least one episode of one step, got {n_episodes} of {max_steps}")
    with warnings.catch_warnings():  # the checker tells them
        warnings.simplefilter("ignore")
        world = make_world(env_id)
    asked = None if teacher is None else ask(teacher, world, reading)
    on_progress(Progress("Gymnasium's checker", 0, 3, "parts"))
    checked = check(env_id)
    on_progress(Progress("playing again", 1, 3, "parts"))
    replay, away, failure = None, None, None
    try:
        replay = examine_replay(world, seed=seed, n_episodes=n_episodes, max_steps=max_steps)
    except NonFiniteError as error:
        failure = str(error)
    except Exception as error:  # the environment's own code
        failure = " ".join(f"{type(error).__name__}: {error}".split())
    if asked is not None and replay is not None:
        on_progress(Progress("watching the teacher", 2, 3, "parts"))
        away = look_away(world, asked, repeats=replay.repeats, seed=seed, n_episodes=n_episodes, max_steps=max_steps)
    description = describe(world)
    world.close()
    return Diagnosis(env_id, seed, description, checked, replay, away, failure)


def _environment(found: Description) -> list[Row]:
    names = f": {', '.join(found.action_names)}" if found.action_names else ""
    rows = [
        ("made by", found.made_by),
        ("wrapped in", ", ".join(found.wrappers) or "nothing"),
        ("actions", _short(found.action_space) + names),
        ("observation", _short(found.observation_space)),
    ]
    if found.way is not None and found.shown_shape is not None:
        shape = "×".join(map(str, found.shown_shape)) or "one number"
        rows += [
            ("a network sees", f"{shape} {found.shown_dtype}: {found.shown}"),
            ("a fresh network", found.network or NOTHING),
            ("stepped by", _STEPPED[found.way]),
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


def _checker(found: Check) -> list[Row]:
    end = "came to its end" if found.error is None else "stopped at an error"
    rows = [("result", f"{end}, {counted(len(found.warnings), 'warning')}")]
    complaints = [("error", found.error)] if found.error else []
    for name, finding in [*complaints, *(("warning", each) for each in found.warnings)]:
        rows.append((name, finding.says + (f" → {finding.fix}" if finding.fix else "")))
    return rows


def _replay(found: Replay) -> list[Row]:
    played = f"{counted(found.episodes, 'episode')} of random actions, {counted(found.steps, 'step')}"
    if found.difference is None:
        rows = [("replaying", f"repeats: {played}, the same to the last bit")]
    else:
        where = "at the start" if found.difference.step == 0 else f"after step {found.difference.step}"
        rows = [
            (
                "replaying",
                f"does not repeat: episode {found.difference.episode + 1} differs {where} ({found.difference.what}); a run "
                "cannot be resumed bit for bit. Draw all chance from self.np_random, and set up everything in reset",
            )
        ]
    later = f" and {found.different_episodes} different episodes under the same actions"
    alike = found.different_episodes == found.different_starts
    looks = counted(found.different_starts, "different first look")
    rows.append(("starts", f"{found.starts} seeds give {looks}{'' if alike else later}"))
    if found.forks_changed is not None:
        rows.append(("chance", _chance(found)))
    return rows


def _failed(failure: str | None) -> list[Row]:
    return [("playing", f"random actions stopped at an error: {failure}")]


def _chance(found: Replay) -> str:
    where = f"{found.forks} moments, followed for {found.fork_steps} steps"
    if not found.forks_changed:
        return f"none seen after the start: other dice changed nothing in {where}"
    return f"plays on after the start: other dice led elsewhere in {found.forks_changed} of {where}"


def _teacher(found: LookingAway) -> list[Row]:
    lengths = f"{counted(round(found.length_median), 'step')} at the median"
    going_on = f" ({found.cut} went on when nobody watched any longer)" if found.cut else ""
    rows = [
        (
            "episodes",
            f"{counted(found.episodes, 'greedy one')}, {lengths}{going_on}, mean return {number(found.return_mean)}",
        ),
        ("keeps an action", f"for {counted(found.run_median, 'step')} at the median, {found.run_p90} at the ninth decile"),
    ]
    if found.tolerance is not None:
        rows.append(("two actions", f"count as the same within {percent(found.tolerance)} of their range"))
    rows += [
        ("after n steps", _across([f"{n}" for n in HORIZONS])),
        ("a plan is right", _across([percent(share) for share in found.plan_right or (None,) * len(HORIZONS)])),
        ("action repeat is", _across([percent(share) for share in found.repeat_right])),
    ]
    if found.diverged:
        rows.append(
            ("nine plans in ten", f"are right for {counted(found.blind_p90 or 1, 'step')}: a commitment to begin with")
        )
    return rows


def _across(cells: list[str]) -> str:
    return "".join(f"{cell:<9}" for cell in cells).rstrip()
