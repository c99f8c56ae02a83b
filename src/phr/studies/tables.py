"""The tables of a finished study."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from phr.report.names import env_name, series_name
from phr.report.numbers import number, percent, times
from phr.report.points import TEACHER, Point
from phr.report.results import ablation_table, results_tables
from phr.report.tables import Column, Table
from phr.studies.results import Results
from phr.studies.verdicts import FEWEST_SEEDS, TOLERANCE
from phr.studies.worlds import is_grid


def study_tables(results: Results, points: Sequence[Point]) -> list[Table]:
    """What the terminal shows and `tables.md` holds: timed results, every start once, ablations."""
    tables = [*results_tables(points, results.scores(points))]
    tables += [starts_table(results, env_id) for env_id in results.profile.env_ids]
    for env_id in results.profile.env_ids:
        rows = results.ablations(env_id)
        if rows:
            tables.append(ablation_table(rows, f"Ablations, {env_name(env_id)}", ablation_note(results)))
    return tables


def starts_table(results: Results, env_id: str) -> Table:
    """Every start played once: no sampling error, no clock."""
    return (_grid_table if is_grid(env_id) else _game_table)(results, env_id)


def _every_start(results: Results, env_id: str) -> Iterator[tuple[str, int, dict[str, float]]]:
    """Series, n, and what the students of all seeds reached: sums of starts, means of the rest."""
    for series in (TEACHER, *results.profile.losses):
        for n in (1,) if series == TEACHER else results.profile.horizons:
            found = results.starts(env_id, series, n)
            sums = {key: float(sum(one[key] for one in found)) for key in ("n_starts", "n_solved")}
            means = ("length_mean", "return_mean", "evaluations_per_episode")
            yield series, n, sums | {key: sum(one[key] for one in found) / len(found) for key in means}


def _grid_table(results: Results, env_id: str) -> Table:
    """How many starts are solved, and how much longer the ways are than the shortest."""
    best = results.optimum(env_id)
    columns = (
        Column("policy"),
        Column("n", "number"),
        Column("starts solved", "number"),
        Column("mean length (steps)", "number"),
        Column("over the optimum", "number"),
        Column("evals / episode", "number"),
        Column("return", "number"),
    )
    rows = tuple(
        (
            series_name(series),
            str(n),
            f"{found['n_solved']:.0f} of {found['n_starts']:.0f}",
            f"{found['length_mean']:.3f}",
            times(found["length_mean"] / best["length_mean"]),
            f"{found['evaluations_per_episode']:.3f}",
            f"{found['return_mean']:.5f}",
        )
        for series, n, found in _every_start(results, env_id)
    )
    note = (
        f"Greedy play from each of the {best['n_starts']} different starts; the shortest possible mean length is "
        f"{best['length_mean']:.3f} steps, the best possible mean return {best['return_mean']:.5f}. "
        "n = 1 of a student is its own head 1."
    )
    return Table(f"Every start once, {env_name(env_id)}", columns, rows, note, grouped=True)


def _game_table(results: Results, env_id: str) -> Table:
    """Mean return, and how much of the teacher's that is; a game is not solved, but won by some points."""
    best = results.optimum(env_id)
    columns = (
        Column("policy"),
        Column("n", "number"),
        Column("return", "number"),
        Column("of the teacher's", "number"),
        Column("games won", "number"),
        Column("mean length (steps)", "number"),
        Column("evals / episode", "number"),
    )
    reached = list(_every_start(results, env_id))
    teacher = reached[0][2]["return_mean"]
    rows = tuple(
        (
            series_name(series),
            str(n),
            number(found["return_mean"], 2),
            percent(found["return_mean"] / teacher if teacher > 0 else None),
            f"{found['n_solved']:.0f} of {found['n_starts']:.0f}",
            number(found["length_mean"], 1),
            number(found["evaluations_per_episode"], 1),
        )
        for series, n, found in reached
    )
    note = (
        f"Greedy play after each of the {best['n_starts']} possible numbers of idle frames; a perfect game returns "
        f"{best['return_mean']:.0f}. n = 1 of a student is its own head 1."
    )
    return Table(f"Every start once, {env_name(env_id)}", columns, rows, note, grouped=True)


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
