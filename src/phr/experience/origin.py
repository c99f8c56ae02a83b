"""Where experience comes from: whose actions it holds, and how they were recorded."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from phr.errors import CorruptFileError


@dataclass(frozen=True, kw_only=True)
class Origin:
    """Whose experience it is, and what is needed to record it again.

    Attributes:
        teacher: What the user called the teacher.
        teacher_id: SHA-256 of its model file; its name (`oracle`) where it has none.
        seed: Fixed the starts, and the sampled actions.
        prefix: Fewest and most random, unrecorded actions before each episode.
        sampled: The teacher sampled; otherwise it took its most likely actions.
        versions: Of phr and of the libraries that recorded it.
    """

    teacher: str
    teacher_id: str
    seed: int
    prefix: tuple[int, int]
    sampled: bool
    versions: dict[str, str] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {**asdict(self), "prefix": list(self.prefix)}

    @classmethod
    def from_json(cls, values: Any) -> Origin:
        """What `to_json` wrote.

        Raises:
            CorruptFileError: If entries are missing or unknown.
        """
        try:
            low, high = values["prefix"]
            return cls(**{**values, "prefix": (low, high)})
        except (KeyError, TypeError, ValueError) as error:
            raise CorruptFileError(f"this origin of experience was not written by phr: {error}") from error
