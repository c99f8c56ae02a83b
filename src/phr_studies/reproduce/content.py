"""The page of a finished study: its tables, figures and texts, from its results."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

from phr.distil import PlanLoss
from phr.errors import InvalidDataError
from phr.files import read_json, read_jsonl, write_text
from phr.manifest import MANIFEST, Manifest
from phr.storage import METRICS, MODEL
from phr_studies.films import film_figure
from phr_studies.report.canvas import TEACHER_CURVE, curve
from phr_studies.report.figure4 import figure4
from phr_studies.report.figure5 import figure5
from phr_studies.report.page import PageFigure, ReportContent, Section, write_page
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
from phr_studies.report.tables import (
    Column,
    Table,
    counted,
    env_name,
    interval,
    mean_and_range,
    number,
    percent,
    series_name,
    times,
    to_markdown,
)
from phr_studies.reproduce.profiles import FEWEST_SEEDS, TOLERANCE, ZOO_TEACHERS, Profile, better, every
from phr_studies.reproduce.results import AblationRow, Results
from phr_studies.workbench import BUSY
from phr_studies.worlds import is_grid

_INTERVAL_HEADINGS: dict[frozenset[IntervalKind], str] = {
    frozenset({"bootstrap"}): "95 %",
    frozenset({"range"}): "min … max",
}


@dataclass(frozen=True, kw_only=True)
class StudyTables:
    """What the terminal shows and `tables.md` holds: one for each environment; jitter is for games, ablations for grids."""

    timed: tuple[Table, ...]
    starts: tuple[Table, ...]
    jitter: tuple[Table, ...]
    ablations: tuple[Table, ...]

    def __iter__(self) -> Iterator[Table]:
        return chain(self.timed, self.starts, self.jitter, self.ablations)


def study_tables(results: Results, points: Sequence[Point]) -> StudyTables:
    """The tables of a study, from its results and the points of its figure 4."""
    env_ids, note, scores = results.profile.env_ids, ablation_note(results), results.scores(points)
    ablations = [(env_id, rows) for env_id in env_ids if (rows := results.ablations(env_id))]
    return StudyTables(
        timed=tuple(results_table(env_id, points, scores) for env_id in env_ids),
        starts=tuple((_grid_table if is_grid(env_id) else _game_table)(results, env_id) for env_id in env_ids),
        jitter=tuple(jitter_table(results, env_id) for env_id in env_ids if not is_grid(env_id)),
        ablations=tuple(ablation_table(rows, f"Ablations, {env_name(env_id)}", note) for env_id, rows in ablations),
    )


def results_table(env_id: str, points: Sequence[Point], scores: Mapping[tuple[str, str], float] | None = None) -> Table:
    """Everything measured in one environment, a row for every series and n; `scores` are FAS by environment and series.

    The frequency-averaged score belongs to a whole series and stands in its first row. The policy with the
    most score per second is set bold; the optimum, which nobody has to learn, does not compete.
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
        Column("of bound", "number", lambda point: percent(point.bound_fraction) + _marks(point)),
        Column("FAS", "number", fas),
    )
    competing = [index for index, point in enumerate(rows) if point.series != OPTIMUM]
    best = max(competing, key=lambda index: rows[index].score_per_second, default=None)
    table = Table.of(env_id, rows, columns, _note(here), grouped=True)
    return table if best is None else replace(table, strong=frozenset({best}))


_TOO_FAST, _BUSY = "†", "‡"


def _marks(point: Point) -> str:
    """Marks of a row whose times cannot be trusted."""
    return _TOO_FAST * point.is_out_of_range + _BUSY * (point.n_busy > 0)


def timing_warnings(points: Sequence[Point]) -> list[str]:
    """A sentence for each reason not to trust some of the times; `_note` and the command end with them."""
    fast, busy = [p for p in points if p.is_out_of_range], [p for p in points if p.n_busy]
    lines = []
    if fast:
        rows = counted(len(fast), "row")
        lines.append(
            f"{_TOO_FAST} {rows} of times faster than possible: the machine was slower while the bound was measured."
        )
    if busy:
        n_runs = counted(sum(point.n_busy for point in busy), "timed run")
        lines.append(f"{_BUSY} In {n_runs} other programs kept more than {BUSY:.0%} of the machine busy.")
    return lines


