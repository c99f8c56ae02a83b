"""`phr convert`."""

from __future__ import annotations

from dataclasses import dataclass

import phr
from phr.cli.display import say
from phr.cli.words import Flag, PickleFile, StatisticsFile


@dataclass(frozen=True, kw_only=True)
class Convert:
    """Take observation statistics out of a vecnormalize.pkl."""

    file: PickleFile
    """What VecNormalize.save wrote: a pickle."""
    out: StatisticsFile
    """The file to write; one that is there is replaced."""
    trust: Flag = False
    """You trust who made the pickle: reading one can run any code."""

    def run(self) -> None:
        """Convert, and say where the statistics are."""
        phr.convert_vecnormalize(self.file, self.out, trust=self.trust)
        say(f"written to {self.out}")
