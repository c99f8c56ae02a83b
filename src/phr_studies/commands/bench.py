"""`phr bench`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import phr
from phr.cli.display import ProgressBar, console, say
from phr.cli.words import Flag, Folder, OptionalFile, word
from phr.files import check_file_target


@dataclass(frozen=True, kw_only=True)
class Bench:
    """Measure phr on this machine, side by side with its peers."""

    hz: Annotated[tuple[float, ...], word("RATE")] = (50.0, 200.0, 1000.0)
    """Rates of the control loop whose latency is measured (default 50 200 1000)."""
    model: Annotated[tuple[str, ...], word("MODEL")] = ()
    """Students to bench, run directories or zoo:NAME; the reference networks by default."""
    sections: Annotated[tuple[str, ...], word("NAME")] = ()
    """Only these: loops, grids, backends, latency, vectors, footprint, training, from_nothing."""
    quick: Flag = False
    """Few and short rounds: two minutes for a look, not for publication."""
    out: Folder = Path("runs/bench")
    """Folder for bench.json, bench.md and networks that have to be distilled (default runs/bench)."""
    json: OptionalFile = None
    """Write the JSON to this file too."""

    def run(self) -> None:
        """Measure, print each section's tables, say where they are written."""
        from phr_studies.report.tables import to_rich

        check_file_target(self.json)

        with ProgressBar() as bar:
            result = phr.bench(
                out=self.out,
                json=self.json,
                models=self.model,
                sections=self.sections,
                hz=self.hz,
                quick=self.quick,
                say=say,
                on_progress=bar,
                on_section=lambda _heading, tables: console.print(*map(to_rich, tables)),
            )
        say(f"written to {self.out / 'bench.md'} and {self.out / 'bench.json'}")
        result.check()
