"""`phr report`."""

from __future__ import annotations

from dataclasses import dataclass

import phr
from phr.cli.display import say
from phr.cli.words import OptionalEnvId, OptionalFolder, Reported


@dataclass(frozen=True, kw_only=True)
class Report:
    """Put figures, learned paths and films on one page."""

    reference: Reported
    """The folder of a finished phr reproduce, whose page is drawn anew; or a model: a run directory, zoo:NAME."""
    env_id: OptionalEnvId = None
    """Where to act; the model's own environment by default. One that is code (module:factory) has to be named here."""
    out: OptionalFolder = None
    """A model's page goes here (default DIR/report, for the zoo runs/report-NAME)."""

    def run(self) -> None:
        """Make the page, and say where it is."""
        say(f"written to {phr.make_report(self.reference, out=self.out, env_id=self.env_id, say=say)}")
