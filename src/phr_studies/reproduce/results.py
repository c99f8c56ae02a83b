"""What a finished study found, read back from its files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from phr.errors import CorruptFileError
from phr.evaluation import Jitter
from phr.files import as_kind, read_json
from phr_studies.report.figure5 import LearnedPath
from phr_studies.report.points import (
    ACTION_REPEAT,
    OPTIMUM,
    TEACHER,
    Evaluated,
    Machine,
    Point,
    find,
    frequency_averaged_scores,
    pool,
)
from phr_studies.reproduce.profiles import ABLATIONS, Ablation, Outcome, Profile, StudyLayout
from phr_studies.worlds import Optimum, Starts, is_grid


@dataclass(frozen=True, kw_only=True)
class AblationRow:
    """One thing that was changed, and what became of it; claim and verdict may be empty."""

    name: str
    setting: str
    claim: str
    results: Mapping[str, Sequence[float]]
    """Name of a result, with its unit → one value for each training seed, none where it was not measured."""
    missing: str = ""
    """What stands in place of results that were not measured; empty for a dash."""
    verdict: str = ""


class Results:
    """Reads the files of a study; computes no policy."""

    def __init__(self, profile: Profile, layout: StudyLayout) -> None:
        self.profile = profile
        self.layout = layout

    @property
    def machines(self) -> list[Machine]:
        """On what the times were measured: of each training seed, for a study may go on elsewhere."""
        env_id = self.profile.env_ids[0]
        return [self._timed(env_id, TEACHER, 1, seed, 0)["machine"] for seed in self.profile.seeds]

    def points(self) -> list[Point]:
        """Every point of figure 4: teacher, losses, action repeat, and what a shortest path would draw."""
        points = []
        for env_id in self.profile.env_ids:
            points.append(self._pool(env_id, TEACHER, 1))
            later = [n for n in self.profile.horizons if n > 1]
            points += [self._pool(env_id, series, n) for series in (*self.profile.losses, ACTION_REPEAT) for n in later]
            points += self._optimum(env_id, points)
        return points

    def _pool(self, env_id: str, series: str, n: int) -> Point:
        found = [
            [self._timed(env_id, series, n, seed, number) for number in range(self.profile.runs)]
            for seed in self.profile.seeds
        ]
        return pool(series, n, found)

    def _timed(self, env_id: str, series: str, n: int, seed: int, number: int) -> Evaluated:
        return read_json(self.layout.timed(env_id, series, n, seed, number), Evaluated)

    def _optimum(self, env_id: str, measured: Sequence[Point]) -> list[Point]:
        """A shortest path, or a perfect game, at the time that the first loss's student needs."""
        best = self.optimum(env_id)
        rate = best["return_mean"] / best["length_mean"]
        twins = (find(measured, env_id, TEACHER if n == 1 else self.profile.losses[0], n) for n in self.profile.horizons)
        return [
            Point(
                env_id=env_id,
                series=OPTIMUM,
                n=twin.n,
                n_runs=1,
                return_mean=best["return_mean"],
                length_mean=best["length_mean"],
                success_rate=1.0,
                seconds_per_100k_steps=twin.seconds_per_100k_steps,
                score_per_second=rate * 1e5 / twin.seconds_per_100k_steps,
            )
            for twin in twins
            if twin is not None
        ]

    def optimum(self, env_id: str) -> Optimum:
        """What perfect play reaches."""
        return read_json(self.layout.starts(env_id, OPTIMUM), Optimum)

    def starts(self, env_id: str, series: str, n: int) -> list[Starts]:
        """Every start once: one result per training seed."""
        return [read_json(self.layout.starts(env_id, f"{series}-s{seed}", n), Starts) for seed in self.profile.seeds]

    def jitter(self, env_id: str, series: str, n: int) -> list[tuple[Starts, Jitter]]:
        """The same, with the jitter, where effects of actions are known; CorruptFileError if a file lacks it."""
        found = [(one, one.get("jitter")) for one in self.starts(env_id, series, n)]
        known = [(one, jitter) for one, jitter in found if jitter is not None]
        if len(known) < len(found):
            raise CorruptFileError(f"a result of {series} at n = {n} in {env_id} was edited: it has no jitter")
        return known

    def scores(self, points: Sequence[Point]) -> dict[tuple[str, str], float]:
        """Frequency-averaged scores by environment and series; none where the teacher is no better than random play."""
        random_returns = {env_id: read_json(self.layout.starts(env_id, "random"), float) for env_id in self.profile.env_ids}
        reached = {point.env_id: point.return_mean for point in points if point.series == TEACHER}
        teachers = {env_id: r for env_id, r in reached.items() if r is not None and r > random_returns[env_id]}
        return frequency_averaged_scores(
            [point for point in points if point.series != OPTIMUM],
            random_returns=random_returns,
            teacher_returns=teachers,
            frequencies=self.profile.horizons,
        )

    def ablations(self, env_id: str, among: Sequence[Ablation] = ABLATIONS) -> list[AblationRow]:
        """One row for each setting of these ablations; empty off the grids and where the profile has none."""
        if not (self.profile.ablations and is_grid(env_id)):
            return []
        rows = []
        for ablation in among:
            outcomes = {label: self._outcome(env_id, ablation.name, label) for label, _ in ablation.settings}
            verdict = ablation.judge(outcomes)
            for index, (label, outcome) in enumerate(outcomes.items()):
                none = outcome.windowless
                row = AblationRow(
                    name=ablation.name,
                    setting=outcome.describe(label),
                    claim=ablation.claim if index == 0 else "",
                    results={f"solved, n = {n}": () if none else values for n, values in outcome.solved.items()},
                    missing="no window" if none else "",
                    verdict=verdict if index == 0 else "",
                )
                rows.append(row)
        return rows

    def _outcome(self, env_id: str, name: str, label: str) -> Outcome:
        reached = {
            n: [_share_solved(self.layout.ablation_starts(env_id, name, label, n, seed)) for seed in self.profile.seeds]
            for n in self.profile.horizons
        }
        solved = {n: tuple(0.0 if share is None else share for share in found) for n, found in reached.items()}
        return Outcome(solved, reached[self.profile.max_horizon].count(None))

    def path(self, env_id: str, n: int) -> LearnedPath:
        """The learned path at n."""
        return read_json(self.layout.walked(env_id, n), LearnedPath)


def _share_solved(file: Path) -> float | None:
    """The fraction of starts that a student solved; None where there was no window to learn from."""
    found = read_json(file, dict[str, Any])
    if "no_window" in found:
        return None
    starts = as_kind(found, Starts, str(file))
    return (starts["n_solved"] or 0) / starts["n_starts"]
