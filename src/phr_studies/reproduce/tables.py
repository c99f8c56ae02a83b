"""The tables of a finished study."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain

from phr.learning import PlanLoss
from phr_studies.report.names import env_name, series_name
from phr_studies.report.numbers import number, percent, times
from phr_studies.report.points import TEACHER, Point
from phr_studies.report.results import ablation_table, results_tables
from phr_studies.report.tables import Column, Table
from phr_studies.reproduce.results import Results
from phr_studies.reproduce.verdicts import FEWEST_SEEDS, TOLERANCE, better, every
from phr_studies.worlds import is_grid


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
    """The tables of a study.

    Args:
        results: Of the study.
        points: Of its figure 4.
    """
    env_ids = results.profile.env_ids
    ablations = [(env_id, rows) for env_id in env_ids if (rows := results.ablations(env_id))]
    return StudyTables(
        timed=tuple(results_tables(points, results.scores(points))),
        starts=tuple(starts_table(results, env_id) for env_id in env_ids),
        jitter=tuple(jitter_table(results, env_id) for env_id in env_ids if not is_grid(env_id)),
        ablations=tuple(
            ablation_table(rows, f"Ablations, {env_name(env_id)}", ablation_note(results)) for env_id, rows in ablations
        ),
    )


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
    which = "the only start" if best["n_starts"] == 1 else f"each of the {best['n_starts']} different starts"
    note = (
        f"Greedy play from {which}; the shortest possible mean length is "
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


def jitter_table(results: Results, env_id: str) -> Table:
    """How restlessly each loss's students act, and whether the paper's word on soft losses held."""
    rows = []
    for series in (TEACHER, *results.profile.losses):
        for n in (1,) if series == TEACHER else results.profile.horizons:
            rates = [_rates(results, env_id, series, n, key) for key in _RATES]
            verdicts = [_softer_is_calmer(results, env_id, n, key) if series == _HARD else "" for key in _RATES]
            cells = [cell for values, verdict in zip(rates, verdicts, strict=True) for cell in (_spread(values), verdict)]
            rows.append((series_name(series), str(n), *cells))
    columns = [Column("policy"), Column("n", "number")]
    for word in _RATES:
        columns += [Column(f"{word} / 100 steps", "number"), Column("claim", "verdict")]
    note = (
        "Mean over training seeds (lowest … highest) of every start once. Changes: steps that push the paddle otherwise "
        "than the step before; reversals: steps that push against the latest push. The claim is the paper's (section 4.3): "
        "softer regression produces less jittery behavior. It held where all seeds of both soft losses lie below all of "
        "cross-entropy's. Students that lost more games than they won are not judged: whoever stands still is calm. With "
        f"fewer than {FEWEST_SEEDS} seeds of a loss left, nothing is decided."
    )
    return Table(f"Jitter, {env_name(env_id)}", tuple(columns), tuple(rows), note, grouped=True)


_RATES = ("changes", "reversals")
_HARD: PlanLoss = "cross_entropy"
"""The loss that copies actions, not distributions."""


def _rates(results: Results, env_id: str, series: str, n: int, key: str) -> list[float]:
    """One rate for each training seed."""
    return [found["jitter"][key] for found in results.starts(env_id, series, n)]


def _calmness(results: Results, env_id: str, series: str, n: int, key: str) -> list[float]:
    """The same, higher where calmer, of those students that won at least half of their games."""
    found = results.starts(env_id, series, n)
    return [-each["jitter"][key] for each in found if 2 * each["n_solved"] >= each["n_starts"]]


def _softer_is_calmer(results: Results, env_id: str, n: int, key: str) -> str:
    """The paper's claim at one n; none where there is but one kind of loss, or only head 1 acts."""
    soft = [loss for loss in results.profile.losses if loss != _HARD]
    if n == 1 or not soft:
        return ""
    hard = _calmness(results, env_id, _HARD, n, key)
    return every([better(_calmness(results, env_id, loss, n, key), hard, tolerance=0.0) for loss in soft])


def _spread(rates: Sequence[float]) -> str:
    mean = number(100 * sum(rates) / len(rates), 2)
    return mean if len(rates) == 1 else f"{mean} ({number(100 * min(rates), 2)} … {number(100 * max(rates), 2)})"


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