def _note(points: Sequence[Point]) -> str:
    """What the words of the table mean, as far as it uses them."""
    series = {point.series for point in points}
    parts = [
        describe_intervals(points),
        "Evals: network calls. Speed-up: over the teacher. Of bound: least possible over measured time.",
        "FAS: return averaged over n, on a scale from random play (0) to the teacher (1).",
        "Action repeat: the teacher's action, n times." if ACTION_REPEAT in series else "",
        "Optimum: a shortest path, in Pong a perfect game, at the same cost of looking." if OPTIMUM in series else "",
        *timing_warnings(points),
    ]
    return " ".join(filter(None, parts))


_Row = Mapping[str, Any]


def _every_start(results: Results, env_id: str) -> list[_Row]:
    """Series, n, and what the students of all seeds reached: sums of starts, means of the rest."""
    rows: list[_Row] = []
    for series in (TEACHER, *results.profile.losses):
        for n in (1,) if series == TEACHER else results.profile.horizons:
            found: list[_Row] = [*results.starts(env_id, series, n)]
            sums = {key: _sum([one[key] for one in found]) for key in ("n_starts", "n_solved")}
            means = ("length_mean", "return_mean", "evaluations_per_episode")
            means_of = {key: sum(one[key] for one in found) / len(found) for key in means}
            rows.append({"series": series, "n": n, **sums, **means_of})
    return rows


_WHOSE = (Column("policy", cell=lambda row: series_name(row["series"])), Column("n", "number", lambda row: str(row["n"])))


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
    """How often each policy of a game changes its mind, and whether softer losses are calmer (the paper's claim)."""
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
        "cross-entropy's. Students that lost more games than they won are not judged: a policy that stands still is calm. "
        f"With fewer than {FEWEST_SEEDS} seeds of a loss left, nothing is decided."
    )
    rows = [{"series": name, "n": n} for name, n in series]
    return Table.of(f"Jitter, {env_name(env_id)}", rows, columns, note, grouped=True)


_HARD: PlanLoss = "cross_entropy"
"""The loss that copies actions, not distributions."""


def _rates(results: Results, env_id: str, key: str, row: _Row) -> str:
    rates = [getattr(jitter, key) for _, jitter in results.jitter(env_id, row["series"], row["n"])]
    mean = number(100 * sum(rates) / len(rates), 2)
    return mean if len(rates) == 1 else f"{mean} ({number(100 * min(rates), 2)} … {number(100 * max(rates), 2)})"


def _softer_is_calmer(results: Results, env_id: str, key: str, row: _Row) -> str:
    """The paper's claim at one n, beside cross-entropy; none where there is but one kind of loss, or only head 1 acts."""

    def calmness(loss: str) -> list[float]:
        """Higher is calmer; of those students that won at least half of their games."""
        found = results.jitter(env_id, loss, row["n"])
        return [-getattr(jitter, key) for each, jitter in found if 2 * (each["n_solved"] or 0) >= each["n_starts"]]

    soft = [loss for loss in results.profile.losses if loss != _HARD]
    if row["series"] != _HARD or row["n"] == 1 or not soft:
        return ""
    return every([better(calmness(loss), calmness(_HARD), tolerance=0.0) for loss in soft])


def ablation_table(ablations: Sequence[AblationRow], title: str = "Ablations", note: str = "") -> Table:
    """One row for every setting, one column for every result that any of them has: mean and range over the seeds."""
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


PAGE, TABLES = "report.html", "tables.md"

NOTES = {
    "cross_entropy": "copies the teacher's action at every step of its path, and nothing else.",
    "kl": "copies the teacher's whole distribution (student‖teacher), smoothed by ε = 0.1. Unsmoothed, a sure teacher "
    "punishes other actions without bound and the student collapses onto one of them.",
    "squared": "copies the teacher's whole distribution, smoothed by ε = 0.1. Its gradient fades where the student is "
    "confidently wrong, so late heads learn slowest.",
}
"""What to know of a loss when reading its rows; docs/method.md has the reasons, LOG.md the numbers."""
_JITTER = "How often the policies of the games change their mind."


