"""The report of a finished study: which figures, tables and words, from its results."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from phr.files import write_text
from phr.manifest import Manifest
from phr.report.figures import curve, figure4, figure5
from phr.report.names import env_name, series_name
from phr.report.numbers import number, percent, times
from phr.report.page import PageFigure, ReportContent, Section, write_page
from phr.report.points import TEACHER, Point, describe_intervals, find
from phr.report.results import ablation_table, results_tables
from phr.report.tables import Column, Table, to_markdown
from phr.studies.results import Results
from phr.studies.verdicts import FEWEST_SEEDS, TOLERANCE

PAGE, TABLES = "report.html", "tables.md"

NOTES = {
    "cross_entropy": "copies the teacher's action at every step of its path, and nothing else.",
    "kl": "copies the teacher's whole distribution (student‖teacher), smoothed by ε = 0.1. Unsmoothed, a sure teacher "
    "punishes other actions without bound and the student collapses onto one of them.",
    "squared": "copies the teacher's whole distribution, smoothed by ε = 0.1. Its gradient fades where the student is "
    "confidently wrong, so late heads learn slowest.",
}
"""What to know of a loss when reading its rows; docs/method.md has the reasons, LOG.md the numbers."""


def write_report(results: Results, directory: Path, *, command: str) -> Path:
    """Draw the figures, write `tables.md` and `report.html`.

    Returns:
        The page.
    """
    points = results.points()
    tables = study_tables(results, points)
    write_text(directory / TABLES, "\n".join(to_markdown(table) for table in tables))
    content = ReportContent(
        title="Policy Horizon Regression: figures 4 and 5",
        summary=_summary(results, points),
        command=command,
        machine=_machine(results),
        highlights=_highlights(results, points),
        sections=_sections(results, points, tables),
    )
    return write_page(content, directory / PAGE)


def study_tables(results: Results, points: Sequence[Point]) -> list[Table]:
    """What the terminal shows and `tables.md` holds: timed results, every start once, ablations."""
    tables = [*results_tables(points, results.scores(points))]
    tables += [starts_table(results, env_id) for env_id in results.profile.env_ids]
    for env_id in results.profile.env_ids:
        rows = results.ablations(env_id)
        if rows:
            tables.append(ablation_table(rows, f"Ablations, {env_name(env_id)}", _ablation_note(results)))
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


def _ablation_note(results: Results) -> str:
    """How the ablations' numbers and verdicts are to be read."""
    n_seeds = len(results.profile.seeds)
    over = f"mean over {n_seeds} training seeds (lowest … highest)" if n_seeds > 1 else "one training seed"
    return (
        f"Fraction of starts solved, {over}. Judged by the worst n above 1, the trunk by n = 1. One setting is better than "
        f"another where all its seeds are above all of the other's by more than {TOLERANCE}; settings are alike where for "
        f"each seed they lie within {TOLERANCE}. Where ranges overlap, or with fewer than {FEWEST_SEEDS} seeds, "
        "nothing is decided. No window: the strict cut left nothing to train on, which counts as solving nothing."
    )


def _summary(results: Results, points: Sequence[Point]) -> str:
    loss, largest = results.profile.losses[0], results.profile.max_horizon
    parts = []
    for env_id in results.profile.env_ids:
        teacher, student = find(points, env_id, TEACHER, 1), find(points, env_id, loss, largest)
        if teacher is None or student is None:
            continue
        factor = teacher.seconds_per_100k_steps / student.seconds_per_100k_steps
        parts.append(
            f"in {env_name(env_id)} a student that looks once every {largest} actions "
            f"returns {number(student.return_mean)} (teacher: {number(teacher.return_mean)}) "
            f"and needs {times(factor)} less time"
        )
    return (
        "A teacher is trained by A2C, then distilled into students that predict several actions from one look. "
        "Measured here: "
        + "; ".join(parts)
        + ". The paper reports that time is at least halved while policy quality is kept."
    )


def _highlights(results: Results, points: Sequence[Point]) -> list[tuple[str, str]]:
    loss, cards = results.profile.losses[0], []
    for env_id in results.profile.env_ids:
        teacher = find(points, env_id, TEACHER, 1)
        for n in (4, results.profile.max_horizon):
            student = find(points, env_id, loss, n)
            if teacher is not None and student is not None and n in results.profile.horizons:
                speed_up = times(teacher.seconds_per_100k_steps / student.seconds_per_100k_steps)
                cards.append((speed_up, f"faster at n = {n}, {env_name(env_id)}"))
        solved = results.starts(env_id, loss, results.profile.max_horizon)
        share = sum(f["n_solved"] for f in solved) / sum(f["n_starts"] for f in solved)
        cards.append((percent(share), f"of all starts solved at n = {results.profile.max_horizon}, {env_name(env_id)}"))
    return cards


