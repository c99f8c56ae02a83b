"""The tables of an experiment: results per environment, and ablations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from phr.errors import InvalidDataError
from phr_studies.report.names import series_name
from phr_studies.report.numbers import interval, mean_and_range, number, percent, times
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

_INTERVAL_HEADINGS: dict[frozenset[IntervalKind], str] = {
    frozenset({"bootstrap"}): "95 %",
    frozenset({"range"}): "min … max",
}


def _result_columns(points: Sequence[Point]) -> tuple[Column, ...]:
    kinds = frozenset(point.interval_kind for point in points if point.interval_kind != "none")
    ends = Column(_INTERVAL_HEADINGS.get(kinds, "interval"), "interval")
    return (
        Column("policy"),
        Column("n", "number"),
        Column("success", "number"),
        Column("return", "number"),
        ends,
        Column("length (steps)", "number"),
        Column("evals / episode", "number"),
        Column("s / 100k steps", "number"),
        ends,
        Column("speed-up", "number"),
        Column("score / s", "number"),
        ends,
        Column("of bound", "number"),
        Column("FAS", "number"),
    )


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
    teacher = find(here, env_id, TEACHER, 1)
    ordered = [
        point
        for series in in_order(here, lambda point: point.series)
        for point in sorted((p for p in here if p.series == series), key=lambda point: point.n)
    ]
    rows = []
    for index, point in enumerate(ordered):
        is_first = index == 0 or ordered[index - 1].series != point.series
        fas = number((scores or {}).get((env_id, point.series))) if is_first else ""
        rows.append((*_result_cells(point, teacher), fas))
    competing = [index for index, point in enumerate(ordered) if point.series != OPTIMUM]
    best = max(competing, key=lambda index: ordered[index].score_per_second, default=None)
    strong = frozenset() if best is None else frozenset({best})
    return Table(env_id, _result_columns(here), tuple(rows), _note(here), grouped=True, strong=strong)


def results_tables(points: Sequence[Point], scores: Mapping[tuple[str, str], float] | None = None) -> list[Table]:
    """One results table per environment, in order of first appearance."""
    return [results_table(env_id, points, scores) for env_id in in_order(points, lambda point: point.env_id)]


def _result_cells(point: Point, teacher: Point | None) -> tuple[str, ...]:
    speed_up = None if teacher is None else teacher.seconds_per_100k_steps / point.seconds_per_100k_steps
    return (
        series_name(point.series),
        str(point.n),
        percent(point.success_rate),
        number(point.return_mean),
        interval(point.return_interval),
        number(point.length_mean, 2),
        number(point.evaluations_per_episode, 2),
        number(point.seconds_per_100k_steps),
        interval(point.seconds_interval),
        times(speed_up),
        number(point.score_per_second),
        interval(point.score_interval),
        percent(point.bound_fraction),
    )


def _note(points: Sequence[Point]) -> str:
    """What the words of the table mean, as far as it uses them."""
    series = {point.series for point in points}
    parts = [
        describe_intervals(points),
        "Evals: network calls. Speed-up: over the teacher. Of bound: least possible over measured time.",
        "FAS: return averaged over n, on a scale from random play (0) to the teacher (1).",
    ]
    if ACTION_REPEAT in series:
        parts.append("Action repeat: the teacher's action, n times.")
    if OPTIMUM in series:
        parts.append("Optimum: a shortest path, in Pong a perfect game, at the same cost of looking.")
    return " ".join(part for part in parts if part)


@dataclass(frozen=True, kw_only=True)
class AblationRow:
    """One thing that was changed, and what became of it.

    Attributes:
        name: What was varied.
        setting: To what.
        claim: What the paper says of it; may be empty.
        results: Name of a result, with its unit → one value for each training seed, none where it was not measured.
        missing: What stands in place of results that were not measured; empty for a dash.
        verdict: Whether the claim held; empty where there is no claim.
    """

    name: str
    setting: str
    claim: str
    results: Mapping[str, Sequence[float]]
    missing: str = ""
    verdict: str = ""


def ablation_table(ablations: Sequence[AblationRow], title: str = "Ablations", note: str = "") -> Table:
    """One row for every setting, one column for every result that any of them has: mean and range over the seeds.

    Raises:
        InvalidDataError: If there is no row.
    """
    if not ablations:
        raise InvalidDataError("an ablation table needs at least one row, got none")
    results = list(dict.fromkeys(name for ablation in ablations for name in ablation.results))
    columns = [Column("ablation"), Column("setting"), Column("the paper's claim")]
    columns += [*(Column(name, "number") for name in results), Column("held?", "verdict")]
    rows = [
        (
            ablation.name,
            ablation.setting,
            ablation.claim,
            *(_result_cell(ablation, name) for name in results),
            ablation.verdict,
        )
        for ablation in ablations
    ]
    return Table(title, tuple(columns), tuple(rows), note, grouped=True)


def _result_cell(ablation: AblationRow, name: str) -> str:
    values = ablation.results.get(name, ())
    return mean_and_range(values) if values or not ablation.missing else ablation.missing