def write_report(results: Results, planned: Profile, *, command: str) -> Path:
    """Draw the figures, write `tables.md` and `report.html`; return the page.

    `results` are of the training seeds that are done; where `planned` has more, the page says so.
    """
    directory, points = results.layout.root, results.points()
    tables = study_tables(results, points)
    write_text(directory / TABLES, "\n".join(to_markdown(table) for table in tables))
    done, all_of_them = len(results.profile.seeds), len(planned.seeds)
    unfinished = f"Unfinished: {done} of {all_of_them} training seeds so far; the same command goes on. "
    content = ReportContent(
        title="Policy Horizon Regression: figures 4 and 5",
        summary=f"{unfinished if done < all_of_them else ''}{_summary(results, points)}",
        command=command,
        machine=_machine(results),
        highlights=_highlights(results, points),
        sections=_sections(results, points, tables),
    )
    return write_page(content, directory / PAGE)


def _faster(points: Sequence[Point], env_id: str, loss: str, n: int) -> tuple[Point, Point, str] | None:
    """Teacher, student, and how much less time the student needs; None where one was not measured."""
    teacher, student = find(points, env_id, TEACHER, 1), find(points, env_id, loss, n)
    if teacher is None or student is None:
        return None
    return teacher, student, times(teacher.seconds_per_100k_steps / student.seconds_per_100k_steps)


def _summary(results: Results, points: Sequence[Point]) -> str:
    loss, largest = results.profile.losses[0], results.profile.max_horizon
    parts = [
        f"in {env_name(env_id)} a student that looks once every {largest} actions "
        f"returns {number(found[1].return_mean)} (teacher: {number(found[0].return_mean)}) "
        f"and needs {found[2]} less time"
        for env_id in results.profile.env_ids
        if (found := _faster(points, env_id, loss, largest))
    ]
    return (
        "A teacher is trained by A2C, then distilled into students that predict several actions from one look. "
        f"Measured here: {'; '.join(parts)}"
        ". The paper reports that time is at least halved while policy quality is kept."
    )


def _highlights(results: Results, points: Sequence[Point]) -> list[tuple[str, str]]:
    loss, largest, cards = results.profile.losses[0], results.profile.max_horizon, []
    for env_id in results.profile.env_ids:
        for n in (4, largest):
            if n in results.profile.horizons and (found := _faster(points, env_id, loss, n)):
                cards.append((found[2], f"faster at n = {n}, {env_name(env_id)}"))
        reached = results.starts(env_id, loss, largest)
        if is_grid(env_id):
            solved, n_starts = _sum([one["n_solved"] for one in reached]), sum(one["n_starts"] for one in reached)
            cards.append(
                (
                    percent(None if solved is None else solved / n_starts),
                    f"of all starts solved at n = {largest}, {env_name(env_id)}",
                )
            )
        else:
            mean = sum(one["return_mean"] for one in reached) / len(reached)
            cards.append((number(mean, 1), f"return at n = {largest} over all starts, {env_name(env_id)}"))
    return cards


def _machine(results: Results) -> dict[str, str]:
    machines, profile = results.machines, results.profile
    versions: dict[str, Any] = machines[0]["versions"]
    return {
        "processor": " / ".join(dict.fromkeys(machine["cpu"] for machine in machines)),
        "threads": str(machines[0]["threads"]),
        "profile": f"{profile.name}: {len(profile.seeds)} training seeds, "
        f"{profile.runs} timed runs of {profile.steps:,} steps each",
        **{name: str(version) for name, version in versions.items()},
    }