def _machine(results: Results) -> dict[str, str]:
    machine, profile = results.machine, results.profile
    versions: dict[str, Any] = machine["versions"]
    return {
        "processor": machine["cpu"],
        "threads": str(machine["threads"]),
        "profile": f"{profile.name}: {len(profile.seeds)} training seeds, "
        f"{profile.runs} timed runs of {profile.steps:,} steps each",
        **{name: str(version) for name, version in versions.items()},
    }


def _sections(results: Results, points: Sequence[Point], tables: Sequence[Table]) -> list[Section]:
    layout, profile = results.layout, results.profile
    n_envs = len(profile.env_ids)
    figure = figure4(points, layout.figure("figure-4"))
    caption = (
        "Score per second (top, higher is better) and seconds per 100,000 steps (bottom, lower is better) over n. "
        f"{describe_intervals(points)}"
    ).rstrip()
    sections = [
        Section(
            heading="Figure 4: throughput and time",
            paragraphs=[_protocol(results)],
            figures=[PageFigure(figure, caption, wide=True)],
            tables=tables[:n_envs],
        ),
        Section(
            heading="Every start once",
            paragraphs=["What the policies reach when luck and the clock are taken out.", *_loss_notes(results)],
            tables=tables[n_envs : 2 * n_envs],
        ),
    ]
    for env_id in profile.env_ids:
        sections.append(_path_section(results, env_id))
    if profile.ablations:
        sections.append(
            Section(
                heading="Ablations",
                paragraphs=["One student of the largest horizon per setting and training seed, all else as by default."],
                tables=tables[2 * n_envs :],
            )
        )
    sections.append(_training_section(results))
    return sections


def _protocol(results: Results) -> str:
    profile = results.profile
    if profile.one_student:
        students = f"one student of horizon {profile.max_horizon} for each loss, executed n actions at a time"
    else:
        students = "a student of its own for every n and loss, as in the paper"
    return (
        f"{students[0].upper()}{students[1:]}. n = 1 is the teacher. One environment, one thread, batch size 1; "
        "policies alternate within a round, so that a change of the machine's speed meets all of them alike. "
        "Observations that nobody looks at are never computed."
    )


def _loss_notes(results: Results) -> list[str]:
    return [f"`{loss}` {NOTES[loss]}" for loss in results.profile.losses if loss in NOTES]


def _path_section(results: Results, env_id: str) -> Section:
    figures = []
    for n in results.profile.horizons:
        path = results.path(env_id, n)
        picture = figure5(path, results.layout.figure(f"figure-5-{env_id}-n{n}"))
        looks = sum(path.looked)
        outcome = "reached the goal" if path.solved else "did not reach the goal"
        figures.append(PageFigure(picture, f"n = {n}: {len(path.actions)} actions, {looks} evaluations, {outcome}."))
    text = (
        f"The path of the student trained with {series_name(results.profile.losses[0])}. A number is the action that led "
        "into the cell; red and bold: the network was evaluated right before it."
    )
    return Section(heading=f"Figure 5: the learned path, {env_name(env_id)}", paragraphs=[text], figures=figures)


def _training_section(results: Results) -> Section:
    profile, seed = results.profile, results.profile.seeds[0]
    figures, rows = [], []
    for env_id in profile.env_ids:
        best = results.optimum(env_id)["return_mean"]
        rows_of_metrics = results.metrics(results.layout.teacher(env_id, seed))
        if rows_of_metrics:
            picture = curve(
                rows_of_metrics,
                results.layout.figure(f"curve-{env_id}"),
                values={"episode_return": "sampled return", "greedy_return": "greedy return"},
                references={"best possible": best},
            )
            figures.append(
                PageFigure(picture, f"Stage 1 in {env_name(env_id)}, seed {seed}: return of recent training episodes.")
            )
        folders = [results.layout.teacher(env_id, seed)]
        folders += [
            results.layout.student(env_id, loss, horizon, seed)
            for loss in profile.losses
            for horizon in profile.student_horizons
        ]
        for folder in folders:
            manifest = Manifest.read(folder)
            digest = manifest.files["model.safetensors"][:16]
            rows.append(
                (
                    env_name(env_id),
                    manifest.kind,
                    str(manifest.horizon),
                    str(folder.relative_to(results.layout.root)),
                    digest,
                )
            )
    columns = (
        Column("environment"),
        Column("kind"),
        Column("horizon", "number"),
        Column("folder", "code"),
        Column("SHA-256", "code"),
    )
    table = Table(f"Models of seed {seed}", columns, tuple(rows), grouped=True)
    return Section(heading="Training and models", figures=figures, tables=[table])
