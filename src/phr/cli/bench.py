"""The words of `phr bench`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from phr import api
from phr.cli.display import ProgressBar, console, say


@dataclass(frozen=True, kw_only=True)
class Bench:
    """Measure phr on this machine, side by side with its peers."""

    hz: tuple[float, ...] = (50.0, 200.0, 1000.0)
    """Rates of the control loop whose latency is measured."""
    model: tuple[str, ...] = ()
    """Students to bench, run directories or zoo:NAME; the reference networks by default."""
    sections: tuple[str, ...] = ()
    """Only these: loops, grids, backends, latency, vectors, footprint."""
    quick: bool = False
    """Few and short rounds: two minutes for a look, not for publication."""
    out: Path = Path("runs/bench")
    """Folder for bench.json, bench.md and networks that have to be distilled."""
    json: Path | None = None
    """Write the JSON to this file too."""

    def run(self) -> None:
        """Measure, print each section's tables, say where they are written."""
        from phr.report.tables import to_rich

        with ProgressBar() as bar:
            result = api.bench(
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
