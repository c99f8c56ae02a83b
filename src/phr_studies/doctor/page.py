"""The rows of the page: for each part of the examination a name and what was found."""

from __future__ import annotations

from phr_studies.doctor.checker import Check
from phr_studies.doctor.describe import Description
from phr_studies.doctor.error_tolerance import ERRORS, ErrorTolerance
from phr_studies.doctor.looking_away import HORIZONS, LookingAway
from phr_studies.doctor.replay import Replay
from phr_studies.report.tables import NOTHING
from phr_studies.report.text import counted, number, percent

_LONG = 160
"""Characters of a space's text that the page shows; the JSON holds them all."""

Row = tuple[str, str]


def environment_rows(found: Description) -> list[Row]:
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
            ("a fresh network", found.network or NOTHING),
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
    end = "came to its end" if found.error is None else "stopped at an error"
    rows = [("result", f"{end}, {counted(len(found.warnings), 'warning')}")]
    complaints = [("error", found.error)] if found.error else []
    for name, finding in [*complaints, *(("warning", each) for each in found.warnings)]:
        rows.append((name, finding.says + (f" → {finding.fix}" if finding.fix else "")))
    return rows


def replay_rows(found: Replay) -> list[Row]:
    """Whether replaying repeats."""
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
    looks = "the same first look" if found.different_starts == 1 else f"{found.different_starts} different first looks"
    rows.append(("starts", f"{found.starts} seeds give {looks}{'' if alike else later}"))
    if found.dice_refused is not None:
        rows.append(("chance", f"unknown: {found.dice_refused}"))
    if found.forks_changed is not None:
        rows.append(("chance", _chance(found)))
    return rows


def _chance(found: Replay) -> str:
    where = f"{found.forks} moments, followed for {found.fork_steps} steps"
    if not found.forks_changed:
        return f"none seen after the start: other dice changed nothing in {where}"
    return f"plays on after the start: other dice led elsewhere in {found.forks_changed} of {where}"


def teacher_rows(found: LookingAway) -> list[Row]:
    """What the teacher's episodes say."""
    lengths = f"{counted(round(found.length_median), 'step')} at the median"
    going_on = f" ({found.cut} went on when nobody watched any longer)" if found.cut else ""
    rows = [
        (
            "episodes",
            f"{counted(found.episodes, 'greedy one')}, {lengths}{going_on}, mean return {number(found.return_mean)}",
        ),
        (
            "keeps an action",
            f"for {counted(found.run_median, 'step')} at the median, nine times in ten for at most {found.run_p90}",
        ),
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


def error_row(found: ErrorTolerance) -> Row:
    """What the teacher collects where it errs."""
    right, *erring = (number(value) for value in found.returns)
    what = "with errors of {} of half the range" if found.continuous else "where {} of its actions are random"
    each = (f"{value} {what.format(percent(error))}" for value, error in zip(erring, ERRORS[1:], strict=True))
    return "bears errors", f"return {right} as it is, {', '.join(each)} (at most {counted(found.steps, 'step')} each)"


def _across(cells: list[str]) -> str:
    return "".join(f"{cell:<9}" for cell in cells).rstrip()
