"""Every start of an environment, played by the models of a study; as jobs, for nothing is timed meanwhile."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import torch

from phr.files import read_json, write_json
from phr.storage import load_model
from phr_studies.relay import Relay
from phr_studies.reproduce.layout import StudyLayout
from phr_studies.worlds import all_starts


@dataclass(frozen=True, kw_only=True)
class EveryStartJob:
    """One model, every start once at each of some commitments.

    Attributes:
        env_id: Where.
        optimum: What the best possible result and the starts are read from (see `phr_studies.worlds.optimum`).
        model: Its run directory.
        results: Commitment and the file that its result goes to.
    """

    env_id: str
    optimum: Path
    model: Path
    results: tuple[tuple[int, Path], ...]

    @property
    def name(self) -> str:
        """For a person."""
        return f"every start, {self.env_id}, {self.model.name}"

    @property
    def is_done(self) -> bool:
        """Whether every result is there."""
        return all(file.exists() for _, file in self.results)

    def __call__(self, relay: Relay) -> None:
        """Play what is missing."""
        torch.set_num_threads(1)
        missing = [(n, file) for n, file in self.results if not file.exists()]
        no_window = StudyLayout.no_window(self.model)
        if no_window.exists():  # there is no such model, and that is the result
            for _, file in missing:
                write_json(file, read_json(no_window))
        elif missing:
            planner, best = load_model(self.model).planner, read_json(self.optimum)
            for n, file in missing:
                write_json(file, all_starts(planner, self.env_id, best, n))


def every_start_jobs(env_id: str, optimum: Path, plays: Iterable[tuple[Path, int, Path]]) -> list[EveryStartJob]:
    """One job for each model.

    Args:
        env_id: Where.
        optimum: See `EveryStartJob`.
        plays: Model, commitment, result's file.
    """
    by_model: dict[Path, list[tuple[int, Path]]] = {}
    for model, n, file in plays:
        by_model.setdefault(model, []).append((n, file))
    return [
        EveryStartJob(env_id=env_id, optimum=optimum, model=model, results=tuple(results))
        for model, results in by_model.items()
    ]
