"""`phr reproduce`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import phr
from phr.cli.display import ProgressBar, console, say
from phr.cli.words import Flag, Folder, word


@dataclass(frozen=True, kw_only=True)
class Reproduce:
    """Make the paper's figures 4 and 5 from nothing, on one page."""

    profile: Annotated[Literal["quick", "paper"], word("quick|paper")] = "quick"
    """quick (default): both grids, one seed, minutes; paper: Pong too, every n and loss, five seeds, ablations, hours."""
    out: Folder = Path("runs/reproduce")
    """The study's folder (default runs/reproduce). An interrupted study goes on where it was."""
    from_scratch: Flag = False
    """Train Pong's teacher too, one for each seed; by default it is the zoo's."""

    def run(self) -> None:
        """Run the study, print its tables, say where the page is."""
        from phr_studies.report.tables import to_rich
        from phr_studies.reproduce.tables import study_tables

        with ProgressBar() as bar:
            results = phr.reproduce(self.profile, out=self.out, from_scratch=self.from_scratch, on_progress=bar, say=say)
        for table in study_tables(results, results.points()):
            console.print(to_rich(table))
        say(f"written to {self.out / 'report.html'}")