def _sections(results: Results, points: Sequence[Point], tables: StudyTables) -> list[Section]:
    layout, profile = results.layout, results.profile
    grids = [env_id for env_id in profile.env_ids if is_grid(env_id)]
    optima = {"a shortest path": bool(grids), "a perfect game": len(grids) < len(profile.env_ids)}
    caption = (
        "Score per second (top, higher is better) and seconds per 100,000 steps (bottom, lower is better) over n. "
        f"Optimum: {' or '.join(kind for kind, shown in optima.items() if shown)}, in the time of the "
        f"{series_name(profile.losses[0])} student; who was faster by chance may stand above it. "
        f"{describe_intervals(points)}"
    ).rstrip()
    students = (
        f"One student of horizon {profile.max_horizon} for each loss, executed n actions at a time"
        if profile.one_student
        else "A student of its own for every n and loss, as in the paper"
    )
    protocol = (
        f"{students}. n = 1 is the teacher. One environment, one thread, batch size 1; "
        "policies alternate within a round, so that a change of the machine's speed meets all of them alike. "
        "Observations that no policy uses are never computed."
    )
    losses = [f"`{loss}` {NOTES[loss]}" for loss in profile.losses if loss in NOTES]
    luck = "What the policies reach when luck and the clock are taken out."
    ablations = "One student of the largest horizon per setting and training seed, all else as by default."
    timed = PageFigure(figure4(points, layout.figure("figure-4")), caption, wide=True)
    return [
        Section(heading="Figure 4: throughput and time", paragraphs=[protocol], figures=[timed], tables=tables.timed),
        Section(heading="Every start once", paragraphs=[luck, *losses], tables=tables.starts),
        *([Section(heading="Jitter", paragraphs=[_JITTER], tables=tables.jitter)] if tables.jitter else []),
        *(_path_section(results, env_id) for env_id in grids),
        *(_film_section(results, env_id) for env_id in profile.env_ids),
        *([Section(heading="Ablations", paragraphs=[ablations], tables=tables.ablations)] if profile.ablations else []),
        _training_section(results),
    ]


def _path_section(results: Results, env_id: str) -> Section:
    figures = []
    for n in results.profile.horizons:
        path = results.path(env_id, n)
        picture = figure5(path, results.layout.figure(f"figure-5-{env_id}-n{n}"))
        looks = counted(path.evaluations, "evaluation")
        outcome = {True: "reached the goal", False: "did not reach the goal", None: "success unknown"}[path.solved]
        figures.append(PageFigure(picture, f"n = {n}: {len(path.actions)} actions, {looks}, {outcome}."))
    text = (
        f"The path of the student trained with {series_name(results.profile.losses[0])}. A number is the action that led "
        "into the cell; red and bold: the network was evaluated right before it."
    )
    return Section(heading=f"Figure 5: the learned path, {env_name(env_id)}", paragraphs=[text], figures=figures)


def _film_section(results: Results, env_id: str) -> Section:
    profile = results.profile
    figures = [film_figure(results.layout.film(env_id, n), "Teacher, " if n == 1 else "") for n in profile.horizons]
    text = (
        f"The teacher at n = 1, above that the student trained with {series_name(profile.losses[0])}; all from the same "
        "start. The marks below a film are its latest steps, red where the network was evaluated."
    )
    return Section(heading=f"Films, {env_name(env_id)}", paragraphs=[text], figures=figures)


def _training_section(results: Results) -> Section:
    """Stage 1's curves of the first seed (none where a training was too short for one row of metrics), and its models."""
    profile, layout = results.profile, results.layout
    seed, figures, models = profile.seeds[0], [], []
    for env_id in profile.env_ids:
        teacher = layout.teacher(env_id, seed)
        if rows := read_jsonl(teacher / METRICS):
            best = results.optimum(env_id)["return_mean"]
            file = layout.figure(f"curve-{env_id}")
            picture = curve(rows, file, values=TEACHER_CURVE, references={"best possible": best})
            text = f"Stage 1 in {env_name(env_id)}, seed {seed}: return of recent training episodes."
            figures.append(PageFigure(picture, text))
        students = [layout.student(env_id, loss, n, seed) for loss in profile.losses for n in profile.student_horizons]
        models += [(env_name(env_id), folder) for folder in (teacher, *students)]
    columns = (
        Column("environment"),
        Column("kind"),
        Column("horizon", "number"),
        Column("folder", "code"),
        Column("SHA-256", "code"),
    )
    table = Table(f"Models of seed {seed}", columns, tuple(_model(results, *one) for one in models), grouped=True)
    whose = [
        f"The teacher of {env_name(env_id)} is `{ZOO_TEACHERS[env_id]}`, trained beforehand and the same for every seed; "
        "`phr reproduce --from-scratch` trains one for each."
        for env_id in profile.from_zoo
    ]
    return Section(heading="Training and models", paragraphs=whose, figures=figures, tables=[table])


def _model(results: Results, where: str, folder: Path) -> tuple[str, ...]:
    """A model's row, with the hash that tells the same weights again; the weights may be gone: results outlive them."""
    file = folder / MANIFEST
    manifest = Manifest.from_json(read_json(file), str(file))
    place, digest = str(folder.relative_to(results.layout.root)), manifest.files[MODEL][:16]
    return where, manifest.kind, str(manifest.horizon), place, digest
