"""The tables of a study: timed results, every start once, jitter, ablations."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain
from typing import Any

from phr.distil import PlanLoss
from phr.errors import InvalidDataError
from phr_studies.report.points import (
    ACTION_REPEAT,
    OPTIMUM,
    TEACHER,
    IntervalKind,
    Point,
    describe_intervals,
    find,
    in_order,
)
from phr_studies.report.tables import Column, Table
from phr_studies.report.text import env_name, interval, mean_and_range, number, percent, series_name, times
from phr_studies.reproduce.claims import FEWEST_SEEDS, TOLERANCE, better, every
from phr_studies.reproduce.results import AblationRow, Results
from phr_studies.worlds import is_grid

_INTERVAL_HEADINGS: dict[frozenset[IntervalKind], str] = {
    frozenset({"bootstrap"}): "95 %",
    frozenset({"range"}): "min … max",
}


@dataclass(frozen=True, kw_only=True)
class StudyTables:
    """What the terminal shows and `tables.md` holds.

    Attributes:
        timed: One for each environment, of timed runs.
        starts: One for each environment, every start once.
        jitter: One for each game.
        ablations: One for each grid, if there are any.
    """

    timed: tuple[Table, ...]
    starts: tuple[Table, ...]
    jitter: tuple[Table, ...]
    ablations: tuple[Table, ...]

    def __iter__(self) -> Iterator[Table]:
        return chain(self.timed, self.starts, self.jitter, self.ablations)


def study_tables(results: Results, points: Sequence[Point]) -> StudyTables:
    """The tables of a study, from its results and the points of its figure 4."""
    env_ids, note = results.profile.env_ids, ablation_note(results)
    ablations = [(env_id, rows) for env_id in env_ids if (rows := results.ablations(env_id))]
    return StudyTables(
        timed=tuple(results_tables(points, results.scores(points))),
        starts=tuple((_grid_table if is_grid(env_id) else _game_table)(results, env_id) for env_id in env_ids),
        jitter=tuple(jitter_table(results, env_id) for env_id in env_ids if not is_grid(env_id)),
        ablations=tuple(ablation_table(rows, f"Ablations, {env_name(env_id)}", note) for env_id, rows in ablations),
    )


def results_tables(points: Sequence[Point], scores: Mapping[tuple[str, str], float] | None = None) -> list[Table]:
    """One results table per environment, in order of first appearance."""
    return [results_table(env_id, points, scores) for env_id in in_order(points, lambda point: point.env_id)]


def results_table(env_id: str, points: Sequence[Point], scores: Mapping[tuple[str, str], float] | None = None) -> Table:
    """Everything measured in one environment, a row for every series and n.

    The frequency-averaged score belongs to a whole series and stands in its first row. The policy with the
    most score per second is set bold; the optimum, which nobody has to learn, does not compete.

    Args:
        env_id: Which environment.
        points: Points; those of other environments are left out.
        scores: (environment, series) → FAS.

    Raises:
        InvalidDataError: If there is no point of this environment.
    """
    here = [point for point in points if point.env_id == env_id]
    if not here:
        raise InvalidDataError(f"no point of {env_id} among {len(points)}")
    series = in_order(here, lambda point: point.series)
    rows = sorted(here, key=lambda point: (series.index(point.series), point.n))
    first = {point.series: point for point in reversed(rows)}
    teacher = find(here, env_id, TEACHER, 1)
    kinds = frozenset(point.interval_kind for point in here if point.interval_kind != "none")
    ends = partial(Column, _INTERVAL_HEADINGS.get(kinds, "interval"), "interval")

    def speed_up(point: Point) -> float | None:
        return None if teacher is None else teacher.seconds_per_100k_steps / point.seconds_per_100k_steps

    def fas(point: Point) -> str:
        return number((scores or {}).get((env_id, point.series))) if point is first[point.series] else ""

    columns = (
        Column("policy", cell=lambda point: series_name(point.series)),
        Column("n", "number", lambda point: str(point.n)),
        Column("success", "number", lambda point: percent(point.success_rate)),
        Column("return", "number", lambda point: number(point.return_mean)),
        ends(lambda point: interval(point.return_interval)),
        Column("length (steps)", "number", lambda point: number(point.length_mean, 2)),
        Column("evals / episode", "number", lambda point: number(point.evaluations_per_episode, 2)),
        Column("s / 100k steps", "number", lambda point: number(point.seconds_per_100k_steps)),
        ends(lambda point: interval(point.seconds_interval)),
        Column("speed-up", "number", lambda point: times(speed_up(point))),
        Column("score / s", "number", lambda point: number(point.score_per_second)),
        ends(lambda point: interval(point.score_interval)),
        Column("of bound", "number", lambda point: percent(point.bound_fraction)),
        Column("FAS", "number", fas),
    )
    competing = [index for index, point in enumerate(rows) if point.series != OPTIMUM]
    best = max(competing, key=lambda index: rows[index].score_per_second, default=None)
    table = Table.of(env_id, rows, columns, _note(here), grouped=True)
    return table if best is None else replace(table, strong=frozenset({best}))


def _note(points: Sequence[Point]) -> str:
    """What the words of the table mean, as far as it uses them."""
    series = {point.series for point in points}
    parts = [
        describe_intervals(points),
        "Evals: network calls. Speed-up: over the teacher. Of bound: least possible over measured time.",
        "FAS: return averaged over n, on a scale from random play (0) to the teacher (1).",
        "Action repeat: the teacher's action, n times." if ACTION_REPEAT in series else "",
        "Optimum: a shortest path, in Pong a perfect game, at the same cost of looking." if OPTIMUM in series else "",
    ]
    return " ".join(filter(None, parts))


_Row = Mapping[str, Any]


def _every_start(results: Results, env_id: str) -> list[_Row]:
    """Series, n, and what the students of all seeds reached: sums of starts, means of the rest."""
    rows: list[_Row] = []
    for series in (TEACHER, *results.profile.losses):
        for n in (1,) if series == TEACHER else results.profile.horizons:
            found = results.starts(env_id, series, n)
            sums = {key: _sum([one[key] for one in found]) for key in ("n_starts", "n_solved")}
            means = ("length_mean", "return_mean", "evaluations_per_episode")
            means_of = {key: sum(one[key] for one in found) / len(found) for key in means}
            rows.append({"series": series, "n": n, **sums, **means_of})
    return rows


_WHOSE = (
    Column("policy", cell=lambda row: series_name(row["series"])),
    Column("n", "number", lambda row: str(row["n"])),
)


def _sum(values: list[int | None]) -> int | None:
    known = [value for value in values if value is not None]
    return sum(known) if len(known) == len(values) else None


def _solved(row: _Row) -> str:
    return "unknown" if row["n_solved"] is None else f"{row['n_solved']} of {row['n_starts']}"


def _grid_table(results: Results, env_id: str) -> Table:
    """How many starts are solved, and how much longer the ways are than the shortest."""
    best = results.optimum(env_id)
    columns = (
        *_WHOSE,
        Column("starts solved", "number", _solved),
        Column("mean length (steps)", "number", lambda row: f"{row['length_mean']:.3f}"),
        Column("over the optimum", "number", lambda row: times(row["length_mean"] / best["length_mean"])),
        Column("evals / episode", "number", lambda row: f"{row['evaluations_per_episode']:.3f}"),
        Column("return", "number", lambda row: f"{row['return_mean']:.5f}"),
    )
    which = "the only start" if best["n_starts"] == 1 else f"each of the {best['n_starts']} different starts"
    note = (
        f"Greedy play from {which}; the shortest possible mean length is "
        f"{best['length_mean']:.3f} steps, the best possible mean return {best['return_mean']:.5f}. "
        "n = 1 of a student is its own head 1."
    )
    return Table.of(f"Every start once, {env_name(env_id)}", _every_start(results, env_id), columns, note, grouped=True)


def _game_table(results: Results, env_id: str) -> Table:
    """Mean return, and how much of the teacher's that is; a game is not solved, but won by some points."""
    best, rows = results.optimum(env_id), _every_start(results, env_id)
    teacher = rows[0]["return_mean"]
    columns = (
        *_WHOSE,
        Column("return", "number", lambda row: number(row["return_mean"], 2)),
        Column("of the teacher's", "number", lambda row: percent(row["return_mean"] / teacher if teacher > 0 else None)),
        Column("games won", "number", _solved),
        Column("mean length (steps)", "number", lambda row: number(row["length_mean"], 1)),
        Column("evals / episode", "number", lambda row: number(row["evaluations_per_episode"], 1)),
    )
    note = (
        f"Greedy play after each of the {best['n_starts']} possible numbers of idle frames; a perfect game returns "
        f"{best['return_mean']:.0f}. n = 1 of a student is its own head 1."
    )
    return Table.of(f"Every start once, {env_name(env_id)}", rows, columns, note, grouped=True)


