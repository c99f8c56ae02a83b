"""Whole experiments."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from phr.api.threads import use_threads
from phr.learning.driver import OnProgress, silent

if TYPE_CHECKING:
    from phr.studies.results import Results


def reproduce(
    profile: str = "quick",
    *,
    out: str | Path,
    on_progress: OnProgress = silent,
    say: Callable[[str], None] = lambda _line: None,
) -> Results:
    """Run the paper's experiments from nothing and write `report.html`; an interrupted study goes on where it was.

    Args:
        profile: `quick`, or `paper` (every n, five seeds, 100,000 steps each, the ablations).
        out: The study's folder.
        on_progress: Told how trainings go on.
        say: Told what happens, one line at a time.

    Returns:
        What was found.

    Raises:
        SettingError: If there is no such profile.
        OutputDirectoryError: If the folder holds something else, or another study.
    """
    from phr.studies.profiles import find_profile  # figures and tables take a second to import
    from phr.studies.reproduce import reproduce as run_study

    use_threads(1)
    command = f"phr reproduce --profile {profile} --out {out}"
    return run_study(find_profile(profile), Path(out), command=command, say=say, on_progress=on_progress)
