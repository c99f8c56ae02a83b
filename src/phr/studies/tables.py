"""The tables of a finished study."""

from __future__ import annotations

from collections.abc import Sequence

from phr.report.names import env_name, series_name
from phr.report.numbers import times
from phr.report.points import TEACHER, Point
from phr.report.results import ablation_table, results_tables
from phr.report.tables import Column, Table
from phr.studies.results import Results
from phr.studies.verdicts import FEWEST_SEEDS, TOLERANCE


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
    rows = []
    for series in (TEACHER, *results.profile.losses):
        for n in (1,) if series == TEACHER else results.profile.horizons:
            found = results.starts(env_id, series, n)
            total, solved = sum(f["n_starts"] for f in found), sum(f["n_solved"] for f in found)
            mean = {
                key: sum(f[key] for f in found) / len(found)
                for key in ("length_mean", "return_mean", "evaluations_per_episode")
            }
            rows.append(
                (
                    series_name(series),
                    str(n),
                    f"{solved} of {total}",
                    f"{mean['length_mean']:.3f}",
                    times(mean["length_mean"] / best["length_mean"]),
                    f"{mean['evaluations_per_episode']:.3f}",
                    f"{mean['return_mean']:.5f}",
                )
            )
    note = (
        f"Greedy play from each of the {best['n_starts']} different starts; the shortest possible mean length is "
        f"{best['length_mean']:.3f} steps, the best possible mean return {best['return_mean']:.5f}. "
        "n = 1 of a student is its own head 1."
    )
    return Table(f"Every start once, {env_name(env_id)}", columns, tuple(rows), note, grouped=True)


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