def jitter_table(results: Results, env_id: str) -> Table:
    """How often each policy of a game changes its mind, and whether softer losses are calmer, as the paper says."""
    series = [(TEACHER, 1), *((loss, n) for loss in results.profile.losses for n in results.profile.horizons)]
    columns = list(_WHOSE)
    for key in ("changes", "reversals"):
        columns += [
            Column(f"{key} / 100 steps", "number", partial(_rates, results, env_id, key)),
            Column("claim", "verdict", partial(_softer_is_calmer, results, env_id, key)),
        ]
    note = (
        "Mean over training seeds (lowest … highest) of every start once. Changes: steps that push the paddle otherwise "
        "than the step before; reversals: steps that push against the latest push. The claim is the paper's (section 4.3): "
        "softer regression produces less jittery behavior. It held where all seeds of both soft losses lie below all of "
        "cross-entropy's. Students that lost more games than they won are not judged: whoever stands still is calm. With "
        f"fewer than {FEWEST_SEEDS} seeds of a loss left, nothing is decided."
    )
    rows = [{"series": name, "n": n} for name, n in series]
    return Table.of(f"Jitter, {env_name(env_id)}", rows, columns, note, grouped=True)


_HARD: PlanLoss = "cross_entropy"
"""The loss that copies actions, not distributions."""


