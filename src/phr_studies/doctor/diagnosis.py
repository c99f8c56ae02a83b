"""The examination, and the page it fills."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from contextlib import closing
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from phr.errors import BrokenEnvironmentError, PhrError, SettingError
from phr.progress import OnProgress, Progress, silent
from phr.seeding import Streams
from phr.teachers import Reading
from phr_studies.doctor.asked import ask
from phr_studies.doctor.checker import Check, check
from phr_studies.doctor.describe import Description, describe
from phr_studies.doctor.error_tolerance import ERRORS, ErrorTolerance, bear_errors
from phr_studies.doctor.looking_away import HORIZONS, LONGEST, LookingAway, look_away
from phr_studies.doctor.page import Row, checker_rows, environment_rows, error_row, replay_rows, teacher_rows
from phr_studies.doctor.replay import Replay, examine_replay
from phr_studies.doctor.world import World

_REPLAY, _TEACHER, _ERRORS = "the same actions again", "the teacher's episodes", "the teacher's errors"

Found = TypeVar("Found")


@dataclass(frozen=True)
class Diagnosis:
    """What was found out about an environment.

    Attributes:
        env_id: Which.
        seed: What the examination drew from.
        description: What the id resolves to.
        check: Gymnasium's checker.
        replay: Whether replaying repeats; None where it could not be played.
        looking_away: What the teacher's episodes say about plans; None without a teacher, or where they could not be played.
        error_tolerance: What the teacher collects where it errs; None where nothing is said of looking away.
        failures: Errors that stopped a part of the examination, by its heading.
    """

    env_id: str
    seed: int
    description: Description
    check: Check
    replay: Replay | None
    looking_away: LookingAway | None
    error_tolerance: ErrorTolerance | None = None
    failures: dict[str, str] = field(default_factory=dict)

    @property
    def advice(self) -> str | None:
        """The horizon worth asking for, in one sentence; None without a teacher."""
        away = self.looking_away
        return None if away is None else f"a horizon worth asking for: about {away.horizon}; {away.reason}"

    def parts(self) -> list[tuple[str, list[Row]]]:
        """The page: for each part of the examination a heading, and rows of a name and what was found."""
        parts = [
            (self.env_id, environment_rows(self.description)),
            ("Gymnasium's checker", checker_rows(self.check)),
        ]
        if self.replay is not None:
            parts.append((_REPLAY, replay_rows(self.replay)))
        for part, error in self.failures.items():
            parts.append((part, [("stopped", f"at an error: {error}")]))
        if self.looking_away is not None:
            rows = teacher_rows(self.looking_away)
            if self.error_tolerance is not None:
                rows.append(error_row(self.error_tolerance))
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
        away, borne = self.looking_away, self.error_tolerance
        return {
            "env_id": self.env_id,
            "seed": self.seed,
            "resolves_to": asdict(self.description),
            "checker": {"passed": self.check.error is None, **asdict(self.check)},
            "replay": None if self.replay is None else {"repeats": self.replay.repeats, **asdict(self.replay)},
            "teacher": None if away is None else {**asdict(away), "horizons": list(HORIZONS), "longest": LONGEST},
            "error_tolerance": None if borne is None else {"errors": list(ERRORS), **asdict(borne)},
            "failures": self.failures,
        }


def doctor(
    env_id: str,
    teacher: Any = None,
    *,
    episodes: int = 8,
    steps: int = 300,
    activation: str | None = None,
    normalize: str | Path | None = None,
    seed: int = 0,
    on_progress: OnProgress = silent,
) -> Diagnosis:
    """Examine an environment: what its id resolves to, whether it repeats, how long a teacher could act in it blindly.

    Args:
        env_id: A Gymnasium id, or `module:factory`; also one that phr cannot act in.
        teacher: Any reference that `phr.evaluate` takes, or None.
        episodes: Episodes of random play, and of the teacher.
        steps: Most steps of each episode that are examined.
        activation: As for `phr.distill`.
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
    asked, reading = None, Reading(activation=activation, normalize=normalize)
    if teacher is not None:  # which looks at a few observations of an environment of its own
        asked = _unless_it_breaks(_TEACHER, failures, partial(ask, teacher, closed, reading), but=(PhrError,))
    on_progress(Progress("Gymnasium's checker", 0, 4, "parts"))
    checked = check(env_id)
    on_progress(Progress("playing again", 1, 4, "parts"))
    played: dict[str, Any] = {"seed": seed, "n_episodes": episodes, "max_steps": steps}
    with closing(_quietly_made(env_id)) as world:
        replay = _unless_it_breaks(_REPLAY, failures, partial(examine_replay, world, **played))
        away, borne = None, None
        if asked is not None:
            on_progress(Progress("watching the teacher", 2, 4, "parts"))
            twins = replay is not None and replay.forks is not None
            away = _unless_it_breaks(_TEACHER, failures, partial(look_away, world, asked, twins=twins, **played))
        if asked is not None and away is not None:
            on_progress(Progress("disturbing the teacher", 3, 4, "parts"))
            borne = _unless_it_breaks(_ERRORS, failures, partial(bear_errors, world, asked, **played))
        description = describe(world)
    return Diagnosis(env_id, seed, description, checked, replay, away, borne, failures)


def _quietly_made(env_id: str) -> World:
    """The environment; its warnings are for the checker to report."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return World(env_id)


def _unless_it_breaks(
    part: str, failures: dict[str, str], examination: Callable[[], Found], but: tuple[type[PhrError], ...] = ()
) -> Found | None:
    """What an examination found; an error that stopped it is noted instead, `but` for those that the user is to hear."""
    try:
        return examination()
    except BrokenEnvironmentError as error:  # what the doctor is for
        failures[part] = str(error)
    except but:
        raise
    except PhrError as error:
        failures[part] = str(error)
    except Exception as error:  # whatever the environment's own code raises
        failures[part] = f"{type(error).__name__}: {error}"
    return None
