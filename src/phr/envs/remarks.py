"""What did not go as asked while environments were played: counted, and printed once beside the result."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from phr.errors import BrokenEnvironmentError


@dataclass
class Remarks:
    """Counts of what did not go as asked, each with its first reason.

    Attributes:
        n_prefixes_left_out: Episodes that began without their random prefix, because the environment refused one of its
            actions.
        n_abandoned: Episodes that were given up, because the environment refused an action of the student.
        shortage: Why fewer copies of the environment were open side by side than wanted; empty where there were enough.
    """

    n_prefixes_left_out: int = 0
    n_abandoned: int = 0
    shortage: str = ""
    _reasons: dict[str, str] = field(default_factory=dict)

    def prefix_left_out(self, error: BrokenEnvironmentError) -> None:
        """Count an episode that began without its prefix."""
        self.n_prefixes_left_out += 1
        self._reasons.setdefault("prefix", str(error))

    def abandoned(self, error: BrokenEnvironmentError) -> None:
        """Count an episode that was given up."""
        self.n_abandoned += 1
        self._reasons.setdefault("abandoned", str(error))

    def fewer_copies(self, env_id: str, n_opened: int, n_wanted: int, error: Exception) -> None:
        """Note that no more than `n_opened` of `n_wanted` environments could be opened; only the first time counts."""
        self.shortage = self.shortage or (
            f"{env_id}: only {n_opened} of {n_wanted} copies could be opened side by side ({error}); "
            f"n_envs={n_opened} asks for no more"
        )

    @classmethod
    def of(cls, parts: Sequence[Remarks]) -> Remarks:
        """Return the sum of several."""
        total = cls()
        for part in parts:
            total.n_prefixes_left_out += part.n_prefixes_left_out
            total.n_abandoned += part.n_abandoned
            total.shortage = total.shortage or part.shortage
            total._reasons = {**part._reasons, **total._reasons}
        return total

    def lines(self) -> list[str]:
        """One sentence for each kind of remark; none where everything went as asked."""
        lines = [self.shortage] if self.shortage else []
        if self.n_prefixes_left_out:
            lines.append(
                f"{self.n_prefixes_left_out:,} episodes began without their random prefix, because the environment refused "
                f"one of its actions (the first: {self._reasons['prefix']}); prefix 0:0 plays none"
            )
        if self.n_abandoned:
            lines.append(
                f"{self.n_abandoned:,} episodes of refinement were abandoned, because the environment refused an action of "
                f"the student (the first: {self._reasons['abandoned']})"
            )
        return lines