def _rates(results: Results, env_id: str, key: str, row: _Row) -> str:
    """One rate: its mean over the training seeds, and its range."""
    rates = [found["jitter"][key] for found in results.starts(env_id, row["series"], row["n"])]
    mean = number(100 * sum(rates) / len(rates), 2)
    return mean if len(rates) == 1 else f"{mean} ({number(100 * min(rates), 2)} … {number(100 * max(rates), 2)})"


def _softer_is_calmer(results: Results, env_id: str, key: str, row: _Row) -> str:
    """The paper's claim at one n, beside cross-entropy; none where there is but one kind of loss, or only head 1 acts."""

    def calmness(loss: str) -> list[float]:
        """Higher is calmer; of those students that won at least half of their games."""
        found = results.starts(env_id, loss, row["n"])
        return [-each["jitter"][key] for each in found if 2 * (each["n_solved"] or 0) >= each["n_starts"]]

    soft = [loss for loss in results.profile.losses if loss != _HARD]
    if row["series"] != _HARD or row["n"] == 1 or not soft:
        return ""
    return every([better(calmness(loss), calmness(_HARD), tolerance=0.0) for loss in soft])


def ablation_table(ablations: Sequence[AblationRow], title: str = "Ablations", note: str = "") -> Table:
    """One row for every setting, one column for every result that any of them has: mean and range over the seeds.

    Raises:
        InvalidDataError: If there is no row.
    """
    if not ablations:
        raise InvalidDataError("an ablation table needs at least one row, got none")

    def result(name: str, row: AblationRow) -> str:
        values = row.results.get(name, ())
        return mean_and_range(values) if values or not row.missing else row.missing

    names = dict.fromkeys(name for row in ablations for name in row.results)
    columns = (
        Column("ablation", cell=lambda row: row.name),
        Column("setting", cell=lambda row: row.setting),
        Column("the paper's claim", cell=lambda row: row.claim),
        *(Column(name, "number", partial(result, name)) for name in names),
        Column("held?", "verdict", lambda row: row.verdict),
    )
    return Table.of(title, ablations, columns, note, grouped=True)


def ablation_note(results: Results) -> str:
    """How the ablations' numbers and verdicts are to be read."""
    n_seeds = len(results.profile.seeds)
    over = f"mean over {n_seeds} training seeds (lowest … highest)" if n_seeds > 1 else "one training seed"
    return (
        f"Fraction of starts solved, {over}. Judged by the worst n above 1, the trunk by n = 1. One setting is better than "
        f"another where all its seeds are above all of the other's by more than {TOLERANCE}; settings are alike where for "
        f"each seed they lie within {TOLERANCE}. Where ranges overlap, or with fewer than {FEWEST_SEEDS} seeds, "
        "nothing is decided. No window: the strict cut left nothing to train on, which counts as solving nothing."
    )
